//! keymakerd without its clients of AWS: the same files, so that what is tried in many histories is what runs.

#![allow(
    dead_code,
    unused_imports,
    async_fn_in_trait,
    reason = "the rest of keymakerd, which is not here, uses it"
)]

pub use src::{
    audit, clock, config, counts, directory, local_accounts, other_services, service_names, settings, wakeups,
};

#[path = "../../keymakerd/src"]
mod src {
    pub mod audit;
    pub mod clock;
    pub mod config;
    pub mod counts;
    pub mod local_accounts;
    pub mod other_services;
    pub mod service_names;
    pub mod settings;
    mod status;
    pub mod wakeups;

    pub mod directory {
        //! All but what asks AWS.
        pub mod asking;
        pub mod entitlement;
        pub mod facts;
        pub mod iam {
            //! IAM, without the one that asks AWS.
            #[cfg(test)]
            pub mod fake;
            mod questions;
            pub mod ssh_keys;
            pub use questions::{Iam, IamGroup, IamUser};
        }
        pub mod orders;
        pub mod outcome;
        pub mod publishing;
        pub mod service;
        pub mod state;
        #[cfg(test)]
        mod tests;
    }
}
