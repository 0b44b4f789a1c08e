//! What is known, put on disk for everybody to read, and what is left there of users who are gone.

pub mod composition;
pub mod publication;
pub mod published;
pub mod rights;
pub mod store;
pub mod traces;
pub mod turns;
mod unpublished;
pub mod unsettled;
