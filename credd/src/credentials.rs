//! Who gets which credentials: the issuing half of credd. The metadata server asks [`Issuer`] through its
//! `CredentialSource` trait; the daemon joins the two. Nothing here reads a socket of a user.
//!
//! The rules everywhere: an error never leads to the next method (only "does not apply" does), and a method sees
//! nothing of a caller but the [`CredentialQuestion`], which is also the key of the cache, so that what shaped an
//! answer is in its key (P18).
//!
//! | file | its question |
//! |---|---|
//! | `issuer.rs` | what does this caller get, within the deadline? |
//! | `people.rs`, `directory_accounts.rs` | who is this uid, and may they have anything? |
//! | `question.rs` | what do methods know of a caller? |
//! | `cache.rs`, `entry.rs`, `rate.rs` | is there an answer already, and may AWS be asked? |
//! | `chain.rs` | which method answers? |
//! | `user_role.rs`, `create_user_role.rs`, `restricted_instance_role.rs`, `instance_role.rs`, `shared_role.rs` | the methods |
//! | `session.rs` | what is the session called, and which tags has it? |
//! | `aws.rs`, `iam.rs`, `iam_user.rs`, `user_policies.rs` | what does AWS say? |
//! | `refusal.rs` | what does an error mean? |
//! | `metrics.rs`, `turned_away.rs`, `status_socket.rs` | how is it going? |
//! | `trial.rs` | would every method work here? |

mod aws;
mod cache;
mod chain;
mod create_user_role;
pub mod directory_accounts;
mod entry;
mod iam;
mod iam_user;
mod instance_role;
mod issuance;
mod issuer;
mod meant_role;
pub mod metrics;
pub mod people;
mod question;
mod rate;
mod refusal;
mod restricted_instance_role;
mod session;
mod shared_role;
pub mod status_socket;
pub mod trial;
mod turned_away;
mod user_policies;
mod user_role;

pub use aws::Aws;
pub use cache::{Cache, Issue};
pub use chain::{Chain, MethodSettings};
pub use issuance::Issuance;
pub use issuer::{Chains, Issuer};
pub use question::{CredentialQuestion, IamIdentity, Names, Person};
pub use refusal::CredentialRefusal;

#[cfg(test)]
mod tests;
