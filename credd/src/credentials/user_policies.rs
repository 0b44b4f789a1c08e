//! Reads everything that IAM grants or denies a user, or the instance's role: inline and managed policies, for users
//! those of all groups too. Asked by `restricted_instance_role.rs`. One answer that is missing makes all of it an
//! error: a policy that was not read could be a Deny.

use aws_sdk_iam::Client;
use futures_util::future::{try_join, try_join_all};
use keymaker_aws::AccountId;
use session_policy::{ManagedPolicy, PolicyArn, PolicyDocument, UserPolicies};

use super::iam::{self, Holder};
use super::refusal::CredentialRefusal;

/// All policies of the user. `permissions_boundary` is what `GetUser` showed.
pub async fn of_user(
    iam: &Client,
    user: &str,
    account: AccountId,
    permissions_boundary: Option<String>,
) -> Result<UserPolicies, CredentialRefusal> {
    let groups = iam::groups_of_user(iam, user).await?;
    let holders = groups.iter().map(|group| Holder::Group(group));
    let held = try_join_all(holders.chain([Holder::User(user)]).map(|holder| of_holder(iam, holder))).await?;
    let mut policies = UserPolicies {
        account,
        permissions_boundary,
        inline: vec![],
        managed: vec![],
    };
    for (inline, managed) in held {
        policies.inline.extend(inline);
        policies.managed.extend(managed);
    }
    Ok(policies)
}

/// All policies of the role.
pub async fn of_role(iam: &Client, role: &str) -> Result<Vec<PolicyDocument>, CredentialRefusal> {
    let (mut documents, managed) = of_holder(iam, Holder::Role(role)).await?;
    documents.extend(managed.into_iter().map(|policy| policy.document));
    Ok(documents)
}

async fn of_holder(
    iam: &Client,
    holder: Holder<'_>,
) -> Result<(Vec<PolicyDocument>, Vec<ManagedPolicy>), CredentialRefusal> {
    let inline = async {
        let names = iam::inline_policies(iam, holder).await?;
        try_join_all(names.iter().map(|name| inline(iam, holder, name))).await
    };
    let managed = async {
        let arns = iam::attached_policies(iam, holder).await?;
        try_join_all(arns.iter().map(|arn| managed(iam, arn))).await
    };
    try_join(inline, managed).await
}

async fn inline(iam: &Client, holder: Holder<'_>, name: &str) -> Result<PolicyDocument, CredentialRefusal> {
    let title = match holder {
        Holder::User(user) => format!("inline policy '{name}' of user '{user}'"),
        Holder::Group(group) => format!("inline policy '{name}' of group '{group}'"),
        Holder::Role(role) => format!("inline policy '{name}' of role '{role}'"),
    };
    let document = iam::inline_policy(iam, holder, name).await?;
    Ok(PolicyDocument::from_iam(&title, &document)?)
}

async fn managed(iam: &Client, arn: &str) -> Result<ManagedPolicy, CredentialRefusal> {
    let known: PolicyArn = arn.parse()?;
    let document = iam::managed_policy(iam, arn).await?;
    Ok(ManagedPolicy {
        document: PolicyDocument::from_iam(&format!("managed policy {arn}"), &document)?,
        arn: known,
    })
}
