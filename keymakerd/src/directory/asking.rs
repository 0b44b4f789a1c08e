//! How the directory learns: passes over everybody, nudges about one user, and what limits both.

mod by_case;
mod by_name;
pub mod flights;
pub mod issuer_tries;
pub mod issuers;
pub mod limits;
mod missing;
mod neighbours;
pub mod nudge;
pub mod passing;
mod running;
mod silence;
pub mod sync;
pub mod tries;
