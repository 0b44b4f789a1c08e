//! The rule that lets members of `keymaker-sudo` become root without a password, which users of IAM do not have.
//!
//! sudo-rule puts it in place and takes it away; `keymaker doctor`, `why` and `status` say what it does here.

use std::path::Path;

use crate::paths::KEYMAKER_SUDO;

/// Where the rule lies. sudo reads no name with a dot (sudoers(5)), so none that an editor, dpkg or ucf leaves beside it.
pub const FILE: &str = "/etc/sudoers.d/keymaker";
/// What we put there; anything else is an administrator's.
pub const TEXT: &str = include_str!("../../dist/sudoers.d/keymaker");
/// What sudo goes by, as distributions and our rule set it up (sudoers(5)).
pub const GROUPS: [&str; 4] = ["sudo", "wheel", "admin", KEYMAKER_SUDO];
/// sudo's own, where `/usr/sbin` is a folder of its own and where it is not; that of sudo-rs beside the other sudo.
const VISUDO: [&str; 3] = ["/usr/sbin/visudo", "/usr/bin/visudo", "/usr/sbin/visudo-rs"];

/// What checks a rule; `None` where there is no sudo.
pub fn visudo() -> Option<&'static str> {
    VISUDO.into_iter().find(|program| Path::new(program).exists())
}

/// Whether a text has a rule by which the group needs no password, in its own words and not by an alias.
pub fn lets_without_password(text: &str) -> bool {
    text.lines().any(|line| {
        line.split_whitespace().next().and_then(|word| word.strip_prefix('%')) == Some(KEYMAKER_SUDO)
            && line.contains("NOPASSWD:")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_the_group_without_a_password_is_told_from_others() {
        assert!(lets_without_password(TEXT));
        for text in [
            "",
            "# %keymaker-sudo ALL=(ALL:ALL) NOPASSWD: ALL\n",
            "%keymaker-sudo ALL=(ALL:ALL) ALL\n",
            "%keymaker-sudoers ALL=(ALL:ALL) NOPASSWD: ALL\n",
        ] {
            assert!(!lets_without_password(text), "{text}");
        }
    }
}
