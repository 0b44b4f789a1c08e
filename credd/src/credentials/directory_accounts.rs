//! Names and groups of everybody on this host: local accounts, and the users of keymakerd's directory. The metadata server
//! asks for the caller of each connection, `people.rs` for whom it judges. Local accounts win (P1).

use std::path::{Path, PathBuf};

use keymaker_core::directory_file::{Directory, User};
use keymaker_core::published_file::reader::ReadError;

use crate::accounts::{Account, Accounts, LocalAccounts};

/// The local accounts, then the directory.
pub struct HostAccounts {
    local: LocalAccounts,
    directory: Option<PathBuf>,
}

impl HostAccounts {
    /// `directory` is the published file; None: this host has no directory.
    pub fn new(local: LocalAccounts, directory: Option<PathBuf>) -> Self {
        Self { local, directory }
    }

    /// The local accounts alone.
    pub fn local(&self) -> &LocalAccounts {
        &self.local
    }

    /// The directory's file.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Name and groups of a user of the directory.
    pub fn account_of(&self, directory: &Directory, user: &User<'_>) -> Account {
        let mut groups = vec![user.name.as_str().to_owned()];
        groups.extend(user.groups().filter_map(|gid| self.group_name(directory, gid)));
        Account {
            user: Some(user.name.as_str().to_owned()),
            groups,
        }
    }

    fn group_name(&self, directory: &Directory, gid: u32) -> Option<String> {
        if let Some(name) = self.local.group_name(gid) {
            return Some(name);
        }
        let mut buffer = vec![0; SMALL_GROUP];
        loop {
            let found = directory.group_by_gid(gid, &mut buffer);
            match found.map(|group| group.map(|group| group.name.as_str().to_owned())) {
                Ok(name) => return name,
                Err(ReadError::BufferTooSmall) if buffer.len() < LARGEST_GROUP => buffer.resize(buffer.len() * 8, 0),
                Err(error) => {
                    tracing::warn!(%error, gid, "a group of the directory cannot be read; its chains and rules do not match");
                    return None;
                }
            }
        }
    }

    fn directory_account(&self, uid: u32) -> Option<Account> {
        let directory = Directory::open(self.directory()?).ok()?;
        let mut buffer = [0; keymaker_core::directory_file::MAX_USER_RECORD];
        let user = directory.user_by_uid(uid, &mut buffer).ok()??;
        (!user.tombstone).then(|| self.account_of(&directory, &user))
    }
}

impl Accounts for HostAccounts {
    fn account(&self, uid: u32) -> Account {
        let local = self.local.account(uid);
        if local.user.is_some() {
            return local;
        }
        self.directory_account(uid).unwrap_or_default()
    }
}

const SMALL_GROUP: usize = 4096;
const LARGEST_GROUP: usize = 16 << 20;
