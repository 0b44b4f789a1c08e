//! Questions to /etc/passwd and /etc/group that must not go through NSS: they are asked from inside NSS and PAM, and at boot.
//!
//! A scan reads 1 KiB at a time from the stack; no allocation, no limit on the length of a line.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Whether the passwd(5) or group(5) file at `path` has a line for `name`.
pub fn names(path: &Path, name: &str) -> io::Result<bool> {
    Ok(third_field(path, name)?.is_some())
}

/// The gid that the group(5) file at `path` gives `name`.
pub fn gid_of(path: &Path, name: &str) -> io::Result<Option<u32>> {
    Ok(third_field(path, name)?.flatten())
}

/// The number in the third field of the first line that begins with `name:`; `Some(None)` where that is not a number.
fn third_field(path: &Path, name: &str) -> io::Result<Option<Option<u32>>> {
    let mut scan = Scan {
        name: name.as_bytes(),
        state: State::Name { matched: 0 },
    };
    let mut file = File::open(path)?;
    let mut chunk = [0; 1024];
    loop {
        let len = match file.read(&mut chunk) {
            Ok(0) => return Ok(scan.found(b'\n')),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for byte in chunk.get(..len).unwrap_or_default() {
            if let Some(found) = scan.found(*byte) {
                return Ok(Some(found));
            }
        }
    }
}

struct Scan<'a> {
    name: &'a [u8],
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
        self.state = match (self.state, byte) {
            (State::Number { value, digits }, b':' | b'\n') => return Some(value.filter(|_| digits)),
            (State::Number { value, .. }, digit) => State::Number {
                value: append(value, digit),
                digits: true,
            },
            // The line ends early: it names the name all the same.
            (State::Password, b'\n') => return Some(None),
            (State::Password, b':') => State::Number {
                value: Some(0),
                digits: false,
            },
            (State::Password, _) => State::Password,
            (State::Name { matched }, b'\n') if matched == self.name.len() && matched > 0 => return Some(None),
            (_, b'\n') => State::Name { matched: 0 },
            // glibc's `files` skips blanks before a line.
            (State::Name { matched: 0 }, blank) if blank.is_ascii_whitespace() || blank == 0x0b => {
                State::Name { matched: 0 }
            }
            (State::Name { matched }, b':') if matched == self.name.len() => State::Password,
            (State::Name { matched }, byte) if self.name.get(matched) == Some(&byte) => {
                State::Name { matched: matched + 1 }
            }
            _ => State::Other,
        };
        None
    }
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
