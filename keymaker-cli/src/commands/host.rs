//! The commands that look after a host, one file each. Linux only.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, in help and manual")]

mod backup;
pub mod capture;
pub mod debug_bundle;
pub mod doctor;
mod error;
pub mod get;
pub mod install;
mod link_home;
pub mod log_level;
pub mod migrate;
pub mod order;
mod probe;
pub mod published;
pub mod release;
mod remedy;
pub mod reset;
pub mod status;
pub mod status_check;
pub mod who_was;
pub mod why;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use keymaker_core::name::UserName;
use keymaker_core::protocol::Question;

use crate::completion;
use crate::consent::Consent;
use crate::output::Output;

pub use error::HostError;

/// What can be asked and ordered about this host.
#[derive(Subcommand, Debug)]
pub enum HostCommand {
    /// Show what this host knows of IAM, and what keeps it from knowing more.
    Status {
        /// One line for monitoring, and the exit status of its plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
        ///
        /// CRITICAL: keymakerd does not answer, nobody from IAM may log in, or half of max_stale has passed since IAM
        /// answered everything. WARNING: IAM has not answered everything for 20 minutes, an action is denied or does not answer,
        /// a settings file has a mistake, a setting waits for accept-settings, or no user from IAM is known. Behind `|` stand figures.
        #[arg(long)]
        check: bool,
    },
    /// Show how much keymakerd and credd write to the journal, or change it until they are restarted. (root)
    ///
    /// At debug each request is written: who asked what, which of AWS's answers and of credd's methods it met, and what
    /// was answered. 'journalctl -f -u keymakerd -u credd' beside it is the trace of one request. No secret is written
    /// at any level.
    LogLevel {
        /// The level; without it, nothing is changed.
        #[arg(value_enum)]
        level: Option<log_level::LogLevelWord>,
    },
    /// Put what somebody who helps needs to see into a .tar.gz that only you can read. (root)
    ///
    /// Status, findings, settings, the journal and the states of our units, versions, metrics, and our lines in
    /// nsswitch.conf, PAM's stacks and sshd's settings. Passwords, keys and tokens are left out; names of users, their
    /// addresses and what they did are in it. Look through it before you hand it on.
    DebugBundle {
        /// The file to make, which must not be there yet. Default: keymaker-debug-TIME.tar.gz in this folder.
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Ask IAM about everybody at once. (root)
    #[command(alias = "sync_groups")]
    Sync,
    /// Let the next login of USER, or of everybody, ask IAM, however fresh the facts are. (root)
    Invalidate {
        /// A login name; without one, everybody.
        #[arg(add = ArgValueCompleter::new(completion::users))]
        user: Option<String>,
    },
    /// Let no proof that was made until now open a login, whatever time it has left: of USER, or of everybody. Sessions go on.
    /// (root)
    RevokeProofs {
        /// A login name; without one, everybody.
        #[arg(add = ArgValueCompleter::new(completion::users))]
        user: Option<String>,
    },
    /// Accept changes of settings that are held back: in the role's description, and lines removed from
    /// keymakerd.toml. (root)
    AcceptSettings,
    /// Hand a name over to the IAM user who currently has it, and move the former user's home to NAME.OLDUID. (root)
    Release {
        /// A login name.
        #[arg(add = ArgValueCompleter::new(completion::users))]
        name: String,
    },
    /// Make a link at the former home of a user whom IAM has renamed, to where the home is now. (root)
    ///
    /// None is made by itself: 'chown -R OLD: /home/OLD/' for somebody of that name would change the other's files. So it
    /// is made only while OLD is nobody's name, and 'keymaker release OLD' takes it away; nobody from IAM who gets the name
    /// logs in before that. 'useradd -m OLD' leaves the link, makes no home and copies nothing: remove the link first. 'keymaker
    /// doctor' finds one whose name is taken.
    LinkHome {
        /// The former name.
        old: String,
    },
    /// Say whose a user or group id is or was on this host; only root is told of former groups, and of users who were never here.
    WhoWas {
        /// A user or group id, such as `ls -n` shows it.
        #[arg(value_name = "ID")]
        uid: u32,
    },
    /// Show each gate between USER and a shell, with its evidence; the first closed one is the answer.
    ///
    /// Exit status: 0 if the user may log in, as far as can be told, 1 if not. As root it asks what a login asks: sshd for
    /// its settings, the command that gives sshd keys, and PAM's account stack, in a copy of it that has only the modules
    /// that look and change nothing. PAM opens no session, logs nothing and counts nothing. What hangs on where a login
    /// comes from is untold without --from.
    Why {
        /// A login name.
        #[arg(add = ArgValueCompleter::new(completion::users))]
        user: String,
        /// The address that the login comes from: sshd's Match Address and Host, AllowUsers user@host, and pam_access go by
        /// it.
        #[arg(long, value_name = "ADDRESS")]
        from: Option<IpAddr>,
        /// The certificate that the user would log in with by proof, as 'keymaker login' writes it (…-cert.pub): each gate for it, in
        /// the verifier's order. Nothing of the token is printed but its name, its key, whose it is and its times.
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
    },
    /// Look for anything that keeps IAM users from logging in, or lets in somebody whom it should not, and say what
    /// to do about it. (root)
    ///
    /// What one cause explains is one finding. Exit status: 0 if there is no finding, 1 if there is one, 2 if something
    /// could not be looked at and nothing else was found. Notes do not count as findings. It takes at most 10 seconds.
    ///
    /// --fix asks, for each finding, whether to run what corrects it, and looks once more. It runs what starts, restarts and
    /// enables services, gives files back to root and has keymakerd ask IAM; what deletes or edits something, or needs
    /// rights in AWS, it leaves to you.
    Doctor {
        /// Ask for each finding whether to run its remedy; at a terminal only.
        #[arg(long)]
        fix: bool,
    },
    /// Enable Keymaker on this host: the step that the rpms leave to you, or a build without packages. (root)
    ///
    /// The packages for Debian leave no step. Where authselect writes nsswitch.conf and the PAM stacks, this selects a
    /// profile named custom/keymaker: a copy of the selected one, with its features and with Keymaker's lines. Run it
    /// again after another profile was selected ('keymaker doctor' says so), or after an upgrade of authselect brought
    /// a new version of the former one.
    Install {
        /// The folder of a build, such as target/release: modules, programs, units, users and drop-ins are put in
        /// place.
        #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        from: Option<PathBuf>,
    },
    /// Take back what 'keymaker install' did: authselect's former profile is selected again, and what '--from' put in
    /// place is removed. Homes stay. (root)
    Uninstall {
        #[command(flatten)]
        consent: Consent,
    },
    /// Take over from the Python keymaker and from ec2userkeyd: what they changed is undone, uids and homes stay; if
    /// a step fails, everything is put back. (root)
    ///
    /// A backup of the host before it is kept: BACKUPS.
    Migrate {
        /// Print what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        consent: Consent,
        /// Lock the local accounts that the Python keymaker seems to have made for people whom IAM does not have.
        #[arg(long)]
        lock_departed: bool,
        /// Print the settings of ec2userkeyd in FILE as a credd.toml that says what could not be carried over, and do
        /// nothing. (no root needed)
        #[arg(long, value_name = "FILE", conflicts_with = "dry_run", value_hint = clap::ValueHint::FilePath)]
        ec2userkeyd: Option<PathBuf>,
    },
    /// Turn each user's own AWS credentials on or off, or show their state.
    #[command(subcommand)]
    Capture(capture::CaptureCommand),
    /// Forget users, ids and settings, and stay idle: the last step before this host becomes an image. (root)
    ///
    /// A backup of ids and settings is kept first: BACKUPS.
    Reset {
        #[command(flatten)]
        consent: Consent,
        /// Keep no backup: an image would carry it, and the names of this host's users with it.
        #[arg(long)]
        no_backup: bool,
    },
    /// Print the lines that sshd is shown for USER. (root)
    #[command(alias = "get_authorized_keys")]
    GetAuthorizedKeys {
        /// A login name.
        #[arg(add = ArgValueCompleter::new(completion::users))]
        user: String,
    },
    /// Print the user id of USER on this host.
    #[command(alias = "get_uid")]
    GetUid {
        /// A login name.
        #[arg(add = ArgValueCompleter::new(completion::users))]
        user: String,
    },
    /// Print the Unix groups of USER that come from IAM.
    #[command(alias = "get_groups")]
    GetGroups {
        /// A login name.
        #[arg(add = ArgValueCompleter::new(completion::users))]
        user: String,
    },
}

/// Runs the command; returns the exit status: 1 where what it looked at is not well.
pub fn run(command: &HostCommand, output: &Output) -> Result<u8, HostError> {
    match command {
        HostCommand::Status { check: true } => Ok(status_check::run(output)),
        other => is_well(other, output).map(|well| u8::from(!well)),
    }
}

fn is_well(command: &HostCommand, output: &Output) -> Result<bool, HostError> {
    // What these commands make, every user of the host must be able to read and nobody else to write, whatever root's
    // own files are like.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    match command {
        HostCommand::Status { .. } => status::run(output)?,
        HostCommand::LogLevel { level } => log_level::run(*level, output)?,
        HostCommand::DebugBundle { output: file } => debug_bundle::run(file.as_deref(), output)?,
        HostCommand::Sync => order::run(Question::Sync, output)?,
        HostCommand::Invalidate { user } => {
            let user = user.as_deref().map(login_name).transpose()?;
            order::run(Question::Invalidate(user), output)?;
        }
        HostCommand::RevokeProofs { user } => {
            let user = user.as_deref().map(login_name).transpose()?;
            order::run(Question::RevokeProofs(user), output)?;
        }
        HostCommand::AcceptSettings => order::run(Question::AcceptSettings, output)?,
        HostCommand::Release { name } => release::run(login_name(name)?, output)?,
        HostCommand::LinkHome { old } => link_home::run(login_name(old)?, output)?,
        HostCommand::WhoWas { uid } => who_was::run(*uid, output)?,
        HostCommand::Reset { consent, no_backup } => reset::run(*consent, *no_backup, output)?,
        HostCommand::GetAuthorizedKeys { user } => get::authorized_keys(login_name(user)?, output)?,
        HostCommand::GetUid { user } => get::uid(login_name(user)?, output)?,
        HostCommand::GetGroups { user } => get::groups(login_name(user)?, output)?,
        HostCommand::Install { from } => install::install(from.as_deref(), output)?,
        HostCommand::Uninstall { consent } => install::uninstall(*consent, output)?,
        HostCommand::Migrate {
            ec2userkeyd: Some(file),
            ..
        } => migrate::show(file, output)?,
        HostCommand::Migrate {
            dry_run,
            consent,
            lock_departed,
            ..
        } => migrate::run((!dry_run).then_some(*consent), *lock_departed, output)?,
        HostCommand::Capture(what) => return capture::run(*what, output),
        HostCommand::Why { user, from, proof } => return why::run(user, *from, proof.as_deref(), output),
        HostCommand::Doctor { fix } => return doctor::run(*fix, output),
    }
    Ok(true)
}

fn login_name(text: &str) -> Result<UserName, HostError> {
    UserName::parse(text.as_bytes()).map_err(|why| HostError::NotAName(text.to_owned(), why))
}
