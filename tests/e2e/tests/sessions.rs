//! What runs as a user: it goes on when they lose their access, unless the administrator wants it ended.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{Host, delete_user, describe_role, groups, iam, order, run, sh, ssh, uid, until};

/// A session of bob's that waits for a long time.
fn session() -> Child {
    let session = Command::new("ssh")
        .args(["-o", "BatchMode=yes", "bob@localhost", "exec sleep 600"])
        .stdin(Stdio::null())
        .spawn()
        .expect("ssh(1) runs");
    until("bob's command runs", Duration::from_secs(10), || {
        run("pgrep -u bob -x sleep").status == 0
    });
    session
}

/// Takes bob out of the required group, and waits until the host knows.
fn refuse_bob() {
    iam("remove-user-from-group --user-name bob --group-name prod_ssh_users");
    sh("keymaker sync");
    assert!(sh("keymaker status").contains("bob: not in the required IAM group"));
}

// P9
#[test]
fn with_end_sessions_a_refused_users_session_ends() {
    let host = Host::with_settings("end_sessions = true");
    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.sync();
    let mut session = session();
    refuse_bob();
    until("bob's session has ended", Duration::from_secs(10), || {
        run("pgrep -u bob -x sleep").status != 0
    });
    assert!(!session.wait().expect("ssh ends").success());
    until("the journal says so", Duration::from_secs(10), || {
        run("journalctl -u keymaker-end-sessions | grep 'ended the sessions of bob'").status == 0
    });
}

// P9
#[test]
fn with_end_sessions_the_session_of_somebody_deleted_ends() {
    let host = Host::with_settings("end_sessions = true");
    let mut session = session();
    // Logind calls a session closed whose shell has gone, whatever runs on.
    ssh(
        "bob",
        "tmux new-session -d 'exec sleep 601'; setsid -f sleep 602 >/dev/null 2>&1",
    )
    .ok();
    sh("pgrep -u bob -f 'sleep 601' && pgrep -u bob -f 'sleep 602'");
    delete_user("bob");
    host.sync();
    assert_eq!(run("getent passwd bob").stdout, "");
    until("all that bob ran has ended", Duration::from_secs(10), || {
        run("pgrep -x sleep").status != 0
    });
    assert!(!session.wait().expect("ssh ends").success());
    until("the journal says so", Duration::from_secs(10), || {
        run("journalctl -u keymaker-end-sessions | grep 'ended the sessions of bob'").status == 0
    });
}

// P9
#[test]
fn without_it_a_running_session_goes_on() {
    let host = Host::with_settings("");
    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.sync();
    let mut session = session();
    refuse_bob();
    until("the publication has been looked at", Duration::from_secs(10), || {
        sh("systemctl show -P Result,ActiveState keymaker-end-sessions").contains("success")
    });
    sh("pgrep -u bob -x sleep");
    sh("kill $(pgrep -u bob -x sleep)");
    session.wait().expect("ssh ends");
}

/// What no session holds: a job of cron, runuser, a unit that does not listen, a setuid program of the user's that local
/// eve runs, and what detached itself from a session.
fn run_outside_of_sessions(user: &str) {
    sh(&format!(
        "useradd eve 2>/dev/null; rm -f /run/crond.reboot; echo '@reboot {user} exec sleep 611' > /etc/cron.d/e2e; chmod 644 /etc/cron.d/e2e
         systemctl restart cron
         setsid -f runuser -u {user} -- sleep 612 > /dev/null 2>&1 < /dev/null
         systemd-run -q --collect --uid={user} --unit=e2e-deaf bash -c 'trap \"\" TERM; while :; do sleep 613; done'
         cp /bin/sleep /usr/local/bin/e2e-sleep; chown {user} /usr/local/bin/e2e-sleep; chmod 4755 /usr/local/bin/e2e-sleep
         setsid -f runuser -u eve -- /usr/local/bin/e2e-sleep 614 > /dev/null 2>&1 < /dev/null"
    ));
    ssh(user, "setsid -f sleep 615 > /dev/null 2>&1 < /dev/null").ok();
    until("all of it runs", Duration::from_secs(20), || (611..=615).all(sleeps));
}

fn sleeps(seconds: u32) -> bool {
    run(&format!("pgrep -f 'sleep {seconds}$'")).status == 0
}

/// What still runs of that, once end-sessions has looked at what is published.
fn left() -> Vec<u32> {
    sh("systemctl start --wait keymaker-end-sessions");
    (611..=615).filter(|seconds| sleeps(*seconds)).collect()
}

fn tidy() {
    run(
        "systemctl stop e2e-deaf; pkill -KILL -f 'sleep 61[0-9]$'; rm -f /etc/cron.d/e2e /usr/local/bin/e2e-sleep; userdel -f eve; userdel -f local1",
    );
}

const EVERYTHING: [u32; 5] = [611, 612, 613, 614, 615];

// P9
#[test]
fn whatever_runs_as_somebody_who_lost_their_access_ends_whoever_started_it() {
    let host = Host::with_settings("end_sessions = true\nrequire_iam_group = \"prod_ssh_users\"");
    sh("setsid -f runuser -u alice -- sleep 616 > /dev/null 2>&1 < /dev/null");
    run_outside_of_sessions("bob");
    refuse_bob();
    until("all of it has ended", Duration::from_secs(20), || left().is_empty());
    assert!(sleeps(616), "a process of alice's was ended");
    // What asks no PAM still starts something as bob, without his groups, and it does not last.
    assert_eq!(groups("bob"), ["bob", "keymaker-users"]);
    assert_eq!(sh("runuser -u bob -- id -Gn"), "bob keymaker-users");
    assert!(sh("getent passwd bob").ends_with(":/usr/libexec/keymaker/refusal"));
    sh("setsid -f runuser -u bob -- sleep 617 > /dev/null 2>&1 < /dev/null");
    host.sync();
    until("the next pass ends it", Duration::from_secs(10), || !sleeps(617));
    tidy();
}

// P9
#[test]
fn whatever_runs_as_somebody_who_is_deleted_or_renamed_out_of_sight_ends() {
    for by_rename in [false, true] {
        let host = Host::with_settings("end_sessions = true");
        run_outside_of_sessions("bob");
        // Another name here is no reason.
        iam("update-user --user-name bob --new-user-name bobby");
        host.sync();
        assert_eq!(left(), EVERYTHING);
        if by_rename {
            iam("update-user --user-name bobby --new-user-name Bob@away");
        } else {
            delete_user("bobby");
        }
        host.sync();
        until("all of it has ended", Duration::from_secs(20), || left().is_empty());
        tidy();
    }
}

// P1
#[test]
fn what_runs_as_a_local_account_that_has_the_number_by_now_goes_on() {
    let host = Host::with_settings("end_sessions = true");
    run_outside_of_sessions("bob");
    let number = uid("bob");
    sh(&format!("useradd -o -u {number} local1"));
    delete_user("bob");
    host.sync();
    assert_eq!(left(), EVERYTHING);
    sh("userdel -f local1");
    until("without the account all of it ends", Duration::from_secs(20), || {
        left().is_empty()
    });
    tidy();
}

// P3
#[test]
fn neither_an_outage_nor_a_filter_in_the_file_ends_anything_unless_the_file_says_all() {
    let host = Host::with_settings("end_sessions = true\nsync_interval = 10\nmax_stale = 20\nauthz_ttl = 3");
    run_outside_of_sessions("carol");
    for fault in ["down", "deny"] {
        sh(&format!("sandbox-fault {fault}"));
        until(
            "nobody can tell whether carol may log in",
            Duration::from_secs(60),
            || ssh("carol", "true").status != 0,
        );
        order("sync");
        sh("systemctl restart keymakerd");
        assert_eq!(left(), EVERYTHING, "{fault}");
        sh("sandbox-fault none");
        host.sync();
    }
    host.add_settings("only_group_members = true");
    host.reload();
    assert_eq!(run("getent passwd carol").stdout, "");
    assert_eq!(left(), EVERYTHING);
    sh("sed -i 's/^end_sessions.*/end_sessions = \"all\"/' /etc/keymaker/keymakerd.toml");
    host.reload();
    until("all of it has ended", Duration::from_secs(20), || left().is_empty());
    tidy();
}
