//! Answers glibc's passwd, group and initgroups questions from Keymaker's directory; loaded into every process that
//! asks one.
//!
//! `abi` speaks glibc's language and holds all the unsafe code; the other modules are ordinary functions of a `NssHost`
//! and the caller's buffer. A lookup opens the directory, reads what it needs and closes it: nothing is held
//! between calls, nothing is waited for, and nothing is allocated on a hit (P4). The state of a process is some hundred
//! answers, good while the directory is the file that gave them (`remembered`), and how far an enumeration has come.

mod abi;
mod group;
mod initgroups;
mod local;
mod passwd;
mod remembered;
mod reply_buffer;

use std::path::Path;
use std::time::Duration;

use keymaker_core::directory_file::{Header, User};
use keymaker_core::name::UserName;
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::reserved_names;

use crate::remembered::RememberedAnswers;

/// What a lookup asks: paths, how long it may wait for the daemon, and what was answered before.
struct NssHost<'a> {
    directory: &'a Path,
    lookup_socket: &'a Path,
    passwd: &'a Path,
    group: &'a Path,
    patience: Duration,
    memory: &'a RememberedAnswers,
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookupError {
    /// there is no such user or group of ours
    NotFound,
    /// nobody can tell now: the directory or a local file cannot be read, or the daemon does not know
    CannotTell,
    /// the answer is larger than the caller's buffer
    BufferTooSmall,
    /// there is no memory for the list of groups
    OutOfMemory,
}

impl From<ReadError> for LookupError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::BufferTooSmall => Self::BufferTooSmall,
            ReadError::Missing | ReadError::Io(_) | ReadError::Untrusted | ReadError::Damaged => Self::CannotTell,
        }
    }
}

/// The name, if it can be one of ours at all: then only is anything opened. dbus-daemon, cron and sudo ask for system
/// users at boot.
fn name_of_ours(name: &[u8]) -> Result<UserName, LookupError> {
    UserName::parse(name)
        .ok()
        .filter(|name| !reserved_names::is_reserved(name.as_str()))
        .ok_or(LookupError::NotFound)
}

/// Whether a user found in the directory has a passwd entry. Names and ranges are checked whatever the file says (P1).
fn resolves(user: &User<'_>, header: &Header<'_>) -> bool {
    !user.tombstone && header.in_ranges(user.uid.get()) && !reserved_names::is_reserved(user.name.as_str())
}

/// Whether getpwent(3) shows this user: everybody with `enumerate = true`, else who has logged in here.
fn is_enumerated(user: &User<'_>, header: &Header<'_>) -> bool {
    resolves(user, header) && (header.enumerate_all || user.seen_here)
}

#[cfg(test)]
mod tests_support;
