//! SSH keys in tags of an IAM user, for keys that IAM's own store does not take: what the tag and its value look like.
//! keymakerd reads them, the command line writes them.

/// What the name of such a tag begins with; the command line puts a number behind it.
pub const NAME_BEGINS: &str = "keymaker:ssh-key-";

/// IAM: the longest value of a tag.
const MAX_VALUE: usize = 256;

/// Before a key that opens nothing until it is enabled again. A host of a version without it sees no key there.
const DISABLED: &str = "disabled ";

/// The types of key that fit into a tag. RSA does not.
pub const TYPES: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// What a tag's value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaggedKey<'a> {
    /// Whether the key opens logins.
    pub active: bool,
    text: &'a str,
}

impl<'a> TaggedKey<'a> {
    /// Reads a value.
    pub fn of(value: &'a str) -> Self {
        let value = value.trim();
        match value.strip_prefix(DISABLED) {
            Some(text) => Self {
                active: false,
                text: text.trim(),
            },
            None => Self {
                active: true,
                text: value,
            },
        }
    }

    /// The lines of which one is a public key, if the value holds one: its text, or, where it is base64 alone, that with
    /// each type before it.
    pub fn lines(self) -> impl Iterator<Item = String> {
        let whole = self.text.contains(' ').then(|| self.text.to_owned());
        let bare = (!self.text.contains(' ')).then_some(TYPES).into_iter().flatten();
        whole
            .into_iter()
            .chain(bare.map(move |key_type| format!("{key_type} {}", self.text)))
    }

    /// The value that holds this key, with or without its type; `None` where it is too long for a tag.
    pub fn value(line: &str, active: bool) -> Option<String> {
        // The base64 names the type, too, and the longest needs the room.
        let base64 = line.split(' ').nth(1).unwrap_or(line);
        let value = format!("{}{base64}", if active { "" } else { DISABLED });
        // A key must be able to be disabled, too.
        (DISABLED.len() + base64.len() <= MAX_VALUE).then_some(value)
    }

    /// The same key, enabled or disabled.
    pub fn with(self, active: bool) -> Option<String> {
        Self::value(self.text, active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";

    #[test]
    fn a_value_that_was_written_is_read_as_the_same_key() {
        let (_, base64) = LINE.split_once(' ').unwrap();
        for active in [true, false] {
            for text in [LINE, base64] {
                let value = TaggedKey::value(text, active).unwrap();
                let read = TaggedKey::of(&value);
                assert_eq!(read.active, active);
                assert!(read.lines().any(|line| line == LINE), "{value}");
                assert_eq!(TaggedKey::of(&read.with(!active).unwrap()).active, !active);
            }
        }
        // As somebody writes it by hand.
        assert_eq!(TaggedKey::of(&format!(" {LINE} ")).lines().collect::<Vec<_>>(), [LINE]);
        assert!(!TaggedKey::of(&format!("disabled {LINE}")).active);
    }

    #[test]
    fn a_key_that_leaves_no_room_to_disable_it_is_not_put_into_a_tag() {
        assert!(TaggedKey::value(&"A".repeat(247), true).is_some());
        assert_eq!(TaggedKey::value(&"A".repeat(248), true), None);
    }
}
