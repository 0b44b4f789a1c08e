//! User and group ids, and which of them Keymaker may hand out.

use std::fmt;

/// A user id that Keymaker may publish: never below 1000, never reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(u32);

/// A group id of our own that Keymaker may publish: never below 1000, never reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gid(u32);

impl Uid {
    /// `None` where the id is reserved.
    pub fn new(id: u32) -> Option<Self> {
        (!is_reserved(id)).then_some(Self(id))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Gid {
    /// `None` where the id is reserved.
    pub fn new(id: u32) -> Option<Self> {
        (!is_reserved(id)).then_some(Self(id))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// The primary group of a user of ours is private and has the user's number.
impl From<Uid> for Gid {
    fn from(uid: Uid) -> Self {
        Self(uid.0)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An inclusive range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first id in the range.
    pub first: u32,
    /// The last id in the range; below `first` where the range is empty.
    pub last: u32,
}

impl IdRange {
    /// What `id_scheme = "wide"` draws from: the gap that systemd's UIDS-GIDS.md leaves free.
    pub const WIDE: Self = Self {
        first: 1_879_048_192,
        last: 2_147_352_575,
    };
    /// What the Python keymaker drew from: 2000 + a 15-bit number.
    pub const PYTHON: Self = Self {
        first: 2000,
        last: 34_767,
    };
    /// Holds nothing.
    pub const EMPTY: Self = Self { first: 1, last: 0 };

    /// Whether the id lies in the range.
    pub fn contains(self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }

    /// How many ids the range holds.
    pub fn len(self) -> u64 {
        (u64::from(self.last) + 1).saturating_sub(u64::from(self.first))
    }

    /// Whether the two ranges have an id in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.first.max(other.first) <= self.last.min(other.last)
    }

    /// Whether any id of the range is reserved.
    pub fn holds_reserved(self) -> bool {
        reserved_in(self).is_some()
    }

    /// Whether the range holds nothing.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Whether an id belongs to somebody else on every host.
pub fn is_reserved(id: u32) -> bool {
    RESERVED.iter().any(|reserved| reserved.range.contains(id))
}

/// The first reserved ids that a range has.
pub fn reserved_in(range: IdRange) -> Option<ReservedIds> {
    RESERVED.into_iter().find(|reserved| reserved.range.overlaps(range))
}

/// Ids that belong to somebody else on every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedIds {
    range: IdRange,
    whose: &'static str,
}

impl fmt::Display for ReservedIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { range, whose } = self;
        write!(
            f,
            "it contains ids of {} to {}, which belong to {whose}",
            range.first, range.last
        )
    }
}

/// systemd, "Users, Groups, UIDs and GIDs" (UIDS-GIDS).
const RESERVED: [ReservedIds; 6] = [
    reserved(0, 999, "system accounts"),
    reserved(61_184, 65_519, "systemd's dynamic users (DynamicUser=)"),
    reserved(65_534, 65_535, "nobody, and to what means no user in 16 bits"),
    reserved(
        524_288,
        1_879_048_191,
        "containers and subordinate ids (systemd-nspawn, subuid)",
    ),
    reserved(2_147_352_576, 2_147_418_111, "files of foreign images (systemd)"),
    reserved(
        2_147_483_647,
        u32::MAX,
        "nobody: they do not fit a signed 32-bit number",
    ),
];

const fn reserved(first: u32, last: u32, whose: &'static str) -> ReservedIds {
    ReservedIds {
        range: IdRange { first, last },
        whose,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // P1
    #[test]
    fn no_reserved_id_becomes_a_uid() {
        for id in [
            0,
            999,
            61_184,
            65_519,
            65_534,
            65_535,
            524_288,
            1_879_048_191,
            2_147_352_576,
            2_147_483_647,
            u32::MAX,
        ] {
            assert_eq!(Uid::new(id), None, "{id}");
            assert_eq!(Gid::new(id), None, "{id}");
        }
        for id in [
            1000,
            61_183,
            65_520,
            524_287,
            1_879_048_192,
            2_147_352_575,
            2_147_418_112,
            2_147_483_646,
        ] {
            assert_eq!(Uid::new(id).map(Uid::get), Some(id));
        }
    }

    #[test]
    fn both_schemes_draw_from_free_ids_only() {
        for range in [IdRange::WIDE, IdRange::PYTHON] {
            assert!(!range.holds_reserved());
        }
        assert_eq!(IdRange::WIDE.len(), 268_304_384);
        assert_eq!(IdRange::PYTHON.len(), 32_768);
        assert!(IdRange::EMPTY.is_empty() && !IdRange::EMPTY.overlaps(IdRange::WIDE));
        assert!(!IdRange::WIDE.is_empty());
    }

    // P1
    #[test]
    fn a_range_that_touches_a_reserved_id_at_either_end_holds_one() {
        let range = |first, last| IdRange { first, last };
        assert!(range(999, 2000).holds_reserved() && range(60_000, 61_184).holds_reserved());
        assert!(range(65_519, 65_533).holds_reserved() && range(70_000, u32::MAX).holds_reserved());
        assert!(!range(1000, 61_183).holds_reserved() && !range(65_520, 65_533).holds_reserved());
    }
}
