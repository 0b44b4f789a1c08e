//! Hands one entry to the journal, with fields that journalctl matches. The daemons, the keys command and, where
//! keymakerd does not answer, the PAM module write by it.
//!
//! It never waits: an entry that journald has no room for is an error at once, and the caller says what becomes of it.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where journald takes entries.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// Where syslog(3) writes.
pub const DEV_LOG: &str = "/dev/log";
/// `LOG_AUTHPRIV` without its shift (syslog(3)): what sshd's and PAM's lines are.
pub const AUTHPRIV: u8 = 10;

/// How much a line matters (syslog(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// something to repair now
    Error = 3,
    /// something to repair
    Warning = 4,
    /// a refusal
    Notice = 5,
    /// anything else
    Info = 6,
    /// what only somebody who looks for a fault reads
    Debug = 7,
}

/// One entry in the form of <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalEntry(Vec<u8>);

impl JournalEntry {
    /// An entry of the program of this name.
    pub fn new(priority: Priority, identifier: &str) -> Self {
        let mut entry = Self(Vec::with_capacity(512));
        entry.put("PRIORITY", &(priority as u8).to_string());
        entry.put("SYSLOG_IDENTIFIER", identifier);
        entry
    }

    /// Adds a field; its name is in capitals. The value's length is told before it, so that nothing in a value can be
    /// taken for another field.
    pub fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    /// As it is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Hands it over at once; an error where journald's queue is full (`WouldBlock`) or nobody listens.
pub fn send(entry: &JournalEntry, socket: &Path) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to(entry.bytes(), socket).map(drop)
}

/// Whether somebody has shut the log of this process, as `keymaker why` does when it asks PAM and nobody logs in.
pub fn is_shut(dev_log: &Path) -> bool {
    std::fs::metadata(dev_log).is_ok_and(|log| !log.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    #[test]
    fn nothing_in_a_value_becomes_a_field() {
        let folder = TestFolder::new();
        let socket = folder.join("socket");
        let journald = UnixDatagram::bind(&socket).unwrap();
        let mut entry = JournalEntry::new(Priority::Notice, "sshd");
        entry.put("KEYMAKER_USER", "alice\nKEYMAKER_USER=root");
        send(&entry, &socket).unwrap();
        let mut received = [0; 512];
        let len = journald.recv(&mut received).unwrap();
        let expected = [
            b"PRIORITY\n\x01\0\0\0\0\0\0\x005\n".as_slice(),
            b"SYSLOG_IDENTIFIER\n\x04\0\0\0\0\0\0\0sshd\n",
            b"KEYMAKER_USER\n\x18\0\0\0\0\0\0\0alice\nKEYMAKER_USER=root\n",
        ];
        assert_eq!(&received[..len], expected.concat());
    }

    // P5
    #[test]
    fn a_journald_that_reads_nothing_keeps_nobody_waiting() {
        let folder = TestFolder::new();
        let socket = folder.join("socket");
        let entry = JournalEntry::new(Priority::Info, "sshd");
        assert!(send(&entry, &socket).is_err());
        let _journald = UnixDatagram::bind(&socket).unwrap();
        let taken = (0..1_000_000).take_while(|_| send(&entry, &socket).is_ok()).count();
        assert!((1..1_000_000).contains(&taken), "{taken}");
    }

    #[test]
    fn a_log_is_shut_where_something_else_stands_in_its_place() {
        let folder = TestFolder::new();
        let log = folder.join("log");
        assert!(!is_shut(&log));
        let journald = UnixDatagram::bind(&log).unwrap();
        assert!(!is_shut(&log));
        drop(journald);
        assert!(is_shut(Path::new("/dev/null")));
    }
}
