//! Any text as a token, before its signature: no panic, and never a signer, since nobody has signed it.

#![no_main]

use keymaker_core::issuers_file::{IssuerKey, POINT};
use keymaker_proof::token::Token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(token) = Token::parse(text) else { return };
    let mut point = [0; POINT];
    point[0] = 4;
    let key = IssuerKey {
        issuer: "https://1.example".to_owned(),
        kid: "EC384_0".to_owned(),
        point,
        fetched_at: 1_800_000_000,
    };
    assert!(token.signers(&[key], 86_400, 1_800_000_000).is_err());
});
