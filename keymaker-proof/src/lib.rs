//! What a proof is: a certificate that a key has signed for itself, with a token of AWS's in it that names the key.
//!
//! The program `proof` calls [`verify`]. Everything here is pure: the certificate, the published keys of the issuer and the
//! time come in. Whom a proof lets in is decided by the keys command, from the directory.

#![forbid(unsafe_code)]

pub mod certificate;
pub mod claims;
pub mod json;
pub mod token;

use std::fmt;

use keymaker_core::issuers_file::{IssuerKey, ProofRules};
use keymaker_core::proof::{Proof, ProofGate};

use certificate::Certificate;
use token::Token;

/// Why a certificate proves nothing: for the log and for `keymaker why`, never for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoProof {
    /// the certificate is not the one that `keymaker login` makes
    Certificate(&'static str),
    /// the token in it is not of the form that AWS signs
    Token(&'static str),
    /// no published key has this name
    UnknownKey,
    /// the issuer's keys are older than `max_stale`
    StaleKeys,
    /// none of the keys of this name has signed the token
    Signature,
    /// the token says something else than a proof for this key and this host
    Claims(&'static str),
}

/// The proof in this certificate, as sshd's `%t` and `%k` say it, at this unix time. sshd has verified that the certificate's
/// key signed it, and that the client has that key.
pub fn verify(
    key_type: &str,
    base64: &str,
    rules: &ProofRules,
    keys: &[IssuerKey],
    now: u64,
) -> Result<Proof, NoProof> {
    verify_telling(key_type, base64, rules, keys, now, |_| ())
}

/// What has been found right; the claims come last, and [`Proof`] is what they say.
#[derive(Debug)]
pub enum RightSoFar<'a> {
    /// the certificate is of the right form
    Certificate(&'a Certificate),
    /// so is the token in it
    Token(&'a Token<'a>),
    /// this key has signed it
    Signature(&'a IssuerKey),
}

/// The same for `keymaker why`, which is told each step that succeeds.
pub fn verify_telling(
    key_type: &str,
    base64: &str,
    rules: &ProofRules,
    keys: &[IssuerKey],
    now: u64,
    mut tell: impl FnMut(RightSoFar<'_>),
) -> Result<Proof, NoProof> {
    let certificate = Certificate::parse(key_type, base64)?;
    tell(RightSoFar::Certificate(&certificate));
    let token = Token::parse(&certificate.token)?;
    tell(RightSoFar::Token(&token));
    let signers = token.signers(keys, rules.max_stale, now)?;
    signers.iter().for_each(|key| tell(RightSoFar::Signature(key)));
    let issuers: Vec<&str> = signers.iter().map(|key| key.issuer.as_str()).collect();
    claims::check(&token.claims, &certificate, &issuers, rules, now)
}

impl NoProof {
    /// At what it failed.
    pub fn gate(self) -> ProofGate {
        match self {
            Self::Certificate(_) => ProofGate::Certificate,
            Self::Token(_) => ProofGate::Token,
            Self::UnknownKey | Self::StaleKeys => ProofGate::Key,
            Self::Signature => ProofGate::Signature,
            Self::Claims(_) => ProofGate::Claims,
        }
    }

    /// What to do about it, for the person or the administrator.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Certificate(_) | Self::Token(_) => {
                "keymaker login  # and offer the certificate that it writes beside the key"
            }
            Self::UnknownKey | Self::StaleKeys => "keymaker doctor  # says whether the issuer's keys can be fetched",
            Self::Signature => "keymaker login  # this token was altered, or is another issuer's",
            Self::Claims(what) => claims::remedy(what),
        }
    }
}

impl fmt::Display for NoProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(what) => write!(f, "the certificate is not one that keymaker login makes: {what}"),
            Self::Token(what) => write!(f, "the token is not of AWS's form: {what}"),
            Self::UnknownKey => f.write_str("no published key of the issuer has the name that the token gives"),
            Self::StaleKeys => f.write_str("the issuer's keys are older than max_stale (keymaker doctor says why)"),
            Self::Signature => f.write_str("the issuer's key has not signed the token"),
            Self::Claims(what) => write!(f, "the token is not for this login: {what}"),
        }
    }
}

// By this name forge.rs finds the library here and from outside.
#[cfg(test)]
extern crate self as keymaker_proof;

#[cfg(test)]
mod forge;
#[cfg(test)]
mod tests;
