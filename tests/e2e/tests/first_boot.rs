//! A host whose role's description IAM does not give: before it was ever read nobody of ours gets in, and once read it
//! holds.

use e2e::{Host, order, run, sh, ssh};

/// Every way in which `GetRole` can fail; the first three differ in kind.
const FAULTS: [&str; 6] = ["hang", "deny", "throttle", "500", "down", "wrong"];

// P3 P7
#[test]
fn on_a_first_boot_on_which_getrole_fails_nobody_of_ours_gets_in_until_it_answers() {
    for mode in FAULTS.into_iter().take(if e2e::is_long() { 6 } else { 3 }) {
        let host = Host::unstarted();
        sh(&format!("sandbox-fault {mode}:GetRole"));
        e2e::describe_role("keymaker_require_iam_group=prod_ssh_users");
        sh("systemctl start keymakerd");
        for user in ["alice", "bob", "carol"] {
            let login = ssh(user, "echo I am in").refused();
            assert!(!login.stdout.contains("I am in"), "{mode}: {login}");
        }
        assert_eq!(run("test -e /var/lib/keymaker/public/contact").status, 1, "{mode}");
        let status = sh("keymaker status");
        assert!(
            status.contains("not read yet, so nobody from IAM may log in"),
            "{mode}: {status}"
        );
        sh("sandbox-fault none");
        host.await_contact();
        ssh("alice", "true").ok();
        ssh("carol", "true").refused();
    }
}

// P3
#[test]
fn settings_once_read_hold_while_getrole_fails_also_after_a_restart() {
    let host = Host::fresh();
    e2e::describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.reload();
    ssh("carol", "true").refused();
    sh("sandbox-fault 500:GetRole");
    sh("systemctl restart keymakerd");
    order("sync");
    ssh("carol", "true").refused();
    ssh("bob", "true").ok();
}
