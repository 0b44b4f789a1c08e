//! The mark by which the filters know what the guard has judged. `egress` says which one is in force.

use std::hash::{BuildHasher, RandomState};

/// What a packet carries that the guard has judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub u32);

impl Mark {
    /// Nobody guesses it.
    pub fn random() -> Self {
        let bytes = RandomState::new().hash_one(0_u8).to_ne_bytes();
        let [a, b, c, d, ..] = bytes;
        // 0 is not a mark.
        Self(u32::from_ne_bytes([a, b, c, d]).max(1))
    }
}
