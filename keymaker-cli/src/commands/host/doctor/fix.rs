//! `keymaker doctor --fix`: applies remedies that doctor printed, one by one, once somebody at the terminal has agreed.
//!
//! No shell: a remedy is applied only if each of its commands is one of those below, word for word, so that nothing that
//! stands in a file, in IAM or in the title of a process is ever more than a word that fits none of them. None of them
//! deletes, edits a file or needs rights in AWS: those remedies are left to whoever reads them.

use std::io::{IsTerminal, Write, stderr, stdin};

use super::super::probe::limited;
use super::finding::Finding;
use crate::consent::is_yes;

/// Where the programs are, whatever root's environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What may be started, started again, enabled or unmasked.
const UNITS: [&str; 13] = [
    "keymakerd",
    "keymakerd.service",
    "keymaker-sudo",
    "credd",
    "credd.service",
    "credd.socket",
    "credd-capture",
    "credd-capture.service",
    "credd-container.socket",
    "ssh",
    "sshd",
    "systemd-user-sessions",
    "chronyd",
];
const VERBS: [&str; 5] = ["start", "restart", "reload", "unmask", "reset-failed"];
/// Folders that only root can change, and with them what lies there.
const OF_ROOT: [&str; 3] = ["/etc/keymaker", "/usr/libexec/keymaker", "/etc/sudoers.d"];

/// Whether there is anybody to ask.
pub fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Goes through the findings; returns whether anything was run.
pub fn apply(findings: &[Finding]) -> bool {
    let mut has_run = false;
    for finding in findings {
        let Some(commands) = commands(&finding.remedy) else {
            say(&format!("By hand: {}\n  {}", finding.what, finding.remedy));
            continue;
        };
        if !agreed(&format!("{}\n  {}\nRun this? [yes/no] ", finding.what, finding.remedy)) {
            continue;
        }
        has_run = true;
        for command in commands {
            if let Err(why) = run(&command) {
                say(&format!("{}: {why}", command.join(" ")));
                break;
            }
        }
    }
    has_run
}

fn run(command: &[&str]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let ended = limited(program).args(arguments).env("PATH", PATH).status();
    match ended.map_err(|error| error.to_string())? {
        status if status.success() => Ok(()),
        status => Err(format!("ended with {status}")),
    }
}

fn agreed(question: &str) -> bool {
    let mut terminal = stderr().lock();
    let mut answer = String::new();
    let asked = write!(terminal, "{question}").and_then(|()| stdin().read_line(&mut answer));
    asked.is_ok() && is_yes(&answer)
}

fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// The commands of a remedy, each its words, if all of them are among those that may be run.
fn commands(remedy: &str) -> Option<Vec<Vec<&str>>> {
    let commands = remedy.split("; ").map(|command| command.split(' ').collect::<Vec<_>>());
    commands.map(|words| may_run(&words).then_some(words)).collect()
}

fn may_run(words: &[&str]) -> bool {
    let are_units = |units: &[&str]| !units.is_empty() && units.iter().all(|unit| UNITS.contains(unit));
    match words {
        ["systemctl", "enable", "--now", units @ ..] => are_units(units),
        ["systemctl", verb, units @ ..] => VERBS.contains(verb) && are_units(units),
        ["keymaker", "sync"] | ["systemd-sysusers"] | ["keymaker", "capture", "up"] => true,
        ["systemd-tmpfiles", "--create", "keymaker.conf"] => true,
        ["chmod", mode, path] => {
            mode.len() == 4
                && mode.starts_with('0')
                && mode.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
                && is_roots(path)
        }
        ["chown", "root:root", path] => is_roots(path),
        _ => false,
    }
}

/// Whether this is one of [`OF_ROOT`] or lies in it, written without a detour.
fn is_roots(path: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    path.bytes().all(legal)
        && !path.contains("..")
        && OF_ROOT.iter().any(|folder| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_are_known_word_for_word_are_run() {
        for remedy in [
            "systemctl start keymaker-sudo",
            "systemctl unmask keymakerd; systemctl enable --now keymakerd",
            "systemctl reset-failed credd credd-capture; systemctl restart credd-capture credd",
            "systemd-sysusers; systemctl restart keymakerd; keymaker sync",
            "chmod 0644 /etc/keymaker/keymakerd.toml",
            "chown root:root /etc/sudoers.d/keymaker; chmod 0440 /etc/sudoers.d/keymaker",
        ] {
            assert!(commands(remedy).is_some(), "{remedy}");
        }
        for remedy in [
            "",
            "rm /etc/nologin",
            "systemctl stop keymakerd",
            "systemctl disable --now nscd",
            "systemctl start evil",
            "systemctl start",
            "systemctl start keymakerd evil",
            "systemctl start keymakerd; rm -rf /",
            "systemctl start keymakerd && rm -rf /",
            "systemctl start keymakerd|sh",
            "systemctl start keymakerd\nrm -rf /",
            "systemctl start keymakerd  # as $(id)",
            "sed -i 1d /etc/ssh/sshd_config",
            "keymaker configure --instance-iam-role x && keymaker sync",
            "aws iam create-group --group-name x",
            "keymaker release alice",
            "chmod 0644 /etc/keymaker/../shadow",
            "chmod 0644 /etc/keymakerd",
            "chmod 4755 /etc/keymaker/x",
            "keymaker install",
            "chmod +s /etc/keymaker/x",
            "chmod 0644 /var/lib/keymaker/public/directory",
            "chown alice /etc/keymaker/keymakerd.toml",
            "keymaker sync  # after the user is renamed in IAM",
        ] {
            assert!(commands(remedy).is_none(), "{remedy}");
        }
    }
}
