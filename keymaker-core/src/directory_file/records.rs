//! The records of the directory, as data: users and groups.
//!
//! ```text
//! user   0  uid u32 · 4 answered_at u64 · 12 verdict u8 · 13 flags u8 · 14 groups u8 · 15 zero u8
//!        16 lengths of 6 texts, u16 each: name, gecos, home, shell, IAM user id, IAM user name
//!        28 the texts in that order, each followed by a zero byte; then the groups, u32 each; then, if there is any of what
//!        follows: how many former names, u8, and these, each followed by a zero byte; then, only for users who may log in by
//!        proof, proofs_from u64
//! group  0  gid u32 · 4 members u32 · 8 flags u32
//!        12 the name, then each member's name, each followed by a zero byte
//! ```
//! A reader skips what a later writer puts behind that.

use crate::directory_file::RecordError;
use crate::id::{Gid, Uid};
use crate::name::{GroupName, UserName};
use crate::published_file::format::{u32_at, u64_at};

use super::MAX_USER_RECORD;

const USER_TEXTS: usize = 28;
const FLAG_TOMBSTONE: u8 = 1;
const FLAG_SEEN_HERE: u8 = 2;
const FLAG_ENDED: u8 = 4;
const FLAG_PRIVATE: u32 = 1;
/// How many groups a user's record holds. IAM's own limit is 10 groups a user.
pub const MAX_GROUPS: usize = 64;
/// How many former names a user's record holds.
pub const MAX_FORMER_NAMES: usize = 4;
const MAX_TEXT: usize = 255;

/// What IAM and this host's settings say about a user's right to log in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// the user may log in
    Allowed,
    /// the user is not in the required IAM group
    NotInRequiredGroup,
    /// IAM no longer has the user
    Deleted,
    /// the name was last held here by another IAM user, and no administrator has released it
    NameHeldByAnother,
    /// the date in the user's `expires` tag has passed, or cannot be read
    Expired,
    /// IAM has the user, but this host gives no entry: the name or the number is somebody else's here; only in
    /// tombstones
    NoEntry,
}

impl Verdict {
    fn code(self) -> u8 {
        match self {
            Self::Allowed => 1,
            Self::NotInRequiredGroup => 2,
            Self::Deleted => 3,
            Self::NameHeldByAnother => 4,
            Self::Expired => 5,
            Self::NoEntry => 6,
        }
    }

    fn parse(code: u8) -> Option<Self> {
        [
            Self::Allowed,
            Self::NotInRequiredGroup,
            Self::Deleted,
            Self::NameHeldByAnother,
            Self::Expired,
            Self::NoEntry,
        ]
        .into_iter()
        .find(|verdict| verdict.code() == code)
    }
}

/// Whether a record is of this number, user or group.
pub(super) fn has_id(record: &[u8], id: u32) -> bool {
    u32_at(record, 0) == Some(id)
}

/// Whether a user's record is of this name.
pub(super) fn user_is_named(record: &[u8], name: &str) -> bool {
    let len = record.get(16..).and_then(|lengths| lengths.first_chunk().copied());
    let text = record.get(USER_TEXTS..).unwrap_or_default();
    len.is_some_and(|len| text.get(..usize::from(u16::from_le_bytes(len))) == Some(name.as_bytes()))
}

/// Whether a group's record is of this name.
pub(super) fn group_is_named(record: &[u8], name: &str) -> bool {
    let texts = record.get(Group::TEXTS_AT..).unwrap_or_default();
    texts.split(|byte| *byte == 0).next() == Some(name.as_bytes())
}

/// A user, as read; the texts lie in the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct User<'b> {
    /// The login name.
    pub name: UserName,
    /// The user id; the primary group is private and has the same number.
    pub uid: Uid,
    /// 0: the facts are as old as the contact. Else the unix time at which the oldest of them was last answered.
    pub answered_at: u64,
    /// Whether the user may log in here.
    pub verdict: Verdict,
    /// Whether the user is gone: known here, but no longer resolving.
    pub tombstone: bool,
    /// Whether the user has logged in on this host.
    pub seen_here: bool,
    /// Whether what runs as the user is to be ended, by what `end_sessions` says.
    pub ended: bool,
    /// The full name.
    pub gecos: &'b str,
    /// The home directory: an absolute path.
    pub home: &'b str,
    /// The login shell: an absolute path.
    pub shell: &'b str,
    /// IAM's `UserId` (`AIDA…`).
    pub iam_user_id: &'b str,
    /// The IAM user name.
    pub iam_user_name: &'b str,
    /// No token that AWS made before this unix time opens a login of this user; `None`: none does at all.
    pub proofs_from: Option<u64>,
    groups: &'b [u8],
    former_names: &'b [u8],
}

impl<'b> User<'b> {
    pub(super) fn parse(record: &'b [u8]) -> Option<Self> {
        let flags = *record.get(13)?;
        let mut at = USER_TEXTS;
        let mut texts = [""; 6];
        for (number, text) in texts.iter_mut().enumerate() {
            let len = usize::from(u16::from_le_bytes(*record.get(16 + number * 2..)?.first_chunk()?));
            *text = clean_text(record.get(at..at + len)?)?;
            (*record.get(at + len)? == 0).then_some(())?;
            at += len + 1;
        }
        let groups = record.get(at..)?.get(..usize::from(*record.get(14)?) * 4)?;
        let (former_names, proofs_from) = match record.get(at + groups.len()..)?.split_first() {
            Some((count, texts)) => {
                let names = texts_of(texts, *count)?;
                (names, u64_at(texts, names.len()))
            }
            None => (&[][..], None),
        };
        let [name, gecos, home, shell, iam_user_id, iam_user_name] = texts;
        Some(Self {
            name: UserName::parse(name.as_bytes()).ok()?,
            uid: Uid::new(u32_at(record, 0)?)?,
            answered_at: u64_at(record, 4)?,
            verdict: Verdict::parse(*record.get(12)?)?,
            tombstone: flags & FLAG_TOMBSTONE != 0,
            seen_here: flags & FLAG_SEEN_HERE != 0,
            ended: flags & FLAG_ENDED != 0,
            gecos,
            home,
            shell,
            iam_user_id,
            iam_user_name,
            proofs_from,
            groups,
            former_names,
        })
    }

    /// Names under which the user was on this host before, and that nobody else has had since, the last one first.
    pub fn former_names(&self) -> impl Iterator<Item = UserName> {
        let texts = self.former_names.split(|byte| *byte == 0);
        texts.filter_map(|text| UserName::parse(text).ok())
    }

    /// The supplementary groups: gids of ours and, where the header allows them, local ones. keymaker-users is not
    /// among them.
    pub fn groups(&self) -> impl Iterator<Item = u32> + 'b {
        self.groups
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// The first `count` texts, each with its zero byte.
fn texts_of(bytes: &[u8], count: u8) -> Option<&[u8]> {
    let Some(last) = usize::from(count).checked_sub(1) else {
        return Some(&[]);
    };
    let (end, _) = bytes.iter().enumerate().filter(|(_, byte)| **byte == 0).nth(last)?;
    bytes.get(..=end)
}

/// A user to be written.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// The login name.
    pub name: UserName,
    /// The user id.
    pub uid: Uid,
    /// See [`User::answered_at`].
    pub answered_at: u64,
    /// Whether the user may log in here.
    pub verdict: Verdict,
    /// Whether the user is gone.
    pub tombstone: bool,
    /// Whether the user has logged in on this host.
    pub seen_here: bool,
    /// See [`User::ended`].
    pub ended: bool,
    /// The full name.
    pub gecos: &'a str,
    /// The home directory.
    pub home: &'a str,
    /// The login shell.
    pub shell: &'a str,
    /// IAM's `UserId`.
    pub iam_user_id: &'a str,
    /// The IAM user name.
    pub iam_user_name: &'a str,
    /// See [`User::proofs_from`].
    pub proofs_from: Option<u64>,
    /// The supplementary groups, without keymaker-users.
    pub groups: &'a [u32],
    /// See [`User::former_names`].
    pub former_names: &'a [UserName],
}

impl NewUser<'_> {
    /// The record, and how much of it readers of version 1 know.
    pub(super) fn encode(&self) -> Result<(Vec<u8>, usize), RecordError> {
        let groups = u8::try_from(self.groups.len())
            .ok()
            .filter(|count| usize::from(*count) <= MAX_GROUPS);
        let former_names = u8::try_from(self.former_names.len())
            .ok()
            .filter(|count| usize::from(*count) <= MAX_FORMER_NAMES);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags =
            flag(self.tombstone, FLAG_TOMBSTONE) | flag(self.seen_here, FLAG_SEEN_HERE) | flag(self.ended, FLAG_ENDED);
        let mut record = Vec::new();
        record.extend(self.uid.get().to_le_bytes());
        record.extend(self.answered_at.to_le_bytes());
        record.extend([self.verdict.code(), flags, groups.ok_or(RecordError::TooMany)?, 0]);
        let texts = [
            self.name.as_str(),
            self.gecos,
            self.home,
            self.shell,
            self.iam_user_id,
            self.iam_user_name,
        ];
        for text in texts {
            if text.len() > MAX_TEXT || clean_text(text.as_bytes()).is_none() {
                return Err(RecordError::BadText);
            }
            record.extend((text.len() as u16).to_le_bytes());
        }
        for text in texts {
            record.extend(text.as_bytes());
            record.push(0);
        }
        record.extend(self.groups.iter().flat_map(|gid| gid.to_le_bytes()));
        let former_len = record.len();
        // Where proofs are off, the record is what it was before there were any (P24).
        if !self.former_names.is_empty() || self.proofs_from.is_some() {
            record.push(former_names.ok_or(RecordError::TooMany)?);
        }
        for name in self.former_names {
            record.extend(name.as_str().as_bytes());
            record.push(0);
        }
        record.extend(self.proofs_from.iter().flat_map(|from| from.to_le_bytes()));
        debug_assert!(record.len() <= MAX_USER_RECORD);
        Ok((record, former_len))
    }
}

/// A group, as read; the texts lie in the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Group<'b> {
    /// The name.
    pub name: GroupName,
    /// The group id.
    pub gid: Gid,
    /// How many members the group lists.
    pub member_count: u32,
    /// Whether this is a user's private group, which enumeration leaves out with its user.
    pub private: bool,
    /// The name and the members' names, each followed by a zero byte: exactly `member_count + 1` texts.
    pub texts: &'b [u8],
}

impl<'b> Group<'b> {
    /// Where in the buffer to which a group was read its texts begin: NSS hands them on where they lie.
    pub const TEXTS_AT: usize = 12;

    pub(super) fn parse(record: &'b [u8]) -> Option<Self> {
        let texts = record.get(Self::TEXTS_AT..)?;
        let member_count = u32_at(record, 4)?;
        let wanted = usize::try_from(member_count).ok()?.checked_add(1)?;
        let texts = if texts.last() == Some(&0) && count_texts(texts) == wanted {
            texts
        } else {
            let mut ends = texts.iter().enumerate().filter(|(_, byte)| **byte == 0);
            let (end, _) = ends.nth(wanted - 1)?;
            texts.get(..=end)?
        };
        Some(Self {
            name: GroupName::parse(texts.split(|byte| *byte == 0).next()?).ok()?,
            gid: Gid::new(u32_at(record, 0)?)?,
            member_count,
            private: u32_at(record, 8)? & FLAG_PRIVATE != 0,
            texts,
        })
    }

    /// The members' names.
    pub fn members(&self) -> impl Iterator<Item = &'b [u8]> {
        self.texts
            .split(|byte| *byte == 0)
            .skip(1)
            .take(self.member_count as usize)
    }
}

/// A group to be written.
#[derive(Clone, Debug)]
pub struct NewGroup<'a> {
    /// The name.
    pub name: GroupName,
    /// The group id.
    pub gid: Gid,
    /// Whether this is a user's private group.
    pub private: bool,
    /// The members.
    pub members: &'a [UserName],
}

impl NewGroup<'_> {
    pub(super) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut record = Vec::new();
        record.extend(self.gid.get().to_le_bytes());
        record.extend(
            u32::try_from(self.members.len())
                .map_err(|_| RecordError::TooMany)?
                .to_le_bytes(),
        );
        record.extend(if self.private { FLAG_PRIVATE } else { 0 }.to_le_bytes());
        for text in std::iter::once(self.name.as_str()).chain(self.members.iter().map(UserName::as_str)) {
            record.extend(text.as_bytes());
            record.push(0);
        }
        Ok(record)
    }
}

/// How many texts these bytes hold, each followed by a zero byte. A large group is as many bytes: counted 255 at a time
/// in one byte, they are sixteen an instruction.
pub fn count_texts(bytes: &[u8]) -> usize {
    let in_block = |block: &[u8]| block.iter().map(|byte| u8::from(*byte == 0)).sum::<u8>();
    bytes
        .chunks(u8::MAX.into())
        .map(|block| usize::from(in_block(block)))
        .sum()
}

/// Text that may stand in a passwd line: getent prints it, and shadow's tools parse it again.
fn clean_text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    (!text.contains(|c: char| c == ':' || c.is_control())).then_some(text)
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// Calls `with` with a user of these traits, as a reader would see them.
    pub fn with_user<T>(verdict: Verdict, tombstone: bool, answered_at: u64, with: impl FnOnce(&User<'_>) -> T) -> T {
        with_new(
            &NewUser {
                verdict,
                tombstone,
                answered_at,
                ..alice()
            },
            with,
        )
    }

    /// Calls `with` with a user who has this home.
    pub fn with_home<T>(home: &str, with: impl FnOnce(&User<'_>) -> T) -> T {
        with_new(&NewUser { home, ..alice() }, with)
    }

    /// The number of the user in these tests.
    pub const UID: u32 = 1_900_000_000;

    /// Calls `with` with alice, who has logged in here.
    pub fn with_seen<T>(with: impl FnOnce(&User<'_>) -> T) -> T {
        let seen = NewUser {
            seen_here: true,
            ..alice()
        };
        with_new(&seen, with)
    }

    /// Calls `with` with a user for whom proofs count from then on.
    pub fn with_proofs_from<T>(proofs_from: Option<u64>, with: impl FnOnce(&User<'_>) -> T) -> T {
        with_new(&NewUser { proofs_from, ..alice() }, with)
    }

    /// Calls `with` with alice.
    pub fn with_alice<T>(with: impl FnOnce(&User<'_>) -> T) -> T {
        with_new(&alice(), with)
    }

    fn with_new<T>(new: &NewUser<'_>, with: impl FnOnce(&User<'_>) -> T) -> T {
        with(&User::parse(&new.encode().unwrap().0).unwrap())
    }

    fn alice() -> NewUser<'static> {
        NewUser {
            name: UserName::parse(b"alice").unwrap(),
            uid: Uid::new(UID).unwrap(),
            answered_at: 0,
            verdict: Verdict::Allowed,
            tombstone: false,
            seen_here: false,
            ended: false,
            gecos: "",
            home: "/home/alice",
            shell: "/bin/bash",
            iam_user_id: "AIDA",
            iam_user_name: "alice",
            proofs_from: None,
            groups: &[],
            former_names: &[],
        }
    }
}
