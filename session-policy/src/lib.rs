//! Session policies: what credd passes to sts:AssumeRole so that a session of the instance's role can do no more than
//! one user may. credd calls it with what IAM answered; nothing here asks IAM, reads a clock or keeps state.
//!
//! The rule everywhere: what cannot be expressed exactly is a [`PolicyRefusal`], and no answer is ever "no policy",
//! since a session without one has the whole role.
//!
//! | file | its question |
//! |---|---|
//! | `restricted_instance_role.rs` | what does this user get of the instance's role? |
//! | `instance_role.rs` | what does everybody get of it? |
//! | `session_policies.rs`, `limits.rs` | what may be passed to STS, and is it small enough? |
//! | `compaction.rs` | how is the same said in fewer characters? |
//! | `compression.rs` | which statements change nothing under this role? (opt-in) |
//! | `binding.rs`, `condition_key.rs` | what would mean something else in a role session? |
//! | `document.rs` | what does a policy document say? |
//! | `statement.rs`, `clause.rs`, `conditions.rs` | which requests does a statement reach? |
//! | `pattern.rs`, `glob.rs`, `variable.rs` | what does a pattern match? |
//! | `policy_arn.rs` | how are managed policies named? |
//! | `refusal.rs` | what is the administrator told? |

#![forbid(unsafe_code)]

mod binding;
mod clause;
mod compaction;
mod compression;
mod condition_key;
mod conditions;
mod document;
mod glob;
mod instance_role;
mod limits;
mod pattern;
mod policy_arn;
mod refusal;
mod restricted_instance_role;
mod session_policies;
mod statement;
mod variable;

pub use condition_key::Binding;
pub use document::{PolicyDocument, percent_decoded};
pub use instance_role::{DEFAULT_DENY_ACTIONS, instance_role};
pub use pattern::ActionPattern;
pub use policy_arn::PolicyArn;
pub use refusal::PolicyRefusal;
pub use restricted_instance_role::{Compression, ManagedPolicy, UserPolicies, restricted_instance_role};
pub use session_policies::{SessionPolicies, SessionPolicy};

#[cfg(test)]
mod tests;
