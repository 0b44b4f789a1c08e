//! Whose the processes of this host are. end-sessions ends those of a user, keymaker doctor looks where some come from.
//!
//! What /proc says of a number may be true of another process a moment later. Whoever signals one takes hold of it
//! first (`sys::HeldProcess`) and asks here afterwards: then either the answer is about that process, or the signal
//! meets nobody.

use std::fs;
use std::io;
use std::path::Path;

/// A process, as proc(5) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// The number of the process that started it, or took it over.
    pub parent: i32,
    real: u32,
    saved: u32,
}

/// Every process that is not dead. `PermissionDenied`: /proc does not show those of others (`hidepid=`).
pub fn all(proc: &Path) -> io::Result<Vec<Process>> {
    if !proc.join("1/status").exists() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "/proc does not show the processes of others",
        ));
    }
    let pids = fs::read_dir(proc)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| Process::read(proc, pid)).collect())
}

impl Process {
    /// The process of this number; `None` where there is none, or it is dead and waits for its parent.
    pub fn read(proc: &Path, pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read(proc.join(pid.to_string()).join("status")).ok()?)
    }

    /// The kernel writes a line break in a process's name as `\n`, so no name makes a line of its own.
    fn parse(pid: i32, status: &[u8]) -> Option<Self> {
        let field = |name: &[u8]| {
            let mut lines = status.split(|byte| *byte == b'\n');
            let value = lines.find_map(|line| line.strip_prefix(name))?;
            str::from_utf8(value).ok().map(str::split_ascii_whitespace)
        };
        if matches!(field(b"State:")?.next()?, "Z" | "X") {
            return None;
        }
        let mut uids = field(b"Uid:")?.map(str::parse);
        let (real, _effective, saved) = (uids.next()?.ok()?, uids.next()?.ok()?, uids.next()?.ok()?);
        Some(Self {
            pid,
            parent: field(b"PPid:")?.next()?.parse().ok()?,
            real,
            saved,
        })
    }

    /// Whose it is: those whom kill(2) would let signal it, but not the saved one of a process of root's. So a setuid
    /// program of a user's is theirs, whoever runs it, and a daemon of root's that works as a user for a moment is
    /// root's.
    pub fn owners(&self) -> impl Iterator<Item = u32> {
        let saved = (self.real != 0 && self.saved != self.real).then_some(self.saved);
        std::iter::once(self.real).chain(saved)
    }

    /// Whether it is this user's.
    pub fn is_of(&self, uid: u32) -> bool {
        self.owners().any(|owner| owner == uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    fn status(name: &str, state: &str, uids: &str) -> String {
        format!(
            "Name:\t{name}\nUmask:\t0022\nState:\t{state}\nTgid:\t7\nPid:\t7\nPPid:\t3\nUid:\t{uids}\nGid:\t0\t0\t0\t0\n"
        )
    }

    fn owners(state: &str, uids: &str) -> Option<Vec<u32>> {
        let read = Process::parse(7, status("x", state, uids).as_bytes());
        read.map(|process| process.owners().collect())
    }

    #[test]
    fn a_process_is_its_users_and_a_setuid_programs_owners_and_roots_stays_roots() {
        for (uids, expected) in [
            ("1001\t1001\t1001\t1001", vec![1001]),
            // A setuid program of 1001's that 1002 runs; one of root's that 1001 runs.
            ("1002\t1001\t1001\t1001", vec![1002, 1001]),
            ("1001\t0\t0\t0", vec![1001, 0]),
            // A daemon that looks at files as a user, by seteuid(2), setfsuid(2) or setreuid(2).
            ("0\t1001\t0\t1001", vec![0]),
            ("0\t0\t0\t1001", vec![0]),
            ("0\t1001\t1001\t1001", vec![0]),
            ("33\t1001\t33\t1001", vec![33]),
        ] {
            assert_eq!(owners("S (sleeping)", uids), Some(expected), "{uids}");
        }
        assert_eq!(owners("Z (zombie)", "1001\t1001\t1001\t1001"), None);
        assert_eq!(owners("S (sleeping)", "1001"), None);
    }

    #[test]
    fn no_name_of_a_process_says_whose_it_is() {
        let named = status("x\\nUid:\\t0\\t0\\t0\\t0", "R (running)", "1001\t1001\t1001\t1001");
        assert!(Process::parse(7, named.as_bytes()).unwrap().is_of(1001));
    }

    #[test]
    fn a_proc_that_shows_only_ones_own_processes_is_an_error_and_not_an_empty_host() {
        let folder = TestFolder::new();
        assert_eq!(all(&folder).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        for pid in ["1", "7", "self"] {
            fs::create_dir(folder.join(pid)).unwrap();
            fs::write(
                folder.join(pid).join("status"),
                status("x", "S (sleeping)", "0\t0\t0\t0"),
            )
            .unwrap();
        }
        let mut pids: Vec<i32> = all(&folder).unwrap().iter().map(|process| process.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [1, 7]);
        let own = i32::try_from(std::process::id()).unwrap();
        let own = Process::read(Path::new("/proc"), own).unwrap();
        assert!(own.is_of(crate::sys::own_uid()) && own.parent > 0);
    }
}
