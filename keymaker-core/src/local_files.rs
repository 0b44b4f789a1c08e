//! Questions to /etc/passwd and /etc/group that must not go through NSS: they are asked from inside NSS and PAM, and at boot.
//!
//! A scan reads 1 KiB at a time from the stack; no allocation, no limit on the length of a line.

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
