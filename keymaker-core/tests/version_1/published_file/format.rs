//! The layout of a published file, as data. All numbers are little-endian.
//!
//! ```text
//! 0    magic        8   kind and version of the file
//! 8    file_len     8   equals the file's size, or the file is torn
//! 16   generation   8   one more at each publication
//! 24   crc          4   CRC-32C of bytes 0..512, these four taken as zero
//! 28   seed         4   of the hash
//! 32   indexes      4 × { offset u32, slots u32 }; slots is a power of two
//! 64   meta       448   what the kind of file says about itself
//! 512  indexes and records, wherever the offsets say
//! ```
//! An index is `slots + WINDOW - 1` slots of `{ hash u32, offset u32, len u32, crc u32 }`. A key lies within [`WINDOW`] slots of
//! `hash & (slots - 1)`, before any empty slot (`len` 0), and no two keys of an index have the same hash: one pread of a window
//! decides. The writer grows the index or changes the seed until that holds.
// Frozen: what programs that began before the upgrade have in memory. Never changed with the source that it was copied from.

/// The bytes before the first index.
pub const PREAMBLE: usize = 512;
/// Where the meta section of the preamble begins.
pub const META: usize = 64;
/// How many bytes a kind of file may say about itself.
pub const META_LEN: usize = PREAMBLE - META;
/// How many indexes a file may have.
pub const INDEXES: usize = 4;
/// The bytes of one slot.
pub const SLOT: usize = 16;
/// How many slots a search may look at.
pub const WINDOW: usize = 24;

/// Where each field of the preamble lies.
pub mod field {
    /// `file_len`
    pub const FILE_LEN: usize = 8;
    /// `generation`
    pub const GENERATION: usize = 16;
    /// `crc`
    pub const CRC: usize = 24;
    /// `seed`
    pub const SEED: usize = 28;
    /// `indexes`
    pub const INDEXES: usize = 32;
}

/// What a lookup goes by.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// a name
    Name(&'a str),
    /// a number
    Id(u32),
}

impl Key<'_> {
    /// FNV-1a over the key's bytes, then MurmurHash3's finaliser. Names come from IAM and the file is rebuilt whole, so a
    /// keyed hash would add nothing: whoever finds colliding names makes the writer pick another seed.
    pub fn hash(self, seed: u32) -> u32 {
        match self {
            Self::Name(name) => finalise(name.bytes().fold(0x811c_9dc5 ^ seed, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            })),
            // A bijection: ids never share a hash.
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
