//! Whether glibc asks us: nsswitch.conf, the module, caching daemons.

use std::os::fd::OwnedFd;
use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::paths::{self, NSSWITCH};
use keymaker_core::{nsswitch, sys};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::super::install::authselect;
use super::super::probe::run;
use super::finding::FaultCause;
use super::{Findings, JOIN};

const UNSEEN: &str = "IAM users and groups do not exist for the programs of this host";

/// Looks at how names become users.
pub fn look(found: &mut Findings) {
    let text = nsswitch::read(Path::new(NSSWITCH)).unwrap_or_default();
    if let Some(profile) = authselect::other_profile() {
        found
            .fault(
                format!("authselect has {profile} selected, not Keymaker's profile"),
                "it writes nsswitch.conf and the PAM stacks, so IAM users do not exist here, and PAM refuses nobody",
                JOIN,
            )
            .is(FaultCause::Names);
        return;
    }
    for database in ["passwd", "group", "initgroups"] {
        database_line(found, &text, database);
    }
    for (socket, unit) in [("/run/nscd/socket", "nscd"), ("/run/unscd/socket", "unscd")] {
        if answers_in_our_place(Path::new(socket), NSNCD) {
            found.fault(
                format!("{unit} answers in Keymaker's place ({socket})"),
                "it goes on showing removed groups and deleted users for up to an hour",
                format!("systemctl disable --now {unit}; rm -f {socket}"),
            );
        }
    }
    resolving(found);
}

/// It stands at nscd's socket, keeps nothing, and asks glibc: so programs that are linked statically or with musl see IAM users.
const NSNCD: &str = "nsncd";

/// Whether a socket is there at which anything but `forwarder` answers, or something that cannot be told.
fn answers_in_our_place(socket: &Path, forwarder: &str) -> bool {
    socket.exists() && listener(socket).as_deref() != Some(forwarder)
}

/// The name of the program that listens at this socket; `None` where it cannot be told, or nobody listens. Only root makes a socket
/// there, and no more than a finding goes by the name.
fn listener(socket: &Path) -> Option<String> {
    let peer = socket_peercred(connect_now(socket)?).ok()?;
    let name = std::fs::read_to_string(format!("/proc/{}/comm", peer.pid)).ok()?;
    Some(name.trim_end().to_owned())
}

/// A daemon that hangs, with its queue full, makes nobody wait.
fn connect_now(socket: &Path) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    connect(&stream, &SocketAddrUnix::new(socket).ok()?).ok()?;
    Some(stream)
}

fn database_line(found: &mut Findings, text: &str, database: &str) {
    let Some(line) = nsswitch::raw_line(text, database) else {
        // Without a line initgroups, the line group decides.
        if database != "initgroups" {
            let what = format!("{NSSWITCH} has no line {database}");
            found
                .fault(
                    what,
                    UNSEEN,
                    // The last line may lack its end.
                    format!("printf '\\n{database}: files keymaker\\n' >> {NSSWITCH}"),
                )
                .is(FaultCause::Names);
        }
        return;
    };
    let right = nsswitch::with_keymaker(line);
    if right == line {
        return;
    }
    let named = nsswitch::line(text, database).is_some_and(|line| line.position("keymaker").is_some());
    let remedy = if authselect::rules() {
        JOIN.to_owned()
    } else {
        format!(
            r"sed -i 's/^\s*{database}[:[:space:]].*/{}/' {NSSWITCH}",
            for_sed(&right)
        )
    };
    let finding = match (named, database) {
        (false, "initgroups") => found.fault(
            format!("the line initgroups of {NSSWITCH} does not continue to keymaker"),
            "it alone decides about groups, so IAM users lack keymaker-users, and sshd does not recognise them",
            remedy,
        ),
        (false, _) => found.fault(
            format!("the line {database} of {NSSWITCH} does not name keymaker"),
            UNSEEN,
            remedy,
        ),
        (true, _) => found.fault(
            format!("keymaker is in the wrong place in the line {database} of {NSSWITCH}"),
            "it belongs behind every other service, whose users win, and before what ends the search",
            remedy,
        ),
    };
    finding.is(FaultCause::Names);
}

/// A line as sed(1) takes it for what it puts in place, between quotes of a shell's.
fn for_sed(line: &str) -> String {
    let escaped = line.replace('\\', r"\\").replace('/', r"\/").replace('&', r"\&");
    escaped.replace('\'', r"'\''")
}

/// A user of ours, asked of glibc as every program does.
fn resolving(found: &mut Findings) {
    let Ok(directory) = Directory::open_whole(Path::new(paths::DIRECTORY)) else {
        return;
    };
    let mut buffer = [0; MAX_USER_RECORD];
    let mut from = 0;
    let (user, uid) = loop {
        match directory.next_user(from, &mut buffer) {
            Ok(Some((_, user))) if !user.tombstone => break (user.name, user.uid.get()),
            Ok(Some((next, _))) => from = next,
            _ => return,
        }
    };
    // A program of its own, since this one keeps the nsswitch.conf and the modules with which it began.
    let resolved = run("getent", &["passwd", user.as_str()]);
    if resolved.is_err() && module_missing() {
        found
            .fault(
                "libnss_keymaker.so.2 is in no folder where glibc looks",
                UNSEEN,
                "apt-get install -y --reinstall libnss-keymaker",
            )
            .is(FaultCause::Names);
    } else if let Err(why) = resolved {
        let what = format!("{user} is in the directory, but getent(1) does not find the user {why}");
        found
            .fault(what, UNSEEN, format!("getent passwd {user}; keymaker sync"))
            .of(&[FaultCause::Folders, FaultCause::Published, FaultCause::Names]);
    }
    let marker = directory.header().keymaker_users_gid;
    let groups = sys::group_list(user.as_str(), uid).unwrap_or_default();
    if marker == 0 || !groups.contains(&marker) {
        found
            .fault(
                "keymakerd knows no local group keymaker-users",
                "sshd's Match block does not apply to IAM users, so PAM refuses them",
                "systemd-sysusers; keymaker sync",
            )
            .of(&[
                FaultCause::Accounts,
                FaultCause::Keymakerd,
                FaultCause::Published,
                FaultCause::Names,
            ]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::process::Command;
    use test_folder::TestFolder;

    #[test]
    fn only_a_program_that_forwards_questions_may_stand_at_the_socket_of_a_cache() {
        let folder = TestFolder::new();
        let socket = folder.join("socket");
        let this = std::fs::read_to_string(format!("/proc/{}/comm", std::process::id())).unwrap();
        let is_wrong = |forwarder: &str| answers_in_our_place(&socket, forwarder);
        assert!(!is_wrong(NSNCD));
        std::fs::write(&socket, "").unwrap();
        assert!(is_wrong(NSNCD));
        std::fs::remove_file(&socket).unwrap();
        let listening = UnixListener::bind(&socket).unwrap();
        assert!(is_wrong(NSNCD) && !is_wrong(this.trim_end()));
        // Nobody takes what is in its queue.
        rustix::net::listen(&listening, 1).unwrap();
        let queue: Vec<_> = (0..10).map_while(|_| connect_now(&socket)).collect();
        assert!(queue.len() < 10 && is_wrong(this.trim_end()));
        drop(listening);
        assert!(is_wrong(this.trim_end()));
    }

    #[test]
    fn doctor_finds_no_fault_of_any_nsswitch_conf_that_the_packages_have_joined() {
        let folder = TestFolder::new();
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let joined = Command::new(project.join("tests/packaging/nsswitch-forms.sh"))
            .arg(&*folder)
            .output()
            .unwrap();
        assert!(joined.status.success(), "{joined:?}");
        let variants = String::from_utf8(joined.stdout).unwrap();
        assert!(variants.lines().count() > 20, "{variants}");
        for variant in variants.lines() {
            let text = nsswitch::read(&folder.join(variant).join("etc/nsswitch.conf")).unwrap();
            let mut found = Findings::default();
            for database in ["passwd", "group", "initgroups"] {
                database_line(&mut found, &text, database);
            }
            assert!(found.findings.is_empty(), "{variant}: {:?}\n{text}", found.findings);
        }
    }
}
