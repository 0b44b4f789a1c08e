//! The metadata service that users see: who is asking, what they may ask, what is answered here and what is passed on.
//!
//! The daemon starts it; it never asks STS or IAM itself.

mod admission;
pub mod answer;
pub mod caller;
mod container;
pub mod container_door;
mod credential_answer;
pub mod credential_source;
pub mod metadata_token;
mod reply;
pub mod server;
mod sock_diag;
pub mod token_files;
pub mod upstream;
mod wire;
