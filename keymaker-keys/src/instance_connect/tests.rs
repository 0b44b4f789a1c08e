//! The line of a pushed key, by programs that say what a test wants.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use keymaker_core::directory_file::Verdict;
use keymaker_core::sys::own_uid;

use super::*;
use crate::authorized_keys::tests::{TestHost, UID};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";
const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";

fn host() -> TestHost {
    let mut host = TestHost::new();
    host.header.instance_connect = true;
    host.keys.keys.clear();
    host
}

/// What is shown where AWS's program is this script.
fn shown(host: &TestHost, script: &str) -> Result<String, String> {
    let folder = host.folder();
    let program = folder.join("eic");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(folder.join("tickets")).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    host.publish();
    asked(host, &[&program.to_string_lossy()], FINGERPRINT)
}

fn asked(host: &TestHost, programs: &[&str], fingerprint: &str) -> Result<String, String> {
    let tickets = host.folder().join("tickets");
    let places = ConnectPlaces {
        programs,
        timeout: Path::new("/usr/bin/timeout"),
        tickets: &tickets,
        owner: own_uid(),
    };
    host.asked(|asked| line(fingerprint, (host.alice.name, host.at_connect), asked, &places))
}

fn tickets(host: &TestHost) -> usize {
    fs::read_dir(host.folder().join("tickets")).unwrap().count()
}

// P10, P8
#[test]
fn a_pushed_key_is_shown_parsed_and_written_again_and_leaves_a_ticket() {
    let host = host();
    let script = format!("[ \"$*\" = 'alice {FINGERPRINT}' ] && printf '#Timestamp=1\\n{KEY} a comment\\n'");
    assert_eq!(shown(&host, &script).unwrap(), format!("{KEY}\n"));
    assert_eq!(tickets(&host), 1);
    // What is not exactly one key is none.
    for script in [
        "exit 1".to_owned(),
        ":".to_owned(),
        format!("echo '{KEY}'; echo '{KEY}'"),
        format!("echo 'command=\"id\" {KEY}'"),
        format!("echo 'cert-authority {KEY}'"),
        "echo ssh-ed25519 AAAA".to_owned(),
        format!("echo '{KEY}'; exit 1"),
        format!("echo '{KEY}'; kill -KILL $$"),
        "head -c 300000 /dev/zero".to_owned(),
    ] {
        let host = self::host();
        assert_eq!(shown(&host, &script).unwrap(), "", "{script}");
        assert_eq!(tickets(&host), 0);
    }
}

// P2, P7
#[test]
fn who_may_not_log_in_or_is_another_account_here_gets_no_pushed_key() {
    let script = format!("echo '{KEY}'");
    for change in [
        (&|host: &mut TestHost| host.alice.verdict = Verdict::NotInRequiredGroup) as &dyn Fn(&mut TestHost),
        &|host| host.alice.tombstone = true,
        &|host| host.alice.home = "/tmp",
        &|host| host.at_connect = UID + 1,
        &|host| host.resolved = None,
        &|host| host.header.instance_connect = false,
    ] {
        let mut host = host();
        change(&mut host);
        assert_eq!(shown(&host, &script).unwrap_or_default(), "");
        assert_eq!(tickets(&host), 0);
    }
}

// P24
#[test]
fn a_program_that_hangs_is_gone_or_may_be_changed_by_others_shows_nothing() {
    let host = host();
    let began = Instant::now();
    assert!(shown(&host, "sleep 60").unwrap_err().contains("3 s"));
    assert!(began.elapsed().as_secs() < 6);
    // As AWS's own does: what it begins is of a group of its own.
    let began = Instant::now();
    assert!(shown(&host, "timeout 60 sleep 60").unwrap_err().contains("3 s"));
    assert!(began.elapsed().as_secs() < 6);
    let script = format!("echo '{KEY}'");
    assert_eq!(shown(&host, &script).unwrap(), format!("{KEY}\n"));
    let program = host.folder().join("eic");
    let path = program.to_string_lossy().into_owned();
    assert_eq!(asked(&host, &["/no/such"], FINGERPRINT).unwrap(), "");
    assert_eq!(
        asked(&host, &["/no/such", &path], FINGERPRINT).unwrap(),
        format!("{KEY}\n")
    );
    assert_eq!(asked(&host, &[&path], "-rf").unwrap(), "");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o775)).unwrap();
    assert!(asked(&host, &[&path], FINGERPRINT).is_err());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(host.folder().join("tickets")).unwrap();
    assert!(asked(&host, &[&path], FINGERPRINT).unwrap_err().contains("ticket"));
}
