//! docs/formats.md against the code: the layouts that the source states, and real files, byte for byte.
//!
//! Where this fails the documentation is what is wrong; a changed layout also needs another version in the file's
//! magic.

#![cfg(test)]

use keymaker_core::directory_file::{DirectoryBuilder, FileStamp, Header, NewGroup, NewUser, Verdict};
use keymaker_core::id::{Gid, IdRange, Uid};
use keymaker_core::keys_file::{KeysBuilder, PublishedKey, UserKeys};
use keymaker_core::name::{GroupName, UserName};
use keymaker_core::published_file::format::HashKey;

const PAGE: &str = include_str!("../../docs/formats.md");
/// In real files, random.
const EXAMPLE: HashKey = HashKey(*b"keymaker example");
const ALICE: u32 = 1_983_430_411;
const DEVS: u32 = 1_951_979_194;

#[test]
fn the_layouts_in_the_documentation_are_those_in_the_source() {
    let sources = [
        include_str!("../src/published_file/format.rs"),
        include_str!("../src/directory_file/header.rs"),
        include_str!("../src/directory_file/records.rs"),
        include_str!("../src/keys_file.rs"),
    ];
    for source in sources {
        let opening = source.lines().map_while(|line| line.strip_prefix("//!"));
        let layout: Vec<&str> = opening
            .map(|line| line.strip_prefix(' ').unwrap_or_default())
            .skip_while(|line| *line != "```text")
            .take_while(|line| *line != "```")
            .collect();
        assert!(layout.len() > 2, "no layout in {source:.80}");
        let layout = layout.join("\n");
        assert!(PAGE.contains(&layout), "docs/formats.md lacks:\n{layout}");
    }
}

#[test]
fn the_dumps_in_the_documentation_are_of_files_as_they_are_written() {
    for (name, bytes) in [("directory", directory()), ("keys", keys())] {
        let dump = hexdump(&bytes);
        assert!(
            PAGE.contains(&dump),
            "docs/formats.md lacks this dump of {name}:\n{dump}"
        );
    }
}

#[test]
fn every_flag_and_verdict_is_in_a_table_of_the_documentation() {
    let header = include_str!("../src/directory_file/header.rs");
    let flags = header.lines().filter_map(|line| line.strip_prefix("const FLAG_"));
    let flags = flags.filter_map(|line| line.split_once("= ")?.1.strip_suffix(';'));
    let records = include_str!("../src/directory_file/records.rs");
    let verdicts = records.lines().filter_map(|line| line.trim().strip_prefix("Self::"));
    let verdicts = verdicts.filter_map(|line| line.split_once(" => ")?.1.strip_suffix(','));
    for (table, numbers) in [
        ("| flags, bit |", flags.collect::<Vec<_>>()),
        ("| verdict |", verdicts.collect()),
    ] {
        let (_, rows) = PAGE.split_once(table).unwrap();
        let rows = rows
            .lines()
            .skip(2)
            .map_while(|row| row.strip_prefix("| ")?.split(' ').next());
        assert_eq!(rows.collect::<Vec<_>>(), numbers, "after {table}");
    }
}

fn alice() -> UserName {
    UserName::parse(b"alice").unwrap()
}

fn directory() -> Vec<u8> {
    let mut header = Header {
        account: "123456789012",
        instance_id: "i-0123456789abcdef0",
        keymaker_users_gid: 997,
        whole_range_ours: true,
        settings_unread: false,
        max_stale: 86_400,
        authz_ttl: 60,
        passwd: FileStamp {
            inode: 0x1234,
            size: 1_180,
            mtime: 1_800_000_000_000_000_000,
        },
        required_group: "ops",
        ..Header::NOTHING
    };
    header.ranges[0] = IdRange::WIDE;
    header.local_gids[0] = 27;
    let mut builder = DirectoryBuilder::new(&header);
    builder
        .user(&NewUser {
            name: alice(),
            uid: Uid::new(ALICE).unwrap(),
            answered_at: 0,
            verdict: Verdict::Allowed,
            tombstone: false,
            seen_here: true,
            ended: false,
            gecos: "Alice",
            home: "/home/alice",
            shell: "/bin/bash",
            iam_user_id: "AIDAALICE",
            iam_user_name: "alice",
            proofs_from: None,
            groups: &[27, DEVS],
            former_names: &[],
        })
        .unwrap();
    builder
        .group(&NewGroup {
            name: GroupName::parse(b"devs").unwrap(),
            gid: Gid::new(DEVS).unwrap(),
            private: false,
            members: &[alice()],
        })
        .unwrap();
    builder.build_with(7, EXAMPLE).unwrap()
}

fn keys() -> Vec<u8> {
    let mut builder = KeysBuilder::new("123456789012", "i-0123456789abcdef0");
    builder
        .user(&UserKeys {
            name: alice(),
            uid: Uid::new(ALICE).unwrap(),
            iam_user_id: "AIDAALICE".to_owned(),
            answered_at: 1_800_000_000,
            keys: vec![PublishedKey {
                id: "APKA1".to_owned(),
                line: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w".to_owned(),
                fingerprint: "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ".to_owned(),
            }],
        })
        .unwrap();
    builder.build_with(3, EXAMPLE).unwrap()
}

/// As `hexdump -C` shows a file; a line that repeats the one before is `*`, however often.
fn hexdump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    let mut before: &[u8] = &[];
    for (number, line) in bytes.chunks(16).enumerate() {
        if line == before {
            dump += if dump.ends_with("*\n") { "" } else { "*\n" };
            continue;
        }
        before = line;
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let (left, right) = hex.split_at(hex.len().min(8));
        let text: String = line
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            })
            .collect();
        let hex = format!("{}  {}", left.join(" "), right.join(" "));
        dump += &format!("{:08x}  {hex:<48}  |{text}|\n", number * 16);
    }
    dump + &format!("{:08x}\n", bytes.len())
}
