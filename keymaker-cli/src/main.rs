//! The keymaker command: what administrators of a host ask and order.
//!
//! `main` reads the command line; each command is a file in `commands`. Exit status: 0 done, 1 not done, 2 wrong usage.

mod commands;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use keymaker_core::name::UserName;

use crate::output::{Format, Output};

/// Joins this host's logins to AWS IAM: what it knows, and orders to it.
#[derive(Parser)]
#[command(name = "keymaker", version, propagate_version = true)]
pub struct Arguments {
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what this host knows of IAM, and what keeps it from knowing more.
    Status,
    /// Ask IAM about everybody, now. (root)
    Sync,
    /// Let the next login of USER, or of everybody, ask IAM, however fresh the facts are. (root)
    Invalidate {
        /// A login name; without one, everybody.
        user: Option<String>,
    },
    /// Let the changed settings of the role's description apply that are held back. (root)
    AcceptSettings,
    /// Hand a name over to the IAM user who has it now, and move the former one's home to NAME.OLDUID. (root)
    Release {
        /// A login name.
        name: String,
    },
    /// Say whose a user id is or was on this host.
    WhoWas {
        /// A user id, such as `ls -n` shows it.
        uid: u32,
    },
    /// Forget users, ids and settings, and rest: the last step before this host becomes an image. (root)
    Reset,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(if arguments.json { Format::Json } else { Format::Text });
    let outcome = run(&arguments.command, &output);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command, output: &Output) -> Result<(), commands::CommandError> {
    use keymaker_core::protocol::Question;
    match command {
        Command::Status => commands::status::run(output),
        Command::Sync => commands::order::run(Question::Sync, output),
        Command::Invalidate { user } => {
            let user = user.as_deref().map(login_name).transpose()?;
            commands::order::run(Question::Invalidate(user), output)
        }
        Command::AcceptSettings => commands::order::run(Question::AcceptSettings, output),
        Command::Release { name } => commands::release::run(login_name(name)?, output),
        Command::WhoWas { uid } => commands::who_was::run(*uid, output),
        Command::Reset => commands::order::run(Question::Reset, output),
    }
}

fn login_name(text: &str) -> Result<UserName, commands::CommandError> {
    UserName::parse(text.as_bytes()).map_err(|why| commands::CommandError::NotAName(text.to_owned(), why))
}
