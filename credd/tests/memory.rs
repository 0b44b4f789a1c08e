//! What is left of a secret in the memory of a running credd, and what of credd a core would hold. The built program,
//! started as its unit starts it, between a stand-in for metadata and STS and a client over the wire; root looks into
//! its memory.

#![cfg(test)]

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;

use rustix::process::{Pid, Signal, kill_process};

mod stage;
use stage::{Daemon, World};

// P19
#[test]
fn a_secret_that_is_no_longer_handed_out_is_nowhere_in_credds_memory() {
    if !rustix::process::getuid().is_root() {
        println!("not run: only root may look into the memory of credd");
        return;
    }
    let world = World::start();
    let daemon = Daemon::start("memory", &world, &[]);
    let first = daemon.secret();
    assert!(first.starts_with("SECRETOFSESSION1"), "{first}");
    // The test can see: what is kept to be handed out again is there.
    assert!(copies_of(&daemon, &first) > 0);
    daemon.reload(&world, "role_path = \"/p/\"\n");
    daemon.until("another session", || daemon.secret() != first);
    let second = daemon.secret();
    assert!(copies_of(&daemon, &second) > 0);
    daemon.until("the first secret is gone", || copies_of(&daemon, &first) == 0);
    // Nor has the log any of it.
    let log = fs::read_to_string(daemon.folder.join("log")).unwrap();
    assert!(log.contains("role_credentials"), "{log}");
    assert!(!log.contains(&first) && !log.contains(&second));
}

// P19
#[test]
fn credd_leaves_no_core_whatever_kills_it() {
    let world = World::start();
    let unlimited = ["sh", "-c", "ulimit -S -c unlimited; exec \"$0\" \"$@\""];
    let mut daemon = Daemon::start("core", &world, &unlimited);
    daemon.secret();
    let pid = daemon.child.id();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::ABORT).unwrap();
    let status = daemon.child.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
    let left: Vec<_> = fs::read_dir(&daemon.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left.iter().any(|name| name.to_string_lossy().contains("core")),
        "{left:?}"
    );
}

/// How often `secret`, all but its beginning, stands in what credd can write to. The allocator writes its own notes
/// over the beginning of what is freed; that alone does not wipe it.
fn copies_of(daemon: &Daemon, secret: &str) -> usize {
    let needle = &secret.as_bytes()[FIRST_BYTES..];
    let pid = daemon.child.id();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut copies = 0;
    for line in maps
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")))
    {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        memory.seek(SeekFrom::Start(from)).unwrap();
        // A mapping may be gone meanwhile.
        if memory.read_exact(&mut bytes).is_ok() {
            copies += bytes.windows(needle.len()).filter(|part| *part == needle).count();
        }
    }
    copies
}

/// Longer than the notes of the allocator.
const FIRST_BYTES: usize = 15;
