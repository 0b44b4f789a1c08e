//! One file a command, and what they all may fail with. Those about this host are in [`host`].

#[cfg(all(target_os = "linux", feature = "host"))]
pub mod assign_uids;
pub mod change_key;
mod changes;
pub mod configure;
#[cfg(all(target_os = "linux", feature = "host"))]
pub mod host;
mod key_tags;
pub mod list_keys;
pub mod login;
pub mod sync_roles;
pub mod upload_key;

use crate::aws::AwsError;
use crate::consent::NoConsent;
use crate::public_key::PublicKeyError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{0}")]
    Aws(AwsError),
    #[error("{0}")]
    PublicKey(PublicKeyError),
    #[error("{0}")]
    Configure(String),
    #[error("{0}")]
    Login(login::LoginError),
    #[error("{0}")]
    NoConsent(NoConsent),
    #[cfg(all(target_os = "linux", feature = "host"))]
    #[error("{0}")]
    Host(host::HostError),
}

impl CommandError {
    /// 2 where the command line lacks something, or where it is not known what there would be to say; 1 otherwise.
    pub fn status(&self) -> u8 {
        match self {
            Self::NoConsent(NoConsent::NobodyToAsk(_)) => 2,
            #[cfg(all(target_os = "linux", feature = "host"))]
            Self::Host(host::HostError::NoConsent(NoConsent::NobodyToAsk(_)) | host::HostError::NotLooked(_)) => 2,
            _ => 1,
        }
    }
}

impl From<NoConsent> for CommandError {
    fn from(error: NoConsent) -> Self {
        Self::NoConsent(error)
    }
}

impl From<login::LoginError> for CommandError {
    fn from(error: login::LoginError) -> Self {
        Self::Login(error)
    }
}

impl From<AwsError> for CommandError {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

impl From<PublicKeyError> for CommandError {
    fn from(error: PublicKeyError) -> Self {
        Self::PublicKey(error)
    }
}

#[cfg(all(target_os = "linux", feature = "host"))]
impl From<host::HostError> for CommandError {
    fn from(error: host::HostError) -> Self {
        Self::Host(error)
    }
}
