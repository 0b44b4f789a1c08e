//! The `SourceIdentity` that CloudTrail shows for what a user of ours does in AWS.
//!
//! credd sends it to STS and PAM writes it at each login, so that a line of the journal and an event of CloudTrail can
//! be joined.

use std::borrow::Cow;

/// The `SourceIdentity` of an IAM user: the IAM user name, or the `UserId` where the name cannot be one.
///
/// `AssumeRole`, "SourceIdentity": 2 to 64 characters of `[\w+=,.@-]`, not beginning with `aws:`. IAM user names are of
/// the same characters, 1 to 64 of them, so that only a name of a single character (or one that IAM could not have
/// given) is replaced; it is never shortened or padded, which could make it another user's.
pub fn source_identity<'a>(iam_user_name: &'a str, iam_user_id: &'a str) -> Cow<'a, str> {
    if (2..=64).contains(&iam_user_name.len()) && iam_user_name.bytes().all(is_allowed) {
        return Cow::Borrowed(iam_user_name);
    }
    let id = iam_user_id.bytes().filter(|byte| is_allowed(*byte)).take(64);
    Cow::Owned(id.map(char::from).collect())
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iam_user_name_is_its_own_source_identity() {
        for name in ["alice", "Bob.Smith+x=y,z@example.org", "a_-", &"x".repeat(64)] {
            assert_eq!(source_identity(name, "AIDAALICE"), name);
        }
    }

    #[test]
    fn a_name_that_sts_would_refuse_is_replaced_by_the_user_id() {
        for name in ["", "a", &"x".repeat(65), "a\nb", "a b", "\u{e4}\u{e4}", "aws:x"] {
            assert_eq!(source_identity(name, "AIDAALICE"), "AIDAALICE", "{name:?}");
        }
    }
}
