//! The command line as data: the help, the completions and the manual page are made from it. `main` gives it its
//! meaning.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, in help and manual")]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::engine::ArgValueCompleter;

use crate::aws::AwsOptions;
use crate::commands::configure::ConfigureOptions;
#[cfg(all(target_os = "linux", feature = "host"))]
use crate::commands::host::HostCommand;
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

#[derive(Subcommand, Debug)]
pub enum KeymakerCommand {
    /// Upload your SSH public key to IAM.
    ///
    /// Without --identity: the one RSA key of the SSH agent, else ~/.ssh/id_rsa.pub.
    #[command(alias = "upload_key")]
    UploadKey {
        /// A file with the public key, or with the private one, whose public half is taken.
        #[arg(long, short, value_name = "FILE")]
        identity: Option<PathBuf>,
        #[command(flatten)]
        whose: Whose,
    },
    /// List SSH keys in IAM.
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
    /// The key's id, as list-keys shows it.
    #[arg(value_parser = key_id, add = ArgValueCompleter::new(completion::key_ids))]
    pub id: String,
    #[command(flatten)]
    pub whose: Whose,
}

/// IAM API Reference, `SSHPublicKeyId`: 20 to 128 of `\w`.
fn key_id(text: &str) -> Result<String, String> {
    let legal = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if legal && (20..=128).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("a key's id is one such as APKAEXAMPLE1234567890; 'keymaker list-keys' shows them".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
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
    }
}
