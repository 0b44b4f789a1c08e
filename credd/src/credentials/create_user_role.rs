//! The method `create_user_role`: a session of a role that `keymaker sync-roles` made for the user. The role is looked
//! at first, each time: one that was made for another person of that name, that others may assume, or that lacks the
//! user's permissions boundary, is not what sync-roles left there.

use credd_core::config::Method;
use keymaker_aws::{AwsCallError, trusts_only};
use session_policy::percent_decoded;

use super::chain::Chain;
use super::iam;
use super::issuance::Issuance;
use super::meant_role::{made_for, other_path};
use super::question::CredentialQuestion;
use super::refusal::CredentialRefusal;

impl Chain {
    pub(super) async fn create_user_role(&self, question: &CredentialQuestion) -> Result<Issuance, CredentialRefusal> {
        let role = self.role_of(question).await?;
        let client = self.aws.iam().await?;
        let found = match iam::role(&client, role.name()).await {
            Err(AwsCallError::NoSuchEntity { .. }) => return Err(CredentialRefusal::NotApplicable),
            answer => answer?,
        };
        if found.arn != role {
            return Err(other_path(&found.arn, &role));
        }
        let user = match self.iam_user(question).await {
            Err(CredentialRefusal::NotApplicable) => {
                return Err(CredentialRefusal::denied(format!(
                    "IAM has no user whose role {role} would be"
                )));
            }
            answer => answer?,
        };
        made_for(&found, &user.user_id)?;
        if user.permissions_boundary.is_some() && user.permissions_boundary != found.permissions_boundary {
            return Err(CredentialRefusal::denied(format!(
                "the role {role} lacks the permissions boundary of the user {}; run keymaker sync-roles",
                user.name
            )));
        }
        let own = self.aws.own_role().await?;
        let trust = percent_decoded(&found.trust).unwrap_or_default();
        if !trusts_only(&trust, &own) {
            return Err(CredentialRefusal::denied(format!(
                "the trust policy of the role {role} must name {own}, or its account, and nobody else"
            )));
        }
        Ok(self.session(Method::CreateUserRole, found, question, None).await?)
    }
}
