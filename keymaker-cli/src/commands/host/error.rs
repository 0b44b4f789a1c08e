//! Why a command about this host did not do what it was asked, as the sentence that the administrator reads.

use std::path::PathBuf;

use keymaker_core::client::AskError;
use keymaker_core::name::{NameError, UserName};

use crate::consent::NoConsent;

/// Why a command about this host did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("{0:?} cannot be a user here: {1}")]
    NotAName(String, NameError),
    #[error("{0}")]
    NoAnswer(AskError),
    #[error("only root may do this; try again with sudo")]
    NotRoot,
    #[error("could not look: {0}")]
    NotLooked(String),
    #[error("{0}")]
    NoConsent(NoConsent),
    #[error("{0}")]
    Refused(String),
    #[error("{0}: {1}")]
    Unreadable(PathBuf, String),
    #[error("nobody from IAM ever had the id {0} on this host; 'getent passwd {0}' asks every other service")]
    NobodyHad(u32),
    #[error("this host has no user {0} from IAM: 'keymaker why {0}' says which gate stops it")]
    NoSuchUser(UserName),
    #[error("{0}: {1}")]
    NotRun(&'static str, String),
    #[error("the name is released, but {0} could not be moved to {1}: {2}; move it by hand")]
    HomeInTheWay(PathBuf, PathBuf, std::io::Error),
    #[error(
        "the name is released, but {0} stays where it is: it is {1}'s, and nobody from IAM logs in with it; \
         give {1} another home, or the IAM user by the tag 'home'"
    )]
    HomeInUse(PathBuf, String),
}

impl From<NoConsent> for HostError {
    fn from(error: NoConsent) -> Self {
        Self::NoConsent(error)
    }
}

impl HostError {
    pub(super) fn unreadable(path: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Unreadable(path.into(), error.to_string())
    }
}
