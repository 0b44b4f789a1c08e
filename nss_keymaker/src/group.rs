//! Group entries: by name, by gid, one after the other. abi.rs calls; the answer lies in the caller's buffer. Never
//! asks the daemon.
//!
//! Users' private groups are records like any other. The record is read straight into the caller's buffer, since a
//! group may have any number of members and nothing here allocates.

use keymaker_core::directory_file::{Directory, Group, Header, LocalStamps, MAX_USER_RECORD};
use keymaker_core::id;
use keymaker_core::published_file::format::Key;
use keymaker_core::reserved_names;

use crate::local::ChangedFiles;
use crate::remembered::EntryKind;
use crate::reply_buffer::ReplyBuffer;
use crate::{LookupError, NssHost, is_enumerated, name_of_ours};

/// A group entry: the number, and where in the caller's buffer the texts and the members' array begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupEntry {
    pub gid: u32,
    pub name: usize,
    pub password: usize,
    /// An aligned array of pointers to the members' names, a null pointer last.
    pub members: usize,
}

/// The entry of this name.
pub(crate) fn by_name(host: &NssHost<'_>, name: &[u8], buffer: &mut [u8]) -> Result<GroupEntry, LookupError> {
    in_directory(host, Key::Name(name_of_ours(name)?.as_str()), buffer)
}

/// The entry of this number.
pub(crate) fn by_gid(host: &NssHost<'_>, gid: u32, buffer: &mut [u8]) -> Result<GroupEntry, LookupError> {
    if id::is_reserved(gid) {
        return Err(LookupError::NotFound);
    }
    in_directory(host, Key::Id(gid), buffer)
}

fn in_directory(host: &NssHost<'_>, key: Key<'_>, buffer: &mut [u8]) -> Result<GroupEntry, LookupError> {
    if let Some(known) = host.memory.recall(host.directory, EntryKind::Group, key)
        && let Some([name]) = known.texts()
    {
        let texts = known.bytes();
        let changed = ChangedFiles::since(known.stamps, host);
        let found = FoundGroup::unless_local(known.id, name, texts.len(), &changed)?;
        let place = buffer.get_mut(Group::TEXTS_AT..Group::TEXTS_AT + texts.len());
        place.ok_or(LookupError::BufferTooSmall)?.copy_from_slice(texts);
        return found.pack(buffer);
    }
    let directory = Directory::open(host.directory)?;
    let header = directory.header();
    let group = directory.group(key, buffer)?;
    let group = group
        .filter(|group| may_resolve(group, &header))
        .ok_or(LookupError::NotFound)?;
    if let Some((_, texts)) = group.texts.split_last() {
        host.memory
            .keep(&directory, EntryKind::Group, key, group.gid.get(), &[texts]);
    }
    let changed = ChangedFiles::since(LocalStamps::of(&header), host);
    FoundGroup::unless_local(group.gid.get(), group.name.as_str(), group.texts.len(), &changed)?.pack(buffer)
}

/// The next entry that an enumeration shows at or after position `from`, and the position to go on from.
///
/// Groups that IAM has are always shown, being few (IAM allows an account 300 to 500); a private group is shown where
/// its user is.
pub(crate) fn next(host: &NssHost<'_>, mut from: u32, buffer: &mut [u8]) -> Result<(u32, GroupEntry), LookupError> {
    let directory = Directory::open(host.directory)?;
    let header = directory.header();
    let changed = ChangedFiles::since(LocalStamps::of(&header), host);
    while let Some((next, group)) = directory.next_group(from, buffer)? {
        let private = group.private;
        if may_resolve(&group, &header)
            && let Ok(found) =
                FoundGroup::unless_local(group.gid.get(), group.name.as_str(), group.texts.len(), &changed)
            && (!private || is_user_enumerated(&directory, &header, found.gid)?)
        {
            return Ok((next, found.pack(buffer)?));
        }
        from = next;
    }
    Err(LookupError::NotFound)
}

fn is_user_enumerated(directory: &Directory, header: &Header<'_>, uid: u32) -> Result<bool, LookupError> {
    let mut record = [0; MAX_USER_RECORD];
    let user = directory.user_by_uid(uid, &mut record)?;
    Ok(user.is_some_and(|user| is_enumerated(&user, header)))
}

/// Names and ranges are checked whatever the file says.
fn may_resolve(group: &Group<'_>, header: &Header<'_>) -> bool {
    header.in_ranges(group.gid.get()) && !reserved_names::is_reserved(group.name.as_str())
}

/// A group whose record lies at the front of the caller's buffer.
struct FoundGroup {
    gid: u32,
    name_len: usize,
    texts_len: usize,
}

impl FoundGroup {
    /// Nothing is shown that a local file has come to have (P1).
    ///
    /// Where /etc/passwd has changed, the group has no members: `pam_wheel`, `pam_access` and newgrp go by the list,
    /// and a name on it may be a local account's by now. initgroups gives the real members the group all the same.
    fn unless_local(gid: u32, name: &str, texts_len: usize, changed: &ChangedFiles<'_>) -> Result<Self, LookupError> {
        if changed.have(name, gid) {
            return Err(LookupError::NotFound);
        }
        let alone = name.len() + 1;
        Ok(Self {
            gid,
            name_len: name.len(),
            texts_len: if changed.passwd_has_changed() { alone } else { texts_len },
        })
    }

    /// Turns the record into an entry where it lies: its texts stay, and only the array of pointers is added behind
    /// them.
    fn pack(&self, buffer: &mut [u8]) -> Result<GroupEntry, LookupError> {
        // The numbers before the texts have been read: their place serves for the password, `*`, which nothing matches.
        let (password, name) = (0, Group::TEXTS_AT);
        if let [star, end, ..] = buffer {
            (*star, *end) = (b'*', 0);
        }
        let end = name + self.texts_len;
        Ok(GroupEntry {
            gid: self.gid,
            name,
            password,
            members: ReplyBuffer::new(buffer, end).pointers(name + self.name_len + 1..end)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply_buffer::POINTER;
    use crate::tests_support::{ALICE, BOB, DEVS, STRAY, TestHost, text};

    /// The members' names, as the pointers lead to them.
    fn members<'b>(buffer: &'b [u8], entry: &GroupEntry) -> Vec<&'b str> {
        let base = buffer.as_ptr().addr();
        buffer[entry.members..]
            .as_chunks::<POINTER>()
            .0
            .iter()
            .map(|slot| usize::from_ne_bytes(*slot))
            .take_while(|pointer| *pointer != 0)
            .map(|pointer| text(buffer, pointer - base))
            .collect()
    }

    #[test]
    fn a_group_is_found_by_name_and_by_gid_with_its_members() {
        let host = TestHost::new();
        let mut buffer = [b'#'; 1024];
        // Read, and then remembered.
        for ask in [0, 1, 0, 1] {
            let entry = match ask {
                0 => by_name(&host.host(), b"devs", &mut buffer),
                _ => by_gid(&host.host(), DEVS, &mut buffer),
            };
            let entry = entry.unwrap();
            assert_eq!(entry.gid, DEVS);
            assert_eq!([entry.name, entry.password].map(|at| text(&buffer, at)), ["devs", "*"]);
            assert_eq!(members(&buffer, &entry), ["alice", "bob"]);
        }
        let private = by_gid(&host.host(), BOB, &mut buffer).unwrap();
        assert_eq!(text(&buffer, private.name), "bob");
        assert_eq!(members(&buffer, &private), [""; 0]);
    }

    // P1
    #[test]
    fn a_local_group_or_account_added_since_takes_name_and_gid_asked_by_either() {
        for (file, line) in [
            (3, "devs:x:1005:\n".to_owned()),
            (3, format!("payroll:x:{DEVS}:\n")),
            (2, "devs:x:1005:1005::/:/bin/sh\n".to_owned()),
            (2, format!("zed:x:{DEVS}:100::/:/bin/sh\n")),
        ] {
            let host = TestHost::new();
            let path = &host.paths()[file];
            let mut buffer = [0; 1024];
            // By now it is remembered.
            assert!(
                by_name(&host.host(), b"devs", &mut buffer).is_ok() && by_gid(&host.host(), DEVS, &mut buffer).is_ok()
            );
            std::fs::write(path, std::fs::read_to_string(path).unwrap() + &line).unwrap();
            assert_eq!(
                by_name(&host.host(), b"devs", &mut buffer),
                Err(LookupError::NotFound),
                "{line}"
            );
            assert_eq!(
                by_gid(&host.host(), DEVS, &mut buffer),
                Err(LookupError::NotFound),
                "{line}"
            );
            assert_eq!(enumeration(&host), [ALICE, DEVS + 1], "{line}");
        }
    }

    // P1
    #[test]
    fn where_etc_passwd_has_changed_no_group_lists_a_name_that_may_be_a_local_accounts() {
        let host = TestHost::new();
        let mut buffer = [b'#'; 1024];
        let before = by_gid(&host.host(), DEVS, &mut buffer).unwrap();
        assert_eq!(members(&buffer, &before), ["alice", "bob"]);
        std::fs::write(host.host().passwd, "alice:x:1000:1000::/:/bin/sh\n").unwrap();
        let entry = by_gid(&host.host(), DEVS, &mut buffer).unwrap();
        assert_eq!((text(&buffer, entry.name), members(&buffer, &entry)), ("devs", vec![]));
    }

    // P1
    #[test]
    fn what_cannot_be_ours_is_not_found_whatever_the_file_says() {
        let host = TestHost::new();
        let mut buffer = [0; 1024];
        for name in ["docker", "keymaker-users", "nosuch", "1234", "Devs", "stray"] {
            let outcome = by_name(&host.host(), name.as_bytes(), &mut buffer);
            assert_eq!(outcome, Err(LookupError::NotFound), "{name}");
        }
        for gid in [0, 27, 990, STRAY, DEVS + 2, DEVS + 3, u32::MAX] {
            assert_eq!(
                by_gid(&host.host(), gid, &mut buffer),
                Err(LookupError::NotFound),
                "{gid}"
            );
        }
        std::fs::remove_file(host.host().directory).unwrap();
        assert_eq!(by_name(&host.host(), b"sudo", &mut buffer), Err(LookupError::NotFound));
        assert_eq!(by_gid(&host.host(), 0, &mut buffer), Err(LookupError::NotFound));
        assert_eq!(
            by_name(&host.host(), b"devs", &mut buffer),
            Err(LookupError::CannotTell)
        );
    }

    // P5
    #[test]
    fn a_buffer_is_too_small_only_where_it_is() {
        let host = TestHost::new();
        let mut bytes = [0; 128];
        for start in 0..POINTER {
            let texts = Group::TEXTS_AT + "devs\0alice\0bob\0".len();
            let end = bytes[start..].as_ptr().addr() + texts;
            let needed = texts + (end.next_multiple_of(POINTER) - end) + 3 * POINTER;
            for len in 0..bytes.len() - start {
                let buffer = &mut bytes[start..start + len];
                let outcome = by_name(&host.host(), b"devs", buffer);
                if len < needed {
                    assert_eq!(outcome, Err(LookupError::BufferTooSmall), "{start} {len}");
                } else {
                    assert_eq!(members(buffer, &outcome.unwrap()), ["alice", "bob"], "{start} {len}");
                }
            }
        }
    }

    fn enumeration(host: &TestHost) -> Vec<u32> {
        let mut from = 0;
        let mut gids = Vec::new();
        let end = loop {
            match next(&host.host(), from, &mut [0; 1024]) {
                Ok((to, entry)) => {
                    gids.push(entry.gid);
                    from = to;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(end, LookupError::NotFound);
        gids.sort_unstable();
        gids
    }

    #[test]
    fn an_enumeration_shows_iam_groups_and_the_private_ones_of_users_it_shows() {
        let host = TestHost::new();
        assert_eq!(enumeration(&host), [ALICE, DEVS, DEVS + 1]);
        host.publish(true);
        assert_eq!(enumeration(&host), [ALICE, BOB, DEVS, DEVS + 1]);
    }
}
