//! Copies a folder into a new home: files with their permissions, links as links, everything the user's and durable.
//!
//! Both folders are root's alone while this runs, so paths in them mean what they meant a moment ago; each file is
//! opened without following a link and created again all the same.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::Path;

use super::HomeError;

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
    pub fn tree(&self, from: &Path, to: &Path, depth: u32) -> Result<(), HomeError> {
        if depth > MAX_DEPTH {
            return Err(HomeError::TooDeep);
        }
        let unreadable = |error| HomeError::Io("read", from.to_owned(), error);
        for entry in fs::read_dir(from).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let metadata = entry.metadata().map_err(unreadable)?;
            if metadata.is_dir() {
                make_folder(&to).map_err(|error| HomeError::Io("make the folder", to.clone(), error))?;
                (self.step)();
                self.tree(&from, &to, depth + 1)?;
                self.finish_folder(&to, metadata.mode() & 0o777)?;
            } else if metadata.is_symlink() {
                self.link(&from, &to)
                    .map_err(|error| HomeError::Io("make the link", to, error))?;
            } else if metadata.is_file() {
                self.file(&from, &to)
                    .map_err(|error| HomeError::Io("write", to, error))?;
            }
        }
        Ok(())
    }

    /// Gives a filled folder its permissions and its owner, and makes it durable.
    pub fn finish_folder(&self, path: &Path, mode: u32) -> Result<(), HomeError> {
        let finish = || {
            let folder = File::open(path)?;
            folder.set_permissions(Permissions::from_mode(mode))?;
            (self.step)();
            fchown(&folder, Some(self.uid), Some(self.uid))?;
            (self.step)();
            match folder.sync_all() {
                // Some file systems cannot do that to a folder.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                synced => synced,
            }
        };
        finish().map_err(|error| HomeError::Io("change the owner of the folder", path.to_owned(), error))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        symlink(fs::read_link(from)?, to)?;
        (self.step)();
        lchown(to, Some(self.uid), Some(self.uid))?;
        (self.step)();
        Ok(())
    }

    fn file(&self, from: &Path, to: &Path) -> io::Result<()> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut source = OpenOptions::new().read(true).custom_flags(flags).open(from)?;
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(to)?;
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

/// For root alone until it is finished, whatever the umask.
fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let followed = copy.file(&link, &to).map_err(|error| error.raw_os_error());
        assert_eq!(followed, Err(Some(libc::ELOOP)));
        assert!(!to.exists());
        symlink(folder.join("elsewhere"), &to).unwrap();
        assert!(copy.file(&secret, &to).is_err() && !folder.join("elsewhere").exists());
    }
}
