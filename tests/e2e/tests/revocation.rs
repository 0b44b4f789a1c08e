//! The way out: what IAM takes back opens nothing any more, and soon.

use std::time::{Duration, Instant};

use e2e::{Host, calls, delete_user, describe_role, groups, iam, key_id, run, sh, ssh, until};

/// What these tests set `authz_ttl` to; a decision takes no longer than this beyond it.
const AUTHZ_TTL: Duration = Duration::from_secs(3);
const SETTINGS: &str = "authz_ttl = 3";
const DECIDING: Duration = Duration::from_secs(2);

/// Waits until the user is refused, which must be within `authz_ttl` from `since`; returns what the user then reads.
#[track_caller]
fn refused_in_time(user: &str, since: Instant) -> String {
    loop {
        let began = since.elapsed();
        let login = ssh(user, "echo I am in");
        if login.status != 0 {
            assert!(!login.stdout.contains("I am in"), "{login}");
            return login.reads();
        }
        assert!(began <= AUTHZ_TTL, "{user} got in {began:?} after IAM said no");
    }
}

// P7 P9
#[test]
fn only_members_of_the_required_group_get_in_and_the_others_read_why() {
    let host = Host::with_settings(SETTINGS);
    ssh("carol", "true").ok();
    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.reload();
    let carol = ssh("carol", "echo I am in").refused();
    assert!(
        carol
            .reads()
            .contains("carol is not in the IAM group prod_ssh_users, which this host requires"),
        "{carol}"
    );
    assert!(!carol.stdout.contains("I am in"), "{carol}");
    ssh("bob", "true").ok();
    iam("remove-user-from-group --user-name bob --group-name prod_ssh_users");
    let why = refused_in_time("bob", Instant::now());
    assert!(why.contains("bob is not in the IAM group prod_ssh_users"), "{why}");
    iam("add-user-to-group --user-name bob --group-name prod_ssh_users");
    until("bob gets in again", Duration::from_secs(6), || {
        ssh("bob", "true").status == 0
    });
}

// P9
#[test]
fn a_key_made_inactive_opens_nothing_after_authz_ttl_and_opens_again_when_active() {
    let _host = Host::with_settings(SETTINGS);
    ssh("bob", "true").ok();
    let set = |status| {
        let id = key_id("bob");
        iam(&format!(
            "update-ssh-public-key --user-name bob --ssh-public-key-id {id} --status {status}"
        ));
    };
    set("Inactive");
    let why = refused_in_time("bob", Instant::now());
    // The keys command may have shown it a moment before, and PAM looks again.
    assert!(
        why.contains("Permission denied (publickey)") || why.contains("is not one of bob's keys in IAM"),
        "{why}"
    );
    set("Active");
    until("bob gets in again", Duration::from_secs(6), || {
        ssh("bob", "true").status == 0
    });
}

// P9
#[test]
fn a_deleted_user_cannot_log_in_after_authz_ttl() {
    let host = Host::with_settings(SETTINGS);
    ssh("bob", "true").ok();
    delete_user("bob");
    refused_in_time("bob", Instant::now());
    host.sync();
    ssh("bob", "true").refused();
    assert_eq!(e2e::run("getent passwd bob").stdout, "");
}

// P9
#[test]
fn a_deleted_user_is_refused_with_keymakerds_files_and_without_keymakerd() {
    let host = Host::with_settings(SETTINGS);
    ssh("bob", "true").ok();
    ssh("alice", "true").ok();
    delete_user("bob");
    host.sync();
    e2e::sh("systemctl stop keymakerd");
    ssh("bob", "true").refused();
    ssh("alice", "true").ok();
}

// P9
#[test]
fn a_group_taken_away_is_absent_from_new_logins_after_authz_ttl() {
    let _host = Host::with_settings(SETTINGS);
    assert!(ssh("bob", "id -Gn").ok().contains("devs"));
    iam("remove-user-from-group --user-name bob --group-name keymaker_devs");
    let since = Instant::now();
    until("a new login lacks the group", AUTHZ_TTL + DECIDING, || {
        !ssh("bob", "id -Gn").ok().contains("devs")
    });
    assert!(since.elapsed() < AUTHZ_TTL + DECIDING);
    assert_eq!(groups("bob"), ["bob", "keymaker-users"]);
}

// P7
#[test]
fn who_is_refused_at_login_is_refused_by_su_too() {
    let host = Host::fresh();
    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.reload();
    let carol = run("su carol -c 'echo I am in'").refused();
    assert!(
        carol.reads().contains("carol is not in the IAM group prod_ssh_users"),
        "{carol}"
    );
    assert!(!carol.stdout.contains("I am in"), "{carol}");
    assert_eq!(run("su - bob -c 'id -un; pwd'").ok(), "bob\n/home/bob");
}

// P9
#[test]
fn nothing_that_a_local_user_does_at_the_sockets_lengthens_a_revocation() {
    let host = Host::with_settings(SETTINGS);
    host.scan_as_local_user();
    run("runuser -u eve -- bash -c 'echo invalidate | nc -N -U /run/keymaker/login.sock'").refused();
    ssh("bob", "true").ok();
    delete_user("bob");
    refused_in_time("bob", Instant::now());
}

// P9
#[test]
fn nothing_that_a_client_without_a_key_does_lengthens_a_revocation() {
    let host = Host::unstarted();
    host.add_settings(SETTINGS);
    let users: Vec<String> = (0..150)
        .map(|number| format!(r#"{{"name": "known{number}"}}"#))
        .collect();
    let alice = sh("sandbox-key alice");
    host.reseed(&format!(
        r#"{{"users": [{{"name": "alice", "keys": ["{alice}"]}}, {}]}}"#,
        users.join(", ")
    ));
    host.start();
    ssh("alice", "true").ok();
    let began = Instant::now();
    let before = calls("GetUser") + calls("ListSSHPublicKeys");
    host.offer_foreign_keys(150);
    until("the client gets no calls any more", Duration::from_secs(30), || {
        calls("GetUser") >= 30
    });
    let id = key_id("alice");
    iam(&format!(
        "update-ssh-public-key --user-name alice --ssh-public-key-id {id} --status Inactive"
    ));
    refused_in_time("alice", Instant::now());
    let asked = f64::from(calls("GetUser") + calls("ListSSHPublicKeys") - before);
    // Two buckets of tokens, each of which buys a call (limits.rs).
    let most = 2.0 * (60.0 + 5.0 * began.elapsed().as_secs_f64()) + 10.0;
    assert!(
        asked <= most,
        "a client without a key made keymakerd ask IAM {asked} times"
    );
}

// P9
#[test]
fn a_full_disk_lets_nobody_in_whom_iam_refuses_and_everybody_else() {
    let host = Host::unstarted();
    sh("mount -t tmpfs -o size=256k,mode=755 tmpfs /var/lib/keymaker && chown keymakerd: /var/lib/keymaker");
    host.add_settings(SETTINGS);
    host.add_settings("require_iam_group = \"prod_ssh_users\"");
    host.start();
    ssh("alice", "true").ok();
    ssh("bob", "true").ok();
    // Anybody who may write to the disk that holds keymakerd's files can fill it.
    sh("{ head -c 1M /dev/zero > /var/lib/keymaker/ballast; true; } 2>/dev/null");
    let id = key_id("bob");
    iam(&format!(
        "update-ssh-public-key --user-name bob --ssh-public-key-id {id} --status Inactive"
    ));
    refused_in_time("bob", Instant::now());
    iam(&format!(
        "update-ssh-public-key --user-name bob --ssh-public-key-id {id} --status Active"
    ));
    until("bob gets in again", Duration::from_secs(6), || {
        ssh("bob", "true").status == 0
    });
    iam("remove-user-from-group --user-name bob --group-name prod_ssh_users");
    refused_in_time("bob", Instant::now());
    let su = run("su bob -c 'echo I am in'").refused();
    assert!(su.reads().contains("to write down the answer"), "{su}");
    iam("add-user-to-group --user-name bob --group-name prod_ssh_users");
    until("bob gets in again", Duration::from_secs(6), || {
        ssh("bob", "true").status == 0
    });
    delete_user("bob");
    refused_in_time("bob", Instant::now());
    ssh("alice", "true").ok();
}
