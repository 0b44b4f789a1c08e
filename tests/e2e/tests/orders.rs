//! What administrators order of keymakerd, and who may not.

use std::fs;
use std::time::Duration;

use e2e::{Host, Outcome, delete_user, iam, make_user, run, sh, ssh, uid, until};

fn as_nobody(command: &str) -> Outcome {
    run(&format!(
        "setpriv --reuid nobody --regid nogroup --clear-groups {command}"
    ))
}

#[test]
fn anybody_may_read_the_status_and_only_root_may_give_orders() {
    let host = Host::fresh();
    for status in [sh("keymaker status"), as_nobody("keymaker status").ok()] {
        for part in [
            "123456789012",
            "i-",
            "sandbox-instance",
            "grade",
            "2: everyone",
            "root: ",
        ] {
            assert!(status.contains(part), "{part} is missing from\n{status}");
        }
    }
    let json = as_nobody("keymaker --json status").ok();
    fs::write("/run/e2e/status.json", json).expect("/run can be written");
    assert_eq!(
        sh("jq -r '.account, .running, .grade' /run/e2e/status.json"),
        "123456789012\ntrue\n2"
    );
    let alice = uid("alice");
    assert!(
        as_nobody(&format!("keymaker who-was {alice}"))
            .ok()
            .contains(&format!("uid {alice} is alice"))
    );
    as_nobody("keymaker who-was 4242424242").refused();
    for order in [
        "sync",
        "invalidate",
        "invalidate alice",
        "accept-settings",
        "release alice",
        "link-home alice",
        "reset",
    ] {
        let refused = as_nobody(&format!("keymaker {order}")).refused();
        assert!(refused.stderr.contains("only root may do this"), "{refused}");
        assert_eq!((refused.status, refused.stdout.as_str()), (1, ""), "{refused}");
    }
    assert_eq!(uid("alice"), alice);
    make_user("dave", &[]);
    assert!(sh("keymaker sync").contains("published: users"));
    assert!(sh("getent passwd dave").starts_with("dave:"));
    sh("systemctl stop keymakerd");
    let stopped = as_nobody("keymaker status");
    assert!(stopped.stdout.contains("keymakerd does not answer"), "{stopped}");
    let refused = run("keymaker sync").refused();
    assert!(refused.stderr.contains("systemctl status keymakerd"), "{refused}");
    host.start();
}

// P9
#[test]
fn a_disabled_key_opens_nothing_once_the_host_is_synced() {
    let host = Host::with_settings("authz_ttl = 3600");
    ssh("alice", "true").ok();
    let key = iam("list-ssh-public-keys --user-name alice --query SSHPublicKeys[0].SSHPublicKeyId --output text");
    iam(&format!(
        "update-ssh-public-key --user-name alice --ssh-public-key-id {key} --status Inactive"
    ));
    host.sync();
    ssh("alice", "true").refused();
    let said = run("keymaker why alice").refused().reads();
    assert!(said.contains("no active SSH key"), "{said}");
}

#[test]
fn invalidate_makes_the_next_login_ask_iam() {
    let _host = Host::with_settings("authz_ttl = 3600");
    ssh("bob", "true").ok();
    sh("sandbox-calls --reset");
    ssh("bob", "true").ok();
    assert_eq!(sh("sandbox-calls"), "", "young facts cause no call");
    delete_user("bob");
    ssh("bob", "true").ok();
    sh("keymaker invalidate bob");
    ssh("bob", "true").refused();
    run("keymaker invalidate nobody-has-this").refused();
    sh("keymaker invalidate");
    ssh("alice", "true").ok();
    assert!(sh("sandbox-calls").contains("GetUser"));
}

#[test]
fn release_says_what_there_is_to_release_and_who_was_knows_everybody_who_ever_was() {
    let host = Host::fresh();
    ssh("carol", "true").ok();
    let old = uid("carol");
    let nothing = run("keymaker release carol").refused();
    assert!(nothing.stderr.contains("nothing to release"), "{nothing}");
    run("keymaker release nobody-has-this").refused();
    run("keymaker release Not:A:Name").refused();
    delete_user("carol");
    host.sync();
    make_user("carol", &[]);
    host.sync();
    ssh("carol", "true").refused();
    let released = sh("keymaker release carol");
    assert!(
        released.contains(&format!("/home/carol is now /home/carol.{old}")),
        "{released}"
    );
    ssh("carol", "true").ok();
    assert!(sh(&format!("keymaker who-was {old}")).contains("no longer"));
    assert!(sh(&format!("keymaker who-was {}", uid("carol"))).contains("is carol"));
}

// P2
#[test]
fn reset_forgets_everybody_and_the_next_start_begins_anew_with_the_same_ids() {
    let _host = Host::fresh();
    ssh("alice", "true").ok();
    let alice = uid("alice");
    sh("keymaker reset --yes");
    assert_eq!(run("getent passwd alice").stdout, "");
    ssh("alice", "true").refused();
    assert_eq!(sh("find /var/lib/keymaker -type f"), "");
    let resting = run("keymaker sync");
    assert_ne!(resting.status, 0, "{resting}");
    assert_eq!(sh("find /var/lib/keymaker -type f"), "");
    assert!(sh("keymaker status").contains("systemctl restart keymakerd"));
    sh("systemctl restart keymakerd");
    until("alice gets in", Duration::from_secs(15), || {
        ssh("alice", "true").status == 0
    });
    assert_eq!(uid("alice"), alice);
}

// P1 P2
#[test]
fn release_moves_no_home_that_a_local_account_has() {
    let host = Host::fresh();
    delete_user("carol");
    host.sync();
    make_user("carol", &[]);
    host.sync();
    sh("useradd -M -d /home/carol -s /bin/bash lena; mkdir -p /home/carol; chown lena /home/carol");
    let homes = "stat -c '%n %u' /home/*";
    let before = sh(homes);
    let released = run("keymaker release carol").refused();
    assert!(released.stderr.contains("stays where it is"), "{released}");
    assert!(released.stderr.contains("lena's"), "{released}");
    assert_eq!(sh(homes), before);
    sh("userdel lena");
}
