//! Gives a new home its SELinux label while it is made, without libselinux.
//!
//! The kernel labels what this thread creates as /proc/thread-self/attr/fscreate says (proc(5)). What is written there
//! is the label of the folder that holds homes, with the types that the reference policy gives to a home and to what
//! lies in it. Only where that folder is labelled as /home is: elsewhere (NFS, a folder of one's own) the policy's and
//! the mount's own rules stand. Files that the policy wants labelled apart (~/.ssh) are not in /etc/skel.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::abi::folder::Folder;

const ENABLED: &str = "/sys/fs/selinux/enforce";
const FSCREATE: &str = "/proc/thread-self/attr/fscreate";

/// The label of what this thread creates, until dropped.
pub struct CreationLabel {
    before: Vec<u8>,
    contents: Option<Vec<u8>>,
}

impl CreationLabel {
    /// Lets this thread create a home in `parent`. An error where it should have a label and cannot get it.
    pub fn of_home_in(parent: &Folder) -> io::Result<Self> {
        let nothing = Self {
            before: Vec::new(),
            contents: None,
        };
        if !Path::new(ENABLED).exists() {
            return Ok(nothing);
        }
        let Some(parent) = parent.selinux_label() else {
            return Ok(nothing);
        };
        let (Some(home), Some(contents)) = (
            with_type(&parent, b"user_home_dir_t"),
            with_type(&parent, b"user_home_t"),
        ) else {
            return Ok(nothing);
        };
        let before = fs::read(FSCREATE)?;
        set(&home)?;
        Ok(Self {
            before,
            contents: Some(contents),
        })
    }

    /// From now on, what lies in the home is created.
    pub fn contents(&self) {
        if let Some(contents) = &self.contents {
            // The kernel took the label of the home a moment ago, and knows this type as well.
            let _ = set(contents);
        }
    }
}

impl Drop for CreationLabel {
    fn drop(&mut self) {
        if self.contents.is_some() {
            // Nothing written: the policy's default again.
            let _ = set(&self.before);
        }
    }
}

fn set(label: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(FSCREATE)?.write(label).map(|_| ())
}

/// The label with another type, if its type is that of /home: `user:role:type:level`.
fn with_type(label: &[u8], new_type: &[u8]) -> Option<Vec<u8>> {
    let mut fields: Vec<&[u8]> = label.splitn(4, |byte| *byte == b':').collect();
    let of_home_root = fields.get_mut(2).filter(|field| **field == b"home_root_t")?;
    *of_home_root = new_type;
    Some(fields.join(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_labelled_only_where_homes_are() {
        let home = with_type(b"system_u:object_r:home_root_t:s0:c1.c2", b"user_home_dir_t");
        assert_eq!(home.unwrap(), b"system_u:object_r:user_home_dir_t:s0:c1.c2");
        for label in ["system_u:object_r:nfs_t:s0", "unlabeled", "", "a:b", "::home_root_tt:"] {
            assert_eq!(with_type(label.as_bytes(), b"user_home_dir_t"), None, "{label}");
        }
    }
}
