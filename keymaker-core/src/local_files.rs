//! Questions to /etc/passwd and /etc/group that must not go through NSS: they are asked from inside NSS and PAM, and at boot.
//!
//! A scan reads 1 KiB at a time from the stack; no allocation, no limit on the length of a line. Whoever holds a whole file reads
//! its lines by [`PasswdLine`] and [`GroupLine`], which say what glibc's `files` service says (tests/local_lines.rs compares them).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Whether the passwd(5) or group(5) file at `path` has a line for `name`.
pub fn names(path: &Path, name: &str) -> io::Result<bool> {
    Ok(third_field(path, Some(name), |_| true)?.is_some())
}

/// The gid that the group(5) file at `path` gives `name`.
pub fn gid_of(path: &Path, name: &str) -> io::Result<Option<u32>> {
    Ok(third_field(path, Some(name), |_| true)?.flatten())
}

/// Whether a line of the passwd(5) or group(5) file at `path` has this uid or gid.
pub fn has_id(path: &Path, id: u32) -> io::Result<bool> {
    Ok(third_field(path, None, |field| field == Some(id))?.is_some())
}

/// The number in the third field of the first line that begins with `name:`, or of any line without a name, and is wanted; `Some(None)`
/// where that is not a number.
fn third_field(
    path: &Path,
    name: Option<&str>,
    wanted: impl Fn(Option<u32>) -> bool,
) -> io::Result<Option<Option<u32>>> {
    let mut scan = Scan {
        name: name.map(str::as_bytes),
        state: State::Name { matched: 0 },
    };
    let mut file = File::open(path)?;
    let mut chunk = [0; 1024];
    loop {
        let len = match file.read(&mut chunk) {
            Ok(0) => return Ok(scan.found(b'\n').filter(|field| wanted(*field))),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for byte in chunk.get(..len).unwrap_or_default() {
            if let Some(field) = scan.found(*byte).filter(|field| wanted(*field)) {
                return Ok(Some(field));
            }
        }
    }
}

struct Scan<'a> {
    /// `None`: every line's.
    name: Option<&'a [u8]>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// In the first field, of which this many bytes are those of the name.
    Name { matched: usize },
    /// In a line of somebody else.
    Other,
    /// In the second field of the line of the name.
    Password,
    /// In the third field, which has read so far as this number.
    Number { value: Option<u32>, digits: bool },
}

impl Scan<'_> {
    /// Takes the next byte; the third field, once it has ended.
    fn found(&mut self, byte: u8) -> Option<Option<u32>> {
        let (before, line_ends) = (self.state, byte == b'\n');
        self.state = match (before, byte) {
            (_, b'\n') => State::Name { matched: 0 },
            (State::Number { .. }, b':') => State::Other,
            // glibc's strtoul skips blanks before the number, and a sign.
            (State::Number { digits: false, .. }, blank) if is_blank(blank) || blank == b'+' => before,
            (State::Number { value, .. }, digit) => State::Number {
                value: append(value, digit),
                digits: true,
            },
            (State::Password, b':') => State::Number {
                value: Some(0),
                digits: false,
            },
            (State::Password, _) => State::Password,
            // glibc's `files` skips blanks before a line, and comments.
            (State::Name { matched: 0 }, blank) if is_blank(blank) => before,
            (State::Name { matched: 0 }, b'#') => State::Other,
            (State::Name { matched }, b':') if self.is_whole(matched) => State::Password,
            (State::Name { matched }, byte) if self.goes_on(matched, byte) => State::Name { matched: matched + 1 },
            _ => State::Other,
        };
        match before {
            State::Number { value, digits } if line_ends || byte == b':' => Some(value.filter(|_| digits)),
            // The line ends early: it names the name all the same.
            State::Password if line_ends => Some(None),
            State::Name { matched } if line_ends && matched > 0 && self.is_whole(matched) => Some(None),
            _ => None,
        }
    }

    fn is_whole(&self, matched: usize) -> bool {
        self.name.is_none_or(|name| matched == name.len())
    }

    fn goes_on(&self, matched: usize, byte: u8) -> bool {
        self.name.is_none_or(|name| name.get(matched) == Some(&byte))
    }
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn append(value: Option<u32>, digit: u8) -> Option<u32> {
    let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
    value?.checked_mul(10)?.checked_add(digit)
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
}

impl<'a> PasswdLine<'a> {
    /// What getpwent(3) makes of a line without its end; None where it passes over the line, or finds it but by no name and no
    /// number, as the `+` and `-` lines of nss_compat.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (name, rest) = field(entry(line)?);
        let (_password, rest) = field(rest);
        let (uid, rest) = number(rest)?;
        let (gid, _) = number(rest)?;
        Some(Self { name, uid, gid }).filter(|line| !is_compat(line.name))
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

    /// What getgrouplist(3) makes of a line: it takes comments for groups, too, so whom a comment names is in that group.
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

    /// The members' names. Blanks before a name are no part of it; what follows a colon is.
    pub fn members(&self) -> impl Iterator<Item = &'a [u8]> {
        let members = self.members.split(|byte| *byte == b',').map(without_blanks);
        members.filter(|member| !member.is_empty())
    }
}

/// The lines of a whole file.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

/// The line from its first letter on, if it is no comment.
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

/// A field that is a number, and what follows its colon. By strtoul(3), as glibc reads it: blanks and a sign before the digits, and a
/// minus that counts from the end of 64 bits. A line with a number of more than 32 bits is passed over (glibc 2.36).
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
    use crate::published_file::tests_support::Folder;

    #[test]
    fn a_line_is_found_by_its_whole_first_field() {
        let folder = Folder::new();
        let text = format!(
            "root:x:0:0::/root:/bin/sh\n#dave:x:1:\n{}:x:7:\ndav:x:8:\ndavey:x:9:\nx:dave:1:\nlast:x:1001:1001",
            "l".repeat(3000)
        );
        let path = folder.file("passwd", text.as_bytes());
        assert!(
            names(&path, "root").unwrap() && names(&path, "last").unwrap() && names(&path, &"l".repeat(3000)).unwrap()
        );
        assert!(!names(&path, "dave").unwrap() && !names(&path, "roo").unwrap() && !names(&path, "oot").unwrap());
        assert!(names(&folder.path().join("none"), "root").is_err());
    }

    // P1
    #[test]
    fn a_line_behind_blanks_is_a_local_accounts_too() {
        let folder = Folder::new();
        let path = folder.file(
            "passwd",
            b"root:x:0:0\n \t dave:x:1001:1001\n\x0b\rerin:x:7:7\nb ob:x:1:1\n",
        );
        assert!(names(&path, "dave").unwrap() && names(&path, "erin").unwrap());
        assert_eq!(gid_of(&path, "dave").unwrap(), Some(1001));
        assert!(!names(&path, "bob").unwrap() && !names(&path, "ob").unwrap());
    }

    // P1
    #[test]
    fn a_uid_is_found_in_whichever_line_has_it() {
        let folder = Folder::new();
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
        let folder = Folder::new();
        let path = folder.file(
            "group",
            b"root:x:0:\nsudo:x:27:alice,bob\nbad:x:12y:\nlarge:x:99999999999:\nnone:x::\nshort:x\nend:x:5",
        );
        let gid = |name| gid_of(&path, name).unwrap();
        assert_eq!((gid("root"), gid("sudo"), gid("end")), (Some(0), Some(27), Some(5)));
        assert_eq!(
            (gid("bad"), gid("large"), gid("none"), gid("short"), gid("alice")),
            (None, None, None, None, None)
        );
        assert!(names(&path, "short").unwrap() && names(&path, "bad").unwrap());
    }
}
