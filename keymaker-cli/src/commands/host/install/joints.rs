//! Where an installation without packages meets the system: system users, the daemon, nsswitch.conf, PAM, sshd.

use std::fs;
use std::path::Path;

use keymaker_core::nsswitch;

use super::super::probe::{credd, has_local_group, has_local_user, run};
use super::{authselect, files};

const NSSWITCH: &str = "/etc/nsswitch.conf";
/// What a line initgroups needs behind the local files, and the mark that it was put there by us.
const CONTINUE: &str = " [SUCCESS=continue]";
const CONTINUES: &str = "/var/lib/keymaker-install/initgroups-continue";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/50-keymaker.conf";
/// What runs from now on; credd waits for 'keymaker capture up'.
const UNITS: [&str; 2] = ["keymakerd.service", "keymaker-end-sessions.path"];
const USERS: [&str; 3] = ["keymakerd", "keymaker-keys", "credd"];
const GROUPS: [&str; 5] = ["keymakerd", "keymaker-keys", "keymaker-users", "keymaker-sudo", "credd"];

/// Joins what was put in place to the system. sshd and PAM last: before, nobody from IAM exists.
pub fn join() -> Result<(), String> {
    run("systemd-sysusers", &[])?;
    run("systemd-tmpfiles", &["--create", "/etc/tmpfiles.d/keymaker.conf"])?;
    run("systemctl", &["daemon-reload"])?;
    for unit in UNITS {
        run("systemctl", &["enable", "--now", unit])?;
    }
    if authselect::is_here() {
        authselect::join()?
    } else {
        edit_nsswitch(with_keymaker)?;
        pam_auth_update(&[])?;
    }
    let drop_in = run("/usr/libexec/keymaker/sshd-drop-in", &[])?;
    files::write(Path::new(DROP_IN), format!("{drop_in}\n").as_bytes(), 0o644)?;
    reload_sshd()
}

/// Takes the joints apart in the other order; returns what could not be.
pub fn part() -> Vec<String> {
    let mut left = Vec::new();
    let mut attempt = |done: Result<(), String>| left.extend(done.err());
    // While the module still resolves users, no key in a home may open a login; so the names go first.
    attempt(if authselect::is_here() {
        authselect::part()
    } else {
        edit_nsswitch(without_keymaker)
    });
    attempt(files::remove(Path::new(CONTINUES)));
    attempt(files::remove(Path::new(DROP_IN)));
    attempt(reload_sshd());
    attempt(files::remove(Path::new("/usr/share/pam-configs/keymaker")));
    if !authselect::is_here() {
        attempt(pam_auth_update(&["--remove", "keymaker"]));
    }
    for unit in UNITS.iter().chain(&credd::UNITS) {
        if Path::new("/etc/systemd/system").join(unit).exists() {
            attempt(run("systemctl", &["disable", "--now", unit]).map(|_| ()));
        }
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
fn reload_sshd() -> Result<(), String> {
    for unit in ["ssh.service", "sshd.service"] {
        if run("systemctl", &["is-active", unit]).is_ok() {
            run("systemctl", &["reload-or-restart", unit])?;
        }
    }
    Ok(())
}

fn edit_nsswitch(edit: fn(&str) -> String) -> Result<(), String> {
    let before = fs::read_to_string(NSSWITCH).map_err(|error| format!("{NSSWITCH}: {error}"))?;
    let after = edit(&before);
    if after.contains(CONTINUE) && !before.contains(CONTINUE) {
        files::write(Path::new(CONTINUES), b"", 0o644)?;
    }
    if after == before {
        Ok(())
    } else {
        files::write(Path::new(NSSWITCH), after.as_bytes(), 0o644)
    }
}

/// keymaker behind every other service of each line.
fn with_keymaker(text: &str) -> String {
    edited(text, nsswitch::with_keymaker)
}

/// Our word is taken out, and the action of a line initgroups where it was put in with it.
fn without_keymaker(text: &str) -> String {
    let action_is_ours = Path::new(CONTINUES).exists();
    edited(text, |line| {
        let rest = nsswitch::without_keymaker(line);
        if action_is_ours && line.starts_with("initgroups") {
            rest.replacen(CONTINUE, "", 1)
        } else {
            rest
        }
    })
}

fn edited(text: &str, edit: impl Fn(&str) -> String) -> String {
    let databases = ["passwd", "group", "initgroups"];
    let lines = text.lines().map(|line| {
        let database = line.split(':').next().unwrap_or_default();
        if databases.contains(&database) {
            edit(line)
        } else {
            line.to_owned()
        }
    });
    lines.map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nsswitch_gets_keymaker_behind_the_others_once_and_loses_it_again() {
        let text = "# passwd: x\npasswd:\t\tfiles systemd\ngroup: files [NOTFOUND=return]\nshadow: files\n\
                    initgroups: sss files [SUCCESS=continue] db\n";
        let joined = with_keymaker(text);
        assert_eq!(
            joined,
            "# passwd: x\npasswd:\t\tfiles systemd keymaker\ngroup: files keymaker [NOTFOUND=return]\nshadow: files\n\
             initgroups: sss files [SUCCESS=continue] db keymaker\n"
        );
        assert_eq!(with_keymaker(&joined), joined);
        assert_eq!(without_keymaker(&joined), text);
    }
}
