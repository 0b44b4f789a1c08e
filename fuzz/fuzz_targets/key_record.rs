//! Any bytes as a record of the keys file: read or refused, never a panic; and no key that is read has more than one
//! line.

#![no_main]

use keymaker_core::keys_file::UserKeys;
use keymaker_core::public_key::SshPublicKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|record: &[u8]| {
    for key in UserKeys::parse(record).into_iter().flat_map(|user| user.keys) {
        assert!(SshPublicKey::parse(&key.line).is_some());
        assert!(!key.line.contains(|c: char| c.is_control()));
        assert!(key.fingerprint.len() == 50 && key.fingerprint.is_ascii());
    }
});
