//! `keymaker login` and `keymaker ssh`: a key with a certificate in which AWS says whose it is, for some minutes.
//!
//! Hosts take it where login_by in their keymakerd.toml has "proof". The key and the certificate lie in ~/.ssh/keymaker ([`place`]). Under a
//! lock: of many at once, one asks AWS ([`token`]).

#![expect(clippy::doc_markdown, reason = "clap prints these comments, in help and manual")]

mod place;
mod ssh;
mod ssh_config;
mod token;

use std::io;
use std::path::PathBuf;
use std::process::Command;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::CommandError;
use crate::aws::AwsOptions;
use crate::output::Output;
use place::{Place, finished};
pub use ssh::ssh;

/// What the command line says.
#[derive(Args, Clone, Debug, Default)]
pub struct LoginOptions {
    /// Do nothing while the present proof has a minute left.
    #[arg(long)]
    pub if_needed: bool,
    /// Give the certificate to the SSH agent too, for as long as it holds. The agent then shows it to every server that you visit.
    #[arg(long)]
    pub agent: bool,
    /// Print lines for ~/.ssh/config by which ssh, scp, rsync, git and Ansible log in so to the hosts of this pattern.
    #[arg(long, value_name = "PATTERN")]
    pub ssh_config: Option<String>,
    #[command(flatten)]
    pub how: HowToProve,
}

/// How a proof is made.
#[derive(Args, Clone, Debug, Default)]
pub struct HowToProve {
    /// The type of the key.
    #[arg(long, value_enum, default_value_t)]
    pub key_type: ProofKeyType,
    /// For whom the proof is: login_audience of the hosts, where their keymakerd.toml says so.
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,
    /// Ask for a proof that opens this instance alone, i-…; a host whose name is such an id needs no word of it.
    #[arg(long, value_name = "INSTANCE", value_parser = instance_id)]
    pub host: Option<String>,
}

/// The types of key that a proof may be for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProofKeyType {
    /// Ed25519
    #[default]
    Ed25519,
    /// ECDSA on P-256, where FIPS 140 rules
    Ecdsa,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("HOME is not set, so there is no place for ~/.ssh/keymaker")]
    NoHome,
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error("{0} cannot be run ({1}): install OpenSSH's client")]
    NoProgram(&'static str, io::Error),
    #[error("{0} failed: {1}")]
    Program(&'static str, String),
    #[error(
        "this account makes no tokens: its administrator turns that on by 'keymaker configure --logins', or by \
         'aws iam enable-outbound-web-identity-federation'"
    )]
    FederationOff,
    #[error(
        "you may not ask AWS for a token ({0}): ask for a policy that allows sts:GetWebIdentityToken and sts:TagGetWebIdentityToken, such as \
         KeymakerLogins of 'keymaker configure --logins'; if you have it, sign in with your second factor"
    )]
    MayNotAsk(String),
    #[error(
        "you may ask AWS for a token, but not for one with tags ({0}): ask for a policy that allows sts:TagGetWebIdentityToken"
    )]
    MayNotTag(String),
    #[error(
        "your AWS session has ended ({0}): sign in again, by 'aws sso login' or 'aws login', or renew your access key"
    )]
    SessionEnded(String),
    #[error("AWS's token would be too large ({0}): have fewer tags put on your user or session")]
    TooLarge(String),
    #[error(
        "no credentials of 'aws login' can be read by this program: 'eval \"$(aws configure export-credentials --format env)\"' hands them over, as \
         does credential_process in ~/.aws/config, or take a newer keymaker ({0})"
    )]
    TooOld(String),
    #[error(
        "this STS does not know tokens ({0}): choose a region's own with --region, for the global one has none, or another --endpoint-url"
    )]
    NoSuchCall(String),
    #[error("AWS answered with something that is no token")]
    NoToken,
    #[error("{0:?} cannot stand in ~/.ssh/config: use letters, digits and any of *?.,!:@_-")]
    NotAPattern(String),
    #[error("name a host: keymaker ssh HOST")]
    NoHost,
    #[error(
        "{0} cannot be reached by its id: install version 2 of the AWS CLI, for an EC2 Instance Connect endpoint, and Session Manager's plugin, for \
         Session Manager. Or say how to get there, by -o ProxyCommand=… or in ~/.ssh/config, or name the host: keymaker ssh --host {0} HOST"
    )]
    NoWay(String),
}

fn instance_id(text: &str) -> Result<String, String> {
    let id = ssh::InstanceId::parse(text).map(|_| text.to_owned());
    id.ok_or_else(|| "write an instance's id, such as i-0123456789abcdef0".to_owned())
}

/// `keymaker login`.
pub fn run(options: &LoginOptions, aws: &AwsOptions, output: &Output) -> Result<(), CommandError> {
    let place = Place::of(&options.how, aws)?;
    if let Some(pattern) = &options.ssh_config {
        let text = ssh_config::lines(pattern, &place, options, aws)?;
        output.print(&text, &json!({ "ssh_config": text }));
        return Ok(());
    }
    let left = place.ready(options.if_needed, &options.how, aws)?;
    if options.agent {
        into_agent(&place, left.seconds)?;
    }
    if !(options.if_needed && left.kept) {
        let certificate = place.certificate();
        let text = format!(
            "For {} seconds hosts that take proofs let you in: keymaker ssh HOST, or ssh -i {} HOST",
            left.seconds,
            place.key.display()
        );
        output.print(
            &text,
            &json!({ "seconds": left.seconds, "key": place.key, "certificate": certificate }),
        );
    }
    Ok(())
}

fn into_agent(place: &Place, seconds: u64) -> Result<(), LoginError> {
    // The certificate alone: an agent that knows no -C, or no lifetime, refuses.
    let run = Command::new("ssh-add")
        .args(["-q", "-C", "-t", &seconds.to_string()])
        .arg(&place.key)
        .output();
    finished("ssh-add", run)
}
