//! The files of an installation without packages: those of the build, and those of dist/, which are part of this
//! program.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keymaker_core::paths;

use super::super::HostError;
use super::super::probe::credd;

/// A file to be put in place.
pub struct File {
    /// Where it goes.
    pub to: PathBuf,
    content: Content,
    mode: u32,
}

enum Content {
    Built(PathBuf),
    Dist(&'static str),
}

/// What places the sudo rule, and removes it.
pub const SUDO_RULE: &str = "/usr/libexec/keymaker/sudo-rule";

/// In the build's folder, and in the system's: L is the folder of the libraries.
const BUILT: [(&str, &str, u32); 15] = [
    ("libnss_keymaker.so", "L/libnss_keymaker.so.2", 0o644),
    ("libpam_keymaker.so", "L/security/pam_keymaker.so", 0o644),
    ("keymakerd", "/usr/sbin/keymakerd", 0o755),
    ("keymaker-keys", "/usr/libexec/keymaker/keymaker-keys", 0o755),
    ("refusal", "/usr/libexec/keymaker/refusal", 0o755),
    ("end-sessions", "/usr/libexec/keymaker/end-sessions", 0o755),
    ("sudo-rule", SUDO_RULE, 0o755),
    ("proof", "/usr/libexec/keymaker/proof", 0o755),
    ("keymaker-keys-of", "/usr/libexec/keymaker/keymaker-keys-of", 0o755),
    ("start-late", "/usr/libexec/keymaker/start-late", 0o755),
    ("other-service", "/usr/libexec/keymaker/other-service", 0o755),
    ("pam-account", "/usr/libexec/keymaker/pam-account", 0o755),
    ("credd", "/usr/sbin/credd", 0o755),
    ("credd-capture", "/usr/libexec/keymaker/credd-capture", 0o755),
    ("keymaker", "/usr/bin/keymaker", 0o755),
];

macro_rules! dist {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/", $name))
    };
}

/// What the packages install: for systemd by its place below /etc/systemd, the rest where they install it.
const SYSTEMD: [(&str, &str); 15] = [
    (dist!("systemd/keymakerd.service"), "system/keymakerd.service"),
    (
        dist!("systemd/keymaker-end-sessions.path"),
        "system/keymaker-end-sessions.path",
    ),
    (
        dist!("systemd/keymaker-end-sessions.service"),
        "system/keymaker-end-sessions.service",
    ),
    (dist!("systemd/keymaker-sudo.service"), "system/keymaker-sudo.service"),
    (
        dist!("systemd/keymaker-start-late.path"),
        "system/keymaker-start-late.path",
    ),
    (
        dist!("systemd/keymaker-start-late.service"),
        "system/keymaker-start-late.service",
    ),
    (
        dist!("systemd/keymaker-sync-roles.timer"),
        "system/keymaker-sync-roles.timer",
    ),
    (
        dist!("systemd/keymaker-sync-roles.service"),
        "system/keymaker-sync-roles.service",
    ),
    (dist!("systemd/credd.service"), "system/credd.service"),
    (dist!("systemd/credd.socket"), "system/credd.socket"),
    (dist!("systemd/credd-container.socket"), "system/credd-container.socket"),
    (dist!("systemd/credd-capture.service"), "system/credd-capture.service"),
    (
        dist!("networkd/50-keymaker-credd.conf"),
        "networkd.conf.d/50-keymaker-credd.conf",
    ),
    (dist!("sysusers.d/keymaker.conf"), "/etc/sysusers.d/keymaker.conf"),
    (
        dist!("sysusers.d/keymaker-credd.conf"),
        "/etc/sysusers.d/keymaker-credd.conf",
    ),
];
/// What joins the host to us and parts it again, where the packages' own scripts do not; what it says, it prints.
pub const JOIN: &str = "/usr/libexec/keymaker/join";
const JOIN_SCRIPT: &str = concat!(
    "#!/bin/sh\nset -e\nexec 2>&1\nroot=\n",
    dist!("nsswitch/join.sh"),
    dist!("pam-configs/stacks.sh"),
    "\"$@\"\n"
);
const DIST: [(&str, &str, u32); 7] = [
    (JOIN_SCRIPT, JOIN, 0o755),
    (
        dist!("tmpfiles.d/keymaker.conf"),
        "/etc/tmpfiles.d/keymaker.conf",
        0o644,
    ),
    (dist!("pam-configs/keymaker"), "/usr/share/pam-configs/keymaker", 0o644),
    (
        dist!("sshd/50-keymaker.conf"),
        "/usr/share/keymaker/50-keymaker.conf",
        0o644,
    ),
    (dist!("sshd/sshd-drop-in"), "/usr/libexec/keymaker/sshd-drop-in", 0o755),
    (dist!("etc/keymakerd.toml"), paths::KEYMAKERD_TOML, 0o644),
    (dist!("etc/credd.toml"), credd::SETTINGS, 0o644),
];

/// The files, if the build has all of its own. Settings that are there already are no files of ours.
pub fn of(from: &Path) -> Result<Vec<File>, HostError> {
    let libraries = library_folder();
    let mut files = Vec::new();
    for (name, to, mode) in BUILT {
        let built = from.join(name);
        if !built.is_file() {
            let why = format!(
                "{} is not there: build it with 'cargo build --release --workspace'",
                built.display()
            );
            return Err(HostError::Refused(why));
        }
        let to = match to.strip_prefix("L/") {
            Some(rest) => libraries.join(rest),
            None => PathBuf::from(to),
        };
        files.push(File {
            to,
            content: Content::Built(built),
            mode,
        });
    }
    let needed = |to: &Path| match to.to_str() {
        Some(paths::KEYMAKERD_TOML | credd::SETTINGS) => !to.exists(),
        _ => true,
    };
    // An absolute path stands for itself.
    let systemd = SYSTEMD.map(|(content, to)| (content, Path::new("/etc/systemd").join(to), 0o644));
    let others = DIST.map(|(content, to, mode)| (content, PathBuf::from(to), mode));
    for (content, to, mode) in systemd.into_iter().chain(others) {
        if needed(&to) {
            files.push(File {
                to,
                content: Content::Dist(content),
                mode,
            });
        }
    }
    // This very program may be the one that is already there.
    let this = std::env::current_exe().ok();
    files.retain(|file| this.as_ref() != Some(&file.to));
    Ok(files)
}

/// Where glibc and libpam look: beside libc itself.
fn library_folder() -> PathBuf {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let mut folders = folders.iter().map(Path::new);
    let found = folders.find(|folder| folder.join("libc.so.6").exists());
    found.unwrap_or(Path::new("/usr/lib")).to_owned()
}

impl File {
    /// Puts it in place, whole or not at all.
    pub fn place(&self) -> Result<(), String> {
        match &self.content {
            Content::Dist(text) => write(&self.to, text.as_bytes(), self.mode),
            Content::Built(from) => {
                let bytes = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
                write(&self.to, &bytes, self.mode)
            }
        }
    }
}

/// Removes a file; one that is gone already is not an error.
pub fn remove(file: &Path) -> Result<(), String> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("{}: {error}", file.display())),
        _ => Ok(()),
    }
}

/// Removes a folder and what is in it, likewise.
pub fn remove_folder(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("{}: {error}", folder.display())),
        _ => Ok(()),
    }
}

/// Writes aside and renames, so that nobody ever runs or reads half a file.
pub fn write(to: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let aside = {
        let mut name = OsString::from(to);
        name.push(".keymaker-new");
        PathBuf::from(name)
    };
    let written = to
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&aside, bytes))
        .and_then(|()| fs::set_permissions(&aside, Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&aside, to));
    written.map_err(|error| format!("{}: {error}", to.display()))
}
