//! The real [`Iam`]: the directory's questions put to AWS. One value per account and patience; made by keymakerd's
//! start and whenever the account to ask changes. Everything the SDK answers is checked here before it becomes one of
//! our types: the SDK fills what an answer lacks with empty strings and zeroes.

use aws_sdk_iam::Client;
use aws_sdk_iam::operation::get_account_authorization_details::GetAccountAuthorizationDetailsOutput;
use aws_sdk_iam::primitives::DateTime;
use aws_sdk_iam::types::{EncodingType, EntityType, Group, GroupDetail, StatusType, Tag, User, UserDetail};
use keymaker_aws::{
    Action, Ask, AwsCallError, AwsClients, CallerIdentity, Page, Patience, Replaced, all_pages, is_issuer,
};
use keymaker_core::issuers_file::POINT;

use super::questions::{GroupWithMembers, Iam, IamGroup, IamKey, IamRole, IamUser};

/// IAM of the account that the clients' credentials belong to.
pub struct AwsIam {
    clients: AwsClients,
    client: Client,
    patience: Patience,
}

impl AwsIam {
    /// Opens no connection; the pool is the one of `clients`.
    pub fn new(clients: &AwsClients, patience: Patience) -> Self {
        Self {
            clients: clients.clone(),
            client: clients.iam(patience),
            patience,
        }
    }
}

impl Iam for AwsIam {
    async fn list_users(&self, path_prefix: &str) -> Result<Vec<IamUser>, AwsCallError> {
        let action = Action::LIST_USERS;
        let users = all_pages(action, async |marker| {
            let request = self.client.list_users().path_prefix(path_prefix);
            let answer = request.max_items(PAGE).set_marker(marker).send().await;
            Page::of(action, answer, |page| (page.users, page.is_truncated, page.marker))
        });
        let users = users.await?.into_iter();
        users.map(|user| read_user(action, user)).collect()
    }

    async fn list_groups(&self) -> Result<Vec<IamGroup>, AwsCallError> {
        let action = Action::LIST_GROUPS;
        let groups = all_pages(action, async |marker| {
            let request = self.client.list_groups().max_items(PAGE);
            let answer = request.set_marker(marker).send().await;
            Page::of(action, answer, |page| (page.groups, page.is_truncated, page.marker))
        });
        let groups = groups.await?.into_iter();
        groups.map(|group| read_group(action, group)).collect()
    }

    async fn group(&self, group_name: &str) -> Result<GroupWithMembers, AwsCallError> {
        let action = Action::GET_GROUP;
        let pages = all_pages(action, async |marker| {
            let request = self.client.get_group().group_name(group_name);
            let answer = request.max_items(PAGE).set_marker(marker).send().await;
            Page::of(action, answer, |page| {
                (vec![(page.group, page.users)], page.is_truncated, page.marker)
            })
        });
        let (mut groups, mut members) = (Vec::new(), Vec::new());
        for (group, users) in pages.await? {
            let group = group.ok_or_else(|| AwsCallError::unreadable(action, "it holds no group"))?;
            groups.push(read_group(action, group)?);
            members.extend(users);
        }
        let group = groups
            .pop()
            .ok_or_else(|| AwsCallError::unreadable(action, "it holds no group"))?;
        if groups.iter().any(|earlier| earlier.id != group.id) {
            return Err(AwsCallError::unreadable(action, "the group changed between two pages"));
        }
        same_name(action, group_name, &group.name)?;
        let members = members
            .into_iter()
            .map(|user| read_user(action, user))
            .collect::<Result<_, _>>()?;
        Ok(GroupWithMembers { group, members })
    }

    async fn user(&self, iam_user_name: &str) -> Result<IamUser, AwsCallError> {
        let action = Action::GET_USER;
        let answer = self.client.get_user().user_name(iam_user_name).send().await;
        let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error))?;
        let mut user = answer
            .user
            .ok_or_else(|| AwsCallError::unreadable(action, "it holds no user"))?;
        let tags = read_tags(user.tags.take());
        let user = IamUser {
            tags: Some(tags),
            ..read_user(action, user)?
        };
        same_name(action, iam_user_name, &user.name)?;
        Ok(user)
    }

    async fn groups_for_user(&self, iam_user_name: &str) -> Result<Vec<IamGroup>, AwsCallError> {
        let action = Action::LIST_GROUPS_FOR_USER;
        let groups = all_pages(action, async |marker| {
            let request = self.client.list_groups_for_user().user_name(iam_user_name);
            let answer = request.max_items(PAGE).set_marker(marker).send().await;
            Page::of(action, answer, |page| (page.groups, page.is_truncated, page.marker))
        });
        let groups = groups.await?.into_iter();
        groups.map(|group| read_group(action, group)).collect()
    }

    async fn ssh_public_keys(&self, iam_user_name: &str) -> Result<Vec<IamKey>, AwsCallError> {
        let action = Action::LIST_SSH_PUBLIC_KEYS;
        let keys = all_pages(action, async |marker| {
            let request = self.client.list_ssh_public_keys().user_name(iam_user_name);
            let answer = request.max_items(PAGE).set_marker(marker).send().await;
            Page::of(action, answer, |page| {
                (page.ssh_public_keys.unwrap_or_default(), page.is_truncated, page.marker)
            })
        });
        let keys = keys.await?.into_iter().map(|key| {
            same_name(action, iam_user_name, &key.user_name)?;
            let active = key.status == StatusType::Active;
            let uploaded = unix_seconds(action, &key.upload_date)?;
            Ok(IamKey {
                id: filled(action, "key id", key.ssh_public_key_id)?,
                active,
                uploaded,
            })
        });
        keys.collect()
    }

    async fn ssh_public_key(&self, iam_user_name: &str, key_id: &str) -> Result<String, AwsCallError> {
        let action = Action::GET_SSH_PUBLIC_KEY;
        let request = self
            .client
            .get_ssh_public_key()
            .user_name(iam_user_name)
            .ssh_public_key_id(key_id);
        let answer = request.encoding(EncodingType::Ssh).send().await;
        let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error))?;
        let key = answer
            .ssh_public_key
            .ok_or_else(|| AwsCallError::unreadable(action, "it holds no key"))?;
        same_name(action, iam_user_name, &key.user_name)?;
        if key.ssh_public_key_id != key_id {
            return Err(AwsCallError::unreadable(action, "it is about another key"));
        }
        filled(action, "key", key.ssh_public_key_body)
    }

    async fn role(&self, role_name: &str) -> Result<IamRole, AwsCallError> {
        let action = Action::GET_ROLE;
        let answer = self.client.get_role().role_name(role_name).send().await;
        let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error))?;
        let role = answer
            .role
            .ok_or_else(|| AwsCallError::unreadable(action, "it holds no role"))?;
        same_name(action, role_name, &role.role_name)?;
        let id = filled(action, "role id", role.role_id)?;
        Ok(IamRole {
            id,
            arn: filled(action, "role's ARN", role.arn)?,
            description: role.description.filter(|text| !text.is_empty()),
        })
    }

    async fn detailed_users(&self) -> Result<Vec<IamUser>, AwsCallError> {
        let pages = self.account_details(EntityType::User, |answer| {
            let users = answer.user_detail_list.unwrap_or_default().into_iter();
            users.map(|user| read_detailed(DETAILS, user)).collect()
        });
        pages.await
    }

    async fn detailed_groups(&self) -> Result<Vec<IamGroup>, AwsCallError> {
        let pages = self.account_details(EntityType::Group, |answer| {
            let groups = answer.group_detail_list.unwrap_or_default().into_iter();
            groups.map(|group| read_detailed_group(DETAILS, group)).collect()
        });
        pages.await
    }

    async fn token_issuer(&self) -> Result<Option<String>, AwsCallError> {
        let action = Action::GET_OUTBOUND_WEB_IDENTITY_FEDERATION_INFO;
        let answer = self.client.get_outbound_web_identity_federation_info().send().await;
        match answer {
            Ok(answer) if !answer.jwt_vending_enabled => Ok(None),
            Ok(answer) => answer
                .issuer_identifier
                .filter(|issuer| is_issuer(issuer))
                .map(Some)
                .ok_or_else(|| AwsCallError::unreadable(action, "it names no issuer")),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_feature_disabled_exception()) =>
            {
                Ok(None)
            }
            Err(error) => Err(AwsCallError::from_sdk(action, error)),
        }
    }

    async fn issuer_keys(&self, issuer: &str) -> Result<Vec<(String, [u8; POINT])>, AwsCallError> {
        self.clients.issuer_keys(issuer).await
    }

    async fn caller_identity(&self) -> Result<CallerIdentity, AwsCallError> {
        self.clients.identity(self.patience).await
    }

    async fn replaced(&self, ask: Ask) -> Option<Replaced> {
        // A metadata service that does not answer is for the next renewal of the credentials to report.
        self.clients.replaced(ask).await.ok().flatten()
    }
}

impl AwsIam {
    /// Every page of `GetAccountAuthorizationDetails`. The policies, which are most of a page, are dropped page by
    /// page.
    async fn account_details<T>(
        &self,
        kind: EntityType,
        read: impl Fn(GetAccountAuthorizationDetailsOutput) -> Result<Vec<T>, AwsCallError>,
    ) -> Result<Vec<T>, AwsCallError> {
        let pages = all_pages(DETAILS, async |marker| {
            let request = self.client.get_account_authorization_details().filter(kind.clone());
            let answer = request.max_items(PAGE).set_marker(marker).send().await;
            Page::of(DETAILS, answer, |mut page| {
                let (is_truncated, marker) = (page.is_truncated, page.marker.take());
                (vec![read(page)], is_truncated, marker)
            })
        });
        let pages = pages.await?.into_iter();
        Ok(pages.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

fn read_user(action: Action, user: User) -> Result<IamUser, AwsCallError> {
    Ok(IamUser {
        id: filled(action, "user id", user.user_id)?,
        name: filled(action, "user name", user.user_name)?,
        path: filled(action, "path", user.path)?,
        created: unix_seconds(action, &user.create_date)?,
        tags: None,
        groups: None,
    })
}

fn read_group(action: Action, group: Group) -> Result<IamGroup, AwsCallError> {
    Ok(IamGroup {
        id: filled(action, "group id", group.group_id)?,
        name: filled(action, "group name", group.group_name)?,
        path: filled(action, "path", group.path)?,
        created: unix_seconds(action, &group.create_date)?,
    })
}

fn read_detailed(action: Action, user: UserDetail) -> Result<IamUser, AwsCallError> {
    Ok(IamUser {
        id: filled(action, "user id", user.user_id.unwrap_or_default())?,
        name: filled(action, "user name", user.user_name.unwrap_or_default())?,
        path: filled(action, "path", user.path.unwrap_or_default())?,
        created: unix_seconds(action, &user.create_date.unwrap_or_else(never))?,
        tags: Some(read_tags(user.tags)),
        groups: Some(user.group_list.unwrap_or_default()),
    })
}

fn read_detailed_group(action: Action, group: GroupDetail) -> Result<IamGroup, AwsCallError> {
    Ok(IamGroup {
        id: filled(action, "group id", group.group_id.unwrap_or_default())?,
        name: filled(action, "group name", group.group_name.unwrap_or_default())?,
        path: filled(action, "path", group.path.unwrap_or_default())?,
        created: unix_seconds(action, &group.create_date.unwrap_or_else(never))?,
    })
}

fn read_tags(tags: Option<Vec<Tag>>) -> Vec<(String, String)> {
    tags.unwrap_or_default()
        .into_iter()
        .map(|tag| (tag.key, tag.value))
        .collect()
}

fn filled(action: Action, what: &str, text: String) -> Result<String, AwsCallError> {
    if text.is_empty() {
        Err(AwsCallError::unreadable(action, format!("it lacks the {what}")))
    } else {
        Ok(text)
    }
}

/// A date that an answer lacks comes as the epoch; IAM is younger than that.
fn unix_seconds(action: Action, date: &DateTime) -> Result<u64, AwsCallError> {
    let seconds = u64::try_from(date.secs()).ok().filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| AwsCallError::unreadable(action, "it lacks a date"))
}

fn never() -> DateTime {
    DateTime::from_secs(0)
}

/// IAM's names are "not distinguished by case" (IAM User Guide, "IAM and STS quotas"), so an answer may spell one
/// otherwise.
fn same_name(action: Action, asked: &str, answered: &str) -> Result<(), AwsCallError> {
    let same = asked.eq_ignore_ascii_case(answered);
    same.then_some(())
        .ok_or_else(|| AwsCallError::unreadable(action, "it is about another name"))
}

const DETAILS: Action = Action::GET_ACCOUNT_AUTHORIZATION_DETAILS;
/// The most that IAM gives at once.
const PAGE: i32 = 1000;

#[cfg(test)]
mod tests;
