//! A host whose role's description IAM does not give: before it was ever read nobody of ours gets in, and once read it
//! holds.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::{Host, order, run, sh, ssh, until};

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

/// How long until cron, which looks at its files once a minute, has run a line of this minute.
const CRON: Duration = Duration::from_secs(130);

#[test]
fn what_an_image_starts_as_iam_users_starts_on_a_first_boot_whose_pass_comes_late() {
    let host = Host::unstarted();
    e2e::describe_role("keymaker_require_iam_group=prod_ssh_users");
    let lines = "* * * * * alice touch /tmp/e2e-alice\n* * * * * root touch /tmp/e2e-root\n";
    fs::write("/etc/cron.d/e2e-first-boot", lines).expect("root may write there");
    for user in ["alice", "carol"] {
        let unit = format!("[Service]\nUser={user}\nExecStart=/bin/sleep 600\n");
        fs::write(format!("/run/systemd/system/e2e-{user}.service"), unit).expect("root may write there");
    }
    sh(
        "rm -f /tmp/e2e-alice /tmp/e2e-root /run/keymaker-start-late/done; mkdir -p /var/lib/systemd/linger; touch /var/lib/systemd/linger/alice
        systemctl daemon-reload; systemctl restart keymaker-start-late.path; sandbox-fault hang:GetRole",
    );
    let began = Instant::now();
    sh("systemctl start keymakerd");
    let waited = began.elapsed();
    println!("figure: a host that knows nobody waited {waited:?} for keymakerd");
    // Five seconds, for whatever starts after it.
    assert!(waited > Duration::from_secs(4), "{waited:?}");
    run("systemctl restart cron; systemctl start e2e-alice e2e-carol");
    for unit in ["e2e-alice", "e2e-carol"] {
        until("it has failed", Duration::from_secs(10), || {
            status_of(unit) == "failed 217"
        });
    }
    sh("sandbox-fault none");
    host.await_contact();
    let known = Instant::now();
    until("the unit of alice runs", Duration::from_secs(20), || {
        status_of("e2e-alice") == "active 0"
    });
    println!("figure: it ran {:?} after the first pass", known.elapsed());
    let manager = format!("user@{}", e2e::uid("alice"));
    until("the manager of alice runs", Duration::from_secs(20), || {
        status_of(&manager) == "active 0"
    });
    let ran = |user: &str| Path::new("/tmp").join(format!("e2e-{user}")).exists();
    until("cron runs the file that it had dropped", CRON, || {
        ran("alice") && ran("root")
    });
    println!("figure: cron ran its lines {:?} after the first pass", known.elapsed());
    assert_eq!(status_of("e2e-carol"), "failed 217", "carol may not log in here");
    // What an administrator stops stays stopped, whatever is published next.
    sh("systemctl stop e2e-alice");
    e2e::make_user("dave", &["keymaker_devs", "prod_ssh_users"]);
    host.sync();
    sh("systemctl start keymaker-start-late");
    assert_ne!(status_of("e2e-alice"), "active 0");
    sh(
        "rm -f /etc/cron.d/e2e-first-boot /run/systemd/system/e2e-*.service; loginctl disable-linger alice; systemctl daemon-reload",
    );
}

/// The state of a unit, and how its main process ended.
fn status_of(unit: &str) -> String {
    let property = |name: &str| sh(&format!("systemctl show -P {name} {unit}"));
    format!("{} {}", property("ActiveState"), property("ExecMainStatus"))
}
