//! Any bytes as an issuer's set of keys: no panic, and what is taken has a name of its own and the form of a point of P-384.

#![no_main]

use keymaker_aws::read_keys;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|set: &[u8]| {
    let Ok(keys) = read_keys(set) else { return };
    assert!((1..=20).contains(&keys.len()));
    for (number, (kid, point)) in keys.iter().enumerate() {
        assert!(!kid.is_empty() && kid.bytes().all(|byte| byte.is_ascii_graphic()) && point[0] == 4);
        assert!(keys[..number].iter().all(|(other, _)| other != kid));
    }
});
