//! `keymaker why`: each gate between a name and a shell, and between a user and credentials. The first closed one is
//! the answer.

use std::time::Duration;

use e2e::{Host, describe_role, iam, make_user, run, sh, ssh, ssh_with_key, until};

/// The first closed gate, as `GATE: evidence`; empty where all are open.
fn closed_gate(user: &str) -> String {
    let seen = run(&format!("keymaker why {user} --json"));
    let gate = sh(&format!(
        "jq -r '.gates[-1] | select(.state == \"closed\") | \"\\(.gate): \\(.evidence)\"' <<'JSON'\n{}\nJSON",
        seen.stdout
    ));
    assert_eq!(seen.status == 0, gate.is_empty(), "{seen}");
    gate
}

/// The closed gate before credentials, likewise.
fn closed_credential_gate(user: &str) -> String {
    sh(&format!(
        "keymaker why {user} --json | jq -r '.credential_gates[-1] | select(.state == \"closed\") | \"\\(.gate): \\(.evidence)\"'"
    ))
}

/// Appends to credd.toml for as long as `look` takes.
fn with_credd(settings: &str, look: impl FnOnce()) {
    let path = "/etc/keymaker/credd.toml";
    sh(&format!(
        "cp {path} /tmp/credd.toml; echo '{settings}' >> {path}; systemctl restart credd"
    ));
    look();
    sh(&format!("cp /tmp/credd.toml {path}; systemctl restart credd"));
}

#[test]
fn a_user_who_may_is_shown_every_gate_open_with_its_evidence() {
    let _host = Host::fresh();
    sh("systemctl restart credd");
    let said = sh("keymaker why alice");
    let gates: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("open   ")?.split(' ').next())
        .collect();
    let to_shell = [
        "name",
        "directory",
        "permission",
        "uid",
        "groups",
        "keys",
        "sshd",
        "pam",
        "home",
        "shell",
    ];
    assert_eq!(
        gates,
        [to_shell.as_slice(), &["credd", "capture", "chain", "method"]].concat(),
        "{said}"
    );
    assert!(
        said.contains("\nalice may log in here.\nsudo: alice is in the group sudo, and sudo asks for a password"),
        "{said}"
    );
    let uid = e2e::uid("alice");
    let fingerprint = sh("ssh-keygen -lf /sandbox/keys/alice.pub | cut -d' ' -f2");
    for evidence in [
        "read by grade 2",
        "no group is required",
        &format!("{uid}, as glibc resolves the name"),
        "keymaker-users",
        &fingerprint,
        "(active)",
        "user_role, by /etc/keymaker/credd.toml",
        "user_role: a session of arn:aws:iam::123456789012:role/user-alice until ",
    ] {
        assert!(said.contains(evidence), "{evidence} is missing: {said}");
    }
    assert_eq!(
        sh("keymaker why alice --json | jq -c '[.may_log_in, .gets_credentials]'"),
        "[true,true]"
    );
    // Anybody who is not root sees as much as anybody may.
    let said = sh("runuser -u alice -- keymaker why alice");
    assert!(said.contains("?      sshd") && said.contains("?      chain"), "{said}");
    assert!(
        said.contains("\nalice may log in here, as far as can be told."),
        "{said}"
    );
    assert_eq!(
        sh("runuser -u alice -- keymaker why alice --json | jq -c '[.may_log_in, .gets_credentials]'"),
        "[null,null]"
    );
}

#[test]
fn the_first_closed_gate_to_a_shell_is_named() {
    let host = Host::fresh();
    assert_eq!(closed_gate("alice"), "");
    assert!(closed_gate("root").starts_with("name: root is a local account"));
    for local in ["root", "_apt"] {
        let said = run(&format!("keymaker why {local}")).refused().reads();
        assert!(
            said.contains("is a local account, so IAM has no say") && !said.contains("may not log in"),
            "{said}"
        );
    }
    let said = run("keymaker why root").refused().reads();
    assert!(
        said.contains("root is exempt in /etc/keymaker/credd.toml") && !said.contains("no AWS credentials"),
        "{said}"
    );
    assert_eq!(
        run("keymaker why root --json | jq -c '[.may_log_in, .gets_credentials]'").ok(),
        "[null,null]"
    );
    assert!(closed_gate("Alice").starts_with("name: "));
    assert!(closed_gate("postgres").starts_with("name: postgres is reserved"));
    assert!(closed_gate("nosuch").contains("IAM says that there is no such user"));

    iam("create-user --user-name nokeys");
    host.sync();
    assert!(closed_gate("nokeys").starts_with("keys: IAM has no active SSH key"));

    // Two names that are one in small letters: a clash, and who was made first has the name.
    host.add_settings("lowercase_names = true");
    iam("create-group --group-name keymaker_alice2");
    iam("create-user --user-name ALICE2");
    host.reload();
    // P6: somebody whom IAM calls by a capital, and this host has never seen.
    make_user("Nora", &[]);
    assert_eq!(
        ssh_with_key("/sandbox/keys/Nora", "nora", "pwd; id -un").ok(),
        "/home/nora\nnora"
    );
    sh("loginctl terminate-user nora; rm -r /home/nora");
    let gate = closed_gate("alice2");
    assert!(
        gate.starts_with("directory: ") && gate.contains("the name alice2 belongs to the IAM group"),
        "{gate}"
    );

    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.sync();
    assert!(closed_gate("carol").starts_with("permission: carol is not in the IAM group prod_ssh_users"));
    assert_eq!(closed_gate("alice"), "");

    sh("sandbox-fault down; touch -d '25 hours ago' /var/lib/keymaker/public/contact");
    until("the outage is told", Duration::from_secs(10), || {
        closed_gate("alice").starts_with("freshness: ")
    });
}

#[test]
fn of_two_users_whose_uids_collide_the_later_one_is_told_whose_it_is() {
    let host = Host::unstarted();
    // Found by trying: the formula makes 1933750192 of both.
    host.reseed(
        r#"{"users": [{"name": "first", "id": "AIDAESTKAAAAAAAAAAAAA"},
            {"name": "second", "id": "AIDAELCYAAAAAAAAAAAAA", "created": "2025-01-01T00:00:00Z"}]}"#,
    );
    host.start();
    assert_eq!(closed_gate("first"), "");
    assert_eq!(e2e::uid("first"), 1_933_750_192);
    let gate = closed_gate("second");
    assert!(
        gate.contains("the id 1933750192 belongs to AIDAESTKAAAAAAAAAAAAA"),
        "{gate}"
    );

    // Whom the settings leave out need not be created.
    host.add_settings("user_path_prefix = \"/staff/\"");
    host.reload();
    iam("create-user --user-name third");
    let said = run("keymaker why third").refused().reads();
    assert!(
        said.contains("user_path_prefix and only_group_members") && !said.contains("create the user"),
        "{said}"
    );
}

#[test]
fn the_first_closed_gate_to_credentials_is_named() {
    let _host = Host::fresh();
    sh("systemctl restart credd");
    assert_eq!(closed_credential_gate("alice"), "");
    // carol may log in, and has no role.
    assert_eq!(closed_gate("carol"), "");
    assert!(closed_credential_gate("carol").starts_with("method: no method of the chain applies to carol"));
    assert!(sh("keymaker why carol").contains("carol gets no AWS credentials here: "));
    assert_eq!(
        sh("keymaker why carol --json | jq -c '[.may_log_in, .gets_credentials]'"),
        "[true,false]"
    );

    with_credd(r#"user_chains = { alice = [] }"#, || {
        assert!(
            closed_credential_gate("alice").starts_with("chain: "),
            "{}",
            closed_credential_gate("alice")
        );
    });
    with_credd(r#"user_chains = { carol = ["user_role", "instance_role"] }"#, || {
        let said = run("keymaker why carol").stdout;
        assert!(
            said.contains("open   chain       user_role, then instance_role"),
            "{said}"
        );
        // The instance's role does not trust itself.
        let gate = closed_credential_gate("carol");
        assert!(
            gate.starts_with("method: ") && gate.contains("sts:AssumeRole"),
            "{gate}"
        );
    });
    sh("sandbox-fault down:AssumeRole");
    assert!(
        closed_credential_gate("bob").starts_with("method: not at the moment: "),
        "{}",
        closed_credential_gate("bob")
    );
    sh("sandbox-fault none; systemctl stop credd-capture");
    assert!(closed_credential_gate("alice").starts_with("credd: credd-capture.service is inactive"));
    sh("systemctl start credd-capture; systemctl stop credd.service");
    assert!(closed_credential_gate("alice").starts_with("chain: credd does not answer"));
    sh("systemctl stop credd.socket");
    assert!(closed_credential_gate("alice").starts_with("credd: credd.socket is inactive"));
    sh("keymaker capture down --yes");
    let off = sh("keymaker why alice");
    assert!(off.contains("credd is not turned on"), "{off}");
    assert_eq!(sh("keymaker why alice --json | jq .gets_credentials"), "null");
    sh("keymaker capture up");
    assert_eq!(closed_credential_gate("alice"), "");
}

/// What to do about the first closed gate.
fn remedy(user: &str) -> String {
    let seen = run(&format!("keymaker why {user} --json | jq -r '.gates[-1].remedy'"));
    seen.stdout.trim_end().to_owned()
}

/// What the gate of this name says, however it stands.
fn evidence(user: &str, gate: &str) -> String {
    run(&format!(
        "keymaker why {user} --json | jq -r '.gates[] | select(.gate == \"{gate}\") | \"\\(.state): \\(.evidence)\"'"
    ))
    .stdout
}

/// sshd reads these lines before its others.
fn configure_sshd(lines: &str) {
    sh(&format!(
        "cat > /etc/ssh/sshd_config.d/00-why.conf <<'END'\n{lines}\nEND\nsystemctl reset-failed ssh; systemctl restart ssh"
    ));
}

#[test]
fn sshds_lists_are_gone_through_as_sshd_does_and_the_remedy_lets_in() {
    let _host = Host::fresh();
    let file = "/etc/ssh/sshd_config.d/00-why.conf";
    configure_sshd("# Ours\nAllowUsers bob\nAllowUsers carol");
    let gate = closed_gate("alice");
    assert_eq!(
        gate,
        format!("sshd: AllowUsers bob carol does not name alice (line 2 of {file})")
    );
    ssh("alice", "true").refused();
    assert_eq!(closed_gate("bob"), "");
    sh(&remedy("alice"));
    assert_eq!(closed_gate("alice"), "");
    ssh("alice", "true").ok();

    configure_sshd("AllowGroups wheel");
    assert!(closed_gate("alice").starts_with("sshd: AllowGroups wheel does not name alice"));
    sh(&remedy("alice"));
    assert_eq!(closed_gate("alice"), "");
    ssh("alice", "true").ok();

    configure_sshd("DenyUsers bob al*ce");
    assert_eq!(
        closed_gate("alice"),
        format!("sshd: DenyUsers al*ce shuts alice out (line 1 of {file})")
    );
    assert!(remedy("alice").starts_with(&format!("take al*ce out of line 1 of {file}")));
    ssh("alice", "true").refused();

    // Where somebody logs in from is not known beforehand.
    configure_sshd("DenyUsers alice@10.0.0.0/8");
    let said = evidence("alice", "sshd");
    assert!(
        said.starts_with("unknown: DenyUsers alice@10.0.0.0/8 stands in line 1 of"),
        "{said}"
    );
    configure_sshd("Match Address 10.0.0.0/8\n  PubkeyAuthentication no\nMatch all");
    let said = evidence("alice", "sshd");
    assert!(
        said.starts_with(&format!(
            "unknown: line 2 of {file} sets pubkeyauthentication only for some"
        )),
        "{said}"
    );
    sh(&format!("rm {file}; systemctl reset-failed ssh; systemctl restart ssh"));
}

#[test]
fn beside_ec2_instance_connect_why_and_doctor_read_sshds_command_line_as_sshd_got_it() {
    let host = Host::fresh();
    sh(
        "systemctl restart credd; id ec2-instance-connect 2> /dev/null || useradd -r ec2-instance-connect
        install -D -m 755 /usr/bin/true /usr/share/ec2-instance-connect/eic_run_authorized_keys",
    );
    let healthy = run("keymaker doctor --json | jq -c .findings").ok();
    // The very options of the package.
    host.start_sshd_with(
        "-o \"AuthorizedKeysCommand /usr/share/ec2-instance-connect/eic_run_authorized_keys %u %f\" \
         -o \"AuthorizedKeysCommandUser ec2-instance-connect\"",
    );
    ssh("alice", "true").ok();
    assert_eq!(closed_gate("alice"), "");
    assert!(
        evidence("alice", "sshd").starts_with("open: "),
        "{}",
        evidence("alice", "sshd")
    );
    assert_eq!(run("keymaker doctor --json | jq -c .findings").ok(), healthy);
    // Without the title's help: what looks like options is a value, and what is a list shuts out.
    host.start_sshd_with(
        "-o \"AuthorizedKeysCommand /usr/bin/true -f %u\" -o AuthorizedKeysCommandUser=nobody -o \"AllowUsers bob carol\"",
    );
    ssh("alice", "true").refused();
    let gate = closed_gate("alice");
    assert_eq!(
        gate,
        "sshd: AllowUsers bob carol does not name alice (sshd's command line)"
    );
    assert_eq!(closed_gate("bob"), "");
    ssh("bob", "true").ok();
}

#[test]
fn pams_account_stack_is_asked_in_silence_and_changes_nothing() {
    let _host = Host::fresh();
    sh("cp -a /etc/pam.d /etc/security /run/");
    let restore = "cp -a /run/pam.d /run/security /etc/; rm -f /etc/pam.d/why-fails /run/why-hangs";
    ssh("alice", "true").ok();
    // A failure of alice's is counted, as at a console, and a login would set the count to nothing.
    sh("echo 'auth required pam_faillock.so authfail' > /etc/pam.d/why-fails
        sed -i '1i account required pam_faillock.so' /etc/pam.d/sshd
        pamtester why-fails alice authenticate; true");
    let failures = || sh("faillock --user alice | grep -c ' V$'; true");
    assert_eq!(failures(), "1");
    let journal_of_why = || {
        let mark = sh("journalctl --sync; journalctl -n 1 --show-cursor -o cat | sed -n 's/^-- cursor: //p'");
        let gate = closed_gate("alice");
        sh("journalctl --sync");
        (
            gate,
            run(&format!(
                "journalctl --after-cursor='{mark}' -o cat _COMM=pam-account + _COMM=systemd-logind"
            ))
            .stdout,
        )
    };
    assert_eq!(journal_of_why(), (String::new(), String::new()));
    assert!(
        evidence("alice", "pam").starts_with("open: "),
        "{}",
        evidence("alice", "pam")
    );
    assert_eq!(failures(), "1");

    sh("sed -i '1i account required pam_access.so' /etc/pam.d/sshd; echo '-:alice:ALL' >> /etc/security/access.conf");
    let refused = "pam: pam_access.so refuses the user: Permission denied".to_owned();
    assert_eq!(journal_of_why(), (refused, String::new()));
    assert_eq!(closed_gate("bob"), "");
    ssh("alice", "true").refused();
    // A login asks all modules, and this one sets its count to nothing.
    assert_eq!(failures(), "0");
    assert_eq!(sh("ls -d /run/keymaker-why.* 2> /dev/null | wc -l"), "0");

    // A module that never answers is given up.
    sh("cp /run/security/access.conf /etc/security/; mkfifo /run/why-hangs
        sed -i 's|pam_access.so|pam_access.so accessfile=/run/why-hangs|' /etc/pam.d/sshd");
    let said = evidence("alice", "pam");
    assert!(
        said.contains("unknown: ") && said.contains("did not end in time"),
        "{said}"
    );
    sh(restore);
    ssh("alice", "true").ok();
}

#[test]
fn a_name_that_a_setting_makes_a_login_name_is_told_the_setting() {
    let host = Host::unstarted();
    host.reseed(r#"{"users": [{"name": "dora@example.com"}, {"name": "Emil@example.com"}]}"#);
    host.start();
    for name in ["dora", "dora@example.com"] {
        let gate = closed_gate(name);
        assert!(gate.contains("\"dora@example.com\" cannot be a Unix name"), "{gate}");
        let remedy = remedy(name);
        assert!(
            remedy.contains("linux_user_suffix = \"@example.com\"") && !remedy.contains("lowercase_names"),
            "{remedy}"
        );
    }
    assert!(remedy("emil").contains("lowercase_names = true"), "{}", remedy("emil"));
    // doctor's remedy does it.
    let lines =
        sh("{ keymaker doctor || true; } | sed -n \"s/.*what to do: *\\(printf .*linux_user_suffix.*\\)/\\1/p\"");
    assert!(
        lines.contains("'linux_user_suffix = \"@example.com\"' 'lowercase_names = true'"),
        "{lines}"
    );
    sh(&lines);
    for name in ["dora", "emil"] {
        assert_eq!(closed_gate(name), "");
    }
    let gate = closed_gate("Emil@example.com");
    assert_eq!(
        gate,
        "name: \"Emil@example.com\" is no name of this host: the name here is emil"
    );
    assert!(remedy("Emil@example.com").starts_with("ssh emil@…, or the line \"User emil\" in ~/.ssh/config"));
    // As a Mac sends the name of its own account.
    assert_eq!(
        closed_gate("Dora"),
        "name: \"Dora\" is no name of this host: the name here is dora"
    );
    ssh("Dora", "true").refused();
    run("ssh -o BatchMode=yes -l Emil@example.com localhost true").refused();
    until("doctor says so, too", Duration::from_secs(30), || {
        let notes = run("keymaker doctor --json | jq -r '.notes[]'").stdout;
        notes.contains("as \"Dora\" in the last hour: the name here is dora (ssh dora@")
            && notes.contains("as \"Emil@example.com\" in the last hour: the name here is emil (ssh emil@")
    });
}

#[test]
fn a_release_is_advised_where_it_releases_and_nowhere_else() {
    let _host = Host::fresh();
    // Nobody has that uid, and nobody lives there.
    sh("mkdir -p /home/bob; chown 23456 /home/bob; chmod 700 /home/bob");
    assert!(closed_gate("bob").starts_with("permission: "), "{}", closed_gate("bob"));
    assert_eq!(remedy("bob"), "keymaker release bob");
    sh(&remedy("bob"));
    assert_eq!(closed_gate("bob"), "");
    // A local user's home lies in it.
    sh("mkdir -p /home/alice; chown 23456 /home/alice; useradd -M -d /home/alice/data data");
    assert!(
        closed_gate("alice").starts_with("permission: "),
        "{}",
        closed_gate("alice")
    );
    let remedy = remedy("alice");
    assert!(
        remedy.starts_with("/home/alice belongs to data, not to a former IAM user"),
        "{remedy}"
    );
    run("keymaker release alice").refused();
}

#[test]
fn what_credd_does_not_give_is_said_with_a_remedy_that_runs() {
    let _host = Host::fresh();
    sh("systemctl restart credd");
    with_credd("mode = \"observe\"", || {
        sh("systemctl restart credd-capture");
        let said = sh("keymaker why carol");
        assert!(said.contains("credd only looks on (mode = \"observe\")"), "{said}");
        assert_eq!(sh("keymaker why carol --json | jq .gets_credentials"), "null");
    });
    sh("systemctl restart credd-capture");
    let remedy = sh("keymaker why carol --json | jq -r '.credential_gates[-1].remedy'");
    let command = remedy.split('\'').nth(1).expect("a command is quoted");
    assert!(
        command.contains("--instance-iam-role sandbox-instance --user carol"),
        "{remedy}"
    );
    sh(&format!("sandbox-admin {command}"));
    until("carol gets credentials", Duration::from_secs(30), || {
        closed_credential_gate("carol").is_empty()
    });
}
