//! `/var/lib/keymaker/public/directory`: every user and group of ours, who may log in here or why not, and how old the
//! facts are.
//!
//! [`header`] is what the file says about itself, [`records`] are its users and groups; this file opens it and looks
//! things up. NSS, PAM, the keys command and credd read it; only keymakerd writes it (`DirectoryBuilder`).

pub mod header;
pub mod records;

use std::path::Path;

use crate::name::{GroupName, UserName};
use crate::published_file::format::{HashKey, Key};
use crate::published_file::reader::{FileState, PublishedFile, ReadError};
use crate::published_file::writer::{BuildError, Built, FileBuilder, KeyTaken};
pub use header::{FileStamp, Header, LocalStamps};
pub use records::{Group, MAX_FORMER_NAMES, NewGroup, NewUser, User, Verdict, count_texts};

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
        Self::of(PublishedFile::open(path, MAGIC)?)
    }

    /// The same, read into memory: for who goes through all of it.
    pub fn open_whole(path: &Path) -> Result<Self, ReadError> {
        Self::of(PublishedFile::open_whole(path, MAGIC)?)
    }

    fn of(file: PublishedFile) -> Result<Self, ReadError> {
        Header::parse(file.meta()).ok_or(ReadError::Damaged)?;
        Ok(Self { file })
    }

    /// What the file says about itself.
    pub fn header(&self) -> Header<'_> {
        Header::parse(self.file.meta()).unwrap_or(Header::NOTHING)
    }

    /// Of the file that is open, whatever is at its path by now.
    pub fn state(&self) -> FileState {
        self.file.state()
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
        self.user(Key::Name(name.as_str()), buffer)
    }

    /// The user of this number, living or a tombstone. Outside the header's ranges nothing is read.
    pub fn user_by_uid<'b>(
        &self,
        uid: u32,
        buffer: &'b mut [u8; MAX_USER_RECORD],
    ) -> Result<Option<User<'b>>, ReadError> {
        self.user(Key::Id(uid), buffer)
    }

    /// The user of this name or number, likewise.
    pub fn user<'b>(&self, key: Key<'_>, buffer: &'b mut [u8; MAX_USER_RECORD]) -> Result<Option<User<'b>>, ReadError> {
        let index = match key {
            Key::Name(_) => USER_NAMES,
            Key::Id(uid) if self.header().in_ranges(uid) => UIDS,
            Key::Id(_) => return Ok(None),
        };
        let is = |record: &[u8]| match key {
            Key::Name(name) => records::user_is_named(record, name),
            Key::Id(uid) => records::has_id(record, uid),
        };
        user(self.file.find(index, key, buffer, is))
    }

    /// The group of this name; its text lies in `buffer`, which must hold the whole record
    /// ([`ReadError::BufferTooSmall`]).
    pub fn group_by_name<'b>(&self, name: GroupName, buffer: &'b mut [u8]) -> Result<Option<Group<'b>>, ReadError> {
        self.group(Key::Name(name.as_str()), buffer)
    }

    /// The group of this number, likewise. Outside the header's ranges nothing is read.
    pub fn group_by_gid<'b>(&self, gid: u32, buffer: &'b mut [u8]) -> Result<Option<Group<'b>>, ReadError> {
        self.group(Key::Id(gid), buffer)
    }

    /// The group of this name or number, likewise.
    pub fn group<'b>(&self, key: Key<'_>, buffer: &'b mut [u8]) -> Result<Option<Group<'b>>, ReadError> {
        let index = match key {
            Key::Name(_) => GROUP_NAMES,
            Key::Id(gid) if self.header().in_ranges(gid) => GIDS,
            Key::Id(_) => return Ok(None),
        };
        let is = |record: &[u8]| match key {
            Key::Name(name) => records::group_is_named(record, name),
            Key::Id(gid) => records::has_id(record, gid),
        };
        group(self.file.find(index, key, buffer, is))
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
        let next = at.checked_add(1).ok_or(ReadError::Damaged)?;
        Ok(user(self.file.record(slot, buffer).map(Some))?.map(|user| (next, user)))
    }

    /// The group at or after position `from` of the enumeration, and the position to go on from.
    pub fn next_group<'b>(&self, from: u32, buffer: &'b mut [u8]) -> Result<Option<(u32, Group<'b>)>, ReadError> {
        let Some((at, slot)) = self.file.next_slot(GIDS, from)? else {
            return Ok(None);
        };
        let next = at.checked_add(1).ok_or(ReadError::Damaged)?;
        Ok(group(self.file.record(slot, buffer).map(Some))?.map(|group| (next, group)))
    }
}

/// No user's record is larger than the buffer for it.
fn user(record: Result<Option<&mut [u8]>, ReadError>) -> Result<Option<User<'_>>, ReadError> {
    let record = record.map_err(|error| match error {
        ReadError::BufferTooSmall => ReadError::Damaged,
        error => error,
    })?;
    record
        .map(|record| User::parse(record).ok_or(ReadError::Damaged))
        .transpose()
}

fn group(record: Result<Option<&mut [u8]>, ReadError>) -> Result<Option<Group<'_>>, ReadError> {
    record?
        .map(|record| Group::parse(record).ok_or(ReadError::Damaged))
        .transpose()
}

/// Builds the bytes of a directory. The caller guarantees that names and ids are its own to give (P1, P2).
pub struct DirectoryBuilder {
    file: FileBuilder,
}

impl DirectoryBuilder {
    /// An empty directory that says `header` about itself.
    pub fn new(header: &Header<'_>) -> Self {
        Self {
            file: FileBuilder::new(MAGIC, header.encode()),
        }
    }

    /// Adds a user, found by name and uid.
    pub fn user(&mut self, user: &NewUser<'_>) -> Result<(), RecordError> {
        let (record, former_len) = user.encode()?;
        self.file.add_grown(
            &record,
            former_len,
            &[
                (USER_NAMES, Key::Name(user.name.as_str())),
                (UIDS, Key::Id(user.uid.get())),
            ],
        )?;
        Ok(())
    }

    /// Adds a tombstone whose name somebody else has now: found by uid only.
    pub fn nameless_tombstone(&mut self, user: &NewUser<'_>) -> Result<(), RecordError> {
        let (record, former_len) = user.encode()?;
        self.file
            .add_grown(&record, former_len, &[(UIDS, Key::Id(user.uid.get()))])?;
        Ok(())
    }

    /// Adds a group, found by name and gid.
    pub fn group(&mut self, group: &NewGroup<'_>) -> Result<(), RecordError> {
        let record = group.encode()?;
        self.file.add(
            &record,
            &[
                (GROUP_NAMES, Key::Name(group.name.as_str())),
                (GIDS, Key::Id(group.gid.get())),
            ],
        )?;
        Ok(())
    }

    /// The bytes of the file, under a new key.
    pub fn build(&self, generation: u64) -> Result<Vec<u8>, BuildError> {
        Ok(self.file.build(generation)?.bytes)
    }

    /// The same under a given key, for anybody who compares bytes.
    pub fn build_with(&self, generation: u64, key: HashKey) -> Result<Vec<u8>, BuildError> {
        Ok(self.file.build_with(generation, key)?.bytes)
    }

    /// What is to follow `former`, the bytes of a published directory; `None` where that says the same already.
    pub fn build_after(&self, former: &[u8]) -> Result<Option<Built>, BuildError> {
        self.file.build_after(former)
    }
}

/// Why a user or group does not fit its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// a text is too long, or contains a colon or a control character
    BadText,
    /// the user has more groups or keys than fit into a record
    TooMany,
    /// another entry has the same name or number
    KeyTaken,
}

impl From<KeyTaken> for RecordError {
    fn from(_: KeyTaken) -> Self {
        Self::KeyTaken
    }
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BadText => "a text is too long, or contains a colon or a control character",
            Self::TooMany => "the user has more groups or keys than fit into a record",
            Self::KeyTaken => "another entry has the same name or number",
        })
    }
}

impl std::error::Error for RecordError {}

#[cfg(test)]
mod tests;
