//! Where an installation without packages meets the system: system users, the daemon, nsswitch.conf, PAM, sshd.

use std::fs;
use std::path::Path;

use super::super::probe::{nsswitch, run};
use super::files;

const NSSWITCH: &str = "/etc/nsswitch.conf";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/50-keymaker.conf";
const USERS: [&str; 2] = ["keymakerd", "keymaker-keys"];
const GROUPS: [&str; 4] = ["keymakerd", "keymaker-keys", "keymaker-users", "keymaker-sudo"];

/// Joins what was put in place to the system. sshd and PAM last: before, nobody from IAM exists.
pub fn join() -> Result<(), String> {
    run("systemd-sysusers", &[])?;
    run("systemd-tmpfiles", &["--create", "/etc/tmpfiles.d/keymaker.conf"])?;
    run("systemctl", &["daemon-reload"])?;
    run("systemctl", &["enable", "--now", "keymakerd.service"])?;
    edit_nsswitch(with_keymaker)?;
    pam("--package")?;
    let drop_in = run("/usr/libexec/keymaker/sshd-drop-in", &[])?;
    files::write(Path::new(DROP_IN), format!("{drop_in}\n").as_bytes(), 0o644)?;
    reload_sshd();
    Ok(())
}

/// Takes the joints apart in the other order; returns what could not be.
pub fn part() -> Result<Vec<String>, String> {
    let mut left = Vec::new();
    let mut attempt = |done: Result<String, String>| left.extend(done.err());
    // While the module still resolves users, no key in a home may open a login; so the names go first.
    attempt(edit_nsswitch(without_keymaker).map(|()| String::new()));
    let _ = fs::remove_file(DROP_IN);
    reload_sshd();
    let _ = fs::remove_file("/usr/share/pam-configs/keymaker");
    attempt(pam("--remove=keymaker").map(|()| String::new()));
    attempt(run("systemctl", &["disable", "--now", "keymakerd.service"]));
    let exists = |file: &str, name: &str| super::super::probe::local_line(file, name).is_some();
    for user in USERS {
        if exists("/etc/passwd", user) {
            attempt(run("userdel", &[user]));
        }
    }
    for group in GROUPS {
        if exists("/etc/group", group) {
            attempt(run("groupdel", &[group]));
        }
    }
    Ok(left)
}

fn pam(how: &str) -> Result<(), String> {
    if !Path::new("/usr/sbin/pam-auth-update").exists() {
        let authselect = "authselect has no profile of Keymaker's yet: put the lines of /usr/share/pam-configs/keymaker into the PAM stacks";
        return Err(authselect.to_owned());
    }
    let arguments: Vec<&str> = match how.strip_prefix("--remove=") {
        Some(profile) => vec!["--package", "--remove", profile],
        None => vec!["--package"],
    };
    // pam-auth-update asks on a terminal unless debconf is told not to.
    let arguments = [vec!["DEBIAN_FRONTEND=noninteractive", "pam-auth-update"], arguments].concat();
    run("env", &arguments).map(|_| ())
}

fn reload_sshd() {
    if run("systemctl", &["is-active", "ssh.socket"]).is_ok() {
        let _ = run("systemctl", &["try-restart", "ssh.service"]);
        return;
    }
    for unit in ["ssh.service", "sshd.service"] {
        let _ = run("systemctl", &["try-reload-or-restart", unit]);
    }
}

fn edit_nsswitch(edit: fn(&str) -> String) -> Result<(), String> {
    let before = fs::read_to_string(NSSWITCH).map_err(|error| format!("{NSSWITCH}: {error}"))?;
    let after = edit(&before);
    match after == before {
        true => Ok(()),
        false => files::write(Path::new(NSSWITCH), after.as_bytes(), 0o644),
    }
}

/// keymaker after the local files in passwd and group; a line initgroups has to go on after a success.
fn with_keymaker(text: &str) -> String {
    edited(text, |database, line| {
        if nsswitch::line(line, database).is_some_and(|parsed| parsed.position("keymaker").is_some()) {
            return line.to_owned();
        }
        let ours = match database {
            "initgroups" => " [SUCCESS=continue] keymaker",
            _ => " keymaker",
        };
        for local in ["files", "compat"] {
            if let Some(at) = line.find(local) {
                let (before, after) = line.split_at(at + local.len());
                return format!("{before}{ours}{after}");
            }
        }
        format!("{line}{ours}")
    })
}

fn without_keymaker(text: &str) -> String {
    edited(text, |_, line| {
        line.replace(" [SUCCESS=continue] keymaker", "")
            .replace(" keymaker", "")
    })
}

fn edited(text: &str, edit: impl Fn(&str, &str) -> String) -> String {
    let databases = ["passwd", "group", "initgroups"];
    let lines = text.lines().map(|line| {
        let database = line.split(':').next().unwrap_or_default();
        match databases.contains(&database) {
            true => edit(database, line),
            false => line.to_owned(),
        }
    });
    lines.map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nsswitch_gets_keymaker_after_files_once_and_loses_it_again() {
        let text =
            "# passwd: x\npasswd:\t\tfiles systemd\ngroup: files [NOTFOUND=return]\nshadow: files\ninitgroups: files\n";
        let joined = with_keymaker(text);
        assert_eq!(
            joined,
            "# passwd: x\npasswd:\t\tfiles keymaker systemd\ngroup: files keymaker [NOTFOUND=return]\nshadow: files\n\
             initgroups: files [SUCCESS=continue] keymaker\n"
        );
        assert_eq!(with_keymaker(&joined), joined);
        assert_eq!(without_keymaker(&joined), text);
    }
}
