//! Any bytes as SSH_AUTH_INFO_0: never a panic, and a key passes for known only if it stands there, whole, behind a
//! method.

#![no_main]

use keymaker_core::id::Uid;
use keymaker_core::keys_file::{PublishedKey, UserKeys};
use keymaker_core::name::UserName;
use libfuzzer_sys::fuzz_target;
use pam_keymaker::auth_info::{ProvedKeys, proved_keys};

const KEY: &str = "ssh-ed25519 AAAAC3Nz";

fuzz_target!(|auth_info: &[u8]| {
    let user = UserKeys {
        name: UserName::parse(b"alice").expect("a name"),
        uid: Uid::new(1_900_000_000).expect("a uid"),
        iam_user_id: String::new(),
        answered_at: 0,
        keys: vec![PublishedKey {
            id: String::new(),
            line: KEY.to_owned(),
            fingerprint: String::new(),
        }],
    };
    let lines = ["publickey", "hostbased"].map(|method| format!("{method} {KEY}"));
    let stands_there = auth_info
        .split(|byte| *byte == b'\n')
        .any(|text| lines.iter().any(|line| text.starts_with(line.as_bytes())));
    let names_a_key = auth_info
        .split(|byte| *byte == b'\n')
        .any(|text| text == b"publickey" || text.starts_with(b"publickey "));
    match proved_keys(auth_info, Some(&user), &|_| None) {
        ProvedKeys::Known(keys) => assert!(!keys.is_empty() && stands_there),
        ProvedKeys::None => assert!(!names_a_key),
        ProvedKeys::Foreign => {}
    }
});
