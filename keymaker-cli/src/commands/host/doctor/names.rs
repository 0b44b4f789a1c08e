//! Whether glibc asks us: nsswitch.conf, the module, caching daemons.

use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::{paths, sys};

use super::super::probe::nsswitch::{self, Line};
use super::super::probe::run;
use super::Findings;

const NSSWITCH: &str = "/etc/nsswitch.conf";
const UNSEEN: &str = "IAM users and groups do not exist for the programs of this host";

/// Looks at how names become users.
pub fn look(found: &mut Findings) {
    let text = std::fs::read_to_string(NSSWITCH).unwrap_or_default();
    for database in ["passwd", "group"] {
        database_line(found, database, nsswitch::line(&text, database));
    }
    if nsswitch::line(&text, "initgroups").is_some_and(|line| !line.continues_to_ours()) {
        found.fault(
            "the line initgroups of /etc/nsswitch.conf does not go on to keymaker",
            "it alone decides about groups, so IAM users lack keymaker-users, and sshd does not know them as ours",
            "sed -i '/^initgroups:/d' /etc/nsswitch.conf",
        );
    }
    for (socket, unit) in [("/run/nscd/socket", "nscd"), ("/run/unscd/socket", "unscd")] {
        if Path::new(socket).exists() {
            found.fault(
                format!("{unit} answers in our place ({socket})"),
                "it keeps groups that were taken away up to an hour, and users who are gone",
                format!("systemctl disable --now {unit}; rm -f {socket}"),
            );
        }
    }
    resolving(found);
}

fn database_line(found: &mut Findings, database: &str, line: Option<Line>) {
    let edit = |how: &str| format!("sed -i -E '/^{database}:/{{{how}}}' {NSSWITCH}");
    let Some(line) = line.filter(|line| line.position("keymaker").is_some()) else {
        let what = format!("the line {database} of {NSSWITCH} does not name keymaker");
        let how = match std::fs::read_to_string(NSSWITCH).is_ok_and(|text| nsswitch::line(&text, database).is_some()) {
            true => edit("s/(files|compat)/\\1 keymaker/"),
            false => format!("echo '{database}: files systemd keymaker' >> {NSSWITCH}"),
        };
        return found.fault(what, UNSEEN, how);
    };
    if !line.is_after_files() {
        found.fault(
            format!("the line {database} of {NSSWITCH} asks keymaker before the local files"),
            "every look-up of a local account waits for us, and local accounts should win",
            edit("s/ keymaker//;s/(files|compat)/\\1 keymaker/"),
        );
    } else if let Some(action) = line.stop_before() {
        let what = format!("the line {database} of {NSSWITCH} stops at {action} before keymaker");
        found.fault(what, UNSEEN, edit("s/ keymaker//;s/(files|compat)/\\1 keymaker/"));
    }
}

/// A user of ours, asked of glibc as every program does.
fn resolving(found: &mut Findings) {
    let Ok(directory) = Directory::open(Path::new(paths::DIRECTORY)) else {
        return;
    };
    let mut buffer = [0; MAX_USER_RECORD];
    let mut from = 0;
    let user = loop {
        match directory.next_user(from, &mut buffer) {
            Ok(Some((_, user))) if !user.tombstone => break user.name,
            Ok(Some((next, _))) => from = next,
            _ => return,
        }
    };
    // A program of its own, since this one keeps the nsswitch.conf and the modules with which it began.
    let resolved = run("getent", &["passwd", user.as_str()]);
    if resolved.is_err() && module_missing() {
        found.fault(
            "libnss_keymaker.so.2 is in no folder where glibc looks",
            UNSEEN,
            "apt-get install -y --reinstall libnss-keymaker",
        );
    } else if let Err(why) = resolved {
        let what = format!("{user} is in the directory, but getent(1) does not find the user {why}");
        found.fault(what, UNSEEN, format!("getent passwd {user}; keymaker sync"));
    }
    let marker = directory.header().keymaker_users_gid;
    let groups = sys::group_list(user.as_str(), marker).unwrap_or_default();
    if marker == 0 || !groups.contains(&marker) {
        found.fault(
            "keymakerd knows no local group keymaker-users",
            "sshd's Match block does not hold for IAM users, so PAM refuses them",
            "systemd-sysusers; keymaker sync",
        );
    }
}

fn module_missing() -> bool {
    let folders = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"];
    let multiarch = ["x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf", "."];
    let mut places = folders
        .iter()
        .flat_map(|folder| multiarch.iter().map(move |arch| format!("{folder}/{arch}")));
    !places.any(|place| Path::new(&place).join("libnss_keymaker.so.2").exists())
}
