//! From whatever text IAM holds to a key line that may be shown to sshd: parsed, judged, re-encoded (P10).

use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};

use keymaker_aws::ssh_key_tags::TaggedKey;
use keymaker_core::public_key::SshPublicKey;

/// A key as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanKey {
    /// `TYPE BASE64`, nothing else.
    pub line: String,
    /// `SHA256:…`, as ssh-keygen(1) prints it.
    pub fingerprint: String,
}

/// Why a key is not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the text is not an OpenSSH public key; upload it again with keymaker upload-key")]
    Unreadable,
    #[error(
        "keys of type {0} are not accepted; upload an RSA key, or put an Ed25519, ECDSA or FIDO key into a \
         tag"
    )]
    Type(String),
    #[error("an RSA key of {0} bits is too short; it needs at least 2048")]
    TooShort(usize),
}

/// Parses `text`, drops the comment, and returns what may be published. A line break in IAM's text ends nothing: the
/// whole text must be one key.
pub fn clean(text: &str) -> Result<CleanKey, KeyError> {
    let text = text.trim();
    if text.contains(|c: char| c.is_control()) {
        return Err(KeyError::Unreadable);
    }
    let mut key = PublicKey::from_openssh(text).map_err(|_| KeyError::Unreadable)?;
    if let KeyData::Rsa(rsa) = key.key_data() {
        let bits = rsa.n.as_positive_bytes().map_or(0, bit_length);
        if bits < 2048 {
            return Err(KeyError::TooShort(bits));
        }
    }
    key.set_comment("");
    let line = key.to_openssh().map_err(|_| KeyError::Unreadable)?.trim().to_owned();
    let key_type = key.algorithm().as_str().to_owned();
    SshPublicKey::parse(&line).ok_or(KeyError::Type(key_type))?;
    Ok(CleanKey {
        line,
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
    })
}

/// As [`clean`], for a tag's value, and whether the key opens anything.
pub fn clean_tag(value: &str) -> (bool, Result<CleanKey, KeyError>) {
    let key = TaggedKey::of(value);
    let mut tried = key.lines().map(|line| clean(&line));
    let first = tried.next().unwrap_or(Err(KeyError::Unreadable));
    let found = first.or_else(|why| tried.find_map(Result::ok).ok_or(why));
    (key.active, found)
}

fn bit_length(bytes: &[u8]) -> usize {
    bytes
        .first()
        .map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";

    // P10
    #[test]
    fn a_key_loses_its_comment_and_nothing_else() {
        let clean = clean(&format!("{ED25519} alice@laptop with words\n")).unwrap();
        assert_eq!(clean.line, ED25519);
        assert!(clean.fingerprint.starts_with("SHA256:"));
    }

    // P10
    #[test]
    fn whatever_is_more_than_one_key_is_refused() {
        let refused = [
            format!("{ED25519}\n{ED25519}"),
            format!("{ED25519} a\rssh-rsa AAAA"),
            format!("{ED25519}\0"),
            format!("command=\"id\" {ED25519}"),
            format!("cert-authority {ED25519}"),
            "-----BEGIN PUBLIC KEY-----".to_owned(),
            String::new(),
        ];
        for text in refused {
            assert_eq!(clean(&text), Err(KeyError::Unreadable), "{text:?}");
        }
    }

    #[test]
    fn a_tag_may_hold_the_base64_alone() {
        let (_, base64) = ED25519.split_once(' ').unwrap();
        let line = |value: &str| clean_tag(value).1.map(|key| key.line);
        assert_eq!(line(base64).as_deref(), Ok(ED25519));
        assert_eq!(line(ED25519).as_deref(), Ok(ED25519));
        assert!(line("AAAA").is_err() && line("").is_err());
    }

    // As ssh-keygen makes them; those of FIDO, which want a device, are put together of the others (PROTOCOL.u2f).
    #[test]
    fn every_type_that_openssh_makes_and_a_tag_has_room_for_is_a_key_there() {
        let keys = include_str!("../testdata/for-tags.pub");
        let types: Vec<&str> = keys.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(types, keymaker_aws::ssh_key_tags::TYPES);
        for line in keys.lines() {
            let value = TaggedKey::value(line, true).unwrap();
            let (active, key) = clean_tag(&value);
            assert!(active);
            assert_eq!(key.unwrap().line, line);
        }
    }

    // P9
    #[test]
    fn a_key_that_is_disabled_in_its_tag_is_known_as_such() {
        for value in [format!("disabled {ED25519}"), format!("disabled {}", &ED25519[12..])] {
            let (active, key) = clean_tag(&value);
            assert!(!active && key.is_ok(), "{value}");
        }
    }

    #[test]
    fn short_rsa_keys_are_refused_with_their_length() {
        // 1024 bits, made by ssh-keygen for this test; its private half was never kept.
        let short = include_str!("../testdata/rsa1024.pub");
        assert_eq!(clean(short), Err(KeyError::TooShort(1024)));
        assert!(clean(include_str!("../testdata/rsa2048.pub")).is_ok());
    }
}
