//! Whom this host has published. Called by completion and by `keymaker doctor`.

use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::paths;

use super::HostError;

/// The names of everybody whom this host has published.
pub fn published_names() -> Result<Vec<String>, HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let directory = Directory::open(Path::new(paths::DIRECTORY)).map_err(unreadable)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let mut names = Vec::new();
    let mut from = 0;
    while let Some((next, user)) = directory.next_user(from, &mut buffer).map_err(unreadable)? {
        from = next;
        if !user.tombstone {
            names.push(user.name.to_string());
        }
    }
    Ok(names)
}
