//! Any text as a public key: what passes is a type, a blank and base64, so that sshd can read nothing else in it.

#![no_main]

use keymaker_core::public_key::{MAX_LINE, SshPublicKey, TYPES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    // Half of the time the type is right already, and the fuzzer has the key left to find.
    for line in [line.to_owned(), format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5{line}")] {
        let Some(key) = SshPublicKey::parse(&line) else {
            continue;
        };
        let (key_type, base64) = key.line().split_once(' ').expect("a type and a key");
        assert!(TYPES.contains(&key_type) && key.line().len() <= MAX_LINE);
        assert!(
            base64
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        );
    }
});
