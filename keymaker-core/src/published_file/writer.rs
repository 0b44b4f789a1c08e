//! Builds a published file and puts it in place; called by keymakerd only.
//!
//! A published file is never changed: it is written aside, fsynced and renamed, so a reader sees the old one or the new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::format::{INDEXES, Key, META, META_LEN, PREAMBLE, SLOT, WINDOW, field};
use super::reader::preamble_crc;
use crate::crc32c::crc32c;

/// Why a file could not be built.
#[derive(Debug, PartialEq, Eq)]
pub enum BuildError {
    /// the file would exceed 4 GiB, which its offsets cannot say
    TooLarge,
    /// two records of one index have the same key, or no seed spreads the keys: a mistake in the caller
    KeysClash,
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the file would exceed 4 GiB",
            Self::KeysClash => "two records have the same key",
        })
    }
}

impl std::error::Error for BuildError {}

/// Collects records and their keys, then lays the file out.
pub struct FileBuilder {
    magic: [u8; 8],
    meta: [u8; META_LEN],
    records: Vec<u8>,
    indexes: [Vec<Indexed>; INDEXES],
}

struct Indexed {
    key: OwnedKey,
    offset: usize,
    len: usize,
    crc: u32,
}

enum OwnedKey {
    Name(String),
    Id(u32),
}

impl FileBuilder {
    /// An empty file of the kind `magic`, which says `meta` about itself.
    pub fn new(magic: [u8; 8], meta: [u8; META_LEN]) -> Self {
        Self {
            magic,
            meta,
            records: Vec::new(),
            indexes: Default::default(),
        }
    }

    /// Adds a record that is found by each of `keys`: (index, key).
    pub fn add(&mut self, record: &[u8], keys: &[(usize, Key<'_>)]) {
        let offset = self.records.len();
        self.records.extend_from_slice(record);
        for (index, key) in keys {
            let key = match key {
                Key::Name(name) => OwnedKey::Name((*name).to_owned()),
                Key::Id(id) => OwnedKey::Id(*id),
            };
            if let Some(index) = self.indexes.get_mut(*index) {
                index.push(Indexed {
                    key,
                    offset,
                    len: record.len(),
                    crc: crc32c(record),
                });
            }
        }
    }

    /// The bytes of the file.
    pub fn build(&self, generation: u64) -> Result<Vec<u8>, BuildError> {
        // A seed fails only where two of n names share a 32-bit hash (0.3 of 1 at 50,000), or a window overflows at every size.
        (0..64)
            .find_map(|seed| self.lay_out(generation, seed).transpose())
            .unwrap_or(Err(BuildError::KeysClash))
    }

    fn lay_out(&self, generation: u64, seed: u32) -> Result<Option<Vec<u8>>, BuildError> {
        let mut tables = Vec::new();
        let mut at = PREAMBLE;
        for index in &self.indexes {
            let Some(placed) = place(index, seed) else {
                return Ok(None);
            };
            at += placed.len() * SLOT;
            tables.push(placed);
        }
        let records_at = at;
        let file_len = records_at + self.records.len();
        u32::try_from(file_len).map_err(|_| BuildError::TooLarge)?;

        let mut body = Vec::with_capacity(file_len);
        let mut descriptors = Vec::new();
        for (table, index) in tables.iter().zip(&self.indexes) {
            let slots = if table.is_empty() { 0 } else { table.len() + 1 - WINDOW };
            descriptors.extend(((PREAMBLE + body.len()) as u32).to_le_bytes());
            descriptors.extend((slots as u32).to_le_bytes());
            for slot in table {
                match slot.and_then(|entry| index.get(entry)) {
                    Some(entry) => {
                        body.extend(entry.hash(seed).to_le_bytes());
                        body.extend(((records_at + entry.offset) as u32).to_le_bytes());
                        body.extend((entry.len as u32).to_le_bytes());
                        body.extend(entry.crc.to_le_bytes());
                    }
                    None => body.extend([0; SLOT]),
                }
            }
        }
        body.extend_from_slice(&self.records);

        let mut preamble = [0; PREAMBLE];
        put(&mut preamble, 0, &self.magic);
        put(&mut preamble, field::FILE_LEN, &(file_len as u64).to_le_bytes());
        put(&mut preamble, field::GENERATION, &generation.to_le_bytes());
        put(&mut preamble, field::SEED, &seed.to_le_bytes());
        put(&mut preamble, field::INDEXES, &descriptors);
        put(&mut preamble, META, &self.meta);
        let crc = preamble_crc(&preamble);
        put(&mut preamble, field::CRC, &crc.to_le_bytes());

        let mut file = preamble.to_vec();
        file.extend(body);
        Ok(Some(file))
    }
}

impl Indexed {
    fn hash(&self, seed: u32) -> u32 {
        match &self.key {
            OwnedKey::Name(name) => Key::Name(name).hash(seed),
            OwnedKey::Id(id) => Key::Id(*id).hash(seed),
        }
    }
}

/// Which entry lies in which slot; `None` where two keys share a hash or no table of a sensible size holds them.
fn place(entries: &[Indexed], seed: u32) -> Option<Vec<Option<usize>>> {
    if entries.is_empty() {
        return Some(Vec::new());
    }
    let mut hashes: Vec<u32> = entries.iter().map(|entry| entry.hash(seed)).collect();
    hashes.sort_unstable();
    if hashes.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        return None;
    }
    let smallest = (entries.len() * 2).next_power_of_two();
    [smallest, smallest * 2, smallest * 4, smallest * 8]
        .into_iter()
        .find_map(|slots| {
            let mut table = vec![None; slots + WINDOW - 1];
            for (number, entry) in entries.iter().enumerate() {
                let home = entry.hash(seed) as usize & (slots - 1);
                *table.iter_mut().skip(home).take(WINDOW).find(|slot| slot.is_none())? = Some(number);
            }
            Some(table)
        })
}

/// Writes `bytes` over the start of `into` at `at`; what does not fit is left out.
pub fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = into.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

/// Puts `bytes` in place of `path`: written aside with `mode`, fsynced, renamed, the folder fsynced. On an error the old file stays.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(".new");
    let aside = folder.join(aside);
    // What an earlier, killed writer left.
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_aside(&aside, bytes, mode).and_then(|()| std::fs::rename(&aside, path));
    if let Err(error) = written {
        // The first error is the one to report; what is left here the next writer removes.
        let _ = std::fs::remove_file(&aside);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write_aside(aside: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW)
        .open(aside)?;
    // The mode above is subject to the umask.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::reader::{PublishedFile, ReadError};
    use super::*;
    use crate::published_file::tests_support::Folder;

    const MAGIC: [u8; 8] = *b"TEST\0\0\0\x01";

    fn build(count: u32) -> Vec<u8> {
        let mut builder = FileBuilder::new(MAGIC, [7; META_LEN]);
        for id in 0..count {
            let name = format!("user{id}");
            builder.add(name.as_bytes(), &[(0, Key::Name(&name)), (1, Key::Id(id))]);
        }
        builder.build(3).unwrap()
    }

    #[test]
    fn what_was_written_is_found_and_nothing_else() {
        let folder = Folder::new();
        let path = folder.file("f", &build(5000));
        let file = PublishedFile::open(&path, MAGIC).unwrap();
        assert_eq!((file.generation(), file.meta()), (3, &[7; META_LEN][..]));
        let mut buffer = [0; 64];
        for id in 0..5000 {
            let name = format!("user{id}");
            for (index, key) in [(0, Key::Name(&name)), (1, Key::Id(id))] {
                let slot = file.find(index, key).unwrap().unwrap();
                assert_eq!(file.record(slot, &mut buffer).unwrap(), name.as_bytes());
            }
        }
        assert_eq!(file.find(1, Key::Id(5000)).unwrap(), None);
        assert_eq!(file.find(2, Key::Id(1)).unwrap(), None);
    }

    #[test]
    fn an_enumeration_sees_every_record_once() {
        let folder = Folder::new();
        let path = folder.file("f", &build(1000));
        let file = PublishedFile::open(&path, MAGIC).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let mut from = 0;
        while let Some((number, slot)) = file.next_slot(0, from).unwrap() {
            let mut buffer = [0; 64];
            assert!(seen.insert(file.record(slot, &mut buffer).unwrap().to_vec()));
            from = number + 1;
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn a_torn_flipped_or_foreign_file_is_an_error_never_an_answer() {
        let folder = Folder::new();
        let whole = build(4);
        let answers = |bytes: &[u8]| -> Result<Option<Vec<u8>>, ReadError> {
            let path = folder.path().join("g");
            std::fs::write(&path, bytes).unwrap();
            let file = PublishedFile::open(&path, MAGIC)?;
            let Some(slot) = file.find(0, Key::Name("user3"))? else {
                return Ok(None);
            };
            let mut buffer = [0; 64];
            Ok(Some(file.record(slot, &mut buffer)?.to_vec()))
        };
        for len in 0..whole.len() {
            assert!(
                matches!(answers(&whole[..len]), Err(ReadError::Damaged)),
                "cut at {len}"
            );
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            // A slot that was hit may hide its record, but what comes back is the record or nothing.
            if let Ok(Some(record)) = answers(&flipped) {
                assert_eq!(record, b"user3", "flipped at {at}");
            }
        }
        assert!(matches!(answers(&[]), Err(ReadError::Damaged)));
    }

    #[test]
    fn two_records_with_one_key_are_refused() {
        let mut builder = FileBuilder::new(MAGIC, [0; META_LEN]);
        builder.add(b"a", &[(0, Key::Name("same"))]);
        builder.add(b"b", &[(0, Key::Name("same"))]);
        assert_eq!(builder.build(1), Err(BuildError::KeysClash));
    }

    #[test]
    fn a_file_others_may_write_a_link_and_a_fifo_are_not_trusted() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = Folder::new();
        let path = folder.file("f", &build(1));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
        assert!(matches!(PublishedFile::open(&path, MAGIC), Err(ReadError::Untrusted)));
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(PublishedFile::open(&link, MAGIC), Err(ReadError::Untrusted)));
        let fifo = folder.path().join("fifo");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        assert!(matches!(PublishedFile::open(&fifo, MAGIC), Err(ReadError::Untrusted)));
        assert!(matches!(
            PublishedFile::open(&folder.path().join("none"), MAGIC),
            Err(ReadError::Missing)
        ));
    }

    #[test]
    fn a_replaced_file_has_its_mode_and_leaves_nothing_aside() {
        use std::os::unix::fs::MetadataExt;
        let folder = Folder::new();
        let path = folder.path().join("x");
        std::fs::write(folder.path().join(".x.new"), b"left by a killed writer").unwrap();
        replace_file(&path, b"one", 0o644).unwrap();
        replace_file(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
