//! Any text that IAM or a tag may hold for a public key: what is published of it is one key, by keymaker-core's own
//! reader too (P10).

#![no_main]

use keymaker_core::public_key::SshPublicKey;
use keymakerd::directory::iam::ssh_keys::clean;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Half of the time the type is right already, and the fuzzer has the key left to find.
    for text in [text.to_owned(), format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5{text}")] {
        let Ok(key) = clean(&text) else { continue };
        assert!(SshPublicKey::parse(&key.line).is_some(), "{:?}", key.line);
        assert!(key.fingerprint.starts_with("SHA256:") && key.fingerprint.len() == 50);
        assert_eq!(clean(&key.line), Ok(key));
    }
});
