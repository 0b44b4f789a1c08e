//! The method `instance_role`: the instance's own role for anybody who has it in their chain, less `deny_actions`. Its
//! policy is made in `policy/instance_role.rs`; there is no way to the role without it.

use credd_core::config::Method;

use super::chain::Chain;
use super::issuance::Issuance;
use super::question::CredentialQuestion;
use super::refusal::CredentialRefusal;

impl Chain {
    pub(super) async fn instance_role(&self, question: &CredentialQuestion) -> Result<Issuance, CredentialRefusal> {
        let policies = session_policy::instance_role(&self.settings.deny_actions)?;
        let role = self.aws.own_role().await?;
        Ok(self
            .session(Method::InstanceRole, role, question, Some(&policies))
            .await?)
    }
}
