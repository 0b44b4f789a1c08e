//! What credd reads, without its clients of AWS: the same files, so that what is fuzzed is what runs.

#![allow(dead_code, unused_imports, reason = "the rest of credd, which is not here, uses it")]

pub use src::imds;

#[path = "../../credd/src"]
mod src {
    pub mod imds {
        //! What a client or the kernel says to the metadata service.
        pub mod caller;
        pub mod sock_diag;
        pub mod wire;
    }
}
