//! Any text as the path of a request: one reading or none, and no path that is passed on has anything to do with
//! credentials (P15).

#![no_main]

use credd_core::metadata::path::segments;
use credd_core::metadata::routes::{MetadataRoute, route};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    // Half of the time the way there is right already, and the fuzzer has what follows left to find.
    for path in [path.to_owned(), format!("/latest/meta-data/{path}")] {
        let Ok(segments) = segments(&path) else { continue };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@+=,".contains(&byte);
        for segment in &segments {
            assert!(!segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain));
        }
        let again = credd_core::metadata::path::segments(&format!("/{}", segments.join("/")));
        assert_eq!(again.as_ref(), Ok(&segments));
        if let MetadataRoute::Upstream(path) | MetadataRoute::MetaDataListing(path) = route(&segments) {
            let sent = path.as_str();
            let named = |folder: &&str| {
                let name = sent
                    .strip_prefix("/latest/meta-data/")
                    .and_then(|path| path.strip_prefix(*folder));
                name.is_some_and(|name| !name.trim_end_matches('/').contains('/'))
            };
            let folders = if FREE_NAMES.iter().any(named) { "" } else { sent };
            assert!(!folders.contains("credentials") && !folders.contains("/iam"));
            assert!(sent.bytes().all(|byte| plain(byte) || byte == b'/'));
            assert!(credd_core::metadata::path::segments(sent).is_ok());
        }
    }
});

/// What stands there may have any name, iam or credentials too: a tag, a user with a key of EC2 Instance Connect, a
/// device.
const FREE_NAMES: [&str; 4] = [
    "tags/instance/",
    "managed-ssh-keys/active-keys/",
    "managed-ssh-keys/signer-ocsp/",
    "block-device-mapping/",
];
