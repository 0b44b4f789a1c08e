//! What keymakerd reads, without its clients of AWS: the same files, so that what is fuzzed is what runs.

#![allow(
    dead_code,
    unused_imports,
    async_fn_in_trait,
    reason = "the rest of keymakerd, which is not here, uses it"
)]

pub use src::{clock, config, directory, local_accounts, service_names, settings};

#[path = "../../keymakerd/src"]
mod src {
    pub mod clock;
    pub mod config;
    pub mod local_accounts;
    pub mod service_names;
    pub mod settings;

    pub mod directory {
        //! What is made of IAM's answers about one user.
        pub mod facts;

        pub mod iam {
            //! IAM's answers, which nobody asks for here.
            mod questions;
            pub mod ssh_keys;
            pub use questions::{Iam, IamGroup, IamUser};
        }

        pub mod entitlement {
            //! What a passwd entry and a verdict take.
            pub mod ids;
            pub mod passwd_fields;
            pub mod refused;
            pub mod verdict;

            pub mod neighbours {
                //! The other services, of which there are none here.
                use super::refused::EntryRefusal;

                /// What is asked for.
                pub enum NameOrId {
                    /// A number.
                    Id(u32),
                }

                /// Nobody.
                pub struct Neighbours;

                impl Neighbours {
                    /// Refuses nothing.
                    pub fn refusal(&self, _: &NameOrId) -> Option<EntryRefusal> {
                        None
                    }
                }
            }
        }
    }
}
