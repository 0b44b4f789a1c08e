//! What a user's policy says about the requester means something else once a role session asks.
//! `restricted_instance_role.rs` has every document checked here before anything is made of it; one key is enough to
//! refuse all of it, since a Deny that no longer matches is a permission gained. [`Binding`] is the table.

use super::condition_key::Binding;
use super::document::PolicyDocument;
use super::pattern::Pattern;
use super::refusal::PolicyRefusal;
use super::variable::key_of;

/// Whose account the user's policies come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The role's own account.
    SameAccount,
    /// Another one (an id-resolver account).
    OtherAccount,
}

/// Ok if every condition key and every variable of the document has the same value for a session of the role as for the
/// user.
pub(super) fn check(document: &PolicyDocument, origin: Origin) -> Result<(), PolicyRefusal> {
    for statement in document.statements() {
        let resource_variables = statement
            .resources
            .patterns()
            .flat_map(|pattern| pattern.glob().variables());
        let conditions = statement.conditions.iter();
        let condition_variables = conditions.clone().flat_map(|block| block.variables());
        let variables = resource_variables.chain(condition_variables).map(key_of);
        let condition_keys = conditions.flat_map(|block| block.keys()).map(str::to_ascii_lowercase);
        for key in variables.chain(condition_keys) {
            check_key(document.name(), key, origin)?;
        }
    }
    Ok(())
}

fn check_key(policy: &str, key: String, origin: Origin) -> Result<(), PolicyRefusal> {
    let policy = policy.to_owned();
    match Binding::of(&key) {
        Binding::UserOnly | Binding::Principal => Err(PolicyRefusal::BoundToPrincipal { policy, key }),
        Binding::MultiFactor => Err(PolicyRefusal::MultiFactor { policy, key }),
        Binding::Account if origin == Origin::OtherAccount => Err(PolicyRefusal::BoundToAccount { policy, key }),
        Binding::Account | Binding::Request => Ok(()),
    }
}
