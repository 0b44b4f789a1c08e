//! Any text as the path of a request: one reading or none, and no path that is passed on has anything to do with credentials (P15).

#![no_main]

use credd::imds::path::segments;
use credd::imds::routes::{Route, route};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    // Half of the time the way there is right already, and the fuzzer has what follows left to find.
    for path in [path.to_owned(), format!("/latest/meta-data/{path}")] {
        let Ok(segments) = segments(&path) else { continue };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@+=,".contains(&byte);
        for segment in &segments {
            assert!(!segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain));
        }
        let again = credd::imds::path::segments(&format!("/{}", segments.join("/")));
        assert_eq!(again.as_ref(), Ok(&segments));
        if let Route::Upstream(path) | Route::MetaDataListing(path) = route(&segments) {
            let sent = path.as_str();
            // An instance's tag may have any name, and so may a user with a key of EC2 Instance Connect.
            let named = |folder| sent.strip_prefix(folder).is_some_and(|name| !name.contains('/'));
            let has_free_name =
                named("/latest/meta-data/tags/instance/") || named("/latest/meta-data/managed-ssh-keys/active-keys/");
            let folders = if has_free_name { "" } else { sent };
            assert!(!folders.contains("credentials") && !folders.contains("/iam"));
            assert!(sent.bytes().all(|byte| plain(byte) || byte == b'/'));
            assert!(credd::imds::path::segments(sent).is_ok());
        }
    }
});
