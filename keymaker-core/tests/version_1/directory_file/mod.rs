//! `/var/lib/keymaker/public/directory`: every user and group of ours, who may log in here or why not, and how old the facts are.
//!
//! [`header`] is what the file says about itself, [`records`] are its users and groups; this file opens it and looks things up.
//! NSS, PAM, the keys command and credd read it; only keymakerd writes it (`DirectoryBuilder`).
// Frozen: what programs that began before the upgrade have in memory. Never changed with the source that it was copied from.

pub mod header;
pub mod records;

use std::path::Path;

use crate::id::Gid;
use crate::name::{GroupName, UserName};
use crate::published_file::format::Key;
use crate::published_file::reader::{PublishedFile, ReadError, Slot};
pub use header::Header;
pub use records::{Group, User};

const MAGIC: [u8; 8] = *b"KMDIR\0\0\x01";
const USER_NAMES: usize = 0;
const UIDS: usize = 1;
const GROUP_NAMES: usize = 2;
const GIDS: usize = 3;

/// The bytes that hold any user's record: on the stack of an NSS lookup.
pub const MAX_USER_RECORD: usize = 2048;

/// The open directory.
#[derive(Debug)]
pub struct Directory {
    file: PublishedFile,
}

impl Directory {
    /// Opens the directory at `path` and checks its header.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = PublishedFile::open(path, MAGIC)?;
        Header::parse(file.meta()).ok_or(ReadError::Damaged)?;
        Ok(Self { file })
    }

    /// What the file says about itself.
    pub fn header(&self) -> Header<'_> {
        Header::parse(self.file.meta()).unwrap_or(Header::NOTHING)
    }

    /// One more at each publication.
    pub fn generation(&self) -> u64 {
        self.file.generation()
    }

    /// The user of this name, living or a tombstone.
    pub fn user_by_name<'b>(
        &self,
        name: UserName,
        buffer: &'b mut [u8; MAX_USER_RECORD],
    ) -> Result<Option<User<'b>>, ReadError> {
        let Some(slot) = self.file.find(USER_NAMES, Key::Name(name.as_str()))? else {
            return Ok(None);
        };
        let user = self.user(slot, buffer)?;
        Ok((user.name == name).then_some(user))
    }

    /// The user of this number, living or a tombstone. Outside the header's ranges nothing is read.
    pub fn user_by_uid<'b>(
        &self,
        uid: u32,
        buffer: &'b mut [u8; MAX_USER_RECORD],
    ) -> Result<Option<User<'b>>, ReadError> {
        if !self.header().in_ranges(uid) {
            return Ok(None);
        }
        let Some(slot) = self.file.find(UIDS, Key::Id(uid))? else {
            return Ok(None);
        };
        let user = self.user(slot, buffer)?;
        Ok((user.uid.get() == uid).then_some(user))
    }

    /// The group of this name; its text lies in `buffer`, which must hold the whole record ([`ReadError::BufferTooSmall`]).
    pub fn group_by_name<'b>(&self, name: GroupName, buffer: &'b mut [u8]) -> Result<Option<Group<'b>>, ReadError> {
        let Some(slot) = self.file.find(GROUP_NAMES, Key::Name(name.as_str()))? else {
            return Ok(None);
        };
        let group = self.group(slot, buffer)?;
        Ok((group.name == name).then_some(group))
    }

    /// The group of this number, likewise. Outside the header's ranges nothing is read.
    pub fn group_by_gid<'b>(&self, gid: u32, buffer: &'b mut [u8]) -> Result<Option<Group<'b>>, ReadError> {
        if !self.header().in_ranges(gid) {
            return Ok(None);
        }
        let Some(slot) = self.file.find(GIDS, Key::Id(gid))? else {
            return Ok(None);
        };
        let group = self.group(slot, buffer)?;
        Ok((group.gid == Gid::new(gid).ok_or(ReadError::Damaged)?).then_some(group))
    }

    /// The user at or after position `from` of the enumeration, and the position to go on from.
    pub fn next_user<'b>(
        &self,
        from: u32,
        buffer: &'b mut [u8; MAX_USER_RECORD],
    ) -> Result<Option<(u32, User<'b>)>, ReadError> {
        let Some((at, slot)) = self.file.next_slot(UIDS, from)? else {
            return Ok(None);
        };
        Ok(Some((at + 1, self.user(slot, buffer)?)))
    }

    /// The group at or after position `from` of the enumeration, and the position to go on from.
    pub fn next_group<'b>(&self, from: u32, buffer: &'b mut [u8]) -> Result<Option<(u32, Group<'b>)>, ReadError> {
        let Some((at, slot)) = self.file.next_slot(GIDS, from)? else {
            return Ok(None);
        };
        Ok(Some((at + 1, self.group(slot, buffer)?)))
    }

    fn user<'b>(&self, slot: Slot, buffer: &'b mut [u8; MAX_USER_RECORD]) -> Result<User<'b>, ReadError> {
        if slot.len as usize > MAX_USER_RECORD {
            return Err(ReadError::Damaged);
        }
        User::parse(self.file.record(slot, buffer)?).ok_or(ReadError::Damaged)
    }

    fn group<'b>(&self, slot: Slot, buffer: &'b mut [u8]) -> Result<Group<'b>, ReadError> {
        Group::parse(self.file.record(slot, buffer)?).ok_or(ReadError::Damaged)
    }
}
