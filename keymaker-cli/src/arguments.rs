//! The command line as data: the help, the completions and the manual page are made from it. `main` gives it its
//! meaning.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, in help and manual")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, Parser, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use keymaker_aws::ssh_key_tags;

use crate::aws::AwsOptions;
#[cfg(all(target_os = "linux", feature = "host"))]
use crate::commands::assign_uids::AssignUidsOptions;
use crate::commands::configure::ConfigureOptions;
#[cfg(all(target_os = "linux", feature = "host"))]
use crate::commands::host::HostCommand;
use crate::commands::login::{HowToProve, LoginOptions};
use crate::commands::sync_roles::SyncRolesOptions;
use crate::completion;
use crate::consent::Consent;

/// Joins Linux logins on EC2 to AWS IAM: SSH keys from anywhere, and everything about a host and an account.
///
/// Exit status: 0 done, 1 not done (or a finding, or a closed gate), 2 wrong usage.
#[derive(Parser, Debug)]
#[command(name = "keymaker", version, propagate_version = true)]
pub struct CommandLine {
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub aws: AwsOptions,
    #[command(subcommand)]
    pub command: KeymakerCommand,
}

/// The commands by what somebody is after: the order of the help and of the manual page.
#[cfg(all(target_os = "linux", feature = "host"))]
pub const TOPICS: [(&str, &[&str]); 5] = [
    KEYS,
    LOGINS,
    (
        "This host: what it knows, and why",
        &[
            "status",
            "why",
            "doctor",
            "debug-bundle",
            "who-was",
            "get-uid",
            "get-groups",
            "get-authorized-keys",
        ],
    ),
    (
        "This host: what it is to do",
        &[
            "sync",
            "invalidate",
            "accept-settings",
            "release",
            "link-home",
            "revoke-proofs",
            "capture",
            "log-level",
            "install",
            "uninstall",
            "migrate",
            "reset",
        ],
    ),
    ACCOUNT,
];
#[cfg(not(all(target_os = "linux", feature = "host")))]
pub const TOPICS: [(&str, &[&str]); 3] = [KEYS, LOGINS, ACCOUNT];

const LOGINS: (&str, &[&str]) = ("Logins without keys, from any computer", &["ssh", "login"]);
const KEYS: (&str, &[&str]) = (
    "SSH keys in IAM, from any computer",
    &["upload-key", "list-keys", "enable-key", "disable-key", "delete-key"],
);
#[cfg(all(target_os = "linux", feature = "host"))]
const ACCOUNT: (&str, &[&str]) = ("An AWS account", &["configure", "sync-roles", "assign-uids"]);
// What numbers hosts take is known to the parts for hosts.
#[cfg(not(all(target_os = "linux", feature = "host")))]
const ACCOUNT: (&str, &[&str]) = ("An AWS account", &["configure", "sync-roles"]);

/// The command line with its help by topic.
pub fn command() -> Command {
    let command = CommandLine::command();
    let heading = command.get_styles().get_header().to_owned();
    let mut topics = String::new();
    for (topic, names) in TOPICS {
        let named = names.iter().filter_map(|name| command.find_subcommand(name)).cloned();
        let mut part = Command::new("keymaker")
            .disable_help_subcommand(true)
            .help_template("{subcommands}")
            .subcommands(named.enumerate().map(|(at, command)| command.display_order(at)));
        let listed = part.render_help().ansi().to_string();
        topics += &format!("{heading}{topic}:{heading:#}\n{}\n\n", listed.trim_end());
    }
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{topics}{heading}Options:{heading:#}\n{{options}}\n\n\
         'keymaker COMMAND --help' says more of a command; keymaker(1) has all of it, with examples.\n"
    );
    command.help_template(template)
}

#[derive(Subcommand, Debug)]
pub enum KeymakerCommand {
    /// Upload your SSH public key to IAM.
    ///
    /// Without FILE: the one RSA key of the SSH agent, else ~/.ssh/id_rsa.pub, else the one other key of the agent or of
    /// ~/.ssh. IAM's store takes RSA keys only; an Ed25519, ECDSA or FIDO key goes into a tag of the IAM user, which hosts
    /// heed whose keymakerd.toml has tags = ["keys"].
    #[command(alias = "upload_key")]
    UploadKey {
        /// A file with the public key (OpenSSH, RFC 4716 or PEM), or with the private one, whose public half is taken.
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// The same, as the Python keymaker had it.
        #[arg(long, short, value_name = "FILE", conflicts_with = "file", value_hint = clap::ValueHint::FilePath)]
        identity: Option<PathBuf>,
        /// Put the key into a tag of the IAM user, and ask no question.
        #[arg(long)]
        as_tag: bool,
        #[command(flatten)]
        whose: Whose,
    },
    /// List SSH keys in IAM, those in tags too.
    #[command(alias = "list_keys")]
    ListKeys {
        #[command(flatten)]
        whose: Whose,
    },
    /// Let a disabled SSH key open logins again.
    #[command(alias = "enable_key")]
    EnableKey {
        #[command(flatten)]
        key: KeyOfUser,
    },
    /// Let an SSH key open no login until it is enabled again.
    #[command(alias = "disable_key")]
    DisableKey {
        #[command(flatten)]
        key: KeyOfUser,
    },
    /// Delete an SSH key from IAM.
    #[command(alias = "delete_key")]
    DeleteKey {
        #[command(flatten)]
        key: KeyOfUser,
        #[command(flatten)]
        consent: Consent,
    },
    /// Log in to HOST as whom you are signed in to AWS, with no key registered anywhere: for hosts whose login_by has "proof".
    ///
    /// Asks AWS for a token of five minutes (sts:GetWebIdentityToken) for a key of your own, and runs ssh with both; while the token has a
    /// minute left, it is used again, but with --new. All of ssh's arguments may follow. A host i-... is reached by Session Manager or
    /// by an EC2 Instance Connect endpoint, by the AWS CLI.
    Ssh {
        /// Ask for a new token, whatever the present one has left: where it is refused, since it was revoked (keymaker revoke-proofs) or you
        /// were renamed.
        #[arg(long)]
        new: bool,
        #[command(flatten)]
        how: HowToProve,
        /// ssh's arguments: options, the host, a command.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            required = true,
            value_name = "HOST"
        )]
        arguments: Vec<OsString>,
    },
    /// Get such a proof without logging in: for ssh itself, scp, rsync, git, Ansible.
    Login(LoginOptions),
    /// Let the instances of a role read IAM, and set how their users log in. (an account's administrator)
    ///
    /// Makes or changes the role, one managed policy and the settings in the role's description; a second run changes
    /// nothing. Each role has a policy of its own. What a role has and the options leave out is removed only with
    /// --remove.
    Configure(ConfigureOptions),
    /// Make and refresh a role for each IAM user, with the policies of the user and the user's groups. (an account's
    /// administrator)
    ///
    /// For credd's method create_user_role. One run brings to the role whatever policy was attached to, or removed
    /// from, the user or a group; the permissions boundary is copied. A role that was not made here, or that others may
    /// assume, is refused. Exit status: 0 if every role is in step, 1 if one is not. Run it by a timer on one host or
    /// in a pipeline, with rights of its own.
    SyncRoles(SyncRolesOptions),
    /// Give each IAM user a number by the tag keymaker:uid: small, exact and without clashes. (an account's administrator)
    ///
    /// For hosts whose keymakerd.toml has tags = ["uid"] and the same tag_uid_range. A user who has the tag keeps it, so a second
    /// run changes nothing; run it whenever users were created. It needs iam:GetAccountAuthorizationDetails and iam:TagUser. Exit
    /// status: 0 if everybody has a number of the range that nobody else has, 1 if somebody has not.
    #[cfg(all(target_os = "linux", feature = "host"))]
    AssignUids(AssignUidsOptions),
    #[cfg(all(target_os = "linux", feature = "host"))]
    #[command(flatten)]
    Host(HostCommand),
}

#[derive(Args, Debug)]
pub struct Whose {
    /// The IAM user; without it, the one whose AWS credentials these are.
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(completion::users))]
    pub user: Option<String>,
}

#[derive(Args, Debug)]
pub struct KeyOfUser {
    /// The key's id, or the name of its tag, as list-keys shows it.
    #[arg(value_parser = key_id, add = ArgValueCompleter::new(completion::key_ids))]
    pub id: String,
    #[command(flatten)]
    pub whose: Whose,
}

/// IAM API Reference, `SSHPublicKeyId`: 20 to 128 of `\w`.
fn key_id(text: &str) -> Result<String, String> {
    let in_tag = text.strip_prefix(ssh_key_tags::NAME_BEGINS);
    let legal = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if in_tag.is_some_and(|number| !number.is_empty()) || legal && (20..=128).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(
            "a key's id is one such as APKAEXAMPLE1234567890 or keymaker:ssh-key-1; 'keymaker list-keys' shows them"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn the_help_names_each_command_once_under_its_topic_and_no_line_is_wider_than_the_terminal() {
        let all: Vec<String> = CommandLine::command()
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .collect();
        let mut named: Vec<&str> = TOPICS.iter().flat_map(|(_, names)| *names).copied().collect();
        named.sort_unstable();
        let mut sorted: Vec<&str> = all.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        assert_eq!(named, sorted);
        let mut command = command();
        for help in [command.render_help(), command.render_long_help()] {
            let text = help.to_string();
            for name in &all {
                let begins = format!("  {name} ");
                assert_eq!(
                    text.lines().filter(|line| line.starts_with(&begins)).count(),
                    1,
                    "{name} in\n{text}"
                );
            }
            // Where there is no terminal, the width is clap's own.
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        }
    }

    #[test]
    fn the_old_spellings_still_work() {
        let id = "APKAEXAMPLE1234567890";
        for line in [
            vec!["keymaker", "upload_key", "--identity", "x", "--user", "alice"],
            vec!["keymaker", "list_keys"],
            vec!["keymaker", "enable_key", id],
            vec!["keymaker", "disable_key", id, "--user", "alice"],
            vec!["keymaker", "delete_key", id],
            vec!["keymaker", "delete-key", "keymaker:ssh-key-1"],
            vec!["keymaker", "upload-key", "x", "--as-tag"],
        ] {
            CommandLine::try_parse_from(&line).unwrap();
        }
        #[cfg(all(target_os = "linux", feature = "host"))]
        for line in [
            vec!["keymaker", "get_authorized_keys", "alice"],
            vec!["keymaker", "get_uid", "alice"],
            vec!["keymaker", "get_groups", "alice"],
            vec!["keymaker", "sync_groups"],
        ] {
            CommandLine::try_parse_from(&line).unwrap();
        }
        assert!(CommandLine::try_parse_from(["keymaker", "delete-key", "alice"]).is_err());
        assert!(CommandLine::try_parse_from(["keymaker", "upload-key", "x", "-i", "y"]).is_err());
    }
}
