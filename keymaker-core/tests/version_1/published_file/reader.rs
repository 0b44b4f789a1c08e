//! Opens a published file and finds records in it, inside any process: no mapping, no lock, no allocation, nothing kept.
//!
//! A lookup is open, fstat, at most three preads (preamble, window, record), close. Whatever the bytes say, the reader stays inside
//! the file and its own buffers; a file that is not whole is an error, never a wrong answer.
// Frozen: what programs that began before the upgrade have in memory. Never changed with the source that it was copied from.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::format::{INDEXES, Key, META, META_LEN, PREAMBLE, SLOT, WINDOW, field, u32_at, u64_at};
use crate::crc32c::crc32c;

/// Why a published file cannot be read. None of these means that somebody is not in it.
#[derive(Debug)]
pub enum ReadError {
    /// the file is not there: keymakerd has not published yet
    Missing,
    /// the file could not be opened or read
    Io(io::Error),
    /// the file is not one that keymakerd made: wrong owner, writable by others, or not a regular file
    Untrusted,
    /// the file is not whole, or of a version that this program does not know
    Damaged,
    /// the record does not fit the caller's buffer
    BufferTooSmall,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => {
                f.write_str("the file is not there: keymakerd has not published yet (systemctl status keymakerd)")
            }
            Self::Io(error) => write!(f, "the file could not be read: {error}"),
            Self::Untrusted => f.write_str(
                "the file or its folder has the wrong owner or mode (systemd-tmpfiles --create keymaker.conf)",
            ),
            Self::Damaged => f.write_str("the file is damaged; keymakerd writes it anew when restarted"),
            Self::BufferTooSmall => f.write_str("the record is larger than the buffer for it"),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            // A symbolic link where the file should be (O_NOFOLLOW).
            _ if error.raw_os_error() == Some(libc::ELOOP) => Self::Untrusted,
            // The file ended earlier than its own size: it was cut.
            io::ErrorKind::UnexpectedEof => Self::Damaged,
            _ => Self::Io(error),
        }
    }
}

/// An open published file whose preamble has been checked.
#[derive(Debug)]
pub struct PublishedFile {
    file: File,
    preamble: [u8; PREAMBLE],
    len: u64,
}

/// Where a record lies, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    hash: u32,
    offset: u32,
    /// The bytes of the record.
    pub len: u32,
    crc: u32,
}

impl PublishedFile {
    /// Opens `path` if it is trustworthy and begins as a file of kind `magic` does.
    pub fn open(path: &Path, magic: [u8; 8]) -> Result<Self, ReadError> {
        let (file, metadata) = open_trusted(path)?;
        let mut preamble = [0; PREAMBLE];
        file.read_exact_at(&mut preamble, 0)?;
        let whole = preamble.starts_with(&magic)
            && u64_at(&preamble, field::FILE_LEN) == Some(metadata.size())
            && u32_at(&preamble, field::CRC) == Some(preamble_crc(&preamble));
        if !whole {
            return Err(ReadError::Damaged);
        }
        Ok(Self {
            file,
            preamble,
            len: metadata.size(),
        })
    }

    /// What the kind of file says about itself: [`META_LEN`] bytes.
    pub fn meta(&self) -> &[u8] {
        self.preamble.get(META..META + META_LEN).unwrap_or_default()
    }

    /// One more at each publication.
    pub fn generation(&self) -> u64 {
        u64_at(&self.preamble, field::GENERATION).unwrap_or_default()
    }

    /// Where the record of `key` would lie. The record must still be compared: a missing key may share a present one's hash.
    pub fn find(&self, index: usize, key: Key<'_>) -> Result<Option<Slot>, ReadError> {
        let hash = key.hash(u32_at(&self.preamble, field::SEED).unwrap_or_default());
        let (offset, slots) = self.index(index)?;
        if slots == 0 {
            return Ok(None);
        }
        let mut window = [0; SLOT * WINDOW];
        self.file
            .read_exact_at(&mut window, offset + u64::from(hash & (slots - 1)) * SLOT as u64)?;
        for slot in window.as_chunks::<SLOT>().0 {
            let slot = Slot::parse(slot).ok_or(ReadError::Damaged)?;
            if slot.len == 0 {
                return Ok(None);
            }
            if slot.hash == hash {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// The first used slot at or after `from`, and its number: for enumeration.
    pub fn next_slot(&self, index: usize, from: u32) -> Result<Option<(u32, Slot)>, ReadError> {
        let (offset, slots) = self.index(index)?;
        let end = if slots == 0 { 0 } else { slots + WINDOW as u32 - 1 };
        let mut number = from;
        while number < end {
            let mut window = [0; SLOT * WINDOW];
            let count = (end - number).min(WINDOW as u32);
            let bytes = window.get_mut(..count as usize * SLOT).ok_or(ReadError::Damaged)?;
            self.file
                .read_exact_at(bytes, offset + u64::from(number) * SLOT as u64)?;
            for slot in bytes.as_chunks::<SLOT>().0 {
                let slot = Slot::parse(slot).ok_or(ReadError::Damaged)?;
                if slot.len != 0 {
                    return Ok(Some((number, slot)));
                }
                number += 1;
            }
        }
        Ok(None)
    }

    /// Reads the record of `slot` to the front of `buffer`, and returns it.
    pub fn record<'b>(&self, slot: Slot, buffer: &'b mut [u8]) -> Result<&'b mut [u8], ReadError> {
        let end = u64::from(slot.offset) + u64::from(slot.len);
        if end > self.len || (slot.offset as usize) < PREAMBLE {
            return Err(ReadError::Damaged);
        }
        let record = buffer.get_mut(..slot.len as usize).ok_or(ReadError::BufferTooSmall)?;
        self.file.read_exact_at(record, u64::from(slot.offset))?;
        if crc32c(record) != slot.crc {
            return Err(ReadError::Damaged);
        }
        Ok(record)
    }

    fn index(&self, index: usize) -> Result<(u64, u32), ReadError> {
        debug_assert!(index < INDEXES);
        let at = field::INDEXES + index * 8;
        let offset = u32_at(&self.preamble, at).ok_or(ReadError::Damaged)?;
        let slots = u32_at(&self.preamble, at + 4).ok_or(ReadError::Damaged)?;
        if slots == 0 {
            return Ok((0, 0));
        }
        let end = u64::from(offset) + (u64::from(slots) + WINDOW as u64 - 1) * SLOT as u64;
        if !slots.is_power_of_two() || end > self.len {
            return Err(ReadError::Damaged);
        }
        Ok((u64::from(offset), slots))
    }
}

impl Slot {
    fn parse(bytes: &[u8; SLOT]) -> Option<Self> {
        Some(Self {
            hash: u32_at(bytes, 0)?,
            offset: u32_at(bytes, 4)?,
            len: u32_at(bytes, 8)?,
            crc: u32_at(bytes, 12)?,
        })
    }
}

/// The checksum that the preamble must carry: over all of it, the checksum's own bytes taken as zero.
pub(super) fn preamble_crc(preamble: &[u8; PREAMBLE]) -> u32 {
    let mut bytes = *preamble;
    if let Some(crc) = bytes.get_mut(field::CRC..field::CRC + 4) {
        crc.fill(0);
    }
    crc32c(&bytes)
}

/// Opens a file of keymakerd's: a regular file, not writable by group or others, whose owner also owns its folder.
///
/// Comparing the two owners instead of naming one serves the daemon's user, root, and 65534, which stands for both in rootless
/// containers. Only root can make the folder (/var/lib is root's). O_NONBLOCK and O_NOCTTY: what lies there might be a FIFO or
/// a terminal, and open must not wait for either.
pub fn open_trusted(path: &Path) -> Result<(File, Metadata), ReadError> {
    let folder = std::fs::symlink_metadata(path.parent().ok_or(ReadError::Untrusted)?)?;
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let writable_by_others = |mode: u32| mode & 0o022 != 0;
    if !metadata.is_file()
        || !folder.is_dir()
        || metadata.uid() != folder.uid()
        || writable_by_others(metadata.mode())
        || writable_by_others(folder.mode())
    {
        return Err(ReadError::Untrusted);
    }
    Ok((file, metadata))
}
