//! Opens a published file and finds records in it, inside any process: no mapping, no lock, no allocation, nothing
//! kept.
//!
//! A lookup is open, fstat, three preads (header, window, record), close; one more record for each key that shares the
//! hash. Whatever the bytes say, the reader stays inside the file and its own buffers; a file that is not whole is an
//! error, never a wrong answer.
//!
//! It reads what a keymakerd of version 1 left or still writes, too: while packages are upgraded, either may be the
//! older one.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::format::{
    HEADER, HashKey, INDEXES, Key, META, META_LEN, PREAMBLE, SLOT, VERSION, WINDOW, crc_without, field, u32_at, u64_at,
};
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
            Self::Damaged => f.write_str("the file is damaged; keymakerd writes a new one when it is restarted"),
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

/// An open published file whose header has been checked.
#[derive(Debug)]
pub struct PublishedFile {
    bytes: Bytes,
    header: [u8; HEADER],
    /// `None`: a file of version 1.
    key: Option<HashKey>,
    state: FileState,
}

/// Where the bytes of a file are read.
#[derive(Debug)]
enum Bytes {
    OnDisk(File),
    InMemory(Vec<u8>),
}

impl Bytes {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::OnDisk(file) => file.read_exact_at(buffer, offset),
            Self::InMemory(bytes) => {
                let begin = usize::try_from(offset).ok();
                let bytes = begin.and_then(|begin| bytes.get(begin..)?.get(..buffer.len()));
                buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// What tells the file that is at a path from each other one that was ever there, and from the same file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    /// The device that its file system is on.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// The size in bytes.
    pub len: u64,
    /// Type and permissions.
    pub mode: u32,
    /// The owner.
    pub owner: u32,
    /// Seconds and nanoseconds since 1970; of a published file's, the nanoseconds are its generation.
    pub modified: [i64; 2],
    /// When anything about the file last changed, likewise.
    pub changed: [i64; 2],
}

impl FileState {
    /// No file's.
    pub const NONE: Self = Self {
        device: 0,
        inode: 0,
        len: 0,
        mode: 0,
        owner: 0,
        modified: [0; 2],
        changed: [0; 2],
    };

    /// Of what is at `path` now.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&std::fs::symlink_metadata(path)?))
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.size(),
            mode: metadata.mode(),
            owner: metadata.uid(),
            modified: [metadata.mtime(), metadata.mtime_nsec()],
            changed: [metadata.ctime(), metadata.ctime_nsec()],
        }
    }
}

/// Where a record lies, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// In a list, the number.
    hash: u32,
    offset: u32,
    /// The bytes of the record.
    pub len: u32,
    crc: u32,
}

/// The slots whose key has the hash that was asked for: seldom none, seldom more than one.
#[derive(Debug)]
pub struct Candidates {
    window: [u8; SLOT * WINDOW],
    hash: u32,
    at: usize,
}

impl PublishedFile {
    /// Opens `path` if it is trustworthy and begins as a file of kind `magic` does.
    pub fn open(path: &Path, magic: [u8; 8]) -> Result<Self, ReadError> {
        let (file, metadata) = open_trusted(path)?;
        let mut header = [0; HEADER];
        read_start(&file, &mut header)?;
        let (preamble, rest) = header.split_at(PREAMBLE);
        let whole = preamble.starts_with(&magic)
            && u64_at(preamble, field::FILE_LEN) == Some(metadata.size())
            && u32_at(preamble, field::CRC) == Some(crc_without(preamble, field::CRC));
        let is_old = preamble.get(field::VERSION) == Some(&0);
        let rest_is_whole = preamble.get(field::VERSION) >= Some(&VERSION)
            && metadata.size() >= HEADER as u64
            && u32_at(&header, field::HEADER_CRC) == Some(crc_without(rest, field::HEADER_CRC - PREAMBLE));
        if !whole || !(is_old || rest_is_whole) {
            return Err(ReadError::Damaged);
        }
        let key = if is_old { None } else { HashKey::of(&header) };
        Ok(Self {
            bytes: Bytes::OnDisk(file),
            header,
            key,
            state: FileState::of(&metadata),
        })
    }

    /// The same, read at once: for who looks at every record, and would ask the kernel for each a dozen times.
    pub fn open_whole(path: &Path, magic: [u8; 8]) -> Result<Self, ReadError> {
        let mut file = Self::open(path, magic)?;
        let mut bytes = vec![0; usize::try_from(file.state.len).map_err(|_| ReadError::Damaged)?];
        file.bytes.read_exact_at(&mut bytes, 0)?;
        file.bytes = Bytes::InMemory(bytes);
        Ok(file)
    }

    /// Of the file as it was opened.
    pub fn state(&self) -> FileState {
        self.state
    }

    /// What the kind of file says about itself: [`META_LEN`] bytes.
    pub fn meta(&self) -> &[u8] {
        self.header.get(META..META + META_LEN).unwrap_or_default()
    }

    /// One more at each publication.
    pub fn generation(&self) -> u64 {
        u64_at(&self.header, field::GENERATION).unwrap_or_default()
    }

    /// Where the record of `key` may lie. Each must still be compared: another key may share its hash.
    pub fn candidates(&self, index: usize, key: Key<'_>) -> Result<Candidates, ReadError> {
        let hash = match self.key {
            Some(hash_key) => key.hash(hash_key),
            None => key.old_hash(u32_at(&self.header, field::OLD_SEED).unwrap_or_default()),
        };
        let (offset, slots) = self.index(index)?;
        let mut window = [0; SLOT * WINDOW];
        if slots != 0 {
            let home = u64::from(hash & (slots - 1));
            self.bytes.read_exact_at(&mut window, offset + home * SLOT as u64)?;
        }
        Ok(Candidates { window, hash, at: 0 })
    }

    /// Reads the first record of `key` that `is` accepts to the front of `buffer`, and returns it.
    pub fn find<'b>(
        &self,
        index: usize,
        key: Key<'_>,
        buffer: &'b mut [u8],
        is: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<&'b mut [u8]>, ReadError> {
        let mut found = None;
        for slot in self.candidates(index, key)? {
            if is(self.record(slot, buffer)?) {
                found = buffer.get_mut(..slot.len as usize);
                break;
            }
        }
        Ok(found)
    }

    /// The first record at or after position `from` of an index of numbers, and its position: for enumeration. A
    /// position is a number, so that publications in between change nothing; in a file of version 1 it is a place in
    /// the index.
    pub fn next_slot(&self, index: usize, from: u32) -> Result<Option<(u32, Slot)>, ReadError> {
        if self.key.is_none() {
            return self.next_old_slot(index, from);
        }
        let (offset, len) = self.list(index)?;
        let slot = |at: u32| self.slot_at(offset + u64::from(at) * SLOT as u64);
        let (mut before, mut end) = (0, len);
        while before < end {
            let middle = before + (end - before) / 2;
            if slot(middle)?.hash < from {
                before = middle + 1;
            } else {
                end = middle;
            }
        }
        if before == len {
            return Ok(None);
        }
        let slot = slot(before)?;
        // A list that does not ascend would have an enumeration go round forever.
        if slot.hash < from || slot.len == 0 {
            return Err(ReadError::Damaged);
        }
        Ok(Some((slot.hash, slot)))
    }

    fn next_old_slot(&self, index: usize, from: u32) -> Result<Option<(u32, Slot)>, ReadError> {
        let (offset, slots) = self.index(index)?;
        let end = if slots == 0 { 0 } else { slots + WINDOW as u32 - 1 };
        for number in from..end {
            let slot = self.slot_at(offset + u64::from(number) * SLOT as u64)?;
            if slot.len != 0 {
                return Ok(Some((number, slot)));
            }
        }
        Ok(None)
    }

    fn slot_at(&self, offset: u64) -> Result<Slot, ReadError> {
        let mut slot = [0; SLOT];
        self.bytes.read_exact_at(&mut slot, offset)?;
        Slot::parse(&slot).ok_or(ReadError::Damaged)
    }

    /// Reads the record of `slot` to the front of `buffer`, and returns it.
    pub fn record<'b>(&self, slot: Slot, buffer: &'b mut [u8]) -> Result<&'b mut [u8], ReadError> {
        let end = u64::from(slot.offset) + u64::from(slot.len);
        if end > self.state.len || (slot.offset as usize) < PREAMBLE {
            return Err(ReadError::Damaged);
        }
        let record = buffer.get_mut(..slot.len as usize).ok_or(ReadError::BufferTooSmall)?;
        self.bytes.read_exact_at(record, u64::from(slot.offset))?;
        if crc32c(record) != slot.crc {
            return Err(ReadError::Damaged);
        }
        Ok(record)
    }

    fn index(&self, index: usize) -> Result<(u64, u32), ReadError> {
        let field = match self.key {
            Some(_) => field::INDEXES,
            None => field::OLD_INDEXES,
        };
        let (offset, slots) = self.place(field, index)?;
        let end = offset + (u64::from(slots) + WINDOW as u64 - 1) * SLOT as u64;
        if slots != 0 && (!slots.is_power_of_two() || end > self.state.len) {
            return Err(ReadError::Damaged);
        }
        Ok((offset, slots))
    }

    fn list(&self, index: usize) -> Result<(u64, u32), ReadError> {
        let (offset, len) = self.place(field::LISTS, index)?;
        if offset + u64::from(len) * SLOT as u64 > self.state.len {
            return Err(ReadError::Damaged);
        }
        Ok((offset, len))
    }

    /// The two numbers at the place `index` of the array at `field`.
    fn place(&self, field: usize, index: usize) -> Result<(u64, u32), ReadError> {
        debug_assert!(index < INDEXES);
        let number = |at: usize| u32_at(&self.header, at).ok_or(ReadError::Damaged);
        Ok((u64::from(number(field + index * 8)?), number(field + index * 8 + 4)?))
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

impl Iterator for Candidates {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        loop {
            let slot = Slot::parse(self.window.as_chunks().0.get(self.at)?)?;
            self.at += 1;
            match slot {
                Slot { len: 0, .. } => return None,
                slot if slot.hash == self.hash => return Some(slot),
                _ => {}
            }
        }
    }
}

impl HashKey {
    /// The key that a header says.
    pub(super) fn of(header: &[u8]) -> Option<Self> {
        Some(Self(*header.get(field::KEY..)?.first_chunk()?))
    }
}

/// The start of a file. One of version 1 may end before a header of version 2 would.
fn read_start(file: &File, header: &mut [u8; HEADER]) -> Result<(), ReadError> {
    let mut len = 0;
    while let Some(rest) = header.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, len as u64) {
            Ok(0) if len < PREAMBLE => return Err(ReadError::Damaged),
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Opens a file of keymakerd's: a regular file, not writable by group or others, whose owner also owns its folder.
///
/// Comparing the two owners instead of naming one serves the daemon's user, root, and 65534, which stands for both in
/// rootless containers. Only root can make the folder (/var/lib is root's). `O_NONBLOCK` and `O_NOCTTY`: what lies
/// there might be a FIFO or a terminal, and open must not wait for either.
pub fn open_trusted(path: &Path) -> Result<(File, Metadata), ReadError> {
    let folder = std::fs::symlink_metadata(path.parent().ok_or(ReadError::Untrusted)?)?;
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let traits = |of: &Metadata| (of.uid(), of.mode());
    if is_trusted(traits(&metadata), traits(&folder)) {
        Ok((file, metadata))
    } else {
        Err(ReadError::Untrusted)
    }
}

/// Owner and mode of the file, then of its folder.
fn is_trusted((owner, mode): (u32, u32), (folder_owner, folder_mode): (u32, u32)) -> bool {
    let is = |mode: u32, kind: u32| mode & libc::S_IFMT == kind;
    let writable_by_others = |mode: u32| mode & 0o022 != 0;
    is(mode, libc::S_IFREG)
        && is(folder_mode, libc::S_IFDIR)
        && owner == folder_owner
        && !writable_by_others(mode)
        && !writable_by_others(folder_mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    // P2
    #[test]
    fn a_link_is_not_followed_and_a_folder_is_no_file() {
        let folder = TestFolder::new();
        let path = folder.file("directory", b"");
        assert!(open_trusted(&path).is_ok());
        let link = path.with_file_name("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(open_trusted(&link), Err(ReadError::Untrusted)));
        assert!(matches!(
            open_trusted(path.parent().unwrap()),
            Err(ReadError::Untrusted)
        ));
        assert!(matches!(
            open_trusted(&path.with_file_name("gone")),
            Err(ReadError::Missing)
        ));
    }

    #[test]
    fn a_file_that_could_not_be_read_is_neither_missing_nor_damaged_nor_another_owners() {
        let kinds = |error: io::Error| {
            let read: ReadError = error.into();
            match read {
                ReadError::Io(_) => "not read",
                ReadError::Missing => "missing",
                ReadError::Untrusted => "untrusted",
                ReadError::Damaged | ReadError::BufferTooSmall => "damaged",
            }
        };
        let said = [libc::EACCES, libc::EIO, libc::ELOOP, libc::ENOENT].map(io::Error::from_raw_os_error);
        assert_eq!(said.map(kinds), ["not read", "not read", "untrusted", "missing"]);
        // Cut between two reads.
        assert_eq!(kinds(io::ErrorKind::UnexpectedEof.into()), "damaged");
    }

    // P2
    #[test]
    fn only_a_file_of_its_folders_owner_that_nobody_else_may_write_is_trusted() {
        let (file, folder) = ((996, libc::S_IFREG | 0o644), (996, libc::S_IFDIR | 0o755));
        assert!(is_trusted(file, folder));
        assert!(is_trusted((0, libc::S_IFREG | 0o400), (0, libc::S_IFDIR | 0o700)));
        for (uid, mode) in [
            (0, file.1),
            (1000, file.1),
            (996, libc::S_IFIFO | 0o644),
            (996, libc::S_IFDIR | 0o644),
            (996, libc::S_IFREG | 0o664),
            (996, libc::S_IFREG | 0o646),
        ] {
            assert!(!is_trusted((uid, mode), folder), "{uid} {mode:o}");
        }
        for (uid, mode) in [
            (0, folder.1),
            (996, libc::S_IFREG | 0o755),
            (996, libc::S_IFDIR | 0o775),
            (996, libc::S_IFDIR | 0o1777),
        ] {
            assert!(!is_trusted(file, (uid, mode)), "{uid} {mode:o}");
        }
    }
}
