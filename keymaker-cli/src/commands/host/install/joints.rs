//! Where an installation without packages meets the system: system users, the daemon, nsswitch.conf, PAM, sshd.

use std::path::Path;

use super::super::probe::{credd, has_local_group, has_local_user, run};
use super::{authselect, files};

const DROP_IN: &str = "/etc/ssh/sshd_config.d/50-keymaker.conf";
/// What runs from now on; credd waits for 'keymaker capture up'.
const UNITS: [&str; 3] = [
    "keymakerd.service",
    "keymaker-end-sessions.path",
    "keymaker-start-late.path",
];
const USERS: [&str; 3] = ["keymakerd", "keymaker-keys", "credd"];
const GROUPS: [&str; 5] = ["keymakerd", "keymaker-keys", "keymaker-users", "keymaker-sudo", "credd"];

/// Joins what was put in place to the system; returns what is left to do, in words. sshd and PAM last: before, nobody
/// from IAM exists.
pub fn join() -> Result<String, String> {
    run("systemd-sysusers", &[])?;
    run("systemd-tmpfiles", &["--create", "/etc/tmpfiles.d/keymaker.conf"])?;
    run("systemctl", &["daemon-reload"])?;
    for unit in UNITS {
        run("systemctl", &["enable", "--now", unit])?;
    }
    let mut left = String::new();
    if authselect::is_here() {
        authselect::join()?
    } else {
        left += &run(files::JOIN, &["join_nsswitch", "again"])?;
        pam_auth_update(&[])?;
        left += &run(files::JOIN, &["say_what_stacks_lack"])?;
    }
    let drop_in = run("/usr/libexec/keymaker/sshd-drop-in", &[])?;
    files::write(Path::new(DROP_IN), format!("{drop_in}\n").as_bytes(), 0o644)?;
    reload_sshd()?;
    Ok(left)
}

/// Takes the joints apart in the other order; returns what could not be.
pub fn part() -> Vec<String> {
    let mut left = Vec::new();
    let mut attempt = |done: Result<(), String>| left.extend(done.err());
    // While the module still resolves users, no key in a home may open a login; so the names go first.
    attempt(if authselect::is_here() {
        authselect::part()
    } else {
        by_script("part_nsswitch")
    });
    attempt(files::remove(Path::new(DROP_IN)));
    attempt(reload_sshd());
    if !authselect::is_here() {
        attempt(pam_auth_update(&["--remove", "keymaker"]));
        attempt(by_script("part_stacks"));
    }
    for unit in UNITS.iter().chain(&credd::UNITS) {
        if Path::new("/etc/systemd/system").join(unit).exists() {
            attempt(run("systemctl", &["disable", "--now", unit]).map(|_| ()));
        }
    }
    if Path::new(files::SUDO_RULE).exists() {
        attempt(run(files::SUDO_RULE, &["--remove"]).map(|_| ()));
    }
    // Without credd, a closed metadata address would serve nobody.
    if Path::new(credd::CAPTURE).exists() {
        attempt(run(credd::CAPTURE, &["down"]).map(|_| ()));
    }
    for user in USERS {
        if has_local_user(user) {
            attempt(run("userdel", &[user]).map(|_| ()));
        }
    }
    for group in GROUPS {
        if has_local_group(group) {
            attempt(run("groupdel", &[group]).map(|_| ()));
        }
    }
    left
}

/// Where the script is gone, it has done this before: it stays until all joints are apart.
fn by_script(part: &str) -> Result<(), String> {
    if Path::new(files::JOIN).exists() {
        run(files::JOIN, &[part])?;
    }
    Ok(())
}

/// It asks on a terminal unless debconf is told not to.
fn pam_auth_update(arguments: &[&str]) -> Result<(), String> {
    let arguments = [
        &["DEBIAN_FRONTEND=noninteractive", "pam-auth-update", "--package"],
        arguments,
    ]
    .concat();
    run("env", &arguments).map(|_| ())
}

/// Each new sshd of a socket reads its settings again; one that runs is told.
pub fn reload_sshd() -> Result<(), String> {
    for unit in ["ssh.service", "sshd.service"] {
        if run("systemctl", &["is-active", unit]).is_ok() {
            run("systemctl", &["reload-or-restart", unit])?;
        }
    }
    Ok(())
}
