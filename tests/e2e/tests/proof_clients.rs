//! Logins by proof from the other end: the account that one command makes ready, the clients that people use, and what each is told that goes wrong.

use std::time::Duration;

use e2e::proofs::{
    LAPTOP, ON, access_key, as_person, empty_laptop, have_the_policy, keymaker_ssh, may_ask, person, start_with_proofs,
    with_proofs,
};
use e2e::{Host, calls, iam, journal, run, sh, until};

const BOTH: &str = "[\"sts:GetWebIdentityToken\",\"sts:TagGetWebIdentityToken\"]";
const FEDERATION: &str = "sandbox-admin aws iam get-outbound-web-identity-federation-info --query JwtVendingEnabled";

/// All that an account has of policies, and who has them.
fn policies() -> String {
    sh(
        "a='sandbox-admin aws iam'; $a list-policies --scope Local --query 'Policies[].Arn'; $a list-attached-group-policies --group-name prod_ssh_users
         $a list-attached-role-policies --role-name sandbox-instance; $a get-role --role-name sandbox-instance --query Role.Description",
    )
}

fn federation_is_on() -> bool {
    run(FEDERATION).stdout.trim() == "true"
}

/// Gives dave's laptop a session with a second factor in the access key's place.
fn second_factor() {
    let device = sh(
        "a='sandbox-admin aws iam'; s=$($a create-virtual-mfa-device --virtual-mfa-device-name dave --outfile /root/seed --bootstrap-method Base32StringSeed \
         --query VirtualMFADevice.SerialNumber --output text) && $a enable-mfa-device --user-name dave --serial-number $s --authentication-code1 111111 \
         --authentication-code2 222222 && cp /root/dave.env /root/dave.key && echo $s",
    );
    session(&format!("--serial-number {device} --token-code 123456"));
}

/// The next session of dave's access key, which lies in /root/dave.key.
fn session(second_factor: &str) {
    sh(&format!(
        "set -a && . /etc/environment && . /root/dave.key && set +a && set -- $(aws sts get-session-token {second_factor} \
         --query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' --output text) && \
         printf 'AWS_ACCESS_KEY_ID=%s\\nAWS_SECRET_ACCESS_KEY=%s\\nAWS_SESSION_TOKEN=%s\\n' $1 $2 $3 > /root/dave.env"
    ));
}

// P21
#[test]
fn what_configure_makes_of_an_account_is_enough_to_log_in_by_proof_and_undone_no_token_is_given() {
    let host = Host::unstarted();
    run("sandbox-admin aws iam disable-outbound-web-identity-federation");
    empty_laptop();
    let before = policies();
    let line = "sandbox-admin keymaker configure --instance-iam-role sandbox-instance --logins";
    let planned = sh(&format!("{line} --logins-group prod_ssh_users --dry-run"));
    assert!(
        planned.contains("outbound web identity federation\n  +on") && !federation_is_on(),
        "{planned}"
    );
    let refused = run(&format!("{line} --logins-group nosuch")).refused().stderr;
    assert!(refused.contains("IAM has no group nosuch"), "{refused}");
    assert_eq!(policies(), before);

    let made = sh(&format!("{line} --logins-group prod_ssh_users"));
    for said in [
        "Issuer: https://10.77.0.1:5443/",
        "group prod_ssh_users",
        "login_by = [\"iam-keys\", \"proof\"]",
        "The role sandbox-instance may read the issuer.",
    ] {
        assert!(made.contains(said), "{said}: {made}");
    }
    // Neither another run nor one for the account alone takes anything from anybody.
    for again in [line, "sandbox-admin keymaker configure --logins"] {
        let again = sh(again);
        assert!(
            again.starts_with("Nothing to change.") && again.contains("group prod_ssh_users"),
            "{again}"
        );
    }
    let narrower = format!("{line} --logins-without-mfa");
    let refused = run("sandbox-admin keymaker configure --instance-iam-role sandbox-instance")
        .refused()
        .stderr;
    assert!(
        refused.contains("iam:GetOutboundWebIdentityFederationInfo on *"),
        "{refused}"
    );
    let refused = run(&narrower).refused().stderr;
    assert!(refused.contains("aws:MultiFactorAuthPresent"), "{refused}");

    iam("create-user --user-name dave");
    iam("add-user-to-group --user-name dave --group-name prod_ssh_users");
    access_key("dave");
    start_with_proofs(&host, ON);
    let by_key_alone = as_person("dave", "keymaker login").refused().stderr;
    assert!(by_key_alone.contains("second factor"), "{by_key_alone}");
    second_factor();
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    // For no other audience.
    as_person("dave", "keymaker login --audience keymaker:other").refused();

    sh(&format!("{line} --undo --yes"));
    assert_eq!(policies(), before);
    assert!(!federation_is_on());
    sh(&format!("rm -r {LAPTOP}/.ssh"));
    as_person("dave", "keymaker login").refused();
    may_ask("dave", BOTH);
    let off = as_person("dave", "keymaker login").refused().stderr;
    assert!(off.contains("keymaker configure --logins"), "{off}");
    assert_eq!(sh(&format!("{line} --undo --yes")), "Nothing to change.");

    // What was on before stays on.
    sh("sandbox-admin aws iam enable-outbound-web-identity-federation");
    sh("sandbox-admin keymaker configure --logins --logins-without-mfa");
    let undone = run("sandbox-admin keymaker configure --logins --undo --yes");
    assert!(
        undone.stderr.contains("stays on") && federation_is_on() && policies() == before,
        "{undone}"
    );
}

/// Of dave's laptop, for every client that runs ssh.
fn by_ssh_config() -> String {
    as_person(
        "dave",
        "(umask 077; keymaker login --ssh-config localhost,127.0.0.1; echo '  BatchMode yes') > $HOME/config && printf '#!/bin/sh\\nexec ssh -F $HOME/config \"$@\"\\n' > $HOME/s && \
         chmod 755 $HOME/s",
    )
    .ok()
}

#[test]
fn scp_rsync_git_a_jump_and_a_shared_connection_log_in_by_the_lines_for_ssh_config() {
    let _host = with_proofs(ON);
    by_ssh_config();
    let before = calls("GetWebIdentityToken");
    for (what, line) in [
        (
            "ssh",
            "$HOME/s dave@localhost id -un > $HOME/out && grep -qx dave $HOME/out",
        ),
        (
            "scp",
            "echo secret > $HOME/file && scp -q -S $HOME/s $HOME/file dave@localhost:copied && $HOME/s dave@localhost grep -qx secret copied",
        ),
        (
            "sftp",
            "echo 'get copied /root/laptop/back' | sftp -q -S $HOME/s -b - dave@localhost && cmp $HOME/file $HOME/back",
        ),
        (
            "rsync",
            "mkdir -p $HOME/tree/a && echo x > $HOME/tree/a/b && rsync -a -e $HOME/s $HOME/tree dave@localhost: && $HOME/s dave@localhost grep -qx x tree/a/b",
        ),
        (
            "git",
            "export GIT_SSH=$HOME/s; $HOME/s dave@localhost git init -q --bare repo.git && cd $HOME && git init -q work && cd work && \
             git -c user.name=d -c user.email=d@d commit -q --allow-empty -m one && git push -q dave@localhost:repo.git HEAD:main && \
             git ls-remote dave@localhost:repo.git | grep -q refs/heads/main",
        ),
        (
            "ProxyJump",
            "$HOME/s -J dave@127.0.0.1 dave@localhost id -un > $HOME/out && grep -qx dave $HOME/out",
        ),
        (
            "keymaker ssh where ~/.ssh/config names another certificate",
            "printf 'Host *\n  BatchMode yes\n  CertificateFile /root/other-cert.pub\n' > $HOME/other && \
             keymaker ssh -F $HOME/other dave@localhost id -un > $HOME/out && grep -qx dave $HOME/out",
        ),
        (
            "lines that stand before others",
            "(cat $HOME/config; echo 'User dave') > $HOME/before && ssh -F $HOME/before localhost id -un > $HOME/out && grep -qx dave $HOME/out && \
             ssh -G -F $HOME/before elsewhere | grep -qx 'user dave'",
        ),
        (
            "ControlMaster",
            "export o=\"-o ControlPath=$HOME/master\"; $HOME/s $o -o ControlMaster=yes -o ControlPersist=30 dave@localhost true && \
             $HOME/s $o -O check dave@localhost && rm -rf $HOME/.ssh/keymaker && $HOME/s $o dave@localhost id -un | grep -qx dave; s=$?; \
             $HOME/s $o -O exit dave@localhost; exit $s",
        ),
    ] {
        let came = as_person("dave", line);
        assert_eq!(came.status, 0, "{what}: {came}");
    }
    // One of keymaker ssh's own; the last has taken its proof away, and made one more.
    assert!(calls("GetWebIdentityToken") - before <= 3);
}

#[test]
fn the_lines_for_ssh_config_go_on_with_each_new_session_and_show_nobody_elses_proof() {
    let _host = with_proofs(ON);
    person("bob");
    sh("cp /root/dave.env /root/dave.key");
    session("");
    by_ssh_config();
    let kept = || sh(&format!("cd {LAPTOP}/.ssh/keymaker && ls -d id-*"));
    let by_lines = |laptop: &str, user: &str| {
        let line = format!("$HOME/s -o ConnectTimeout=10 {user}@localhost id -un");
        let before = calls("GetWebIdentityToken");
        (as_person(laptop, &line), calls("GetWebIdentityToken") - before)
    };
    let (came, asked) = by_lines("dave", "dave");
    assert_eq!((came.ok(), asked), ("dave".to_owned(), 1));
    let (place, first) = (kept(), sh("cut -d= -f2 /root/dave.env"));
    session("");
    assert_ne!(sh("cut -d= -f2 /root/dave.env"), first);
    for asked in [1, 0] {
        let came = by_lines("dave", "dave");
        assert_eq!((came.0.ok(), came.1), ("dave".to_owned(), asked));
    }
    // As once the proof that the first session left has ended.
    session("");
    sh(&format!("rm {LAPTOP}/.ssh/keymaker/id-*-cert.pub"));
    let (came, asked) = by_lines("dave", "dave");
    assert_eq!((came.ok(), asked), ("dave".to_owned(), 1));
    assert_eq!(kept(), place, "no session leaves another key");
    // dave's proof has minutes left, and is not bob's.
    let (came, asked) = by_lines("bob", "bob");
    assert_eq!((came.ok(), asked), ("bob".to_owned(), 1));
    let (came, asked) = by_lines("bob", "dave");
    assert_eq!((came.refused().status, asked), (255, 0));
    // What another session left days ago goes with the next token.
    sh(&format!(
        "cd {LAPTOP}/.ssh/keymaker && touch -d '4 days ago' id-0badc0de id-0badc0de.pub id-0badc0de-cert.pub id-0badc0de.caller && touch -d '2 days ago' id-00c0ffee"
    ));
    let (came, asked) = by_lines("dave", "dave");
    assert_eq!((came.ok(), asked), ("dave".to_owned(), 1));
    assert_eq!(kept(), format!("id-00c0ffee\n{place}"));
    sh("rm /root/dave.key");
}

#[test]
fn a_computers_clock_that_is_wrong_makes_no_proof_last_longer_and_no_login_ask_again_and_is_told() {
    let _host = with_proofs(ON);
    // AWS's clock, as this laptop sees it whose own is behind or ahead.
    for (ahead, told) in [
        (200, Some(" seconds behind AWS's")),
        (-200, Some(" seconds ahead of AWS's")),
        (-400, Some(" seconds ahead of AWS's")),
        (5, None),
    ] {
        sh(&format!("echo {ahead} > /sandbox/issuer-ahead"));
        let before = calls("GetWebIdentityToken");
        let said = as_person("dave", "keymaker login");
        let seconds = said
            .stdout
            .split(' ')
            .nth(1)
            .and_then(|seconds| seconds.parse::<u32>().ok());
        assert!(
            seconds.is_some_and(|left| (240..=300).contains(&left)),
            "{ahead}: {said}"
        );
        match told {
            Some(told) => assert!(
                said.stderr.contains(told) && said.stderr.contains("set-ntp true"),
                "{ahead}: {said}"
            ),
            None => assert!(!said.stderr.contains("clock"), "{ahead}: {said}"),
        }
        for _ in 0..2 {
            assert_eq!(as_person("dave", "keymaker login --if-needed").reads(), "", "{ahead}");
        }
        assert_eq!(calls("GetWebIdentityToken") - before, 1, "{ahead}");
    }
    sh("rm /sandbox/issuer-ahead");
}

#[test]
fn however_many_at_once_ask_for_one_token_and_the_next_run_asks_for_none() {
    let _host = with_proofs(ON);
    // sshd's own limit of connections that have not logged in yet.
    sh("echo 'MaxStartups 300' > /etc/ssh/sshd_config.d/10-many.conf; systemctl restart ssh");
    by_ssh_config();
    let before = calls("GetWebIdentityToken");
    // A busy machine needs more than the minute that a command has.
    let many = |count: u32| {
        let line = format!(
            "rm -f /root/many.*; (seq {count} | xargs -P {count} -I N sh -c '$HOME/s -o ConnectTimeout=200 dave@localhost echo in' > /root/many.out \
             2> /root/many.err; echo $? > /root/many.ended) > /dev/null 2>&1 &"
        );
        as_person("dave", &line).ok();
        until("all have ended", Duration::from_secs(300), || {
            run("[ -s /root/many.ended ]").status == 0
        });
        let seen = sh("grep -c in /root/many.out || true");
        (sh("cat /root/many.ended"), seen, sh("tail -n 3 /root/many.err"))
    };
    let began = std::time::Instant::now();
    let count = if e2e::is_long() { 200 } else { 60 };
    let (status, seen, errors) = many(count);
    println!("{count} logins at once: {:?}", began.elapsed());
    assert_eq!((status, seen), ("0".to_owned(), count.to_string()), "{errors}");
    assert_eq!(calls("GetWebIdentityToken") - before, 1);
    assert_eq!(many(1).0, "0");
    assert_eq!(
        calls("GetWebIdentityToken") - before,
        1,
        "the next run asks STS nothing"
    );
    sh("rm /etc/ssh/sshd_config.d/10-many.conf; systemctl restart ssh");
}

#[test]
fn a_new_token_takes_one_call_of_sts_and_a_wrong_word_of_who_asks_only_another() {
    let _host = with_proofs(ON);
    let asked = || (calls("GetCallerIdentity"), calls("GetWebIdentityToken"));
    // keymakerd asks who it is, too.
    let by = |line: &str| {
        sh("systemctl stop keymakerd");
        let before = asked();
        as_person("dave", line).ok();
        let after = asked();
        sh("systemctl start keymakerd");
        (after.0 - before.0, after.1 - before.1)
    };
    assert_eq!(by("keymaker login"), (1, 1));
    for _ in 0..2 {
        assert_eq!(by("keymaker login"), (0, 1));
    }
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let kept = sh(&format!("ls {LAPTOP}/.ssh/keymaker/id-*.caller"));
    let secret = sh("sed -n 's/^AWS_SECRET_ACCESS_KEY=//p' /root/dave.env");
    assert_eq!(sh(&format!("stat -c %a {kept}")), "600");
    assert!(!sh(&format!("cat {kept}")).contains(&secret));
    assert!(sh(&format!("cat {kept}")).contains("123456789012"));
    // A profile that gets another person's access key: what is kept under its name says nothing of them.
    let profile = "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY;";
    let by_profile = |name: &str| {
        sh(&format!(
            "mkdir -p {LAPTOP}/.aws; (echo '[default]'; sed 's/^AWS_ACCESS_KEY_ID/aws_access_key_id/; s/^AWS_SECRET_ACCESS_KEY/aws_secret_access_key/' \
             /root/{name}.env) > {LAPTOP}/.aws/credentials"
        ));
        by(&format!("{profile} keymaker login"))
    };
    assert_eq!(by_profile("dave"), (1, 1));
    assert_eq!(by_profile("dave"), (0, 1));
    person("bob");
    assert_eq!(by_profile("bob"), (1, 1));
    let as_bob = format!("{profile} keymaker ssh -o BatchMode=yes -o ConnectTimeout=10 bob@localhost id -un");
    assert_eq!(as_person("dave", &as_bob).ok(), "bob");
    // One that names somebody else: AWS refuses the tag, by the policy that configure makes, and is asked again.
    have_the_policy("dave");
    sh(&format!("sed -i 's/ AIDA[A-Z0-9]*$/ AIDASOMEBODYELSE00000/' {kept}"));
    assert_eq!(by("keymaker login"), (1, 2));
    assert_eq!(by("keymaker login"), (0, 1));
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
}

/// The refusal of the newest proof is in the audit with the token's name, by which CloudTrail has it.
fn audited(reason: &str) {
    let token = sh(&format!(
        "ssh-keygen -Lf $(ls -t {LAPTOP}/.ssh/keymaker/id-*-cert.pub | head -n 1) | sed -n 's/^ *Key ID: \"\\(.*\\)\"$/\\1/p'"
    ));
    assert!(!token.is_empty());
    until("the audit", Duration::from_secs(10), || {
        journal(&format!(
            "KEYMAKER_EVENT=keys KEYMAKER_REASON={reason} KEYMAKER_PROOF={token}"
        ))
        .contains("no proof: ")
    });
}

#[test]
fn a_token_that_is_refused_gives_way_to_a_new_one_where_the_user_says_so() {
    let _host = with_proofs(ON);
    let go = |new: &str| {
        as_person(
            "dave",
            &format!("echo in | keymaker ssh {new} -o BatchMode=yes -o ConnectTimeout=10 dave@localhost 'cat; exit 7'"),
        )
    };
    let came = go("");
    assert_eq!((came.status, came.stdout.trim()), (7, "in"));
    sh("keymaker revoke-proofs dave");
    let refused = go("");
    assert_eq!(refused.status, 255, "{refused}");
    audited("no_proof");
    until("a later second", Duration::from_secs(20), || {
        let came = go("--new");
        (came.status, came.stdout.trim()) == (7, "in")
    });
    // And that one is used again.
    let before = calls("GetWebIdentityToken");
    assert_eq!(go("").status, 7);
    assert_eq!(calls("GetWebIdentityToken"), before);
}

#[test]
fn who_gets_no_token_is_told_why_and_what_to_do() {
    let _host = with_proofs(ON);
    let refused = |line: &str| as_person("dave", line).refused().stderr;
    may_ask("dave", "\"sts:TagGetWebIdentityToken\"");
    let told = refused("keymaker login");
    assert!(
        told.contains("may not ask") && told.contains("a policy that allows sts:GetWebIdentityToken"),
        "{told}"
    );
    may_ask("dave", "\"sts:GetWebIdentityToken\"");
    let told = refused("keymaker login");
    assert!(
        told.contains("not for one with tags") && told.contains("allows sts:TagGetWebIdentityToken"),
        "{told}"
    );
    may_ask("dave", BOTH);
    as_person("dave", "keymaker login").ok();
    // AWS puts the tags of the user into the token.
    let tags: String = (0..49)
        .map(|n| format!("Key=k{n},Value={} ", "v".repeat(120)))
        .collect();
    iam(&format!("tag-user --user-name dave --tags {tags}"));
    let told = refused("keymaker login");
    assert!(told.contains("too large") && told.contains("fewer tags"), "{told}");
    iam(&format!(
        "untag-user --user-name dave --tag-keys {}",
        (0..49).map(|n| format!("k{n} ")).collect::<String>()
    ));
    // A session that has ended, one of five minutes that nobody can have a token of beyond, and one of Identity Center's.
    let told = refused("AWS_SESSION_TOKEN=x AWS_ACCESS_KEY_ID=ASIAAAAAAAAAAAAAAAAA keymaker login");
    assert!(told.contains("sign in"), "{told}");
    let told = refused(
        "mkdir -p $HOME/.aws/sso/cache; printf '[default]\\nsso_session = x\\nsso_account_id = 123456789012\\nsso_role_name = r\\n[sso-session x]\\n\
         sso_region = us-east-1\\nsso_start_url = https://x.example\\n' > $HOME/.aws/config; printf '{\"accessToken\":\"x\",\"expiresAt\":\"2020-01-01T00:00:00Z\",\
         \"region\":\"us-east-1\",\"startUrl\":\"https://x.example\"}' > $HOME/.aws/sso/cache/$(printf x | sha1sum | cut -d' ' -f1).json; \
         env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY AWS_EC2_METADATA_DISABLED=true keymaker login",
    );
    assert!(told.contains("has ended") && told.contains("aws sso login"), "{told}");
    // One of `aws login`, which a profile with this line hands over.
    let alone = "env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY AWS_EC2_METADATA_DISABLED=true keymaker login";
    let told = refused(&format!(
        "printf '[default]\\nlogin_session = arn:aws:iam::123456789012:user/dave\\n' > $HOME/.aws/config; {alone}"
    ));
    assert!(
        told.contains("aws configure export-credentials") && told.contains("credential_process"),
        "{told}"
    );
    as_person(
        "dave",
        &format!(
            "printf '{{\"Version\":1,\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"%s\"}}' $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY > $HOME/handed
             printf '[default]\\ncredential_process = cat %s\\n' $HOME/handed > $HOME/.aws/config; {alone}"
        ),
    )
    .ok();
    run("sandbox-admin aws iam disable-outbound-web-identity-federation");
    let told = refused("keymaker login");
    assert!(
        told.contains("makes no tokens") && told.contains("keymaker configure --logins"),
        "{told}"
    );
}

#[test]
fn an_instance_is_reached_by_its_id_as_the_users_own_tools_reach_it() {
    let _host = with_proofs(ON);
    let instance = sh("jq -r .instance_id /run/keymaker/status.json 2>/dev/null || true");
    let id = if instance.starts_with("i-") {
        instance
    } else {
        "i-0123456789abcdef0".to_owned()
    };
    let told = as_person(
        "dave",
        &format!("PATH=/usr/bin:/bin keymaker ssh -o BatchMode=yes dave@{id} true"),
    )
    .refused()
    .stderr;
    assert!(told.contains("Session Manager's plugin"), "{told}");
    // Stands for both ways of the AWS CLI: its arguments, then a connection.
    sh(&format!(
        "mkdir -p {LAPTOP}/bin; printf '#!/bin/sh\\ncase \"$*\" in --version) echo aws-cli/2.30.0 Python/3; exit;; esac\\necho \"$@\" >> {LAPTOP}/asked\\nexec nc localhost 22\\n' > {LAPTOP}/bin/aws
         chmod 755 {LAPTOP}/bin/aws"
    ));
    let go = |more: &str| {
        as_person(
            "dave",
            &format!(
                "export PATH=$HOME/bin:$PATH; keymaker ssh {more} -o BatchMode=yes -o HostKeyAlias=localhost dave@{id} id -un"
            ),
        )
    };
    assert_eq!(go("").ok(), "dave");
    let asked = || sh(&format!("tail -n 1 {LAPTOP}/asked"));
    assert_eq!(
        asked(),
        format!("ec2-instance-connect open-tunnel --instance-id {id} --remote-port 22")
    );
    sh(&format!("ln -sf /bin/true {LAPTOP}/bin/session-manager-plugin"));
    assert_eq!(go("").ok(), "dave");
    assert!(
        asked().starts_with(&format!("ssm start-session --target {id} ")),
        "{}",
        asked()
    );
    // Who says how to get there is not led elsewhere.
    sh(&format!("rm {LAPTOP}/asked"));
    assert_eq!(go("-o ProxyCommand='nc localhost 22'").ok(), "dave");
    run(&format!("cat {LAPTOP}/asked")).refused();
    // The token opens that instance alone.
    sh(&format!("rm -r {LAPTOP}/.ssh"));
    as_person("dave", "export PATH=$HOME/bin:$PATH; keymaker ssh -o BatchMode=yes -o HostKeyAlias=localhost dave@i-00000000000000000 true").refused();
    person("dave");
}

// P19
#[test]
fn an_agent_gets_the_certificate_alone_and_none_without_lifetimes_gets_any() {
    let _host = with_proofs(ON);
    sh("rm -f /root/agent*; ssh-agent -a /root/agent > /dev/null");
    let agent = |line: &str| as_person("dave", &format!("export SSH_AUTH_SOCK=/root/agent; {line}"));
    agent("keymaker login --agent").ok();
    let held = agent("ssh-add -L").ok();
    assert!(
        held.lines().count() == 1 && held.starts_with("ssh-ed25519-cert-v01@openssh.com "),
        "{held}"
    );
    assert_eq!(
        agent("ssh -F none -o BatchMode=yes -o ConnectTimeout=10 dave@localhost id -un").ok(),
        "dave"
    );
    // Nothing is left in the folder, and a second run asks nobody.
    let before = calls("GetWebIdentityToken");
    agent("keymaker login --agent --if-needed").ok();
    assert_eq!(calls("GetWebIdentityToken"), before);
    assert_eq!(
        sh(&format!(
            "ls {LAPTOP}/.ssh/keymaker | grep -vcE '^(lock|id-[0-9a-f]+(-cert.pub|.pub|.caller|.proof)?)$' || true"
        )),
        "0"
    );
    sh("kill $(pgrep -f '^ssh-agent -a /root/agent$')");
    // It answers every request to keep something for a time with a refusal, as agents do that cannot.
    std::fs::write(
        "/root/refusing.py",
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('/root/agent2')\ns.listen()\nwhile True:\n    c, _ = s.accept()\n    while c.recv(65536):\n        \
         c.sendall(b'\\0\\0\\0\\1\\5')\n",
    )
    .unwrap();
    let mut refusing = std::process::Command::new("python3")
        .arg("/root/refusing.py")
        .spawn()
        .unwrap();
    until("the agent", Duration::from_secs(10), || {
        std::path::Path::new("/root/agent2").exists()
    });
    let told = as_person("dave", "SSH_AUTH_SOCK=/root/agent2 keymaker login --agent")
        .refused()
        .stderr;
    refusing.kill().unwrap();
    refusing.wait().unwrap();
    assert!(told.contains("ssh-add failed"), "{told}");
    sh("rm -f /root/agent*");
}

// P19
#[test]
fn no_other_server_than_the_one_that_was_meant_is_offered_the_certificate() {
    let _host = with_proofs(ON);
    by_ssh_config();
    sh("rm -f /root/agent*; ssh-agent -a /root/agent > /dev/null; /usr/sbin/sshd -p 2222 -o PidFile=/root/second.pid");
    let said = |line: &str| {
        let line = format!("{line} -v -o BatchMode=yes -o ConnectTimeout=10 -o HostKeyAlias=localhost");
        as_person("dave", &format!("export SSH_AUTH_SOCK=/root/agent; {line}")).reads()
    };
    let offer = "Offering public key: ";
    for meant in ["keymaker ssh dave@localhost", "$HOME/s dave@localhost"] {
        let said = said(meant);
        assert!(said.contains(offer) && said.contains("ED25519-CERT"), "{said}");
    }
    for other in ["ssh -F none -p 2222 dave@localhost", "$HOME/s -p 2222 dave@10.77.0.2"] {
        let said = said(other);
        // It came as far as asking for a key.
        assert!(said.contains("Authentications that can continue"), "{said}");
        assert!(!said.contains(offer), "{said}");
    }
    let agent = as_person("dave", "SSH_AUTH_SOCK=/root/agent ssh-add -L");
    sh("kill $(cat /root/second.pid) $(pgrep -f '^ssh-agent -a /root/agent$'); rm -f /root/agent*");
    assert_eq!(agent.stdout.trim(), "The agent has no identities.");
}

#[test]
fn nothing_of_a_hostile_name_is_run_by_the_lines_for_ssh_config() {
    let _host = with_proofs(ON);
    as_person("dave", "(umask 077; keymaker login --ssh-config '*' > $HOME/config; (echo 'Host *'; echo '  User x`touch${IFS}/root/touched`'; cat $HOME/config) > $HOME/named)").ok();
    let mut ran = Vec::new();
    for ssh in [
        // Most of them a newer ssh refuses by itself, but not the one in a file.
        "ssh -F $HOME/config -l '$(touch /root/touched)' localhost",
        "ssh -F $HOME/config -l $'x\ntouch /root/touched\n' localhost",
        "ssh -F $HOME/named localhost",
        "ssh -F $HOME/config 'localhost;touch /root/touched'",
        "ssh -F $HOME/config -o 'HostKeyAlias=`touch /root/touched`' localhost",
    ] {
        sh(&format!("rm -rf {LAPTOP}/.ssh/keymaker /root/touched"));
        let before = calls("GetWebIdentityToken");
        let came = as_person("dave", &format!("{ssh} -o BatchMode=yes -o ConnectTimeout=10 true")).refused();
        assert!(!std::path::Path::new("/root/touched").exists(), "{came}");
        ran.push(calls("GetWebIdentityToken") - before);
    }
    println!("the lines' command ran: {ran:?}");
    assert_eq!(ran[2], 1, "{ran:?}");
}

/// As OpenSSH on a computer in FIPS mode.
const FIPS: &str = "mkdir -p $HOME/fips; printf '#!/bin/sh\ncase \"$*\" in *ed25519*) echo \"ED25519 keys are not allowed in FIPS mode\" >&2; exit 255;; esac\n\
                    exec /usr/bin/ssh-keygen \"$@\"\n' > $HOME/fips/ssh-keygen; chmod 755 $HOME/fips/ssh-keygen; export PATH=$HOME/fips:$PATH;";

// P24
#[test]
fn both_types_of_key_log_in_and_one_proof_opens_the_instance_that_it_names() {
    let _host = with_proofs(ON);
    let own = sh("sandbox-imds show | jq -r '.[\"instance-id\"]'");
    assert_eq!(
        as_person(
            "dave",
            &format!("keymaker ssh --key-type ecdsa --host {own} -o BatchMode=yes dave@localhost id -un")
        )
        .ok(),
        "dave"
    );
    let types = sh(&format!("cut -d' ' -f1 {LAPTOP}/.ssh/keymaker/*-cert.pub"));
    assert_eq!(types, "ecdsa-sha2-nistp256-cert-v01@openssh.com");
    as_person(
        "dave",
        "keymaker ssh --key-type ecdsa --host i-00000000000000000 -o BatchMode=yes dave@localhost id -un",
    )
    .refused();
    audited("proofs_claims");
    let told = as_person("dave", "keymaker login --host web").refused().stderr;
    assert!(told.contains("an instance's id"), "{told}");
    let told = as_person("dave", &format!("{FIPS} keymaker login")).refused().stderr;
    assert!(
        told.contains("not allowed in FIPS mode") && told.contains("--key-type ecdsa"),
        "{told}"
    );
    as_person("dave", &format!("{FIPS} keymaker login --key-type ecdsa")).ok();
}

// P19
#[test]
fn the_probes_for_a_real_account_say_what_tokens_are_like_and_hold_nothing_that_opens() {
    let _host = with_proofs(ON);
    sh("rm -f /root/.keymaker-probe");
    let probe = |who: &str, what: &str| {
        sh(&format!(
            "set -a; . /etc/environment; KEYMAKER_PROBE_WAIT=0; CURL_CA_BUNDLE=/sandbox/issuer-ca.pem; HOME=/root; {who} /sandbox/project/docs/probes/web-identity.sh {what}"
        ))
    };
    let admin = "sandbox-admin";
    probe(admin, "prepare");
    let device = sh(
        "a='sandbox-admin aws iam'; s=$($a create-virtual-mfa-device --virtual-mfa-device-name p --outfile /root/seed --bootstrap-method Base32StringSeed \
         --query VirtualMFADevice.SerialNumber --output text) && $a enable-mfa-device --user-name keymaker-probe --serial-number $s \
         --authentication-code1 111111 --authentication-code2 222222 && echo $s",
    );
    let tokens = [probe("", "key"), probe("", &format!("session {device} 123456"))];
    for token in &tokens {
        assert!(
            token.contains("\"principal_id\": \"arn:aws:iam::123456789012:user/keymaker/probes/keymaker-probe\""),
            "{token}"
        );
    }
    let denied = probe(admin, "denied");
    assert!(
        denied.contains("not authorized to perform: sts:TagGetWebIdentityToken"),
        "{denied}"
    );
    assert!(probe(admin, "keys").contains("\"kid\": \"EC384_0\""));
    probe(admin, "clean");
    let secrets = |text: &str| {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)))
            .any(|word| word.len() > 90)
    };
    assert!(!tokens.iter().any(|token| secrets(token)) && !secrets(&denied));
    run("sandbox-admin aws iam get-user --user-name keymaker-probe").refused();
}
