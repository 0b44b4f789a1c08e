//! Moves the home of a user who was renamed: IAM gave them another name, the number is the same, and what they had would seem lost.
//!
//! Called before a new home is made. Only a folder is taken that bears a name under which the user was on this host before: an
//! administrator makes others that belong to them. Others may write to the folder of homes, so a home is held by a descriptor while
//! it is moved, and what lies there afterwards is compared with it. One to which others may write stays: they may have put there
//! what a shell of the user's would run.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use keymaker_core::home::{FormerFolder, former_folder, others_may_write};

use super::{HomeError, NewHome, Workshop, is_same};
use crate::abi::folder::Folder;

/// What became of the home under a former name.
#[derive(Debug)]
pub(super) enum FormerHome {
    /// there is none
    None,
    /// it was here, and is in its new place
    Moved(PathBuf),
    /// it is here, and stays
    Stays(PathBuf),
}

impl Workshop<'_> {
    /// Moves the folder of the last former name that has one of the user's beside the home to be.
    pub(super) fn move_former(&self, base: &Folder, name: &OsStr, home: &NewHome<'_>) -> Result<FormerHome, HomeError> {
        for former in home.former_names {
            let (former, from) = (OsStr::new(former), base.path.join(former));
            let failed = |error| HomeError::Io("move the former home", from.clone(), error);
            let Ok(entry) = base.look_at(former) else { continue };
            match former_folder(&entry, &base.file().metadata().map_err(failed)?, home.uid) {
                FormerFolder::NotTheirs => continue,
                FormerFolder::Stays => return Ok(FormerHome::Stays(from)),
                FormerFolder::Moves => {}
            }
            let held = base.folder(former).map_err(failed)?;
            let held = held.file().metadata().map_err(failed)?;
            if !is_same(&held, &entry) || others_may_write(&held) {
                return Err(HomeError::Swapped(base.path.clone()));
            }
            (self.step)();
            match base.rename(former, base, name) {
                // A file system of its own is mounted there, if only one of the same disk.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices
                    ) =>
                {
                    return Ok(FormerHome::Stays(from));
                }
                renamed => renamed.map_err(failed)?,
            }
            (self.step)();
            return match base.look_at(name) {
                Ok(moved) if is_same(&moved, &held) => {
                    // The move stands; a crash that loses it leaves the home where it was, and the next login moves it again.
                    let _ = base.file().sync_all();
                    Ok(FormerHome::Moved(from))
                }
                _ => {
                    // Somebody put another in its place just then: that one goes back, if it can. The login is refused either way.
                    let _ = base.rename(name, base, former);
                    Err(HomeError::Swapped(base.path.clone()))
                }
            };
        }
        Ok(FormerHome::None)
    }
}
