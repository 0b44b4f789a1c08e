//! Reads /etc/passwd and /etc/group whole or not at all, for both daemons: a file that is cut names fewer people than
//! there are.
//!
//! Each daemon makes its own index of the text. keymakerd asks what is taken from everybody else, in the broadest
//! sense; credd asks whom glibc finds. What a line says is `keymaker_core::local_files`'s to tell.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use keymaker_core::directory_file::FileStamp;
use keymaker_core::local_files::{NamedLine, lines};

/// Both files, each as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFiles {
    /// passwd(5)
    pub passwd: StampedFile,
    /// group(5)
    pub group: StampedFile,
}

/// A text and the stamp of exactly that text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedFile {
    /// All its bytes.
    pub text: Vec<u8>,
    /// Its state when it had them.
    pub stamp: FileStamp,
}

impl AccountFiles {
    /// Reads both. A file without root is cut, not empty: it frees nobody's name and hides nobody (P3, P13).
    pub fn read(passwd: &Path, group: &Path) -> Result<Self, AccountFilesError> {
        let files = Self {
            passwd: StampedFile::read(passwd)?,
            group: StampedFile::read(group)?,
        };
        for (path, file) in [(passwd, &files.passwd), (group, &files.group)] {
            if !lines(&file.text)
                .filter_map(NamedLine::parse)
                .any(|line| line.id == Some(0))
            {
                return Err(AccountFilesError::Cut(path.to_owned()));
            }
        }
        Ok(files)
    }

    /// Their stamps as they were read.
    pub fn stamps(&self) -> [FileStamp; 2] {
        [self.passwd.stamp, self.group.stamp]
    }

    /// The stamps that both have now: others, if they are to be read again.
    pub fn stamps_now(passwd: &Path, group: &Path) -> Result<[FileStamp; 2], AccountFilesError> {
        Ok([stamp(passwd)?, stamp(group)?])
    }
}

impl StampedFile {
    /// The stamp is the same before and after reading, by descriptor and by path.
    pub fn read(path: &Path) -> Result<Self, AccountFilesError> {
        let unreadable = |why| AccountFilesError::Unreadable(path.to_owned(), why);
        for _ in 0..ATTEMPTS {
            let mut file = File::open(path).map_err(unreadable)?;
            let before = FileStamp::of(&file.metadata().map_err(unreadable)?);
            let mut text = Vec::new();
            file.read_to_end(&mut text).map_err(unreadable)?;
            let stamp = stamp(path)?;
            if before == stamp && text.len() as u64 == stamp.size {
                return Ok(Self { text, stamp });
            }
        }
        Err(AccountFilesError::Restless(path.to_owned()))
    }
}

fn stamp(path: &Path) -> Result<FileStamp, AccountFilesError> {
    let found = fs::metadata(path).map_err(|why| AccountFilesError::Unreadable(path.to_owned(), why))?;
    Ok(FileStamp::of(&found))
}

/// Why it cannot be told who stands in the files.
#[derive(Debug, thiserror::Error)]
pub enum AccountFilesError {
    /// "/etc/passwd cannot be read: …"
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// "/etc/passwd changes while it is read, again and again."
    #[error("{0} keeps changing while it is read")]
    Restless(PathBuf),
    /// "/etc/passwd has no root, so it is cut."
    #[error("{0} has no entry with the number 0, so it is not complete; restore it, for instance from {0}-")]
    Cut(PathBuf),
}

/// How often a file that changes under the reader is read again before giving up.
const ATTEMPTS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n";
    const GROUP: &str = "root:x:0:\n";

    // P1
    #[test]
    fn local_files_that_cannot_be_read_whole_are_an_error_and_never_no_accounts() {
        let folder = TestFolder::new();
        let (passwd, group) = (folder.file("passwd", ""), folder.join("group"));
        let error = AccountFiles::read(&passwd, &group).unwrap_err();
        assert!(
            matches!(error, AccountFilesError::Unreadable(ref path, _) if *path == group),
            "{error}"
        );
        for (passwd_text, group_text, cut) in [
            ("", GROUP, &passwd),
            ("dave:x:1001:1001::/:/bin/sh\n", GROUP, &passwd),
            (PASSWD, "", &group),
        ] {
            folder.file("passwd", passwd_text);
            folder.file("group", group_text);
            let error = AccountFiles::read(&passwd, &group).unwrap_err();
            assert!(
                matches!(error, AccountFilesError::Cut(ref path) if path == cut),
                "{passwd_text:?} {group_text:?}: {error}"
            );
        }
        // Its size is never what is read from it, as when a file grows under the reader.
        let error = AccountFiles::read("/proc/version".as_ref(), &group).unwrap_err();
        assert!(matches!(error, AccountFilesError::Restless(_)), "{error}");
    }

    #[test]
    fn stamps_are_those_of_the_files_as_read() {
        let folder = TestFolder::new();
        let (passwd, group) = (folder.file("passwd", PASSWD), folder.file("group", GROUP));
        let files = AccountFiles::read(&passwd, &group).unwrap();
        let stamps = [&passwd, &group].map(|path| FileStamp::of(&path.metadata().unwrap()));
        assert_eq!(files.stamps(), stamps);
        assert_eq!(AccountFiles::stamps_now(&passwd, &group).unwrap(), stamps);
        folder.file("group", "root:x:0:\ndev:x:7:\n");
        assert_ne!(AccountFiles::stamps_now(&passwd, &group).unwrap(), stamps);
        fs::remove_file(&group).unwrap();
        assert!(AccountFiles::stamps_now(&passwd, &group).is_err());
    }
}
