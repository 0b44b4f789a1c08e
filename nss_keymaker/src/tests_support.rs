//! A host of a test's own: a folder with the published directory, the local files and a socket; called by the tests
//! only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keymaker_core::directory_file::{DirectoryBuilder, FileStamp, Header, NewGroup, NewUser, Verdict};
use keymaker_core::id::{Gid, IdRange, Uid};
use keymaker_core::name::{GroupName, UserName};
use keymaker_core::published_file::writer::replace_published;
use test_folder::TestFolder;

use crate::NssHost;
use crate::remembered::RememberedAnswers;

pub const ALICE: u32 = 1_900_000_001;
pub const BOB: u32 = 1_900_000_002;
pub const GONE: u32 = 1_900_000_003;
pub const DEVS: u32 = 1_900_000_100;
/// Lies in the directory, but in none of its ranges.
pub const STRAY: u32 = 5000;
pub const KEYMAKER_USERS: u32 = 990;
pub const SUDO: u32 = 27;

/// The folder, gone when the test ends.
pub struct TestHost {
    _folder: TestFolder,
    paths: [PathBuf; 4],
    memory: RememberedAnswers,
}

impl TestHost {
    /// A host on which alice has logged in and bob has not, and whose directory still knows gone.
    pub fn new() -> Self {
        let folder = TestFolder::new();
        let paths = ["directory", "lookup.sock", "passwd", "group"].map(|name| folder.join(name));
        let host = Self {
            _folder: folder,
            paths,
            memory: RememberedAnswers::new(),
        };
        std::fs::write(host.host().passwd, "root:x:0:0::/root:/bin/sh\n").unwrap();
        std::fs::write(host.host().group, "root:x:0:\nsudo:x:27:\nkeymaker-users:x:990:\n").unwrap();
        host.publish(false);
        host
    }

    /// The same as a lookup's parameter.
    pub fn host(&self) -> NssHost<'_> {
        let [directory, lookup_socket, passwd, group] = &self.paths;
        NssHost {
            directory,
            lookup_socket,
            passwd,
            group,
            patience: Duration::from_millis(200),
            memory: &self.memory,
        }
    }

    /// Publishes the directory, as made from the local files as they are now.
    pub fn publish(&self, enumerate_all: bool) {
        publish(&self.paths, enumerate_all, &[]);
    }

    /// What [`publish`] needs, for a daemon in another thread.
    pub fn paths(&self) -> [PathBuf; 4] {
        self.paths.clone()
    }
}

/// Publishes the usual users, and `more` of these names and uids.
pub fn publish(paths: &[PathBuf; 4], enumerate_all: bool, more: &[(&str, u32)]) {
    let [directory, _, passwd, group] = paths;
    let stamp = |path: &Path| FileStamp::of(&std::fs::metadata(path).unwrap());
    let mut header = Header {
        keymaker_users_gid: KEYMAKER_USERS,
        enumerate_all,
        passwd: stamp(passwd),
        group: stamp(group),
        ..Header::NOTHING
    };
    header.ranges[0] = IdRange::WIDE;
    header.local_gids[0] = SUDO;
    let mut builder = DirectoryBuilder::new(&header);
    let usual = [
        ("alice", ALICE),
        ("bob", BOB),
        ("gone", GONE),
        ("stray", STRAY),
        ("wheel", BOB + 5),
    ];
    for (name, uid) in usual.iter().chain(more) {
        add(&mut builder, name, *uid);
    }
    let members = ["alice", "bob"].map(|name| UserName::parse(name.as_bytes()).unwrap());
    builder.group(&new_group("devs", DEVS, false, &members)).unwrap();
    builder.group(&new_group("none", DEVS + 1, false, &[])).unwrap();
    builder.group(&new_group("docker", DEVS + 2, false, &members)).unwrap();
    replace_published(directory, &builder.build(1).unwrap(), 0o644).unwrap();
}

fn add(builder: &mut DirectoryBuilder, name: &str, uid: u32) {
    let user = NewUser {
        name: UserName::parse(name.as_bytes()).unwrap(),
        uid: Uid::new(uid).unwrap(),
        answered_at: 0,
        verdict: Verdict::Allowed,
        tombstone: name == "gone",
        seen_here: name == "alice",
        ended: false,
        gecos: "A user",
        home: &format!("/home/{name}"),
        shell: "/bin/bash",
        iam_user_id: "AIDA",
        iam_user_name: name,
        proofs_from: None,
        // DEVS and sudo's gid are the user's; 0, docker's 999 and 6000 no file may give.
        groups: &[DEVS, SUDO, 0, 999, 6000],
        former_names: &[],
    };
    builder.user(&user).unwrap();
    builder.group(&new_group(name, uid, true, &[])).unwrap();
}

fn new_group<'a>(name: &str, gid: u32, private: bool, members: &'a [UserName]) -> NewGroup<'a> {
    NewGroup {
        name: GroupName::parse(name.as_bytes()).unwrap(),
        gid: Gid::new(gid).unwrap(),
        private,
        members,
    }
}

/// The text that begins at `at`.
pub fn text(buffer: &[u8], at: usize) -> &str {
    let rest = &buffer[at..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap();
    str::from_utf8(&rest[..end]).unwrap()
}
