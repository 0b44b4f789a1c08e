//! One account: reads what is there, finds what differs from what is wanted, and changes it unless that is only to be
//! shown.
//!
//! A role that it creates carries the tag keymaker:made-by, so that `--undo` deletes no role that somebody else made.

use aws_sdk_iam::Client;
use keymaker_aws::{AccountId, Action, AwsCallError, Page, RoleArn, all_pages};
use serde_json::{Value, json};

use super::managed_policy::{self, PresentPolicy};
use super::ours::{made_by_us, mark, unless_absent};
use super::texts::{decoded, described, permissions_lost, settings_lost};
use super::wanted::{POLICY, Side, trust_of};
use crate::aws::{AwsError, call};
use crate::commands::changes::Change;

/// The statement by which a role trusts itself.
const SELF_TRUST: &str = "KeymakerTrustsItself";

/// Why an account was not configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    #[error("{0}")]
    Aws(AwsError),
    #[error("--instance-iam-role: {0}")]
    NotARole(String),
    #[error("--id-resolver-iam-role: {0}")]
    NotAnIdResolver(String),
    #[error("{0} is not in account {1}: name a profile of its account with --cross-account-profile")]
    OtherAccount(RoleArn, AccountId),
    #[error("the method shared-role needs --shared-role ARN")]
    NoSharedRole,
    #[error("IAM has no group {0} in the users' account, so nobody could log in: create it first, or correct the name")]
    NoSuchGroup(String),
    #[error("--shared-role: IAM has no role {0}: create it first, or correct the ARN")]
    NoSuchRole(RoleArn),
    #[error("--shared-role: there is no {0}; the role of that name is {1}: write that, or correct the name")]
    OtherPath(RoleArn, String),
    #[error("--{0} has no effect without --method {1}: add it, or leave the option out")]
    WithoutItsMethod(&'static str, &'static str),
    #[error("this would remove {0}. Name them again, or say --remove; --dry-run shows each change")]
    WouldRemove(String),
}

/// Makes the account as wanted, or, with `undo`, as if it had never been; returns the changes. With `dry_run` only
/// those.
pub async fn bring_about(iam: &Client, side: &Side, undo: bool, dry_run: bool) -> Result<Vec<Change>, AwsError> {
    let mut account = ConfiguredAccount::new(iam, side, dry_run);
    if undo {
        account.unmake().await?
    } else {
        account.make().await?
    }
    Ok(account.changes)
}

/// What the role has today and would not have any more. Changes nothing.
pub async fn losses(iam: &Client, side: &Side) -> Result<Vec<String>, AwsError> {
    let mut account = ConfiguredAccount::new(iam, side, true);
    account.make().await?;
    Ok(account.lost)
}

/// That the users' account has this group.
pub async fn check_group(iam: &Client, group: &str) -> Result<(), ConfigureError> {
    let answer = call!("iam:GetGroup", iam.get_group().group_name(group).max_items(1));
    match unless_absent(answer)? {
        Some(_) => Ok(()),
        None => Err(ConfigureError::NoSuchGroup(group.to_owned())),
    }
}

/// That the account has this role, path included: hosts ask STS for the ARN as it is written.
pub async fn check_shared_role(iam: &Client, role: &RoleArn) -> Result<(), ConfigureError> {
    let answer = call!("iam:GetRole", iam.get_role().role_name(role.name()));
    // Whoever may not ask is not told.
    if let Err(AwsCallError::AccessDenied { .. }) = answer {
        return Ok(());
    }
    let found = unless_absent(answer)?.and_then(|answer| answer.role);
    match found.map(|found| found.arn) {
        None => Err(ConfigureError::NoSuchRole(role.clone())),
        Some(arn) if arn != role.to_string() => Err(ConfigureError::OtherPath(role.clone(), arn)),
        Some(_) => Ok(()),
    }
}

/// Whether the account has a role that the pattern, of one `*`, matches; also where that cannot be asked.
pub async fn has_role_like(iam: &Client, pattern: &str) -> Result<bool, AwsError> {
    let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
    let action = Action::named("iam:ListRoles");
    let roles = all_pages(action, async |marker| {
        let answer = iam.list_roles().set_marker(marker).send().await;
        Page::of(action, answer, |page| (page.roles, page.is_truncated, page.marker))
    });
    let roles = match roles.await {
        Err(AwsCallError::AccessDenied { .. }) => return Ok(true),
        roles => roles?,
    };
    Ok(roles.iter().any(|role| {
        let name = format!("{}{}", role.path.trim_start_matches('/'), role.role_name);
        name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
    }))
}

/// The account at work.
pub struct ConfiguredAccount<'a> {
    pub(super) iam: &'a Client,
    pub(super) side: &'a Side,
    dry_run: bool,
    changes: Vec<Change>,
    lost: Vec<String>,
}

/// A role as it is.
struct Present {
    trust: Value,
    description: String,
    made_by_us: bool,
}

impl<'a> ConfiguredAccount<'a> {
    fn new(iam: &'a Client, side: &'a Side, dry_run: bool) -> Self {
        Self {
            iam,
            side,
            dry_run,
            changes: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Notes a change; returns whether it is to be made now.
    pub(super) fn change(&mut self, what: String, before: String, after: String) -> bool {
        self.changes.push(Change { what, before, after });
        !self.dry_run
    }

    async fn make(&mut self) -> Result<(), AwsError> {
        let name = self.side.role.name().to_owned();
        let present = match self.role().await? {
            Some(present) => present,
            None => {
                self.create_role(&name).await?;
                let trust = self.side.trust.clone();
                Present {
                    trust,
                    description: String::new(),
                    made_by_us: true,
                }
            }
        };
        // An administrator who made a role by other means has given it to instances by other means.
        if self.side.for_instances && present.made_by_us {
            self.make_profile(&name).await?;
        }
        let trust = trust_with(&present.trust, self.side);
        self.change_trust(&name, &present.trust, trust).await?;
        self.make_policy().await?;
        self.attach(&name).await?;
        // Made by a former version; of the resolver it may serve the other roles, too.
        let is_its_own = self.side.for_instances || !trusts_others(&present.trust, self.side);
        if is_its_own && self.side.policy_name != POLICY {
            self.leave_policy(&name, POLICY).await?;
        }
        let description = described(&present.description, &self.side.settings);
        self.lost.extend(settings_lost(&present.description, &description));
        self.describe(&name, &present.description, description).await
    }

    async fn unmake(&mut self) -> Result<(), AwsError> {
        let name = self.side.role.name().to_owned();
        let present = self.role().await?;
        if present.is_some() {
            self.leave_policy(&name, &self.side.policy_name).await?;
        } else {
            self.delete_policy(&name, &self.side.policy_name).await?;
        }
        let others = present
            .as_ref()
            .is_some_and(|present| trusts_others(&present.trust, self.side));
        if present.is_some() && (self.side.for_instances || !others) {
            self.leave_policy(&name, POLICY).await?;
        }
        match present {
            None => Ok(()),
            Some(present) if present.made_by_us && (self.side.for_instances || !others) => {
                self.unmake_profile(&name).await?;
                let now = self.change(
                    format!("delete role {name}"),
                    format!("{:#}", present.trust),
                    String::new(),
                );
                if now {
                    call!("iam:DeleteRole", self.iam.delete_role().role_name(&name))?;
                }
                Ok(())
            }
            Some(present) => {
                let trust = trust_without(&present.trust, self.side);
                self.change_trust(&name, &present.trust, trust).await?;
                self.describe(&name, &present.description, described(&present.description, &[]))
                    .await
            }
        }
    }

    async fn role(&self) -> Result<Option<Present>, AwsError> {
        let answer = call!("iam:GetRole", self.iam.get_role().role_name(self.side.role.name()));
        let Some(role) = unless_absent(answer)?.and_then(|answer| answer.role) else {
            return Ok(None);
        };
        Ok(Some(Present {
            trust: decoded(role.assume_role_policy_document().unwrap_or_default()),
            description: role.description().unwrap_or_default().to_owned(),
            made_by_us: made_by_us(role.tags()),
        }))
    }

    async fn create_role(&mut self, name: &str) -> Result<(), AwsError> {
        let now = self.change(
            format!("create role {name}"),
            String::new(),
            format!("{:#}", self.side.trust),
        );
        if !now {
            return Ok(());
        }
        let tag = mark()?;
        let request = self
            .iam
            .create_role()
            .role_name(name)
            .path(self.side.role.path())
            .tags(tag);
        call!(
            "iam:CreateRole",
            request.assume_role_policy_document(self.side.trust.to_string())
        )?;
        Ok(())
    }

    async fn change_trust(&mut self, name: &str, present: &Value, wanted: Value) -> Result<(), AwsError> {
        if wanted == *present {
            return Ok(());
        }
        let now = self.change(
            format!("trust policy of role {name}"),
            format!("{present:#}"),
            format!("{wanted:#}"),
        );
        if now {
            let request = self.iam.update_assume_role_policy().role_name(name);
            call!(
                "iam:UpdateAssumeRolePolicy",
                request.policy_document(wanted.to_string())
            )?;
        }
        Ok(())
    }

    async fn describe(&mut self, name: &str, before: &str, after: String) -> Result<(), AwsError> {
        if before == after {
            return Ok(());
        }
        let now = self.change(format!("description of role {name}"), before.to_owned(), after.clone());
        if now {
            call!(
                "iam:UpdateRoleDescription",
                self.iam.update_role_description().role_name(name).description(after)
            )?;
        }
        Ok(())
    }

    fn policy_arn(&self, name: &str) -> String {
        let role = &self.side.role;
        managed_policy::arn(role.partition(), role.account(), name)
    }

    async fn present_policy(&self, name: &str) -> Result<Option<PresentPolicy>, AwsError> {
        managed_policy::present(self.iam, &self.policy_arn(name)).await
    }

    async fn make_policy(&mut self) -> Result<(), AwsError> {
        let (name, wanted) = (self.side.policy_name.clone(), &self.side.policy);
        let present = self.present_policy(&name).await?.map(|present| present.document);
        if let Some(present) = &present {
            self.lost.extend(permissions_lost(present, wanted));
        }
        if name != POLICY
            && self.is_attached(self.side.role.name(), POLICY).await?
            && let Some(former) = self.present_policy(POLICY).await?
        {
            // What the one policy of all roles says of another role is not this role's to lose.
            let of_another = |lost: &String| {
                let (action, resource) = lost.split_once(" on ").unwrap_or_default();
                ["iam:GetRole", "sts:AssumeRole"].contains(&action)
                    && resource.parse::<RoleArn>().is_ok_and(|role| role != self.side.role)
            };
            for lost in permissions_lost(&former.document, wanted) {
                if !of_another(&lost) && !self.lost.contains(&lost) {
                    self.lost.push(lost);
                }
            }
        }
        if present.as_ref() == Some(wanted) {
            return Ok(());
        }
        let before = present.as_ref().map(|policy| format!("{policy:#}")).unwrap_or_default();
        if !self.change(format!("policy {name}"), before, format!("{wanted:#}")) {
            return Ok(());
        }
        if present.is_none() {
            let request = self.iam.create_policy().policy_name(name);
            call!("iam:CreatePolicy", request.policy_document(wanted.to_string()))?;
            return Ok(());
        }
        managed_policy::replace(self.iam, &self.policy_arn(&name), wanted).await
    }

    /// Detaches a policy of ours from the role, and deletes it where it is attached to nothing else.
    async fn leave_policy(&mut self, role: &str, policy: &str) -> Result<(), AwsError> {
        let attached = self.is_attached(role, policy).await?;
        if attached {
            let arn = self.policy_arn(policy);
            let now = self.change(
                format!("detach policy {policy} from role {role}"),
                arn.clone(),
                String::new(),
            );
            if now {
                call!(
                    "iam:DetachRolePolicy",
                    self.iam.detach_role_policy().role_name(role).policy_arn(&arn)
                )?;
            }
        }
        // One that others use, and that this role never had, is not ours to look at.
        if attached || policy != POLICY {
            self.delete_policy(role, policy).await?;
        }
        Ok(())
    }

    /// Kept where somebody attached it to something else.
    async fn delete_policy(&mut self, role: &str, policy: &str) -> Result<(), AwsError> {
        let Some(present) = self.present_policy(policy).await? else {
            return Ok(());
        };
        let attached = present.policy.attachment_count().unwrap_or_default();
        let ours = i32::from(self.dry_run && self.is_attached(role, policy).await?);
        if attached > ours {
            return Ok(());
        }
        let now = self.change(
            format!("delete policy {policy}"),
            format!("{:#}", present.document),
            String::new(),
        );
        if now {
            managed_policy::delete(self.iam, &self.policy_arn(policy)).await?;
        }
        Ok(())
    }

    async fn is_attached(&self, role: &str, policy: &str) -> Result<bool, AwsError> {
        let arn = self.policy_arn(policy);
        let action = Action::named("iam:ListAttachedRolePolicies");
        let attached = all_pages(action, async |marker| {
            let request = self.iam.list_attached_role_policies().role_name(role);
            let answer = request.set_marker(marker).send().await;
            Page::of(action, answer, |page| {
                (
                    page.attached_policies.unwrap_or_default(),
                    page.is_truncated,
                    page.marker,
                )
            })
        });
        match attached.await {
            Err(AwsCallError::NoSuchEntity { .. }) => Ok(false),
            attached => Ok(attached?.iter().any(|policy| policy.policy_arn() == Some(arn.as_str()))),
        }
    }

    async fn attach(&mut self, role: &str) -> Result<(), AwsError> {
        if self.is_attached(role, &self.side.policy_name).await? {
            return Ok(());
        }
        let arn = self.policy_arn(&self.side.policy_name);
        let now = self.change(
            format!("attach policy {} to role {role}", self.side.policy_name),
            String::new(),
            arn.clone(),
        );
        if now {
            call!(
                "iam:AttachRolePolicy",
                self.iam.attach_role_policy().role_name(role).policy_arn(arn)
            )?;
        }
        Ok(())
    }
}

/// The trust policy with our statements in it; what others put there stays.
fn trust_with(present: &Value, side: &Side) -> Value {
    let mut wanted = present.clone();
    let Some(statements) = wanted.get_mut("Statement").and_then(Value::as_array_mut) else {
        return wanted;
    };
    statements.retain(|statement| !is_self_trust(statement));
    if side.trusts_itself {
        let mut own = trust_of(json!({ "AWS": side.role.to_string() }));
        if let Some(fields) = own.as_object_mut() {
            fields.insert("Sid".to_owned(), json!(SELF_TRUST));
        }
        statements.push(own);
    }
    if let Some(own) = &side.trusts
        && !statements.contains(own)
    {
        statements.push(own.clone());
    }
    wanted
}

/// The trust policy without them.
fn trust_without(present: &Value, side: &Side) -> Value {
    let mut wanted = present.clone();
    if let Some(statements) = wanted.get_mut("Statement").and_then(Value::as_array_mut) {
        statements.retain(|statement| !is_self_trust(statement) && Some(statement) != side.trusts.as_ref());
    }
    wanted
}

/// Whether somebody is trusted besides those whom this side names.
fn trusts_others(present: &Value, side: &Side) -> bool {
    let without = trust_without(present, side);
    let left = without.get("Statement").and_then(Value::as_array);
    left.is_none_or(|left| !left.is_empty())
}

fn is_self_trust(statement: &Value) -> bool {
    statement.get("Sid").and_then(Value::as_str) == Some(SELF_TRUST)
}
