//! Whom this host has published. Called by completion and by `keymaker doctor`.

use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, User};
use keymaker_core::paths;

use super::HostError;

/// The names of everybody whom this host has published.
pub fn published_names() -> Result<Vec<String>, HostError> {
    of_each_published(|user| user.name.to_string())
}

/// What is to be known of each of them.
pub fn of_each_published<T>(known: impl Fn(&User<'_>) -> T) -> Result<Vec<T>, HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let directory = Directory::open(Path::new(paths::DIRECTORY)).map_err(unreadable)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let mut all = Vec::new();
    let mut from = 0;
    while let Some((next, user)) = directory.next_user(from, &mut buffer).map_err(unreadable)? {
        from = next;
        if !user.tombstone {
            all.push(known(&user));
        }
    }
    Ok(all)
}
