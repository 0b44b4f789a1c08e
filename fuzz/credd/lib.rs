//! What credd reads, without its clients of AWS: the same files, so that what is fuzzed is what runs.

#![allow(dead_code, unused_imports, reason = "the rest of credd, which is not here, uses it")]

pub use src::{accounts, config, credentials, imds, import};

#[path = "../../credd/src"]
mod src {
    pub mod accounts;
    pub mod config;
    pub mod import;

    pub mod imds {
        //! What a client or the kernel says to the metadata service.
        pub mod caller;
        pub mod path;
        pub mod route_table;
        pub mod routes;
        pub mod rules;
        pub mod sock_diag;
        pub mod wire;
    }

    pub mod credentials {
        //! The one thing of the issuing half that the settings name.
        mod id_resolver;
        pub use id_resolver::IdResolver;
    }
}
