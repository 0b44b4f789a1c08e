//! One file a command, and what they all may fail with.

pub mod order;
pub mod release;
pub mod status;
pub mod who_was;

use std::path::PathBuf;

use keymaker_core::client::AskError;
use keymaker_core::name::NameError;
use keymaker_core::published_file::reader::ReadError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum CommandError {
    /// a name that no user can have
    NotAName(String, NameError),
    /// keymakerd gave no answer
    NoAnswer(AskError),
    /// only root may order this
    NotRoot,
    /// keymakerd would not do it
    Refused(String),
    /// a file of keymakerd's cannot be read
    Unreadable(PathBuf, String),
    /// nobody ever had that uid
    NobodyHad(u32),
    /// a home could not be moved away
    HomeInTheWay(PathBuf, PathBuf, std::io::Error),
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAName(name, why) => write!(f, "{name:?} cannot be a user here: {why}"),
            Self::NoAnswer(error) => write!(f, "{error}"),
            Self::NotRoot => f.write_str("only root may order this; try again with sudo"),
            Self::Refused(why) => f.write_str(why),
            Self::Unreadable(path, why) => write!(f, "{}: {why}", path.display()),
            Self::NobodyHad(uid) => write!(
                f,
                "nobody from IAM ever had uid {uid} on this host; 'getent passwd {uid}' asks everybody else"
            ),
            Self::HomeInTheWay(from, to, error) => {
                write!(
                    f,
                    "the name is released, but {} could not be moved to {}: {error}; move it by hand",
                    from.display(),
                    to.display()
                )
            }
        }
    }
}

impl std::error::Error for CommandError {}

impl CommandError {
    fn unreadable(path: &str, error: &ReadError) -> Self {
        Self::Unreadable(path.into(), error.to_string())
    }
}
