//! What the directory says about itself: the meta section of its preamble, as data.
//!
//! ```text
//! 0    account            12  the AWS account whose users these are: digits
//! 12   instance_id        32  the EC2 instance for which it was made: text, zero-padded
//! 44   ranges         4 × 8   { first u32, last u32 }: every uid and gid of the file lies in one; empty where first > last
//! 76   local_gids    32 × 4   gids of /etc/group that a user's record may name; 0 where unused
//! 204  keymaker_users      4  the gid of the local group keymaker-users; 0: there is none
//! 208  flags               4  FLAG_*
//! 212  max_stale           4  seconds
//! 216  authz_ttl           4  seconds
//! 220  passwd, group  2 × 24  { inode u64, size u64, mtime in ns u64 } of the local files as keymakerd read them
//! 268  required_group     130  len u16, then the IAM group that a user must be in to log in; len 0: none
//! ```
// Frozen: what programs that began before the upgrade have in memory. Never changed with the source that it was copied from.

use crate::id::IdRange;
use crate::published_file::format::{u32_at, u64_at};

/// How many id ranges a header holds.
pub const RANGES: usize = 4;
/// How many local gids a header holds.
pub const LOCAL_GIDS: usize = 32;
const FLAG_ENUMERATE_ALL: u32 = 1;
const FLAG_WHOLE_RANGE_OURS: u32 = 2;
const FLAG_SETTINGS_UNREAD: u32 = 4;
const FLAG_END_SESSIONS: u32 = 8;
const REQUIRED_GROUP_AT: usize = 268;

/// What the directory says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The AWS account whose users these are: twelve digits.
    pub account: &'a str,
    /// The EC2 instance for which the file was made, `i-…`; empty where it was not known.
    pub instance_id: &'a str,
    /// Every uid and gid of the file lies in one of these.
    pub ranges: [IdRange; RANGES],
    /// The gids of /etc/group that a user's record may name; 0 where unused.
    pub local_gids: [u32; LOCAL_GIDS],
    /// The gid of the local group keymaker-users; 0 where there is none.
    pub keymaker_users_gid: u32,
    /// Whether getpwent(3) shows every user, or only those seen here.
    pub enumerate_all: bool,
    /// Whether every uid of the first range is ours, known or not (`id_scheme = "wide"`).
    pub whole_range_ours: bool,
    /// The settings of this host have never been read, so nobody of ours may log in.
    pub settings_unread: bool,
    /// Whether the running sessions of refused users are ended.
    pub end_sessions: bool,
    /// How old a fact may be before logins stop, in seconds.
    pub max_stale: u32,
    /// How old a fact may be before a login asks again, in seconds.
    pub authz_ttl: u32,
    /// /etc/passwd as keymakerd read it.
    pub passwd: FileStamp,
    /// /etc/group as keymakerd read it.
    pub group: FileStamp,
    /// The IAM group that a user must be in to log in; empty: none.
    pub required_group: &'a str,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp {
    /// The inode; the shadow tools write a new one at every change.
    pub inode: u64,
    /// The size in bytes.
    pub size: u64,
    /// The modification time in nanoseconds since 1970.
    pub mtime: u64,
}

impl FileStamp {
    fn parse(meta: &[u8], at: usize) -> Option<Self> {
        Some(Self {
            inode: u64_at(meta, at)?,
            size: u64_at(meta, at + 8)?,
            mtime: u64_at(meta, at + 16)?,
        })
    }
}

impl<'a> Header<'a> {
    /// The header of a directory that says nothing.
    pub const NOTHING: Self = Self {
        account: "",
        instance_id: "",
        ranges: [IdRange::EMPTY; RANGES],
        local_gids: [0; LOCAL_GIDS],
        keymaker_users_gid: 0,
        enumerate_all: false,
        whole_range_ours: false,
        settings_unread: true,
        end_sessions: false,
        max_stale: 0,
        authz_ttl: 0,
        passwd: FileStamp {
            inode: 0,
            size: 0,
            mtime: 0,
        },
        group: FileStamp {
            inode: 0,
            size: 0,
            mtime: 0,
        },
        required_group: "",
    };

    /// Reads a meta section; `None` where it is damaged.
    pub fn parse(meta: &'a [u8]) -> Option<Self> {
        let mut ranges = [IdRange::EMPTY; RANGES];
        for (number, range) in ranges.iter_mut().enumerate() {
            *range = IdRange {
                first: u32_at(meta, 44 + number * 8)?,
                last: u32_at(meta, 48 + number * 8)?,
            };
        }
        let mut local_gids = [0; LOCAL_GIDS];
        for (number, gid) in local_gids.iter_mut().enumerate() {
            *gid = u32_at(meta, 76 + number * 4)?;
        }
        let flags = u32_at(meta, 208)?;
        let len = usize::from(u16::from_le_bytes(*meta.get(REQUIRED_GROUP_AT..)?.first_chunk()?));
        Some(Self {
            account: text(meta.get(0..12)?)?,
            instance_id: text(meta.get(12..44)?)?,
            ranges,
            local_gids,
            keymaker_users_gid: u32_at(meta, 204)?,
            enumerate_all: flags & FLAG_ENUMERATE_ALL != 0,
            whole_range_ours: flags & FLAG_WHOLE_RANGE_OURS != 0,
            settings_unread: flags & FLAG_SETTINGS_UNREAD != 0,
            end_sessions: flags & FLAG_END_SESSIONS != 0,
            max_stale: u32_at(meta, 212)?,
            authz_ttl: u32_at(meta, 216)?,
            passwd: FileStamp::parse(meta, 220)?,
            group: FileStamp::parse(meta, 244)?,
            required_group: str::from_utf8(meta.get(REQUIRED_GROUP_AT + 2..)?.get(..len)?).ok()?,
        })
    }

    /// Whether the file can hold this uid or gid at all.
    pub fn in_ranges(&self, id: u32) -> bool {
        self.ranges.iter().any(|range| range.contains(id))
    }

    /// Whether a uid that the file does not hold is ours all the same.
    pub fn claims_uid(&self, uid: u32) -> bool {
        self.whole_range_ours && self.ranges.first().is_some_and(|range| range.contains(uid))
    }

    /// Whether this gid is one of /etc/group's that a record may name. Never 0.
    pub fn allows_local_gid(&self, gid: u32) -> bool {
        gid != 0 && (self.local_gids.contains(&gid) || gid == self.keymaker_users_gid)
    }
}

/// The text of a zero-padded field.
fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    str::from_utf8(field.get(..end)?).ok()
}
