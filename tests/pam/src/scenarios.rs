//! What each scenario does, and what must come of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::time::Instant;

use keymaker_core::paths;
use keymaker_core::protocol::ACCOUNT_BUDGET;

use crate::conversation::{
    AUTHINFO_UNAVAIL, Call, IGNORE, Login, Outcome, PERM_DENIED, SESSION_ERR, SUCCESS, account, log, session,
};
use crate::published::{ALICE, CAROL, FINGERPRINT, GONE, KEY, lose_contact, publish};
use crate::stage::{GROUP, mount, squash_root};

/// Runs the scenario of this name.
pub fn run(scenario: &str) {
    match scenario {
        "decisions" => decisions(),
        "locals" => locals(),
        "hung" => hung(),
        "silence" => silence(),
        "keys" => keys(),
        "homes" => homes(),
        "no-home" => no_home(),
        "panic" => panics(),
        "cost" => log_in(counted::wanted().1),
        _ => panic!("no scenario {scenario:?}"),
    }
}

fn codes(outcome: &Outcome) -> (i32, i32) {
    (outcome.module, outcome.stack)
}

/// Each code that account has, with what the user and the administrator read.
fn decisions() {
    let log = log();
    publish();
    let alice = account(&log, "sshd", "alice");
    assert_eq!(
        (codes(&alice), alice.told.len(), alice.logged.len()),
        ((SUCCESS, SUCCESS), 0, 0)
    );
    for service in ["sshd", "cron"] {
        let carol = account(&log, service, "carol");
        assert_eq!(codes(&carol), (PERM_DENIED, PERM_DENIED));
        let sentence = "keymaker: carol is not in the IAM group prod_ssh_users, which this host requires.";
        assert_eq!(carol.told, [format!("error: {sentence}")]);
        assert_eq!(
            carol.logged,
            [format!(
                "{service}:account): \"carol\" refused: {sentence} [uid {CAROL}, IAM UserId AIDACAROL, directory generation 1]"
            )]
        );
        let gone = account(&log, service, "gone");
        assert_eq!(codes(&gone), (PERM_DENIED, PERM_DENIED), "{GONE}");
        assert_eq!(gone.told, ["error: keymaker: gone is no longer a user in IAM."]);
    }
    fs::create_dir("/home/alice").unwrap();
    assert_eq!(
        codes(&account(&log, "sshd", "alice")),
        (SUCCESS, SUCCESS),
        "root's alone"
    );
    chown("/home/alice", Some(4242), None).unwrap();
    assert_eq!(codes(&account(&log, "sshd", "alice")), (PERM_DENIED, PERM_DENIED));
    chown("/home/alice", Some(ALICE), None).unwrap();
    assert_eq!(codes(&account(&log, "sshd", "alice")), (SUCCESS, SUCCESS));
    fs::write("/etc/group", "root:x:0:\n").unwrap();
    assert_eq!(codes(&account(&log, "sshd", "alice")), (PERM_DENIED, PERM_DENIED));
    fs::write("/etc/group", GROUP).unwrap();
    lose_contact();
    let alice = account(&log, "cron", "alice");
    assert_eq!(codes(&alice), (AUTHINFO_UNAVAIL, AUTHINFO_UNAVAIL));
    assert!(
        alice.told[0].contains("it has not reached IAM for too long"),
        "{:?}",
        alice.told
    );
    fs::remove_file(paths::CONTACT).unwrap();
    assert_eq!(
        codes(&account(&log, "su", "alice")),
        (AUTHINFO_UNAVAIL, AUTHINFO_UNAVAIL)
    );
    for noise in [vec![0x5a; 9000], Vec::new()] {
        fs::write(paths::DIRECTORY, noise).unwrap();
        assert_eq!(
            codes(&account(&log, "su", "alice")),
            (AUTHINFO_UNAVAIL, AUTHINFO_UNAVAIL)
        );
        assert_eq!(session(&log, "su", "alice", None).stack, SESSION_ERR);
    }
}

/// Root and local users, whatever state the files, the daemon and the module are in; and names that nobody knows.
fn locals() {
    let log = log();
    let pass = |state: &str| {
        for user in ["root", "local"] {
            for service in ["sshd", "su", "cron"] {
                let started = Instant::now();
                let judged = account(&log, service, user);
                assert_eq!(codes(&judged), (IGNORE, SUCCESS), "{user} by {service}, {state}");
                assert!(judged.told.is_empty() && judged.logged.is_empty(), "{judged:?}");
                let opened = session(&log, service, user, Some(&format!("publickey {KEY}\n")));
                assert_eq!(codes(&opened), (IGNORE, SUCCESS), "{user} by {service}, {state}");
                assert!(opened.told.is_empty() && opened.logged.is_empty(), "{opened:?}");
                assert!(started.elapsed() < ACCOUNT_BUDGET, "{user} by {service}, {state}");
            }
            // pam_permit alone is left.
            let (judged, ..) = Login {
                service: "without-module",
                user,
                auth_info: None,
                silent: false,
            }
            .stack(&log, Call::Account);
            assert_eq!(judged, SUCCESS, "{user} without the module, {state}");
        }
    };
    pass("no files");
    publish();
    pass("healthy");
    fs::write(paths::DIRECTORY, vec![0x5a; 9000]).unwrap();
    pass("noise");
    fs::write(paths::DIRECTORY, "").unwrap();
    pass("nothing in the file");
    fs::set_permissions(paths::PUBLIC, fs::Permissions::from_mode(0o777)).unwrap();
    pass("an untrusted folder");
    fs::create_dir("/run/keymaker").unwrap();
    let _hung = UnixListener::bind(paths::LOGIN_SOCKET).unwrap();
    let _hung_too = UnixListener::bind(paths::LOOKUP_SOCKET).unwrap();
    pass("a hung daemon");
}

/// A login without a word about keys.
fn login(service: &'static str, user: &'static str) -> Login<'static> {
    Login {
        service,
        user,
        auth_info: None,
        silent: false,
    }
}

/// A daemon that listens and never answers costs a login five seconds, and cron nothing.
fn hung() {
    let log = log();
    publish();
    fs::create_dir("/run/keymaker").unwrap();
    let _hung = UnixListener::bind(paths::LOGIN_SOCKET).unwrap();
    let started = Instant::now();
    assert_eq!(codes(&account(&log, "cron", "alice")), (SUCCESS, SUCCESS));
    assert!(started.elapsed() < ACCOUNT_BUDGET);
    assert_eq!(login("sshd", "alice").stack(&log, Call::Account).0, SUCCESS);
    assert!(started.elapsed() < ACCOUNT_BUDGET * 2, "{:?}", started.elapsed());
}

/// `PAM_SILENT`: the code and the log say it alone.
fn silence() {
    let log = log();
    publish();
    let carol = Login {
        silent: true,
        ..login("sshd", "carol")
    }
    .call(&log, Call::Account);
    assert_eq!(
        (codes(&carol), carol.told.len(), carol.logged.len()),
        ((PERM_DENIED, PERM_DENIED), 0, 1)
    );
}

/// Which keys open a session, and what is written down about it.
fn keys() {
    let log = log();
    publish();
    let own = format!("publickey {KEY}\n");
    let alice = session(&log, "sshd", "alice", Some(&own));
    assert_eq!(codes(&alice), (SUCCESS, SUCCESS));
    assert_eq!(
        alice.logged,
        [
            format!(
                "sshd:session): login of alice: uid {ALICE}, IAM UserId AIDAALICE, key {FINGERPRINT}, SourceIdentity alice, from 198.51.100.7"
            ),
            "sshd:session): made the home /home/alice".to_owned(),
        ]
    );
    assert_eq!(session(&log, "cron", "alice", None).logged.len(), 0, "cron is no login");
    for foreign in [
        own.replace("IJVI", "IKVI"),
        format!("publickey ssh-ed25519-cert-v01@openssh.com {}\n", &KEY[12..]),
        format!("{own}{}", own.replace("IJVI", "IKVI")),
    ] {
        let refused = session(&log, "sshd", "alice", Some(&foreign));
        assert_eq!(codes(&refused), (SESSION_ERR, SESSION_ERR), "{foreign}");
        let sentence = "keymaker: the key that opened this connection is not one of alice's keys in IAM; \
                        ~/.ssh/authorized_keys counts for nothing here: keymaker upload-key.";
        assert_eq!(refused.told, [format!("error: {sentence}")]);
        assert_eq!(
            refused.logged,
            [format!("sshd:session): \"alice\" refused: {sentence}")]
        );
    }
    fs::remove_file(paths::KEYS).unwrap();
    assert_eq!(
        codes(&session(&log, "sshd", "alice", Some(&own))),
        (SESSION_ERR, SESSION_ERR)
    );
    assert_eq!(codes(&session(&log, "su", "alice", None)), (SUCCESS, SUCCESS));
    assert_eq!(
        codes(&session(&log, "sshd", "gone", Some(&own))),
        (SESSION_ERR, SESSION_ERR)
    );
}

/// That many logins, each of them account and session, of a user whose home is there.
fn log_in(times: u64) {
    let log = log();
    publish();
    fs::create_dir("/home/alice").unwrap();
    chown("/home/alice", Some(ALICE), None).unwrap();
    let info = format!("publickey {KEY}\n");
    for _ in 0..times {
        assert_eq!(login("sshd", "alice").stack(&log, Call::Account).0, SUCCESS);
        let session = Login {
            auth_info: Some(&info),
            ..login("sshd", "alice")
        };
        assert_eq!(session.stack(&log, Call::Session).0, SUCCESS);
    }
}

/// The home is the user's, with the line's permissions and skel; another's is not taken.
fn homes() {
    let log = log();
    publish();
    assert_eq!(session(&log, "su", "alice", None).stack, SUCCESS);
    let home = fs::metadata("/home/alice").unwrap();
    assert_eq!((home.uid(), home.gid(), home.mode() & 0o7777), (ALICE, ALICE, 0o700));
    let profile = fs::metadata("/home/alice/.profile").unwrap();
    assert_eq!(
        (profile.uid(), profile.gid(), profile.mode() & 0o7777),
        (ALICE, ALICE, 0o640)
    );
    fs::remove_dir_all("/home/alice").unwrap();
    assert_eq!(login("nohome", "alice").stack(&log, Call::Session).0, SUCCESS);
    assert!(!fs::exists("/home/alice").unwrap());
    let (code, _, logged) = login("arguments", "alice").stack(&log, Call::Session);
    assert_eq!(code, SUCCESS);
    assert_eq!(fs::metadata("/home/alice").unwrap().mode() & 0o7777, 0o750);
    assert!(fs::exists("/home/alice/.other").unwrap());
    assert!(logged[0].contains("unknown argument \"frobnicate\""), "{logged:?}");
    fs::remove_dir_all("/home/alice").unwrap();
    // One that is root's alone is nobody's rival: sshd's ChrootDirectory wants it so.
    fs::create_dir("/home/alice").unwrap();
    for (owner, code) in [(0, SUCCESS), (4242, SESSION_ERR)] {
        chown("/home/alice", Some(owner), None).unwrap();
        fs::set_permissions("/home/alice", fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(session(&log, "su", "alice", None).stack, code, "{owner}");
        let other = fs::metadata("/home/alice").unwrap();
        assert_eq!((other.uid(), other.mode() & 0o777), (owner, 0o755));
        assert_eq!(fs::read_dir("/home/alice").unwrap().count(), 0);
        assert_eq!(fs::read_dir("/home").unwrap().count(), 1);
    }
    // In a folder that others may write to, too; and where none can be made there, others could put one in its place.
    fs::remove_dir("/home/alice").unwrap();
    fs::set_permissions("/home", fs::Permissions::from_mode(0o2775)).unwrap();
    assert_eq!(session(&log, "su", "alice", None).stack, SUCCESS);
    let home = fs::metadata("/home/alice").unwrap();
    assert_eq!((home.uid(), home.gid(), home.mode() & 0o7777), (ALICE, ALICE, 0o700));
    fs::remove_dir_all("/home/alice").unwrap();
    std::os::unix::fs::symlink("/run", "/home/alice").unwrap();
    assert_eq!(session(&log, "su", "alice", None).stack, SESSION_ERR);
    assert_eq!(fs::read_link("/home/alice").unwrap(), std::path::Path::new("/run"));
}

/// A disk that is full or read-only, and a server that squashes root: the login goes on, and no half home is left.
fn no_home() {
    let log = log();
    publish();
    let goes_on = |state: &str, why: &str| {
        let alice = session(&log, "sshd", "alice", Some(&format!("publickey {KEY}\n")));
        assert_eq!(codes(&alice), (SUCCESS, SUCCESS), "{state}");
        assert_eq!(
            alice.told,
            [
                "info: keymaker: your home directory /home/alice could not be made; please tell the administrator of this host."
            ],
            "{state}"
        );
        assert!(alice.logged[1].contains(why), "{state}: {:?}", alice.logged);
        assert_eq!(fs::read_dir("/home").unwrap().count(), 0, "{state}");
    };
    let large = vec![b'x'; 1 << 20];
    fs::write("/run/skel/large", large).unwrap();
    mount(Some("tmpfs"), "/home", Some("tmpfs"), 0, "mode=755,size=64k");
    goes_on("a full disk", "No space left on device");
    mount(Some("tmpfs"), "/home", Some("tmpfs"), 0, "mode=755,nr_inodes=1");
    goes_on("no inode left", "No space left on device");
    mount(Some("tmpfs"), "/home", Some("tmpfs"), 0, "mode=755,nr_inodes=3");
    goes_on("no inode left in the middle", "No space left on device");
    mount(Some("tmpfs"), "/home", Some("tmpfs"), libc::MS_RDONLY, "mode=755");
    goes_on("a read-only disk", "Read-only file system");
    mount(Some("tmpfs"), "/home", Some("tmpfs"), libc::MS_RDONLY, "mode=1777");
    let alice = session(&log, "sshd", "alice", Some(&format!("publickey {KEY}\n")));
    assert_eq!(
        codes(&alice),
        (SESSION_ERR, SESSION_ERR),
        "others may put one there once they can"
    );
    mount(Some("tmpfs"), "/home", Some("tmpfs"), 0, "mode=755");
    squash_root();
    goes_on("a squashed root", "Operation not permitted");
}

/// The hooks over an account lookup that panics.
fn panics() {
    let log = log();
    publish();
    for user in ["root", "local", "panics-early"] {
        assert_eq!(codes(&account(&log, "sshd", user)), (IGNORE, SUCCESS), "{user}");
        assert_eq!(codes(&session(&log, "sshd", user, None)), (IGNORE, SUCCESS), "{user}");
    }
    assert_eq!(
        codes(&account(&log, "sshd", "alice")),
        (AUTHINFO_UNAVAIL, AUTHINFO_UNAVAIL)
    );
    assert_eq!(codes(&session(&log, "sshd", "alice", None)), (SESSION_ERR, SESSION_ERR));
}
