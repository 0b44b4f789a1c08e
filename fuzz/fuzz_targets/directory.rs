//! Any bytes as the published directory, with the checksums made right, as anybody who can write the file would: every
//! lookup ends, stays in the file, and answers about who was asked for.

#![no_main]

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::name::{GroupName, UserName};
use keymaker_fuzz::with_published_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    with_published_file(bytes, |path| {
        for opened in [Directory::open(path), Directory::open_whole(path)] {
            let Ok(directory) = opened else { continue };
            let _ = (directory.header(), directory.generation());
            let mut buffer = [0; MAX_USER_RECORD];
            for name in ["alice", "bob"].map(|name| UserName::parse(name.as_bytes()).expect("a name")) {
                if let Ok(Some(user)) = directory.user_by_name(name, &mut buffer) {
                    assert_eq!(user.name, name);
                }
            }
            let mut group_buffer = [0; 4096];
            if let Ok(Some(group)) =
                directory.group_by_name(GroupName::parse(b"devs").expect("a name"), &mut group_buffer)
            {
                assert_eq!(group.name.as_str(), "devs");
                let _ = group.members().count();
            }
            let most = bytes.len() / 16 + 1;
            let (mut from, mut seen) = (0, 0);
            while let Ok(Some((next, user))) = directory.next_user(from, &mut buffer) {
                let (uid, texts) = (
                    user.uid,
                    [user.gecos, user.home, user.shell, user.iam_user_id, user.iam_user_name],
                );
                assert!(
                    uid.get() >= 1000
                        && texts
                            .iter()
                            .all(|text| !text.contains(|c: char| c == ':' || c.is_control()))
                );
                let _ = user.groups().count();
                if let Ok(Some(found)) = directory.user_by_uid(uid.get(), &mut buffer) {
                    assert_eq!(found.uid, uid);
                }
                seen += 1;
                assert!(next > from && seen <= most, "the enumeration goes round");
                from = next;
            }
            let (mut from, mut seen) = (0, 0);
            while let Ok(Some((next, group))) = directory.next_group(from, &mut group_buffer) {
                let gid = group.gid;
                if let Ok(Some(found)) = directory.group_by_gid(gid.get(), &mut group_buffer) {
                    assert_eq!(found.gid, gid);
                }
                seen += 1;
                assert!(next > from && seen <= most, "the enumeration goes round");
                from = next;
            }
        }
    });
});
