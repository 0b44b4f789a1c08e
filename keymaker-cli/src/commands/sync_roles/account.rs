//! The account as iam:GetAccountAuthorizationDetails shows it: users, groups, roles and customer managed policies, all
//! at once, so that what is compared belongs together.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{AttachedPolicy, EntityType, ManagedPolicyDetail, PolicyDetail, RoleDetail, Tag, UserDetail};
use keymaker_aws::{Action, AwsCallError, Page, RoleArn, USER_ID_TAG, all_pages};
use serde_json::Value;

use super::super::configure::texts::decoded;
use crate::aws::AwsError;

/// On a role that this program made.
pub const MADE_BY: &str = "keymaker:made-by";
/// The `UserId` of the user for whom.
pub const MADE_FOR: &str = USER_ID_TAG;
/// The patterns by which it was made: of two runs whose patterns overlap, each keeps to its own roles.
pub const MADE_AS: &str = "keymaker:made-as";
/// What stands in [`MADE_BY`].
pub const THIS: &str = "sync-roles";

/// What there is.
#[derive(Default)]
pub struct ListedAccount {
    /// Every user.
    pub users: Vec<ListedUser>,
    /// The groups' policies, by name.
    pub groups: BTreeMap<String, Policies>,
    /// Every role, by name.
    pub roles: BTreeMap<String, ListedRole>,
    /// The documents of the account's own managed policies, by ARN.
    pub managed: BTreeMap<String, Value>,
}

/// What an entity may do by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Documents by name.
    pub inline: BTreeMap<String, Value>,
    /// ARNs.
    pub attached: BTreeSet<String>,
}

/// An IAM user.
pub struct ListedUser {
    /// The name.
    pub name: String,
    /// The `UserId`.
    pub id: String,
    /// Names.
    pub groups: Vec<String>,
    /// The user's own.
    pub policies: Policies,
    /// An ARN.
    pub boundary: Option<String>,
}

/// A role as it is.
pub struct ListedRole {
    /// With its path.
    pub arn: RoleArn,
    /// Who may assume it.
    pub trust: Value,
    /// What it may do.
    pub policies: Policies,
    /// An ARN.
    pub boundary: Option<String>,
    /// Whether this program made it.
    pub made_here: bool,
    /// The `UserId` of the user for whom.
    pub made_for: Option<String>,
    /// By which patterns; `None`: by an earlier version, or the tag is gone.
    pub made_as: Option<String>,
}

const DETAILS: Action = Action::named("iam:GetAccountAuthorizationDetails");

/// Reads all of it.
pub async fn read(iam: &Client) -> Result<ListedAccount, AwsError> {
    let kinds = [
        EntityType::User,
        EntityType::Group,
        EntityType::Role,
        EntityType::LocalManagedPolicy,
    ];
    let pages = all_pages(DETAILS, async |marker| {
        let request = iam.get_account_authorization_details().set_filter(Some(kinds.to_vec()));
        let answer = request.set_marker(marker).send().await;
        Page::of(DETAILS, answer, |mut page| {
            let (is_truncated, marker) = (page.is_truncated, page.marker.take());
            (vec![page], is_truncated, marker)
        })
    });
    let mut account = ListedAccount::default();
    for page in pages.await? {
        account.users.extend(page.user_detail_list().iter().map(user));
        for group in page.group_detail_list() {
            let policies = policies(group.group_policy_list(), group.attached_managed_policies());
            account.groups.insert(text(group.group_name()), policies);
        }
        for one in page.role_detail_list() {
            let role = role(one).map_err(|why| AwsCallError::unreadable(DETAILS, why))?;
            account.roles.insert(role.arn.name().to_owned(), role);
        }
        let documents = page.policies().iter();
        account
            .managed
            .extend(documents.map(|one| (text(one.arn()), default_version(one))));
    }
    Ok(account)
}

fn text(field: Option<&str>) -> String {
    field.unwrap_or_default().to_owned()
}

fn user(user: &UserDetail) -> ListedUser {
    ListedUser {
        name: text(user.user_name()),
        id: text(user.user_id()),
        groups: user.group_list().to_vec(),
        policies: policies(user.user_policy_list(), user.attached_managed_policies()),
        boundary: user
            .permissions_boundary()
            .map(|boundary| text(boundary.permissions_boundary_arn())),
    }
}

fn role(role: &RoleDetail) -> Result<ListedRole, String> {
    let tag = |key: &str| {
        let tag = role.tags().iter().find(|tag| tag.key() == key);
        tag.map(Tag::value).map(str::to_owned)
    };
    Ok(ListedRole {
        arn: text(role.arn()).parse().map_err(|why| format!("{why}"))?,
        trust: decoded(role.assume_role_policy_document().unwrap_or_default()),
        policies: policies(role.role_policy_list(), role.attached_managed_policies()),
        boundary: role
            .permissions_boundary()
            .map(|boundary| text(boundary.permissions_boundary_arn())),
        made_here: tag(MADE_BY).as_deref() == Some(THIS),
        made_for: tag(MADE_FOR),
        made_as: tag(MADE_AS),
    })
}

fn policies(inline: &[PolicyDetail], attached: &[AttachedPolicy]) -> Policies {
    let inline = inline.iter().map(|policy| {
        let document = decoded(policy.policy_document().unwrap_or_default());
        (text(policy.policy_name()), document)
    });
    Policies {
        inline: inline.collect(),
        attached: attached.iter().map(|policy| text(policy.policy_arn())).collect(),
    }
}

fn default_version(policy: &ManagedPolicyDetail) -> Value {
    let mut versions = policy.policy_version_list().iter();
    let version = versions.find(|version| version.is_default_version());
    decoded(version.and_then(|version| version.document()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_sdk_iam::config::{Credentials, SharedCredentialsProvider};

    use super::*;
    use crate::canned::{Canned, Reply};

    /// What `read` makes of an account whose only page ends like this.
    async fn read_page(end: &'static str) -> Result<ListedAccount, AwsError> {
        let user = "<member><UserName>alice</UserName><UserId>AIDAALICE</UserId></member>";
        let page = format!(
            "<GetAccountAuthorizationDetailsResponse><GetAccountAuthorizationDetailsResult><UserDetailList>{user}</UserDetailList>\
             <RoleDetailList/><GroupDetailList/><Policies/>{end}"
        );
        let server = Canned::serve(move |_| Reply::Answer(200, page.clone())).await;
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "AKIAX", "s", None, None, "test",
            )))
            .region(Region::new("eu-central-1"))
            .http_client(crate::aws::http_client(Default::default()))
            .endpoint_url(&server.url)
            .build();
        read(&crate::aws::iam(&config)).await
    }

    #[tokio::test]
    async fn an_account_cut_short_is_an_error_and_not_a_smaller_account() {
        let whole = "</GetAccountAuthorizationDetailsResult></GetAccountAuthorizationDetailsResponse>";
        assert_eq!(read_page(whole).await.unwrap().users.len(), 1);
        for cut in [
            "<IsTruncated>true</IsTruncated></GetAccountAuthorizationDetailsResult></GetAccountAuthorizationDetailsResponse>",
            "<IsTruncated>true</IsTruncated><Marker>m</Marker></GetAccountAuthorizationDetailsResult></GetAccountAuthorizationDetailsResponse>",
            "",
        ] {
            assert!(read_page(cut).await.is_err(), "{cut}");
        }
    }
}
