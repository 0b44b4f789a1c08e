//! How the sshd that answers logins was started: the options of its command line that decide about settings.
//!
//! A listening sshd overwrites its arguments with a title in which blanks part them, also those with blanks inside
//! (`-o "AuthorizedKeysCommand /x %u"`, as EC2 Instance Connect starts it). The title says what runs; systemd, where it
//! started this sshd, still has the arguments one by one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::run;
use super::SSHD;

/// What answers at sshd's port.
#[derive(Debug, PartialEq, Eq)]
pub enum Started {
    /// An sshd that listens, with these of its options: -o and -f.
    Listening(Vec<String>),
    /// systemd, which starts an sshd with these at a connection.
    AtAConnection(Vec<String>),
    /// Nothing.
    Not,
}

/// How sshd was started. An error: that cannot be told, and why.
pub fn started() -> Result<Started, String> {
    if let Some(listener) = listener(Path::new("/proc"), ROOT) {
        let known = || argv_of(&call("GetUnitByPID", "u", &listener.pid)?);
        let arguments = match listener.shown {
            Shown::Arguments(arguments) => arguments,
            // vis(3) writes other characters in more than one.
            Shown::Title(title) if title.contains('\\') => {
                return Err(format!(
                    "sshd's title does not show its command line as it was: {title}"
                ));
            }
            Shown::Title(title) => arguments(&title, &known().unwrap_or_default()),
        };
        return Ok(Started::Listening(options(&arguments)));
    }
    for (socket, service) in SOCKETS {
        if run("systemctl", &["is-active", socket]).is_ok() {
            return at_a_connection(service).map(Started::AtAConnection);
        }
    }
    Ok(Started::Not)
}

/// When systemd last started or reloaded the sshd that listens; `None` where systemd did not start it.
pub fn read_at() -> Option<SystemTime> {
    let unit = call("GetUnitByPID", "u", &listener(Path::new("/proc"), ROOT)?.pid)?;
    let kind = "org.freedesktop.systemd1.Unit";
    let answer = busctl("get-property", &[MANAGER, &unit, kind, "StateChangeTimestamp"])?;
    let microseconds = answer.get("data")?.as_u64()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_micros(microseconds))
}

const ROOT: u32 = 0;

/// Sockets that start sshd, and the first services of theirs that systemd has.
const SOCKETS: [(&str, [&str; 2]); 2] = [
    ("ssh.socket", ["ssh@keymaker.service", "ssh.service"]),
    ("sshd.socket", ["sshd@keymaker.service", "sshd.service"]),
];

fn at_a_connection(services: [&str; 2]) -> Result<Vec<String>, String> {
    let argv = services
        .into_iter()
        .find_map(|service| argv_of(&call("LoadUnit", "s", service)?));
    let argv = argv.ok_or_else(|| format!("systemd does not say how {} starts sshd", services.join(" or ")))?;
    let variable = argv.iter().find_map(|argument| argument.strip_prefix('$'));
    match variable.filter(|name| !is_unset(name.trim_matches(['{', '}']))) {
        Some(variable) => Err(format!(
            "systemd starts sshd at a connection, and with options that ${variable} names"
        )),
        None => Ok(options(&argv)),
    }
}

/// Whether no file from which units take their environment gives the variable a value.
fn is_unset(variable: &str) -> bool {
    ["/etc/default/ssh", "/etc/sysconfig/sshd"].into_iter().all(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut values = text.lines().filter_map(|line| line.trim().split_once('='));
        !values.any(|(name, value)| name == variable && !value.trim_matches(['"', '\'', ' ']).is_empty())
    })
}

/// Asks systemd for a unit's object.
fn call(method: &str, kind: &str, argument: &str) -> Option<String> {
    let path = "/org/freedesktop/systemd1";
    let arguments = [
        MANAGER,
        path,
        "org.freedesktop.systemd1.Manager",
        method,
        kind,
        argument,
    ];
    let answer = busctl("call", &arguments)?;
    Some(answer.pointer("/data/0")?.as_str()?.to_owned())
}

/// The arguments that a unit gives its program, one by one.
fn argv_of(unit: &str) -> Option<Vec<String>> {
    let service = "org.freedesktop.systemd1.Service";
    let answer = busctl("get-property", &[MANAGER, unit, service, "ExecStart"])?;
    // Of each command: the program, its arguments, and what became of it.
    let argv = answer.pointer("/data/0/1")?.as_array()?;
    argv.iter()
        .map(|argument| argument.as_str().map(str::to_owned))
        .collect()
}

const MANAGER: &str = "org.freedesktop.systemd1";

fn busctl(verb: &str, arguments: &[&str]) -> Option<Value> {
    let told = run("busctl", &[&["--json=short", verb], arguments].concat()).ok()?;
    serde_json::from_str(&told).ok()
}

/// A listening sshd as /proc has it.
#[derive(Debug, PartialEq, Eq)]
struct Listener {
    pid: String,
    shown: Shown,
}

#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Title(String),
    /// As it was started: before OpenSSH 8.2, or where the title would be too long.
    Arguments(Vec<String>),
}

/// Anybody can give a process that title, and options that never let sshd end. So nothing of a process is read, not
/// even its title, which its owner can keep the reader waiting for, before it is known to be root's, of this host and
/// not of a container, and sshd.
fn listener(proc: &Path, root: u32) -> Option<Listener> {
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
            let shown = shown(&fs::read(process.join("cmdline")).ok()?)?;
            let pid = process.file_name()?.to_str()?.to_owned();
            Some(Listener { pid, shown })
        });
    listening.next()
}

/// What the command line of a listener shows; `None` for an sshd that serves one connection.
fn shown(command_line: &[u8]) -> Option<Shown> {
    let text = String::from_utf8_lossy(command_line);
    let text = text.trim_end_matches('\0');
    if let Some(title) = text.strip_prefix("sshd: ") {
        let (command, _) = title.split_once(" [listener]")?;
        return Some(Shown::Title(command.to_owned()));
    }
    let arguments: Vec<String> = text.split('\0').map(str::to_owned).collect();
    let one_connection = arguments.iter().any(|argument| argument == "-R" || argument == "-i");
    (!one_connection).then_some(Shown::Arguments(arguments))
}

/// The arguments of a title; `known` tells those that have blanks inside.
fn arguments(title: &str, known: &[String]) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut rest = Some(title);
    while let Some(text) = rest {
        let whole = known.iter().filter(|known| known.contains(' ')).find_map(|known| {
            let behind = text.strip_prefix(known.as_str())?;
            (behind.is_empty() || behind.starts_with(' ')).then_some((known.as_str(), behind.strip_prefix(' ')))
        });
        let (argument, behind) = whole.unwrap_or_else(|| match text.split_once(' ') {
            Some((word, behind)) => (word, Some(behind)),
            None => (text, None),
        });
        arguments.push(argument.to_owned());
        rest = behind;
    }
    arguments
}

/// Those that take a value, and those that take none (sshd(8), and those for itself).
const WITH_VALUE: &str = "CEbcfghkopu";
const WITHOUT: &str = "46DGQRTdeiqrtV";

/// The options -o and -f, as getopt(3) finds them.
fn options(arguments: &[String]) -> Vec<String> {
    let mut options = Vec::new();
    let mut words = arguments.iter().skip(1).map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let Some(at) = word
            .find(|letter| WITH_VALUE.contains(letter))
            .filter(|_| is_option(word))
        else {
            continue;
        };
        let (letter, rest) = word.split_at(at).1.split_at(1);
        let mut value = match rest {
            "" => words.next().unwrap_or_default().to_owned(),
            value => value.to_owned(),
        };
        // sshd takes no operands: what is no option belongs to the value before it.
        while let Some(more) = words.next_if(|word| !is_option(word)) {
            value += &format!(" {more}");
        }
        if letter == "o" || letter == "f" {
            options.extend([format!("-{letter}"), value]);
        }
    }
    options
}

/// Whether sshd could have taken this argument for options.
fn is_option(word: &str) -> bool {
    let Some(letters) = word.strip_prefix('-') else {
        return false;
    };
    let Some(first) = letters.chars().find(|letter| !WITHOUT.contains(*letter)) else {
        return !letters.is_empty();
    };
    WITH_VALUE.contains(first)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn options_in(title: &str, known: &[&str]) -> Vec<String> {
        let known: Vec<String> = known.iter().map(|known| (*known).to_owned()).collect();
        options(&arguments(title, &known))
    }

    #[test]
    fn the_listeners_options_are_read_from_its_title() {
        assert_eq!(
            options_in(
                "/usr/sbin/sshd -De4 -o AuthorizedKeysCommand=/x -oUsePAM=no -p 22 -Df /etc/other",
                &[]
            ),
            ["-o", "AuthorizedKeysCommand=/x", "-o", "UsePAM=no", "-f", "/etc/other"]
        );
        assert_eq!(options_in("/usr/sbin/sshd", &[]), [""; 0]);
    }

    #[test]
    fn a_value_with_blanks_ends_where_the_next_option_begins() {
        let eic = "/usr/sbin/sshd -D -o AuthorizedKeysCommand /usr/share/ec2-instance-connect/eic_run_authorized_keys %u %f \
            -o AuthorizedKeysCommandUser ec2-instance-connect";
        let options = [
            "-o",
            "AuthorizedKeysCommand /usr/share/ec2-instance-connect/eic_run_authorized_keys %u %f",
            "-o",
            "AuthorizedKeysCommandUser ec2-instance-connect",
        ];
        assert_eq!(options_in(eic, &[]), options);
        // One that sshd(8) does not have is part of the value.
        assert_eq!(
            options_in("sshd -o A /x --chain -x %u", &[]),
            ["-o", "A /x --chain -x %u"]
        );
    }

    #[test]
    fn a_value_that_looks_like_options_is_told_by_systemds_arguments() {
        let (title, value) = ("sshd -D -o A /x -f %u -o UsePAM=no", "A /x -f %u");
        assert_eq!(options_in(title, &[])[2], "-f");
        assert_eq!(
            options_in(title, &["sshd", "-o", value, "$SSHD_OPTS"]),
            ["-o", value, "-o", "UsePAM=no"]
        );
        // The unit's file says something else by now.
        assert_eq!(options_in("sshd -o A=1", &["A /x -f %u"]), ["-o", "A=1"]);
    }

    #[test]
    fn an_sshd_without_a_title_shows_its_arguments() {
        let arguments = |text: &[u8]| match shown(text) {
            Some(Shown::Arguments(arguments)) => options(&arguments),
            other => panic!("{other:?}"),
        };
        assert_eq!(arguments(b"/usr/sbin/sshd\0-D\0-o\0A /x -f\0"), ["-o", "A /x -f"]);
        assert_eq!(shown(b"/usr/sbin/sshd\0-D\0-R\0"), None);
        assert_eq!(shown(b"sshd: alice [priv]\0\0\0"), None);
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
        assert_eq!(listener(&proc, me), None);
        let title = process("12", &format!("{SSHD} (deleted)"), "pid:[1]");
        fs::write(
            title,
            "sshd: /usr/sbin/sshd -D -o UsePAM=no [listener] 0 of 10-100 startups\0",
        )
        .unwrap();
        assert_eq!(listener(&proc, me + 1), None);
        assert_eq!(
            listener(&proc, me),
            Some(Listener {
                pid: "12".to_owned(),
                shown: Shown::Title("/usr/sbin/sshd -D -o UsePAM=no".to_owned())
            })
        );
        fs::remove_dir_all(&proc).unwrap();
    }
}
