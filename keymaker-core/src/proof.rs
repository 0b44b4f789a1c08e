//! What a proof says once the program `proof` has verified it: one line, which the keys command reads.
//!
//! Whether it opens anything is decided by the keys command, and again by PAM, from the published directory.

use std::fmt;

use crate::directory_file::User;
use crate::keys_file::is_fingerprint;
use crate::public_key::SshPublicKey;

/// The one principal of a proof's certificate: sshd compares it with the line that it is shown.
pub const PRINCIPAL: &str = "keymaker-proof";
/// The types of certificate that may carry a proof, and the type of their keys.
pub const CERTIFICATE_TYPES: [(&str, &str); 2] = [
    ("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp256"),
];
/// The longest certificate that is looked at, in base64.
pub const MAX_CERTIFICATE: usize = 16 * 1024;
/// How far a token's time may be ahead of this host's, and from when before the token its certificate holds, in seconds.
pub const TOKEN_LEEWAY: u64 = 60;
/// As the IAM API Reference has it.
const MAX_USER_ID: usize = 128;
/// At what a certificate failed, in the verifier's order; the program `proof` ends with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofGate {
    /// the certificate's form
    Certificate = 3,
    /// the token's
    Token = 4,
    /// no published key has the name that the token gives, or none is young enough: the issuer may have newer ones
    Key = 5,
    /// that key has not signed it
    Signature = 6,
    /// the claims
    Claims = 7,
}

impl ProofGate {
    /// The exit status of `proof`.
    pub fn status(self) -> u8 {
        self as u8
    }

    /// Which one an exit status means.
    pub fn of_status(status: i32) -> Option<Self> {
        let all = [Self::Certificate, Self::Token, Self::Key, Self::Signature, Self::Claims];
        all.into_iter().find(|gate| i32::from(gate.status()) == status)
    }
}

/// The longest name of a token (`jti`).
const MAX_TOKEN_ID: usize = 128;

/// Whether sshd's `%t` is a type of certificate that may carry a proof.
pub fn is_certificate(key_type: &str) -> bool {
    CERTIFICATE_TYPES
        .iter()
        .any(|(certificate, _)| *certificate == key_type)
}

/// A proof whose token AWS has signed for this host's account, and for the key of the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whose token it is: the IAM user name.
    pub iam_user_name: String,
    /// Who that was when AWS made it: IAM's `UserId`.
    pub iam_user_id: String,
    /// When AWS made the token: unix time.
    pub issued_at: u64,
    /// When it ends.
    pub ends_at: u64,
    /// The token's name (`jti`), which CloudTrail and sshd's own line have too.
    pub token_id: String,
    /// The key's fingerprint, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// `TYPE BASE64` of the certificate's key.
    pub key: String,
}

impl Proof {
    /// Reads the line that `proof` prints; `None` where it is anything else.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(7, ' ');
        let proof = Self {
            iam_user_name: words.next()?.to_owned(),
            iam_user_id: words.next().filter(|id| is_user_id(id))?.to_owned(),
            issued_at: words.next()?.parse().ok()?,
            ends_at: words.next()?.parse().ok()?,
            token_id: words.next().filter(|id| is_token_id(id))?.to_owned(),
            fingerprint: words.next().filter(|text| is_fingerprint(text))?.to_owned(),
            key: SshPublicKey::parse(words.next()?)?.line().to_owned(),
        };
        // P10: what is read is what was written, to the byte.
        (proof.to_string() == line).then_some(proof)
    }

    /// Whether this is that user: their IAM name and `UserId`, and it is not older than their having the name (P2).
    pub fn is_of(&self, user: &User<'_>) -> bool {
        self.iam_user_name == user.iam_user_name
            && self.iam_user_id == user.iam_user_id
            && is_young_enough(self.issued_at, user)
    }
}

/// Whether a token of this age may open a login of that user: not where proofs are switched off, for everybody or for them.
pub fn is_young_enough(issued_at: u64, user: &User<'_>) -> bool {
    user.proofs_from.is_some_and(|from| issued_at >= from)
}

/// What may be a `UserId` of IAM's: those of users begin with AIDA.
pub fn is_user_id(text: &str) -> bool {
    (1..=MAX_USER_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What may be a `jti`: it stands in lines of logs, as the certificate's key id, and in a ticket.
pub fn is_token_id(text: &str) -> bool {
    (1..=MAX_TOKEN_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            iam_user_name,
            iam_user_id,
            issued_at,
            ends_at,
            token_id,
            fingerprint,
            key,
        } = self;
        write!(
            f,
            "{iam_user_name} {iam_user_id} {issued_at} {ends_at} {token_id} {fingerprint} {key}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory_file::records::tests_support::with_proofs_from;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";
    const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";

    fn proof() -> Proof {
        Proof {
            iam_user_name: "alice".to_owned(),
            iam_user_id: "AIDA".to_owned(),
            issued_at: 1_800_000_000,
            ends_at: 1_800_000_300,
            token_id: "4dcf-1".to_owned(),
            fingerprint: FINGERPRINT.to_owned(),
            key: KEY.to_owned(),
        }
    }

    #[test]
    fn a_proof_comes_back_as_it_was_said() {
        assert_eq!(Proof::parse(&proof().to_string()), Some(proof()));
    }

    // P10
    #[test]
    fn a_line_of_the_verifier_that_is_more_than_a_proof_is_none() {
        let line = proof().to_string();
        for bad in [
            String::new(),
            format!("{line}\n"),
            format!("{line} comment"),
            format!(" {line}"),
            line.replace("4dcf-1", "4dcf\"1"),
            line.replace("4dcf-1", ""),
            line.replace("AIDA", ""),
            line.replace("AIDA", "AIDA-1"),
            line.replace("1800000300", "+1800000300"),
            line.replace("SHA256:", "MD5:"),
            line.replace("ssh-ed25519", "cert-authority ssh-ed25519"),
            line.replace(KEY, ""),
        ] {
            assert_eq!(Proof::parse(&bad), None, "{bad:?}");
        }
    }

    // P21, P2
    #[test]
    fn a_proof_is_of_the_user_of_its_name_and_not_older_than_their_having_it() {
        let is = |from: Option<u64>, proof: Proof| with_proofs_from(from, |user| proof.is_of(user));
        assert!(is(Some(0), proof()));
        assert!(is(Some(1_800_000_000), proof()));
        assert!(!is(Some(1_800_000_001), proof()), "older than the name's holder");
        assert!(!is(None, proof()), "proofs are off");
        for name in ["Alice", "alice2", "", "bob"] {
            let other = Proof {
                iam_user_name: name.to_owned(),
                ..proof()
            };
            assert!(!is(Some(0), other), "{name}");
        }
        for id in ["AIDB", "aida", ""] {
            let another = Proof {
                iam_user_id: id.to_owned(),
                ..proof()
            };
            assert!(!is(Some(0), another), "{id}, who had the name when the token was made");
        }
    }
}
