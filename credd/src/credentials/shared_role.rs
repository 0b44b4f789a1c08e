//! The method `shared_role`: one role for everybody, whose sessions are told apart by tags and `SourceIdentity`, so
//! that 500 users need one role and its policies say `${aws:PrincipalTag/keymaker-user}`.

use credd_core::config::Method;

use super::chain::Chain;
use super::issuance::Issuance;
use super::question::CredentialQuestion;
use super::refusal::CredentialRefusal;

impl Chain {
    pub(super) async fn shared_role(&self, question: &CredentialQuestion) -> Result<Issuance, CredentialRefusal> {
        // Its policies go by the tag keymaker-user, so it is a method by name.
        question.user()?;
        let role = self.settings.shared_role.clone();
        let role = role.ok_or_else(|| CredentialRefusal::denied("credd.toml names no shared_role"))?;
        Ok(self.session(Method::SharedRole, role, question, None).await?)
    }
}
