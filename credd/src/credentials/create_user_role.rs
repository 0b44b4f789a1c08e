//! The method `create_user_role`: a session of a role that `keymaker sync-roles` made for the user. The role is looked at
//! first, each time: one that was made for another person of that name, that others may assume, or that lacks the user's permissions
//! boundary, is not what sync-roles left there.

use credd_core::config::Method;
use keymaker_aws::{AwsCallError, USER_ID_TAG, trusts_only};
use session_policy::percent_decoded;

use super::cache::Issuance;
use super::chain::Chain;
use super::iam::{self, Role};
use super::question::Question;
use super::refusal::Refusal;
use super::user_role::other_path;

impl Chain {
    pub(super) async fn create_user_role(&self, question: &Question) -> Result<Issuance, Refusal> {
        let role = self.role_of(question).await?;
        let client = self.aws.iam().await?;
        let found = match iam::role(&client, role.name()).await {
            Err(AwsCallError::NoSuchEntity { .. }) => return Err(Refusal::NotApplicable),
            answer => answer?,
        };
        if found.arn != role {
            return Err(other_path(&found.arn, &role));
        }
        let user = match self.iam_user(question).await {
            Err(Refusal::NotApplicable) => {
                return Err(Refusal::denied(format!("IAM has no user whose role {role} would be")));
            }
            answer => answer?,
        };
        made_for(&found, &user.user_id)?;
        if user.permissions_boundary.is_some() && user.permissions_boundary != found.permissions_boundary {
            return Err(Refusal::denied(format!(
                "the role {role} lacks the permissions boundary of the user {}; run keymaker sync-roles",
                user.name
            )));
        }
        let own = self.aws.own_role().await?;
        let trust = percent_decoded(&found.trust).unwrap_or_default();
        if !trusts_only(&trust, &own) {
            return Err(Refusal::denied(format!(
                "the trust policy of the role {role} must name {own}, or its account, and nobody else"
            )));
        }
        Ok(self.session(Method::CreateUserRole, found, question, None).await?)
    }
}

/// A role goes by a name, and the person who has the name may be another one by now: deleted and made again, or renamed (P2). What was made
/// for a person says so by a tag.
pub(super) fn made_for(role: &Role, user_id: &str) -> Result<(), Refusal> {
    let remedy = "run keymaker sync-roles, which says what to do about a role that it did not make";
    match &role.made_for {
        Some(known) if known == user_id => Ok(()),
        Some(other) => Err(Refusal::denied(format!(
            "the role {} was made for the IAM user {other}, not for {user_id}; {remedy}",
            role.arn
        ))),
        None => Err(Refusal::denied(format!(
            "the role {} has no tag {USER_ID_TAG} that says for whom it was made; {remedy}",
            role.arn
        ))),
    }
}
