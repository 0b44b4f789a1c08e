//! The exact bytes that sshd is shown, for a host of a test's own.

use std::fs;
use std::time::{Duration, Instant};

use keymaker_core::directory_file::{DirectoryBuilder, Header, NewUser, Verdict};
use keymaker_core::id::{IdRange, Uid};
use keymaker_core::keys_file::{KeysBuilder, PublishedKey};
use keymaker_core::published_file::writer::replace_file;
use test_folder::TestFolder;

use super::*;

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";
const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";
pub const UID: u32 = 1_900_000_000;
pub const DAY: u64 = 86_400;

/// A host with the IAM user alice, all of it in a folder that is gone when the test ends.
pub struct TestHost {
    folder: TestFolder,
    pub header: Header<'static>,
    pub alice: NewUser<'static>,
    pub keys: UserKeys,
    pub resolved: Option<u32>,
    /// what sshd resolved when the client connected
    pub at_connect: u32,
    pub now: SystemTime,
}

impl TestHost {
    pub fn new() -> Self {
        let folder = TestFolder::new();
        fs::write(
            folder.join("passwd"),
            "root:x:0:0::/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n",
        )
        .unwrap();
        fs::write(folder.join("group"), "root:x:0:\n").unwrap();
        fs::write(folder.join("contact"), "").unwrap();
        let mut ranges = Header::NOTHING.ranges;
        ranges[0] = IdRange::WIDE;
        let now = SystemTime::now();
        let name = UserName::parse(b"alice").unwrap();
        let uid = Uid::new(UID).unwrap();
        Self {
            folder,
            header: Header {
                ranges,
                max_stale: DAY as u32,
                settings_unread: false,
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
                keys: vec![key(ED25519), key(ED25519)],
            },
            resolved: Some(UID),
            at_connect: UID,
            now,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn publish(&self) {
        let mut directory = DirectoryBuilder::new(&self.header);
        directory.user(&self.alice).unwrap();
        replace_file(&self.folder.join("directory"), &directory.build(1).unwrap(), 0o644).unwrap();
        let mut keys = KeysBuilder::new("123456789012", "");
        keys.user(&self.keys).unwrap();
        replace_file(&self.folder.join("keys"), &keys.build(1).unwrap(), 0o644).unwrap();
    }

    /// Asks something of it.
    pub fn asked<T>(&self, ask: impl FnOnce(&KeysHost<'_>) -> T) -> T {
        let file = |name| self.folder.join(name);
        ask(&KeysHost {
            passwd: &file("passwd"),
            group: &file("group"),
            directory: &file("directory"),
            keys: &file("keys"),
            contact: &file("contact"),
            login_socket: &file("login.sock"),
            resolve: &|_| Ok(self.resolved.map(|uid| ResolvedUser { uid, gid: uid })),
        })
    }

    /// What keymaker-keys prints for `argument`.
    fn output(&self, argument: &str) -> Result<String, NoKeys> {
        self.asked(|host| {
            let name = candidate(argument.as_bytes(), host)?;
            assert!(matches!(nudge(name, host), Err(AskError::NotListening(_))));
            lines(name, self.at_connect, host, self.now).map(|shown| shown.lines)
        })
    }

    /// The same for alice, freshly published after `change`.
    fn alice_after(change: impl FnOnce(&mut Self)) -> Result<String, NoKeys> {
        let mut host = Self::new();
        change(&mut host);
        host.publish();
        host.output("alice")
    }
}

fn key(line: &str) -> PublishedKey {
    PublishedKey {
        id: "APKA1".to_owned(),
        line: line.to_owned(),
        fingerprint: FINGERPRINT.to_owned(),
    }
}

fn allowed() -> String {
    format!("{ED25519}\n{ED25519}\n")
}

fn refused() -> String {
    let line = format!("restrict,command=\"/usr/libexec/keymaker/refusal\" {ED25519}\n");
    line.repeat(2)
}

// P10
#[test]
fn a_user_who_may_log_in_has_their_keys_printed_and_nothing_else() {
    assert_eq!(TestHost::alice_after(|_| {}).unwrap(), allowed());
    assert_eq!(TestHost::alice_after(|host| host.keys.keys.clear()).unwrap(), "");
}

// P7
#[test]
fn the_keys_of_a_user_who_is_refused_at_login_only_read_the_refusal() {
    for verdict in [
        Verdict::NotInRequiredGroup,
        Verdict::Deleted,
        Verdict::NameHeldByAnother,
        Verdict::Expired,
    ] {
        assert_eq!(
            TestHost::alice_after(|host| host.alice.verdict = verdict).unwrap(),
            refused()
        );
    }
    // The home of another uid than alice's.
    assert_eq!(
        TestHost::alice_after(|host| host.alice.home = "/tmp").unwrap(),
        refused()
    );
}

// P7 P9
#[test]
fn where_nobody_can_tell_the_keys_only_read_the_refusal() {
    let late = |host: &mut TestHost| host.now += Duration::from_secs(DAY + 60);
    assert_eq!(TestHost::alice_after(late).unwrap(), refused());
    assert_eq!(
        TestHost::alice_after(|host| host.alice.answered_at = 1).unwrap(),
        refused()
    );
    assert_eq!(
        TestHost::alice_after(|host| host.keys.answered_at = 1).unwrap(),
        refused()
    );
    assert_eq!(
        TestHost::alice_after(|host| host.header.settings_unread = true).unwrap(),
        refused()
    );
    assert_eq!(
        TestHost::alice_after(|host| fs::remove_file(host.folder.join("contact")).unwrap()).unwrap(),
        refused()
    );
}

// P1
#[test]
fn no_key_is_printed_for_a_name_that_is_a_local_account_here() {
    let host = TestHost::new();
    host.publish();
    assert!(matches!(host.output("root"), Err(NoKeys::LocalAccount)));
    assert!(matches!(host.output("ubuntu"), Err(NoKeys::LocalAccount)));
    let mut passwd = fs::read_to_string(host.folder.join("passwd")).unwrap();
    passwd.push_str("alice:x:1001:1001::/home/alice:/bin/bash\n");
    fs::write(host.folder.join("passwd"), passwd).unwrap();
    assert!(matches!(host.output("alice"), Err(NoKeys::LocalAccount)));
    fs::remove_file(host.folder.join("passwd")).unwrap();
    assert!(matches!(
        host.output("alice"),
        Err(NoKeys::Unreadable("/etc/passwd", _))
    ));
}

// P1
#[test]
fn no_key_is_printed_for_a_name_that_resolves_to_another_uid() {
    assert!(matches!(
        TestHost::alice_after(|host| host.resolved = Some(1001)),
        Err(NoKeys::EntryOfAnother)
    ));
    assert!(matches!(
        TestHost::alice_after(|host| host.resolved = None),
        Err(NoKeys::EntryOfAnother)
    ));
    // sshd would start the session as that other uid, and both agree about it.
    let of_another = |host: &mut TestHost| (host.resolved, host.at_connect) = (Some(UID + 1), UID + 1);
    assert!(matches!(TestHost::alice_after(of_another), Err(NoKeys::EntryOfAnother)));
}

// P1
#[test]
fn no_key_is_printed_for_a_number_that_a_local_account_or_group_has() {
    for (file, line) in [
        ("passwd", format!("zed:x: {UID}:100::/:/bin/sh\n")),
        ("group", format!("payroll:x:{UID}:\n")),
    ] {
        let host = TestHost::new();
        host.publish();
        let path = host.folder.join(file);
        fs::write(&path, fs::read_to_string(&path).unwrap() + &line).unwrap();
        assert!(matches!(host.output("alice"), Err(NoKeys::EntryOfAnother)), "{file}");
        fs::remove_file(&path).unwrap();
        assert!(matches!(host.output("alice"), Err(NoKeys::Unreadable(_, _))), "{file}");
    }
}

// P2
#[test]
fn a_name_released_since_the_client_connected_opens_no_session_as_the_former_uid() {
    assert!(matches!(
        TestHost::alice_after(|host| host.at_connect = UID + 1),
        Err(NoKeys::EntryOfAnother)
    ));
    assert_eq!(uid(b"1900000000").unwrap(), UID);
    for missing in ["", "alice", "-1", "4294967296"] {
        assert!(matches!(uid(missing.as_bytes()), Err(NoKeys::NoUid)), "{missing:?}");
    }
}

// P2
#[test]
fn the_keys_of_a_predecessor_are_not_printed() {
    let other_id = |host: &mut TestHost| host.keys.iam_user_id = "AIDAOLD".to_owned();
    assert!(matches!(TestHost::alice_after(other_id), Err(NoKeys::KeysOfAnother)));
    let other_uid = |host: &mut TestHost| host.keys.uid = Uid::new(UID + 1).unwrap();
    assert!(matches!(TestHost::alice_after(other_uid), Err(NoKeys::KeysOfAnother)));
}

// P7
#[test]
fn absent_and_unknown_users_have_no_keys() {
    assert!(matches!(
        TestHost::alice_after(|host| host.alice.tombstone = true),
        Err(NoKeys::Unknown)
    ));
    let host = TestHost::new();
    host.publish();
    assert!(matches!(host.output("bob"), Err(NoKeys::Unknown)));
    for name in ["", "Alice", "alice\n", "../alice", "1900000000", "a b"] {
        assert!(matches!(host.output(name), Err(NoKeys::NotAName)), "{name:?}");
    }
}

// P7
#[test]
fn a_missing_or_damaged_file_shows_no_key() {
    for file in ["directory", "keys"] {
        let host = TestHost::new();
        host.publish();
        let path = host.folder.join(file);
        let whole = fs::read(&path).unwrap();
        for bytes in [&whole[..whole.len() - 1], &[0x5a; 9000], &[]] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(
                host.output("alice"),
                Err(NoKeys::Unreadable(_, ReadError::Damaged))
            ));
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            host.output("alice"),
            Err(NoKeys::Unreadable(_, ReadError::Missing))
        ));
    }
}

// P5
#[test]
fn a_hung_daemon_delays_the_keys_by_the_budget_and_no_more() {
    let host = TestHost::new();
    host.publish();
    let socket = host.folder.join("login.sock");
    let _hung = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let started = Instant::now();
    let name = UserName::parse(b"alice").unwrap();
    let asked = KeysHost {
        login_socket: &socket,
        ..KeysHost::this()
    };
    assert!(matches!(nudge(name, &asked), Err(AskError::TimedOut)));
    assert!(started.elapsed() >= KEYS_BUDGET && started.elapsed() < KEYS_BUDGET * 2);
}

// P9
#[test]
fn files_that_keymakerd_says_do_not_stand_show_nothing() {
    use std::io::{Read, Write};
    for (answer, worth) in [
        ("not-published\n", KeysAfterNudge::DoesNotStand),
        ("cannot-tell\n", KeysAfterNudge::Stands),
        ("fresh\n", KeysAfterNudge::Stands),
    ] {
        let host = TestHost::new();
        let socket = host.folder.join("login.sock");
        let daemon = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut asker, _) = daemon.accept().unwrap();
                asker.read_exact(&mut [0; "keys alice\n".len()]).unwrap();
                asker.write_all(answer.as_bytes()).unwrap();
            });
            let asked = KeysHost {
                login_socket: &socket,
                ..KeysHost::this()
            };
            assert_eq!(nudge(UserName::parse(b"alice").unwrap(), &asked).unwrap(), worth);
        });
    }
}

// P9
#[test]
fn where_this_host_cannot_ask_what_was_known_opens_nothing() {
    let lacking = || io::Error::from(io::ErrorKind::Other);
    assert_eq!(
        worth(Err(AskError::ThisHost(lacking()))).unwrap(),
        KeysAfterNudge::DoesNotStand
    );
    assert_eq!(worth(Ok(Answer::NotPublished)).unwrap(), KeysAfterNudge::DoesNotStand);
    assert_eq!(worth(Ok(Answer::CannotTell)).unwrap(), KeysAfterNudge::Stands);
    assert!(worth(Err(AskError::NotListening(lacking()))).is_err());
}
