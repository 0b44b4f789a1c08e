//! Logins by proof: with the AWS sign-in and a key that is registered nowhere, and by nothing that only looks like it.

use std::path::Path;
use std::time::Duration;

use e2e::proofs::{KEYS, LAPTOP, ON, as_person, key, keymaker_ssh, person, ssh_by, tell_sshd, with_proofs};
use e2e::{Host, calls, iam, journal, run, sh, ssh, until};

const CERTIFICATES: &str = include_str!("../clients/certificates.py");

// P21, P6
#[test]
fn a_user_without_any_key_in_iam_logs_in_by_proof() {
    let _host = with_proofs(ON);
    let before = calls("GetWebIdentityToken");
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    assert_eq!(keymaker_ssh("dave", "dave", "pwd").ok(), "/home/dave");
    assert_eq!(
        calls("GetWebIdentityToken") - before,
        1,
        "the second login asks STS nothing"
    );
    let id = sh(&format!(
        "ssh-keygen -L -f {}-cert.pub | sed -n 's/.*Key ID: \"\\(.*\\)\"/\\1/p'",
        key()
    ));
    until("the audit", Duration::from_secs(5), || {
        journal("KEYMAKER_EVENT=login").contains(&format!("by proof {id},"))
    });
    assert!(
        journal("-u ssh").contains(&id),
        "sshd's own line has the token's name, too"
    );
    // scp, by the lines that the command prints.
    let host = as_person(
        "dave",
        "keymaker login --ssh-config localhost > $HOME/config && echo secret > $HOME/file && \
        scp -q -F $HOME/config -o BatchMode=yes $HOME/file dave@localhost:copied && ssh -F $HOME/config -o BatchMode=yes dave@localhost cat copied",
    );
    assert_eq!(host.ok(), "secret");
}

// P21
#[test]
fn what_only_looks_like_a_proof_opens_nothing() {
    let _host = with_proofs(ON);
    person("alice");
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    // dave's proof is not alice's, and hers not his.
    ssh_by(&own, "alice").refused();
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
    let made_otherwise = |what: &str, options: &str| {
        sh(&format!(
            "rm -rf /root/forged; mkdir /root/forged; cp {own} /root/forged/key; cp {own}.pub /root/forged/key.pub"
        ));
        // The token, the times and the name that the good one has.
        sh(&format!(
            "cd /root/forged; python3 - {own}-cert.pub <<'END'
import base64, struct, sys
blob = base64.b64decode(open(sys.argv[1]).read().split()[1])
def string(at):
    length = struct.unpack('>I', blob[at:at + 4])[0]
    return blob[at + 4:at + 4 + length], at + 4 + length
at = blob.index(b'proof-v1@keymaker.github.io') + len(b'proof-v1@keymaker.github.io')
value, _ = string(at)
open('token', 'w').write(value[4:].decode())
END"
        ));
        sh(&format!("cd /root/forged; {options}"));
        let outcome = ssh_by("/root/forged/key", "dave");
        assert_ne!(outcome.status, 0, "{what}: {outcome}");
        assert!(
            !outcome.reads().contains("token") && !outcome.reads().contains("proof"),
            "{what}: {outcome}"
        );
    };
    let times = sh(&format!(
        "TZ=UTC ssh-keygen -L -f {own}-cert.pub | sed -n 's/.*Valid: from \\(.*\\) to \\(.*\\)/\\1:\\2/p' | tr -d T:- | sed 's/\\(..............\\)/\\1:/'"
    ));
    let times = times.trim_end_matches(':').to_owned();
    let id = sh(&format!(
        "ssh-keygen -L -f {own}-cert.pub | sed -n 's/.*Key ID: \"\\(.*\\)\"/\\1/p'"
    ));
    let sign = |key: &str, more: &str| {
        format!(
            "TZ=UTC ssh-keygen -q -s {key} -I {id} -n keymaker-proof -V {times} -O extension:proof-v1@keymaker.github.io=$(cat token) {more} key.pub"
        )
    };
    // The same made again opens: what is changed below is what closes.
    sh(&format!(
        "rm -rf /root/forged; mkdir /root/forged; cp {own} /root/forged/key; cp {own}.pub /root/forged/key.pub; cp {own}-cert.pub /root/forged/key-cert.pub"
    ));
    assert_eq!(ssh_by("/root/forged/key", "dave").ok(), "dave");
    made_otherwise(
        "an altered token",
        &format!("sed -i 's/\\.\\(.\\)/.A/2' token; {}", sign("key", "")),
    );
    made_otherwise("a force-command", &sign("key", "-O force-command=id"));
    made_otherwise("without a terminal", &sign("key", "-O no-pty"));
    made_otherwise(
        "another key with this token",
        &format!(
            "rm key key.pub; ssh-keygen -q -t ed25519 -N '' -f key; {}",
            sign("key", "")
        ),
    );
    made_otherwise(
        "a foreign CA",
        &format!("ssh-keygen -q -t ed25519 -N '' -f ca; {}", sign("ca", "")),
    );
    made_otherwise(
        "two principals",
        &sign("key", "").replace("-n keymaker-proof", "-n keymaker-proof,root"),
    );
    made_otherwise(
        "another time",
        &sign("key", "").replace(&format!("-V {times}"), "-V -1m:+52w"),
    );
    made_otherwise("no token", &sign("key", "").replace("=$(cat token)", "=x"));
    // A session that acts for somebody, for a role: its subject is no IAM user.
    let role = run(&format!(
        "rm -rf {LAPTOP}/.ssh; export HOME={LAPTOP}; sandbox-admin keymaker ssh -o BatchMode=yes dave@localhost true"
    ));
    assert_ne!(role.status, 0, "{role}");
    // Of another audience.
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    as_person(
        "dave",
        "keymaker ssh --audience other -o BatchMode=yes dave@localhost true",
    )
    .refused();
    // For another host.
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    as_person("dave", "keymaker login --host i-00000000000000000").ok();
    ssh_by(&key(), "dave").refused();
}

// P21, P9
#[test]
fn a_revoked_proof_and_one_of_a_former_holder_open_nothing() {
    let host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    sh("keymaker revoke-proofs dave");
    ssh_by(&own, "dave").refused();
    // One of a later second opens.
    until("a later proof", Duration::from_secs(20), || {
        sh(&format!("rm -rf {LAPTOP}/.ssh"));
        keymaker_ssh("dave", "dave", "true").status == 0
    });
    let own = key();
    // dave is made again: another person, whom the former one's token must not open.
    iam("delete-user-policy --user-name dave --policy-name proofs");
    sh(
        "sandbox-admin aws iam delete-access-key --user-name dave --access-key-id $(sed -n 's/AWS_ACCESS_KEY_ID=//p' /root/dave.env)",
    );
    e2e::delete_user("dave");
    iam("create-user --user-name dave");
    host.sync();
    ssh_by(&own, "dave").refused();
    run("keymaker release dave --yes || keymaker release dave");
    ssh_by(&own, "dave").refused();
}

/// The policy of `keymaker configure --logins` for people without a second factor, with this right, too.
fn with_the_policy_and(name: &str, action: &str) {
    let policy = sh(
        "keymaker configure --logins --logins-without-mfa --print cloudformation | jq -c '.Resources.KeymakerLogins.Properties.PolicyDocument'",
    );
    std::fs::write("/root/policy.json", policy).unwrap();
    iam(&format!(
        "put-user-policy --user-name {name} --policy-name proofs --policy-document file:///root/policy.json"
    ));
    iam(&format!(
        "put-user-policy --user-name {name} --policy-name more --policy-document '{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\
         \"Action\":\"{action}\",\"Resource\":\"*\"}}]}}'"
    ));
}

// P21, P2
#[test]
fn who_may_rename_users_logs_in_as_nobody_else() {
    let _host = with_proofs(ON);
    person("bob");
    with_the_policy_and("bob", "iam:UpdateUser");
    assert_eq!(keymaker_ssh("bob", "bob", "id -un").ok(), "bob");
    let renamed = |from: &str, to: &str| {
        as_person(
            "bob",
            &format!("aws iam update-user --user-name {from} --new-user-name {to}"),
        )
        .ok()
    };
    let alices = sh("sandbox-admin aws iam get-user --user-name alice --query User.UserId --output text");
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    renamed("alice", "away");
    renamed("bob", "alice");
    let asked = as_person("bob", "keymaker login");
    let lied = as_person(
        "bob",
        &format!(
            "aws sts get-web-identity-token --audience keymaker:123456789012 --signing-algorithm ES384 --duration-seconds 300 \
             --tags Key=keymaker-key,Value=SHA256:x Key=keymaker-user,Value={alices}"
        ),
    );
    renamed("alice", "bob");
    renamed("away", "alice");
    asked.ok();
    let token = sh(&format!("grep -c . {}-cert.pub", key()));
    assert_eq!(token, "1");
    // AWS's word is that the name was alice's; and that it was bob who asked.
    ssh_by(&key(), "alice").refused();
    ssh_by(&key(), "bob").refused();
    assert!(lied.reads().contains("AccessDenied"), "{lied}");
    // By the policy alone, without the comparison on the host, that would have opened.
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
}

// P21, P9
#[test]
fn a_new_key_of_the_issuers_opens_at_the_first_try_and_a_flood_of_unknown_ones_asks_little() {
    let _host = with_proofs(ON);
    let asked = || calls("GetOutboundWebIdentityFederationInfo");
    let ten_seconds_pass = || {
        let since = format!("[ $(($(date +%s) - $(stat -c %Y {KEYS}))) -gt 11 ]");
        until("nobody has asked for ten seconds", Duration::from_secs(30), || {
            run(&since).status == 0
        });
    };
    ten_seconds_pass();
    sh("echo EC384_1 EC384_0 > /sandbox/issuer-keys; echo EC384_1 > /sandbox/signing-key");
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    // Tokens by a key that the issuer does not show.
    ten_seconds_pass();
    sh(&format!(
        "echo EC384_2 > /sandbox/signing-key; cp -a {LAPTOP}/.ssh/keymaker /root/kept; rm -rf {LAPTOP}/.ssh"
    ));
    let before = asked();
    for _ in 0..10 {
        keymaker_ssh("dave", "dave", "true").refused();
    }
    assert!((1..=3).contains(&(asked() - before)), "{}", asked() - before);
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
    // Meanwhile the one that is known opens, and the unknown one once the issuer shows it.
    let known = sh("ls /root/kept/id-*-cert.pub").replace("-cert.pub", "");
    assert_eq!(ssh_by(&known, "dave").ok(), "dave");
    sh("echo EC384_1 EC384_2 > /sandbox/issuer-keys");
    until("the new key opens", Duration::from_secs(60), || {
        keymaker_ssh("dave", "dave", "true").status == 0
    });
    let metrics =
        sh("curl -sS --unix-socket /run/keymaker/status.sock http://keymakerd/metrics | grep ^keymakerd_issuer");
    assert!(metrics.contains("keymakerd_issuer_keys_failure 0"), "{metrics}");
    assert!(!metrics.contains("timestamp_seconds 0\n"), "{metrics}");
    // One that the issuer shows no longer opens nothing after the next fetch.
    sh("keymaker sync");
    assert!(!sh(&format!("cat {KEYS} | tr -d '\\0'")).contains("EC384_0"));
    sh("rm -rf /root/kept /sandbox/issuer-keys /sandbox/signing-key");
}

#[test]
fn why_lets_nobody_in_by_proof_alone_where_no_proof_can_open() {
    let host = with_proofs("login_by = [\"proof\"]");
    let gate = || {
        sh(
            "keymaker why dave --json | jq -r '.gates[-1] | select(.state == \"closed\") | \"\\(.gate): \\(.evidence)\\n\\(.remedy)\"'",
        )
    };
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    assert_eq!(gate(), "");
    let status = sh("keymaker status");
    assert!(
        status.contains("logins by proof  by https://10.77.0.1:5443/")
            && status.contains("(from IAM), keys EC384_0 fetched"),
        "{status}"
    );
    sh("sed -i 's/ %t %k$//' /etc/ssh/sshd_config.d/50-keymaker.conf; systemctl reload ssh");
    let said = gate();
    assert!(
        said.starts_with("sshd: sshd does not give the keys command the certificate") && said.contains("sshd-drop-in"),
        "{said}"
    );
    tell_sshd();
    sh("sandbox-admin aws iam disable-outbound-web-identity-federation; keymaker sync");
    let said = gate();
    assert!(
        said.starts_with("issuer: ")
            && said.contains("federation is off")
            && said.contains("enable-outbound-web-identity-federation"),
        "{said}"
    );
    sh("sandbox-admin aws iam enable-outbound-web-identity-federation; keymaker sync");
    sh("keymaker revoke-proofs --yes || keymaker revoke-proofs");
    assert!(sh("keymaker status").contains("only tokens made "));
    sh(&format!("mv {KEYS} /root/issuers"));
    let said = gate();
    sh(&format!("mv /root/issuers {KEYS}"));
    assert!(
        said.starts_with("issuer: ") && said.contains("no key of an issuer"),
        "{said}"
    );
    drop(host);
}

// P21, P22
#[test]
fn no_key_set_that_is_empty_or_elsewhere_takes_the_place_of_one_and_a_name_of_two_issuers_is_each_ones() {
    let host = with_proofs(ON);
    let published = || sh(&format!("tr -d '\\0' < {KEYS} | grep -ao 'EC384_[0-9]' | sort"));
    for shown in ["nothing", "elsewhere"] {
        sh(&format!("echo {shown} > /sandbox/issuer-keys; keymaker sync"));
        let failure = sh("jq -r .issuers_failure /run/keymaker/status.json");
        println!("{shown}: {failure}");
        assert_ne!(failure, "null", "{shown}");
        assert_eq!(published(), "EC384_0", "{shown}");
        sh(&format!("rm -rf {LAPTOP}/.ssh"));
        assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave", "{shown}");
    }
    sh("rm /sandbox/issuer-keys; keymaker sync");
    // Two issuers that root has named, and each has a key of one name.
    let first = sh("jq -r '.issuers[0].issuer' /run/keymaker/status.json");
    let other = "https://10.77.0.1:5443/22222222-2222-3333-4444-555555555555";
    host.add_settings(&format!("login_issuers = [\"{first}\", \"{other}\"]"));
    host.reload();
    sh("keymaker accept-settings --yes || keymaker accept-settings; keymaker sync");
    until("both issuers' keys", Duration::from_secs(20), || {
        published() == "EC384_0\nEC384_0"
    });
    for (signs, opens) in [
        ("EC384_0 EC384_0", true),
        ("EC384_1 EC384_0 other", true),
        ("EC384_1 EC384_0", false),
        ("EC384_0 EC384_0 other", false),
        ("EC384_2 EC384_0", false),
        ("EC384_2 EC384_0 other", false),
    ] {
        sh(&format!("echo {signs} > /sandbox/signing-key; rm -rf {LAPTOP}/.ssh"));
        let came = keymaker_ssh("dave", "dave", "id -un");
        assert_eq!(came.status == 0, opens, "{signs}: {came}");
    }
    sh("rm -f /sandbox/signing-key");
}

// P21
#[test]
fn no_ticket_that_keymaker_keys_has_not_written_for_the_very_login_opens_a_session() {
    let _host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    // sshd that takes the certificate by itself, before the Match of the drop-in: what is left is PAM, which goes by the ticket.
    sh(&format!(
        "printf 'cert-authority,principals=\"keymaker-proof\" %s\\n' \"$(cat {own}.pub)\" > /etc/ssh/forged
         printf 'Match User dave,alice\\n  AuthorizedKeysCommand none\\n  AuthorizedKeysFile /etc/ssh/forged\\n' > /etc/ssh/sshd_config.d/00-forged.conf; systemctl restart ssh"
    ));
    let ticket = sh("ls /run/keymaker-keys/$(id -u dave).*");
    sh(&format!("cp -a {ticket} /root/ticket"));
    assert_eq!(ssh_by(&own, "dave").ok(), "dave", "with the ticket as it was written");
    let altered = |change: &str| format!("sed '{change}' /root/ticket > {ticket}");
    let crc = ticket.rsplit('.').next().unwrap().to_owned();
    for (what, make) in [
        ("none", format!("rm {ticket}")),
        ("of another user's making", format!("chown nobody {ticket}")),
        ("of the login user's own making", format!("chown dave {ticket}")),
        ("of root's making", format!("chown root {ticket}")),
        ("that others may write", format!("chmod 666 {ticket}")),
        (
            "that is a link",
            format!("mv {ticket} /run/keymaker-keys/x; ln -s x {ticket}"),
        ),
        (
            "that is a link to elsewhere",
            format!("mv {ticket} /root/x; ln -s /root/x {ticket}"),
        ),
        (
            "in a folder that others may write",
            "chmod 777 /run/keymaker-keys".to_owned(),
        ),
        ("of another name", altered("2s/.*/alice/")),
        ("of another uid", altered("3s/.*/70001/")),
        ("of another UserId", altered("4s/.*/AIDASOMEBODYELSE00000/")),
        ("that has ended", altered("5s/ .*/ 1700000000/")),
        ("older than the name's holder", altered("5s/.* /1 /")),
        ("of another certificate", altered("1s/....$/AAAA/")),
        ("with a line more", altered("$a x")),
        ("cut", format!("head -c -1 /root/ticket > {ticket}")),
        ("empty", format!(": > {ticket}")),
    ] {
        sh(&make);
        let came = ssh_by(&own, "dave");
        sh(&format!(
            "rm -rf /run/keymaker-keys/* /root/x; chmod 700 /run/keymaker-keys; cp -a /root/ticket {ticket}"
        ));
        assert_ne!(came.status, 0, "a ticket {what}: {came}");
        assert_eq!(ssh_by(&own, "dave").ok(), "dave", "after a ticket {what}");
    }
    // Copied to the number of somebody else, for whom sshd takes the certificate as well.
    sh(&format!("cp -a {ticket} /run/keymaker-keys/$(id -u alice).{crc}"));
    ssh_by(&own, "alice").refused();
    sh("rm -f /root/ticket /etc/ssh/forged /etc/ssh/sshd_config.d/00-forged.conf; systemctl restart ssh");
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
}

// P22
#[test]
fn a_valid_proof_opens_with_network_aws_and_keymakerd_down() {
    let _host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    sh("sandbox-fault down; systemctl stop keymakerd");
    let by = ssh_by(&key(), "dave");
    sh("sandbox-fault none");
    assert_eq!(by.ok(), "dave");
    // Keys or facts that are too old let nobody in.
    sh("touch -d '2 days ago' /var/lib/keymaker/public/contact");
    ssh_by(&key(), "dave").refused();
}

// P24
#[test]
fn where_proofs_are_off_sshd_asks_as_before_and_where_they_are_on_nothing_of_them_keeps_keys_out() {
    let host = Host::fresh();
    let asks = || sh("sshd -T -C user=alice,host=localhost,addr=127.0.0.1 | grep '^authorizedkeyscommand '");
    let off = asks();
    assert!(off.ends_with("keymaker-keys %u %U %f"), "{off}");
    assert!(!Path::new(KEYS).exists());
    drop(host);
    let host = with_proofs(ON);
    assert!(asks().ends_with("keymaker-keys %u %U %f %t %k"), "{}", asks());
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    let proofs = "/usr/libexec/keymaker/proof";
    for (broken, mended) in [
        (format!("mount --bind /bin/false {proofs}"), format!("umount {proofs}")),
        (format!("chmod 0 {proofs}"), format!("chmod 755 {proofs}")),
        // As a panic ends it, and a fault in it, after a line that would open.
        (ends(proofs, &own, "exit 101"), format!("umount {proofs}")),
        (ends(proofs, &own, "kill -SEGV $$"), format!("umount {proofs}")),
        (
            "mount -t tmpfs -o size=4k,mode=0700,uid=keymaker-keys,gid=keymaker-keys full /run/keymaker-keys; \
             dd if=/dev/zero of=/run/keymaker-keys/zeros bs=4k count=2 2>/dev/null || true"
                .to_owned(),
            "umount /run/keymaker-keys".to_owned(),
        ),
        (
            "mv /run/keymaker-keys /run/away".to_owned(),
            "mv /run/away /run/keymaker-keys".to_owned(),
        ),
        (format!("mv {KEYS} /root/issuers"), format!("mv /root/issuers {KEYS}")),
    ] {
        sh(&format!("rm -f /run/keymaker-keys/*; {broken}"));
        let (by_proof, by_key) = (ssh_by(&own, "dave"), ssh("alice", "id -un"));
        sh(&mended);
        assert_ne!(by_proof.status, 0, "{broken}: {by_proof}");
        assert_eq!(by_key.ok(), "alice", "{broken}");
    }
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
    // Without a ticket PAM lets nobody in whom the keys command let pass.
    sh("sed -i 's/login_by = .*/login_by = [\"iam-keys\"]/' /etc/keymaker/keymakerd.toml");
    host.reload();
    until("the keys are gone", Duration::from_secs(10), || {
        run(&format!("grep -q EC384_0 {KEYS}")).status != 0
    });
    ssh_by(&own, "dave").refused();
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
    tell_sshd();
    assert_eq!(asks(), off);
}

/// Puts a program in the verifier's place that says what the verifier does, and then ends otherwise.
fn ends(verifier: &str, key: &str, how: &str) -> String {
    format!(
        "set -- $(cat {key}-cert.pub); said=$({verifier} $1 $2) && [ -n \"$said\" ] && \
         printf '#!/bin/sh\\necho \"%s\"\\necho thread main panicked >&2\\n{how}\\n' \"$said\" > /root/ends && chmod 755 /root/ends && \
         mount --bind /root/ends {verifier}"
    )
}

// P24
#[test]
fn however_many_or_broken_certificates_keep_no_key_from_working() {
    let _host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    let count = if e2e::is_long() { 10_000 } else { 1_000 };
    std::fs::write("/root/certificates.py", CERTIFICATES).unwrap();
    sh(
        "rm -f /root/roots*; ssh-keygen -q -t ed25519 -N '' -f /root/roots; mkdir -p -m 700 /root/.ssh; cat /root/roots.pub >> /root/.ssh/authorized_keys",
    );
    let made = format!("/opt/aws/bin/python3 /root/certificates.py {own}-cert.pub dave $(id -u dave) {count}");
    let flood = std::thread::spawn(move || sh(&made));
    let mut logins = 0;
    while !flood.is_finished() {
        assert_eq!(ssh("alice", "id -un").ok(), "alice");
        assert_eq!(ssh_by("/root/roots", "root").ok(), "root");
        logins += 1;
    }
    let became = flood.join().unwrap();
    sh("rm /root/.ssh/authorized_keys");
    println!("{logins} logins of alice and of root beside them; {became}");
    assert!(logins > 0);
    let line = |begins: &str| -> u32 {
        let found = became.lines().find_map(|line| line.strip_prefix(begins));
        found.map_or(0, |count| count.trim().parse().unwrap())
    };
    assert_eq!(line("broken: exit 0, 0 lines: "), count / 2, "{became}");
    // As many certificates of one token as may have a ticket, of which dave's own login had one.
    assert_eq!(line("another: exit 0, 1 lines: "), 3, "{became}");
    assert_eq!(line("another: exit 0, 0 lines: "), count / 2 - 3, "{became}");
    assert_eq!(sh("ls /run/keymaker-keys/$(id -u dave).* | wc -l"), "4");
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
    // Of any size, offered before a plain key, on one connection.
    for (bytes, options) in [(4_097, 1), (90_000, 3), (130_000, 3)] {
        let pad = "x".repeat(bytes / options);
        let pads = (0..options)
            .map(|number| format!("-O extension:pad{number}@x={pad}"))
            .collect::<Vec<_>>()
            .join(" ");
        std::fs::write(
            "/root/large.sh",
            format!(
                "rm -rf /root/large; mkdir /root/large; cd /root/large; ssh-keygen -q -t ed25519 -N '' -f key
                 ssh-keygen -q -s key -I 1 -n keymaker-proof -V +5m {pads} key.pub; stat -c %s key-cert.pub"
            ),
        )
        .unwrap();
        assert!(sh("sh /root/large.sh").parse::<usize>().unwrap() > bytes);
        let by_both = run(
            "ssh -v -F none -i /root/large/key -i /sandbox/keys/alice -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=10 alice@localhost id -un",
        );
        assert!(
            by_both
                .reads()
                .contains("Offering public key: /root/large/key ED25519-CERT"),
            "{by_both}"
        );
        assert_eq!(by_both.ok(), "alice", "{bytes}");
    }
}

// P24
#[test]
fn an_sshd_before_8_1_asks_as_before_and_says_that_proofs_open_nothing() {
    let _host = with_proofs(ON);
    // What sshd 8.0 answers there; a key of more than 4,096 bytes would end its whole connection.
    sh("cp /usr/sbin/sshd /root/sshd-of-this-host
        printf '#!/bin/sh\\n[ \"$1\" != -V ] || { echo unknown option -- V; echo OpenSSH_8.0p1, OpenSSL 1.1.1k; exit 1; } >&2\\nexec /root/sshd-of-this-host \"$@\"\\n' > /root/sshd-8.0
        chmod 755 /root/sshd-8.0; mount --bind /root/sshd-8.0 /usr/sbin/sshd");
    let told = run("/usr/libexec/keymaker/sshd-drop-in");
    sh("umount /usr/sbin/sshd; rm /root/sshd-8.0 /root/sshd-of-this-host");
    assert_eq!(told.status, 0, "{told}");
    assert!(
        told.reads()
            .contains("AuthorizedKeysCommand /usr/libexec/keymaker/keymaker-keys %u %U %f\n"),
        "{told}"
    );
    assert!(
        told.reads()
            .contains("sshd is older than OpenSSH 8.1 (it says: 8.0): nobody can log in by proof"),
        "{told}"
    );
}

// P24
#[test]
fn a_plain_key_costs_the_same_system_calls_whether_proofs_are_on_or_off() {
    let calls_for = |arguments: &str| {
        sh(&format!(
            "strace -o /root/strace setpriv --reuid=keymaker-keys --regid=keymaker-keys --clear-groups env -i \
             /usr/libexec/keymaker/keymaker-keys alice $(id -u alice) SHA256:x {arguments} > /root/lines && [ -s /root/lines ] && \
             sed -n '/execve.*keymaker-keys/,$s/^\\([a-z0-9_]*\\)(.*/\\1/p' /root/strace"
        ))
    };
    let host = Host::fresh();
    let off = calls_for("");
    drop(host);
    let _host = with_proofs(ON);
    let on = calls_for("$(cut -d' ' -f1,2 /sandbox/keys/alice.pub)");
    assert!(off.lines().count() > 20, "{off}");
    assert_eq!(on, off);
    // What the keys command looks at, as it was before there were proofs.
    let looked_at = sh("sed -n '/execve.*keymaker-keys/,$p' /root/strace | \
         grep -oE '^[a-z0-9]+\\(.*\"(/etc/(passwd|group)|/var/lib/keymaker/[^\"]*|/run/keymaker[^\"]*|/home[^\"]*)\"' | sed -E 's/^([a-z0-9]+)\\(.*\"([^\"]*)\"$/\\1 \\2/'");
    // At the heartbeat only where the answer is not there at once.
    let looked_at = looked_at.replace("statx /run/keymaker/alive\n", "");
    assert_eq!(looked_at, LOOKED_AT, "{looked_at}");
}

/// By a key login where proofs are off: files, and the socket at which it asks.
const LOOKED_AT: &str = "openat /etc/passwd
openat /etc/group
openat /etc/passwd
connect /run/keymaker/login.sock
statx /var/lib/keymaker/public
openat /var/lib/keymaker/public/directory
openat /etc/passwd
statx /var/lib/keymaker/public
openat /var/lib/keymaker/public/directory
statx /etc/passwd
statx /etc/group
openat /etc/passwd
openat /etc/group
statx /var/lib/keymaker/public
openat /var/lib/keymaker/public/keys
statx /var/lib/keymaker/public
openat /var/lib/keymaker/public/contact
statx /home
statx /home/alice";

// P8
#[test]
fn with_proof_alone_iams_keys_open_nothing() {
    let _host = with_proofs("login_by = [\"proof\"]");
    ssh("alice", "true").refused();
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
}

/// What `keymaker why` says with these arguments: its exit status, each gate with what is said of it, and what it says to do.
fn why(arguments: &str) -> (bool, Vec<(String, String)>, String) {
    let seen = run(&format!("keymaker why {arguments} --json"));
    let gates = run(&format!(
        "jq -r '.gates[] | \"\\(.gate) \\(.state): \\(.evidence)\", (.remedy // \"\" | \"  \" + .)' <<'JSON'\n{}\nJSON",
        seen.stdout
    ))
    .ok();
    let (mut told, mut remedy) = (Vec::new(), String::new());
    for line in gates.lines() {
        match line.strip_prefix("  ") {
            Some(what) => remedy = what.to_owned(),
            None => told.extend(
                line.split_once(": ")
                    .map(|(gate, said)| (gate.to_owned(), said.to_owned())),
            ),
        }
    }
    (seen.status == 0, told, remedy)
}

// P21, P19
#[test]
fn why_shows_each_gate_of_a_proof_in_the_verifiers_order_and_nothing_of_the_token() {
    let host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let file = format!("{}-cert.pub", key());
    let (may, gates, _) = why(&format!("dave --proof {file}"));
    let names: Vec<&str> = gates.iter().map(|(gate, _)| gate.as_str()).collect();
    assert_eq!(
        names,
        [
            "name open",
            "certificate open",
            "token open",
            "signature open",
            "claims open",
            "directory open",
            "proof open",
            "permission open",
            "uid open",
            "groups open",
            "sshd open",
            "pam open",
            "home open",
            "shell open"
        ],
        "{gates:?}"
    );
    assert!(may);
    let token = sh(&format!(
        "base64 -d <<<$(cut -d' ' -f2 {file}) | grep -aoE 'eyJ[A-Za-z0-9_.-]+' | head -n 1"
    ));
    let all = sh(&format!(
        "keymaker why dave --proof {file}; keymaker why dave --proof {file} --json"
    ));
    assert!(token.len() > 500 && !all.contains(&token[..40]), "{token}");
    // Anybody may look at their own, without root.
    sh(&format!("install -m 644 {file} /tmp/proof.pub"));
    let own = run("runuser -u nobody -- keymaker why dave --proof /tmp/proof.pub");
    assert!(own.status == 0 && own.stdout.contains("as far as can be told"), "{own}");
    // Without one: no key, and that is no obstacle.
    let (may, gates, _) = why("dave");
    assert!(
        may && gates
            .iter()
            .any(|(gate, said)| gate == "keys open" && said.contains("--proof FILE")),
        "{gates:?}"
    );
    let closed = |arguments: &str| {
        let (may, gates, remedy) = why(arguments);
        let (gate, said) = gates.last().unwrap().clone();
        assert!(
            !may && gate.ends_with(" closed") && !remedy.is_empty(),
            "{arguments}: {gates:?}"
        );
        format!("{}: {said}; {remedy}", gate.trim_end_matches(" closed"))
    };
    let says = |said: &str, parts: &[&str]| assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    says(
        &closed(&format!("alice --proof {file}")),
        &["proof: ", "it is of IAM user dave"],
    );
    says(
        &closed("dave --proof /etc/passwd"),
        &["certificate: ", "no certificate", "keymaker login"],
    );
    sh(&format!("printf '%s' '{token}' > /tmp/token"));
    says(&closed("dave --proof /tmp/token"), &["certificate: ", "a token alone"]);
    // By a foreign authority; altered; for another audience and host; revoked.
    sh(&format!(
        "rm -rf /root/forged; mkdir /root/forged; cd /root/forged; cp {file} /root/forged/; ssh-keygen -q -t ed25519 -N '' -f ca; cp {0}.pub key.pub
         ssh-keygen -q -s ca -I x -n keymaker-proof key.pub",
        key()
    ));
    says(
        &closed("dave --proof /root/forged/key-cert.pub"),
        &["certificate: ", "keymaker login"],
    );
    for (arguments, gate, parts) in [
        ("--audience other", "claims", ["its audience", "login_audience"]),
        (
            "--host i-00000000000000000",
            "claims",
            ["another host", "--host INSTANCE"],
        ),
    ] {
        sh(&format!("rm -rf {LAPTOP}/.ssh"));
        as_person("dave", &format!("keymaker login {arguments}")).ok();
        let said = closed(&format!("dave --proof {}-cert.pub", key()));
        says(&said, &[&format!("{gate}: "), parts[0], parts[1]]);
    }
    sh("echo EC384_2 > /sandbox/signing-key");
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    as_person("dave", "keymaker login").ok();
    says(
        &closed(&format!("dave --proof {}-cert.pub", key())),
        &["signature: ", "no published key", "keymaker doctor"],
    );
    sh("rm /sandbox/signing-key; keymaker revoke-proofs dave");
    says(
        &closed("dave --proof /tmp/proof.pub"),
        &["proof: ", "revoked", "keymaker login"],
    );
    // What keeps sshd from it, by the name that OpenSSH 8.4 knows; newer ones take both.
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    as_person("dave", "sleep 4; keymaker login").ok();
    let file = format!("{}-cert.pub", key());
    sh("echo 'PubkeyAcceptedKeyTypes ssh-ed25519' > /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh");
    let said = closed(&format!("dave --proof {file}"));
    sh("rm /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh");
    says(&said, &["sshd: ", "pubkeyaccepted"]);
    sh("sed -i 's/^login_by = .*/login_by = [\"iam-keys\"]/' /etc/keymaker/keymakerd.toml");
    host.reload();
    until("no key of the issuer's is published", Duration::from_secs(10), || {
        run(&format!("grep -q EC384_0 {KEYS}")).status != 0
    });
    says(
        &closed(&format!("dave --proof {file}")),
        &["issuer: ", "login_by has no \"proof\"", "keymaker doctor"],
    );
    sh("rm -rf /root/forged /tmp/proof.pub /tmp/token");
    tell_sshd();
}

// P8, P24
#[test]
fn a_key_pushed_by_instance_connect_opens_where_login_by_has_that_and_no_other_key_fares_worse() {
    let host = Host::fresh();
    let aws = "/usr/share/ec2-instance-connect/eic_run_authorized_keys";
    sh(&format!(
        "install -D -m 755 /sandbox/project/tests/sandbox/eic_run_authorized_keys {aws}; rm -rf /sandbox/pushed /root/pushed*; mkdir -p /sandbox/pushed/alice /sandbox/pushed/carol
         ssh-keygen -q -t ed25519 -N '' -f /root/pushed; cp /root/pushed.pub /sandbox/pushed/alice/; cp /root/pushed.pub /sandbox/pushed/carol/; chmod -R a+rX /sandbox/pushed"
    ));
    let pushed = |user: &str| ssh_by("/root/pushed", user);
    pushed("alice").refused();
    host.add_settings("login_by = [\"iam-keys\", \"instance-connect\"]");
    host.reload();
    host.sync();
    assert_eq!(pushed("alice").ok(), "alice");
    until("the audit", Duration::from_secs(5), || {
        journal("KEYMAKER_EVENT=login").contains(" by EC2 Instance Connect,")
    });
    assert_eq!(pushed("carol").ok(), "carol");
    pushed("bob").refused();
    // A local user's are AWS's package's, not ours.
    sh("useradd -m local1; mkdir -p /sandbox/pushed/local1; cp /root/pushed.pub /sandbox/pushed/local1/");
    pushed("local1").refused();
    sh("userdel -r local1");
    // Not without a ticket, nor once it is off; IAM's keys go on whatever the program does.
    for (broken, mended) in [
        (
            "mv /run/keymaker-keys /run/away",
            "mv /run/away /run/keymaker-keys".to_owned(),
        ),
        (
            &*format!("printf '#!/bin/sh\nsleep 60\n' > {aws}"),
            format!("install -m 755 /sandbox/project/tests/sandbox/eic_run_authorized_keys {aws}"),
        ),
        (&*format!("chmod 777 {aws}"), format!("chmod 755 {aws}")),
        (&*format!("mv {aws} /root/aws"), format!("mv /root/aws {aws}")),
    ] {
        sh(&format!("rm -f /run/keymaker-keys/*; {broken}"));
        let (by_pushed, by_key) = (pushed("alice"), ssh("alice", "id -un"));
        sh(&mended);
        assert_ne!(by_pushed.status, 0, "{broken}: {by_pushed}");
        assert_eq!(by_key.ok(), "alice", "{broken}");
    }
    host.add_settings("require_iam_group = \"prod_ssh_users\"");
    host.reload();
    host.sync();
    assert_eq!(pushed("alice").ok(), "alice");
    pushed("carol").refused();
    sh("sed -i '/^login_by\\|^require_iam/d' /etc/keymaker/keymakerd.toml; keymaker accept-settings; true");
    host.reload();
    host.sync();
    pushed("alice").refused();
    sh("rm -rf /sandbox/pushed /root/pushed* /usr/share/ec2-instance-connect");
}
