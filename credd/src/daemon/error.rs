//! Why the daemon cannot run, as the sentence that the administrator reads.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use keymaker_aws::{ArnError, AwsSettingsError};
use session_policy::PolicyRefusal;

use crate::imds::metadata_token::TokenKeyError;

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence says it")]
pub enum DaemonError {
    #[error("systemd passed no socket; start credd.socket, or name addresses with --listen")]
    NoSocket,
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("a socket passed by systemd cannot be used: {0}")]
    Socket(io::Error),
    #[error("{0}")]
    TokenKey(TokenKeyError),
    #[error("{0} cannot hold token files: {1}; see RuntimeDirectory= of credd.service")]
    TokenFiles(PathBuf, io::Error),
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    #[error("{0}; see credd.toml(5)")]
    Aws(AwsSettingsError),
    #[error("deny_actions: {0}; see credd.toml(5)")]
    Policy(PolicyRefusal),
    #[error("id_resolver_account, id_resolver_iam_role: {0}; see credd.toml(5)")]
    IdResolver(ArnError),
}
