//! Copies a folder into a new home: files with their permissions, links as links, everything the user's and durable.
//!
//! Both folders are root's alone while this runs, so names in them mean what they meant a moment ago; each file is
//! opened without following a link and created again all the same.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use super::HomeError;
use crate::abi::folder::Folder;

const MAX_DEPTH: u32 = 16;

/// To whom the copies belong.
pub struct Copy<'a> {
    /// uid and gid
    pub uid: u32,
    /// called after every step that changes the disk
    pub step: &'a dyn Fn(),
}

impl Copy<'_> {
    /// Copies what is in `from` into the folder `to`. Devices, sockets and FIFOs are left out.
    pub fn tree(&self, from: &Path, to: &Folder, depth: u32) -> Result<(), HomeError> {
        if depth > MAX_DEPTH {
            return Err(HomeError::TooDeep);
        }
        let unreadable = |error| HomeError::Io("read", from.to_owned(), error);
        for entry in fs::read_dir(from).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let (from, name) = (entry.path(), entry.file_name());
            let metadata = entry.metadata().map_err(unreadable)?;
            let failed = |what| {
                let at = to.path.join(&name);
                move |error| HomeError::Io(what, at, error)
            };
            if metadata.is_dir() {
                to.make_folder(&name).map_err(failed("make the folder"))?;
                (self.step)();
                let inner = to.folder(&name).map_err(failed("open the folder"))?;
                self.tree(&from, &inner, depth + 1)?;
                self.finish_folder(&inner, metadata.mode() & 0o777)?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&from).map_err(unreadable)?;
                to.make_link(&target, &name).map_err(failed("make the link"))?;
                (self.step)();
                to.give_link(&name, self.uid)
                    .map_err(failed("change the owner of the link"))?;
                (self.step)();
            } else if metadata.is_file() {
                self.file(&from, to, &name).map_err(failed("write"))?;
            }
        }
        Ok(())
    }

    /// Gives a filled folder its permissions and its owner, and makes it durable.
    pub fn finish_folder(&self, folder: &Folder, mode: u32) -> Result<(), HomeError> {
        let finish = || {
            let file = folder.file();
            file.set_permissions(Permissions::from_mode(mode))?;
            (self.step)();
            fchown(file, Some(self.uid), Some(self.uid))?;
            (self.step)();
            match file.sync_all() {
                // Some file systems cannot do that to a folder.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                synced => synced,
            }
        };
        finish().map_err(|error| HomeError::Io("change the owner of the folder", folder.path.clone(), error))
    }

    fn file(&self, from: &Path, to: &Folder, name: &std::ffi::OsStr) -> io::Result<()> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut source = OpenOptions::new().read(true).custom_flags(flags).open(from)?;
        let mut copy = to.new_file(name)?;
        (self.step)();
        io::copy(&mut source, &mut copy)?;
        (self.step)();
        // The owner first: chown(2) may clear permissions. None of setuid, setgid and sticky is passed on.
        fchown(&copy, Some(self.uid), Some(self.uid))?;
        copy.set_permissions(Permissions::from_mode(source.metadata()?.mode() & 0o777))?;
        (self.step)();
        copy.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;
    use test_folder::TestFolder;

    // P11
    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let folder = TestFolder::new();
        let [secret, link, to] = ["secret", "link", "to"].map(|name| folder.join(name));
        fs::write(&secret, "root's").unwrap();
        symlink(&secret, &link).unwrap();
        let copy = Copy {
            uid: keymaker_core::sys::own_uid(),
            step: &|| (),
        };
        let held = Folder::open(folder.to_path_buf()).unwrap();
        let followed = copy
            .file(&link, &held, OsStr::new("to"))
            .map_err(|error| error.raw_os_error());
        assert_eq!(followed, Err(Some(libc::ELOOP)));
        assert!(!to.exists());
        symlink(folder.join("elsewhere"), &to).unwrap();
        assert!(copy.file(&secret, &held, OsStr::new("to")).is_err() && !folder.join("elsewhere").exists());
    }
}
