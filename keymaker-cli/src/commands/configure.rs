//! `keymaker configure`: gives an instance's role the rights that a grade and credd's methods need, and its settings, and
//! the account what logins by proof need; takes them back.
//!
//! [`wanted`] says what should be, from the options alone; [`account`] compares that with an account and changes it;
//! [`logins`] does both for logins by proof. A second run changes nothing; `--dry-run` prints the changes; `--undo` leaves nothing behind.

mod account;
mod instance_profile;
mod logins;
mod managed_policy;
mod options;
mod ours;
mod templates;
pub(super) mod texts;
mod wanted;

use aws_config::SdkConfig;
use keymaker_aws::{CallerIdentity, RoleArn};
use serde_json::json;

use super::{CommandError, changes};
use crate::aws::{self, AwsError, AwsOptions, with_aws};
use crate::consent::NoConsent;
use crate::output::Output;
use account::ConfigureError;
use logins::{AccountLogins, WantedLogins};
pub use options::{ConfigureOptions, Template};
use wanted::Request;
pub use wanted::WantedMethod;

/// Configures the account, or prints what would be done.
pub fn run(options: &ConfigureOptions, aws: &AwsOptions, output: &Output) -> Result<(), CommandError> {
    if options.guard_policy {
        let policy = wanted::guard_policy(&options.allow);
        output.print(&format!("{policy:#}"), &policy);
        if options.allow.is_empty() {
            output.remark(
                "this lets nobody change another user's SSH keys, administrators and root of the account included: name who may \
                 with --allow ARN",
            );
        }
        return Ok(());
    }
    if options.self_service_policy {
        let policy = wanted::self_service_policy();
        output.print(&format!("{policy:#}"), &policy);
        return Ok(());
    }
    if options.logins.logins_guard_policy {
        let policy = logins::guard_policy();
        output.print(&format!("{policy:#}"), &policy);
        return Ok(());
    }
    let takes_away = options.undo && !options.dry_run;
    if takes_away {
        options.consent.can_be_had(UNDO)?;
    }
    with_aws(aws, |users| async move {
        let users_identity = aws::identity(&users).await?;
        let other = match &options.cross_account_profile {
            Some(profile) => {
                let options = AwsOptions {
                    profile: Some(profile.clone()),
                    ..aws.clone()
                };
                Some(aws::config(&options).await?)
            }
            None => None,
        };
        let instances = other.as_ref().unwrap_or(&users);
        let instances_identity = aws::identity(instances).await?;
        let identities = Identities {
            users: &users_identity,
            instances: &instances_identity,
        };
        let logins = WantedLogins::of(&options.logins, &users_identity);
        let wanted = match &options.instance_iam_role {
            Some(role) => Some(wanted::of(&request(options, role, identities)?)),
            None => None,
        };
        if let Some(template) = options.print {
            let value = templates::print(template, wanted.as_ref(), logins.as_ref());
            output.print(&format!("{value:#}"), &value);
            if logins.is_some() && template == Template::Cloudformation {
                output.remark(templates::NO_FEDERATION);
            }
            return Ok(());
        }
        if !options.undo {
            check_names(options, (&users, instances), identities, output).await?;
        }
        // The instances' role first: another one's trust may name it only once it is there. Undone the other way round.
        let mut sides = Vec::new();
        if let Some(wanted) = &wanted {
            sides.push((instances, &wanted.instances));
            sides.extend(wanted.users.as_ref().map(|wanted| (&users, wanted)));
        }
        if options.undo {
            sides.reverse();
        }
        let users_iam = aws::iam(&users);
        let account = |dry_run| {
            logins
                .as_ref()
                .map(|wanted| AccountLogins::new(&users_iam, wanted, dry_run))
        };
        // Before anything is changed, on either side.
        if !options.undo {
            let mut lost = Vec::new();
            for (config, wanted) in &sides {
                lost.extend(account::losses(&aws::iam(config), wanted).await?);
            }
            if let Some(mut account) = account(true) {
                account.make().await?;
                lost.append(&mut account.lost);
            }
            if !(lost.is_empty() || options.remove || options.dry_run) {
                return Err(ConfigureError::WouldRemove(lost.join("; ")).into());
            }
        }
        if takes_away {
            let mut lost = Vec::new();
            if let Some(mut account) = account(true) {
                account.unmake().await?;
                lost.append(&mut account.changes);
            }
            for (config, wanted) in &sides {
                lost.extend(account::bring_about(&aws::iam(config), wanted, true, true).await?);
            }
            agree_to_lose(&lost, options)?;
        }
        let mut changes = Vec::new();
        let mut account = account(options.dry_run);
        // No new token from the first moment on; given only once hosts may read who signs it.
        if let (Some(account), true) = (&mut account, options.undo) {
            account.unmake().await?;
            changes.append(&mut account.changes);
        }
        for (config, wanted) in sides {
            let iam = aws::iam(config);
            changes.extend(account::bring_about(&iam, wanted, options.undo, options.dry_run).await?);
        }
        if let (Some(account), false) = (&mut account, options.undo) {
            account.make().await?;
            changes.append(&mut account.changes);
        }
        let (mut text, mut value) = changes::shown(&changes, options.dry_run, output);
        if let (Some(waiting), Some(fields)) = (hosts_that_wait(&changes), value.as_object_mut()) {
            text = format!("{waiting}\n{text}");
            fields.insert("hosts_must_accept".to_owned(), waiting.into());
        }
        if let (Some(account), false, Some(fields)) = (&account, options.undo, value.as_object_mut()) {
            text = format!(
                "{text}\n{}",
                logins::said(account, options.instance_iam_role.as_deref())
            );
            fields.insert("issuer".to_owned(), json!(account.issuer));
            fields.insert("may_log_in_by_proof".to_owned(), json!(account.holders));
        }
        output.print(&text, &value);
        if let (Some(account), true) = (&account, options.undo)
            && let Some(stays) = logins::stays(account)
        {
            output.remark(&stays);
        }
        Ok(())
    })
}

/// Whose credentials there are: for the users' account and for the instances'.
#[derive(Clone, Copy)]
struct Identities<'a> {
    users: &'a CallerIdentity,
    instances: &'a CallerIdentity,
}

/// That the group and the roles that the options name are there.
async fn check_names(
    options: &ConfigureOptions,
    (users, instances): (&SdkConfig, &SdkConfig),
    identities: Identities<'_>,
    output: &Output,
) -> Result<(), ConfigureError> {
    if let Some(group) = &options.require_iam_group {
        account::check_group(&aws::iam(users), group).await?;
    }
    if let Some(role) = &options.shared_role {
        let sides = [(instances, identities.instances), (users, identities.users)];
        // In a third account it cannot be asked for.
        if let Some((config, _)) = sides
            .into_iter()
            .find(|(_, identity)| identity.account == *role.account())
        {
            account::check_shared_role(&aws::iam(config), role).await?;
        }
    }
    if let Some(pattern) = user_roles(options)
        && !account::has_role_like(&aws::iam(instances), pattern).await?
    {
        output.remark(&format!(
            "no role of account {} is called {pattern}: until 'keymaker sync-roles' or somebody makes one for each user, nobody has \
             credentials by user-role",
            identities.instances.account
        ));
    }
    Ok(())
}

/// The roles of users, where none are named; credd's default, too.
const USER_ROLES: &str = "user-*";
const UNDO: &str = "keymaker configure --undo";

fn agree_to_lose(changes: &[changes::Change], options: &ConfigureOptions) -> Result<(), NoConsent> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut lost = Vec::new();
    if options.logins.logins {
        lost.push("Nobody can ask for a token for this account's hosts any more, so logins by proof end there.");
    }
    if options.instance_iam_role.is_some() {
        lost.push(
            "Hosts with this role lose what they read IAM by, and after max_stale nobody from IAM may log in there.",
        );
    }
    let changes: String = changes.iter().map(|change| format!("\n  {}", change.what)).collect();
    options.consent.ask(UNDO, &(lost.join("\n") + &changes))
}

/// What hosts do with a description whose settings have changed, where they have read another one before.
fn hosts_that_wait(changes: &[changes::Change]) -> Option<&'static str> {
    let is_new = |role: &str| {
        changes
            .iter()
            .any(|change| change.what == format!("create role {role}"))
    };
    let waits = |change: &changes::Change| {
        let role = change.what.strip_prefix("description of role ");
        role.is_some_and(|role| !is_new(role)) && texts::settings_wait(&change.before, &change.after)
    };
    changes.iter().any(waits).then_some(
        "Each host that has read the former description goes on with its settings. On each of them: keymaker accept-settings. Or \
         write the new ones into its keymakerd.toml: then they apply without it.",
    )
}

/// The role of that name or ARN, which lives in the account of these credentials.
pub fn role_named(text: &str, instances: &CallerIdentity) -> Result<RoleArn, ConfigureError> {
    let role = if text.starts_with("arn:") {
        text.parse::<RoleArn>()
    } else {
        RoleArn::new(instances.partition.clone(), instances.account.clone(), "/", text)
    };
    let role = role.map_err(|why| ConfigureError::NotARole(why.to_string()))?;
    if *role.account() == instances.account {
        Ok(role)
    } else {
        Err(ConfigureError::OtherAccount(role, instances.account.clone()))
    }
}

/// The roles that the method user-role gives out, where hosts use it.
fn user_roles(options: &ConfigureOptions) -> Option<&str> {
    let pattern = options.user_role_pattern.as_deref().unwrap_or(USER_ROLES);
    options.method.contains(&WantedMethod::UserRole).then_some(pattern)
}

fn request(
    options: &ConfigureOptions,
    role: &str,
    Identities { users, instances }: Identities<'_>,
) -> Result<Request, ConfigureError> {
    let role = role_named(role, instances)?;
    if options.method.contains(&WantedMethod::SharedRole) && options.shared_role.is_none() {
        return Err(ConfigureError::NoSharedRole);
    }
    let unused = [
        ("shared-role", options.shared_role.is_some(), WantedMethod::SharedRole),
        (
            "user-role-pattern",
            options.user_role_pattern.is_some(),
            WantedMethod::UserRole,
        ),
    ];
    if let Some((option, ..)) = unused
        .iter()
        .find(|(_, given, method)| *given && !options.method.contains(method))
    {
        let method = option.trim_end_matches("-pattern");
        return Err(ConfigureError::WithoutItsMethod(option, method));
    }
    let id_resolver = if users.account == instances.account {
        None
    } else {
        let role = RoleArn::new(
            users.partition.clone(),
            users.account.clone(),
            "/",
            &options.id_resolver_iam_role,
        );
        Some(role.map_err(|why| ConfigureError::NotAnIdResolver(why.to_string()))?)
    };
    Ok(Request {
        role,
        id_resolver,
        grade: options.grade,
        logins: options.logins.logins,
        methods: options.method.clone(),
        shared_role: options.shared_role.as_ref().map(ToString::to_string),
        user_role_pattern: options
            .user_role_pattern
            .clone()
            .unwrap_or_else(|| USER_ROLES.to_owned()),
        require_iam_group: options.require_iam_group.clone(),
        username_suffix: options.username_suffix.clone(),
        group_prefix: options.group_prefix.clone(),
        policy_name: options.instance_iam_policy.clone(),
    })
}

impl From<ConfigureError> for CommandError {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Aws(error) => Self::Aws(error),
            other => Self::Configure(other.to_string()),
        }
    }
}

impl From<AwsError> for ConfigureError {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}
