//! `keymaker login` and `keymaker ssh`: a key with a certificate in which AWS says whose it is, for some minutes.
//!
//! Hosts take it where `login_by` in their keymakerd.toml has "proof". The key and the certificate lie in ~/.ssh/keymaker ([`place`]). Under a
//! lock: of many at once, one asks AWS ([`token`]).

mod caller;
mod error;
mod files;
mod instance;
mod last;
mod options;
mod place;
mod ssh;
mod ssh_config;
mod token;

use std::ffi::OsString;

use serde_json::json;

use super::CommandError;
use crate::aws::AwsOptions;
use crate::output::Output;
pub use error::LoginError;
pub use options::{HowToProve, LoginOptions};
use place::Place;

/// `keymaker login`.
pub fn run(options: &LoginOptions, aws: &AwsOptions, output: &Output) -> Result<(), CommandError> {
    let place = Place::of(&options.how, aws, options.place.as_deref())?;
    if let Some(pattern) = &options.ssh_config {
        let text = ssh_config::lines(pattern, &place, options, aws)?;
        output.print(&text, &json!({ "ssh_config": text }));
        return Ok(());
    }
    let left = place.ready(options.if_needed, &options.how, aws)?;
    left.remark(output);
    if options.agent {
        place.give_to_agent(left.seconds)?;
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

/// `keymaker ssh`: becomes ssh.
pub fn ssh(
    new: bool,
    how: &HowToProve,
    arguments: &[OsString],
    aws: &AwsOptions,
    output: &Output,
) -> Result<(), CommandError> {
    Ok(ssh::run(new, how, arguments, aws, output)?)
}
