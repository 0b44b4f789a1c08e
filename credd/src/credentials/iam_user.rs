//! The IAM user behind a caller, as IAM shows it now. The methods that go by a user's policies or boundary ask here
//! first.

use aws_sdk_iam::Client;
use keymaker_aws::{AccountId, AwsCallError};

use super::chain::Chain;
use super::iam::user;
use super::question::CredentialQuestion;
use super::refusal::CredentialRefusal;

/// A user whom IAM has.
pub struct CallersIamUser {
    /// The IAM user name.
    pub name: String,
    /// `AIDA…`: the person.
    pub user_id: String,
    /// The ARN of the permissions boundary.
    pub permissions_boundary: Option<String>,
    /// The account that the user lives in.
    pub account: AccountId,
    /// IAM of that account.
    pub iam: Client,
}

impl Chain {
    /// Does not apply where IAM has no user of the caller's name. Whom the directory has was in IAM a moment ago:
    /// deleted or created again since, they are refused, and no wider method of the chain is theirs (P2, P18).
    pub(super) async fn iam_user(&self, question: &CredentialQuestion) -> Result<CallersIamUser, CredentialRefusal> {
        let name = question.iam_user_name(&self.settings.iam_name_pattern)?;
        let (iam, account) = self.aws.iam_of_users(question.person.iam.as_ref()).await?;
        match (user(&iam, &name).await, &question.person.iam) {
            (Err(AwsCallError::NoSuchEntity { .. }), None) => Err(CredentialRefusal::NotApplicable),
            (Err(AwsCallError::NoSuchEntity { .. }), Some(_)) => {
                Err(CredentialRefusal::denied(format!("IAM no longer has the user {name}")))
            }
            (Err(error), _) => Err(error.into()),
            (Ok(found), Some(known)) if found.user_id != known.user_id => Err(CredentialRefusal::denied(format!(
                "the IAM user {name} is {}, and the directory's is {}",
                found.user_id, known.user_id
            ))),
            (Ok(found), _) => Ok(CallersIamUser {
                name,
                user_id: found.user_id,
                permissions_boundary: found.permissions_boundary,
                account,
                iam,
            }),
        }
    }
}
