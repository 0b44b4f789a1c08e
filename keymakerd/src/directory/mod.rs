//! From IAM to the directory: what keymakerd asks AWS about people, and what it makes of the answers.
//!
//! Read in this order: `service` (what is known), `sync` and `nudge` (how it becomes known), `facts` (what an answer changes),
//! `composition` and `publication` (what others see of it). The rest are rules that those apply.

pub mod aws_iam;
mod by_name;
pub mod composition;
pub mod entitled;
pub mod facts;
pub mod flights;
pub mod iam;
#[cfg(test)]
#[allow(dead_code, reason = "a fake account can do more than the tests ask of it today")]
pub mod iam_fake;
pub mod ids;
pub mod limits;
pub mod names;
pub mod neighbours;
pub mod nudge;
pub mod order;
pub mod orders;
pub mod passwd_fields;
pub mod publication;
pub mod refused;
pub mod service;
mod silence;
pub mod ssh_keys;
pub mod store;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod traces;
mod unpublished;
pub mod verdict;
