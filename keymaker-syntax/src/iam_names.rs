//! What IAM allows in names, as far as a setting may hold one: for keymakerd.toml, the description of the role, and
//! `keymaker configure`.

/// IAM: 1 to 128 characters of `[\w+=,.@-]`.
pub fn is_group_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(is_iam_name_byte)
}

/// What the name of a group can begin with; nothing, where all groups are meant.
pub fn is_prefix(text: &str) -> bool {
    text.is_empty() || is_group_name(text)
}

/// What can end an IAM user name (1 to 64 characters) and leave something before it.
pub fn is_suffix(text: &str) -> bool {
    text.len() < 64 && text.bytes().all(is_iam_name_byte)
}

fn is_iam_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)
}
