//! The metadata service that users see: who is asking, what they may ask, what is answered here and what is passed on.
//!
//! The daemon starts it; it never asks STS or IAM itself.

pub mod caller;
pub mod metadata_token;
pub mod path;
pub mod route_table;
pub mod routes;
pub mod rules;
mod sock_diag;
