//! Files: owners, modes, room, labels; and the system users and groups that own them.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use keymaker_core::directory_file::Directory;
use keymaker_core::keys_file::KeysFile;
use keymaker_core::local_files::number_of;
use keymaker_core::paths;

use super::super::probe::{credd, local_line, run};
use super::Findings;
use super::finding::{FaultCause, Finding, NO_CONTACT};

const KEYMAKERD: &str = "keymakerd";

/// Path, owner, mode: as packaged, or as keymakerd makes it.
const EXPECTED: [(&str, &str, u32); 17] = [
    (paths::LOGIN_SOCKET, KEYMAKERD, 0o660),
    (paths::LOOKUP_SOCKET, KEYMAKERD, 0o666),
    ("/etc/keymaker", "root", 0o755),
    ("/var/lib/keymaker", KEYMAKERD, 0o755),
    (paths::PUBLIC, KEYMAKERD, 0o755),
    (paths::DIRECTORY, KEYMAKERD, 0o644),
    (paths::KEYS, KEYMAKERD, 0o644),
    (paths::PRIVATE, KEYMAKERD, 0o700),
    ("/run/keymaker", KEYMAKERD, 0o755),
    (paths::KEYMAKERD_TOML, "root", 0o644),
    ("/usr/libexec/keymaker", "root", 0o755),
    ("/usr/libexec/keymaker/keymaker-keys", "root", 0o755),
    (paths::REFUSAL, "root", 0o755),
    (paths::PROOF, "root", 0o755),
    (paths::TICKETS, paths::KEYMAKER_KEYS, 0o700),
    // Of credd, where it is installed.
    (credd::SETTINGS, "root", 0o644),
    ("/run/keymaker-credd", "credd", 0o711),
];

/// Looks at the files.
pub fn look(found: &mut Findings) {
    system_accounts(found);
    for (path, owner, mode) in EXPECTED {
        owner_and_mode(found, path, owner, mode);
    }
    published(found);
    let why = "keymakerd cannot publish what it learns: a revocation stays unseen";
    room(found, "/var/lib/keymaker", why);
    selinux(found);
}

fn uid_of(user: &str) -> Option<u32> {
    number_of(Path::new(paths::PASSWD), user).ok().flatten()
}

fn system_accounts(found: &mut Findings) {
    let why = "keymakerd, the keys command or sshd's Match block depends on it";
    for (file, name) in [
        (paths::PASSWD, KEYMAKERD),
        (paths::PASSWD, paths::KEYMAKER_KEYS),
        (paths::GROUP, paths::KEYMAKER_KEYS),
        (paths::GROUP, paths::KEYMAKER_USERS),
        (paths::GROUP, paths::KEYMAKER_SUDO),
    ] {
        if local_line(file, name).is_none() {
            let what = format!("{file} has no {name}");
            found
                .fault(
                    what,
                    why,
                    "systemd-sysusers; systemctl restart keymakerd; keymaker sync",
                )
                .is(FaultCause::Accounts);
        }
    }
}

fn owner_and_mode(found: &mut Findings, path: &str, owner: &str, mode: u32) {
    let Some(uid) = uid_of(owner) else { return };
    let Ok(metadata) = std::fs::metadata(path) else {
        if path.starts_with("/usr/") {
            let why = match path {
                paths::PROOF => "nobody can log in by proof",
                _ => "sshd cannot ask for the keys of IAM users",
            };
            found.fault(
                format!("{path} is not there"),
                why,
                "apt-get install -y --reinstall keymaker",
            );
        }
        return;
    };
    let open = metadata.mode() & 0o7777;
    let (cause, then) = without(path);
    if metadata.uid() != uid {
        let what = format!("{path} belongs to uid {}, not to {owner}", metadata.uid());
        let finding = found.fault(
            what,
            "its owner would decide who logs in, so no part of Keymaker trusts it",
            format!("chown {owner} {path}{then}"),
        );
        explains(finding, cause);
    }
    if open & !mode != 0 {
        let what = format!("{path} has mode {open:04o}, not {mode:04o}");
        let why =
            "users other than its owner may write or read it, so sshd and the modules do not trust it, or secrets leak";
        let finding = found.fault(what, why, format!("chmod {mode:04o} {path}"));
        explains(finding, cause.filter(|cause| *cause == FaultCause::Folders));
    } else if mode & !open & needed(&metadata) != 0 {
        let what = format!("{path} has mode {open:04o}, not {mode:04o}");
        let why = "programs that must read, enter, run or ask it cannot";
        explains(found.fault(what, why, format!("chmod {mode:04o} {path}{then}")), cause);
    }
}

/// To ask at a socket is to write there (unix(7)).
fn needed(metadata: &Metadata) -> u32 {
    if metadata.file_type().is_socket() { 0o666 } else { 0o555 }
}

/// What else is found where this cannot be read, and what is to be done once it can be.
fn without(path: &str) -> (Option<FaultCause>, &'static str) {
    match path {
        paths::KEYMAKERD_TOML | "/etc/keymaker" => (
            Some(FaultCause::KeymakerdToml),
            "; systemctl reset-failed keymakerd; systemctl restart keymakerd",
        ),
        credd::SETTINGS => (
            Some(FaultCause::CreddToml),
            "; systemctl reset-failed credd credd-capture; systemctl restart credd-capture credd",
        ),
        "/var/lib/keymaker" | paths::PUBLIC | paths::PRIVATE | paths::DIRECTORY | paths::KEYS => (
            Some(FaultCause::Folders),
            "; systemctl restart keymakerd; keymaker sync",
        ),
        _ => (None, ""),
    }
}

fn explains(finding: &mut Finding, cause: Option<FaultCause>) {
    if let Some(cause) = cause {
        finding.is(cause);
    }
}

fn published(found: &mut Findings) {
    let remedy = "systemctl stop keymakerd; rm -f /var/lib/keymaker/public/directory /var/lib/keymaker/public/keys; systemctl start \
                  keymakerd; keymaker sync";
    if let Err(error) = Directory::open(Path::new(paths::DIRECTORY)) {
        let what = format!("{} cannot be used: {error}", paths::DIRECTORY);
        found
            .fault(what, "no user from IAM exists on this host", remedy)
            .is(FaultCause::Published)
            .of(NO_CONTACT);
    }
    if let Err(error) = KeysFile::open(Path::new(paths::KEYS)) {
        let what = format!("{} cannot be used: {error}", paths::KEYS);
        found
            .fault(what, "no key from IAM lets anybody log in", remedy)
            .of(NO_CONTACT);
    }
}

/// Whether a disk has room, and `why` it matters.
pub(super) fn room(found: &mut Findings, path: &str, why: &'static str) {
    let Ok(room) = rustix::fs::statvfs(path) else { return };
    if room.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let what = format!("{path} is mounted read-only");
        found.fault(what, why, format!("mount -o remount,rw {path}"));
    } else if room.f_bavail.saturating_mul(room.f_frsize) < 1 << 20 {
        found.fault(format!("{path} is full"), why, format!("df -h {path}"));
    }
}

/// Without our policy module sshd, among others, may neither read what is published nor connect to the sockets.
fn selinux(found: &mut Findings) {
    let enforcing = std::fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text.trim() == "1");
    if enforcing {
        label_of_what_is_published(found);
        domains(found);
    }
}

/// A program that is not labelled is started in the domain of daemons without one, and what it makes has no label of ours.
fn domains(found: &mut Findings) {
    for (unit, domain) in [
        ("keymakerd", "keymakerd_t"),
        ("credd", "keymaker_credd_t"),
        ("credd-capture", "keymaker_capture_t"),
    ] {
        let process = run("systemctl", &["show", "-P", "MainPID", unit]).unwrap_or_default();
        let label = std::fs::read_to_string(format!("/proc/{}/attr/current", process.trim())).unwrap_or_default();
        let label = label.trim_end_matches(['\0', '\n']);
        if label.is_empty() || label.contains(&format!(":{domain}:")) {
            continue;
        }
        found.fault(
            format!("{unit} runs as {label}, not in {domain}"),
            "SELinux keeps sshd from asking it, and nothing confines it",
            format!(
                "restorecon -RF /usr/sbin/keymakerd /usr/sbin/credd /usr/libexec/keymaker /var/lib/keymaker /run/keymaker* && \
                 systemctl restart {unit}"
            ),
        );
    }
}

fn label_of_what_is_published(found: &mut Findings) {
    let why = "SELinux keeps confined programs, sshd among them, from reading it";
    let is_ours = |label: &str| label.contains(":keymaker_public_t:");
    let label = run("stat", &["-c", "%C", paths::PUBLIC]).unwrap_or_default();
    if is_ours(&label) {
        return;
    }
    let what = format!("{} is labelled {}, not keymaker_public_t", paths::PUBLIC, label.trim());
    // What the loaded policy would label it.
    let policy = run("matchpathcon", &["-n", paths::PUBLIC]).unwrap_or_default();
    let remedy = if is_ours(&policy) {
        "restorecon -RF /var/lib/keymaker /run/keymaker*"
    } else {
        "dnf install keymaker-selinux (on Debian: docs/selinux.md)"
    };
    found.fault(what, why, remedy);
}
