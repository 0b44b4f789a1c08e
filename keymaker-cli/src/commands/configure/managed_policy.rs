//! A managed policy of the account: what it says, another version of it, its end. Whoever calls has decided and noted the change.

use aws_sdk_iam::Client;
use aws_sdk_iam::types::Policy;
use keymaker_aws::{AccountId, Partition};
use serde_json::Value;

use super::ours::unless_absent;
use super::texts::decoded;
use crate::aws::{AwsError, call};

/// A policy that is there.
pub struct PresentPolicy {
    /// What IAM says of it.
    pub policy: Policy,
    /// Its document.
    pub document: Value,
}

/// The ARN of the policy of this name.
pub fn arn(partition: &Partition, account: &AccountId, name: &str) -> String {
    format!("arn:{partition}:iam::{account}:policy/{name}")
}

/// The policy, if there is one.
pub async fn present(iam: &Client, arn: &str) -> Result<Option<PresentPolicy>, AwsError> {
    let answer = unless_absent(call!("iam:GetPolicy", iam.get_policy().policy_arn(arn)))?;
    let Some(policy) = answer.and_then(|answer| answer.policy) else {
        return Ok(None);
    };
    let unreadable = || AwsError::NoDocument(arn.to_owned());
    let version = policy.default_version_id().ok_or_else(unreadable)?;
    let request = iam.get_policy_version().policy_arn(arn).version_id(version);
    let answer = call!("iam:GetPolicyVersion", request)?;
    let shown = answer.policy_version.and_then(|version| version.document);
    let document = document(shown).ok_or_else(unreadable)?;
    Ok(Some(PresentPolicy { policy, document }))
}

/// The document that AWS shows; nothing where that is none: what is not seen must not be taken for a policy that allows nothing.
fn document(shown: Option<String>) -> Option<Value> {
    Some(decoded(&shown?)).filter(Value::is_object)
}

/// Makes it say this. AWS keeps five versions; the old ones are of no use to anybody here.
pub async fn replace(iam: &Client, arn: &str, document: &Value) -> Result<(), AwsError> {
    delete_old_versions(iam, arn).await?;
    let request = iam.create_policy_version().policy_arn(arn).set_as_default(true);
    call!("iam:CreatePolicyVersion", request.policy_document(document.to_string()))?;
    Ok(())
}

/// Deletes it, which nothing may have any more.
pub async fn delete(iam: &Client, arn: &str) -> Result<(), AwsError> {
    delete_old_versions(iam, arn).await?;
    call!("iam:DeletePolicy", iam.delete_policy().policy_arn(arn))?;
    Ok(())
}

async fn delete_old_versions(iam: &Client, arn: &str) -> Result<(), AwsError> {
    let versions = call!("iam:ListPolicyVersions", iam.list_policy_versions().policy_arn(arn))?;
    for version in versions
        .versions()
        .iter()
        .filter(|version| !version.is_default_version())
    {
        let id = version.version_id().unwrap_or_default();
        call!(
            "iam:DeletePolicyVersion",
            iam.delete_policy_version().policy_arn(arn).version_id(id)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_aws_does_not_show_is_not_an_empty_one() {
        let shown = |text: &str| document(Some(text.to_owned()));
        assert!(shown("%7B%22Statement%22%3A%5B%5D%7D").is_some());
        assert_eq!(document(None), None);
        for text in ["", "null", "[]", "%7B", "\"x\""] {
            assert_eq!(shown(text), None, "{text}");
        }
        let told = AwsError::NoDocument("arn:aws:iam::123456789012:policy/KeymakerLogins".to_owned()).to_string();
        assert!(told.contains("policy/KeymakerLogins"), "{told}");
    }
}
