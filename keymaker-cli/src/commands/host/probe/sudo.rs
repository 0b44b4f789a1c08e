//! What sudo does for users from IAM, who have no password: our rule as it lies here, and sudo's own word about one user.
//! `status`, `why` and `doctor` ask.

use std::fs;
use std::io::ErrorKind;

use keymaker_core::paths::KEYMAKER_SUDO;
use keymaker_core::sudo_rule::{self, FILE, GROUPS, TEXT, lets_without_password};

use super::{is_root, run_for};

/// How long sudo may take to list a user's rules, in seconds.
const LISTING: &str = "5";

/// Our rule on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SudoRule {
    /// There is no sudo.
    NoSudo,
    /// Only root may look into the folder.
    Unseen,
    /// It is not there.
    Missing,
    /// It is there, as we make it.
    Ours,
    /// An administrator's, which lets the group as ours does.
    EditedAndLets,
    /// An administrator's, which does not.
    EditedAway,
}

/// Looks.
pub fn rule() -> SudoRule {
    if sudo_rule::visudo().is_none() {
        return SudoRule::NoSudo;
    }
    match fs::read_to_string(FILE) {
        Ok(text) if text == TEXT => SudoRule::Ours,
        Ok(text) if lets_without_password(&text) => SudoRule::EditedAndLets,
        Ok(_) => SudoRule::EditedAway,
        Err(error) => match error.kind() {
            ErrorKind::NotFound => SudoRule::Missing,
            ErrorKind::PermissionDenied => SudoRule::Unseen,
            _ => SudoRule::EditedAway,
        },
    }
}

/// How sudo works here, where `sudo_iam_group` names this group.
pub fn for_members_of(group: Option<&str>) -> String {
    let Some(group) = group else {
        return "asks for a password, which no user from IAM has, unless a rule of your own says otherwise; sudo_iam_group is not set".to_owned();
    };
    let members = format!("members of the IAM group {group}");
    match rule() {
        SudoRule::Ours | SudoRule::EditedAndLets => format!("{members} become root without a password, by {FILE}"),
        SudoRule::Unseen => format!("{members} become root without a password, if {FILE} is in place, which root sees"),
        SudoRule::NoSudo => format!("{members} would become root, but sudo is not installed"),
        SudoRule::Missing => {
            format!("asks {members} for a password, which they have not: {FILE} is not there (keymaker doctor)")
        }
        SudoRule::EditedAway => {
            format!("asks {members} for a password, which they have not: {FILE} was edited here (keymaker doctor)")
        }
    }
}

/// What sudo does for this user of IAM in these groups: whether they become root, where that can be told, and a sentence.
pub fn for_user(name: &str, groups: &[String]) -> (Option<bool>, String) {
    let by = groups.iter().find(|group| *group == KEYMAKER_SUDO);
    let by = by.or_else(|| groups.iter().find(|group| GROUPS.contains(&group.as_str())));
    let is_in = by.map_or_else(
        || format!("{name} is in no group that sudo goes by"),
        |group| format!("{name} is in the group {group}"),
    );
    if sudo_rule::visudo().is_none() {
        return (Some(false), format!("{is_in}; sudo is not installed"));
    }
    if !is_root() {
        return (None, format!("{is_in}; what sudo makes of it root is told"));
    }
    let listed = match run_for(LISTING, "sudo", &["-n", "-l", "-U", name]) {
        // sudo before 1.9.13 succeeds where it lists nothing.
        Ok(listed) | Err(listed) => Listed::of(&listed, name),
    };
    match listed {
        Listed::WithoutPassword if by.is_some_and(|group| group == KEYMAKER_SUDO) => (
            Some(true),
            format!("{is_in}, which {FILE} lets become root without a password"),
        ),
        Listed::WithoutPassword => (
            Some(true),
            format!("{is_in}; a rule of this host's own asks for no password"),
        ),
        Listed::WithPassword => {
            let remedy = if by.is_some_and(|group| group == KEYMAKER_SUDO) {
                "keymaker doctor"
            } else {
                "sudo_iam_group in keymakerd.toml names the IAM group whose members need none"
            };
            (
                Some(false),
                format!("{is_in}, and sudo asks for a password, which users from IAM do not have: {remedy}"),
            )
        }
        Listed::Nothing => (Some(false), format!("{is_in}, and no rule of sudo's is for them")),
        Listed::Unclear(said) => (None, format!("{is_in}; sudo does not say what it makes of it: {said}")),
    }
}

/// What `sudo -l -U USER` says (sudo(8)), in the locale C.
#[derive(Debug, PartialEq, Eq)]
enum Listed {
    WithoutPassword,
    WithPassword,
    Nothing,
    Unclear(String),
}

impl Listed {
    fn of(said: &str, name: &str) -> Self {
        // "    (ALL : ALL) NOPASSWD: ALL"; run_for joins the lines of a failure by "; ".
        let mut rules = said
            .split(['\n', ';'])
            .map(str::trim)
            .filter(|line| line.starts_with('('))
            .peekable();
        if rules.peek().is_some() {
            return if rules.any(|rule| rule.contains("NOPASSWD:")) {
                Self::WithoutPassword
            } else {
                Self::WithPassword
            };
        }
        if said.contains(&format!("User {name} is not allowed to run sudo")) {
            return Self::Nothing;
        }
        Self::Unclear(said.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sudo_lists_is_told_apart() {
        let rules = "Matching Defaults entries for alice on host:\n    env_reset, mail_badpass, use_pty\n\n\
            User alice may run the following commands on host:\n    (ALL : ALL) ALL\n";
        assert_eq!(Listed::of(rules, "alice"), Listed::WithPassword);
        let both = format!("{rules}    (ALL : ALL) NOPASSWD: ALL\n");
        assert_eq!(Listed::of(&both, "alice"), Listed::WithoutPassword);
        assert_eq!(
            Listed::of("User bob is not allowed to run sudo on host.", "bob"),
            Listed::Nothing
        );
        assert!(matches!(
            Listed::of("sudo: unknown user bob", "bob"),
            Listed::Unclear(_)
        ));
        assert!(matches!(
            Listed::of("sudo did not end in time", "bob"),
            Listed::Unclear(_)
        ));
    }

    #[test]
    fn without_a_setting_nobody_is_said_to_need_no_password() {
        assert!(for_members_of(None).contains("sudo_iam_group is not set"));
        assert!(for_members_of(Some("admins")).contains("admins"));
    }
}
