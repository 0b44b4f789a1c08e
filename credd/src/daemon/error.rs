//! Why the daemon cannot run, as the sentence that the administrator reads.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keymaker_aws::{ArnError, AwsSettingsError};
use session_policy::PolicyRefusal;

use crate::imds::metadata_token::TokenKeyError;

/// Why the daemon cannot run.
#[derive(Debug)]
pub enum DaemonError {
    /// systemd passed no socket, and no --listen was given; start credd.socket, not credd itself.
    NoSocket,
    /// This address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// A socket that was passed cannot be used.
    Socket(io::Error),
    /// The key of the metadata tokens cannot be used.
    TokenKey(TokenKeyError),
    /// The folder of the container endpoint's token files cannot be used; see `RuntimeDirectory=` of the unit.
    TokenFiles(PathBuf, io::Error),
    /// Signals cannot be received.
    Signals(io::Error),
    /// A setting about the way to AWS cannot be used.
    Aws(AwsSettingsError),
    /// An action of `deny_actions` cannot be used.
    Policy(PolicyRefusal),
    /// `id_resolver_account` or `id_resolver_iam_role` cannot be used.
    IdResolver(ArnError),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket => {
                f.write_str("systemd passed no socket; start credd.socket, or name addresses with --listen")
            }
            Self::Listen(address, why) => write!(f, "cannot listen on {address}: {why}"),
            Self::Socket(why) => write!(f, "a socket passed by systemd cannot be used: {why}"),
            Self::TokenKey(error) => token_key_problem(error, f),
            Self::TokenFiles(path, why) => write!(
                f,
                "{} cannot hold token files: {why}; see RuntimeDirectory= of credd.service",
                path.display()
            ),
            Self::Signals(why) => write!(f, "cannot receive signals: {why}"),
            Self::Aws(why) => write!(f, "{why}; see credd.toml(5)"),
            Self::Policy(why) => write!(f, "deny_actions: {why}; see credd.toml(5)"),
            Self::IdResolver(why) => write!(f, "id_resolver_account, id_resolver_iam_role: {why}; see credd.toml(5)"),
        }
    }
}

fn token_key_problem(error: &TokenKeyError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let cannot = |f: &mut fmt::Formatter<'_>, path: &Path, verb: &str, why: &io::Error| {
        write!(
            f,
            "{} cannot be {verb}: {why}; see the owner and mode of its folder",
            path.display()
        )
    };
    match error {
        TokenKeyError::Read(path, why) => cannot(f, path, "read", why),
        TokenKeyError::Write(path, why) => cannot(f, path, "made", why),
        TokenKeyError::NotOurs(path) => {
            let path = path.display();
            write!(
                f,
                "{path} is not a key that only this daemon's user may read; remove the file and start again"
            )
        }
    }
}
