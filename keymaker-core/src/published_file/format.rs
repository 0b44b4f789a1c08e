//! The layout of a published file, as data. All numbers are little-endian.
//!
//! ```text
//! 0    magic         8   kind of the file
//! 8    file_len      8   equals the file's size, or the file is torn
//! 16   generation    8   one more at each publication
//! 24   crc           4   CRC-32C of bytes 0..512, these four taken as zero
//! 28   old_seed      4   of the hash of version 1
//! 32   old_indexes   4 × { offset u32, slots u32 }, for readers of version 1
//! 64   meta        447   what the kind of file says about itself
//! 511  version       1   2; in a file of version 1 it is 0, and nothing of what follows is there but indexes and records
//! 512  header_len    4   how many bytes from 512 on are header: 256 or more
//! 516  header_crc    4   CRC-32C of bytes 512..768, these four taken as zero
//! 520  key          16   of the hash
//! 536  indexes       4 × { offset u32, slots u32 }; slots is a power of two
//! 568  lists         4 × { offset u32, len u32 }: the slots of the index of the same place, by number
//! 600  zero        168   not in use
//! 768  indexes, lists and records, wherever the offsets say
//! ```
//! An index is `slots + WINDOW - 1` slots of `{ hash u32, offset u32, len u32, crc u32 }`. A key lies within [`WINDOW`]
//! slots of `hash & (slots - 1)`, before any empty slot (`len` 0): one pread of a window decides. Keys may share a
//! hash: a record must be compared with what was asked for. In a list each slot has the number instead of the hash, and
//! they ascend.

use crate::crc32c::crc32c;

/// The bytes that a file of version 1 has before its first index; in every version they say the same.
pub const PREAMBLE: usize = 512;
/// The bytes of the header that a reader of version 2 reads.
pub const HEADER: usize = 768;
/// Where the meta section of the preamble begins.
pub const META: usize = 64;
/// How many bytes a kind of file may say about itself.
pub const META_LEN: usize = field::VERSION - META;
/// How many indexes a file may have.
pub const INDEXES: usize = 4;
/// The bytes of one slot.
pub const SLOT: usize = 16;
/// How many slots a search may look at.
pub const WINDOW: usize = 24;
/// What a writer of today puts at `version`. A reader reads any from this one on: a later one only adds to it.
pub const VERSION: u8 = 2;

/// Where each field of the header lies.
pub mod field {
    /// `file_len`
    pub const FILE_LEN: usize = 8;
    /// `generation`
    pub const GENERATION: usize = 16;
    /// `crc`
    pub const CRC: usize = 24;
    /// `old_seed`
    pub const OLD_SEED: usize = 28;
    /// `old_indexes`
    pub const OLD_INDEXES: usize = 32;
    /// `version`
    pub const VERSION: usize = 511;
    /// `header_len`
    pub const HEADER_LEN: usize = 512;
    /// `header_crc`
    pub const HEADER_CRC: usize = 516;
    /// `key`
    pub const KEY: usize = 520;
    /// `indexes`
    pub const INDEXES: usize = 536;
    /// `lists`
    pub const LISTS: usize = 568;
}

/// What a lookup goes by.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// a name
    Name(&'a str),
    /// a number
    Id(u32),
}

/// The key of the hash. Anybody who does not know it before a file is written cannot choose names or numbers that share
/// a hash or crowd a window, so each file gets one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

impl Key<'_> {
    /// The low 32 bits of SipHash-2-4 (Aumasson, Bernstein, "SipHash: a fast short-input PRF") of the name, or of the
    /// number's four bytes.
    #[expect(
        deprecated,
        reason = "std's other hashers promise no algorithm; this one says SipHash-2-4, which the tests compare with the paper's vectors"
    )]
    pub fn hash(self, key: HashKey) -> u32 {
        use std::hash::{Hasher, SipHasher};
        let half = |at: usize| u64_at(&key.0, at).unwrap_or_default();
        let mut hasher = SipHasher::new_with_keys(half(0), half(8));
        match self {
            Self::Name(name) => hasher.write(name.as_bytes()),
            Self::Id(id) => hasher.write(&id.to_le_bytes()),
        }
        hasher.finish() as u32
    }

    /// The hash of version 1: FNV-1a over the name begun with the seed, then MurmurHash3's finaliser. Names that share
    /// it under every seed can be found, so nothing but the indexes for readers of version 1 may rest on it.
    pub fn old_hash(self, seed: u32) -> u32 {
        match self {
            Self::Name(name) => finalise(name.bytes().fold(0x811c_9dc5 ^ seed, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            })),
            Self::Id(id) => finalise(id ^ seed),
        }
    }
}

fn finalise(mut hash: u32) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The four bytes at `at`, as a number; `None` past the end.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The eight bytes at `at`, as a number; `None` past the end.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The checksum that a part of the header must carry at `at`: over all of the part, the checksum's own bytes taken as
/// zero.
pub(super) fn crc_without(part: &[u8], at: usize) -> u32 {
    let mut bytes = [0; PREAMBLE];
    put(&mut bytes, 0, part);
    put(&mut bytes, at, &[0; 4]);
    crc32c(bytes.get(..part.len()).unwrap_or_default())
}

/// Writes `bytes` over the start of `into` at `at`; what does not fit is left out.
pub fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = into.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_siphash_2_4_as_its_paper_has_it() {
        // Key 00 to 0f, message 00 01 02 and so on; 0xa129ca6149be45e5 is the paper's own example (appendix A), the
        // others are the reference implementation's.
        let key = HashKey(std::array::from_fn(|at| at as u8));
        let text: String = (0..15).map(char::from).collect();
        for (len, hash) in [
            (0, 0x726f_db47_dd0e_0e31_u64),
            (1, 0x74f8_39c5_93dc_67fd),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(Key::Name(&text[..len]).hash(key), hash as u32, "{len}");
        }
        assert_eq!(
            Key::Id(0x0302_0100).hash(key),
            Key::Name(&text[..4]).hash(key),
            "a number is its four bytes"
        );
    }
}
