//! Names and groups of everybody on this host: local accounts, and the users of keymakerd's directory. The metadata
//! server asks for the caller of each connection, `people.rs` for whom it judges. Local accounts win (P1).

use std::path::{Path, PathBuf};

use keymaker_core::directory_file::{Directory, User};
use keymaker_core::published_file::reader::ReadError;

use credd_core::accounts::{Account, Accounts, LocalNames};

/// The local accounts, then the directory.
pub struct HostAccounts {
    local: LocalNames,
    directory: Option<PathBuf>,
}

impl HostAccounts {
    /// `directory` is the published file; None: this host has no directory.
    pub fn new(local: LocalNames, directory: Option<PathBuf>) -> Self {
        Self { local, directory }
    }

    /// The local accounts alone.
    pub fn local(&self) -> &LocalNames {
        &self.local
    }

    /// The directory's file.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Name and groups of a user of the directory: the groups that the directory gives, and the local ones that name
    /// the user as a member. The private group is none of them: its name is the user's, which anybody who may create
    /// IAM users chooses.
    pub fn account_of(&self, directory: &Directory, user: &User<'_>) -> Account {
        let name = user.name.as_str();
        let memberships = self.local.memberships(name);
        let mut is_doubtful = memberships.is_err();
        let mut groups = vec![];
        for gid in user.groups().chain(memberships.unwrap_or_default()) {
            match self.group_name(directory, gid) {
                Ok(Some(group)) if groups.contains(&group) => {}
                Ok(group) => groups.extend(group),
                Err(error) => {
                    tracing::warn!(%error, gid, name, "the name of a group cannot be read, so chains and rules by \
                        group give no answer");
                    is_doubtful = true;
                }
            }
        }
        Account {
            user: Some(name.to_owned()),
            groups,
            is_doubtful,
        }
    }

    fn group_name(&self, directory: &Directory, gid: u32) -> Result<Option<String>, String> {
        let local = self.local.group_name(gid).map_err(|error| format!("{error:?}"))?;
        if local.is_some() {
            return Ok(local);
        }
        let mut buffer = vec![0; SMALL_GROUP];
        loop {
            let found = directory.group_by_gid(gid, &mut buffer);
            match found.map(|group| group.map(|group| group.name.as_str().to_owned())) {
                Ok(name) => return Ok(name),
                Err(ReadError::BufferTooSmall) if buffer.len() < LARGEST_GROUP => buffer.resize(buffer.len() * 8, 0),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn directory_account(&self, uid: u32) -> Result<Option<Account>, ReadError> {
        let Some(path) = self.directory() else { return Ok(None) };
        let directory = Directory::open(path)?;
        let mut buffer = [0; keymaker_core::directory_file::MAX_USER_RECORD];
        let user = directory.user_by_uid(uid, &mut buffer)?.filter(|user| !user.tombstone);
        Ok(user.map(|user| self.account_of(&directory, &user)))
    }

    /// Of a uid that neither the files nor the directory have: nobody's, if no other service can know it.
    pub fn of_nobody(&self) -> Account {
        Account {
            is_doubtful: self.local.has_other_services(),
            ..Account::default()
        }
    }
}

impl Accounts for HostAccounts {
    fn account(&self, uid: u32) -> Account {
        let local = self.local.account(uid);
        if local.user.is_some() || local.is_doubtful {
            return local;
        }
        match self.directory_account(uid) {
            Ok(Some(account)) => account,
            Ok(None) => self.of_nobody(),
            Err(_) => Account::unknown(),
        }
    }
}

const SMALL_GROUP: usize = 4096;
const LARGEST_GROUP: usize = 16 << 20;
