//! The options of `keymaker sync-roles`.

use clap::{Args, ValueEnum};

use super::pattern::UsernamePattern;
use crate::consent::Consent;

/// Which roles are made, and whom they trust.
#[derive(Args, Debug)]
pub struct SyncRolesOptions {
    /// The role of the instances whose credd hands out sessions of the users' roles, by name or ARN.
    #[arg(long, value_name = "NAME_OR_ARN")]
    pub(super) instance_iam_role: String,
    /// Who may assume the users' roles: the instances' role, or its whole account where instances have several roles.
    #[arg(long, value_enum, default_value = "instance-role")]
    pub(super) trust: Trust,
    /// The name of a user's role, as in credd.toml.
    #[arg(long, value_name = "PATTERN", default_value = "user-{username}")]
    pub(super) role_name_pattern: UsernamePattern,
    /// The path of the users' roles, as in credd.toml. One that nothing else has lets a policy name these roles and no
    /// others. Give each of several runs with different patterns its own.
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(super) role_path: String,
    /// The IAM name of a user, as in credd.toml; a user whose name does not match gets no role.
    #[arg(long, value_name = "PATTERN", default_value = "{username}")]
    pub(super) iam_name_pattern: UsernamePattern,
    /// Only this IAM user; may be repeated. Without it, all.
    #[arg(long, value_name = "NAME", add = clap_complete::engine::ArgValueCompleter::new(crate::completion::users))]
    pub(super) user: Vec<String>,
    /// Delete roles that were made here for users whom IAM no longer has, or has under another name.
    #[arg(long, conflicts_with = "user")]
    pub(super) prune: bool,
    #[command(flatten)]
    pub(super) consent: Consent,
    /// Print every change as a diff, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print the policy that this command needs, for a role of its own. The instances' role must not have it.
    #[arg(long, conflicts_with_all = ["user", "prune", "dry_run"])]
    pub(super) print_policy: bool,
}

/// Who may assume a user's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Trust {
    /// The instances' role alone.
    InstanceRole,
    /// Anybody in its account whose own policy allows it.
    Account,
}
