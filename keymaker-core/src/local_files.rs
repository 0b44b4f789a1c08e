//! The one reader of /etc/passwd and /etc/group: its lines say what glibc's `files` service says
//! (`tests/local_lines.rs` compares them).
//!
//! The modules and the keys command ask [`names`], [`number_of`] and [`has_id`], which must not go through NSS: they
//! are asked from inside NSS and PAM, and at boot. They read 1 KiB at a time from the stack and allocate nothing. The
//! daemons hold the whole files and read their [`lines`].

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Name, password and number of a line take no more bytes than this, nor do they anywhere.
const LONGEST_HEAD: usize = 1024;

/// Whether the passwd(5) or group(5) file at `path` has a line for `name`, be it one that glibc passes over.
pub fn names(path: &Path, name: &str) -> io::Result<bool> {
    let found = find(path, |line| (line.name == name.as_bytes()).then_some(()))?;
    Ok(found.is_some())
}

/// The uid or gid that the first line for `name` in the passwd(5) or group(5) file at `path` gives it.
pub fn number_of(path: &Path, name: &str) -> io::Result<Option<u32>> {
    let found = find(path, |line| (line.name == name.as_bytes()).then(|| line.id()))?;
    Ok(found.transpose()?.flatten())
}

/// Whether a line of the passwd(5) or group(5) file at `path` has this uid or gid.
pub fn has_id(path: &Path, id: u32) -> io::Result<bool> {
    let mut doubt = Ok(false);
    let found = find(path, |line| match line.id() {
        Ok(found) => (found == Some(id)).then_some(()),
        Err(error) => {
            doubt = Err(error);
            None
        }
    })?;
    found.map_or(doubt, |()| Ok(true))
}

/// What `wanted` makes of the first line of which it makes something.
fn find<T>(path: &Path, mut wanted: impl FnMut(&Head<'_>) -> Option<T>) -> io::Result<Option<T>> {
    let mut file = File::open(path)?;
    let (mut chunk, mut head, mut len) = ([0; 1024], [0; LONGEST_HEAD], 0_usize);
    let mut ask = |head: &[u8; LONGEST_HEAD], len: usize| {
        let line = Head::parse(head.get(..len).unwrap_or(head), len > LONGEST_HEAD)?;
        wanted(&line)
    };
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok(ask(&head, len)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for piece in chunk
            .get(..read)
            .unwrap_or_default()
            .split_inclusive(|byte| *byte == b'\n')
        {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let free = head.get_mut(len..).unwrap_or_default();
            free.iter_mut().zip(text).for_each(|(place, byte)| *place = *byte);
            len = len.saturating_add(text.len());
            if ends {
                if let Some(found) = ask(&head, len) {
                    return Ok(Some(found));
                }
                len = 0;
            }
        }
    }
}

/// The beginning of a line, and whether the rest of it lies elsewhere.
struct Head<'a> {
    name: &'a [u8],
    id: Option<u32>,
    id_is_cut: bool,
}

impl<'a> Head<'a> {
    fn parse(head: &'a [u8], is_cut: bool) -> Option<Self> {
        let line = NamedLine::parse(head)?;
        let id_is_cut = is_cut && head.iter().filter(|byte| **byte == b':').count() < 3;
        let NamedLine { name, id, .. } = line;
        Some(Self { name, id, id_is_cut })
    }

    fn id(&self) -> io::Result<Option<u32>> {
        if self.id_is_cut {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line has more than 1,024 bytes before its third field ends",
            ))
        } else {
            Ok(self.id)
        }
    }
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// A line of passwd(5) or group(5) that takes its name and its numbers from everybody else, be it one that glibc passes
/// over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedLine<'a> {
    /// The name, in whatever bytes.
    pub name: &'a [u8],
    /// The third field, a uid or a gid; `None` where glibc reads no number there.
    pub id: Option<u32>,
    /// The fourth field of a passwd(5) line, likewise; without a meaning in group(5).
    pub gid: Option<u32>,
}

impl<'a> NamedLine<'a> {
    /// None for an empty line and a comment.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (name, rest) = field(entry(line)?);
        let (_password, rest) = field(rest);
        let (id_text, rest) = field(rest);
        let (gid_text, _) = field(rest);
        let number_in = |text| number(text).map(|(number, _)| number);
        let (id, gid) = (number_in(id_text), number_in(gid_text));
        Some(Self { name, id, gid })
    }
}

/// A line of passwd(5) that names a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswdLine<'a> {
    /// The name, in whatever bytes.
    pub name: &'a [u8],
    /// The uid.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The full name (gecos), in whatever bytes.
    pub full_name: &'a [u8],
    /// The home, in whatever bytes.
    pub home: &'a [u8],
}

impl<'a> PasswdLine<'a> {
    /// What getpwent(3) makes of a line without its end; None where it passes over the line, or finds it but by no name
    /// and no number, as the `+` and `-` lines of `nss_compat`.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (name, rest) = field(entry(line)?);
        let (_password, rest) = field(rest);
        let (uid, rest) = number(rest)?;
        let (gid, rest) = number(rest)?;
        let (full_name, rest) = field(rest);
        let (home, _) = field(rest);
        let line = Self {
            name,
            uid,
            gid,
            full_name,
            home,
        };
        Some(line).filter(|line| !is_compat(line.name))
    }
}

/// A line of group(5) that names a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLine<'a> {
    /// The name, in whatever bytes.
    pub name: &'a [u8],
    /// The gid.
    pub gid: u32,
    members: &'a [u8],
}

impl<'a> GroupLine<'a> {
    /// What getgrent(3) makes of a line without its end; None as for [`PasswdLine::parse`].
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        Self::of(entry(line)?).filter(|line| !is_compat(line.name))
    }

    /// What getgrouplist(3) makes of a line: it takes comments for groups, too, so whom a comment names is in that
    /// group.
    pub fn parse_membership(line: &'a [u8]) -> Option<Self> {
        Self::of(until_nul(line))
    }

    fn of(line: &'a [u8]) -> Option<Self> {
        let (name, rest) = field(line);
        let (_password, rest) = field(rest);
        let (gid, members) = match number(rest) {
            // INT_FIELD_MAYBE_NULL of nss_compat's lines.
            None if is_compat(name) && matches!(rest.first(), None | Some(b':')) => (0, field(rest).1),
            found => found?,
        };
        Some(Self { name, gid, members })
    }

    /// The members' names. Blanks before a name are not part of it; what follows a colon is.
    pub fn members(&self) -> impl Iterator<Item = &'a [u8]> {
        members(self.members)
    }
}

/// The name and the members of a line of group(5), be it a comment, which getgrouplist(3) reads, or one without a
/// number, which it passes over.
pub fn members_named_by(line: &[u8]) -> (&[u8], impl Iterator<Item = &[u8]>) {
    let (name, rest) = field(without_blanks(until_nul(line)));
    let (_password, rest) = field(rest);
    let (_gid, rest) = field(rest);
    (name, members(rest))
}

fn members(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = text.split(|byte| *byte == b',').map(without_blanks);
    members.filter(|member| !member.is_empty())
}

/// The lines of a whole file.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

/// The line from its first letter on, if it is not a comment.
fn entry(line: &[u8]) -> Option<&[u8]> {
    let line = without_blanks(until_nul(line));
    (!matches!(line.first(), None | Some(b'#'))).then_some(line)
}

fn until_nul(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let first = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    text.get(first..).unwrap_or_default()
}

fn is_compat(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'+' | b'-'))
}

/// A field, and what follows its colon.
fn field(text: &[u8]) -> (&[u8], &[u8]) {
    let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
    (
        text.get(..colon).unwrap_or_default(),
        text.get(colon + 1..).unwrap_or_default(),
    )
}

/// A field that is a number, and what follows its colon. By strtoul(3), as glibc reads it: blanks and a sign before the
/// digits, and a minus that counts from the end of 64 bits. A line with a number of more than 32 bits is passed over
/// (glibc 2.36).
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let (text, rest) = field(text);
    let text = without_blanks(text);
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let add = |value: u64, digit: &u8| value.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let value = is_number.then(|| digits.iter().try_fold(0_u64, add)).flatten()?;
    let value = if negative { value.wrapping_neg() } else { value };
    Some((u32::try_from(value).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    #[test]
    fn a_line_is_found_by_its_whole_first_field() {
        let folder = TestFolder::new();
        let text = format!(
            "root:x:0:0::/root:/bin/sh\n#dave:x:1:\n{}:x:7:\ndav:x:8:\ndavey:x:9:\nx:dave:1:\nlast:x:1001:1001",
            "l".repeat(3000)
        );
        let path = folder.file("passwd", text.as_bytes());
        assert!(names(&path, "root").unwrap() && names(&path, "last").unwrap());
        assert!(!names(&path, "dave").unwrap() && !names(&path, "roo").unwrap() && !names(&path, "oot").unwrap());
        assert!(names(&folder.join("none"), "root").is_err());
    }

    // P1
    #[test]
    fn a_line_behind_blanks_is_a_local_accounts_too() {
        let folder = TestFolder::new();
        let path = folder.file(
            "passwd",
            b"root:x:0:0\n \t dave:x:1001:1001\n\x0b\rerin:x:7:7\nb ob:x:1:1\n",
        );
        assert!(names(&path, "dave").unwrap() && names(&path, "erin").unwrap());
        assert_eq!(number_of(&path, "dave").unwrap(), Some(1001));
        assert!(!names(&path, "bob").unwrap() && !names(&path, "ob").unwrap());
    }

    // P1
    #[test]
    fn a_uid_is_found_in_whichever_line_has_it() {
        let folder = TestFolder::new();
        let path = folder.file(
            "passwd",
            b"root:x:0:0\n#gone:x:7:7\nshort\nzed:x: 1555:100::/:/bin/sh\nyan:x:+1556:1\nbad:x:15y:1\nlast:x:1557",
        );
        for uid in [0, 1555, 1556, 1557] {
            assert!(has_id(&path, uid).unwrap(), "{uid}");
        }
        for uid in [7, 15, 100, 1] {
            assert!(!has_id(&path, uid).unwrap(), "{uid}");
        }
    }

    #[test]
    fn a_gid_is_read_from_its_line_only() {
        let folder = TestFolder::new();
        let path = folder.file(
            "group",
            b"root:x:0:\nsudo:x:27:alice,bob\nbad:x:12y:\nlarge:x:99999999999:\nnone:x::\nshort:x\nend:x:5",
        );
        let gid = |name| number_of(&path, name).unwrap();
        assert_eq!((gid("root"), gid("sudo"), gid("end")), (Some(0), Some(27), Some(5)));
        assert_eq!(
            (gid("bad"), gid("large"), gid("none"), gid("short"), gid("alice")),
            (None, None, None, None, None)
        );
        assert!(names(&path, "short").unwrap() && names(&path, "bad").unwrap());
    }

    // P1
    #[test]
    fn a_number_behind_a_kibibyte_is_a_doubt_about_it_and_about_no_other() {
        let folder = TestFolder::new();
        let text = format!(
            "root:x:0:\nlong:{}:7:\nwide:x:8:{}\nlast:x:9:",
            "x".repeat(1020),
            "m,".repeat(2000)
        );
        let path = folder.file("group", text.as_bytes());
        assert!(names(&path, "long").unwrap() && names(&path, "last").unwrap());
        assert!(has_id(&path, 0).unwrap() && has_id(&path, 8).unwrap() && has_id(&path, 9).unwrap());
        assert!(has_id(&path, 7).is_err() && has_id(&path, 10).is_err() && number_of(&path, "long").is_err());
        assert_eq!(number_of(&path, "wide").unwrap(), Some(8));
    }
}
