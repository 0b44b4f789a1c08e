//! credd: gives every user of this host their own AWS credentials at the metadata address.
//!
//! A library, so that the daemon (`main.rs`), the capture program (`bin/credd-capture.rs`) and the conformance suite
//! (`tests/`) share one implementation. Folders meet only in the daemon; no other program imports this crate.

pub mod audit;
pub mod check;
pub mod clock;
pub mod credentials;
pub mod daemon;
pub mod imds;
