//! The sshd that runs, with the options of its command line: what it would do for one user (`sshd -T -C`). Only root
//! can ask it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::run;

const SSHD: &str = "/usr/sbin/sshd";

/// sshd's effective settings: keyword in small letters → value.
pub type Settings = BTreeMap<String, String>;

/// The settings for a login of this user from this host.
pub fn effective(user: &str) -> Result<Settings, String> {
    let connection = format!("user={user},host=localhost,addr=127.0.0.1");
    let options = listener_options().unwrap_or_default();
    let mut arguments: Vec<&str> = options.iter().map(String::as_str).collect();
    arguments.extend(["-T", "-C", &connection]);
    let text = run(SSHD, &arguments)?;
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs
        .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()))
        .collect())
}

/// The options -o and -f of the sshd that listens; `None` where none does. sshd writes its command line into its title.
pub fn listener_options() -> Option<Vec<String>> {
    const ROOT: u32 = 0;
    listener_title(Path::new("/proc"), ROOT).map(|title| options_of(&title))
}

/// Anybody can give a process that title, and options that never let sshd end. So nothing of a process is read, not
/// even its title, which its owner can keep the reader waiting for, before it is known to be root's, of this host and
/// not of a container, and sshd.
fn listener_title(proc: &Path, root: u32) -> Option<String> {
    let sshd = fs::canonicalize(SSHD).unwrap_or_else(|_| SSHD.into());
    let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let ours = namespace(&proc.join("self"));
    let is_sshd = |process: &PathBuf| {
        let program = fs::read_link(process.join("exe")).unwrap_or_default();
        let program = program.to_string_lossy();
        // As the kernel marks a program that an upgrade has replaced.
        Path::new(program.strip_suffix(" (deleted)").unwrap_or(&program)) == sshd
    };
    let is_roots = |process: &PathBuf| fs::metadata(process).is_ok_and(|process| process.uid() == root);
    let processes = fs::read_dir(proc).ok()?.flatten().map(|entry| entry.path());
    let mut listening = processes
        .filter(|process| is_roots(process) && is_sshd(process) && namespace(process) == ours)
        .filter_map(|process| {
            let title = fs::read(process.join("cmdline")).ok()?;
            let title = String::from_utf8_lossy(&title).replace('\0', " ");
            let options = title.trim().strip_prefix("sshd: ")?.split_once(" [listener]")?.0;
            Some(options.to_owned())
        });
    listening.next()
}

fn options_of(title: &str) -> Vec<String> {
    let mut words = title.split_whitespace().skip(1);
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let takes_value = matches!(word, "-o" | "-f");
        if takes_value || word.starts_with("-o") || word.starts_with("-f") {
            options.push(word.to_owned());
        }
        options.extend(takes_value.then(|| words.next().unwrap_or_default().to_owned()));
    }
    options
}

/// What of the settings is not as IAM users need it: keyword, what it says, what it should say.
pub fn wrong(settings: &Settings) -> Vec<(&'static str, String, &'static str)> {
    let value = |keyword: &str| settings.get(keyword).cloned().unwrap_or_else(|| "none".to_owned());
    let mut wrong = Vec::new();
    // What the drop-in says where PAM is not asked, and rightly so.
    let no_keys = value("usepam") != "yes" && value("authorizedkeyscommand") == "none";
    let mut expect = |keyword: &'static str, right: &'static str, holds: fn(&str) -> bool| {
        let value = value(keyword);
        if !holds(&value) {
            wrong.push((keyword, value, right));
        }
    };
    expect("pubkeyauthentication", "yes", |value| value == "yes");
    expect("usepam", "yes", |value| value == "yes");
    if !no_keys {
        expect(
            "authorizedkeyscommand",
            "/usr/libexec/keymaker/keymaker-keys %u %U",
            |value| value.starts_with("/usr/libexec/keymaker/keymaker-keys "),
        );
    }
    expect("authorizedkeyscommanduser", "keymaker-keys", |value| {
        value == "keymaker-keys"
    });
    expect("authorizedkeysfile", "none", |value| value == "none");
    expect("trustedusercakeys", "none", |value| value == "none");
    expect("authenticationmethods", "publickey", |value| {
        value
            .split_whitespace()
            .all(|list| list.split([',', ':']).next() == Some("publickey"))
    });
    wrong
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_listeners_options_are_read_from_its_title() {
        let title = "/usr/sbin/sshd -D -o AuthorizedKeysCommand=/x -oUsePAM=no -f /etc/other";
        assert_eq!(
            options_of(title),
            ["-o", "AuthorizedKeysCommand=/x", "-oUsePAM=no", "-f", "/etc/other"]
        );
    }

    #[test]
    fn only_a_process_of_root_that_is_sshd_says_how_sshd_was_started() {
        let proc = std::env::temp_dir().join(format!("keymaker-proc-{}", std::process::id()));
        let process = |pid: &str, exe: &str, namespace: &str| {
            let process = proc.join(pid);
            fs::create_dir_all(process.join("ns")).unwrap();
            symlink(exe, process.join("exe")).unwrap();
            symlink(namespace, process.join("ns/pid")).unwrap();
            process.join("cmdline")
        };
        let me = keymaker_core::sys::own_uid();
        process("self", "/usr/bin/keymaker", "pid:[1]");
        // What reads one of these never ends.
        for (pid, exe, namespace) in [("10", "/usr/bin/python3", "pid:[1]"), ("11", SSHD, "pid:[2]")] {
            let title = process(pid, exe, namespace);
            rustix::fs::mkfifoat(rustix::fs::CWD, &title, 0o600.into()).unwrap();
        }
        assert_eq!(listener_title(&proc, me), None);
        let title = process("12", &format!("{SSHD} (deleted)"), "pid:[1]");
        fs::write(
            title,
            "sshd: /usr/sbin/sshd -D -o UsePAM=no [listener] 0 of 10-100 startups\0",
        )
        .unwrap();
        assert_eq!(listener_title(&proc, me + 1), None);
        assert_eq!(
            listener_title(&proc, me).as_deref(),
            Some("/usr/sbin/sshd -D -o UsePAM=no")
        );
        fs::remove_dir_all(&proc).unwrap();
    }

    #[test]
    fn where_pam_is_not_asked_no_keys_is_right_and_only_pam_is_wrong() {
        let mut settings: Settings = [
            ("pubkeyauthentication", "yes"),
            ("usepam", "no"),
            ("authorizedkeyscommand", "none"),
            ("authorizedkeyscommanduser", "keymaker-keys"),
            ("authorizedkeysfile", "none"),
            ("authenticationmethods", "publickey"),
        ]
        .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()))
        .into();
        assert_eq!(wrong(&settings), [("usepam", "no".to_owned(), "yes")]);
        settings.insert("usepam".to_owned(), "yes".to_owned());
        assert_eq!(wrong(&settings)[0].0, "authorizedkeyscommand");
    }

    // P8
    #[test]
    fn whatever_would_let_another_key_in_is_wrong() {
        let mut settings: Settings = [
            ("pubkeyauthentication", "yes"),
            ("usepam", "yes"),
            ("authorizedkeyscommand", "/usr/libexec/keymaker/keymaker-keys %u %U"),
            ("authorizedkeyscommanduser", "keymaker-keys"),
            ("authorizedkeysfile", "none"),
            ("authenticationmethods", "publickey,keyboard-interactive publickey"),
        ]
        .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()))
        .into();
        assert_eq!(wrong(&settings), []);
        settings.insert("authorizedkeysfile".to_owned(), ".ssh/authorized_keys".to_owned());
        settings.insert("authenticationmethods".to_owned(), "any".to_owned());
        assert_eq!(wrong(&settings).len(), 2);
    }
}
