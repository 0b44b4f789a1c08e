//! Builds a published file; called by keymakerd only. [`replace_file`] puts it in place.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::format::{
    HEADER, HashKey, INDEXES, Key, META, META_LEN, PREAMBLE, SLOT, VERSION, WINDOW, crc_without, field, put, u64_at,
};
pub use super::replacement::{replace_file, replace_published};
use crate::crc32c::crc32c;

/// How many keys are tried until one leaves nothing out.
const TRIES: u32 = 8;

/// Why a file could not be built.
#[derive(Debug, PartialEq, Eq)]
pub enum BuildError {
    /// the file would exceed 4 GiB, which its offsets cannot say
    TooLarge,
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the file would exceed 4 GiB",
        })
    }
}

impl std::error::Error for BuildError {}

/// Another record is found by the same name or number: the later one was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTaken;

/// A file, laid out.
#[derive(Debug, PartialEq, Eq)]
pub struct Built {
    /// What is to be written.
    pub bytes: Vec<u8>,
    /// See [`super::reader::PublishedFile::generation`].
    pub generation: u64,
    /// The first key of each record for which no place was found. Nobody can bring this about who does not know the
    /// hash's key.
    pub left_out: Vec<String>,
}

/// Collects records and their keys, then lays the file out.
pub struct FileBuilder {
    magic: [u8; 8],
    meta: [u8; META_LEN],
    bytes: Vec<u8>,
    records: Vec<Record>,
    taken: HashSet<(usize, OwnedKey)>,
}

struct Record {
    keys: Vec<(usize, OwnedKey)>,
    offset: usize,
    whole: Extent,
    /// what of it readers of version 1 know
    former: Extent,
}

/// The first bytes of a record.
#[derive(Clone, Copy)]
struct Extent {
    len: usize,
    crc: u32,
}

impl Extent {
    fn of(bytes: &[u8]) -> Self {
        Self {
            len: bytes.len(),
            crc: crc32c(bytes),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum OwnedKey {
    Name(String),
    Id(u32),
}

/// An index or a list: each slot's hash or number, and its record; `None` where it is empty.
type Table<'r> = Vec<Option<(u32, &'r Record)>>;

impl FileBuilder {
    /// An empty file of the kind `magic`, which says `meta` about itself.
    pub fn new(magic: [u8; 8], meta: [u8; META_LEN]) -> Self {
        Self {
            magic,
            meta,
            bytes: Vec::new(),
            records: Vec::new(),
            taken: HashSet::new(),
        }
    }

    /// Adds a record that is found by each of `keys`: (index, key).
    pub fn add(&mut self, record: &[u8], keys: &[(usize, Key<'_>)]) -> Result<(), KeyTaken> {
        self.add_grown(record, record.len(), keys)
    }

    /// The same of a record that has grown since version 1, whose readers take its first `former_len` bytes.
    pub fn add_grown(&mut self, record: &[u8], former_len: usize, keys: &[(usize, Key<'_>)]) -> Result<(), KeyTaken> {
        let keys: Vec<_> = keys.iter().map(|(index, key)| (*index, OwnedKey::of(*key))).collect();
        if keys.iter().any(|key| self.taken.contains(key)) {
            return Err(KeyTaken);
        }
        self.taken.extend(keys.iter().cloned());
        self.records.push(Record {
            keys,
            offset: self.bytes.len(),
            whole: Extent::of(record),
            former: Extent::of(record.get(..former_len).unwrap_or(record)),
        });
        self.bytes.extend_from_slice(record);
        Ok(())
    }

    /// The file under a key drawn at random.
    pub fn build(&self, generation: u64) -> Result<Built, BuildError> {
        let mut built = self.build_with(generation, HashKey::random())?;
        for _ in 1..TRIES {
            if built.left_out.is_empty() {
                break;
            }
            built = self.build_with(generation, HashKey::random())?;
        }
        Ok(built)
    }

    /// The file that comes after `former`, bytes of a published file; `None` where that has the same content.
    pub fn build_after(&self, former: &[u8]) -> Result<Option<Built>, BuildError> {
        let former = if former.starts_with(&self.magic) { former } else { &[] };
        let generation = u64_at(former, field::GENERATION).unwrap_or_default();
        if let Some(key) = HashKey::of(former)
            && self.build_with(generation, key)?.bytes == former
        {
            return Ok(None);
        }
        self.build(generation.saturating_add(1)).map(Some)
    }

    /// The file under this key: always the same one.
    pub fn build_with(&self, generation: u64, key: HashKey) -> Result<Built, BuildError> {
        self.lay_out(generation, key, |of, key| of.hash(key))
    }

    fn lay_out(&self, generation: u64, key: HashKey, hash: fn(Key<'_>, HashKey) -> u32) -> Result<Built, BuildError> {
        let mut left_out = HashSet::new();
        let mut tables: Vec<Table<'_>> = Vec::new();
        // Anybody who has no place in one index is in none: found by name but not by number would be half a user.
        loop {
            let placed = (0..INDEXES).map(|index| place(&self.slots(index, &left_out, |of| hash(of, key))));
            let (placed, unplaced): (Vec<_>, Vec<_>) = placed.unzip();
            tables.extend(placed);
            if unplaced.iter().all(Vec::is_empty) {
                break;
            }
            left_out.extend(unplaced.into_iter().flatten().map(|record| record.offset));
            tables.clear();
        }
        tables.extend((0..INDEXES).map(|index| self.list(index, &left_out)));
        let old_seed = self.old_seed(key);
        tables.extend((0..INDEXES).map(|index| place(&self.slots(index, &left_out, |of| of.old_hash(old_seed))).0));

        let records_at = HEADER + tables.iter().map(Vec::len).sum::<usize>() * SLOT;
        let file_len = records_at + self.bytes.len();
        u32::try_from(file_len).map_err(|_| BuildError::TooLarge)?;
        let mut bytes = vec![0; HEADER];
        bytes.reserve_exact(file_len - HEADER);
        let mut places = [field::INDEXES, field::LISTS, field::OLD_INDEXES]
            .into_iter()
            .flat_map(|field| (0..INDEXES).map(move |index| field + index * 8));
        for table in &tables {
            let at = places.next().unwrap_or(file_len);
            let is_of = |field: usize| (field..field + INDEXES * 8).contains(&at);
            let (is_list, is_old) = (is_of(field::LISTS), is_of(field::OLD_INDEXES));
            let count = if is_list {
                table.len()
            } else {
                (table.len() + 1).saturating_sub(WINDOW)
            };
            let offset = bytes.len() as u32;
            put(&mut bytes, at, &offset.to_le_bytes());
            put(&mut bytes, at + 4, &(count as u32).to_le_bytes());
            for slot in table {
                let (hash, offset, len, crc) = slot.map_or((0, 0, 0, 0), |(hash, record)| {
                    let extent = if is_old { record.former } else { record.whole };
                    (hash, (records_at + record.offset) as u32, extent.len as u32, extent.crc)
                });
                bytes.extend([hash, offset, len, crc].iter().flat_map(|number| number.to_le_bytes()));
            }
        }
        bytes.extend_from_slice(&self.bytes);
        put(&mut bytes, 0, &self.magic);
        put(&mut bytes, field::FILE_LEN, &(file_len as u64).to_le_bytes());
        put(&mut bytes, field::GENERATION, &generation.to_le_bytes());
        put(&mut bytes, field::OLD_SEED, &old_seed.to_le_bytes());
        put(&mut bytes, META, &self.meta);
        put(&mut bytes, field::VERSION, &[VERSION]);
        put(
            &mut bytes,
            field::HEADER_LEN,
            &((HEADER - PREAMBLE) as u32).to_le_bytes(),
        );
        put(&mut bytes, field::KEY, &key.0);
        for (from, to, at) in [(0, PREAMBLE, field::CRC), (PREAMBLE, HEADER, field::HEADER_CRC)] {
            let crc = crc_without(bytes.get(from..to).unwrap_or_default(), at - from);
            put(&mut bytes, at, &crc.to_le_bytes());
        }
        let names = self.records.iter().filter(|record| left_out.contains(&record.offset));
        Ok(Built {
            bytes,
            generation,
            left_out: names
                .filter_map(|record| Some(record.keys.first()?.1.to_string()))
                .collect(),
        })
    }

    /// What goes into an index, by `hash`, without the records whose offset is in `left_out`.
    fn slots(&self, index: usize, left_out: &HashSet<usize>, hash: impl Fn(Key<'_>) -> u32) -> Vec<(u32, &Record)> {
        let kept = self.records.iter().filter(|record| !left_out.contains(&record.offset));
        let keyed = kept.flat_map(|record| record.keys.iter().map(move |(of, key)| (*of, key, record)));
        keyed
            .filter(|(of, ..)| *of == index)
            .map(|(_, key, record)| (hash(key.as_key()), record))
            .collect()
    }

    fn list(&self, index: usize, left_out: &HashSet<usize>) -> Table<'_> {
        let number = |key: Key<'_>| match key {
            Key::Id(id) => Some(id),
            Key::Name(_) => None,
        };
        let is_list = |(of, key): &(usize, OwnedKey)| *of == index && number(key.as_key()).is_some();
        if !self.records.iter().any(|record| record.keys.iter().any(is_list)) {
            return Vec::new();
        }
        let mut slots = self.slots(index, left_out, |key| number(key).unwrap_or_default());
        slots.sort_by_key(|(id, _)| *id);
        slots.into_iter().map(Some).collect()
    }

    /// A seed for readers of version 1, who never find the second of two names that share a hash: the first one tried
    /// under which none do. Anybody who chooses names for it can be left out for those readers, which are gone with the
    /// programs that began before the upgrade.
    fn old_seed(&self, key: HashKey) -> u32 {
        let mut seeds = (0..TRIES).map(|number| Key::Id(number).hash(key));
        let spreads = |seed: &u32| {
            (0..INDEXES).all(|index| {
                let slots = self.slots(index, &HashSet::new(), |of| of.old_hash(*seed));
                let hashes: HashSet<u32> = slots.iter().map(|(hash, _)| *hash).collect();
                hashes.len() == slots.len()
            })
        };
        seeds.clone().find(spreads).or(seeds.next()).unwrap_or_default()
    }
}

impl HashKey {
    /// One that nobody knew before. std draws its own keys from the system for the same purpose.
    fn random() -> Self {
        let random = RandomState::new();
        let mut key = [0; 16];
        put(&mut key, 0, &random.hash_one(0).to_le_bytes());
        put(&mut key, 8, &random.hash_one(1).to_le_bytes());
        Self(key)
    }
}

impl OwnedKey {
    fn of(key: Key<'_>) -> Self {
        match key {
            Key::Name(name) => Self::Name(name.to_owned()),
            Key::Id(id) => Self::Id(id),
        }
    }

    fn as_key(&self) -> Key<'_> {
        match self {
            Self::Name(name) => Key::Name(name),
            Self::Id(id) => Key::Id(*id),
        }
    }
}

impl std::fmt::Display for OwnedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// The smallest table that holds all, and whom it does not hold where none of a sensible size does.
fn place<'r>(slots: &[(u32, &'r Record)]) -> (Table<'r>, Vec<&'r Record>) {
    if slots.is_empty() {
        return Default::default();
    }
    let smallest = (slots.len() * 2).next_power_of_two();
    let mut placed = place_in(slots, smallest);
    for size in [smallest * 2, smallest * 4, smallest * 8] {
        if placed.1.is_empty() {
            break;
        }
        placed = place_in(slots, size);
    }
    placed
}

fn place_in<'r>(slots: &[(u32, &'r Record)], size: usize) -> (Table<'r>, Vec<&'r Record>) {
    let mut table = vec![None; size + WINDOW - 1];
    let mut unplaced = Vec::new();
    for (hash, record) in slots {
        let home = *hash as usize & (size - 1);
        match table.iter_mut().skip(home).take(WINDOW).find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some((*hash, *record)),
            None => unplaced.push(*record),
        }
    }
    (table, unplaced)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::super::format::u32_at;
    use super::super::reader::{PublishedFile, ReadError};
    use super::*;
    use test_folder::TestFolder;

    const MAGIC: [u8; 8] = *b"TEST\0\0\0\x01";

    fn build(count: u32) -> Vec<u8> {
        let mut builder = FileBuilder::new(MAGIC, [7; META_LEN]);
        for id in 0..count {
            let name = format!("user{id}");
            let keys = [(0, Key::Name(&name)), (1, Key::Id(id))];
            builder.add(name.as_bytes(), &keys).unwrap();
        }
        builder.build(3).unwrap().bytes
    }

    #[test]
    fn what_was_written_is_found_and_nothing_else() {
        let folder = TestFolder::new();
        let path = folder.file("f", build(5000));
        let file = PublishedFile::open(&path, MAGIC).unwrap();
        assert_eq!((file.generation(), file.meta()), (3, &[7; META_LEN][..]));
        let mut buffer = [0; 64];
        for id in 0..5000 {
            let name = format!("user{id}");
            for (index, key) in [(0, Key::Name(&name)), (1, Key::Id(id))] {
                let is = |record: &[u8]| record == name.as_bytes();
                assert!(file.find(index, key, &mut buffer, is).unwrap().is_some());
            }
        }
        assert_eq!(file.find(1, Key::Id(5000), &mut buffer, |_| true).unwrap(), None);
        assert_eq!(file.find(2, Key::Id(1), &mut buffer, |_| true).unwrap(), None);
    }

    #[test]
    fn an_enumeration_sees_every_record_once() {
        let folder = TestFolder::new();
        let path = folder.file("f", build(1000));
        let file = PublishedFile::open(&path, MAGIC).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let mut from = 0;
        while let Some((number, slot)) = file.next_slot(1, from).unwrap() {
            let mut buffer = [0; 64];
            assert!(seen.insert(file.record(slot, &mut buffer).unwrap().to_vec()));
            from = number + 1;
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn a_torn_flipped_or_foreign_file_is_an_error_never_an_answer() {
        let folder = TestFolder::new();
        let whole = build(4);
        let path = folder.file("f", &whole);
        // Not written again each time: some file systems wait for the disk then.
        let bytes = File::options().write(true).open(&path).unwrap();
        let answer = || -> Result<Option<Vec<u8>>, ReadError> {
            let file = PublishedFile::open(&path, MAGIC)?;
            let mut buffer = [0; 64];
            let found = file.find(0, Key::Name("user3"), &mut buffer, |_| true)?;
            Ok(found.map(|record| record.to_vec()))
        };
        for at in 0..whole.len() {
            bytes.write_all_at(&[whole[at] ^ 0x10], at as u64).unwrap();
            // A slot that was hit may hide its record, but what comes back is the record or nothing.
            if let Ok(Some(record)) = answer() {
                assert_eq!(record, b"user3", "flipped at {at}");
            }
            assert!(at >= HEADER || answer().is_err(), "flipped at {at}");
            bytes.write_all_at(&whole[at..=at], at as u64).unwrap();
        }
        for len in (0..whole.len()).rev() {
            bytes.set_len(len as u64).unwrap();
            assert!(matches!(answer(), Err(ReadError::Damaged)), "cut at {len}");
        }
    }

    #[test]
    fn of_two_records_with_one_key_the_first_stays_and_the_second_is_refused() {
        let mut builder = FileBuilder::new(MAGIC, [0; META_LEN]);
        assert_eq!(builder.add(b"a", &[(0, Key::Name("same")), (1, Key::Id(1))]), Ok(()));
        assert_eq!(
            builder.add(b"b", &[(0, Key::Name("same")), (1, Key::Id(2))]),
            Err(KeyTaken)
        );
        assert_eq!(builder.add(b"c", &[(0, Key::Name("other")), (1, Key::Id(2))]), Ok(()));
    }

    // P2
    #[test]
    fn names_that_were_chosen_to_share_a_hash_are_all_found() {
        // Line n has two names that share the hash of version 1 under seed n: none of its seeds could lay these out.
        let names = include_str!("../../tests/version_1/colliding_names");
        for (seed, pair) in (0..).zip(names.lines()) {
            let (one, other) = pair.split_once(' ').unwrap();
            assert_eq!(Key::Name(one).old_hash(seed), Key::Name(other).old_hash(seed));
        }
        let names: Vec<&str> = names.split_whitespace().collect();
        assert_eq!(names.len(), 128);
        assert_all_found(&builder_of(&names).build(1).unwrap(), &names);
    }

    // P2
    #[test]
    fn nobody_knows_beforehand_under_which_key_a_file_is_published() {
        let builder = builder_of(&["alice"]);
        let mut bytes = builder.build(1).unwrap().bytes;
        let mut keys = std::collections::BTreeSet::from([HashKey::of(&bytes).unwrap().0]);
        for count in 2..6 {
            let names: Vec<String> = (0..count).map(|number| format!("user{number}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            bytes = builder_of(&names).build_after(&bytes).unwrap().unwrap().bytes;
            assert!(keys.insert(HashKey::of(&bytes).unwrap().0), "of publication {count}");
        }
    }

    #[test]
    fn two_names_that_share_a_hash_are_both_found() {
        let key = HashKey([1; 16]);
        let mut seen = std::collections::HashMap::new();
        let mut number = 0;
        let pair = loop {
            let name = format!("user{number}");
            if let Some(other) = seen.insert(Key::Name(&name).hash(key), name.clone()) {
                break [name, other];
            }
            number += 1;
        };
        let names = pair.each_ref().map(String::as_str);
        assert_all_found(&builder_of(&names).build_with(1, key).unwrap(), &names);
    }

    #[test]
    fn who_finds_no_place_is_left_out_and_nobody_else_is() {
        let crowd: Vec<String> = (0..WINDOW + 2).map(|number| format!("x{number}")).collect();
        let others: Vec<String> = (0..100).map(|number| format!("user{number}")).collect();
        let names: Vec<&str> = crowd.iter().chain(&others).map(String::as_str).collect();
        let weak = |of: Key<'_>, key| match of {
            Key::Name(name) if name.starts_with('x') => 7,
            of => of.hash(key),
        };
        let built = builder_of(&names).lay_out(1, HashKey([1; 16]), weak).unwrap();
        assert!(
            (2..=crowd.len()).contains(&built.left_out.len()),
            "{:?}",
            built.left_out
        );
        assert!(
            built.left_out.iter().all(|name| crowd.contains(name)),
            "{:?}",
            built.left_out
        );
        assert_all_found(&built, &names[crowd.len()..]);
        // Nor by number.
        let folder = TestFolder::new();
        let file = PublishedFile::open(&folder.file("f", &built.bytes), MAGIC).unwrap();
        let (mut from, mut seen) = (0, 0);
        while let Some((number, _)) = file.next_slot(1, from).unwrap() {
            (from, seen) = (number + 1, seen + 1);
        }
        assert_eq!(seen, names.len() - built.left_out.len());
    }

    // P2
    #[test]
    fn a_whole_file_of_another_kind_is_damage() {
        let folder = TestFolder::new();
        let path = folder.file("f", build(1));
        let other = *b"OTHER\0\0\x01";
        assert!(matches!(PublishedFile::open(&path, other), Err(ReadError::Damaged)));
    }

    #[test]
    fn a_file_about_nobody_is_whole_and_lists_nobody() {
        let folder = TestFolder::new();
        let file = PublishedFile::open(&folder.file("f", build(0)), MAGIC).unwrap();
        assert!(matches!(file.next_slot(1, 0), Ok(None)));
    }

    #[test]
    fn a_slot_that_says_an_impossible_length_is_damage_and_asks_for_no_larger_buffer() {
        let folder = TestFolder::new();
        let whole = build(1);
        let with_length = |field: usize, len: u32| {
            let mut bytes = whole.clone();
            let mut at = u32_at(&bytes, field).unwrap() as usize;
            while u32_at(&bytes, at + 8) == Some(0) {
                at += SLOT;
            }
            put(&mut bytes, at + 8, &len.to_le_bytes());
            PublishedFile::open(&folder.file("f", &bytes), MAGIC).unwrap()
        };
        let mut buffer = [0; 64];
        let long = with_length(field::INDEXES, 1 << 30);
        let found = long.find(0, Key::Name("user0"), &mut buffer, |_| true);
        assert!(matches!(found, Err(ReadError::Damaged)), "{found:?}");
        let none = with_length(field::LISTS + 8, 0);
        assert!(matches!(none.next_slot(1, 0), Err(ReadError::Damaged)));
    }

    #[test]
    fn an_index_is_no_larger_than_its_crowd_needs() {
        // Twice as many slots as records, up to a power of two, or that twice, four and eight times.
        for factor in [1, 2, 4, 8] {
            let names: Vec<String> = (0..=WINDOW).map(|n| format!("{}.{n}", n % 2 * 32 * factor)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let hash = |of: Key<'_>, key| match of {
                Key::Name(name) => name.split_once('.').and_then(|(hash, _)| hash.parse().ok()).unwrap(),
                of => of.hash(key),
            };
            let built = builder_of(&names).lay_out(1, HashKey([1; 16]), hash).unwrap();
            assert_eq!(
                (built.left_out.len(), u32_at(&built.bytes, field::INDEXES + 4)),
                (0, Some(64 * factor as u32))
            );
        }
    }

    #[test]
    fn each_file_has_a_key_of_its_own_and_the_same_content_makes_no_file() {
        let first = builder_of(&["a", "b"]).build_after(&[]).unwrap().unwrap();
        assert_eq!(first.generation, 1);
        assert_eq!(builder_of(&["a", "b"]).build_after(&first.bytes), Ok(None));
        let second = builder_of(&["a", "c"]).build_after(&first.bytes).unwrap().unwrap();
        assert_eq!(second.generation, 2);
        assert_ne!(HashKey::of(&first.bytes), HashKey::of(&second.bytes));
        assert_ne!(
            builder_of(&["a"]).build(1).unwrap(),
            builder_of(&["a"]).build(1).unwrap()
        );
        // Other bytes at that path are not a file to follow.
        assert_eq!(
            builder_of(&["a"])
                .build_after(&[0xff; 999])
                .unwrap()
                .unwrap()
                .generation,
            1
        );
    }

    #[test]
    fn a_later_version_is_read_and_one_in_between_is_damage() {
        let folder = TestFolder::new();
        let with_version = |version: u8| {
            let mut bytes = builder_of(&["a"]).build(1).unwrap().bytes;
            bytes[field::VERSION] = version;
            put(&mut bytes, HEADER - 4, b"more");
            for (from, to, at) in [(0, PREAMBLE, field::CRC), (PREAMBLE, HEADER, field::HEADER_CRC)] {
                let crc = crc_without(&bytes[from..to], at - from);
                put(&mut bytes, at, &crc.to_le_bytes());
            }
            let file = PublishedFile::open(&folder.file("f", &bytes), MAGIC)?;
            let mut buffer = [0; 8];
            file.find(0, Key::Name("a"), &mut buffer, |_| true)
                .map(|found| found.is_some())
        };
        assert!(with_version(VERSION).unwrap() && with_version(VERSION + 1).unwrap());
        assert!(matches!(with_version(1), Err(ReadError::Damaged)));
    }

    fn builder_of(names: &[&str]) -> FileBuilder {
        let mut builder = FileBuilder::new(MAGIC, [7; META_LEN]);
        for (name, id) in names.iter().zip(0..) {
            let keys = [(0, Key::Name(name)), (1, Key::Id(id))];
            builder.add(name.as_bytes(), &keys).unwrap();
        }
        builder
    }

    fn assert_all_found(built: &Built, names: &[&str]) {
        let folder = TestFolder::new();
        let file = PublishedFile::open(&folder.file("f", &built.bytes), MAGIC).unwrap();
        for name in names {
            let mut buffer = [0; 64];
            let is = |record: &[u8]| record == name.as_bytes();
            let found = file.find(0, Key::Name(name), &mut buffer, is).unwrap();
            assert!(found.is_some(), "{name}");
        }
    }

    #[test]
    fn a_file_others_may_write_a_link_and_a_fifo_are_not_trusted() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = TestFolder::new();
        let path = folder.file("f", build(1));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
        assert!(matches!(PublishedFile::open(&path, MAGIC), Err(ReadError::Untrusted)));
        let link = folder.join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(PublishedFile::open(&link, MAGIC), Err(ReadError::Untrusted)));
        let fifo = folder.join("fifo");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        assert!(matches!(PublishedFile::open(&fifo, MAGIC), Err(ReadError::Untrusted)));
        assert!(matches!(
            PublishedFile::open(&folder.join("none"), MAGIC),
            Err(ReadError::Missing)
        ));
    }
}
