//! One file for each user who asked at the container door: credd owns it, its mode is 0600, and a POSIX ACL lets that
//! uid read it. A file is made at the user's first request, and again if it does not hold their token of this boot.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::{XattrFlags, fsetxattr};

use keymaker_daemon::audit::Share;

/// The folder of the files.
pub struct TokenFiles {
    folder: PathBuf,
}

impl TokenFiles {
    /// Lets everybody pass through the folder, and nobody list it. It must be there, and ours.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
        Ok(Self { folder })
    }

    /// Makes sure that the file of `uid` holds `token`. A uid that this host does not know finds no room in the last
    /// three quarters: numbers of subuid(5) are many.
    pub fn make(&self, uid: u32, share: Share, token: &str) -> io::Result<()> {
        let path = self.folder.join(uid.to_string());
        if fs::read(&path).is_ok_and(|held| held == token.as_bytes()) {
            return Ok(());
        }
        let most = if share == Share::OfNobody {
            MOST_FILES / 4
        } else {
            MOST_FILES
        };
        if !path.exists() && fs::read_dir(&self.folder)?.count() >= most {
            return Err(io::Error::other("too many users have one"));
        }
        let aside = path.with_extension("new");
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(token.as_bytes())?;
        fsetxattr(&file, "system.posix_acl_access", &readable_by(uid), XattrFlags::empty())?;
        fs::rename(&aside, &path)
    }
}

/// `user::rw-, user:UID:r--, group::---, mask::r--, other::---`, as the kernel takes it (`linux/posix_acl_xattr.h`:
/// version 2, then tag, permissions and id of each entry, little-endian).
fn readable_by(uid: u32) -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, u32::MAX),
        (0x02, 4, uid),
        (0x04, 0, u32::MAX),
        (0x10, 4, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

/// The uids of a user namespace are many; the memory of /run is not.
const MOST_FILES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    // P13
    #[test]
    fn numbers_that_nobody_was_given_leave_room_for_the_files_of_everybody_else() {
        let folder = TestFolder::new();
        let files = TokenFiles::open(folder.to_owned()).unwrap();
        for uid in 0..MOST_FILES / 4 - 1 {
            fs::write(folder.join((100_000 + uid).to_string()), "").unwrap();
        }
        let make = |uid, is_known| match files.make(uid, Share::of(uid, is_known), "token") {
            // This folder's file system may lack POSIX ACLs; the refusal is made before one is needed.
            Err(error) if error.raw_os_error().is_none() => Err(error.to_string()),
            _ => {
                fs::write(folder.join(uid.to_string()), "token").unwrap();
                Ok(())
            }
        };
        make(200_001, false).unwrap();
        assert!(make(200_002, false).is_err());
        // Who has one keeps it; who has a name gets one.
        make(200_001, false).unwrap();
        make(1000, true).unwrap();
    }
}
