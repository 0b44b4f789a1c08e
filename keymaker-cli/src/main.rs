//! The keymaker command: users' SSH keys in IAM, and what administrators of a host or an account ask and order.
//!
//! `arguments` is the command line; each command is a file in `commands`. Exit status: 0 done, 1 not done, 2 wrong
//! usage.

mod arguments;
mod aws;
#[cfg(test)]
#[expect(dead_code, reason = "other crates' tests use the rest of it")]
#[path = "../../keymaker-aws/src/canned.rs"]
mod canned;
mod commands;
mod completion;
mod consent;
#[cfg(test)]
mod manual_page;
mod output;
mod predecessor;
mod public_key;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::arguments::{CommandLine, KeymakerCommand};
use crate::commands::change_key::{self, KeyChange};
use crate::commands::{CommandError, configure, list_keys, login, sync_roles, upload_key};
use crate::output::{Format, Output};

fn main() -> ExitCode {
    // Answers the shell and ends, where the shell asks for completions (COMPLETE is set).
    clap_complete::CompleteEnv::with_factory(CommandLine::command).complete();
    let arguments = arguments::command()
        .try_get_matches()
        .and_then(|matches| CommandLine::from_arg_matches(&matches))
        .unwrap_or_else(|error| not_understood(&error));
    let output = Output::new(if arguments.json { Format::Json } else { Format::Text });
    match run(&arguments, &output) {
        Ok(status) => status,
        Err(error) => {
            output.complain(&error);
            ExitCode::from(error.status())
        }
    }
}

fn run(arguments: &CommandLine, output: &Output) -> Result<ExitCode, CommandError> {
    let aws = &arguments.aws;
    let change =
        |change, key: &arguments::KeyOfUser| change_key::run(change, &key.id, key.whose.user.as_deref(), aws, output);
    match &arguments.command {
        KeymakerCommand::UploadKey {
            file,
            identity,
            as_tag,
            whose,
        } => {
            let file = file.as_deref().or(identity.as_deref());
            upload_key::run(file, *as_tag, whose.user.as_deref(), aws, output)?;
        }
        KeymakerCommand::ListKeys { whose } => list_keys::run(whose.user.as_deref(), aws, output)?,
        KeymakerCommand::EnableKey { key } => change(KeyChange::Enable, key)?,
        KeymakerCommand::DisableKey { key } => change(KeyChange::Disable, key)?,
        KeymakerCommand::DeleteKey { key, consent } => change(KeyChange::Delete(*consent), key)?,
        KeymakerCommand::Ssh { new, how, arguments } => login::ssh(*new, how, arguments, aws, output)?,
        KeymakerCommand::Login(options) => login::run(options, aws, output)?,
        KeymakerCommand::Configure(options) => configure::run(options, aws, output)?,
        KeymakerCommand::SyncRoles(options) => return Ok(status_of(sync_roles::run(options, aws, output)?)),
        #[cfg(all(target_os = "linux", feature = "host"))]
        KeymakerCommand::AssignUids(options) => {
            return Ok(status_of(commands::assign_uids::run(options, aws, output)?));
        }
        #[cfg(all(target_os = "linux", feature = "host"))]
        KeymakerCommand::Host(command) => return Ok(ExitCode::from(commands::host::run(command, output)?)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Help, which was asked for, or what is wrong with the command line.
fn not_understood(error: &clap::Error) -> ! {
    // If nobody reads, nobody is told.
    let _ = error.print();
    if let (true, Some(said)) = (error.use_stderr(), predecessor::said(std::env::args())) {
        let _ = writeln!(std::io::stderr(), "\n{said}");
    }
    std::process::exit(error.exit_code())
}

/// 0 where all is well, 1 where there is a finding, a closed gate, or somebody whose role was not made.
fn status_of(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
