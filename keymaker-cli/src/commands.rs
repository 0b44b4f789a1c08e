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
#[derive(Debug)]
pub enum CommandError {
    /// AWS was not reached, or said no
    Aws(AwsError),
    /// there is no key to upload
    PublicKey(PublicKeyError),
    /// what was to be configured makes no sense
    Configure(String),
    /// the command about this host failed
    #[cfg(all(target_os = "linux", feature = "host"))]
    Host(host::HostError),
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Aws(error) => write!(f, "{error}"),
            Self::PublicKey(error) => write!(f, "{error}"),
            Self::Configure(why) => f.write_str(why),
            #[cfg(all(target_os = "linux", feature = "host"))]
            Self::Host(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CommandError {}

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
