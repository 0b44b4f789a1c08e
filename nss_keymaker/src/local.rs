//! What /etc/passwd and /etc/group have come to say since keymakerd read them: anybody who is in them now wins at once,
//! with the daemon dead, too (P1). Every lookup asks here once it has found something of ours.
//!
//! The directory holds the stamps of the files as read. While they are the files' own, nothing is opened.

use std::io;
use std::path::Path;

use keymaker_core::directory_file::{FileStamp, LocalStamps};
use keymaker_core::local_files;

use crate::NssHost;

/// The local files, each only where it has changed.
pub(crate) struct ChangedFiles<'h> {
    passwd: Option<&'h Path>,
    group: Option<&'h Path>,
}

impl<'h> ChangedFiles<'h> {
    /// Those that have changed since the directory was made. One that is not there cannot win.
    pub fn since(stamps: LocalStamps, host: &NssHost<'h>) -> Self {
        let changed = |path: &'h Path, since| has_changed(path, since).unwrap_or(false).then_some(path);
        Self {
            passwd: changed(host.passwd, stamps.passwd),
            group: changed(host.group, stamps.group),
        }
    }

    /// Whether one of them has this name, or this number, for a user or a group: keymakerd gives neither to anybody
    /// then. Where one cannot be read, it has nothing.
    pub fn have(&self, name: &str, id: u32) -> bool {
        [self.passwd, self.group].into_iter().flatten().any(|path| {
            local_files::names(path, name).unwrap_or(false) || local_files::has_id(path, id).unwrap_or(false)
        })
    }

    /// Whether /etc/passwd has changed, so that a name on a list of members may be a local account's.
    pub fn passwd_has_changed(&self) -> bool {
        self.passwd.is_some()
    }
}

/// Whether a file is another one, or has another content, than the one of this stamp.
pub(crate) fn has_changed(path: &Path, since: FileStamp) -> io::Result<bool> {
    Ok(FileStamp::of(&std::fs::metadata(path)?) != since)
}
