//! Puts a file in place of another, so that a reader, and a host whose power fails at any moment, has the old one or the new one.
//!
//! Called by keymakerd for all its files, public and private.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts `bytes` in place of `path`: written aside with `mode`, fsynced, renamed, the folder fsynced. On an error the old file stays.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(".new");
    let aside = folder.join(aside);
    // What an earlier, killed writer left.
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_aside(&aside, bytes, mode).and_then(|()| std::fs::rename(&aside, path));
    if let Err(error) = written {
        // The first error is the one to report; what is left here the next writer removes.
        let _ = std::fs::remove_file(&aside);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write_aside(aside: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW)
        .open(aside)?;
    // The mode above is subject to the umask.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published_file::tests_support::Folder;

    #[test]
    fn a_replaced_file_has_its_mode_and_leaves_nothing_aside() {
        use std::os::unix::fs::MetadataExt;
        let folder = Folder::new();
        let path = folder.path().join("x");
        std::fs::write(folder.path().join(".x.new"), b"left by a killed writer").unwrap();
        replace_file(&path, b"one", 0o644).unwrap();
        replace_file(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
