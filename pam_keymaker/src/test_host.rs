//! A host of a test's own, with the IAM user alice on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keymaker_core::directory_file::{DirectoryBuilder, Header, NewUser, Verdict};
use keymaker_core::id::{IdRange, Uid};
use keymaker_core::keys_file::{KeysBuilder, PublishedKey, UserKeys};
use keymaker_core::name::UserName;
use keymaker_core::published_file::writer::replace_file;
use keymaker_core::sys::ResolvedUser;
use test_folder::TestFolder;

use crate::ours::PamHost;

pub const UID: u32 = 1_900_000_000;
pub const KEYMAKER_USERS: u32 = 998;
pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";
pub const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";

/// The host; tests change it and then ask.
pub struct TestHost {
    folder: TestFolder,
    pub header: Header<'static>,
    pub alice: NewUser<'static>,
    pub keys: UserKeys,
    /// what getpwnam(3) finds for any name
    pub resolved: Option<u32>,
    /// what getpwuid(3) finds for any number
    pub name_of_number: Option<&'static str>,
    /// what getgrouplist(3) finds
    pub groups: Vec<u32>,
    /// the directory's
    pub generation: u64,
    pub now: SystemTime,
}

impl TestHost {
    pub fn new() -> Self {
        let folder = TestFolder::new();
        fs::write(
            folder.join("passwd"),
            "root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1000::/:/bin/sh\n",
        )
        .unwrap();
        fs::write(
            folder.join("group"),
            format!("root:x:0:\nkeymaker-users:x:{KEYMAKER_USERS}:\n"),
        )
        .unwrap();
        fs::write(folder.join("contact"), "").unwrap();
        let mut ranges = Header::NOTHING.ranges;
        ranges[0] = IdRange::WIDE;
        let now = SystemTime::now();
        let (name, uid) = (UserName::parse(b"alice").unwrap(), Uid::new(UID).unwrap());
        Self {
            folder,
            header: Header {
                ranges,
                max_stale: 86_400,
                max_stale_running: 7 * 86_400,
                settings_unread: false,
                whole_range_ours: true,
                required_group: "prod_ssh_users",
                ..Header::NOTHING
            },
            alice: NewUser {
                name,
                uid,
                answered_at: 0,
                verdict: Verdict::Allowed,
                tombstone: false,
                seen_here: false,
                ended: false,
                gecos: "",
                home: "/no/such/home",
                shell: "/bin/bash",
                iam_user_id: "AIDAALICE",
                iam_user_name: "alice",
                proofs_from: None,
                groups: &[],
                former_names: &[],
            },
            keys: UserKeys {
                name,
                uid,
                iam_user_id: "AIDAALICE".to_owned(),
                answered_at: now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(),
                keys: vec![PublishedKey {
                    id: "APKA1".to_owned(),
                    line: KEY.to_owned(),
                    fingerprint: FINGERPRINT.to_owned(),
                }],
            },
            resolved: Some(UID),
            name_of_number: Some("alice"),
            groups: vec![UID, KEYMAKER_USERS],
            generation: 7,
            now,
        }
    }

    /// Publishes what the fields say.
    pub fn publish(&self) {
        let mut directory = DirectoryBuilder::new(&self.header);
        directory.user(&self.alice).unwrap();
        replace_file(
            &self.file("directory"),
            &directory.build(self.generation).unwrap(),
            0o644,
        )
        .unwrap();
        let mut keys = KeysBuilder::new("123456789012", "");
        keys.user(&self.keys).unwrap();
        replace_file(&self.file("keys"), &keys.build(7).unwrap(), 0o644).unwrap();
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Calls `ask` with this host.
    pub fn asked<T>(&self, ask: impl FnOnce(&PamHost<'_>) -> T) -> T {
        let names = [
            "passwd",
            "group",
            "directory",
            "keys",
            "tickets",
            "contact",
            "login.sock",
            "journal",
            "log",
        ];
        let files = names.map(|name| self.file(name));
        let [
            passwd,
            group,
            directory,
            keys,
            tickets,
            contact,
            login_socket,
            journal,
            dev_log,
        ] = files.each_ref().map(Path::new);
        ask(&PamHost {
            passwd,
            group,
            root: &self.folder,
            directory,
            keys,
            tickets,
            contact,
            login_socket,
            journal,
            dev_log,
            resolve: &|_| Ok(self.resolved.map(|uid| ResolvedUser { uid, gid: uid })),
            name_of: &|_| Ok(self.name_of_number.map(|name| name.as_bytes().to_vec())),
            group_list: &|_, _| Ok(self.groups.clone()),
        })
    }
}
