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
//! 398  id_resolver         32  SHA-256 of "ACCOUNT:ROLE", the role by which keymakerd reads another account's users; zero: none, or not said
//! 430  max_stale_running    4  seconds; 0: what runs goes on no longer than max_stale, or an earlier keymakerd says nothing
//! ```

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use crate::id::IdRange;
use crate::published_file::format::put;
use crate::published_file::format::{META_LEN, u32_at, u64_at};

/// How many id ranges a header holds.
pub const RANGES: usize = 4;
/// How many local gids a header holds.
pub const LOCAL_GIDS: usize = 32;
const FLAG_ENUMERATE_ALL: u32 = 1;
const FLAG_WHOLE_RANGE_OURS: u32 = 2;
const FLAG_SETTINGS_UNREAD: u32 = 4;
const FLAG_END_SESSIONS: u32 = 8;
const FLAG_INSTANCE_CONNECT: u32 = 16;
const FLAG_WITHOUT_IAM_KEYS: u32 = 32;
const REQUIRED_GROUP_AT: usize = 268;
const ID_RESOLVER_AT: usize = 398;
const MAX_STALE_RUNNING_AT: usize = 430;
const MAX_REQUIRED_GROUP: usize = 128;

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
    /// Whether a key that was pushed by EC2 Instance Connect opens a login.
    pub instance_connect: bool,
    /// Whether no key in IAM opens a login.
    pub without_iam_keys: bool,
    /// How old a fact may be before logins stop, in seconds.
    pub max_stale: u32,
    /// How old it may be, while AWS is silent, before what users began here stops, in seconds.
    pub max_stale_running: u32,
    /// How old a fact may be before a login asks again, in seconds.
    pub authz_ttl: u32,
    /// /etc/passwd as keymakerd read it.
    pub passwd: FileStamp,
    /// /etc/group as keymakerd read it.
    pub group: FileStamp,
    /// The IAM group that a user must be in to log in; empty: none.
    pub required_group: &'a str,
    /// SHA-256 of `ACCOUNT:ROLE`, the role by which keymakerd reads another account's users; zero: none, or an earlier
    /// keymakerd says nothing.
    pub id_resolver: [u8; 32],
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
    /// The stamp of a file with this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        let mtime = metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec());
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            mtime: u64::try_from(mtime).unwrap_or_default(),
        }
    }

    fn parse(meta: &[u8], at: usize) -> Option<Self> {
        Some(Self {
            inode: u64_at(meta, at)?,
            size: u64_at(meta, at + 8)?,
            mtime: u64_at(meta, at + 16)?,
        })
    }
}

/// The local files as keymakerd read them when it made a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalStamps {
    /// /etc/passwd
    pub passwd: FileStamp,
    /// /etc/group
    pub group: FileStamp,
}

impl LocalStamps {
    /// No files'.
    pub const NONE: Self = Self {
        passwd: Header::NOTHING.passwd,
        group: Header::NOTHING.group,
    };

    /// Those that this header says.
    pub fn of(header: &Header<'_>) -> Self {
        Self {
            passwd: header.passwd,
            group: header.group,
        }
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
        instance_connect: false,
        without_iam_keys: false,
        max_stale: 0,
        max_stale_running: 0,
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
        id_resolver: [0; 32],
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
            instance_connect: flags & FLAG_INSTANCE_CONNECT != 0,
            without_iam_keys: flags & FLAG_WITHOUT_IAM_KEYS != 0,
            max_stale: u32_at(meta, 212)?,
            max_stale_running: u32_at(meta, MAX_STALE_RUNNING_AT)?,
            authz_ttl: u32_at(meta, 216)?,
            passwd: FileStamp::parse(meta, 220)?,
            group: FileStamp::parse(meta, 244)?,
            required_group: str::from_utf8(meta.get(REQUIRED_GROUP_AT + 2..)?.get(..len)?).ok()?,
            id_resolver: *meta.get(ID_RESOLVER_AT..)?.first_chunk()?,
        })
    }

    /// The meta section. Texts are cut to their fields: IAM's group names have at most 128 characters, ids fewer than
    /// 32.
    pub fn encode(&self) -> [u8; META_LEN] {
        let mut meta = [0; META_LEN];
        let cut = |text: &'a str, len: usize| text.as_bytes().get(..len).unwrap_or(text.as_bytes());
        put(&mut meta, 0, cut(self.account, 12));
        put(&mut meta, 12, cut(self.instance_id, 32));
        for (number, range) in self.ranges.iter().enumerate() {
            put(&mut meta, 44 + number * 8, &range.first.to_le_bytes());
            put(&mut meta, 48 + number * 8, &range.last.to_le_bytes());
        }
        for (number, gid) in self.local_gids.iter().enumerate() {
            put(&mut meta, 76 + number * 4, &gid.to_le_bytes());
        }
        put(&mut meta, 204, &self.keymaker_users_gid.to_le_bytes());
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let flags = flag(self.enumerate_all, FLAG_ENUMERATE_ALL)
            | flag(self.whole_range_ours, FLAG_WHOLE_RANGE_OURS)
            | flag(self.settings_unread, FLAG_SETTINGS_UNREAD)
            | flag(self.end_sessions, FLAG_END_SESSIONS)
            | flag(self.instance_connect, FLAG_INSTANCE_CONNECT)
            | flag(self.without_iam_keys, FLAG_WITHOUT_IAM_KEYS);
        put(&mut meta, 208, &flags.to_le_bytes());
        put(&mut meta, 212, &self.max_stale.to_le_bytes());
        put(&mut meta, 216, &self.authz_ttl.to_le_bytes());
        for (at, stamp) in [(220, self.passwd), (244, self.group)] {
            put(&mut meta, at, &stamp.inode.to_le_bytes());
            put(&mut meta, at + 8, &stamp.size.to_le_bytes());
            put(&mut meta, at + 16, &stamp.mtime.to_le_bytes());
        }
        let required_group = cut(self.required_group, MAX_REQUIRED_GROUP);
        put(
            &mut meta,
            REQUIRED_GROUP_AT,
            &(required_group.len() as u16).to_le_bytes(),
        );
        put(&mut meta, REQUIRED_GROUP_AT + 2, required_group);
        put(&mut meta, ID_RESOLVER_AT, &self.id_resolver);
        put(&mut meta, MAX_STALE_RUNNING_AT, &self.max_stale_running.to_le_bytes());
        meta
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
