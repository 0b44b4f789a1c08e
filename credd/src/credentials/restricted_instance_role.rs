//! The method `restricted_instance_role`: the instance's own role, cut to what the IAM user may do. It does not apply
//! to who has no IAM user; anybody who has one and may do nothing gets a session that may do nothing (H11).

use credd_core::config::Method;
use session_policy::Compression;

use super::chain::Chain;
use super::issuance::Issuance;
use super::question::CredentialQuestion;
use super::refusal::CredentialRefusal;
use super::user_policies;

impl Chain {
    pub(super) async fn restricted_instance_role(
        &self,
        question: &CredentialQuestion,
    ) -> Result<Issuance, CredentialRefusal> {
        let user = self.iam_user(question).await?;
        let role = self.aws.own_role().await?;
        let client = self.aws.iam().await?;
        let user = user_policies::of_user(&user.iam, &user.name, user.account, user.permissions_boundary).await?;
        let of_role = if self.settings.compress_user_policy {
            Some(user_policies::of_role(&client, role.name()).await?)
        } else {
            None
        };
        let compression = of_role.as_deref().map_or(Compression::Off, Compression::AgainstRole);
        let policies = session_policy::restricted_instance_role(&user, &role, compression)?;
        Ok(self
            .session(Method::RestrictedInstanceRole, role, question, Some(&policies))
            .await?)
    }
}
