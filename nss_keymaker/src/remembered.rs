//! Answers that this process has had before: each is given again only while a stat shows, at the directory's path, the
//! very file from which it was read.
//!
//! passwd and group ask here before they open the directory, and say here what they found in it. What the local files
//! say is not remembered: `local` looks at them for each answer (P1).
//!
//! Nobody waits: whoever finds the memory in use, by another thread, below a signal handler, or for ever since a
//! fork(2) in between, reads the file. It is memory of this process alone, of one size, so that it ends with the
//! process, is right in a chroot (the stat goes by path), and has nothing to close, unmap or free (P4).

use std::path::Path;
use std::sync::Mutex;

use keymaker_core::directory_file::{Directory, LocalStamps};
use keymaker_core::published_file::format::Key;
use keymaker_core::published_file::reader::FileState;

/// What is looked for: a user and a group may have one name, and one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EntryKind {
    User,
    Group,
}

/// An answer: the number, and the texts of its record from the name on, each with its zero byte.
#[derive(Clone, Copy)]
pub(crate) struct Remembered {
    pub id: u32,
    /// Of the local files as keymakerd read them when it made the directory.
    pub stamps: LocalStamps,
    texts: [u8; MOST_TEXT],
    len: usize,
}

impl Remembered {
    /// The texts in one piece.
    pub fn bytes(&self) -> &[u8] {
        self.texts.get(..self.len).unwrap_or_default()
    }

    /// The first `N` of them.
    pub fn texts<const N: usize>(&self) -> Option<[&str; N]> {
        let mut rest = self.bytes().split(|byte| *byte == 0);
        let mut texts = [""; N];
        for text in &mut texts {
            *text = str::from_utf8(rest.next()?).ok()?;
        }
        Some(texts)
    }
}

/// The memory of a process.
pub(crate) struct RememberedAnswers(Mutex<Memory>);

impl RememberedAnswers {
    pub const fn new() -> Self {
        Self(Mutex::new(Memory::EMPTY))
    }

    /// What is remembered of this key, if the directory at `path` is still the one that said it.
    pub fn recall(&self, path: &Path, kind: EntryKind, key: Key<'_>) -> Option<Remembered> {
        let (found, file) = {
            let memory = self.0.try_lock().ok()?;
            (memory.find(kind, key)?, memory.file)
        };
        (FileState::at(path).ok()? == file).then_some(found)
    }

    /// Keeps an answer that was read from `directory`, if it is small and nobody else is here. Each text is given
    /// without its zero byte.
    pub fn keep(&self, directory: &Directory, kind: EntryKind, key: Key<'_>, id: u32, texts: &[&[u8]]) {
        if let Ok(mut memory) = self.0.try_lock() {
            memory.turn_to(directory.state(), LocalStamps::of(&directory.header()));
            let _ = memory.keep(kind, key, id, texts);
        }
    }
}

struct Memory {
    /// The file that all answers are from.
    file: FileState,
    stamps: LocalStamps,
    /// Where in `answers` the next one begins.
    used: usize,
    /// By hash: 1 more than where in `answers` one begins; 0: nowhere.
    index: [u16; PLACES],
    /// One behind the other: the number, [`EntryKind`], how many bytes of text, the text. It fills up and stays as it is until
    /// there is another directory.
    answers: [u8; ROOM],
}

impl Memory {
    const EMPTY: Self = Self {
        file: FileState::NONE,
        stamps: LocalStamps::NONE,
        used: 0,
        index: [0; PLACES],
        answers: [0; ROOM],
    };

    fn find(&self, kind: EntryKind, key: Key<'_>) -> Option<Remembered> {
        for place in places_of(kind, key) {
            let at = usize::from(self.index.get(place)?.checked_sub(1)?);
            let answer = self.answers.get(at..)?;
            let (id, rest) = answer.split_first_chunk()?;
            let (&[its_kind, len], rest) = rest.split_first_chunk()?;
            let (id, text) = (u32::from_ne_bytes(*id), rest.get(..usize::from(len))?);
            let is_it = match key {
                Key::Name(name) => text
                    .strip_prefix(name.as_bytes())
                    .is_some_and(|rest| rest.starts_with(&[0])),
                Key::Id(wanted) => id == wanted,
            };
            if its_kind == kind as u8 && is_it {
                let mut texts = [0; MOST_TEXT];
                texts.get_mut(..text.len())?.copy_from_slice(text);
                return Some(Remembered {
                    id,
                    stamps: self.stamps,
                    texts,
                    len: text.len(),
                });
            }
        }
        None
    }

    fn turn_to(&mut self, file: FileState, stamps: LocalStamps) {
        if self.file != file {
            (self.file, self.stamps) = (file, stamps);
            if self.used != 0 {
                self.used = 0;
                self.index.fill(0);
            }
        }
    }

    /// Does nothing where it has no room.
    fn keep(&mut self, kind: EntryKind, key: Key<'_>, id: u32, texts: &[&[u8]]) -> Option<()> {
        let len: usize = texts.iter().map(|text| text.len() + 1).sum();
        let begin = u16::try_from(self.used + 1).ok()?;
        let mut free = places_of(kind, key).filter(|place| self.index.get(*place) == Some(&0));
        let place = free.next()?;
        let answer = self.answers.get_mut(self.used..self.used + HEAD + len)?;
        let (head, mut rest) = answer.split_first_chunk_mut::<HEAD>()?;
        let [a, b, c, d] = id.to_ne_bytes();
        *head = [a, b, c, d, kind as u8, u8::try_from(len).ok()?];
        for text in texts {
            let (space, behind) = rest.split_at_mut_checked(text.len())?;
            space.copy_from_slice(text);
            let (end, behind) = behind.split_first_mut()?;
            (*end, rest) = (0, behind);
        }
        *self.index.get_mut(place)? = begin;
        self.used += HEAD + len;
        Some(())
    }
}

/// Where the index may have a key. Whoever chooses names or numbers that share these places is read each time.
fn places_of(kind: EntryKind, key: Key<'_>) -> impl Iterator<Item = usize> {
    let first = key.old_hash(kind as u32) as usize;
    (first..first + TRIES).map(|place| place % PLACES)
}

/// A power of two, and twice as many as answers have room.
const PLACES: usize = 4096;
const TRIES: usize = 8;
/// With the index less than 64 KiB, of which a process has the pages that it wrote to: some thousand people with their
/// private groups.
const ROOM: usize = 55 * 1024;
/// The bytes of an answer before its texts.
const HEAD: usize = 6;
/// What is longer is read each time: most groups that list members.
const MOST_TEXT: usize = u8::MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: FileState = FileState::NONE;

    fn memory() -> Box<Memory> {
        Box::new(Memory::EMPTY)
    }

    fn name_of(memory: &Memory, kind: EntryKind, key: Key<'_>) -> Option<String> {
        memory
            .find(kind, key)
            .map(|found| found.texts::<1>().unwrap()[0].to_owned())
    }

    #[test]
    fn an_answer_is_found_by_what_was_asked_and_by_nothing_else() {
        let mut memory = memory();
        memory
            .keep(EntryKind::User, Key::Name("alice"), 7, &[b"alice", b"A"])
            .unwrap();
        memory.keep(EntryKind::User, Key::Id(7), 7, &[b"alice", b"A"]).unwrap();
        let alice = Some("alice".to_owned());
        assert_eq!(name_of(&memory, EntryKind::User, Key::Name("alice")), alice);
        assert_eq!(name_of(&memory, EntryKind::User, Key::Id(7)), alice);
        for name in ["", "a", "alic", "alice2", "alice\0A"] {
            assert_eq!(name_of(&memory, EntryKind::User, Key::Name(name)), None, "{name:?}");
        }
        assert_eq!(name_of(&memory, EntryKind::User, Key::Id(0)), None);
        assert_eq!(name_of(&memory, EntryKind::Group, Key::Name("alice")), None);
        assert_eq!(name_of(&memory, EntryKind::Group, Key::Id(7)), None);
        let found = memory.find(EntryKind::User, Key::Id(7)).unwrap();
        assert_eq!(
            (found.id, found.texts::<2>(), found.texts::<4>()),
            (7, Some(["alice", "A"]), None)
        );
    }

    #[test]
    fn an_empty_memory_knows_nobody() {
        for key in [Key::Name(""), Key::Id(0)] {
            assert!(memory().find(EntryKind::User, key).is_none());
        }
    }

    // P4
    #[test]
    fn another_file_ends_every_answer_whatever_of_it_differs() {
        let others = [
            FileState { device: 1, ..STATE },
            FileState { inode: 1, ..STATE },
            FileState { len: 1, ..STATE },
            FileState { mode: 1, ..STATE },
            FileState { owner: 1, ..STATE },
            FileState {
                modified: [0, 1],
                ..STATE
            },
            FileState {
                changed: [1, 0],
                ..STATE
            },
        ];
        for other in others {
            let mut memory = memory();
            memory.keep(EntryKind::User, Key::Id(7), 7, &[b"alice"]).unwrap();
            memory.turn_to(STATE, LocalStamps::NONE);
            assert!(memory.find(EntryKind::User, Key::Id(7)).is_some());
            memory.turn_to(other, LocalStamps::NONE);
            assert!(memory.find(EntryKind::User, Key::Id(7)).is_none(), "{other:?}");
            memory.keep(EntryKind::User, Key::Id(7), 7, &[b"zoe"]).unwrap();
            assert_eq!(name_of(&memory, EntryKind::User, Key::Id(7)).unwrap(), "zoe");
        }
    }

    // P4
    #[test]
    fn the_memory_has_a_bound_and_what_has_no_room_is_not_kept() {
        let mut memory = memory();
        let long = [b'a'; MOST_TEXT];
        assert!(memory.keep(EntryKind::User, Key::Id(1), 1, &[&long]).is_none());
        assert!(
            memory
                .keep(EntryKind::User, Key::Id(2), 2, &[&long[..MOST_TEXT - 1], b""])
                .is_none()
        );
        assert!(
            memory
                .keep(EntryKind::User, Key::Id(3), 3, &[&long[..MOST_TEXT - 1]])
                .is_some()
        );
        let known = |memory: &Memory, id| memory.find(EntryKind::User, Key::Id(id)).is_some();
        assert_eq!([1, 2, 3].map(|id| known(&memory, id)), [false, false, true]);
        let kept = (4..10_000).filter(|id| {
            memory
                .keep(EntryKind::User, Key::Id(*id), *id, &[b"some-name", b"/home/some-name"])
                .is_some()
        });
        let kept = kept.count();
        assert!((1_000..ROOM).contains(&kept), "{kept}");
        assert_eq!((4..10_000).filter(|id| known(&memory, *id)).count(), kept);
        assert!(size_of::<Memory>() <= 64 * 1024);
    }

    // P4
    #[test]
    fn whoever_finds_the_memory_in_use_goes_without() {
        let memory = RememberedAnswers::new();
        let _held = memory.0.lock().unwrap();
        assert!(memory.recall(Path::new("/"), EntryKind::User, Key::Id(7)).is_none());
    }
}
