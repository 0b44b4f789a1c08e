//! Enterprise Linux: PAM stacks and nsswitch.conf are authselect's, which writes them again from a profile. Ours is the
//! profile that was selected, with our lines in it. Never tried on such a host (docs/unverified.md); what edits texts
//! is tested.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::probe::{pam::CONTROL, run};
use super::files;

const PROFILES: &str = "/etc/authselect/custom";
const OURS: &str = "custom/keymaker";
/// The profile and features that were selected before.
const FORMER: &str = "/var/lib/keymaker-install/authselect";

/// Whether authselect rules here.
pub fn is_here() -> bool {
    Path::new("/usr/bin/authselect").exists()
}

/// Selects a copy of the present profile that has our lines. `nsswitch` puts us into a nsswitch.conf.
pub fn join(nsswitch: fn(&str) -> String) -> Result<(), String> {
    let present = run("authselect", &["current", "--raw"]).map_err(|why| {
        format!("authselect has no profile selected ({why}): run 'authselect select minimal', then try again")
    })?;
    let mut words = present.split_whitespace();
    let profile = words.next().unwrap_or_default();
    if profile == OURS {
        return Ok(());
    }
    run("authselect", &["create-profile", "keymaker", "-b", profile])?;
    edit("nsswitch.conf", nsswitch)?;
    edit("system-auth", with_our_lines)?;
    edit("password-auth", with_our_lines)?;
    files::write(Path::new(FORMER), present.as_bytes(), 0o644)?;
    select(OURS, words)
}

/// Selects what was selected before; nothing where that was never changed.
pub fn part() -> Result<(), String> {
    let Ok(former) = fs::read_to_string(FORMER) else {
        return Ok(());
    };
    let mut words = former.split_whitespace();
    select(words.next().unwrap_or_default(), words)?;
    files::remove_folder(&folder())
}

fn edit(name: &str, edit: fn(&str) -> String) -> Result<(), String> {
    let path = folder().join(name);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    files::write(&path, edit(&text).as_bytes(), 0o644)
}

fn folder() -> PathBuf {
    Path::new(PROFILES).join("keymaker")
}

fn select<'a>(profile: &'a str, features: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let arguments = ["select", profile].into_iter().chain(features).chain(["--force"]);
    run("authselect", &arguments.collect::<Vec<_>>()).map(|_| ())
}

/// Account before the first line that could end the stack, session after the last.
fn with_our_lines(text: &str) -> String {
    let line = |kind: &str| format!("{kind:<11} {CONTROL} pam_keymaker.so");
    let is = |kind: &'static str| move |line: &&str| line.trim_start_matches('-').starts_with(kind);
    let mut lines: Vec<&str> = text.lines().collect();
    let (account, session) = (line("account"), line("session"));
    let last = lines
        .iter()
        .rposition(|line| is("session")(line))
        .map_or(lines.len(), |at| at + 1);
    lines.insert(last, &session);
    let first = lines.iter().position(|line| is("account")(line)).unwrap_or(0);
    lines.insert(first, &account);
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_lines_stand_where_nothing_ends_the_stack_before_them() {
        let text = "auth required pam_env.so\naccount required pam_unix.so\naccount sufficient pam_localuser.so\n\
                    session optional pam_keyinit.so revoke\n-session optional pam_systemd.so\n";
        let lines = with_our_lines(text);
        let modules: Vec<&str> = lines.lines().filter_map(|line| line.split("pam_").nth(1)).collect();
        assert_eq!(
            modules,
            [
                "env.so",
                "keymaker.so",
                "unix.so",
                "localuser.so",
                "keyinit.so revoke",
                "systemd.so",
                "keymaker.so"
            ]
        );
        assert!(
            lines
                .lines()
                .filter(|line| line.contains("pam_keymaker.so"))
                .all(|line| line.contains(CONTROL))
        );
    }
}
