//! The options of `keymaker configure`, and what each may say.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, in help and manual")]

use clap::{Args, ValueEnum};
use keymaker_aws::iam_names::{is_group_name, is_suffix};
use keymaker_aws::{AccountId, ArnError, RoleArn};

use super::wanted::WantedMethod;
use crate::consent::Consent;

/// What the account is configured for.
#[derive(Args, Debug)]
pub struct ConfigureOptions {
    /// The role of the instances, by name or ARN. It is created if it does not exist.
    #[arg(long, value_name = "NAME_OR_ARN", required_unless_present_any = ["guard_policy", "self_service_policy", "logins", "logins_group", "logins_without_mfa", "logins_guard_policy"])]
    pub(super) instance_iam_role: Option<String>,
    /// How much of IAM the hosts may read: 3 members of groups, 2 everyone, 1 everyone in one call, policies included.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(super) grade: u8,
    /// A method of credd's that the hosts use; may be repeated.
    #[arg(long, value_enum, value_name = "METHOD", requires = "instance_iam_role")]
    pub(super) method: Vec<WantedMethod>,
    /// The one role of the method shared-role.
    #[arg(long, value_name = "ARN", value_parser = shared_role, requires = "instance_iam_role")]
    pub(super) shared_role: Option<RoleArn>,
    /// The roles of the method user-role, with * for the user's name; user-* where none is named.
    #[arg(long, value_name = "PATTERN", value_parser = role_pattern, requires = "instance_iam_role")]
    pub(super) user_role_pattern: Option<String>,
    /// Only members of this IAM group may log in.
    #[arg(long, value_name = "GROUP", value_parser = group_name, requires = "instance_iam_role")]
    pub(super) require_iam_group: Option<String>,
    /// The ending that every IAM user name has and the Unix name does not.
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, requires = "instance_iam_role")]
    pub(super) username_suffix: Option<String>,
    /// What the names of the IAM groups begin with that become Unix groups, "" for all groups; hosts take keymaker_ where
    /// none is set.
    #[arg(long, value_name = "PREFIX", value_parser = group_prefix, requires = "instance_iam_role")]
    pub(super) group_prefix: Option<String>,
    /// The profile for the instances' account, where the users live in another one (the one of these credentials).
    #[arg(long, value_name = "PROFILE", requires = "instance_iam_role")]
    pub(super) cross_account_profile: Option<String>,
    /// The role of the users' account that hosts of another account assume.
    #[arg(long, value_name = "NAME", default_value = "KeymakerIdResolver")]
    pub(super) id_resolver_iam_role: String,
    /// The name of the managed policy, in place of one that ends in the role's name.
    #[arg(long, value_name = "NAME", value_parser = policy_name, requires = "instance_iam_role")]
    pub(super) instance_iam_policy: Option<String>,
    /// Print every change as a diff, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Also remove the settings and permissions that the role has and the options do not name.
    #[arg(long)]
    pub(super) remove: bool,
    /// Undo what configure did.
    #[arg(long)]
    pub(super) undo: bool,
    #[command(flatten)]
    pub(super) consent: Consent,
    #[command(flatten)]
    pub(super) logins: LoginsOptions,
    /// Print the same as a template instead of making it.
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with_all = ["dry_run", "undo"])]
    pub(super) print: Option<Template>,
    /// Print a policy that denies changing other people's SSH keys, and the tags by which hosts may go (other people's
    /// SSH keys, and anybody's uid, home, shell, gecos and expires), to all but the principals of --allow.
    #[arg(long, conflicts_with_all = ["dry_run", "undo", "print"])]
    pub(super) guard_policy: bool,
    /// Print a policy for a group of everybody: each may change their own SSH keys, in tags too, and no other tag of theirs.
    #[arg(long, conflicts_with_all = ["dry_run", "undo", "print", "guard_policy"])]
    pub(super) self_service_policy: bool,
    /// The ARN of a principal who may change everybody's SSH keys and tags, * allowed; may be repeated.
    #[arg(long, value_name = "ARN", requires = "guard_policy", value_parser = principal)]
    pub(super) allow: Vec<String>,
}

/// What the command line says of logins by proof.
#[derive(Args, Debug)]
pub struct LoginsOptions {
    /// Let people log in by proof, with no key in IAM: turn outbound web identity federation on for the users' account, make the policy
    /// KeymakerLogins by which people may ask AWS for a token, and let the role read who the issuer is. Without --instance-iam-role, the
    /// account alone.
    #[arg(long)]
    pub logins: bool,
    /// Attach that policy to this IAM group, which exists already and whose members then may log in by proof; may be repeated.
    #[arg(long, value_name = "GROUP", requires = "logins", value_parser = group_name)]
    pub logins_group: Vec<String>,
    /// Let people ask whose session has no second factor, such as those with an access key alone.
    #[arg(long, requires = "logins")]
    pub logins_without_mfa: bool,
    /// Print a policy for an organisation (an SCP): nobody but IAM users may ask for a token for hosts.
    #[arg(long, conflicts_with_all = ["dry_run", "undo", "print", "guard_policy", "self_service_policy", "logins"])]
    pub logins_guard_policy: bool,
}

/// A language for infrastructure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// A CloudFormation template, JSON.
    Cloudformation,
    /// Terraform, in its JSON syntax (.tf.json).
    Terraform,
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
