//! Whether a role found by its name is the one that is meant. The methods that go by a name ask here.

use keymaker_aws::{RoleArn, USER_ID_TAG};

use super::iam::Role;
use super::refusal::CredentialRefusal;

/// A role goes by a name, and the person who has the name may be another one by now: deleted and created again, or
/// renamed (P2). What was made for a person says so by a tag.
pub(super) fn made_for(role: &Role, user_id: &str) -> Result<(), CredentialRefusal> {
    let remedy = "run keymaker sync-roles, which says what to do about a role that it did not make";
    match &role.made_for {
        Some(known) if known == user_id => Ok(()),
        Some(other) => Err(CredentialRefusal::denied(format!(
            "the role {} was made for the IAM user {other}, not for {user_id}; {remedy}",
            role.arn
        ))),
        None => Err(CredentialRefusal::denied(format!(
            "the role {} has no tag {USER_ID_TAG} that says for whom it was made; {remedy}",
            role.arn
        ))),
    }
}

pub(super) fn other_path(found: &RoleArn, role: &RoleArn) -> CredentialRefusal {
    CredentialRefusal::denied(format!("the role is {found}, not {role}; see role_path"))
}
