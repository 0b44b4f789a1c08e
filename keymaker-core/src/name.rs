//! Unix user and group names as Keymaker allows them. Every name from outside becomes a [`UserName`] or [`GroupName`]
//! here, once.

use std::fmt;

/// The longest Unix name: useradd(8) allows 32 bytes, utmp keeps 32.
pub const MAX_NAME: usize = 32;

/// A Unix user name: `^[a-z_][a-z0-9_.-]{0,31}$`, useradd(8)'s default rule with the dot.
///
/// Kept inline, so that parsing inside an NSS lookup allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(UnixName);

/// A Unix group name, by the same rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(UnixName);

impl UserName {
    /// The name, if it is a legal one.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        UnixName::parse(bytes).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl GroupName {
    /// The name, if it is a legal one.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        UnixName::parse(bytes).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A user's private group has the user's name.
impl From<UserName> for GroupName {
    fn from(name: UserName) -> Self {
        Self(name.0)
    }
}

/// Why a name is not a Unix name of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// the name is empty
    Empty,
    /// the name is longer than 32 characters
    TooLong,
    /// the name does not begin with a lower-case letter or an underscore
    BadStart,
    /// the name contains a character other than a-z, 0-9, dot, underscore and hyphen
    BadCharacter,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name is empty",
            Self::TooLong => "the name is longer than 32 characters",
            Self::BadStart => "the name does not begin with a lower-case letter or an underscore",
            Self::BadCharacter => "the name contains a character other than a-z, 0-9, '.', '_' and '-'",
        })
    }
}

impl std::error::Error for NameError {}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct UnixName {
    // Zero-padded, so that the derived order is the order of the texts.
    bytes: [u8; MAX_NAME],
    len: u8,
}

impl UnixName {
    /// A name that is all digits cannot pass: it would have to begin with one (getpwnam("2001") must never find
    /// anybody).
    fn parse(name: &[u8]) -> Result<Self, NameError> {
        let first = name.first().ok_or(NameError::Empty)?;
        if !matches!(first, b'a'..=b'z' | b'_') {
            return Err(NameError::BadStart);
        }
        if !name
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
        {
            return Err(NameError::BadCharacter);
        }
        let mut bytes = [0; MAX_NAME];
        bytes
            .get_mut(..name.len())
            .ok_or(NameError::TooLong)?
            .copy_from_slice(name);
        Ok(Self {
            bytes,
            len: name.len() as u8,
        })
    }

    fn as_str(&self) -> &str {
        self.bytes
            .get(..usize::from(self.len))
            .and_then(|bytes| str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

macro_rules! shown_as_text {
    ($($name:ty),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )+};
}

shown_as_text!(UserName, GroupName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names_keep_their_text() {
        for name in ["a", "_x", "alice", "bob.smith-2", "a1234567890123456789012345678901"] {
            assert_eq!(UserName::parse(name.as_bytes()).unwrap().as_str(), name);
        }
    }

    #[test]
    fn illegal_names_are_refused_with_their_reason() {
        let refused: [(&[u8], NameError); 9] = [
            (b"", NameError::Empty),
            (b"2001", NameError::BadStart),
            (b"-rf", NameError::BadStart),
            (b".", NameError::BadStart),
            (b"Alice", NameError::BadStart),
            (b"alice@example", NameError::BadCharacter),
            (b"al\xc3\xafce", NameError::BadCharacter),
            (b"a\0b", NameError::BadCharacter),
            (&[b'a'; 33], NameError::TooLong),
        ];
        for (name, why) in refused {
            assert_eq!(UserName::parse(name), Err(why), "{name:?}");
        }
    }

    #[test]
    fn names_sort_as_their_texts_do() {
        let mut names = ["b", "ab", "a", "a-"].map(|name| UserName::parse(name.as_bytes()).unwrap());
        names.sort();
        assert_eq!(names.map(|name| name.to_string()), ["a", "a-", "ab", "b"]);
    }
}
