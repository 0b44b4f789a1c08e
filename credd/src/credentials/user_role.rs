//! The method `user_role`: a session of the user's own role.
//!
//! STS answers "no such role" and "not trusted" alike, so IAM is asked when STS says no: the method does not apply only
//! when iam:GetRole says `NoSuchEntity`. Whatever else stands in the way is a refusal.
//!
//! The role goes by the caller's name, whoever has that name. With `user_role_tag` it must have been made for the
//! person too.

use credd_core::config::Method;
use keymaker_aws::{AwsCallError, Principal, RoleArn};

use super::chain::{Chain, SessionError, Wanted};
use super::iam::{self, Role};
use super::issuance::Issuance;
use super::meant_role::{made_for, other_path};
use super::question::CredentialQuestion;
use super::refusal::CredentialRefusal;

impl Chain {
    pub(super) async fn user_role(&self, question: &CredentialQuestion) -> Result<Issuance, CredentialRefusal> {
        let role = self.role_of(question).await?;
        let wanted = if self.settings.user_role_tag {
            Wanted::from(self.tagged(&role, question).await?)
        } else {
            Wanted::from(role.clone())
        };
        match self.session(Method::UserRole, wanted, question, None).await {
            Ok(issuance) => Ok(issuance),
            Err(SessionError::AccessDenied(reason)) => Err(self.missing_or_denied(&role, reason).await),
            Err(SessionError::Other(refusal)) => Err(refusal),
        }
    }

    /// The role, if it was made for the person.
    async fn tagged(&self, role: &RoleArn, question: &CredentialQuestion) -> Result<Role, CredentialRefusal> {
        let found = match iam::role(&self.aws.iam().await?, role.name()).await {
            Err(AwsCallError::NoSuchEntity { .. }) => return Err(CredentialRefusal::NotApplicable),
            answer => answer?,
        };
        if found.arn != *role {
            return Err(other_path(&found.arn, role));
        }
        match &question.person.iam {
            Some(known) => made_for(&found, &known.user_id)?,
            None => match self.iam_user(question).await {
                // The role is there: no other method of the chain is for them.
                Err(CredentialRefusal::NotApplicable) => {
                    return Err(CredentialRefusal::denied(format!(
                        "IAM has no user whose role {role} would be"
                    )));
                }
                user => made_for(&found, &user?.user_id)?,
            },
        }
        Ok(found)
    }

    /// The role of the caller by the settings' pattern. Anybody who may name IAM users chooses among roles, and gets
    /// none of the host's own by it.
    pub(super) async fn role_of(&self, question: &CredentialQuestion) -> Result<RoleArn, CredentialRefusal> {
        let name = self.settings.role_name_pattern.replace("{username}", question.user()?);
        let own = self.aws.identity().await?;
        let is_own = matches!(&own.principal, Principal::AssumedRole { role_name, .. } if *role_name == name);
        let role = RoleArn::new(own.partition, own.account, &self.settings.role_path, &name)?;
        if is_own || self.settings.shared_role.as_ref() == Some(&role) {
            return Err(CredentialRefusal::denied(format!(
                "the role {role} is this host's own or the shared_role, and no user's; rename the IAM user"
            )));
        }
        Ok(role)
    }

    async fn missing_or_denied(&self, role: &RoleArn, reason: String) -> CredentialRefusal {
        let iam = match self.aws.iam().await {
            Ok(iam) => iam,
            Err(refusal) => return refusal,
        };
        match iam::role(&iam, role.name()).await {
            Err(AwsCallError::NoSuchEntity { .. }) => CredentialRefusal::NotApplicable,
            Err(error) => CredentialRefusal::from(error),
            Ok(found) if found.arn != *role => other_path(&found.arn, role),
            Ok(_) => CredentialRefusal::denied(reason),
        }
    }
}
