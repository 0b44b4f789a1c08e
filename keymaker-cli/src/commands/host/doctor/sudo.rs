//! Whether sudo does what `sudo_iam_group` says: our rule, and that sudo reads it.

use std::os::unix::fs::MetadataExt;

use keymaker_core::sudo_rule::FILE;
use keymaker_core::{paths, sudo_rule};

use super::super::probe::sudo::{self, SudoRule};
use super::super::probe::{run, text_setting};
use super::Findings;
use super::finding::FaultCause;

const SUDOERS: &str = "/etc/sudoers";

/// Looks at the rule, and at whether sudo reads it.
pub fn look(found: &mut Findings) {
    mode(found);
    rule(found);
}

fn mode(found: &mut Findings) {
    let Ok(metadata) = std::fs::metadata(FILE) else { return };
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        let what = format!(
            "{FILE} can be written by users other than root (mode {:04o})",
            metadata.mode() & 0o7777
        );
        found.fault(
            what,
            "sudo ignores it, or it lets somebody become root",
            format!("chown root:root {FILE}; chmod 0440 {FILE}"),
        );
    }
}

fn rule(found: &mut Findings) {
    let is_set = text_setting(paths::KEYMAKERD_TOML, "sudo_iam_group").is_some();
    let rule = sudo::rule();
    let why = "sudo_iam_group has no effect: its members have no password to enter";
    let place = "systemctl start keymaker-sudo";
    // What was made by hand stays, under a name that sudo does not read.
    let instead = format!("mv --backup=numbered {FILE} {FILE}.edited; {place}");
    if let (Some(visudo), SudoRule::Ours | SudoRule::EditedAndLets | SudoRule::EditedAway) = (sudo_rule::visudo(), rule)
        && let Err(said) = run(visudo, &["-c", "-f", FILE])
    {
        let what = format!("sudo does not accept {FILE}: {said}");
        found.fault(what, "sudo may refuse everybody", instead);
        return;
    }
    match rule {
        SudoRule::Ours if !is_set => {
            let what = format!("{FILE} is there, and sudo_iam_group is not set");
            found
                .fault(what, "a rule without a password that nobody needs", place)
                .of(&[FaultCause::KeymakerdToml]);
        }
        _ if !is_set => {}
        SudoRule::NoSudo => {
            let what = "sudo_iam_group is set, and sudo is not installed";
            found.fault(
                what,
                "its members cannot become root",
                format!("apt-get install -y sudo; {place}"),
            );
        }
        SudoRule::Missing => {
            found
                .fault(format!("{FILE} is not there"), why, place)
                .of(&[FaultCause::KeymakerdToml]);
        }
        SudoRule::EditedAway => {
            let what = format!(
                "{FILE} was edited here, and lets {} do nothing without a password",
                paths::KEYMAKER_SUDO
            );
            found.fault(what, why, instead);
        }
        _ if !std::fs::read_to_string(SUDOERS).is_ok_and(|text| includes(&text)) => {
            found.fault(
                format!("{SUDOERS} does not include /etc/sudoers.d"),
                why,
                format!("echo '#includedir /etc/sudoers.d' >> {SUDOERS}; visudo -c"),
            );
        }
        _ => {}
    }
}

/// Whether a sudoers file includes the folder of ours, by the older spelling, which is no comment, or the newer one
/// (sudoers(5)).
fn includes(sudoers: &str) -> bool {
    let mut lines = sudoers.lines().map(str::split_whitespace);
    lines.any(|mut words| {
        matches!(words.next(), Some("#includedir" | "@includedir"))
            && words
                .next()
                .is_some_and(|folder| folder.trim_end_matches('/') == "/etc/sudoers.d")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_folder_of_sudo_count_and_no_comment_does() {
        for text in [
            "#includedir /etc/sudoers.d\n",
            "root ALL=(ALL) ALL\n@includedir /etc/sudoers.d/\n",
        ] {
            assert!(includes(text), "{text}");
        }
        for text in [
            "",
            "# includedir /etc/sudoers.d\n",
            "#include /etc/sudoers.d\n",
            "@includedir /etc/sudoers.more\n",
        ] {
            assert!(!includes(text), "{text}");
        }
    }
}
