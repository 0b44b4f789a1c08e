//! `keymaker sync-roles`: makes and refreshes a role for each IAM user, with the policies of the user and the user's
//! groups.
//!
//! credd's method `create_user_role` hands out sessions of these roles and never writes to IAM itself; this runs by a
//! timer, in a pipeline or by hand, with rights of its own. [`account`] reads, [`wanted`] says what each role should
//! be, [`steps`] compares and changes. A role that it did not make, or that others may assume, is never touched.

mod account;
mod bound;
#[cfg(test)]
mod crashes;
mod options;
mod pattern;
mod rights;
mod steps;
mod wanted;

use keymaker_aws::{AwsCallError, OutageCause, RoleArn};
use serde_json::json;

use super::changes::{self, Change};
use super::{CommandError, configure};
use crate::aws::{self, AwsError, AwsOptions, with_aws};
use crate::consent::{Consent, NoConsent};
use crate::output::{Output, Paint};
pub use options::SyncRolesOptions;

use account::{ListedAccount, ListedRole, ListedUser};
use steps::Make;
use wanted::WantedRole;

/// A user whose role is not what it should be, and why.
struct RefusedUser {
    user: String,
    why: String,
}

/// Brings the roles in step; returns whether every user's is.
pub fn run(options: &SyncRolesOptions, aws: &AwsOptions, output: &Output) -> Result<bool, CommandError> {
    if options.prune && !options.dry_run {
        options.consent.can_be_had(PRUNE)?;
    }
    with_aws(aws, |config| async move {
        let identity = aws::identity(&config).await?;
        let instances = configure::role_named(&options.instance_iam_role, &identity)?;
        if options.print_policy {
            let policy = rights::policy(options, &instances);
            output.print(&format!("{policy:#}"), &policy);
            return Ok(true);
        }
        let iam = aws::iam(&config);
        let mut account = account::read(&iam).await?;
        let mut done = Done::default();
        // First: anybody who has such a name now gets a role of their own in the same run.
        if options.user.is_empty() {
            done.former(&iam, &mut account, options).await?;
        }
        for user in chosen(options, &account)? {
            let Some(username) = options.iam_name_pattern.username_in(&user.name) else {
                continue;
            };
            match wanted::of(user, username, &account, options, &instances) {
                Ok(wanted) => {
                    done.bring_about(&iam, &account, wanted, &instances, options.dry_run)
                        .await?
                }
                Err(why) => done.refuse(&user.name, why),
            }
        }
        done.print(options.dry_run, output);
        Ok(done.refused.is_empty())
    })
}

const PRUNE: &str = "keymaker sync-roles --prune";

fn agree_to_lose(roles: &[&ListedRole], consent: Consent) -> Result<(), NoConsent> {
    if roles.is_empty() {
        return Ok(());
    }
    let lost: String = roles.iter().map(|role| format!("\n  {}", role.arn)).collect();
    let lost =
        format!("These roles are deleted with their policies, and what trusts them trusts nobody any more:{lost}");
    consent.ask(PRUNE, &lost)
}

/// The users meant. One that was named and is not there is an error.
fn chosen<'a>(options: &SyncRolesOptions, account: &'a ListedAccount) -> Result<Vec<&'a ListedUser>, AwsError> {
    if options.user.is_empty() {
        return Ok(account.users.iter().collect());
    }
    let find = |name: &String| account.users.iter().find(|user| user.name == *name);
    let named = options.user.iter();
    named
        .map(|name| find(name).ok_or_else(|| AwsError::NoSuchUser(name.clone())))
        .collect()
}

/// What was done, and what was not.
#[derive(Default)]
struct Done {
    in_step: usize,
    changes: Vec<Change>,
    refused: Vec<RefusedUser>,
    /// Roles that are nobody's by their present name, and what of it the administrator reads.
    gone: Vec<(RoleArn, &'static str)>,
}

impl Done {
    fn refuse(&mut self, user: &str, why: impl Into<String>) {
        let (user, why) = (user.to_owned(), why.into());
        self.refused.push(RefusedUser { user, why });
    }

    async fn bring_about(
        &mut self,
        iam: &impl Make,
        account: &ListedAccount,
        wanted: WantedRole,
        instances: &RoleArn,
        dry_run: bool,
    ) -> Result<(), AwsError> {
        let present = account.roles.get(wanted.role.name());
        if let Some(why) = present.and_then(|present| wanted.not_ours(present, instances)) {
            self.refuse(&wanted.user, why);
            return Ok(());
        }
        if let Some(why) = &wanted.refused {
            self.refuse(&wanted.user, why.clone());
            // A role that is not there gives nobody anything; one that is must give nothing from now on.
            if present.is_none() {
                return Ok(());
            }
        }
        let steps = steps::between(present, &wanted, &account.managed);
        for step in &steps {
            self.changes.push(step.change(present, &wanted));
            if dry_run {
                continue;
            }
            match iam.make(step, &wanted).await {
                Ok(()) => {}
                Err(AwsCallError::Outage {
                    action,
                    cause: OutageCause::Refused { code, message },
                }) => {
                    // Half of its policies are nobody's; a role that is not there yet gives nothing.
                    if present.is_some() && !steps::begin_by_denial(&steps) {
                        iam.make(&steps::deny_all(), &wanted).await?;
                    }
                    let why = format!(
                        "{action}: {message} ({code}); the role {} grants nothing until then",
                        wanted.role
                    );
                    self.refuse(&wanted.user, why);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.in_step += usize::from(wanted.refused.is_none());
        Ok(())
    }

    /// Roles that were made for somebody whom IAM no longer has, or has under another name. Deleted, they are taken out
    /// of `account`.
    async fn former(
        &mut self,
        iam: &impl Make,
        account: &mut ListedAccount,
        options: &SyncRolesOptions,
    ) -> Result<(), CommandError> {
        let mut nobodys = Vec::new();
        for role in account.roles.values().filter(|role| role.made_here) {
            let former = match wanted::former(role, account, options) {
                Some(former) => former,
                None => continue,
            };
            // The listing may have been cut short, or a name moved since: IAM is asked once more.
            let confirmed = match &former.asked {
                Some(name) => former.is_confirmed_by(iam.user_id(name).await.map_err(AwsError::from)?.as_deref()),
                None => false,
            };
            if !confirmed || !options.prune {
                let why = match (&former.asked, &role.made_for) {
                    (Some(_), _) => {
                        "was made for a user whom IAM no longer has, or has under another name; --prune deletes it"
                    }
                    (None, Some(_)) => {
                        "was made for a user whom IAM no longer has, under another path or by other patterns; --prune with those \
                         deletes it"
                    }
                    (None, None) => {
                        "does not say for whom it was made (tag keymaker:user-id), so --prune leaves it alone: delete it, \
                         and the next run makes it for the user who has the name"
                    }
                };
                self.gone.push((role.arn.clone(), why));
                continue;
            }
            nobodys.push(role);
        }
        if !options.dry_run {
            agree_to_lose(&nobodys, options.consent)?;
        }
        for role in &nobodys {
            for step in steps::deletion(role) {
                self.changes.push(step.change_of(role));
                if !options.dry_run {
                    iam.make_on(&step, role.arn.name()).await.map_err(AwsError::from)?;
                }
            }
        }
        let deleted: Vec<String> = nobodys.iter().map(|role| role.arn.name().to_owned()).collect();
        account.roles.retain(|name, _| !deleted.contains(name));
        Ok(())
    }

    fn print(&self, dry_run: bool, output: &Output) {
        let (mut text, mut value) = changes::shown(&self.changes, dry_run, output);
        let are = if dry_run { "would be" } else { "are" };
        text += &format!("\nUsers whose roles {are} in step: {}.", self.in_step);
        for (role, why) in &self.gone {
            text += &format!("\n{} {role} {why}.", output.paint(Paint::Doubtful, "gone"));
        }
        for RefusedUser { user, why } in &self.refused {
            text += &format!("\n{} {user}: {why}", output.paint(Paint::Bad, "refused"));
        }
        if let Some(fields) = value.as_object_mut() {
            let refused = self.refused.iter();
            let refused = refused.map(|RefusedUser { user, why }| json!({ "user": user, "why": why }));
            fields.insert("in_step".to_owned(), json!(self.in_step));
            fields.insert("refused".to_owned(), refused.collect());
            fields.insert(
                "gone".to_owned(),
                self.gone.iter().map(|(role, _)| role.to_string()).collect(),
            );
        }
        output.print(&text, &value);
    }
}
