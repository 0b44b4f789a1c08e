//! From IAM to the directory: what keymakerd asks AWS about people, and what it makes of the answers.

pub mod aws_iam;
pub mod iam;
#[cfg(test)]
pub mod iam_fake;
pub mod ids;
pub mod names;
pub mod refused;
