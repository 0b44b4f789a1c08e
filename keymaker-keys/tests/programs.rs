//! The two programs as sshd runs them: how they end, and what they never print.

use std::io;
use std::process::{Command, Output};

fn keymaker_keys(arguments: &[&str]) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_keymaker-keys"))
        .args(arguments)
        .env_clear()
        .output()
}

// P1
#[test]
fn keymaker_keys_exits_0_and_prints_nothing_for_local_unknown_and_impossible_names() {
    for arguments in [&["root"][..], &["no-such-user-here"], &["a\nb"], &[""], &[]] {
        let output = keymaker_keys(arguments).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let log = String::from_utf8(output.stderr).unwrap();
        // keymakerd may not be running here, which is a line of its own.
        assert!(log.ends_with('\n') && (1..=2).contains(&log.lines().count()), "{log:?}");
    }
}

fn refusal(arguments: &[&str]) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_refusal"))
        .args(arguments)
        .env_clear()
        .env("BASH_ENV", "/etc/passwd")
        .output()
}

#[test]
fn the_refusal_says_one_sentence_and_fails_whatever_it_is_asked_to_do() {
    for arguments in [
        &[][..],
        &["-c", "echo ran"],
        &["--login", "-i"],
        &["-c", "/usr/lib/openssh/sftp-server"],
    ] {
        let output = refusal(arguments).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert!(
            sentence.starts_with("keymaker: ") && sentence.lines().count() == 1,
            "{sentence:?}"
        );
    }
}
