//! The IAM users of this host: one for each way a login can end.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use keymaker_core::directory_file::{DirectoryBuilder, FileStamp, Header, NewUser, Verdict};
use keymaker_core::id::{IdRange, Uid};
use keymaker_core::keys_file::{KeysBuilder, PublishedKey, UserKeys};
use keymaker_core::name::UserName;
use keymaker_core::paths;
use keymaker_core::published_file::writer::replace_file;

/// May log in.
pub const ALICE: u32 = 1_900_000_001;
/// Is not in the required group.
pub const CAROL: u32 = 1_900_000_002;
/// Is deleted.
pub const GONE: u32 = 1_900_000_003;
/// The key that each of them has.
pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";
/// As ssh-keygen prints it.
pub const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";

/// Publishes them, with a contact just now.
pub fn publish() {
    let stamp = |path: &str| FileStamp::of(&fs::metadata(path).unwrap());
    let mut header = Header {
        account: "123456789012",
        keymaker_users_gid: 990,
        whole_range_ours: true,
        settings_unread: false,
        max_stale: 86_400,
        authz_ttl: 60,
        passwd: stamp(paths::PASSWD),
        group: stamp(paths::GROUP),
        required_group: "prod_ssh_users",
        ..Header::NOTHING
    };
    header.ranges[0] = IdRange::WIDE;
    let mut directory = DirectoryBuilder::new(&header);
    let mut keys = KeysBuilder::new("123456789012", "");
    for (name, uid, verdict, tombstone) in [
        ("alice", ALICE, Verdict::Allowed, false),
        ("carol", CAROL, Verdict::NotInRequiredGroup, false),
        ("gone", GONE, Verdict::Deleted, true),
    ] {
        let (name, uid) = (UserName::parse(name.as_bytes()).unwrap(), Uid::new(uid).unwrap());
        let iam_user_id = format!("AIDA{}", name.as_str().to_uppercase());
        directory
            .user(&NewUser {
                name,
                uid,
                answered_at: 0,
                verdict,
                tombstone,
                seen_here: false,
                ended: false,
                gecos: "",
                home: &format!("/home/{name}"),
                shell: "/bin/sh",
                iam_user_id: &iam_user_id,
                iam_user_name: name.as_str(),
                proofs_from: None,
                groups: &[],
                former_names: &[],
            })
            .unwrap();
        keys.user(&UserKeys {
            name,
            uid,
            iam_user_id,
            answered_at: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs(),
            keys: vec![PublishedKey {
                id: "APKA1".to_owned(),
                line: KEY.to_owned(),
                fingerprint: FINGERPRINT.to_owned(),
            }],
        })
        .unwrap();
    }
    fs::create_dir_all(paths::PUBLIC).unwrap();
    replace_file(Path::new(paths::DIRECTORY), &directory.build(1).unwrap(), 0o644).unwrap();
    replace_file(Path::new(paths::KEYS), &keys.build(1).unwrap(), 0o644).unwrap();
    replace_file(Path::new(paths::CONTACT), b"", 0o644).unwrap();
}

/// As if IAM had last answered 25 hours ago.
pub fn lose_contact() {
    let contact = fs::File::options().write(true).open(paths::CONTACT).unwrap();
    contact
        .set_modified(SystemTime::now() - Duration::from_secs(25 * 3600))
        .unwrap();
}
