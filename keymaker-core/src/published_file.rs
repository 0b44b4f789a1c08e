//! The container that both published files share: an immutable file, found by a few preads, trusted only when whole.
//!
//! `format.rs` states the layout, `reader.rs` opens and searches it from inside any process, `writer.rs` builds it,
//! `replacement.rs` puts it in place.

pub mod format;
pub mod reader;
pub mod replacement;
pub mod writer;
