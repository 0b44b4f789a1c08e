//! Provides a user's home: the one that is there, if it is theirs, or a new one, which appears whole or not at all
//! (P11).
//!
//! Called by `session`, as root. A new home is filled under another name in the same folder, made durable, given to the
//! user and renamed. That folder, and every one above it, must be such that only root can change it: so no name in it
//! can be swapped for a link meanwhile, and openat2(2), which old kernels and some seccomp filters lack, would add
//! nothing. Nothing that exists is ever chowned, chmodded or replaced.

mod copy;
mod folder;

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::abi::calls;
use crate::selinux::CreationLabel;

/// How the names of unfinished homes begin.
const ASIDE: &[u8] = b".keymaker-home.";
/// An unfinished home that has not changed for so long is a dead process's.
const DEAD_AFTER: Duration = Duration::from_secs(600);
const ROOT: u32 = 0;

/// The home that a user is to have.
#[derive(Clone, Copy, Debug)]
pub struct NewHome<'a> {
    /// where
    pub path: &'a Path,
    /// whose; the gid has the same number
    pub uid: u32,
    /// what it is a copy of
    pub skel: &'a Path,
    /// which permissions it lacks
    pub umask: u32,
}

/// The home that a user has.
#[derive(Debug)]
pub enum Home {
    /// it was there
    Present,
    /// it is new
    Made {
        /// why it has not got its SELinux label, where it should have one
        unlabelled: Option<io::Error>,
    },
}

/// Why a user has no home.
#[derive(Debug)]
pub enum HomeError {
    /// the path exists already and is not a folder that the user owns
    NotTheirs,
    /// the path is not absolute, or ends in nothing
    NotAPath,
    /// somebody else than root can change this folder, so nothing is made in it
    NotOnlyRoots(PathBuf),
    /// the folder to copy is nested too deeply, or in itself
    TooDeep,
    /// this could not be done to this file
    Io(&'static str, PathBuf, io::Error),
}

/// How homes are made here: what the tests change.
struct Workshop<'a> {
    /// the owner, besides root, whose folders are trusted
    owner: u32,
    /// when an unfinished home is a dead process's
    dead_after: Duration,
    /// called after every step that changes the disk
    step: &'a dyn Fn(),
}

/// Provides the home.
pub fn provide(home: &NewHome<'_>) -> Result<Home, HomeError> {
    let root = Workshop {
        owner: ROOT,
        dead_after: DEAD_AFTER,
        step: &|| (),
    };
    root.provide(home)
}

impl Workshop<'_> {
    fn provide(&self, home: &NewHome<'_>) -> Result<Home, HomeError> {
        if is_there(home)? {
            return Ok(Home::Present);
        }
        let (Some(parent), Some(name)) = (home.path.parent(), home.path.file_name()) else {
            return Err(HomeError::NotAPath);
        };
        let parent = folder::only_roots(parent, self.owner)?;
        let skel = match folder::only_roots(home.skel, self.owner) {
            // A small host has none: the home is empty.
            Err(HomeError::Io(_, _, error)) if error.kind() == io::ErrorKind::NotFound => None,
            skel => Some(skel?),
        };
        let label = CreationLabel::of_home_in(&parent);
        let aside = self.make_aside(&parent, name)?;
        self.sweep(&parent, &aside);
        let made = self
            .fill(&aside, skel.as_deref(), home, label.as_ref().ok())
            .and_then(|()| self.put_in_place(&aside, &parent.join(name)));
        if made.is_err() {
            // The first error is the one to report; what is left here the next first login sweeps up.
            let _ = fs::remove_dir_all(&aside);
        }
        match made {
            Ok(()) => Ok(Home::Made {
                unlabelled: label.err(),
            }),
            // Another login of the same user was faster.
            Err(HomeError::Io(_, _, error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                is_there(home)?.then_some(Home::Present).ok_or(HomeError::NotTheirs)
            }
            Err(error) => Err(error),
        }
    }

    /// An empty folder for root alone beside the home to be. The process id only makes the name likely to be free;
    /// mkdir(2) makes it sure.
    fn make_aside(&self, parent: &Path, name: &std::ffi::OsStr) -> Result<PathBuf, HomeError> {
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for number in 0..16 {
            let mut aside = OsString::from(".keymaker-home.");
            aside.push(name);
            aside.push(format!(".{}.{number}", std::process::id()));
            let aside = parent.join(aside);
            match DirBuilder::new().mode(0o700).create(&aside) {
                Ok(()) => {
                    (self.step)();
                    return Ok(aside);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(HomeError::Io("make a folder", aside, error)),
            }
        }
        Err(HomeError::Io("make a folder", parent.to_owned(), last))
    }

    /// Removes what processes that died while they made a home have left. Whatever cannot be removed now, the next
    /// first login tries again.
    fn sweep(&self, parent: &Path, own: &Path) {
        // The clock of the file system, which may be a server's.
        let Ok(now) = fs::symlink_metadata(own).map(|own| own.ctime()) else {
            return;
        };
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let dead = name.as_bytes().starts_with(ASIDE)
                && path != own
                && entry.metadata().is_ok_and(|metadata| {
                    let age = now.saturating_sub(metadata.ctime());
                    metadata.is_dir() && u64::try_from(age).is_ok_and(|age| age >= self.dead_after.as_secs())
                });
            if dead {
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    fn fill(
        &self,
        aside: &Path,
        skel: Option<&Path>,
        home: &NewHome<'_>,
        label: Option<&CreationLabel>,
    ) -> Result<(), HomeError> {
        if let Some(label) = label {
            label.contents();
        }
        let copy = copy::Copy {
            uid: home.uid,
            step: self.step,
        };
        if let Some(skel) = skel {
            copy.tree(skel, aside, 0)?;
        }
        copy.finish_folder(aside, 0o777 & !home.umask)
    }

    fn put_in_place(&self, aside: &Path, path: &Path) -> Result<(), HomeError> {
        let failed = |error| HomeError::Io("put the new home in place", path.to_owned(), error);
        match calls::rename_no_replace(aside, path) {
            // NFS and old kernels know no such flag. rename(2) replaces nothing but an empty folder, and only root
            // could have made one there in this instant.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
                if fs::symlink_metadata(path).is_ok() {
                    return Err(failed(io::ErrorKind::AlreadyExists.into()));
                }
                fs::rename(aside, path).map_err(failed)?;
            }
            renamed => renamed.map_err(failed)?,
        }
        (self.step)();
        // The home is there; if its name is lost in a crash, the next login makes it again.
        if let Some(parent) = path.parent() {
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        Ok(())
    }
}

/// Whether the user has a home already. Only a folder that is theirs counts.
fn is_there(home: &NewHome<'_>) -> Result<bool, HomeError> {
    match fs::metadata(home.path) {
        Ok(found) if found.is_dir() && found.uid() == home.uid => Ok(true),
        Ok(_) => Err(HomeError::NotTheirs),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(HomeError::Io("look at", home.path.to_owned(), error)),
    }
}

impl fmt::Display for HomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTheirs => f.write_str("the path exists already and is not a folder that the user owns"),
            Self::NotAPath => f.write_str("the path must be absolute and name a folder"),
            Self::NotOnlyRoots(folder) => write!(
                f,
                "{} must be a folder that root owns and only root can write to",
                folder.display()
            ),
            Self::TooDeep => f.write_str("the folder to copy is nested too deeply"),
            Self::Io(what, path, error) => write!(f, "could not {what} {}: {error}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
