//! `keymaker configure`: gives an instance's role the rights that a grade and credd's methods need, and its settings;
//! takes them back.
//!
//! [`wanted`] says what should be, from the options alone; [`account`] compares that with an account and changes it. A
//! second run changes nothing; `--dry-run` prints the changes; `--undo` leaves nothing behind.

mod account;
mod instance_profile;
mod managed_policy;
mod options;
mod templates;
pub(super) mod texts;
mod wanted;

use keymaker_aws::{CallerIdentity, RoleArn};

use super::{CommandError, changes};
use crate::aws::{self, AwsError, AwsOptions, with_aws};
use crate::consent::{Consent, NoConsent};
use crate::output::Output;
use account::ConfigureError;
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
        let wanted = wanted::of(&request(options, &users_identity, &instances_identity)?);
        if let Some(template) = options.print {
            let value = templates::print(template, &wanted);
            output.print(&format!("{value:#}"), &value);
            return Ok(());
        }
        if let (Some(group), false) = (&options.require_iam_group, options.undo) {
            account::check_group(&aws::iam(&users), group).await?;
        }
        if let (Some(role), false) = (&options.shared_role, options.undo) {
            let sides = [(instances, &instances_identity), (&users, &users_identity)];
            // In a third account it cannot be asked for.
            if let Some((config, _)) = sides
                .into_iter()
                .find(|(_, identity)| identity.account == *role.account())
            {
                account::check_shared_role(&aws::iam(config), role).await?;
            }
        }
        if let (Some(pattern), false) = (user_roles(options), options.undo)
            && !account::has_role_like(&aws::iam(instances), pattern).await?
        {
            output.remark(&format!(
                "no role of account {} is called {pattern}: until 'keymaker sync-roles' or somebody makes one for each user, nobody has \
                 credentials by user-role",
                instances_identity.account
            ));
        }
        let mut changes = Vec::new();
        // The instances' role first: another one's trust may name it only once it is there. Undone the other way round.
        let mut sides = vec![(instances, &wanted.instances)];
        sides.extend(wanted.users.as_ref().map(|wanted| (&users, wanted)));
        if options.undo {
            sides.reverse();
        }
        // Before anything is changed, on either side.
        if !options.undo {
            let mut lost = Vec::new();
            for (config, wanted) in &sides {
                lost.extend(account::losses(&aws::iam(config), wanted).await?);
            }
            if !(lost.is_empty() || options.remove || options.dry_run) {
                return Err(ConfigureError::WouldRemove(lost.join("; ")).into());
            }
        }
        if takes_away {
            let mut lost = Vec::new();
            for (config, wanted) in &sides {
                lost.extend(account::bring_about(&aws::iam(config), wanted, true, true).await?);
            }
            agree_to_lose(&lost, options.consent)?;
        }
        for (config, wanted) in sides {
            let iam = aws::iam(config);
            changes.extend(account::bring_about(&iam, wanted, options.undo, options.dry_run).await?);
        }
        let (mut text, mut value) = changes::shown(&changes, options.dry_run, output);
        if let Some(waiting) = hosts_that_wait(&changes) {
            text = format!("{waiting}\n{text}");
            if let Some(fields) = value.as_object_mut() {
                fields.insert("hosts_must_accept".to_owned(), waiting.into());
            }
        }
        output.print(&text, &value);
        Ok(())
    })
}

/// The roles of users, where none are named; credd's default, too.
const USER_ROLES: &str = "user-*";
const UNDO: &str = "keymaker configure --undo";

fn agree_to_lose(changes: &[changes::Change], consent: Consent) -> Result<(), NoConsent> {
    if changes.is_empty() {
        return Ok(());
    }
    let lost: String = changes.iter().map(|change| format!("\n  {}", change.what)).collect();
    let lost = format!(
        "Hosts with this role lose what they read IAM by, and after max_stale nobody from IAM may log in there:{lost}"
    );
    consent.ask(UNDO, &lost)
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
    users: &CallerIdentity,
    instances: &CallerIdentity,
) -> Result<Request, ConfigureError> {
    let role = role_named(options.instance_iam_role.as_deref().unwrap_or_default(), instances)?;
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
