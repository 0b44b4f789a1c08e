//! IAM as the directory sees it: the questions, who answers them, and what a key's text is worth.

pub mod aws;
#[cfg(test)]
#[allow(dead_code, reason = "a fake account can do more than the tests ask of it today")]
pub mod fake;
mod questions;
pub mod ssh_keys;

pub use questions::{Iam, IamGroup, IamUser};
