//! Provides a user's home: the one that is there, if it is theirs, or a new one, which appears whole or not at all
//! (P11).
//!
//! Called by `session`, as root. Only root can change what leads to the folder in which homes lie (`roots_folder`), but others
//! may write to that folder itself, as to an EFS root after `chmod go+rw`: so a new home is filled in a folder of root's own
//! there, by descriptors, and leaves it, given to the user and durable, by one rename. Nobody but root can reach what is in that
//! folder, whatever name somebody gives it or puts in its place meanwhile. Nothing that exists is ever chowned, chmodded or
//! replaced.

mod copy;
mod former;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keymaker_core::home::{self, HomeState};
use keymaker_core::roots_folder::{self, FolderError};

use self::former::FormerHome;
use crate::abi::folder::Folder;
use crate::selinux::CreationLabel;

/// How the names of unfinished homes begin.
const ASIDE: &[u8] = b".keymaker-home.";
/// An unfinished home that has not changed for so long is a dead process's.
const DEAD_AFTER: Duration = Duration::from_secs(600);
const ROOT: u32 = 0;

/// The home that a user is to have.
#[derive(Clone, Copy)]
pub struct NewHome<'a> {
    /// where
    pub path: &'a Path,
    /// whose; the gid has the same number
    pub uid: u32,
    /// what it is a copy of
    pub skel: &'a Path,
    /// which permissions it lacks
    pub umask: u32,
    /// under which names the user was here before, the last one first: their home may bear one of them
    pub former_names: &'a [String],
}

/// The home that a user has.
#[derive(Debug)]
pub enum Home {
    /// it was there
    Present,
    /// it was here, under a former name of the user's
    Moved(PathBuf),
    /// it is new
    Made {
        /// why it has not got its SELinux label, where it should have one
        unlabelled: Option<io::Error>,
        /// where one under a former name stays, since others may write to it, or it is a file system of its own
        former: Option<PathBuf>,
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
    /// somebody moved the home away from this folder while it was made, or what root makes in it is not root's
    Swapped(PathBuf),
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
        let (Some(base), Some(name)) = (home.path.parent(), home.path.file_name()) else {
            return Err(HomeError::NotAPath);
        };
        let base = roots_folder::find(base, self.owner)?;
        let skel = self.skel(home.skel)?;
        let shared = base.shared;
        let base = Folder::open(base.path.clone()).map_err(|error| HomeError::Io("open", base.path, error))?;
        let former = match self.move_former(&base, name, home) {
            Ok(FormerHome::Moved(from)) => return Ok(Home::Moved(from)),
            Ok(FormerHome::Stays(former)) => Some(former),
            Ok(FormerHome::None) => None,
            // Another login of the same user was faster.
            Err(HomeError::Io(..)) if is_there(home)? => return Ok(Home::Present),
            Err(error) => return Err(error),
        };
        let label = CreationLabel::of_home_in(&base);
        let aside = Aside::make(&base, name, self)?;
        // Where others may write, nobody can tell whether such a folder is a dead process's or was given this name since.
        if !shared {
            self.sweep(&aside);
        }
        let made = self
            .fill(&aside, skel.as_deref(), home, label.as_ref().ok())
            .and_then(|new| self.put_in_place(&aside, &new, name));
        // The first error is the one to report; what is left here the next first login sweeps up.
        let _ = aside.folder.remove(&aside.name);
        let _ = base.remove_empty(&aside.name);
        match made {
            Ok(()) => Ok(Home::Made {
                unlabelled: label.err(),
                former,
            }),
            // Another login of the same user was faster.
            Err(HomeError::Io(_, _, error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                is_there(home)?.then_some(Home::Present).ok_or(HomeError::NotTheirs)
            }
            Err(error) => Err(error),
        }
    }

    /// A small host has none: the home is empty.
    fn skel(&self, path: &Path) -> Result<Option<PathBuf>, HomeError> {
        match roots_folder::find(path, self.owner) {
            Err(FolderError::Io(_, _, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(skel) if skel.shared => Err(HomeError::NotOnlyRoots(skel.path)),
            skel => Ok(Some(skel?.path)),
        }
    }

    /// Removes what processes that died while they made a home have left. Whatever cannot be removed now, the next
    /// first login tries again.
    fn sweep(&self, own: &Aside<'_>) {
        // The clock of the file system, which may be a server's.
        let Ok(now) = own.folder.file().metadata().map(|own| own.ctime()) else {
            return;
        };
        for name in own.base.names().unwrap_or_default() {
            let dead = name.as_bytes().starts_with(ASIDE)
                && name != own.name
                && own.base.look_at(&name).is_ok_and(|metadata| {
                    let age = now.saturating_sub(metadata.ctime());
                    metadata.is_dir() && u64::try_from(age).is_ok_and(|age| age >= self.dead_after.as_secs())
                });
            if dead {
                let _ = own.base.remove(&name);
            }
        }
    }

    /// Makes the home where only root is.
    fn fill(
        &self,
        aside: &Aside<'_>,
        skel: Option<&Path>,
        home: &NewHome<'_>,
        label: Option<&CreationLabel>,
    ) -> Result<Folder, HomeError> {
        let failed = |error| HomeError::Io("make a folder", aside.folder.path.join(&aside.name), error);
        aside.folder.make_folder(&aside.name).map_err(failed)?;
        (self.step)();
        let new = aside.folder.folder(&aside.name).map_err(failed)?;
        // Of the folder of homes it has inherited the ACL, the setgid bit, and by that the group; its contents inherit nothing.
        new.remove_acl().map_err(failed)?;
        new.file()
            .set_permissions(Permissions::from_mode(0o700))
            .map_err(failed)?;
        (self.step)();
        if let Some(label) = label {
            label.contents();
        }
        let copy = copy::Copy {
            uid: home.uid,
            step: self.step,
        };
        if let Some(skel) = skel {
            copy.tree(skel, &new, 0)?;
        }
        copy.finish_folder(&new, 0o777 & !home.umask)?;
        Ok(new)
    }

    fn put_in_place(&self, aside: &Aside<'_>, new: &Folder, name: &OsStr) -> Result<(), HomeError> {
        let path = aside.base.path.join(name);
        let failed = |error| HomeError::Io("put the new home in place", path.clone(), error);
        aside.folder.rename(&aside.name, aside.base, name).map_err(failed)?;
        (self.step)();
        let put = new.file().metadata().map_err(failed)?;
        if !aside.base.look_at(name).is_ok_and(|found| is_same(&found, &put)) {
            return Err(HomeError::Swapped(aside.base.path.clone()));
        }
        // The home is there; if its name is lost in a crash, the next login makes it again.
        let _ = aside.base.file().sync_all();
        Ok(())
    }
}

/// A folder of root's alone beside the home to be, in which it is made.
struct Aside<'a> {
    base: &'a Folder,
    folder: Folder,
    /// of the folder, and of the home in it
    name: OsString,
}

impl<'a> Aside<'a> {
    /// The process id only makes the name likely to be free; mkdir(2) makes it sure.
    fn make(base: &'a Folder, of: &OsStr, workshop: &Workshop<'_>) -> Result<Self, HomeError> {
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for number in 0..16 {
            let mut name = OsStr::from_bytes(ASIDE).to_owned();
            name.push(of);
            name.push(format!(".{}.{number}", std::process::id()));
            match base.make_folder(&name) {
                Ok(()) => {
                    (workshop.step)();
                    return Self::opened(base, name, workshop.owner);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(HomeError::Io("make a folder", base.path.join(name), error)),
            }
        }
        Err(HomeError::Io("make a folder", base.path.clone(), last))
    }

    /// Somebody may have put another folder in its place by now: one that is root's alone is as good, since only the name in it
    /// that this process makes is used.
    fn opened(base: &'a Folder, name: OsString, owner: u32) -> Result<Self, HomeError> {
        let opened = base.folder(&name).and_then(|folder| {
            let (own, homes) = (folder.file().metadata()?, base.file().metadata()?);
            let roots_alone = own.uid() == owner && own.mode() & 0o077 == 0 && own.dev() == homes.dev();
            Ok(roots_alone.then_some(folder))
        });
        match opened {
            Ok(Some(folder)) => Ok(Self { base, folder, name }),
            Ok(None) => Err(HomeError::Swapped(base.path.clone())),
            Err(error) => Err(HomeError::Io("open the folder", base.path.join(name), error)),
        }
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino(), one.uid()) == (other.dev(), other.ino(), other.uid())
}

/// Whether the user has a home already. Only a folder that is theirs counts.
fn is_there(home: &NewHome<'_>) -> Result<bool, HomeError> {
    match home::state(home.path, home.uid) {
        Ok(HomeState::Theirs) => Ok(true),
        Ok(HomeState::Absent) => Ok(false),
        Ok(HomeState::NotAFolder | HomeState::OfAnother) => Err(HomeError::NotTheirs),
        Err(error) => Err(HomeError::Io("look at", home.path.to_owned(), error)),
    }
}

impl From<FolderError> for HomeError {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::NotAPath => Self::NotAPath,
            FolderError::NotOnlyRoots(folder) => Self::NotOnlyRoots(folder),
            FolderError::Io(what, path, error) => Self::Io(what, path, error),
        }
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
            Self::Swapped(folder) => write!(
                f,
                "what root makes in {0} does not stay root's: somebody who may write there moves it away (chmod go-w {0}), or \
                a file server squashes root",
                folder.display()
            ),
            Self::TooDeep => f.write_str("the folder to copy is nested too deeply"),
            Self::Io(what, path, error) => write!(f, "could not {what} {}: {error}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
