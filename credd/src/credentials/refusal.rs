//! What an error means for the caller. Every error of every method passes through here, so that one table says which of them
//! end the chain for good, which are worth another try, and that none of them leads on to the next method.

use std::fmt;

use keymaker_aws::{ArnError, AwsCallError, MetadataError, OutageCause};

use crate::imds::credential_source::{Outcome, Reason};
use crate::policy::PolicyRefusal;

/// Why a method issues nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The method is not for this caller: the next one is asked. Never made of an error.
    NotApplicable,
    /// The method is for this caller and says no.
    Denied(String),
    /// It cannot be found out now.
    Transient(String),
}

impl Refusal {
    /// As the metadata server takes it.
    pub fn into_outcome<T>(self) -> Outcome<T> {
        match self {
            Self::NotApplicable => Outcome::NotApplicable,
            Self::Denied(reason) => Outcome::Denied(Reason(reason)),
            Self::Transient(reason) => Outcome::Transient(Reason(reason)),
        }
    }

    /// The same, said of the method that met it.
    pub fn of(self, method: impl fmt::Display) -> Self {
        match self {
            Self::NotApplicable => Self::NotApplicable,
            Self::Denied(reason) => Self::Denied(format!("{method}: {reason}")),
            Self::Transient(reason) => Self::Transient(format!("{method}: {reason}")),
        }
    }
}

impl From<AwsCallError> for Refusal {
    fn from(error: AwsCallError) -> Self {
        match &error {
            AwsCallError::AccessDenied { .. } => Self::Denied(error.to_string()),
            AwsCallError::Outage {
                cause: OutageCause::Refused { code, .. },
                ..
            } if FINAL.contains(&code.as_str()) => Self::Denied(error.to_string()),
            // NoSuchEntity too: where absence means something a method asks for it by name; elsewhere something was
            // deleted between two calls.
            _ => Self::Transient(error.to_string()),
        }
    }
}

impl From<MetadataError> for Refusal {
    fn from(error: MetadataError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<PolicyRefusal> for Refusal {
    fn from(refusal: PolicyRefusal) -> Self {
        Self::Denied(refusal.to_string())
    }
}

impl From<ArnError> for Refusal {
    fn from(error: ArnError) -> Self {
        Self::Denied(error.to_string())
    }
}

/// What STS will say again however often it is asked (STS API Reference, AssumeRole and "Common Errors").
const FINAL: [&str; 5] = [
    "MalformedPolicyDocument",
    "PackedPolicyTooLarge",
    "PackedPolicyTooLargeException",
    "RegionDisabledException",
    "ValidationError",
];
