//! Why a command about this host did not do what it was asked, as the sentence that the administrator reads.

use std::path::PathBuf;

use keymaker_core::client::AskError;
use keymaker_core::name::{NameError, UserName};

/// Why a command about this host did not do what it was asked.
#[derive(Debug)]
pub enum HostError {
    /// a name that no user can have
    NotAName(String, NameError),
    /// keymakerd gave no answer
    NoAnswer(AskError),
    /// only root may do this
    NotRoot,
    /// keymakerd would not do it
    Refused(String),
    /// a file of keymakerd's cannot be read
    Unreadable(PathBuf, String),
    /// nobody ever had that uid
    NobodyHad(u32),
    /// this host has no such user from IAM
    NoSuchUser(UserName),
    /// a program of the packages could not be run
    NotRun(&'static str, String),
    /// a home could not be moved away
    HomeInTheWay(PathBuf, PathBuf, std::io::Error),
    /// a home is somebody's who is still here
    HomeInUse(PathBuf, String),
}

impl std::fmt::Display for HostError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAName(name, why) => write!(f, "{name:?} cannot be a user here: {why}"),
            Self::NoAnswer(error) => write!(f, "{error}"),
            Self::NotRoot => f.write_str("only root may do this; try again with sudo"),
            Self::Refused(why) => f.write_str(why),
            Self::Unreadable(path, why) => write!(f, "{}: {why}", path.display()),
            Self::NobodyHad(uid) => write!(
                f,
                "nobody from IAM ever had uid {uid} on this host; 'getent passwd {uid}' asks every other service"
            ),
            Self::NoSuchUser(name) => write!(
                f,
                "this host has no user {name} from IAM: 'keymaker why {name}' says which gate stops it"
            ),
            Self::NotRun(program, why) => write!(f, "{program}: {why}"),
            Self::HomeInUse(home, whose) => write!(
                f,
                "the name is released, but {} stays where it is: it is {whose}'s, and nobody from IAM logs in with it; give {whose} \
                 another home, or the IAM user by the tag 'home'",
                home.display()
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

impl std::error::Error for HostError {}

impl HostError {
    pub(super) fn unreadable(path: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Unreadable(path.into(), error.to_string())
    }
}
