//! Any text as a token, before its signature: no panic, and never a signer, since nobody has signed it.

#![no_main]

use keymaker_core::issuers_file::{IssuerKey, POINT};
use keymaker_proof::token::Token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(token) = Token::parse(text) else { return };
    let mut point = [4; POINT];
    point[1..].copy_from_slice(GENERATOR.as_flattened());
    let key = IssuerKey {
        issuer: "https://1.example".to_owned(),
        kid: "EC384_0".to_owned(),
        point,
        fetched_at: 1_800_000_000,
    };
    assert!(token.signers(&[key], 86_400, 1_800_000_000).is_err());
});

/// A point of the curve, with which a signature is looked at: P-384's own (SEC 2, "secp384r1").
const GENERATOR: [[u8; 48]; 2] = [
    *b"\xaa\x87\xca\x22\xbe\x8b\x05\x37\x8e\xb1\xc7\x1e\xf3\x20\xad\x74\x6e\x1d\x3b\x62\x8b\xa7\x9b\x98\x59\xf7\x41\xe0\x82\x54\x2a\x38\x55\x02\xf2\x5d\xbf\x55\x29\x6c\x3a\x54\x5e\x38\x72\x76\x0a\xb7",
    *b"\x36\x17\xde\x4a\x96\x26\x2c\x6f\x5d\x9e\x98\xbf\x92\x92\xdc\x29\xf8\xf4\x1d\xbd\x28\x9a\x14\x7c\xe9\xda\x31\x13\xb5\xf0\xb8\xc0\x0a\x60\xb1\xce\x1d\x7e\x81\x9d\x7a\x43\x1d\x7c\x90\xea\x0e\x5f",
];
