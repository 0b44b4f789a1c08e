//! Moves the home of a user who was renamed: IAM gave them another name, the number is the same, and what they had would seem lost.
//!
//! Called before a new home is made. Others may write to the folder of homes, so a home is held by a descriptor while it is moved,
//! and what lies there afterwards is compared with it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{ASIDE, HomeError, Workshop, is_same};
use crate::abi::folder::Folder;

/// A server may hold thousands of homes; within the budget of a login (P5) this many seconds are for looking at them.
const LONGEST: Duration = Duration::from_secs(2);

impl Workshop<'_> {
    /// Moves the one folder beside the home to be that the user owns, if it bears the name of nobody of today. Returns where it
    /// was; `None` where there is none, or more than one, or they cannot be looked at in time.
    pub(super) fn move_former(
        &self,
        base: &Folder,
        name: &OsStr,
        uid: u32,
        is_somebodys: &dyn Fn(&OsStr) -> bool,
    ) -> Result<Option<PathBuf>, HomeError> {
        let Some(former) = only_folder_of(base, uid).filter(|former| !is_somebodys(former)) else {
            return Ok(None);
        };
        let from = base.path.join(&former);
        let failed = |error| HomeError::Io("move the former home", from.clone(), error);
        let held = base.folder(&former).map_err(failed)?;
        let home = held.file().metadata().map_err(failed)?;
        let is_theirs = home.uid() == uid && home.dev() == base.file().metadata().map_err(failed)?.dev();
        if !is_theirs {
            return Err(HomeError::Swapped(base.path.clone()));
        }
        (self.step)();
        base.rename(&former, base, name).map_err(failed)?;
        (self.step)();
        match base.look_at(name) {
            Ok(moved) if is_same(&moved, &home) => {
                // The move stands; a crash that loses it leaves the home where it was, and the next login moves it again.
                let _ = base.file().sync_all();
                Ok(Some(from))
            }
            _ => {
                // Somebody put another in its place just then: that one goes back, if it can. The login is refused either way.
                let _ = base.rename(name, base, &former);
                Err(HomeError::Swapped(base.path.clone()))
            }
        }
    }
}

/// The name of the one folder in `base` that is the user's.
fn only_folder_of(base: &Folder, uid: u32) -> Option<OsString> {
    let until = Instant::now() + LONGEST;
    let mut found = None;
    for name in base.names().ok()? {
        if Instant::now() > until {
            return None;
        }
        let theirs = base
            .look_at(&name)
            .is_ok_and(|entry| entry.is_dir() && entry.uid() == uid);
        if !theirs || name.as_bytes().starts_with(ASIDE) {
            continue;
        }
        if found.is_some() {
            return None;
        }
        found = Some(name);
    }
    found
}
