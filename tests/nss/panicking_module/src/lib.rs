//! `nss_keymaker/src/abi.rs`, built and linked as for the product, over lookups that all panic: shows that none gets
//! out of it.

#[path = "../../../../nss_keymaker/src/abi.rs"]
mod abi;

use std::path::Path;
use std::time::Duration;

#[allow(dead_code)]
struct NssHost<'a> {
    directory: &'a Path,
    lookup_socket: &'a Path,
    passwd: &'a Path,
    group: &'a Path,
    patience: Duration,
    memory: &'a remembered::RememberedAnswers,
}

#[allow(dead_code)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookupError {
    NotFound,
    CannotTell,
    BufferTooSmall,
    OutOfMemory,
}

mod remembered {
    pub struct RememberedAnswers;

    impl RememberedAnswers {
        pub const fn new() -> Self {
            Self
        }
    }
}

mod passwd {
    use super::{LookupError, NssHost};

    pub struct PasswdEntry {
        pub uid: u32,
        pub name: usize,
        pub password: usize,
        pub gecos: usize,
        pub home: usize,
        pub shell: usize,
    }

    pub fn by_name(_: &NssHost<'_>, _: &[u8], _: &mut [u8]) -> Result<PasswdEntry, LookupError> {
        panic!("a lookup by name")
    }

    pub fn by_uid(_: &NssHost<'_>, uid: u32, _: &mut [u8]) -> Result<PasswdEntry, LookupError> {
        panic!("a lookup by uid {uid}")
    }

    pub fn next(_: &NssHost<'_>, from: u32, _: &mut [u8]) -> Result<(u32, PasswdEntry), LookupError> {
        panic!("an enumeration at {from}")
    }
}

mod group {
    use super::{LookupError, NssHost};

    pub struct GroupEntry {
        pub gid: u32,
        pub name: usize,
        pub password: usize,
        pub members: usize,
    }

    pub fn by_name(_: &NssHost<'_>, _: &[u8], _: &mut [u8]) -> Result<GroupEntry, LookupError> {
        panic!("a group by name")
    }

    pub fn by_gid(_: &NssHost<'_>, gid: u32, _: &mut [u8]) -> Result<GroupEntry, LookupError> {
        panic!("a group by gid {gid}")
    }

    pub fn next(_: &NssHost<'_>, from: u32, _: &mut [u8]) -> Result<(u32, GroupEntry), LookupError> {
        panic!("an enumeration at {from}")
    }
}

mod initgroups {
    use super::{LookupError, NssHost};

    pub struct SupplementaryGids;

    impl SupplementaryGids {
        #[allow(dead_code)]
        pub fn of(_: impl Iterator<Item = u32>) -> Self {
            Self
        }

        pub fn gids(&self) -> &[u32] {
            &[]
        }
    }

    pub fn of_user(_: &NssHost<'_>, _: &[u8], _: u32) -> Result<SupplementaryGids, LookupError> {
        panic!("the groups of a user")
    }
}
