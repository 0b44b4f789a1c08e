//! `keymaker debug-bundle`: what somebody who helps needs to see of this host, in one file that only the caller can read,
//! without a secret. Everything that goes into it passes through [`without_secrets`].

mod secrets;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use keymaker_core::paths;
use serde_json::json;

use self::secrets::without_secrets;
use super::log_level::DAEMONS;
use super::{HostError, probe};
use crate::output::{Output, Progress};

/// A program and its arguments, by the name of the file that has what it prints.
type Printed = (&'static str, &'static str, &'static [&'static str]);

/// What is asked of programs. `keymaker` is this one.
const PRINTED: [Printed; 15] = [
    ("status.txt", "keymaker", &["status"]),
    ("status-check.txt", "keymaker", &["status", "--check"]),
    ("doctor.txt", "keymaker", &["doctor"]),
    ("doctor.json", "keymaker", &["--json", "doctor"]),
    ("settings-keymakerd.txt", "/usr/sbin/keymakerd", &["--print-config"]),
    ("settings-credd.txt", "/usr/sbin/credd", &["--print-config"]),
    ("units.txt", "systemctl", UNIT_STATES),
    ("unit-files.txt", "systemctl", UNIT_FILES),
    ("journal.txt", "journalctl", JOURNAL),
    ("sshd.txt", "sshd", &["-T"]),
    (
        "versions-debian.txt",
        "dpkg-query",
        &["-W", "*keymaker*", "openssh-server", "libc6", "systemd", "sudo"],
    ),
    (
        "versions-rpm.txt",
        "rpm",
        &["-qa", "*keymaker*", "openssh-server", "glibc", "systemd", "sudo"],
    ),
    ("kernel.txt", "uname", &["-a"]),
    (
        "files.txt",
        "ls",
        &[
            "-lanR",
            "/etc/keymaker",
            "/var/lib/keymaker",
            "/run/keymaker",
            "/run/keymaker-credd",
            "/usr/libexec/keymaker",
        ],
    ),
    ("disk.txt", "df", &["-h", "/var/lib/keymaker", "/run/keymaker", "/etc"]),
];
const UNIT_STATES: &[&str] = &[
    "status",
    "--no-pager",
    "--full",
    "--lines=0",
    "keymakerd",
    "credd.socket",
    "credd",
    "credd-capture",
    "keymaker-end-sessions.path",
    "keymaker-end-sessions",
    "keymaker-sync-roles.timer",
    "ssh",
    "sshd",
];
const UNIT_FILES: &[&str] = &[
    "cat",
    "--no-pager",
    "keymakerd",
    "credd.socket",
    "credd",
    "credd-capture",
    "keymaker-end-sessions",
];
const JOURNAL: &[&str] = &[
    "--no-pager",
    "--output=short-iso-precise",
    "--lines=5000",
    "--unit=keymakerd",
    "--unit=credd",
    "--unit=credd-capture",
    "--unit=keymaker-end-sessions",
    "--unit=keymaker-sync-roles",
];
/// What is copied.
const COPIED: [&str; 6] = [
    "/etc/keymaker/keymakerd.toml",
    "/etc/keymaker/credd.toml",
    paths::STATUS,
    "/etc/os-release",
    "/etc/ssh/sshd_config.d/50-keymaker.conf",
    "/etc/sudoers.d/keymaker",
];
/// Where lines of ours stand among others', and what is in such a line.
const LINES: [(&str, &[&str]); 3] = [
    (paths::NSSWITCH, &["passwd:", "group:", "initgroups:", "shadow:"]),
    (
        "/etc/pam.d",
        &[
            "pam_keymaker",
            "pam_access",
            "pam_nologin",
            "pam_faillock",
            "@include",
            "include",
        ],
    ),
    (
        "/etc/ssh/sshd_config",
        &[
            "AuthorizedKeys",
            "UsePAM",
            "Include",
            "Match",
            "Allow",
            "Deny",
            "Pubkey",
        ],
    ),
];
/// doctor has ten seconds, a long journal less.
const LONGEST: &str = "20";

/// Makes the file and says where it is.
pub fn run(file: Option<&Path>, output: &Output) -> Result<(), HostError> {
    if !probe::is_root() {
        return Err(HostError::NotRoot);
    }
    let name = format!("keymaker-debug-{}", since_1970());
    let file = file.map_or_else(|| PathBuf::from(format!("{name}.tar.gz")), Path::to_path_buf);
    // Before the work: a file that is there already, or a folder that is not, is told at once.
    let to = made(&file).map_err(|error| HostError::unreadable(&file.display().to_string(), &error))?;
    let progress = Progress::begin("collecting");
    let folder = PathBuf::from("/run").join(&name);
    let packed = collect(&folder).and_then(|()| pack(&folder, &name, to));
    drop(progress);
    // It is in the memory of /run, and root's alone.
    let _ = fs::remove_dir_all(&folder);
    if let Err(error) = packed {
        let _ = fs::remove_file(&file);
        return Err(HostError::unreadable(&file.display().to_string(), &error));
    }
    let path = file.display();
    output.print(
        &format!("{path}: only you can read it. It names users and hosts: look through it (tar -tzf {path}) before you hand it on."),
        &json!({ "file": path.to_string() }),
    );
    Ok(())
}

/// A new file that nobody but who called can read, also by sudo.
fn made(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse().ok());
    if let (Some(uid), Some(gid)) = (number("SUDO_UID"), number("SUDO_GID")) {
        fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(file)
}

fn collect(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    let own = std::env::current_exe()?.display().to_string();
    let put = |name: &str, text: &str| {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join(name));
        file.and_then(|mut file| file.write_all(without_secrets(text).as_bytes()))
    };
    for (name, program, arguments) in PRINTED {
        let program = if program == "keymaker" { &own } else { program };
        put(name, &printed(program, arguments))?;
    }
    for (daemon, socket) in DAEMONS {
        let told = probe::status_socket::ask(socket, "GET", "/metrics").unwrap_or_else(|why| why);
        put(&format!("metrics-{daemon}.txt"), &told)?;
    }
    for path in COPIED {
        let text = probe::text_of(path).unwrap_or_else(|error| error.to_string());
        put(&flat(path), &text)?;
    }
    let mut lines = String::new();
    for (path, words) in LINES {
        lines += &lines_of(Path::new(path), words);
    }
    put("lines-of-ours.txt", &lines)
}

/// Both streams, whatever came of it: what went wrong is what is looked for.
fn printed(program: &str, arguments: &[&str]) -> String {
    let ended = probe::limited_to(LONGEST, program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match ended {
        Ok(ended) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!(
                "{}{}# {program}: {}\n",
                text(&ended.stdout),
                text(&ended.stderr),
                ended.status
            )
        }
        Err(error) => format!("# {program}: {error}\n"),
    }
}

/// The lines of a file, or of each file in a folder, that hold one of these words, with their numbers.
fn lines_of(path: &Path, words: &[&str]) -> String {
    if path.is_dir() {
        let mut files: Vec<PathBuf> = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| file.path())
            .collect();
        files.sort();
        return files
            .iter()
            .filter(|file| file.is_file())
            .map(|file| lines_of(file, words))
            .collect();
    }
    let Ok(text) = fs::read(path) else { return String::new() };
    let text = String::from_utf8_lossy(&text).into_owned();
    let ours = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| words.iter().any(|word| line.contains(word)));
    ours.map(|(line, number)| format!("{}:{number}: {line}\n", path.display()))
        .collect()
}

/// `/etc/os-release` as a name in one folder.
fn flat(path: &str) -> String {
    path.trim_start_matches('/').replace('/', "-")
}

fn pack(folder: &Path, name: &str, to: File) -> io::Result<()> {
    let mut tar = probe::limited_to(LONGEST, "tar");
    tar.args([
        "--create",
        "--gzip",
        "--owner=0",
        "--group=0",
        "--file=-",
        "--directory",
    ]);
    tar.arg(folder.parent().unwrap_or(folder)).arg(name);
    let ended = tar.stdin(Stdio::null()).stdout(to).output()?;
    if ended.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "tar: {}",
        String::from_utf8_lossy(&ended.stderr).trim()
    )))
}

fn since_1970() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
