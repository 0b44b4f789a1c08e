//! What an error means for the caller. Every error of every method passes through here, so that one table says which of
//! them end the chain for good, which are worth another try, and that none of them leads on to the next method.

use credd_core::config::Method;
use keymaker_aws::{ArnError, AwsCallError, MetadataError, OutageCause};
use session_policy::PolicyRefusal;

use crate::imds::credential_source::{Outcome, Reason};

/// Why a method issues nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialRefusal {
    /// The method is not for this caller: the next one is asked. Never made of an error.
    NotApplicable,
    /// The method is for this caller and says no.
    Denied(Reason),
    /// It cannot be found out now.
    Transient(Reason),
}

impl CredentialRefusal {
    /// A method is for this caller and says no.
    pub fn denied(why: impl Into<String>) -> Self {
        Self::Denied(Reason::new(why))
    }

    /// It cannot be found out now.
    pub fn transient(why: impl Into<String>) -> Self {
        Self::Transient(Reason::new(why))
    }

    /// As the metadata server takes it.
    pub fn into_outcome<T>(self) -> Outcome<T> {
        match self {
            Self::NotApplicable => Outcome::NotApplicable,
            Self::Denied(reason) => Outcome::Denied(reason),
            Self::Transient(reason) => Outcome::Transient(reason),
        }
    }

    /// The same, met by `method`.
    pub fn of(self, method: Method) -> Self {
        let by = |reason: Reason| Reason {
            method: Some(method),
            ..reason
        };
        match self {
            Self::NotApplicable => Self::NotApplicable,
            Self::Denied(reason) => Self::Denied(by(reason)),
            Self::Transient(reason) => Self::Transient(by(reason)),
        }
    }
}

impl From<AwsCallError> for CredentialRefusal {
    fn from(error: AwsCallError) -> Self {
        match &error {
            AwsCallError::AccessDenied { .. } => Self::denied(error.to_string()),
            AwsCallError::Outage {
                cause: OutageCause::Refused { code, .. },
                ..
            } if FINAL.contains(&code.as_str()) => Self::denied(error.to_string()),
            // NoSuchEntity too: where absence means something a method asks for it by name; elsewhere something was
            // deleted between two calls.
            _ => Self::transient(error.to_string()),
        }
    }
}

impl From<MetadataError> for CredentialRefusal {
    fn from(error: MetadataError) -> Self {
        Self::transient(error.to_string())
    }
}

impl From<PolicyRefusal> for CredentialRefusal {
    fn from(refusal: PolicyRefusal) -> Self {
        Self::denied(refusal.to_string())
    }
}

impl From<ArnError> for CredentialRefusal {
    fn from(error: ArnError) -> Self {
        Self::denied(error.to_string())
    }
}

/// What STS will say again however often it is asked (STS API Reference, `AssumeRole` and "Common Errors").
const FINAL: [&str; 5] = [
    "MalformedPolicyDocument",
    "PackedPolicyTooLarge",
    "PackedPolicyTooLargeException",
    "RegionDisabledException",
    "ValidationError",
];
