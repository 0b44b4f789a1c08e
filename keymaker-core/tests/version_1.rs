//! Half-upgraded hosts: programs of version 1 read the files of today, and those of today read what keymakerd wrote in
//! version 1.
//!
//! `version_1/` holds the reading half of the former version's source, unchanged, and two files that its keymakerd
//! wrote. Frozen source and not the former packages: a shallow clone has no history to build them from, and cron,
//! logind or a sudo that began before the upgrade read with exactly this code. tests/upgrade.sh does the same with
//! packages, where there are some.

#![cfg(test)]
// What only one of the two versions needs.
#![allow(dead_code, reason = "the frozen source is whole, not what this test happens to call")]
#![allow(clippy::doc_markdown, reason = "the frozen source keeps its words")]

#[path = "version_1/directory_file/mod.rs"]
mod directory_file;
#[path = "version_1/keys_file.rs"]
mod keys_file;
#[path = "version_1/published_file/mod.rs"]
mod published_file;
// The frozen source finds these where it always did.
use keymaker_core::{crc32c, id, name, public_key};
use test_folder::TestFolder;

use keymaker_core::directory_file as today;
use keymaker_core::id::{Gid, IdRange, Uid};
use keymaker_core::keys_file as keys_today;
use keymaker_core::name::{GroupName, UserName};
use keymaker_core::published_file::writer::replace_file;

const FIRST_UID: u32 = 1_900_000_000;
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";
const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";

// P12
#[test]
fn a_program_that_began_before_the_upgrade_goes_on_resolving_everybody() {
    let folder = TestFolder::new();
    for number in [1, 2, 300, 5000] {
        replace_file(&folder.join("directory"), &directory_of(number), 0o644).unwrap();
        let directory = directory_file::Directory::open(&folder.join("directory")).unwrap();
        assert_eq!(directory.header().account, "123456789012");
        let mut buffer = [0; directory_file::MAX_USER_RECORD];
        for user in (0..number).map(name_of).zip(FIRST_UID..) {
            let found = directory.user_by_name(user.0, &mut buffer).unwrap().unwrap();
            assert_eq!((found.uid.get(), found.groups().count()), (user.1, 1));
            let found = directory.user_by_uid(user.1, &mut buffer).unwrap().unwrap();
            assert_eq!(found.name, user.0);
        }
        let mut buffer = vec![0; 1 << 20];
        let devs = directory.group_by_name(devs(), &mut buffer).unwrap().unwrap();
        assert_eq!(devs.members().count(), number as usize);
        let mut seen = 0;
        let (mut from, mut buffer) = (0, [0; directory_file::MAX_USER_RECORD]);
        while let Some((next, _)) = directory.next_user(from, &mut buffer).unwrap() {
            (from, seen) = (next, seen + 1);
        }
        assert_eq!(seen, number);
    }
}

#[test]
fn a_keys_command_of_before_the_upgrade_finds_the_keys_of_today() {
    let folder = TestFolder::new();
    let mut builder = keys_today::KeysBuilder::new("123456789012", "i-1");
    for number in 0..300 {
        builder
            .user(&keys_today::UserKeys {
                name: name_of(number),
                uid: Uid::new(FIRST_UID + number).unwrap(),
                iam_user_id: format!("AIDA{number}"),
                answered_at: 7,
                keys: vec![keys_today::PublishedKey {
                    id: "APKA1".to_owned(),
                    line: KEY.to_owned(),
                    fingerprint: FINGERPRINT.to_owned(),
                }],
            })
            .unwrap();
    }
    let path = folder.join("keys");
    replace_file(&path, &builder.build(1).unwrap(), 0o644).unwrap();
    let file = keys_file::KeysFile::open(&path).unwrap();
    for number in 0..300 {
        let user = file.user(name_of(number)).unwrap().unwrap();
        assert_eq!((user.uid.get(), user.keys[0].line.as_str()), (FIRST_UID + number, KEY));
    }
}

#[test]
fn a_module_of_today_reads_what_the_keymakerd_of_before_the_upgrade_wrote() {
    let folder = TestFolder::new();
    for (name, bytes) in [
        ("directory", include_bytes!("version_1/directory").as_slice()),
        ("keys", include_bytes!("version_1/keys")),
    ] {
        replace_file(&folder.join(name), bytes, 0o644).unwrap();
    }
    let directory = today::Directory::open(&folder.join("directory")).unwrap();
    assert_eq!((directory.generation(), directory.header().required_group), (7, "ops"));
    let alice = UserName::parse(b"alice").unwrap();
    let mut buffer = [0; today::MAX_USER_RECORD];
    let by_name = directory.user_by_name(alice, &mut buffer).unwrap().unwrap();
    let (uid, groups) = (by_name.uid.get(), by_name.groups().collect::<Vec<_>>());
    assert_eq!(
        (uid, groups.as_slice()),
        (1_983_430_411, [27, 1_951_979_194].as_slice())
    );
    assert_eq!(directory.user_by_uid(uid, &mut buffer).unwrap().unwrap().name, alice);
    let (next, first) = directory.next_user(0, &mut buffer).unwrap().unwrap();
    assert_eq!(first.name, alice);
    assert!(directory.next_user(next, &mut buffer).unwrap().is_none());
    let mut buffer = [0; 256];
    let devs = directory.group_by_name(devs(), &mut buffer).unwrap().unwrap();
    assert_eq!(devs.members().collect::<Vec<_>>(), [b"alice"]);
    let bob = UserName::parse(b"bob").unwrap();
    let mut buffer = [0; today::MAX_USER_RECORD];
    assert!(directory.user_by_name(bob, &mut buffer).unwrap().is_none());

    let keys = keys_today::KeysFile::open(&folder.join("keys")).unwrap();
    assert_eq!(keys.user(alice).unwrap().unwrap().keys[0].line, KEY);
    assert_eq!(keys.user(bob).unwrap(), None);
}

fn directory_of(users: u32) -> Vec<u8> {
    let mut header = today::Header {
        account: "123456789012",
        ..today::Header::NOTHING
    };
    header.ranges[0] = IdRange::WIDE;
    let mut builder = today::DirectoryBuilder::new(&header);
    for number in 0..users {
        builder
            .user(&today::NewUser {
                name: name_of(number),
                uid: Uid::new(FIRST_UID + number).unwrap(),
                answered_at: 0,
                verdict: today::Verdict::Allowed,
                tombstone: false,
                seen_here: true,
                ended: false,
                gecos: "",
                home: "/home/x",
                shell: "/bin/sh",
                iam_user_id: "AIDA",
                iam_user_name: "x",
                proofs_from: None,
                groups: &[2_000_000_000],
                // A record that version 1 did not know.
                former_names: &[name_of(number)][..(number % 2) as usize],
            })
            .unwrap();
    }
    let members: Vec<UserName> = (0..users).map(name_of).collect();
    builder
        .group(&today::NewGroup {
            name: devs(),
            gid: Gid::new(2_000_000_000).unwrap(),
            private: false,
            members: &members,
        })
        .unwrap();
    builder.build(1).unwrap()
}

fn name_of(number: u32) -> UserName {
    UserName::parse(format!("user{number}").as_bytes()).unwrap()
}

fn devs() -> GroupName {
    GroupName::parse(b"devs").unwrap()
}
