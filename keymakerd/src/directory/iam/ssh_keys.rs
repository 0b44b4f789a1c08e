//! From whatever text IAM holds to a key line that may be shown to sshd: parsed, judged, re-encoded (P10).

use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};

use keymaker_core::public_key::{SshPublicKey, TYPES};

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

/// As [`clean`], for a tag's value: a whole key, or its base64 alone, since a tag's 256 characters leave no room for
/// more.
pub fn clean_tag(value: &str) -> Result<CleanKey, KeyError> {
    let bare = !value.trim().contains(' ');
    let typed = TYPES
        .iter()
        .filter(|_| bare)
        .find_map(|key_type| clean(&format!("{key_type} {}", value.trim())).ok());
    typed.map_or_else(|| clean(value), Ok)
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
        assert_eq!(clean_tag(base64).unwrap().line, ED25519);
        assert_eq!(clean_tag(ED25519).unwrap().line, ED25519);
        assert!(clean_tag("AAAA").is_err());
    }

    #[test]
    fn short_rsa_keys_are_refused_with_their_length() {
        // 1024 bits, made by ssh-keygen for this test; its private half was never kept.
        let short = include_str!("../testdata/rsa1024.pub");
        assert_eq!(clean(short), Err(KeyError::TooShort(1024)));
        assert!(clean(include_str!("../testdata/rsa2048.pub")).is_ok());
    }
}
