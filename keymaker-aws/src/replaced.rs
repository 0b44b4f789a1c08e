//! What is asked, and said, about the role of this instance: whether it is still the one as which a daemon's clients
//! call. `instance_role.rs` asks; the daemons drop what was made by a role that is no longer theirs.

use std::fmt;

/// When the metadata service is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Now: before a pass, by order of an administrator.
    Now,
    /// If it was not asked in the last minute. For a call every few seconds.
    IfDue,
}

/// Why clients are to be dropped, with all that was made by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// "This instance now has the role …, and no longer …."
    ByRole {
        /// As which the clients call.
        former: String,
        /// Which the instance has; `None`: none.
        present: Option<String>,
    },
    /// "AWS refused a call of the role …, and the metadata service has other credentials for it."
    BySession {
        /// The role.
        role: String,
    },
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByRole {
                former,
                present: Some(present),
            } => write!(f, "this instance now has the role {present}, and no longer {former}"),
            Self::ByRole { former, present: None } => {
                write!(f, "this instance no longer has the role {former}, nor another")
            }
            Self::BySession { role } => write!(
                f,
                "AWS refused a call of the role {role}, and the metadata service has other credentials for it"
            ),
        }
    }
}
