//! Who a name and a number are: IAM users and groups beside the accounts of the host, who owns a uid, a name and a
//! home.

use std::time::Duration;

use e2e::{Host, NOISE, delete_user, groups, iam, journal, make_user, order, run, sh, ssh, ssh_with_key, uid, until};

// P5
#[test]
fn what_no_iam_user_of_ours_is_resolves_to_nothing_and_at_once() {
    let _host = Host::fresh();
    let long = "a".repeat(33);
    let very_long = "a".repeat(5000);
    let names = [
        "nobody-has-this",
        "4294967",
        "1879048193",
        &long,
        &very_long,
        "alice@example.com",
        "Alice",
        "BOB",
        "al ice",
        "../alice",
        "-",
    ];
    for name in names {
        for database in ["passwd", "group"] {
            let asked = run(&format!("getent {database} -- '{name}'"));
            assert_eq!(asked.stdout, "", "{asked}");
            assert!(asked.took < NOISE, "{asked}");
        }
        let asked = run(&format!("id -- '{name}'")).refused();
        assert!(asked.took < NOISE, "{asked}");
    }
}

#[test]
fn a_user_resolves_by_name_and_by_uid_and_a_group_by_name_and_by_gid() {
    let _host = Host::fresh();
    let alice = sh("getent passwd alice");
    let uid = uid("alice");
    assert!((1_879_048_192..=2_147_352_575).contains(&uid), "{alice}");
    assert_eq!(alice, format!("alice:*:{uid}:{uid}:alice:/home/alice:/bin/bash"));
    assert_eq!(sh(&format!("getent passwd {uid}")), alice);
    assert_eq!(sh(&format!("getent group {uid}")), format!("alice:*:{uid}:"));
    assert_eq!(sh("getent group alice"), format!("alice:*:{uid}:"));
    let devs = sh("getent group devs");
    let fields: Vec<&str> = devs.split(':').collect();
    assert_eq!(fields[3], "alice,bob");
    assert_eq!(sh(&format!("getent group {}", fields[2])), devs);
    assert_eq!(groups("bob"), ["bob", "devs", "keymaker-users"]);
    assert_eq!(groups("carol"), ["carol", "keymaker-users"]);
}

// P1
#[test]
fn iam_users_with_the_names_of_the_systems_accounts_become_and_open_nothing() {
    let host = Host::unstarted();
    sh("useradd -r -m -s /bin/bash postgres");
    let before = sh("getent passwd; getent group; id root; id postgres");
    host.reseed(
        r#"{"users": [{"name": "root", "groups": ["keymaker_devs"]}, {"name": "sudo", "groups": ["keymaker_sudo"]}, {"name": "wheel"},
            {"name": "postgres", "groups": ["keymaker_sudo"]}, {"name": "devs", "created": "2030-01-01T00:00:00Z"},
            {"name": "bob", "groups": ["keymaker_devs", "keymaker_root", "keymaker_shadow", "keymaker_docker"]}],
            "groups": [{"name": "keymaker_devs"}, {"name": "keymaker_sudo"}, {"name": "keymaker_root"}, {"name": "keymaker_shadow"},
            {"name": "keymaker_docker"}]}"#,
    );
    host.start();
    for name in ["root", "sudo", "wheel", "postgres", "devs"] {
        let login = ssh(name, "echo I am in").refused();
        assert!(!login.stdout.contains("I am in"), "{login}");
    }
    for name in ["sudo", "wheel", "devs"] {
        assert_eq!(run(&format!("getent passwd {name}")).stdout, "");
    }
    assert!(sh("getent group devs").ends_with(":bob"), "the group was made earlier");
    assert_eq!(groups("bob"), ["bob", "devs", "keymaker-users"]);
    assert_eq!(
        sh("getent -s files passwd; getent -s files group; id root; id postgres"),
        before
    );
    ssh("bob", "true").ok();
}

// P1
#[test]
fn a_local_account_added_after_its_namesake_was_published_inherits_no_group() {
    let host = Host::fresh();
    // Each a person of their own: a name that another user had here is refused and has no groups anyway.
    for (keymakerd, name) in [("running", "dave"), ("dead", "dana")] {
        make_user(name, &["keymaker_devs", "keymaker_sudo"]);
        host.sync();
        assert_eq!(groups(name), [name, "devs", "keymaker-users", "sudo"]);
        if keymakerd == "dead" {
            sh("systemctl kill -s KILL keymakerd; systemctl stop keymakerd");
        }
        // useradd refuses a name that resolves; a configuration tool that writes the file does not.
        sh(&format!(
            "echo '{name}:x:4242:4242::/home/{name}:/bin/bash' >> /etc/passwd"
        ));
        assert_eq!(
            run(&format!("id -G {name}")).stdout.trim_end(),
            "4242",
            "with keymakerd {keymakerd}"
        );
        assert!(sh(&format!("getent passwd {name}")).starts_with(&format!("{name}:x:4242:")));
        let login = ssh(name, "echo I am in").refused();
        assert!(!login.stdout.contains("I am in"), "{login}");
        sh(&format!("sed -i /^{name}:/d /etc/passwd"));
        delete_user(name);
    }
}

// P1
#[test]
fn who_has_the_uid_of_a_local_account_is_refused_and_nobody_else() {
    let host = Host::fresh();
    let uid = uid("alice");
    ssh("alice", "true").ok();
    // Afterwards, while alice is published.
    sh(&format!(
        "echo 'lola:x:{uid}:{uid}::/home/lola:/bin/bash' >> /etc/passwd"
    ));
    let login = ssh("alice", "echo I am in").refused();
    assert!(!login.stdout.contains("I am in"), "{login}");
    until("alice resolves no longer", Duration::from_secs(5), || {
        run("getent passwd alice").stdout.is_empty()
    });
    ssh("alice", "true").refused();
    assert!(sh(&format!("getent passwd {uid}")).starts_with("lola:x:"));
    ssh("bob", "true").ok();
    // On a host that had the account before Keymaker came.
    sh("systemctl stop keymakerd; rm -rf /var/lib/keymaker/*");
    host.start();
    assert_eq!(run("getent passwd alice").stdout, "");
    ssh("alice", "true").refused();
    ssh("bob", "true").ok();
    assert!(
        sh("cat /run/keymaker/status.json").contains(&format!("the id {uid} belongs to a user or group of this host"))
    );
}

/// Two `UserIds` whose SHA-256 falls on one uid.
const ONE_UID: u32 = 2_143_653_307;
const ERIN: &str = r#"{"name": "erin", "id": "AIDAQ6KAYIGTKTN5BOVAO", "created": "2020-01-01T00:00:00Z"}"#;
const FRANK: &str = r#"{"name": "frank", "id": "AIDAQ6KAYIGTDCC622FMZ", "created": "2021-01-01T00:00:00Z"}"#;

fn seed_of(users: &[&str]) -> String {
    format!(r#"{{"users": [{{"name": "bob"}}, {}]}}"#, users.join(", "))
}

// P2
#[test]
fn of_two_users_with_one_uid_the_earlier_owns_it() {
    let _host = Host::with_seed(&seed_of(&[FRANK, ERIN]));
    assert_eq!(uid("erin"), ONE_UID);
    ssh("erin", "true").ok();
    assert_eq!(run("getent passwd frank").stdout, "");
    ssh("frank", "true").refused();
    ssh("bob", "true").ok();
}

// P2
#[test]
fn where_the_later_made_had_the_uid_first_both_are_refused_until_an_administrator_decides() {
    let host = Host::with_seed(&seed_of(&[FRANK]));
    assert_eq!(uid("frank"), ONE_UID);
    ssh("frank", "true").ok();
    host.reseed(&seed_of(&[FRANK, ERIN]));
    host.sync();
    for name in ["erin", "frank"] {
        assert_eq!(run(&format!("getent passwd {name}")).stdout, "");
        ssh(name, "true").refused();
    }
    ssh("bob", "true").ok();
    assert!(sh("cat /run/keymaker/status.json").contains("is claimed by"));
}

// P2
#[test]
fn a_recreated_user_is_refused_until_the_name_is_released() {
    let host = Host::fresh();
    let old = uid("alice");
    ssh("alice", "echo secret > diary").ok();
    delete_user("alice");
    make_user("alice", &["prod_ssh_users"]);
    host.sync();
    let login = ssh("alice", "cat diary").refused();
    assert!(!login.stdout.contains("secret"), "{login}");
    assert!(
        login
            .reads()
            .contains("the name alice belonged to another IAM user on this host"),
        "{login}"
    );
    assert!(login.reads().contains("keymaker release alice"), "{login}");
    assert_ne!(uid("alice"), old);
    // Anybody who may name IAM users can have a home at the name that the old one is to get.
    sh(&format!("mkdir /home/alice.{old}"));
    sh("keymaker release alice");
    assert_eq!(
        ssh("alice", "pwd; ls; stat -c '%a %u' .").ok(),
        format!("/home/alice\n700 {}", uid("alice"))
    );
    assert_eq!(
        sh(&format!(
            "cat /home/alice.{old}.1/diary; stat -c '%a %u' /home/alice.{old}.1"
        )),
        format!("secret\n700 {old}")
    );
    // The name is hers, and again a home is in the way.
    sh(&format!(
        "mv /home/alice.{old}.1 /home/old; rm -r /home/alice; mv /home/old /home/alice"
    ));
    assert!(sh("keymaker release alice").contains(&format!("/home/alice is now /home/alice.{old}.1")));
    ssh("alice", "true").ok();
}

// P2
#[test]
fn a_user_made_again_within_one_pass_is_refused_by_the_nudge_alone() {
    let _host = Host::with_settings("authz_ttl = 1\nsync_interval = 3600");
    ssh("alice", "echo secret > diary").ok();
    delete_user("alice");
    make_user("alice", &[]);
    until("the first alice's facts are old", Duration::from_secs(3), || {
        let login = ssh("alice", "echo I am in");
        login.status != 0
    });
    assert!(order("release nobody-has-this").starts_with("failed "));
    let login = ssh("alice", "cat diary").refused();
    assert!(!login.stdout.contains("secret"), "{login}");
}

// P2
#[test]
fn on_a_home_shared_by_two_hosts_a_user_has_one_home_and_never_somebody_elses() {
    let host = Host::fresh();
    ssh("alice", "echo mine > diary").ok();
    let alice = uid("alice");
    // Another host with the same /home: it knows nothing, and comes to the same uid.
    sh("systemctl stop keymakerd; rm -rf /var/lib/keymaker/*");
    host.start();
    assert_eq!(uid("alice"), alice);
    assert_eq!(ssh("alice", "cat diary").ok(), "mine");
    // Another user's home, as a host with another id scheme would have made it.
    sh("chown -R 4242:4242 /home/alice");
    let login = ssh("alice", "cat diary").refused();
    assert!(
        login
            .reads()
            .contains("the home directory of alice belongs to somebody else"),
        "{login}"
    );
    assert!(!login.stdout.contains("mine"), "{login}");
    assert_eq!(
        sh("stat -c '%u %a' /home/alice /home/alice/diary | sort -u"),
        "4242 644\n4242 700"
    );
}

// P2
#[test]
fn the_files_of_another_instance_give_ids_and_no_login_before_the_first_sync() {
    let host = Host::fresh();
    let alice = uid("alice");
    ssh("alice", "true").ok();
    sh(
        "systemctl stop keymakerd; sandbox-imds set instance-id i-0fedcba9876543210; sandbox-fault down; systemctl start keymakerd",
    );
    until(
        "keymakerd knows that it is another instance",
        Duration::from_secs(10),
        || run("test -e /var/lib/keymaker/public/contact").status != 0,
    );
    assert_eq!(uid("alice"), alice);
    let login = ssh("alice", "echo I am in").refused();
    assert!(!login.stdout.contains("I am in"), "{login}");
    assert!(
        login.reads().contains("cannot verify whether alice may log in"),
        "{login}"
    );
    sh("sandbox-fault none");
    host.await_contact();
    ssh("alice", "true").ok();
    assert_eq!(uid("alice"), alice);
}

// P1
#[test]
fn an_older_local_account_keeps_its_keys_and_its_iam_namesake_gets_nothing() {
    let host = Host::unstarted();
    sh("sandbox-key intruder; useradd -m -s /bin/bash alice; mkdir -m 700 ~alice/.ssh; cp /sandbox/keys/intruder.pub ~alice/.ssh/authorized_keys
        chown -R alice: ~alice/.ssh");
    host.start();
    ssh("alice", "true").refused();
    let login = ssh_with_key("/sandbox/keys/intruder", "alice", "id -Gn").ok();
    assert_eq!(login, "alice");
}

// P2
#[test]
fn a_renamed_user_keeps_the_uid_and_the_next_of_the_old_name_is_somebody_else() {
    let host = Host::with_settings("authz_ttl = 1");
    let uid_of_alice = uid("alice");
    ssh("alice", "echo secret > diary").ok();
    iam("update-user --user-name alice --new-user-name alicia");
    let as_alicia = |command| ssh_with_key("/sandbox/keys/alice", "alicia", command);
    // The home is under the new name, and both places are named: to whom a shell is given, since sshd shows it to nobody else.
    let first = run("printf '%s\\n' 'echo; id -u; pwd; cat diary' exit |
         ssh -tt -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -i /sandbox/keys/alice alicia@localhost");
    let first = first.ok().replace('\r', "");
    assert!(
        first.contains(&format!("\n{uid_of_alice}\n/home/alicia\nsecret\n")),
        "{first}"
    );
    assert!(
        first.contains("your home directory /home/alice is /home/alicia from now on"),
        "{first}"
    );
    assert!(journal("-t sshd -t sshd-session").contains("moved the home /home/alice to /home/alicia"));
    assert_eq!(sh("ls -A /home"), "alicia");
    ssh("alice", "true").refused();
    make_user("alice", &[]);
    host.sync();
    assert_ne!(uid("alice"), uid_of_alice);
    let login = ssh("alice", "cat diary").refused();
    assert!(
        login.reads().contains("the name alice belonged to another IAM user"),
        "{login}"
    );
    assert!(!login.stdout.contains("secret"), "{login}");
    assert_eq!(as_alicia("id -u").ok(), uid_of_alice.to_string());
}

// P2
#[test]
fn a_home_under_a_former_name_goes_to_its_renamed_owner_where_the_name_is_released() {
    let host = Host::with_settings("authz_ttl = 1");
    ssh("alice", "echo secret > diary").ok();
    // She has not logged in by her new name, when the old one is somebody else's already.
    iam("update-user --user-name alice --new-user-name alicia");
    make_user("alice", &["prod_ssh_users"]);
    host.sync();
    let released = sh("keymaker release alice");
    assert!(
        released.contains("/home/alice is now /home/alicia, the home of alicia, who had the name before"),
        "{released}"
    );
    assert_eq!(
        ssh_with_key("/sandbox/keys/alice", "alicia", "pwd; cat diary").ok(),
        "/home/alicia\nsecret"
    );
    assert_eq!(ssh("alice", "pwd; ls").ok(), "/home/alice");
}

// P2
#[test]
fn a_group_made_again_keeps_nobodys_files_until_an_administrator_gives_it_the_number_of_the_former() {
    let host = Host::fresh();
    let gid = || sh("getent group devs | cut -d: -f3");
    let former = gid();
    sh("touch /home/of-devs; chgrp devs /home/of-devs");
    // As Terraform does where a group's path changes.
    for member in ["alice", "bob"] {
        iam(&format!(
            "remove-user-from-group --group-name keymaker_devs --user-name {member}"
        ));
    }
    iam("delete-group --group-name keymaker_devs");
    iam("create-group --group-name keymaker_devs");
    iam("add-user-to-group --group-name keymaker_devs --user-name bob");
    host.sync();
    assert_ne!(gid(), former);
    assert!(!sh("id -G bob").split(' ').any(|gid| gid == former));
    let was = sh(&format!("keymaker who-was {former}"));
    assert!(
        was.starts_with(&format!(
            "gid {former} was, and no longer is on this host the group devs (IAM group id AGPA"
        )),
        "{was}"
    );
    // Either of the two remedies that doctor names.
    let note = sh("keymaker --json doctor | jq -r '.notes[] | select(contains(\"was made again in IAM\"))'");
    let (chgrp, line) = note
        .split_once("the same people: ")
        .and_then(|(_, remedies)| remedies.split_once(", or, in /etc/keymaker/keymakerd.toml, "))
        .unwrap_or_else(|| panic!("{note}"));
    sh(chgrp);
    assert_eq!(sh("stat -c %g /home/of-devs"), gid());
    sh(&format!("chgrp {former} /home/of-devs"));
    host.add_settings(line);
    host.reload();
    assert_eq!((gid(), sh("stat -c %G /home/of-devs")), (former, "devs".to_owned()));
    assert_eq!(groups("bob"), ["bob", "devs", "keymaker-users"]);
    let healthy = run("keymaker doctor").stdout;
    assert!(!healthy.contains("was made again in IAM"), "{healthy}");
}

// P2
#[test]
fn a_link_at_a_former_home_is_made_while_the_name_is_nobodys_and_gone_before_its_next_holder_logs_in() {
    let host = Host::with_settings("authz_ttl = 1");
    for mode in ["755", "1777"] {
        sh(&format!("chmod {mode} /home"));
        ssh("alice", "echo secret > diary").ok();
        let own = run("keymaker link-home alice").refused();
        assert!(own.stderr.contains("is the name of uid"), "{own}");
        iam("update-user --user-name alice --new-user-name alicia");
        host.sync();
        let unmoved = run("keymaker link-home alice").refused();
        assert!(unmoved.stderr.contains("/home/alicia is not there yet"), "{unmoved}");
        ssh_with_key("/sandbox/keys/alice", "alicia", "true").ok();
        // Who else has the name, or could have it.
        for (name, why) in [
            ("bob", "is the name of uid"),
            ("root", "reserved"),
            ("nosuch", "nobody from IAM"),
        ] {
            let refused = run(&format!("keymaker link-home {name}")).refused();
            assert!(refused.stderr.contains(why), "{refused}");
        }
        sh("mkdir /home/alice");
        let there = run("keymaker link-home alice").refused();
        assert!(there.stderr.contains("/home/alice is there already"), "{there}");
        sh("rmdir /home/alice");
        assert!(sh("keymaker link-home alice").starts_with("/home/alice leads to /home/alicia"));
        assert_eq!(
            sh("readlink /home/alice; stat -c %u /home/alice; cat /home/alice/diary"),
            "/home/alicia\n0\nsecret"
        );
        ssh_with_key("/sandbox/keys/alice", "alicia", "true").ok();
        // Her crontab, in Debian's folder and in that of Enterprise Linux.
        for folder in ["/var/spool/cron/crontabs", "/var/spool/cron"] {
            let left = format!("{folder}/alice is alicia's");
            sh(&format!(
                "mkdir -p {folder}; install -o alicia -m 600 /dev/null {folder}/alice"
            ));
            assert!(run("keymaker why alicia").stdout.contains(&left));
            assert!(run("keymaker doctor").stdout.contains(&left));
            sh(
                "$(keymaker --json doctor | jq -r '.findings[] | select(.what | contains(\"/var/spool/cron\")).remedy')",
            );
            assert_eq!(
                sh(&format!(
                    "stat -c %U {folder}/alicia; test -e {folder}/alice || echo moved"
                )),
                "alicia\nmoved"
            );
            let healthy = run("keymaker doctor").stdout;
            assert!(
                !healthy.contains("is alicia's") && !healthy.contains("leads to"),
                "{healthy}"
            );
            sh(&format!("rm {folder}/alicia"));
        }
        // Her mail: moved, and where she has some already, added to it.
        for (mail, there) in [("first", ""), ("second", "first\n")] {
            sh(&format!(
                "install -o alicia -g mail -m 660 /dev/null /var/mail/alice; echo {mail} > /var/mail/alice"
            ));
            assert!(run("keymaker doctor").stdout.contains("/var/mail/alice is alicia's"));
            sh(
                "bash -c \"$(keymaker --json doctor | jq -r '.findings[] | select(.what | contains(\"/var/mail\")).remedy')\"",
            );
            assert_eq!(
                sh("ls /var/mail; stat -c %U /var/mail/alicia; cat /var/mail/alicia"),
                format!("alicia\nalicia\n{there}{mail}")
            );
        }
        sh("rm /var/mail/alicia");
        // A local account of that name.
        sh("echo 'alice:x:4242:4242::/home/alice:/bin/bash' >> /etc/passwd");
        assert!(
            run("keymaker doctor")
                .stdout
                .contains("/home/alice leads to /home/alicia")
        );
        sh("sed -i /^alice:/d /etc/passwd");
        // The next of that name in IAM does not get in by it, and gets a home of their own.
        make_user("alice", &["prod_ssh_users"]);
        host.sync();
        let login = ssh("alice", "cat diary").refused();
        assert!(!login.stdout.contains("secret"), "{login}");
        assert!(
            run("keymaker doctor")
                .stdout
                .contains("/home/alice leads to /home/alicia")
        );
        assert!(sh("keymaker release alice").contains("the link /home/alice is removed"));
        assert_eq!(
            ssh("alice", "pwd; ls; stat -c '%F %u' .").ok(),
            format!("/home/alice\ndirectory {}", uid("alice"))
        );
        assert_eq!(sh("cat /home/alicia/diary"), "secret");
        assert!(!run("keymaker doctor").stdout.contains("leads to"));
        for name in ["alice", "alicia"] {
            delete_user(name);
            sh(&format!("rm -r /home/{name}"));
        }
        make_user("alice", &["prod_ssh_users"]);
        host.sync();
        for name in ["alice", "alicia"] {
            sh(&format!("keymaker release {name}"));
        }
    }
    sh("chmod 755 /home");
    // Renamed twice: the link leads to where the home was, and to nobody who has that name next.
    ssh("alice", "true").ok();
    iam("update-user --user-name alice --new-user-name ally");
    host.sync();
    ssh_with_key("/sandbox/keys/alice", "ally", "true").ok();
    // Without keymakerd no name is released, and what was done is said.
    sh("keymaker link-home alice; systemctl stop keymakerd");
    let said = run("keymaker release alice").refused().stderr;
    assert!(said.contains("the link /home/alice is removed"), "{said}");
    sh("systemctl start keymakerd; keymaker link-home alice");
    iam("update-user --user-name ally --new-user-name alix");
    host.sync();
    ssh_with_key("/sandbox/keys/alice", "alix", "true").ok();
    assert!(
        run("keymaker doctor")
            .stdout
            .contains("no longer the home of who had the name alice")
    );
    let released = sh("keymaker release ally");
    assert!(released.contains("the link /home/alice is removed"), "{released}");
    assert_eq!(sh("ls -A /home | grep al"), "alix");
    // And back: doctor says what is in the way.
    iam("update-user --user-name alix --new-user-name ally");
    host.sync();
    ssh_with_key("/sandbox/keys/alice", "ally", "true").ok();
    sh("keymaker link-home alix");
    iam("update-user --user-name ally --new-user-name alix");
    host.sync();
    assert!(
        run("keymaker doctor")
            .stdout
            .contains("alix is the name of who has that home again")
    );
    sh("rm /home/alix");
    ssh_with_key("/sandbox/keys/alice", "alix", "true").ok();
    delete_user("alix");
    sh("rm -r /home/alix");
}

// P2 P11
#[test]
fn a_folder_that_is_prepared_for_somebody_does_not_become_their_home() {
    let _host = Host::fresh();
    ssh("bob", "true").ok();
    sh("install -d -o alice -g devs -m 2775 /home/project; rm -f /tmp/owned");
    ssh(
        "bob",
        "echo 'touch /tmp/owned' | tee /home/project/.bashrc > /home/project/.profile",
    )
    .ok();
    ssh("alice", "true").ok();
    run("test -e /tmp/owned").refused();
    assert_eq!(sh("ls -A /home"), "alice\nbob\nproject");
}

// P1
#[test]
fn a_local_group_added_later_keeps_its_name_and_has_no_member_from_iam() {
    let _host = Host::fresh();
    assert_eq!(groups("bob"), ["bob", "devs", "keymaker-users"]);
    sh("echo 'devs:x:4242:' >> /etc/group");
    assert_eq!(sh("getent group devs"), "devs:x:4242:");
    assert!(!sh("id -G bob").split(' ').any(|gid| gid == "4242"));
    // Until then id(1) finds no name for its number, and fails.
    until("the IAM group has gone", Duration::from_secs(20), || {
        run("id -Gn bob").stdout.trim() == "bob keymaker-users"
    });
    assert!(!ssh("bob", "id -Gn").ok().contains("devs"));
}
