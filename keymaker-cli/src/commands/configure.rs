//! `keymaker configure`: gives an instance's role the rights that a grade and credd's methods need, and its settings;
//! takes them back.
//!
//! [`wanted`] says what should be, from the options alone; [`account`] compares that with an account and changes it. A
//! second run changes nothing; `--dry-run` prints the changes; `--undo` leaves nothing behind.

mod account;
mod instance_profile;
mod templates;
pub(super) mod texts;
mod wanted;

use clap::{Args, ValueEnum};
use keymaker_aws::iam_names::{is_group_name, is_suffix};
use keymaker_aws::{AccountId, ArnError, CallerIdentity, RoleArn};

use super::{CommandError, changes};
use crate::aws::{self, AwsError, AwsOptions, with_aws};
use crate::consent::{Consent, NoConsent};
use crate::output::Output;
use account::ConfigureError;
use wanted::Request;
pub use wanted::WantedMethod;

/// What the account is configured for.
#[derive(Args, Debug)]
pub struct ConfigureOptions {
    /// The role of the instances, by name or ARN. It is created if it does not exist.
    #[arg(long, value_name = "NAME_OR_ARN", required_unless_present_any = ["guard_policy", "self_service_policy"])]
    instance_iam_role: Option<String>,
    /// How much of IAM the hosts may read: 3 members of groups, 2 everyone, 1 everyone in one call, policies included.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    grade: u8,
    /// A method of credd's that the hosts use; may be repeated.
    #[arg(long, value_enum, value_name = "METHOD")]
    method: Vec<WantedMethod>,
    /// The one role of the method shared-role.
    #[arg(long, value_name = "ARN", value_parser = shared_role)]
    shared_role: Option<RoleArn>,
    /// The roles of the method user-role, with * for the user's name; user-* where none is named.
    #[arg(long, value_name = "PATTERN", value_parser = role_pattern)]
    user_role_pattern: Option<String>,
    /// Only members of this IAM group may log in.
    #[arg(long, value_name = "GROUP", value_parser = group_name)]
    require_iam_group: Option<String>,
    /// The ending that every IAM user name has and the Unix name does not.
    #[arg(long, value_name = "SUFFIX", value_parser = suffix)]
    username_suffix: Option<String>,
    /// What the names of the IAM groups begin with that become Unix groups, "" for all groups; hosts take keymaker_ where
    /// none is set.
    #[arg(long, value_name = "PREFIX", value_parser = group_prefix)]
    group_prefix: Option<String>,
    /// The profile for the instances' account, where the users live in another one (the one of these credentials).
    #[arg(long, value_name = "PROFILE")]
    cross_account_profile: Option<String>,
    /// The role of the users' account that hosts of another account assume.
    #[arg(long, value_name = "NAME", default_value = "KeymakerIdResolver")]
    id_resolver_iam_role: String,
    /// The name of the managed policy, in place of one that ends in the role's name.
    #[arg(long, value_name = "NAME", value_parser = policy_name)]
    instance_iam_policy: Option<String>,
    /// Print every change as a diff, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Also remove the settings and permissions that the role has and the options do not name.
    #[arg(long)]
    remove: bool,
    /// Undo what configure did.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    consent: Consent,
    /// Print the same as a template instead of making it.
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with_all = ["dry_run", "undo"])]
    print: Option<Template>,
    /// Print a policy that denies changing other people's SSH keys, and the tags by which hosts may go (other people's
    /// SSH keys, and anybody's uid, home, shell, gecos and expires), to all but the principals of --allow.
    #[arg(long, conflicts_with_all = ["dry_run", "undo", "print"])]
    guard_policy: bool,
    /// Print a policy for a group of everybody: each may change their own SSH keys, in tags too, and no other tag of theirs.
    #[arg(long, conflicts_with_all = ["dry_run", "undo", "print", "guard_policy"])]
    self_service_policy: bool,
    /// The ARN of a principal who may change everybody's SSH keys and tags, * allowed; may be repeated.
    #[arg(long, value_name = "ARN", requires = "guard_policy", value_parser = principal)]
    allow: Vec<String>,
}

/// A language for infrastructure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// A CloudFormation template, JSON.
    Cloudformation,
    /// Terraform, in its JSON syntax (.tf.json).
    Terraform,
}

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

fn shared_role(text: &str) -> Result<RoleArn, String> {
    text.parse().map_err(|why: ArnError| why.to_string())
}

fn policy_name(text: &str) -> Result<String, String> {
    // IAM has the same for policies as for groups (CreatePolicy, PolicyName).
    group_name(text)
}

/// Hosts may assume whatever role it matches, so it must say more than that there is a name. `*` stands for slashes, too.
fn role_pattern(text: &str) -> Result<String, String> {
    const LONGEST_NAME: usize = 64;
    let (path, name) = text.rsplit_once('/').unwrap_or(("", text));
    let is_legal = !text.starts_with('/')
        && path
            .split('/')
            .all(|part| part.is_empty() == path.is_empty() && (part.is_empty() || is_group_name(part)))
        && name.split_once('*').is_some_and(|(before, after)| {
            let letters = format!("{before}{after}");
            is_group_name(&letters) && letters.len() < LONGEST_NAME
        });
    let legal = is_legal.then(|| text.to_owned());
    legal.ok_or_else(|| {
        "write the name of the roles with one * for the user's, such as user-* or people/user-*: letters, digits and _+=,.@-, up to 64. \
         Hosts may assume every role that it matches"
            .to_owned()
    })
}

fn group_name(text: &str) -> Result<String, String> {
    let legal = is_group_name(text).then(|| text.to_owned());
    legal.ok_or_else(|| "IAM has names of 1 to 128 letters, digits and _+=,.@-".to_owned())
}

fn group_prefix(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Ok(String::new())
    } else {
        group_name(text)
    }
}

fn suffix(text: &str) -> Result<String, String> {
    let legal = (is_suffix(text) && !text.is_empty()).then(|| text.to_owned());
    legal.ok_or_else(|| "a name ends in 1 to 63 letters, digits and _+=,.@-".to_owned())
}

/// As `aws:PrincipalArn` has it: one that names nobody matches nobody, and the Deny would be everybody's. Of a role's
/// session it is the role's ARN (IAM User Guide, "AWS global condition context keys", `aws:PrincipalArn`).
fn principal(text: &str) -> Result<String, String> {
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let (service, account, who) = match fields.as_slice() {
        ["arn", _, service, "", account, who] => (*service, *account, *who),
        _ => ("", "", ""),
    };
    let is_account = account.contains('*') || account.parse::<AccountId>().is_ok();
    let named = |kinds: &[&str]| {
        let name = |kind: &&str| who.strip_prefix(*kind).is_some_and(|name| !name.is_empty());
        kinds.iter().any(name)
    };
    match service {
        "iam" if is_account && (who == "root" || named(&["user/", "role/"])) => Ok(text.to_owned()),
        "sts" if is_account && named(&["federated-user/"]) => Ok(text.to_owned()),
        "sts" if named(&["assumed-role/"]) => Err(
            "a session of a role goes by the role: write its ARN, such as arn:aws:iam::123456789012:role/admin"
                .to_owned(),
        ),
        _ => Err("write the ARN of a user or role, such as arn:aws:iam::123456789012:role/admin".to_owned()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_roles_says_more_than_that_there_is_a_name() {
        for pattern in ["user-*", "*-dev", "people/user-*", "a/b/u*x"] {
            assert_eq!(role_pattern(pattern), Ok(pattern.to_owned()));
        }
        let long = format!("{}*", "u".repeat(64));
        for pattern in [
            "",
            "*",
            "**",
            "user",
            "u*r*",
            "a/*",
            "/user-*",
            "a//user-*",
            "*/user-*",
            "u ser-*",
            "arn:aws:iam::1:role/u*",
            &long,
        ] {
            assert!(
                role_pattern(pattern).unwrap_err().contains("one * for the user's"),
                "{pattern}"
            );
        }
    }

    #[test]
    fn only_who_can_be_somebody_is_allowed_past_the_guard() {
        for somebody in [
            "arn:aws:iam::123456789012:role/admin",
            "arn:aws:iam::123456789012:role/p/admin*",
            "arn:aws:iam::*:user/alice",
            "arn:aws-cn:iam::123456789012:root",
            "arn:aws:sts::123456789012:federated-user/alice",
        ] {
            assert_eq!(principal(somebody), Ok(somebody.to_owned()));
        }
        for nobody in [
            "alice",
            "*",
            "arn:aws:iam::123456789012:group/admins",
            "arn:aws:iam::123456789012:policy/x",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::x:role/admin",
            "arn:aws:iam:::role/admin",
        ] {
            assert!(
                principal(nobody).unwrap_err().contains("ARN of a user or role"),
                "{nobody}"
            );
        }
        let session = principal("arn:aws:sts::123456789012:assumed-role/admin/session").unwrap_err();
        assert!(session.contains("goes by the role"), "{session}");
    }
}
