//! The records of the directory, as data: users and groups.
//!
//! ```text
//! user   0  uid u32 · 4 answered_at u64 · 12 verdict u8 · 13 flags u8 · 14 groups u8 · 15 zero u8
//!        16 lengths of 6 texts, u16 each: name, gecos, home, shell, IAM user id, IAM user name
//!        28 the texts in that order, each followed by a zero byte; then the groups, u32 each
//! group  0  gid u32 · 4 members u32 · 8 flags u32
//!        12 the name, then each member's name, each followed by a zero byte
//! ```
// Frozen: what programs that began before the upgrade have in memory. Never changed with the source that it was copied from.

use crate::id::{Gid, Uid};
use crate::name::{GroupName, UserName};
use crate::published_file::format::{u32_at, u64_at};

const USER_TEXTS: usize = 28;
const FLAG_TOMBSTONE: u8 = 1;
const FLAG_SEEN_HERE: u8 = 2;
const FLAG_PRIVATE: u32 = 1;

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
    /// IAM has the user, but this host gives no entry: the name or the number is somebody else's here; only in tombstones
    NoEntry,
}

impl Verdict {
    fn parse(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Allowed),
            2 => Some(Self::NotInRequiredGroup),
            3 => Some(Self::Deleted),
            4 => Some(Self::NameHeldByAnother),
            5 => Some(Self::Expired),
            6 => Some(Self::NoEntry),
            _ => None,
        }
    }
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
    /// The full name.
    pub gecos: &'b str,
    /// The home directory: an absolute path.
    pub home: &'b str,
    /// The login shell: an absolute path.
    pub shell: &'b str,
    /// IAM's UserId (`AIDA…`).
    pub iam_user_id: &'b str,
    /// The IAM user name.
    pub iam_user_name: &'b str,
    groups: &'b [u8],
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
        let groups = record.get(at..)?;
        (groups.len() == usize::from(*record.get(14)?) * 4).then_some(())?;
        let [name, gecos, home, shell, iam_user_id, iam_user_name] = texts;
        Some(Self {
            name: UserName::parse(name.as_bytes()).ok()?,
            uid: Uid::new(u32_at(record, 0)?)?,
            answered_at: u64_at(record, 4)?,
            verdict: Verdict::parse(*record.get(12)?)?,
            tombstone: flags & FLAG_TOMBSTONE != 0,
            seen_here: flags & FLAG_SEEN_HERE != 0,
            gecos,
            home,
            shell,
            iam_user_id,
            iam_user_name,
            groups,
        })
    }

    /// The supplementary groups: gids of ours and, where the header allows them, local ones. keymaker-users is not among them.
    pub fn groups(&self) -> impl Iterator<Item = u32> + 'b {
        self.groups
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
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
        let ends = texts.iter().filter(|byte| **byte == 0).count();
        (ends == member_count as usize + 1 && texts.last() == Some(&0)).then_some(())?;
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

/// Text that may stand in a passwd line: getent prints it, and shadow's tools parse it again.
fn clean_text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    (!text.contains(|c: char| c == ':' || c.is_control())).then_some(text)
}
