//! `keymaker migrate`: takes over from the Python keymaker and from ec2userkeyd; uids and homes stay.
//!
//! Each predecessor's traces are found by what its installer wrote, and nothing else is touched. `--dry-run` prints
//! what would be done. The local accounts that the Python keymaker made are given up, not their homes: keymakerd then
//! publishes the same names with the same uids, by the same formula (`id_scheme = "keymaker"`). Nothing is given up
//! before keymakerd runs with the new settings, and whatever fails, everything is put back.

mod accounts;
mod before;
pub mod ec2userkeyd;

use std::fs;
use std::path::Path;

use keymaker_core::paths;
use serde_json::json;

use self::before::Before;
use super::install::files::write;
use super::install::joints::reload_sshd;
use super::probe::{self, run as command};
use super::{HostError, backup};
use crate::consent::Consent;
use crate::output::Output;

/// One step, in words, and what does it.
pub struct MigrationStep {
    what: String,
    act: Box<dyn FnOnce() -> Result<(), String>>,
}

impl MigrationStep {
    fn new(what: impl Into<String>, act: impl FnOnce() -> Result<(), String> + 'static) -> Self {
        Self {
            what: what.into(),
            act: Box::new(act),
        }
    }
}

const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const PAM_SSHD: &str = "/etc/pam.d/sshd";
const CRON: &str = "/etc/cron.d/keymaker-group-sync";
const KEYS_SCRIPT: &str = "/usr/sbin/keymaker-get-public-keys";
/// What userdel and groupdel change.
const PASSWD_FILES: [&str; 6] = [
    paths::PASSWD,
    "/etc/shadow",
    paths::GROUP,
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
];

/// Prints the settings of ec2userkeyd in `file` as a credd.toml, and takes nothing over.
pub fn show(file: &Path, output: &Output) -> Result<(), HostError> {
    let settings = ec2userkeyd::imported(file).map_err(HostError::Refused)?;
    output.print(&settings, &json!({ "credd.toml": settings }));
    Ok(())
}

/// Finds what predecessors left, and takes it over; without anybody's consent it is only said.
pub fn run(consent: Option<Consent>, lock_departed: bool, output: &Output) -> Result<(), HostError> {
    const MIGRATE: &str = "keymaker migrate";
    if !probe::is_root() {
        return Err(HostError::NotRoot);
    }
    if let Some(consent) = consent {
        consent.can_be_had(MIGRATE)?;
    }
    let departed = accounts::departed().map_err(HostError::Refused)?;
    let mut steps = plan().map_err(HostError::Refused)?;
    if lock_departed {
        steps.extend(departed.iter().map(|(name, _)| accounts::lock(name.clone())));
    }
    let words: Vec<String> = steps.iter().map(|step| step.what.clone()).collect();
    let mut text = words.iter().map(|word| format!("{word}\n")).collect::<String>();
    let mut kept = None;
    text += &match consent {
        _ if words.is_empty() => {
            "Neither the Python keymaker nor ec2userkeyd left anything here: nothing to do.".to_owned()
        }
        None => "Nothing was changed (--dry-run).".to_owned(),
        Some(consent) => {
            let lost = format!("{text}A backup of the host before that is kept in {}.", backup::FOLDER);
            consent.ask(MIGRATE, &lost)?;
            let backup = taken_over(steps)?;
            let said = format!(
                "Done; {backup} has what was there before (keymaker(1), BACKUPS). 'keymaker doctor' checks the host."
            );
            kept = Some(backup);
            said
        }
    };
    if !departed.is_empty() && !lock_departed {
        let listed: Vec<String> = departed.iter().map(|(name, uid)| format!("{name} ({uid})")).collect();
        text += &format!(
            "\nThese local accounts look as the Python keymaker made them, and IAM has nobody of that name: {}. Keys in their homes \
             still open them; 'keymaker migrate --lock-departed' locks them.",
            listed.join(", ")
        );
    }
    let departed: Vec<&String> = departed.iter().map(|(name, _)| name).collect();
    output.print(
        &text,
        &json!({ "steps": words, "done": consent.is_some(), "backup": kept, "departed": departed }),
    );
    Ok(())
}

/// Takes all steps or none; returns where the backup is.
fn taken_over(steps: Vec<MigrationStep>) -> Result<String, HostError> {
    let before = Before::keep().map_err(HostError::Refused)?;
    match take(steps) {
        Ok(()) => before.done().map_err(HostError::Refused),
        Err(why) => Err(HostError::Refused(put_back(before, &why))),
    }
}

/// One step after the other; the error says which one failed.
fn take(steps: Vec<MigrationStep>) -> Result<(), String> {
    for step in steps {
        (step.act)().map_err(|why| format!("could not {}: {why}", step.what))?;
    }
    Ok(())
}

fn put_back(before: Before, why: &str) -> String {
    match before.put_back() {
        Ok(()) => format!("{why}\nEverything is as it was before."),
        Err(left) => {
            format!(
                "{why}\nNot everything could be put back: {left}. Run 'keymaker migrate' again: it says how to do \
                that by hand."
            )
        }
    }
}

/// What takes something away comes after keymakerd has shown that it runs, in an order in which every moment between
/// two steps leaves the administrator a way in.
fn plan() -> Result<Vec<MigrationStep>, String> {
    let accounts = accounts::found()?;
    let mut steps = if accounts.is_empty() {
        Vec::new()
    } else {
        accounts::new_scheme()?
    };
    // Before the accounts, or the predecessor would make them again.
    steps.extend(without_lines(PAM_SSHD, "pam_exec.so of the Python keymaker", |line| {
        line.contains("pam_exec.so") && line.contains("keymaker-create-account-for-iam-user")
    }));
    steps.extend(removed(CRON));
    // `keymaker install --user` names another one.
    let keys_user = sshd_config_text().and_then(|text| keys_user(&text));
    steps.extend(sshd_config());
    steps.extend(removed(KEYS_SCRIPT));
    let daemon = keys_user.unwrap_or_else(|| "keymaker".to_owned());
    if probe::local_line(paths::PASSWD, &daemon).is_some_and(|line| line.contains("Keymaker SSH key daemon")) {
        steps.push(MigrationStep::new(
            format!("remove the system user {daemon}"),
            move || command("userdel", &[&daemon]).map(|_| ()),
        ));
    }
    steps.extend(ec2userkeyd::steps()?);
    steps.extend(accounts.given_up());
    // Back by nothing but its daemon, so after all that can fail.
    steps.extend(ec2userkeyd::without_rules());
    Ok(steps)
}

/// Whether a program accepts these settings for the file at `path`; `check` is how it is asked. Nothing is left behind.
fn accepts(program: &str, check: &str, path: &str, settings: &str) -> Result<(), String> {
    const TRIED: &str = "/run/keymaker-migrate.toml";
    write(Path::new(TRIED), settings.as_bytes(), 0o600)?;
    let checked = command(program, &[check, "--config", TRIED]);
    let _ = fs::remove_file(TRIED);
    checked.map(|_| ()).map_err(|why| {
        format!(
            "the settings that {path} would have are not valid: {}",
            why.replace(TRIED, path)
        )
    })
}

fn removed(path: &'static str) -> Option<MigrationStep> {
    let mine = fs::read_to_string(path).is_ok_and(|text| text.contains("keymaker"));
    mine.then(|| {
        MigrationStep::new(format!("remove {path}"), move || {
            fs::remove_file(path).map_err(|error| error.to_string())
        })
    })
}

fn without_lines(path: &'static str, what: &str, ours: fn(&str) -> bool) -> Option<MigrationStep> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().any(ours).then(|| {
        MigrationStep::new(format!("take {what} out of {path}"), move || {
            let kept: String = text
                .lines()
                .filter(|line| !ours(line))
                .map(|line| format!("{line}\n"))
                .collect();
            write(Path::new(path), kept.as_bytes(), 0o644)
        })
    })
}

/// The four lines of its installer; the two that others may have written too go only together with the first.
fn sshd_config() -> Option<MigrationStep> {
    let text = sshd_config_text()?;
    let kept = without_python_lines(&text)?;
    Some(MigrationStep::new(
        format!("take the Python keymaker's lines out of {SSHD_CONFIG}"),
        move || {
            write(Path::new(SSHD_CONFIG), kept.as_bytes(), 0o644)?;
            if let Err(why) = command("/usr/sbin/sshd", &["-t"]) {
                write(Path::new(SSHD_CONFIG), text.as_bytes(), 0o644)?;
                return Err(format!("sshd does not accept it without them ({why}); it is as it was"));
            }
            reload_sshd()
        },
    ))
}

fn sshd_config_text() -> Option<String> {
    fs::read_to_string(SSHD_CONFIG).ok()
}

fn without_python_lines(text: &str) -> Option<String> {
    let user = format!("AuthorizedKeysCommandUser {}", keys_user(text)?);
    let ours = [
        KEYS_COMMAND,
        &user,
        "ChallengeResponseAuthentication yes",
        "AuthenticationMethods publickey keyboard-interactive:pam,publickey",
    ];
    let kept = text.lines().filter(|line| !ours.contains(&line.trim()));
    Some(kept.map(|line| format!("{line}\n")).collect())
}

/// As whom sshd runs its keys command, where that is the Python keymaker's.
fn keys_user(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != KEYS_COMMAND);
    lines.next()?;
    let user = lines.find_map(|line| line.strip_prefix("AuthorizedKeysCommandUser "));
    Some(user.unwrap_or("keymaker").trim().to_owned())
}

const KEYS_COMMAND: &str = "AuthorizedKeysCommand /usr/sbin/keymaker-get-public-keys";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sshds_configuration_loses_the_predecessors_lines_and_no_other() {
        let text = "Port 22\nAuthorizedKeysCommand /usr/sbin/keymaker-get-public-keys\nAuthorizedKeysCommandUser keymaker\n\
                    ChallengeResponseAuthentication yes\nAuthenticationMethods publickey keyboard-interactive:pam,publickey\nX11Forwarding no\n";
        assert_eq!(without_python_lines(text).unwrap(), "Port 22\nX11Forwarding no\n");
        let of_another = text.replace("User keymaker", "User km");
        assert_eq!(
            without_python_lines(&of_another).unwrap(),
            "Port 22\nX11Forwarding no\n"
        );
        assert_eq!(keys_user(&of_another).as_deref(), Some("km"));
        assert_eq!(without_python_lines("ChallengeResponseAuthentication yes\n"), None);
    }
}
