//! What a session decides on a host of a test's own.

use std::fs;
use std::time::Duration;

use keymaker_core::name::UserName;

use super::*;
use crate::test_host::{FINGERPRINT, KEY, TestHost, UID};

fn publickey() -> String {
    format!("publickey {KEY}\n")
}

/// The session of `name` at sshd.
fn opening(host: &TestHost, name: &str, auth_info: &str) -> Opening {
    host.asked(|asked| judge(name.as_bytes(), b"sshd", auth_info.as_bytes(), asked, host.now))
}

/// Why alice's session with her own key is refused, freshly published after `change`; `None`: it is not.
fn refusal_after(change: impl FnOnce(&mut TestHost)) -> Option<LoginDecision> {
    let mut host = TestHost::new();
    change(&mut host);
    host.publish();
    match opening(&host, "alice", &publickey()) {
        Opening::Refused(decided) => Some(decided.decision),
        Opening::Welcome(_) => None,
        Opening::NotOurs => panic!("alice is ours"),
    }
}

#[test]
fn a_login_is_one_line_with_who_and_by_which_key() {
    let host = TestHost::new();
    host.publish();
    let Opening::Welcome(welcome) = opening(&host, "alice", &publickey()) else {
        panic!("alice may log in");
    };
    assert_eq!(
        welcome.line.message,
        format!("login of alice: uid {UID}, IAM UserId AIDAALICE, key {FINGERPRINT}, SourceIdentity alice,")
    );
    for (field, value) in [
        (AuditField::User, "alice"),
        (AuditField::Uid, &*UID.to_string()),
        (AuditField::IamUserId, "AIDAALICE"),
        (AuditField::Key, FINGERPRINT),
        (AuditField::SourceIdentity, "alice"),
    ] {
        assert_eq!(welcome.line.told(field), Some(value), "{field}");
    }
    assert_eq!((welcome.home.as_path(), welcome.uid), (Path::new("/no/such/home"), UID));
    let Opening::Welcome(welcome) = opening(&host, "alice", "") else {
        panic!("su proves no key");
    };
    assert!(welcome.line.message.contains(", key none,"));
    assert_eq!(welcome.line.told(AuditField::Key), None);
}

// P8
#[test]
fn a_key_that_iam_does_not_have_for_the_user_starts_nothing() {
    let foreign = Some(LoginDecision::Refused(Refusal::ForeignKey));
    assert_eq!(refusal_after(|host| host.keys.keys.clear()), foreign);
    assert_eq!(
        refusal_after(|host| host.keys.iam_user_id = "AIDAOLD".to_owned()),
        foreign
    );
    // Where no key in IAM opens anything, nobody is told to put one there.
    let told = |without_iam_keys| {
        let mut host = TestHost::new();
        host.keys.keys.clear();
        host.header.without_iam_keys = without_iam_keys;
        host.publish();
        match opening(&host, "alice", &publickey()) {
            Opening::Refused(decided) => decided.sentence,
            _ => panic!("no key of hers opens it"),
        }
    };
    assert!(told(false).contains("keymaker upload-key"), "{}", told(false));
    assert!(
        !told(true).contains("upload-key") && told(true).contains("keymaker why alice"),
        "{}",
        told(true)
    );
    let host = TestHost::new();
    host.publish();
    fs::remove_file(host.file("keys")).unwrap();
    assert!(matches!(
        opening(&host, "alice", &publickey()),
        Opening::Refused(Decided {
            decision: LoginDecision::Refused(Refusal::ForeignKey),
            ..
        })
    ));
    // Without a key there is nothing to compare.
    assert!(matches!(opening(&host, "alice", ""), Opening::Welcome(_)));
}

// P21, P8
#[test]
fn a_certificate_opens_a_session_only_by_a_ticket_of_the_user_as_they_are_now() {
    const CERTIFICATE: &str = "ssh-ed25519-cert-v01@openssh.com AAAA";
    let opens = |change: &dyn Fn(&mut TestHost, &mut Ticket)| {
        let mut host = TestHost::new();
        host.alice.proofs_from = Some(1_000);
        host.keys.keys.clear();
        // What IAM says about keys has no age here: none of them is used.
        host.keys.answered_at = 1;
        let now = host.now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let mut ticket = Ticket {
            certificate: CERTIFICATE.to_owned(),
            name: host.alice.name,
            uid: host.alice.uid,
            iam_user_id: host.alice.iam_user_id.to_owned(),
            issued_at: now,
            ends_at: now + 300,
            token_id: "4dcf-1".to_owned(),
            fingerprint: FINGERPRINT.to_owned(),
        };
        change(&mut host, &mut ticket);
        fs::create_dir(host.file("tickets")).unwrap();
        ticket.write(&host.file("tickets"), SystemTime::UNIX_EPOCH).unwrap();
        host.publish();
        match opening(&host, "alice", &format!("publickey {CERTIFICATE}\n")) {
            Opening::Welcome(welcome) => Some(welcome),
            Opening::Refused(_) => None,
            Opening::NotOurs => panic!("alice is ours"),
        }
    };
    let welcome = opens(&|_, _| {}).expect("a ticket");
    assert_eq!(welcome.line.told(AuditField::Key), Some(FINGERPRINT));
    assert_eq!(welcome.line.told(AuditField::Proof), Some("4dcf-1"));
    assert!(
        welcome
            .line
            .message
            .contains(&format!("key {FINGERPRINT} by proof 4dcf-1,"))
    );
    // One of these changes is enough.
    let refused = [
        (&|_: &mut TestHost, ticket: &mut Ticket| ticket.certificate += "B") as &dyn Fn(&mut TestHost, &mut Ticket),
        &|_, ticket| ticket.name = UserName::parse(b"bob").unwrap(),
        &|_, ticket| ticket.iam_user_id += "X",
        &|_, ticket| ticket.ends_at -= 301,
        &|_, ticket| ticket.issued_at = 999,
        // Released, renamed or revoked between the keys command and the session; or switched off.
        &|host, ticket| host.alice.proofs_from = Some(ticket.issued_at + 1),
        &|host, _| host.alice.proofs_from = None,
        &|host, _| host.alice.home = "/tmp",
    ];
    for (number, change) in refused.into_iter().enumerate() {
        assert!(opens(change).is_none(), "{number}");
    }
}

// P9
#[test]
fn a_key_that_iam_has_not_confirmed_within_max_stale_starts_nothing() {
    let stale = Some(LoginDecision::CannotTell(Doubt::KeysStale));
    assert_eq!(refusal_after(|host| host.keys.answered_at -= 86_460), stale);
    assert_eq!(refusal_after(|host| host.now += Duration::from_secs(86_460)), stale);
}

// P7
#[test]
fn who_is_denied_by_account_gets_no_session_either() {
    assert_eq!(
        refusal_after(|host| host.alice.tombstone = true),
        Some(LoginDecision::Refused(Refusal::Deleted))
    );
    let another = Some(LoginDecision::Refused(Refusal::EntryOfAnother));
    assert_eq!(refusal_after(|host| host.resolved = None), another);
    // P2
    assert_eq!(
        refusal_after(|host| host.alice.home = "/tmp"),
        Some(LoginDecision::Refused(Refusal::HomeOfAnother))
    );
}

// P7 P12
#[test]
fn who_is_not_ours_is_ignored_with_and_without_a_directory() {
    let mut host = TestHost::new();
    host.resolved = Some(5000);
    assert!(matches!(opening(&host, "bob", &publickey()), Opening::NotOurs));
    host.publish();
    assert!(matches!(opening(&host, "bob", &publickey()), Opening::NotOurs));
    // P1: another service's alice.
    assert!(matches!(opening(&host, "alice", &publickey()), Opening::NotOurs));
    host.resolved = Some(0);
    assert!(matches!(opening(&host, "toor", &publickey()), Opening::NotOurs));
}

// P7
#[test]
fn without_a_directory_nobody_of_ours_gets_a_session() {
    let mut host = TestHost::new();
    host.resolved = None;
    assert!(matches!(
        opening(&host, "alice", ""),
        Opening::Refused(Decided {
            decision: LoginDecision::CannotTell(Doubt::NoDirectory),
            ..
        })
    ));
}

#[test]
fn the_arguments_of_the_pam_line_are_read_and_others_reported() {
    let parse = |arguments: &[&CStr]| Options::parse(arguments);
    let plain = parse(&[]);
    assert_eq!(
        (plain.make_home, plain.umask, plain.skel.as_path()),
        (true, 0o077, Path::new("/etc/skel"))
    );
    let all = parse(&[c"nohome", c"umask=0027", c"skel=/srv/skel"]);
    assert_eq!(
        (all.make_home, all.umask, all.skel.as_path()),
        (false, 0o027, Path::new("/srv/skel"))
    );
    assert!(all.unknown.is_empty());
    let odd = parse(&[
        c"umask=9",
        c"umask=7777",
        c"umask",
        c"skel=etc",
        c"nohome=1",
        c"debug",
        c"\xff",
    ]);
    assert_eq!(odd.unknown.len(), 7);
    assert_eq!(
        Options {
            unknown: Vec::new(),
            ..odd
        },
        plain
    );
}
