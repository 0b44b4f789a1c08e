//! What the programs that print keys share.

pub mod authorized_keys;
pub mod instance_connect;
pub mod proofs;
