//! The directory file as others would read it, and records that must never be written.

use super::*;
use crate::id::{Gid, IdRange, Uid};
use test_folder::TestFolder;

fn name(text: &str) -> UserName {
    UserName::parse(text.as_bytes()).unwrap()
}

fn header() -> Header<'static> {
    let mut ranges = [IdRange::EMPTY; header::RANGES];
    ranges[0] = IdRange::WIDE;
    let mut local_gids = [0; header::LOCAL_GIDS];
    local_gids[0] = 27;
    Header {
        account: "123456789012",
        instance_id: "i-0123456789abcdef0",
        ranges,
        local_gids,
        keymaker_users_gid: 998,
        enumerate_all: true,
        whole_range_ours: true,
        settings_unread: false,
        end_sessions: true,
        instance_connect: true,
        without_iam_keys: true,
        max_stale: 86_400,
        max_stale_running: 604_800,
        authz_ttl: 60,
        passwd: FileStamp {
            inode: 1,
            size: 2,
            mtime: 3,
        },
        group: FileStamp {
            inode: 4,
            size: 5,
            mtime: 6,
        },
        required_group: "prod_ssh_users",
        id_resolver: [7; 32],
    }
}

fn user<'a>(login: &str, uid: u32, groups: &'a [u32]) -> NewUser<'a> {
    NewUser {
        name: name(login),
        uid: Uid::new(uid).unwrap(),
        answered_at: 0,
        verdict: Verdict::Allowed,
        tombstone: false,
        seen_here: true,
        ended: false,
        gecos: "Alice Ä.",
        home: "/home/alice",
        shell: "/bin/bash",
        iam_user_id: "AIDAALICE",
        iam_user_name: "alice",
        proofs_from: None,
        groups,
        former_names: &[],
    }
}

#[test]
fn a_directory_comes_back_as_it_was_written() {
    let folder = TestFolder::new();
    let mut builder = DirectoryBuilder::new(&header());
    builder
        .user(&user("alice", 1_900_000_000, &[27, 1_900_000_001]))
        .unwrap();
    let members = [name("alice"), name("bob")];
    let devs = GroupName::parse(b"devs").unwrap();
    builder
        .group(&NewGroup {
            name: devs,
            gid: Gid::new(1_900_000_001).unwrap(),
            private: false,
            members: &members,
        })
        .unwrap();
    let path = folder.file("directory", builder.build(9).unwrap());

    let directory = Directory::open(&path).unwrap();
    assert_eq!(directory.header(), header());
    let mut buffer = [0; MAX_USER_RECORD];
    let alice = directory.user_by_name(name("alice"), &mut buffer).unwrap().unwrap();
    assert_eq!(
        (alice.uid.get(), alice.gecos, alice.home, alice.shell),
        (1_900_000_000, "Alice Ä.", "/home/alice", "/bin/bash")
    );
    assert_eq!(
        (alice.iam_user_id, alice.iam_user_name, alice.verdict),
        ("AIDAALICE", "alice", Verdict::Allowed)
    );
    assert_eq!(alice.groups().collect::<Vec<_>>(), [27, 1_900_000_001]);
    assert!(directory.user_by_uid(1_900_000_000, &mut buffer).unwrap().is_some());
    assert!(directory.user_by_uid(0, &mut buffer).unwrap().is_none());
    assert!(directory.user_by_name(name("bob"), &mut buffer).unwrap().is_none());
    let mut buffer = [0; 256];
    let devs = directory.group_by_name(devs, &mut buffer).unwrap().unwrap();
    assert_eq!(devs.members().collect::<Vec<_>>(), [b"alice".as_slice(), b"bob"]);
    assert!(matches!(
        directory.group_by_gid(1_900_000_001, &mut [0; 8]),
        Err(ReadError::BufferTooSmall)
    ));
}

#[test]
fn a_directory_read_whole_is_asked_in_memory_and_says_the_same() {
    let folder = TestFolder::new();
    let mut builder = DirectoryBuilder::new(&header());
    for number in 0..300 {
        builder
            .user(&user(&format!("user{number}"), 1_900_000_000 + number * 7, &[27]))
            .unwrap();
    }
    let path = folder.file("directory", builder.build(9).unwrap());
    let users = |directory: &Directory| {
        let (mut from, mut buffer, mut users) = (0, [0; MAX_USER_RECORD], Vec::new());
        while let Some((next, user)) = directory.next_user(from, &mut buffer).unwrap() {
            users.push((user.name, user.uid));
            from = next;
        }
        users
    };
    let (on_disk, whole) = (Directory::open(&path).unwrap(), Directory::open_whole(&path).unwrap());
    let before = users(&on_disk);
    assert_eq!(
        (before.len(), whole.header(), whole.state()),
        (300, header(), on_disk.state())
    );
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    assert_eq!(users(&whole), before);
    let mut buffer = [0; MAX_USER_RECORD];
    assert!(whole.user_by_name(name("user7"), &mut buffer).unwrap().is_some());
    assert!(whole.user_by_uid(1_900_000_001, &mut buffer).unwrap().is_none());
    // What is no longer there is not made up.
    assert!(matches!(on_disk.next_user(0, &mut buffer), Err(ReadError::Damaged)));
    assert!(matches!(Directory::open_whole(&path), Err(ReadError::Damaged)));
}

// P1
#[test]
fn a_record_with_a_system_uid_is_damage_not_a_user() {
    let (mut record, _) = user("alice", 1_900_000_000, &[]).encode().unwrap();
    record[..4].copy_from_slice(&0u32.to_le_bytes());
    assert!(User::parse(&record).is_none());
    record[..4].copy_from_slice(&999u32.to_le_bytes());
    assert!(User::parse(&record).is_none());
}

#[test]
fn an_enumeration_that_would_begin_again_is_damage() {
    let last = u32::MAX;
    let mut builder = DirectoryBuilder::new(&header());
    let (record, _) = user("alice", 1_900_000_000, &[]).encode().unwrap();
    builder.file.add(&record, &[(UIDS, Key::Id(last))]).unwrap();
    let group = NewGroup {
        name: GroupName::parse(b"devs").unwrap(),
        gid: Gid::new(1_900_000_001).unwrap(),
        private: false,
        members: &[],
    };
    let record = group.encode().unwrap();
    builder.file.add(&record, &[(GIDS, Key::Id(last))]).unwrap();
    let folder = TestFolder::new();
    let directory = Directory::open(&folder.file("directory", builder.build(1).unwrap())).unwrap();
    let mut buffer = [0; MAX_USER_RECORD];
    let next = directory.next_user(last, &mut buffer).map(|_| ());
    assert!(matches!(next, Err(ReadError::Damaged)), "{next:?}");
    let next = directory.next_group(last, &mut buffer).map(|_| ());
    assert!(matches!(next, Err(ReadError::Damaged)), "{next:?}");
}

#[test]
fn texts_that_would_forge_a_passwd_line_are_refused() {
    for gecos in ["a:b", "a\nroot::0:0::/:/bin/sh", "a\0b", &"x".repeat(256)] {
        assert_eq!(
            NewUser {
                gecos,
                ..user("alice", 1_900_000_000, &[])
            }
            .encode(),
            Err(RecordError::BadText)
        );
    }
}

#[test]
fn former_names_come_back_and_one_that_is_cut_off_is_damage() {
    let names = [name("alice"), name("al")];
    let new = NewUser {
        former_names: &names,
        ..user("alicia", 1_900_000_000, &[27, 1_900_000_001])
    };
    let (record, former_len) = new.encode().unwrap();
    let read = User::parse(&record).unwrap();
    assert_eq!(read.former_names().collect::<Vec<_>>(), names);
    assert_eq!(read.groups().collect::<Vec<_>>(), [27, 1_900_000_001]);
    let former = NewUser {
        former_names: &[],
        ..new.clone()
    };
    assert_eq!(former.encode(), Ok((record[..former_len].to_vec(), former_len)));
    let (none, _) = user("alice", 1_900_000_000, &[]).encode().unwrap();
    assert_eq!(User::parse(&none).unwrap().former_names().count(), 0);
    assert!(User::parse(record.split_last().unwrap().1).is_none());
    let five = [name("a"), name("b"), name("c"), name("d"), name("e")];
    let too_many = NewUser {
        former_names: &five,
        ..new
    };
    assert_eq!(too_many.encode(), Err(RecordError::TooMany));
}

#[test]
fn the_largest_user_fits_its_record() {
    let long = "x".repeat(255);
    let groups = [1_900_000_001; records::MAX_GROUPS];
    let largest = NewUser {
        name: name(&"a".repeat(32)),
        gecos: &long,
        home: &long,
        shell: &long,
        iam_user_id: &long,
        iam_user_name: &long,
        former_names: &[name(&"b".repeat(32)); MAX_FORMER_NAMES],
        ..user("a", 1_900_000_000, &groups)
    };
    assert!(largest.encode().unwrap().0.len() <= MAX_USER_RECORD);
    let too_many = [1; records::MAX_GROUPS + 1];
    assert_eq!(
        NewUser {
            groups: &too_many,
            ..largest
        }
        .encode(),
        Err(RecordError::TooMany)
    );
}

#[test]
fn local_gids_are_allowed_by_the_header_alone_and_never_zero() {
    let header = header();
    assert!(header.allows_local_gid(27) && header.allows_local_gid(998));
    assert!(!header.allows_local_gid(0) && !header.allows_local_gid(4));
}

#[test]
fn what_a_later_writer_puts_behind_a_record_is_skipped() {
    let folder = TestFolder::new();
    let mut builder = DirectoryBuilder::new(&header());
    let (alice, uid) = (name("alice"), 1_900_000_000);
    let record = [
        user("alice", uid, &[27]).encode().unwrap().0,
        vec![0, 1, 1, 1, 1, 1, 1, 1, 1],
    ]
    .concat();
    let keys = [(USER_NAMES, Key::Name("alice")), (UIDS, Key::Id(uid))];
    builder.file.add(&record, &keys).unwrap();
    let devs = NewGroup {
        name: GroupName::parse(b"devs").unwrap(),
        gid: Gid::new(1_900_000_001).unwrap(),
        private: false,
        members: &[alice],
    };
    let record = [devs.encode().unwrap(), vec![0, 1, 0, 0, 0, 0, 0, 0]].concat();
    builder.file.add(&record, &[(GROUP_NAMES, Key::Name("devs"))]).unwrap();
    let path = folder.file("directory", builder.build(1).unwrap());

    let directory = Directory::open(&path).unwrap();
    let mut buffer = [0; MAX_USER_RECORD];
    let found = directory.user_by_name(alice, &mut buffer).unwrap().unwrap();
    assert_eq!((found.uid.get(), found.groups().collect::<Vec<_>>()), (uid, vec![27]));
    let mut buffer = [0; 64];
    let found = directory.group_by_name(devs.name, &mut buffer).unwrap().unwrap();
    assert_eq!((found.texts, found.member_count), (b"devs\0alice\0".as_slice(), 1));
}

// P2
#[test]
fn an_index_that_leads_to_somebody_elses_record_finds_nobody() {
    let (alice, devs) = (user("alice", 1_900_000_000, &[]), GroupName::parse(b"devs").unwrap());
    let devs = NewGroup {
        name: devs,
        gid: Gid::new(1_900_000_001).unwrap(),
        private: false,
        members: &[],
    };
    let mut builder = DirectoryBuilder::new(&header());
    // As where the hashes of two names are equal.
    let keys = [(USER_NAMES, Key::Name("bob")), (UIDS, Key::Id(1_900_000_002))];
    builder.file.add(&alice.encode().unwrap().0, &keys).unwrap();
    let keys = [(GROUP_NAMES, Key::Name("ops")), (GIDS, Key::Id(1_900_000_003))];
    builder.file.add(&devs.encode().unwrap(), &keys).unwrap();
    let folder = TestFolder::new();
    let directory = Directory::open(&folder.file("directory", builder.build(1).unwrap())).unwrap();

    let mut buffer = [0; MAX_USER_RECORD];
    assert!(directory.user_by_name(name("bob"), &mut buffer).unwrap().is_none());
    assert!(directory.user_by_uid(1_900_000_002, &mut buffer).unwrap().is_none());
    let ops = GroupName::parse(b"ops").unwrap();
    assert!(directory.group_by_name(ops, &mut buffer).unwrap().is_none());
    assert!(directory.group_by_gid(1_900_000_003, &mut buffer).unwrap().is_none());
}

#[test]
fn each_flag_of_the_header_says_one_thing() {
    let none = Header {
        enumerate_all: false,
        whole_range_ours: false,
        settings_unread: false,
        end_sessions: false,
        instance_connect: false,
        without_iam_keys: false,
        ..header()
    };
    for flags in [
        none,
        Header {
            enumerate_all: true,
            ..none
        },
        Header {
            whole_range_ours: true,
            ..none
        },
        Header {
            settings_unread: true,
            ..none
        },
        Header {
            end_sessions: true,
            ..none
        },
        Header {
            instance_connect: true,
            ..none
        },
        Header {
            without_iam_keys: true,
            ..none
        },
    ] {
        assert_eq!(Header::parse(&flags.encode()), Some(flags));
        let inside = IdRange::WIDE.first;
        assert_eq!(flags.claims_uid(inside), flags.whole_range_ours);
        assert!(!flags.claims_uid(inside - 1));
    }
}
