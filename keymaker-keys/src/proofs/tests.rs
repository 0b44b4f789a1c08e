//! The line for a certificate, by verifiers that say what a test wants.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use keymaker_core::directory_file::Verdict;
use keymaker_core::id::Uid;

use super::*;
use crate::authorized_keys::tests::{DAY, TestHost, UID};

const TYPE: &str = "ssh-ed25519-cert-v01@openssh.com";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";
const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";

/// A host on which proofs are on for alice since the beginning of 1970.
fn host() -> TestHost {
    let mut host = TestHost::new();
    host.alice.proofs_from = Some(0);
    // Nothing in IAM's keys: not needed, and not asked for.
    host.keys.keys.clear();
    host
}

fn unix(host: &TestHost) -> u64 {
    host.now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn line_of(host: &TestHost) -> String {
    let now = unix(host);
    format!("alice AIDAALICE {now} {} 4dcf-1 {FINGERPRINT} {KEY}", now + 300)
}

/// What sshd is shown where the verifier is this script.
fn shown(host: &TestHost, verifier: &str, base64: &str) -> Result<String, NoKeys> {
    let shown = shown_of_token(host, verifier, base64).map(|shown| shown.lines);
    shown.map_err(|why| match why {
        NoKeys::OfToken(_, why) => *why,
        why => why,
    })
}

/// The same, and what is known of the token.
fn shown_of_token(host: &TestHost, verifier: &str, base64: &str) -> Result<ShownKeys, NoKeys> {
    let folder = host.folder();
    let program = folder.join("proof");
    fs::write(&program, format!("#!/bin/sh\n{verifier}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let tickets = folder.join("tickets");
    let places = ProofPlaces {
        verifier: &program,
        tickets: &tickets,
    };
    let offered = Offered {
        key_type: TYPE,
        base64: OsStr::new(base64),
        login: (host.alice.name, host.at_connect),
    };
    host.asked(|asked| lines(&offered, asked, &places, host.now))
}

fn proved(host: &TestHost) -> Result<String, NoKeys> {
    fs::create_dir_all(host.folder().join("tickets")).unwrap();
    host.publish();
    let verifier = format!("[ \"$1 $2 $#\" = '{TYPE} AAAA 2' ] && echo '{}'", line_of(host));
    shown(host, &verifier, "AAAA")
}

fn after(change: impl FnOnce(&mut TestHost)) -> Result<String, NoKeys> {
    let mut host = host();
    change(&mut host);
    proved(&host)
}

fn tickets(host: &TestHost) -> usize {
    fs::read_dir(host.folder().join("tickets")).unwrap().count()
}

// P10, P21
#[test]
fn a_proof_is_shown_as_the_authority_of_its_own_key_and_leaves_a_ticket() {
    let host = host();
    let line = format!("cert-authority,principals=\"keymaker-proof\" {KEY}\n");
    assert_eq!(proved(&host).unwrap(), line);
    // sshd asks twice a login.
    assert_eq!(proved(&host).unwrap(), line);
    assert_eq!(tickets(&host), 1);
}

// P21
#[test]
fn a_proof_of_another_user_or_older_than_the_name_opens_nothing_and_leaves_no_ticket() {
    for change in [
        (&|host: &mut TestHost| host.alice.iam_user_name = "bob") as &dyn Fn(&mut TestHost),
        &|host| host.alice.iam_user_name = "Alice",
        // Who had the name when the token was made.
        &|host| host.alice.iam_user_id = "AIDABOB",
        &|host| host.alice.proofs_from = None,
        &|host| host.alice.proofs_from = Some(unix(host) + 1),
    ] {
        let mut host = host();
        change(&mut host);
        assert!(matches!(proved(&host), Err(NoKeys::NoProof(_))));
        assert_eq!(tickets(&host), 0);
    }
}

#[test]
fn the_name_of_a_token_is_told_where_the_issuer_has_signed_it_and_is_one() {
    let mut host = host();
    fs::create_dir_all(host.folder().join("tickets")).unwrap();
    host.publish();
    let told = |host: &TestHost, verifier: &str| match shown_of_token(host, verifier, "AAAA") {
        Ok(shown) => shown.token_id,
        Err(why) => why.token_id().map(str::to_owned),
    };
    let proves = format!("echo '{}'", line_of(&host));
    let named = Some("4dcf-1".to_owned());
    assert_eq!(told(&host, &proves), named);
    assert_eq!(told(&host, "echo 4dcf-1; exit 7"), named);
    for verifier in [
        // Nobody has signed it yet.
        "echo 4dcf-1; exit 6",
        "echo 4dcf-1; exit 1",
        "exit 7",
        "printf 4dcf-1; exit 7",
        "echo 4dcf-1; echo x; exit 7",
        "echo '4dcf 1'; exit 7",
        "printf '4dcf\\001\\n'; exit 7",
    ] {
        assert_eq!(told(&host, verifier), None, "{verifier}");
    }
    host.alice.proofs_from = None;
    host.publish();
    assert_eq!(told(&host, &proves), named);
    let why = shown_of_token(&host, &proves, "AAAA").unwrap_err();
    assert_eq!(why.audited(), keymaker_core::audit::AuditReason::NoProof);
    assert!(why.to_string().starts_with("no key: no proof: proofs are off"), "{why}");
}

// P2, P7
#[test]
fn who_is_another_account_here_or_gone_gets_no_line_for_a_proof() {
    assert!(matches!(
        after(|host| host.alice.tombstone = true),
        Err(NoKeys::Unknown)
    ));
    for change in [
        (&|host: &mut TestHost| host.at_connect = UID + 1) as &dyn Fn(&mut TestHost),
        &|host| host.alice.uid = Uid::new(UID + 1).unwrap(),
        &|host| host.resolved = None,
    ] {
        assert!(matches!(after(change), Err(NoKeys::EntryOfAnother)));
    }
}

// P7
#[test]
fn who_may_not_log_in_reads_the_refusal_by_a_proof_too() {
    let refused = format!(
        "restrict,command=\"/usr/libexec/keymaker/refusal\",cert-authority,principals=\"keymaker-proof\" {KEY}\n"
    );
    for change in [
        (&|host: &mut TestHost| host.alice.verdict = Verdict::NotInRequiredGroup) as &dyn Fn(&mut TestHost),
        &|host| host.alice.answered_at = unix(host) - DAY - 10,
        &|host| host.alice.home = "/tmp",
    ] {
        let mut host = host();
        change(&mut host);
        assert_eq!(proved(&host).unwrap(), refused);
        assert_eq!(tickets(&host), 0);
    }
    // The age of IAM's keys says nothing about a proof.
    assert!(
        after(|host| host.keys.answered_at = 1)
            .unwrap()
            .starts_with("cert-authority")
    );
}

// P24
#[test]
fn whatever_ends_the_verifier_is_no_proof() {
    let host = host();
    fs::create_dir_all(host.folder().join("tickets")).unwrap();
    host.publish();
    let line = line_of(&host);
    for verifier in [
        "exit 1",
        "echo the sentence >&2; exit 1",
        "kill -SEGV $$",
        "kill -KILL $$",
        ":",
        &format!("echo '{line}'; exit 101"),
        &format!("echo '{line}'; kill -ABRT $$"),
        &format!("printf '%s' '{line}'"),
        &format!("echo '{line}'; echo '{line}'"),
        &format!("echo ' {line}'"),
        &format!("echo '{}'", line.replace(KEY, "command=\"id\" ssh-ed25519 AAAA")),
        "head -c 1000000 /dev/zero",
        "printf '\\377\\n'",
    ] {
        let shown = shown(&host, verifier, "AAAA");
        assert!(matches!(shown, Err(NoKeys::NoProof(_))), "{verifier}: {shown:?}");
    }
    let Err(NoKeys::NoProof(why)) = shown(&host, "printf 'a\\001 reason\\n' >&2; exit 1", "AAAA") else {
        panic!("no proof")
    };
    assert_eq!(why, "a reason");
    let long = "A".repeat(MAX_CERTIFICATE + 1);
    let shown = shown(&host, &format!("echo '{line}'"), &long);
    assert!(
        matches!(shown, Err(NoKeys::NotProven(ProofGate::Certificate, _))),
        "{shown:?}"
    );
    assert_eq!(tickets(&host), 0);
}

/// What is shown where the verifier knows the token's key only once keymakerd has answered so; and what keymakerd was asked.
fn shown_after(host: &TestHost, answer: &'static str, status: u8) -> (Result<String, NoKeys>, Vec<String>) {
    let (shown, asked, _) = shown_after_waiting(host, answer, status, None);
    (shown, asked)
}

/// The same, where keymakerd takes that long for the first answer and gives no other one; and how long each question was waited for.
fn shown_after_waiting(
    host: &TestHost,
    answer: &'static str,
    status: u8,
    waits: Option<Duration>,
) -> (Result<String, NoKeys>, Vec<String>, mpsc::Receiver<Duration>) {
    use std::io::{BufRead, BufReader, Read, Write};
    let folder = host.folder();
    fs::create_dir_all(folder.join("tickets")).unwrap();
    host.publish();
    let socket = folder.join("login.sock");
    let _ = fs::remove_file(&socket);
    let daemon = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let asked = folder.join("asked");
    let _ = fs::remove_file(&asked);
    let log = asked.clone();
    let (tell, waited) = mpsc::channel();
    std::thread::spawn(move || {
        for asker in daemon.incoming() {
            let (began, mut asker) = (Instant::now(), asker.unwrap());
            let mut line = String::new();
            BufReader::new(asker.try_clone().unwrap()).read_line(&mut line).unwrap();
            let mut log = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
            log.write_all(line.as_bytes()).unwrap();
            match (line == "issuer-keys\n", waits) {
                (true, waits) => {
                    std::thread::sleep(waits.unwrap_or_default());
                    let _ = asker.write_all(answer.as_bytes());
                }
                (false, None) => drop(asker.write_all(b"fresh\n")),
                // Until it hangs up.
                (false, Some(_)) => drop(asker.read(&mut [0])),
            }
            let _ = tell.send(began.elapsed());
        }
    });
    let verifier = format!(
        "grep -q issuer-keys {} 2>/dev/null && echo '{}' || exit {status}",
        asked.display(),
        line_of(host)
    );
    let shown = shown(host, &verifier, "AAAA");
    let asked = fs::read_to_string(asked).unwrap_or_default();
    (shown, asked.lines().map(str::to_owned).collect(), waited)
}

// P21, P9
#[test]
fn for_a_key_that_is_not_published_keymakerd_is_asked_once_and_without_a_word_of_the_client() {
    let (shown, asked) = shown_after(&host(), "fresh\n", 5);
    assert!(shown.unwrap().starts_with("cert-authority"));
    assert_eq!(asked, ["issuer-keys", "keys alice"]);
    // It has none: nothing more is asked.
    for answer in ["cannot-tell\n", "not-permitted\n", ""] {
        let (shown, asked) = shown_after(&host(), answer, 5);
        assert!(matches!(shown, Err(NoKeys::NotProven(ProofGate::Key, _))), "{answer}");
        assert_eq!(asked, ["issuer-keys"]);
    }
    for status in [3, 4, 6, 7] {
        let (shown, asked) = shown_after(&host(), "fresh\n", status);
        assert!(matches!(shown, Err(NoKeys::NotProven(gate, _)) if gate.status() == status));
        assert!(asked.is_empty());
    }
    // Any other reason, and a user whom no proof lets in: nobody is asked.
    assert!(shown_after(&host(), "fresh\n", 1).1.is_empty());
    let mut without = host();
    without.alice.proofs_from = None;
    assert!(shown_after(&without, "fresh\n", 5).1.is_empty());
    let mut another = host();
    another.at_connect = UID + 1;
    assert!(shown_after(&another, "fresh\n", 5).1.is_empty());
}

// P5
#[test]
fn the_two_questions_about_a_proof_wait_no_longer_than_one_about_a_key() {
    let first = Duration::from_millis(1800);
    let (shown, asked, waited) = shown_after_waiting(&host(), "fresh\n", 5, Some(first));
    assert_eq!(asked, ["issuer-keys", "keys alice"]);
    // What is published stands.
    assert!(shown.unwrap().starts_with("cert-authority"));
    let both: Duration = waited.iter().take(2).sum();
    assert!(both < first + KEYS_BUDGET, "{both:?}");
}

// P24
#[test]
fn where_no_ticket_can_be_written_no_line_is_shown() {
    let host = host();
    host.publish();
    let shown = shown(&host, &format!("echo '{}'", line_of(&host)), "AAAA");
    assert!(matches!(shown, Err(NoKeys::NoProof(why)) if why.contains("ticket")));
}
