//! How a role's or a user's name is made from a username, as credd.toml says it.

use std::str::FromStr;

/// A name with `{username}` once.
#[derive(Clone, Debug)]
pub struct UsernamePattern {
    before: String,
    after: String,
}

impl FromStr for UsernamePattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once("{username}") {
            Some((before, after)) if !after.contains("{username}") => Ok(Self {
                before: before.to_owned(),
                after: after.to_owned(),
            }),
            _ => Err("a pattern has {username} in it, once"),
        }
    }
}

impl UsernamePattern {
    /// The name of this user by the pattern.
    pub fn with(&self, username: &str) -> String {
        format!("{}{username}{}", self.before, self.after)
    }

    /// The user of whom this is the name by the pattern.
    pub fn username_in<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(self.before.as_str())?;
        rest.strip_suffix(self.after.as_str())
            .filter(|username| !username.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_and_finds_a_user() {
        let pattern: UsernamePattern = "u-{username}@corp".parse().unwrap();
        assert_eq!(pattern.with("alice"), "u-alice@corp");
        assert_eq!(pattern.username_in("u-alice@corp"), Some("alice"));
        assert_eq!(pattern.username_in("u-@corp"), None);
        assert_eq!(pattern.username_in("alice"), None);
        assert!(
            "user".parse::<UsernamePattern>().is_err() && "{username}{username}".parse::<UsernamePattern>().is_err()
        );
    }
}
