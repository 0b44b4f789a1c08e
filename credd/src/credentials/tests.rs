//! What the tests of this folder share.

mod cached;
mod everybody;
mod host;
mod injected;
mod judged;
mod served;
mod settings;
mod told;
mod tried;
mod unasked;
mod whose;
mod world;

use credd_core::accounts::Account;

use super::question::{CredentialQuestion, Names, Person};

/// A local account without groups, whose name counts.
pub fn local(user: &str) -> Person {
    Person {
        account: Account {
            user: Some(user.to_owned()),
            groups: vec![],
            is_doubtful: false,
        },
        iam: None,
        names: Names::Trusted,
    }
}

/// By the default chain.
pub fn question(uid: u32, person: Person) -> CredentialQuestion {
    CredentialQuestion {
        uid,
        person,
        chain: vec![credd_core::config::Method::UserRole],
        share: keymaker_daemon::audit::Share::Of(uid),
    }
}
