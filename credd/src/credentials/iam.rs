//! What methods ask IAM, and its answers in our own types. Every answer is whole and about the entity that was asked
//! for, or an error.

use aws_sdk_iam::Client;
use aws_sdk_iam::operation::get_role::GetRoleOutput;
use aws_sdk_iam::types::AttachedPolicy;
use keymaker_aws::{Action, AwsCallError, Page, RoleArn, USER_ID_TAG, all_pages};

/// A role, as iam:GetRole shows it.
pub struct Role {
    /// Its ARN, with the path.
    pub arn: RoleArn,
    /// `AROA…`: of this role, and of none that gets its name later.
    pub id: String,
    /// What an administrator wrote about it.
    pub description: String,
    /// Who may assume it: a document as IAM encodes it.
    pub trust: String,
    /// The ARN of its permissions boundary.
    pub permissions_boundary: Option<String>,
    /// The `UserId` of the user for whom it was made, as its tag says.
    pub made_for: Option<String>,
}

/// iam:GetRole.
pub async fn role(iam: &Client, name: &str) -> Result<Role, AwsCallError> {
    let action = Action::GET_ROLE;
    let answer = iam.get_role().role_name(name).send().await;
    let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error))?;
    read_role(answer, name).map_err(|what| AwsCallError::unreadable(action, what))
}

fn read_role(answer: GetRoleOutput, name: &str) -> Result<Role, String> {
    let role = answer.role.ok_or("it has no role")?;
    let arn: RoleArn = role.arn.parse().map_err(|why| format!("{why}"))?;
    if arn.name() != name {
        return Err(format!("it is about the role {}, not {name}", arn.name()));
    }
    let mut tags = role.tags.unwrap_or_default().into_iter();
    Ok(Role {
        arn,
        id: role.role_id,
        made_for: tags.find(|tag| tag.key == USER_ID_TAG).map(|tag| tag.value),
        description: role.description.unwrap_or_default(),
        trust: role.assume_role_policy_document.unwrap_or_default(),
        permissions_boundary: role
            .permissions_boundary
            .map(|boundary| boundary.permissions_boundary_arn.unwrap_or_default()),
    })
}

/// An IAM user, as iam:GetUser shows it.
pub struct IamUserAnswer {
    /// `AIDA…`.
    pub user_id: String,
    /// The ARN of its permissions boundary.
    pub permissions_boundary: Option<String>,
}

/// iam:GetUser.
pub async fn user(iam: &Client, name: &str) -> Result<IamUserAnswer, AwsCallError> {
    let action = Action::GET_USER;
    let answer = iam.get_user().user_name(name).send().await;
    let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error))?;
    let user = answer
        .user
        .filter(|user| user.user_name == name)
        .ok_or_else(|| AwsCallError::unreadable(action, format!("it is not about the user {name}")))?;
    Ok(IamUserAnswer {
        user_id: user.user_id,
        permissions_boundary: user
            .permissions_boundary
            .map(|boundary| boundary.permissions_boundary_arn.unwrap_or_default()),
    })
}

/// All pages of a listing, which have the listed in this field.
macro_rules! listed {
    ($action:expr, $request:expr, $field:ident) => {
        all_pages($action, async |marker| {
            let answer = $request.set_marker(marker).send().await;
            Page::of($action, answer, |page| {
                (page.$field().to_vec(), page.is_truncated, page.marker)
            })
        })
        .await?
    };
}

/// iam:ListGroupsForUser: the names of the user's groups.
pub async fn groups_of_user(iam: &Client, user: &str) -> Result<Vec<String>, AwsCallError> {
    let action = Action::LIST_GROUPS_FOR_USER;
    let groups = listed!(action, iam.list_groups_for_user().user_name(user), groups);
    Ok(groups.into_iter().map(|group| group.group_name).collect())
}

/// Whose policies are listed and read.
#[derive(Clone, Copy)]
pub enum Holder<'a> {
    /// An IAM user.
    User(&'a str),
    /// An IAM group.
    Group(&'a str),
    /// A role.
    Role(&'a str),
}

/// The names of a holder's inline policies.
pub async fn inline_policies(iam: &Client, holder: Holder<'_>) -> Result<Vec<String>, AwsCallError> {
    Ok(match holder {
        Holder::User(name) => {
            listed!(
                LIST_USER_POLICIES,
                iam.list_user_policies().user_name(name),
                policy_names
            )
        }
        Holder::Group(name) => {
            listed!(
                LIST_GROUP_POLICIES,
                iam.list_group_policies().group_name(name),
                policy_names
            )
        }
        Holder::Role(name) => {
            listed!(
                LIST_ROLE_POLICIES,
                iam.list_role_policies().role_name(name),
                policy_names
            )
        }
    })
}

/// One inline policy's document, as IAM encodes it.
pub async fn inline_policy(iam: &Client, holder: Holder<'_>, policy: &str) -> Result<String, AwsCallError> {
    match holder {
        Holder::User(name) => {
            let answer = iam.get_user_policy().user_name(name).policy_name(policy).send().await;
            answer
                .map(|answer| answer.policy_document)
                .map_err(|error| AwsCallError::from_sdk(GET_USER_POLICY, error))
        }
        Holder::Group(name) => {
            let answer = iam.get_group_policy().group_name(name).policy_name(policy).send().await;
            answer
                .map(|answer| answer.policy_document)
                .map_err(|error| AwsCallError::from_sdk(GET_GROUP_POLICY, error))
        }
        Holder::Role(name) => {
            let answer = iam.get_role_policy().role_name(name).policy_name(policy).send().await;
            answer
                .map(|answer| answer.policy_document)
                .map_err(|error| AwsCallError::from_sdk(GET_ROLE_POLICY, error))
        }
    }
}

/// The ARNs of the managed policies attached to a holder.
pub async fn attached_policies(iam: &Client, holder: Holder<'_>) -> Result<Vec<String>, AwsCallError> {
    let (action, attached): (_, Vec<AttachedPolicy>) = match holder {
        Holder::User(name) => {
            let action = LIST_ATTACHED_USER_POLICIES;
            let request = || iam.list_attached_user_policies().user_name(name);
            (action, listed!(action, request(), attached_policies))
        }
        Holder::Group(name) => {
            let action = LIST_ATTACHED_GROUP_POLICIES;
            let request = || iam.list_attached_group_policies().group_name(name);
            (action, listed!(action, request(), attached_policies))
        }
        Holder::Role(name) => {
            let action = LIST_ATTACHED_ROLE_POLICIES;
            let request = || iam.list_attached_role_policies().role_name(name);
            (action, listed!(action, request(), attached_policies))
        }
    };
    let arn = |policy: AttachedPolicy| policy.policy_arn;
    attached
        .into_iter()
        .map(|policy| arn(policy).ok_or_else(|| AwsCallError::unreadable(action, "a policy has no ARN")))
        .collect()
}

/// The default version's document of a managed policy, as IAM encodes it.
pub async fn managed_policy(iam: &Client, arn: &str) -> Result<String, AwsCallError> {
    let answer = iam.get_policy().policy_arn(arn).send().await;
    let answer = answer.map_err(|error| AwsCallError::from_sdk(GET_POLICY, error))?;
    let version = answer.policy.and_then(|policy| policy.default_version_id);
    let version = version.ok_or_else(|| AwsCallError::unreadable(GET_POLICY, "it has no default version"))?;
    let answer = iam
        .get_policy_version()
        .policy_arn(arn)
        .version_id(version)
        .send()
        .await;
    let answer = answer.map_err(|error| AwsCallError::from_sdk(GET_POLICY_VERSION, error))?;
    answer
        .policy_version
        .and_then(|version| version.document)
        .ok_or_else(|| AwsCallError::unreadable(GET_POLICY_VERSION, "it has no document"))
}

const LIST_USER_POLICIES: Action = Action::named("iam:ListUserPolicies");
const LIST_GROUP_POLICIES: Action = Action::named("iam:ListGroupPolicies");
const LIST_ROLE_POLICIES: Action = Action::named("iam:ListRolePolicies");
const GET_USER_POLICY: Action = Action::named("iam:GetUserPolicy");
const GET_GROUP_POLICY: Action = Action::named("iam:GetGroupPolicy");
const GET_ROLE_POLICY: Action = Action::named("iam:GetRolePolicy");
const LIST_ATTACHED_USER_POLICIES: Action = Action::named("iam:ListAttachedUserPolicies");
const LIST_ATTACHED_GROUP_POLICIES: Action = Action::named("iam:ListAttachedGroupPolicies");
const LIST_ATTACHED_ROLE_POLICIES: Action = Action::named("iam:ListAttachedRolePolicies");
const GET_POLICY: Action = Action::named("iam:GetPolicy");
const GET_POLICY_VERSION: Action = Action::named("iam:GetPolicyVersion");
