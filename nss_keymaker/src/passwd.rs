//! Passwd entries: by name, by uid, one after the other. abi.rs calls; the answer lies in the caller's buffer.
//!
//! By name is the only question that may ask the daemon: sshd asks it first, about users whom this host has never seen
//! (P6).

use keymaker_core::client;
use keymaker_core::directory_file::{Directory, LocalStamps, MAX_USER_RECORD, User};
use keymaker_core::protocol::{Answer, MAX_ANSWER, Question};
use keymaker_core::published_file::format::Key;
use keymaker_core::{id, local_files};

use crate::local::ChangedFiles;
use crate::remembered::EntryKind;
use crate::reply_buffer::ReplyBuffer;
use crate::{LookupError, NssHost, is_enumerated, name_of_ours, resolves};

/// No password ever matches it, and nobody looks for a shadow entry, as they would for `x`.
const PASSWORD: &str = "*";

/// A passwd entry: numbers, and where in the caller's buffer each text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PasswdEntry {
    /// The uid; the primary group is private and has the same number.
    pub uid: u32,
    pub name: usize,
    pub password: usize,
    pub gecos: usize,
    pub home: usize,
    pub shell: usize,
}

/// The entry of this name. Where the directory has none, the daemon is asked once, and the directory read again.
pub(crate) fn by_name(host: &NssHost<'_>, name: &[u8], buffer: &mut [u8]) -> Result<PasswdEntry, LookupError> {
    let name = name_of_ours(name)?;
    let key = Key::Name(name.as_str());
    let known = in_directory(host, key, buffer);
    if !matches!(known, Err(LookupError::NotFound | LookupError::CannotTell)) {
        return known;
    }
    // A local account that `files` is asked for only afterwards must not wait for a daemon.
    if local_files::names(host.passwd, name.as_str()).unwrap_or(false) {
        return Err(LookupError::NotFound);
    }
    let mut answer = [0; MAX_ANSWER];
    let asked = client::ask(host.lookup_socket, &Question::Lookup(name), host.patience, &mut answer);
    match asked {
        Ok(Answer::NoSuchUser) => Err(LookupError::NotFound),
        Ok(Answer::Fresh) => in_directory(host, key, buffer),
        // Somebody else's question may have brought the user in meanwhile.
        _ => in_directory(host, key, buffer).map_err(|error| match error {
            LookupError::NotFound => LookupError::CannotTell,
            error => error,
        }),
    }
}

/// The entry of this number, from the directory alone: `ls -l` asks for every number it meets.
pub(crate) fn by_uid(host: &NssHost<'_>, uid: u32, buffer: &mut [u8]) -> Result<PasswdEntry, LookupError> {
    if id::is_reserved(uid) {
        return Err(LookupError::NotFound);
    }
    in_directory(host, Key::Id(uid), buffer)
}

/// The next entry that an enumeration shows at or after position `from`, and the position to go on from.
///
/// A position is a uid, so that publications in between change nothing. (In a file of version 1 it is a place in the
/// index: where a publication changes the index's size, an enumeration may show a user twice or leave one out.)
pub(crate) fn next(host: &NssHost<'_>, mut from: u32, buffer: &mut [u8]) -> Result<(u32, PasswdEntry), LookupError> {
    let directory = Directory::open(host.directory)?;
    let header = directory.header();
    let changed = ChangedFiles::since(LocalStamps::of(&header), host);
    let mut record = [0; MAX_USER_RECORD];
    while let Some((next, user)) = directory.next_user(from, &mut record)? {
        if is_enumerated(&user, &header) && !changed.have(user.name.as_str(), user.uid.get()) {
            return Ok((next, pack(user.uid.get(), texts_of(&user), buffer)?));
        }
        from = next;
    }
    Err(LookupError::NotFound)
}

/// The user of this key, unless a local account has come to have the name or the number (P1).
fn in_directory(host: &NssHost<'_>, key: Key<'_>, buffer: &mut [u8]) -> Result<PasswdEntry, LookupError> {
    if let Some(known) = host.memory.recall(host.directory, EntryKind::User, key)
        && let Some(texts) = known.texts()
    {
        return pack_unless_local(host, known.stamps, known.id, texts, buffer);
    }
    let directory = Directory::open(host.directory)?;
    let header = directory.header();
    let mut record = [0; MAX_USER_RECORD];
    let user = directory.user(key, &mut record)?;
    let user = user
        .filter(|user| resolves(user, &header))
        .ok_or(LookupError::NotFound)?;
    let texts = texts_of(&user);
    host.memory.keep(
        &directory,
        EntryKind::User,
        key,
        user.uid.get(),
        &texts.map(str::as_bytes),
    );
    pack_unless_local(host, LocalStamps::of(&header), user.uid.get(), texts, buffer)
}

fn texts_of<'u>(user: &'u User<'_>) -> [&'u str; 4] {
    [user.name.as_str(), user.gecos, user.home, user.shell]
}

fn pack_unless_local(
    host: &NssHost<'_>,
    stamps: LocalStamps,
    uid: u32,
    texts: [&str; 4],
    buffer: &mut [u8],
) -> Result<PasswdEntry, LookupError> {
    let [name, ..] = texts;
    if ChangedFiles::since(stamps, host).have(name, uid) {
        return Err(LookupError::NotFound);
    }
    pack(uid, texts, buffer)
}

fn pack(uid: u32, [name, gecos, home, shell]: [&str; 4], buffer: &mut [u8]) -> Result<PasswdEntry, LookupError> {
    let mut reply = ReplyBuffer::new(buffer, 0);
    Ok(PasswdEntry {
        uid,
        name: reply.text(name)?,
        password: reply.text(PASSWORD)?,
        gecos: reply.text(gecos)?,
        home: reply.text(home)?,
        shell: reply.text(shell)?,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;
    use crate::tests_support::{ALICE, BOB, GONE, STRAY, TestHost, publish, text};

    type Entry = Result<PasswdEntry, LookupError>;

    fn asked_by_name(host: &NssHost<'_>, name: &str) -> Entry {
        by_name(host, name.as_bytes(), &mut [0; 1024])
    }

    fn asked_by_uid(host: &NssHost<'_>, uid: u32) -> Entry {
        by_uid(host, uid, &mut [0; 1024])
    }

    /// A daemon that answers one question so, after `work`.
    fn daemon(host: &TestHost, answer: &'static [u8], work: impl FnOnce() + Send + 'static) {
        let listener = UnixListener::bind(host.host().lookup_socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 64];
            let len = stream.read(&mut question).unwrap();
            assert_eq!(&question[..len], b"dave\n");
            work();
            stream.write_all(answer).unwrap();
        });
    }

    // P1
    #[test]
    fn a_local_account_or_group_added_since_takes_name_and_number_asked_by_either() {
        for (file, line) in [
            (2, "alice:x:1000:1000::/:/bin/sh\n".to_owned()),
            (2, format!("zed:x:{ALICE}:100::/:/bin/sh\n")),
            (3, "alice:x:1000:\n".to_owned()),
            (3, format!("payroll:x:{ALICE}:\n")),
        ] {
            let host = TestHost::new();
            let path = &host.paths()[file];
            // By now they are remembered.
            assert!(asked_by_name(&host.host(), "alice").is_ok() && asked_by_uid(&host.host(), ALICE).is_ok());
            std::fs::write(path, std::fs::read_to_string(path).unwrap() + &line).unwrap();
            assert!(asked_by_name(&host.host(), "alice").is_err(), "{line}");
            assert_eq!(asked_by_uid(&host.host(), ALICE), Err(LookupError::NotFound), "{line}");
            assert_eq!(enumeration(&host), [], "{line}");
            // Whom the line does not concern.
            assert!(asked_by_name(&host.host(), "bob").is_ok() && asked_by_uid(&host.host(), BOB).is_ok());
        }
    }

    // P1
    #[test]
    fn a_namesake_put_into_etc_passwd_since_is_not_found_and_waits_for_no_daemon() {
        let host = TestHost::new();
        assert!(asked_by_name(&host.host(), "alice").is_ok() && asked_by_name(&host.host(), "bob").is_ok());
        let local = "alice:x:1000:1000::/:/bin/sh\nbob\nzoe:x:1001:1001::/:/bin/sh\n";
        std::fs::write(host.host().passwd, local).unwrap();
        let daemon = UnixListener::bind(host.host().lookup_socket).unwrap();
        daemon.set_nonblocking(true).unwrap();
        for name in ["alice", "bob", "zoe"] {
            assert_eq!(asked_by_name(&host.host(), name), Err(LookupError::NotFound), "{name}");
        }
        assert_eq!(daemon.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_user_is_found_by_name_and_by_uid() {
        let host = TestHost::new();
        let mut buffer = [b'#'; 1024];
        for entry in [
            by_name(&host.host(), b"alice", &mut buffer),
            by_uid(&host.host(), ALICE, &mut buffer),
        ] {
            let entry = entry.unwrap();
            assert_eq!(entry.uid, ALICE);
            let texts = [entry.name, entry.password, entry.gecos, entry.home, entry.shell];
            assert_eq!(
                texts.map(|at| text(&buffer, at)),
                ["alice", "*", "A user", "/home/alice", "/bin/bash"]
            );
        }
    }

    // P4
    #[test]
    fn what_is_remembered_ends_with_the_file_that_said_it() {
        let host = TestHost::new();
        let directory = host.host().directory;
        let keys = [Key::Name("alice"), Key::Id(ALICE)];
        let remembered = || keys.map(|key| host.host().memory.recall(directory, EntryKind::User, key).is_some());
        let ask = || {
            let mut buffer = [b'#'; 1024];
            keys.map(|key| {
                let entry = in_directory(&host.host(), key, &mut buffer)?;
                Ok((entry.uid, text(&buffer, entry.home).to_owned()))
            })
        };
        let alice = || {
            [
                Ok((ALICE, "/home/alice".to_owned())),
                Ok((ALICE, "/home/alice".to_owned())),
            ]
        };
        assert_eq!(ask(), alice());
        assert_eq!((remembered(), ask()), ([true; 2], alice()));
        // A publication that says the same, one that says otherwise, another file, none.
        host.publish(false);
        assert_eq!((remembered(), ask()), ([false; 2], alice()));
        std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(ask(), [Err(LookupError::CannotTell), Err(LookupError::CannotTell)]);
        host.publish(false);
        assert_eq!(ask(), alice());
        std::fs::write(directory, [0x5a; 4096]).unwrap();
        assert_eq!(ask(), [Err(LookupError::CannotTell), Err(LookupError::CannotTell)]);
        host.publish(false);
        assert_eq!(ask(), alice());
        std::fs::remove_file(directory).unwrap();
        assert_eq!(ask(), [Err(LookupError::CannotTell), Err(LookupError::CannotTell)]);
    }

    // P1
    #[test]
    fn what_cannot_be_ours_is_not_found_without_opening_anything() {
        let host = TestHost::new();
        std::fs::remove_file(host.host().directory).unwrap();
        let long = "a".repeat(33);
        for name in [
            "",
            "2001",
            "Alice",
            "alice@example.org",
            "-x",
            "root",
            "sudo",
            "systemd-network",
            &long,
        ] {
            assert_eq!(asked_by_name(&host.host(), name), Err(LookupError::NotFound), "{name}");
        }
        for uid in [0, 1, 999, 65_534, u32::MAX] {
            assert_eq!(asked_by_uid(&host.host(), uid), Err(LookupError::NotFound), "{uid}");
        }
        assert_eq!(asked_by_name(&host.host(), "alice"), Err(LookupError::CannotTell));
        assert_eq!(asked_by_uid(&host.host(), ALICE), Err(LookupError::CannotTell));
    }

    // P1
    #[test]
    fn a_reserved_name_or_an_id_outside_the_ranges_never_resolves_whatever_the_file_says() {
        let host = TestHost::new();
        assert_eq!(asked_by_name(&host.host(), "wheel"), Err(LookupError::NotFound));
        assert_eq!(asked_by_uid(&host.host(), BOB + 5), Err(LookupError::NotFound));
        assert_eq!(asked_by_uid(&host.host(), STRAY), Err(LookupError::NotFound));
        daemon(&host, b"no-such-user\n", || ());
        assert!(asked_by_name(&host.host(), "stray").is_err());
    }

    // P6
    #[test]
    fn a_user_whom_the_daemon_brings_in_is_found_at_the_first_question() {
        let host = TestHost::new();
        let paths = host.paths();
        daemon(&host, b"fresh\n", move || publish(&paths, false, &[("dave", BOB + 9)]));
        assert_eq!(asked_by_name(&host.host(), "dave").map(|entry| entry.uid), Ok(BOB + 9));
    }

    // P5
    #[test]
    fn a_miss_is_not_found_only_where_the_daemon_knows() {
        for (answer, outcome) in [
            (&b"no-such-user\n"[..], LookupError::NotFound),
            (b"fresh\n", LookupError::NotFound),
            (b"cannot-tell\n", LookupError::CannotTell),
            (b"not-permitted\n", LookupError::CannotTell),
            (b"rubbish\n", LookupError::CannotTell),
            (b"no-such-us", LookupError::CannotTell),
        ] {
            let host = TestHost::new();
            daemon(&host, answer, || ());
            assert_eq!(asked_by_name(&host.host(), "dave"), Err(outcome), "{answer:?}");
        }
        assert_eq!(
            asked_by_name(&TestHost::new().host(), "dave"),
            Err(LookupError::CannotTell)
        );
    }

    // P5
    #[test]
    fn a_hung_daemon_costs_a_miss_the_budget_and_a_hit_nothing() {
        let host = TestHost::new();
        let listener = UnixListener::bind(host.host().lookup_socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(asked_by_name(&host.host(), "alice").is_ok() && asked_by_uid(&host.host(), BOB).is_ok());
        assert_eq!(asked_by_uid(&host.host(), BOB + 1000), Err(LookupError::NotFound));
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let started = Instant::now();
        assert_eq!(asked_by_name(&host.host(), "dave"), Err(LookupError::CannotTell));
        let waited = started.elapsed();
        assert!(
            waited >= host.host().patience && waited < host.host().patience * 50,
            "{waited:?}"
        );
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn a_user_who_is_gone_does_not_resolve_but_may_have_a_successor() {
        let host = TestHost::new();
        assert_eq!(asked_by_uid(&host.host(), GONE), Err(LookupError::NotFound));
        let listener = UnixListener::bind(host.host().lookup_socket).unwrap();
        assert_eq!(asked_by_name(&host.host(), "gone"), Err(LookupError::CannotTell));
        assert!(listener.accept().is_ok());
    }

    // P5
    #[test]
    fn a_buffer_is_too_small_only_where_it_is() {
        let host = TestHost::new();
        let needed = "alice\0*\0A user\0/home/alice\0/bin/bash\0".len();
        let mut buffer = [0; 64];
        // Read, and then remembered.
        for len in (0..buffer.len()).chain(0..buffer.len()) {
            let outcome = by_name(&host.host(), b"alice", &mut buffer[..len]);
            if len < needed {
                assert_eq!(outcome, Err(LookupError::BufferTooSmall), "{len}");
            } else {
                assert_eq!(outcome.map(|entry| entry.uid), Ok(ALICE), "{len}");
            }
        }
    }

    fn enumeration(host: &TestHost) -> Vec<u32> {
        let mut from = 0;
        let mut uids = Vec::new();
        let end = loop {
            match next(&host.host(), from, &mut [0; 1024]) {
                Ok((to, entry)) => {
                    uids.push(entry.uid);
                    from = to;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(end, LookupError::NotFound);
        uids.sort_unstable();
        uids
    }

    #[test]
    fn an_enumeration_shows_who_has_logged_in_here_or_everybody_but_nobody_who_is_gone() {
        let host = TestHost::new();
        assert_eq!(enumeration(&host), [ALICE]);
        host.publish(true);
        assert_eq!(enumeration(&host), [ALICE, BOB]);
    }

    #[test]
    fn a_directory_of_noise_is_cannot_tell() {
        let host = TestHost::new();
        std::fs::write(host.host().directory, [0x5a; 4096]).unwrap();
        assert_eq!(asked_by_name(&host.host(), "alice"), Err(LookupError::CannotTell));
        assert_eq!(asked_by_uid(&host.host(), ALICE), Err(LookupError::CannotTell));
        assert_eq!(next(&host.host(), 0, &mut [0; 64]), Err(LookupError::CannotTell));
    }
}
