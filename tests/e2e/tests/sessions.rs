//! Running sessions: they go on, unless the administrator wants them ended.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{Host, delete_user, describe_role, iam, run, sh, ssh, until};

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
