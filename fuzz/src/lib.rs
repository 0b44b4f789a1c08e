//! What two fuzz targets share: a published file in which only the checksums are right.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use keymaker_core::crc32c::crc32c;
use keymaker_core::published_file::format::{HEADER, INDEXES, PREAMBLE, SLOT, VERSION, WINDOW, field, u32_at};

/// Calls `read` with a file of these bytes, in TMPDIR, which tests/fuzz.sh has in memory. Without right checksums a
/// fuzzer would see nothing but refusals.
pub fn with_published_file(bytes: &[u8], read: impl FnOnce(&Path)) {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = std::env::temp_dir().join(format!("keymaker-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("TMPDIR can be written");
        folder
    });
    let (path, mut bytes) = (FOLDER.join("file"), bytes.to_vec());
    put_checksums(&mut bytes);
    fs::write(&path, &bytes).expect("TMPDIR can be written");
    read(&path);
}

fn put_checksums(bytes: &mut [u8]) {
    if bytes.len() < PREAMBLE {
        return;
    }
    let len = (bytes.len() as u64).to_le_bytes();
    put(bytes, field::FILE_LEN, &len);
    let is_new = bytes.len() >= HEADER && bytes[field::VERSION] >= VERSION;
    let tables: &[usize] = if is_new {
        &[field::INDEXES, field::LISTS]
    } else {
        &[field::OLD_INDEXES]
    };
    for place in tables
        .iter()
        .flat_map(|table| (0..INDEXES).map(move |index| table + index * 8))
    {
        let number = |at| u32_at(bytes, at).unwrap_or_default() as usize;
        let (offset, slots) = (number(place), number(place + 4));
        for slot in (0..slots.saturating_add(WINDOW)).map_while(|slot| offset.checked_add(slot * SLOT)) {
            let number = |at| u32_at(bytes, at).map(|number| number as usize);
            let (Some(at), Some(len), Some(_)) = (number(slot + 4), number(slot + 8), number(slot + 12)) else {
                break;
            };
            if let Some(record) = bytes.get(at..at.saturating_add(len)) {
                let crc = crc32c(record).to_le_bytes();
                put(bytes, slot + 12, &crc);
            }
        }
    }
    if is_new {
        put_checksum(bytes, PREAMBLE..HEADER, field::HEADER_CRC);
    }
    put_checksum(bytes, 0..PREAMBLE, field::CRC);
}

/// Over the part of the header, the checksum's own bytes taken as zero.
fn put_checksum(bytes: &mut [u8], part: std::ops::Range<usize>, at: usize) {
    put(bytes, at, &[0; 4]);
    let crc = crc32c(&bytes[part]).to_le_bytes();
    put(bytes, at, &crc);
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}
