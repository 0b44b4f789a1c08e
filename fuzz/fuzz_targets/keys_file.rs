//! Any bytes as the published keys, with the checksums made right, as anybody who can write the file would: the keys of
//! who was asked for, each a key and nothing else, or none (P10).

#![no_main]

use keymaker_core::keys_file::KeysFile;
use keymaker_core::name::UserName;
use keymaker_core::public_key::SshPublicKey;
use keymaker_fuzz::with_published_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    with_published_file(bytes, |path| {
        let Ok(file) = KeysFile::open(path) else { return };
        let _ = file.origin();
        for name in ["alice", "bob"].map(|name| UserName::parse(name.as_bytes()).expect("a name")) {
            let Ok(Some(user)) = file.user(name) else { continue };
            assert_eq!(user.name, name);
            assert!(user.keys.iter().all(|key| SshPublicKey::parse(&key.line).is_some()));
        }
    });
});
