//! Finds out whether a folder is such that only root can change it or what leads to it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::HomeError;

/// How many links a path may go through; the kernel allows 40.
const MAX_LINKS: u32 = 8;

/// The folder's path without links, if root (or `owner`) alone can change each folder on the way and the folder itself.
///
/// A link on the way is followed when it is root's and lies in such a folder: nobody else can have made it or can
/// change it (/home is a link on some hosts). A sticky folder that everybody may write to, like /tmp, may lie on the
/// way: nobody can replace root's folders in it.
pub fn only_roots(path: &Path, owner: u32) -> Result<PathBuf, HomeError> {
    if !path.is_absolute() {
        return Err(HomeError::NotAPath);
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
        let metadata = fs::symlink_metadata(&next).map_err(|error| HomeError::Io("look at", next.clone(), error))?;
        if metadata.uid() != super::ROOT && metadata.uid() != owner {
            return Err(HomeError::NotOnlyRoots(next));
        }
        if metadata.is_symlink() && links < MAX_LINKS {
            links += 1;
            let target = fs::read_link(&next).map_err(|error| HomeError::Io("read the link", next, error))?;
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(name);
            }
            continue;
        }
        let (writable, sticky) = (metadata.mode() & 0o022 != 0, metadata.mode() & 0o1000 != 0);
        let on_the_way = !rest.is_empty();
        if !metadata.is_dir() || (writable && !(sticky && on_the_way)) {
            return Err(HomeError::NotOnlyRoots(next));
        }
        resolved = next;
    }
    Ok(resolved)
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
