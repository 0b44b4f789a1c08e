//! The instance's own role for everybody, less the actions that would make it more than that: the session policy of the
//! method of that name. There is no unrestricted form of it. A session policy without an Allow grants nothing, hence
//! `Allow *` beside the Deny (the predecessor's had the Deny only, so its sessions could do nothing at all).

use std::collections::BTreeSet;

use super::clause::Clause;
use super::compaction::compacted;
use super::pattern::{ActionPattern, ResourcePattern};
use super::refusal::PolicyRefusal;
use super::session_policies::SessionPolicies;
use super::statement::{Effect, Statement};

/// What `deny_actions` is where the file does not say: becoming somebody else, changing who may do what, reading
/// secrets. `sts:*` does not touch `GetCallerIdentity`: "If an administrator attaches a policy to your identity that
/// explicitly denies access to the sts:GetCallerIdentity action, you can still perform this operation" (STS API
/// Reference).
pub const DEFAULT_DENY_ACTIONS: [&str; 5] = ["sts:*", "iam:*", "secretsmanager:*", "ssm:GetParameter*", "kms:Decrypt"];

/// The session policies of the role without `deny_actions`.
pub fn instance_role(deny_actions: &[ActionPattern]) -> Result<SessionPolicies, PolicyRefusal> {
    if deny_actions.is_empty() {
        return Err(PolicyRefusal::NoDenyActions);
    }
    let statement = |effect, actions| Statement {
        effect,
        conditions: None,
        actions: Clause::In(actions),
        resources: Clause::In(BTreeSet::from([ResourcePattern::everything()])),
    };
    let allow = statement(Effect::Allow, BTreeSet::from([ActionPattern::everything()]));
    let deny = statement(Effect::Deny, deny_actions.iter().cloned().collect());
    SessionPolicies::new(&compacted(BTreeSet::from([allow, deny])), &[])
}
