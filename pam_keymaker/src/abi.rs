//! The border to C, in two floors: `hooks` calls the module's work, which calls what is in `calls` and `folder`. All unsafe code of
//! this crate.

pub mod calls;
pub mod folder;
mod hooks;
