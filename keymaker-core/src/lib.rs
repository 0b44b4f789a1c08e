//! What two programs of Keymaker must agree on, and nothing else: names, ids, the published files, the request
//! protocol.
//!
//! The NSS and PAM modules live inside other people's processes and use this crate, so it depends on libc only, starts
//! no thread, keeps no state and prints nothing. All its unsafe code is in [`sys`].

pub mod audit;
pub mod client;
pub mod crc32c;
pub mod directory_file;
pub mod home;
pub mod id;
pub mod issuers_file;
pub mod journal;
pub mod keys_file;
pub mod local_files;
pub mod login;
pub mod name;
pub mod nsswitch;
pub mod paths;
pub mod processes;
pub mod proof;
pub mod protocol;
pub mod public_key;
pub mod published_file;
pub mod reserved_names;
pub mod roots_folder;
pub mod running;
pub mod source_identity;
pub mod sudo_rule;
pub mod sys;
pub mod ticket;
