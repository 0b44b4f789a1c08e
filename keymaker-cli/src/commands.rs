//! One file a command, and what they all may fail with. Those about this host are in [`host`].

pub mod change_key;
mod changes;
pub mod configure;
#[cfg(all(target_os = "linux", feature = "host"))]
pub mod host;
pub mod list_keys;
pub mod sync_roles;
pub mod upload_key;

use crate::aws::AwsError;
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
    #[cfg(all(target_os = "linux", feature = "host"))]
    #[error("{0}")]
    Host(host::HostError),
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
