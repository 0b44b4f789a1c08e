//! keymakerd without its clients of AWS: the same files, so that what is tried in many histories is what runs.

#![allow(
    dead_code,
    unused_imports,
    async_fn_in_trait,
    reason = "the rest of keymakerd, which is not here, uses it"
)]

pub use src::{clock, config, directory, local_accounts, other_services, service_names, settings};

#[path = "../../keymakerd/src"]
mod src {
    pub mod clock;
    pub mod config;
    pub mod local_accounts;
    pub mod other_services;
    pub mod service_names;
    pub mod settings;
    mod status;

    pub mod directory {
        //! All but what asks AWS.
        mod by_name;
        pub mod composition;
        pub mod entitled;
        pub mod facts;
        pub mod flights;
        pub mod iam;
        #[cfg(test)]
        pub mod iam_fake;
        pub mod ids;
        pub mod limits;
        pub mod names;
        pub mod neighbours;
        pub mod nudge;
        pub mod order;
        pub mod orders;
        pub mod passwd_fields;
        pub mod publication;
        pub mod refused;
        pub mod service;
        mod silence;
        pub mod ssh_keys;
        pub mod store;
        pub mod sync;
        #[cfg(test)]
        mod tests;
        pub mod traces;
        mod unpublished;
        pub mod verdict;
    }
}
