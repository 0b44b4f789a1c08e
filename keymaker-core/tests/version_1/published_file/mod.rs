//! The container of version 1, its reading half.
pub mod format;
pub mod reader;
