//! The instance's own role, restricted to what one IAM user may do: the session policies of the method of that name,
//! which calls it with what IAM answered about the user. Effective = role ∩ (the user's policies, inline and managed
//! together). What cannot be said exactly is refused; nothing to allow is "deny all", never another method.

use std::collections::{BTreeMap, BTreeSet};

use keymaker_syntax::{AccountId, RoleArn};

use super::binding::{self, Origin};
use super::compaction::compacted;
use super::compression::compressed;
use super::document::PolicyDocument;
use super::limits::MAX_POLICY_ARNS;
use super::policy_arn::PolicyArn;
use super::refusal::PolicyRefusal;
use super::session_policies::SessionPolicies;
use super::statement::{Effect, Statement};

/// Everything that IAM grants or denies one user: their own policies and those of all their groups.
#[derive(Clone, Debug)]
pub struct UserPolicies {
    /// The account in which they stand: the instance's, or the id-resolver account.
    pub account: AccountId,
    /// The user's permissions boundary, which `GetUser` shows.
    pub permissions_boundary: Option<String>,
    /// Inline policies of the user and of every group.
    pub inline: Vec<PolicyDocument>,
    /// Managed policies attached to the user or to any group; one that is attached twice may stand here twice.
    pub managed: Vec<ManagedPolicy>,
}

/// A managed policy and its default version, which is read too: by its ARN alone nobody could tell what it says about
/// the requester.
#[derive(Clone, Debug)]
pub struct ManagedPolicy {
    /// Its ARN.
    pub arn: PolicyArn,
    /// Its default version.
    pub document: PolicyDocument,
}

/// The setting `compress_user_policy`.
#[derive(Clone, Copy, Debug)]
pub enum Compression<'a> {
    /// Off: the session policies say all that the user's policies say.
    Off,
    /// On: what changes nothing under these policies of the role is left out. They must be all of the role's.
    AgainstRole(&'a [PolicyDocument]),
}

/// The session policies under which a session of `role` may do what the user may, and nothing more.
pub fn restricted_instance_role(
    user: &UserPolicies,
    role: &RoleArn,
    compression: Compression<'_>,
) -> Result<SessionPolicies, PolicyRefusal> {
    if let Some(boundary) = user.permissions_boundary.clone() {
        return Err(PolicyRefusal::PermissionsBoundary { boundary });
    }
    let origin = if user.account == *role.account() {
        Origin::SameAccount
    } else {
        Origin::OtherAccount
    };
    for document in user
        .inline
        .iter()
        .chain(user.managed.iter().map(|managed| &managed.document))
    {
        binding::check(document, origin)?;
    }
    let (by_arn, spelled_out) = divided(&user.managed, role);
    let documents = user.inline.iter().chain(spelled_out);
    let statements = compacted(kept(documents.flat_map(PolicyDocument::statements), compression));
    if by_arn.is_empty() && !statements.iter().any(|statement| statement.effect == Effect::Allow) {
        return Ok(SessionPolicies::deny_all());
    }
    SessionPolicies::new(&statements, &by_arn)
}

/// Which managed policies go by ARN, and which must be spelled out in the inline policy: those of another account, and
/// the shortest where there are more than STS takes.
fn divided<'a>(managed: &'a [ManagedPolicy], role: &RoleArn) -> (Vec<&'a PolicyArn>, Vec<&'a PolicyDocument>) {
    let distinct: BTreeMap<&str, &ManagedPolicy> = managed.iter().map(|policy| (policy.arn.as_str(), policy)).collect();
    let (mut by_arn, mut spelled_out): (Vec<&ManagedPolicy>, Vec<&ManagedPolicy>) = distinct
        .into_values()
        .partition(|policy| policy.arn.exists_beside(role));
    by_arn.sort_by_key(|policy| std::cmp::Reverse(length(&policy.document)));
    spelled_out.extend(by_arn.split_off(by_arn.len().min(MAX_POLICY_ARNS)));
    let arns = by_arn.into_iter().map(|policy| &policy.arn).collect();
    (arns, spelled_out.into_iter().map(|policy| &policy.document).collect())
}

fn length(document: &PolicyDocument) -> usize {
    let text_length = |statement: &Statement| statement.to_json().to_string().len();
    document.statements().iter().map(text_length).sum()
}

fn kept<'a>(statements: impl Iterator<Item = &'a Statement>, compression: Compression<'_>) -> BTreeSet<Statement> {
    match compression {
        Compression::Off => statements.cloned().collect(),
        Compression::AgainstRole(role) => {
            let role: Vec<&Statement> = role.iter().flat_map(PolicyDocument::statements).collect();
            statements
                .filter_map(|statement| compressed(statement, &role))
                .collect()
        }
    }
}
