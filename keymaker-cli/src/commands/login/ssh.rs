//! `keymaker ssh`: sees to a proof, and becomes ssh.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::place::Place;
use super::{HowToProve, LoginError};
use crate::aws::AwsOptions;
use crate::commands::CommandError;

/// `keymaker ssh`: becomes ssh.
pub fn ssh(how: &HowToProve, arguments: &[OsString], aws: &AwsOptions) -> Result<(), CommandError> {
    let instance = destination(arguments).ok_or(LoginError::NoHost)?;
    let instance = instance.rsplit('@').next().filter(|host| host.starts_with("i-"));
    let place = Place::of(how, instance, aws)?;
    place.ready(true, how, instance, aws)?;
    let mut ssh = Command::new("ssh");
    // ssh takes the certificate beside the key.
    ssh.arg("-i").arg(&place.key).args(["-o", "IdentitiesOnly=yes"]);
    if instance.is_some() {
        ssh.args(["-o", SESSION_MANAGER]);
    }
    let error = ssh.args(arguments).exec();
    Err(LoginError::NoProgram("ssh", error).into())
}

/// The host among ssh's arguments, with the user before it.
fn destination(arguments: &[OsString]) -> Option<&str> {
    let mut arguments = arguments.iter().map(|argument| argument.to_str());
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        let Some(options) = argument.strip_prefix('-') else {
            return Some(argument.strip_prefix("ssh://").unwrap_or(argument));
        };
        // Letters may be written together; one that takes a value has the rest, or the next argument.
        match options.find(|letter| TAKES_A_VALUE.contains(letter)) {
            Some(at) if at + 1 == options.len() => drop(arguments.next()),
            _ if options == "-" => return arguments.next().flatten(),
            _ => {}
        }
    }
    None
}

/// ssh(1).
const TAKES_A_VALUE: &str = "BbcDEeFIiJLlmOoPpQRSWw";
const SESSION_MANAGER: &str =
    "ProxyCommand=aws ssm start-session --target %h --document-name AWS-StartSSHSession --parameters portNumber=%p";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &str) -> Vec<OsString> {
        words.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_host_is_found_among_sshs_arguments() {
        for (arguments, host) in [
            ("h", "h"),
            ("-v h ls -l", "h"),
            ("-p 22 alice@i-1 id", "alice@i-1"),
            ("-p22 h", "h"),
            ("-vvp 22 h", "h"),
            ("-o User=x -J a,b -i f h", "h"),
            ("-- h", "h"),
            ("ssh://alice@h", "alice@h"),
        ] {
            assert_eq!(destination(&words(arguments)), Some(host), "{arguments}");
        }
        assert_eq!(destination(&words("-v")), None);
        assert_eq!(destination(&[]), None);
    }
}
