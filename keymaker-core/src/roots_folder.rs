//! Finds a folder of root's by a path on which nobody else can change a part: the one in which homes are made, and the one of
//! which they are copies. The PAM module makes homes by it, and doctor and why say where it would not.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::home::{others_may_move, others_may_write};

/// How many links a path may go through; the kernel allows 40.
const MAX_LINKS: u32 = 8;
const ROOT: u32 = 0;

/// A folder of root's that nobody else can put another in the place of.
#[derive(Debug)]
pub struct RootsFolder {
    /// its path without links
    pub path: PathBuf,
    /// whether others may put something into it
    pub shared: bool,
}

/// Why there is none.
#[derive(Debug)]
pub enum FolderError {
    /// the path is not absolute
    NotAPath,
    /// somebody else than root can change this, or put another in its place
    NotOnlyRoots(PathBuf),
    /// this could not be done to this file
    Io(&'static str, PathBuf, io::Error),
}

/// The folder, if root (or `owner`) alone can change what leads to it, and owns it.
///
/// A link on the way is followed when it is root's and lies in such a folder: nobody else can have made it or can
/// change it (/home is a link on some hosts). A sticky folder that everybody may write to, like /tmp, may lie on the
/// way: nobody can replace root's folders in it.
pub fn find(path: &Path, owner: u32) -> Result<RootsFolder, FolderError> {
    if !path.is_absolute() {
        return Err(FolderError::NotAPath);
    }
    let mut resolved = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = names(path).collect();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(name);
        let metadata = fs::symlink_metadata(&next).map_err(|error| FolderError::Io("look at", next.clone(), error))?;
        if metadata.uid() != ROOT && metadata.uid() != owner {
            return Err(FolderError::NotOnlyRoots(next));
        }
        if metadata.is_symlink() && links < MAX_LINKS {
            links += 1;
            let target = fs::read_link(&next).map_err(|error| FolderError::Io("read the link", next, error))?;
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(name);
            }
            continue;
        }
        let on_the_way = !rest.is_empty();
        if !metadata.is_dir() || (on_the_way && others_may_move(&metadata)) {
            return Err(FolderError::NotOnlyRoots(next));
        }
        resolved = next;
    }
    match fs::symlink_metadata(&resolved) {
        Ok(found) => Ok(RootsFolder {
            shared: others_may_write(&found),
            path: resolved,
        }),
        Err(error) => Err(FolderError::Io("look at", resolved, error)),
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPath => f.write_str("the path must be absolute and name a folder"),
            Self::NotOnlyRoots(folder) => write!(
                f,
                "{} must be a folder that root owns and only root can write to",
                folder.display()
            ),
            Self::Io(what, path, error) => write!(f, "could not {what} {}: {error}", path.display()),
        }
    }
}
