//! `keymaker ssh`: sees to a proof, and becomes ssh.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::error::LoginError;
use super::instance::{InstanceId, WayToInstance};
use super::options::HowToProve;
use super::place::Place;
use crate::aws::AwsOptions;

/// Becomes ssh. What ssh ends with is the user's, so nothing here learns that a host has refused the token: they say it with `new`.
pub fn run(new: bool, how: &HowToProve, arguments: &[OsString], aws: &AwsOptions) -> Result<(), LoginError> {
    let host = destination(arguments).ok_or(LoginError::NoHost)?;
    let host = host.rsplit('@').next().unwrap_or(host);
    let instance = InstanceId::parse(host);
    let mut how = how.clone();
    how.host = how
        .host
        .or_else(|| instance.map(|instance| instance.as_str().to_owned()));
    let way = match instance {
        Some(instance) if !knows_a_way(arguments) => Some(WayToInstance::found(instance)?),
        _ => None,
    };
    let place = Place::of(&how, aws)?;
    place.ready(!new, &how, aws)?;
    let mut ssh = Command::new("ssh");
    // ssh takes the certificate beside the key.
    ssh.arg("-i").arg(&place.key).args(["-o", "IdentitiesOnly=yes"]);
    // Whoever is root where an agent is forwarded to could log in elsewhere with what is in it.
    ssh.args(["-o", "AddKeysToAgent=no"]);
    if let (Some(way), Some(instance)) = (way, instance) {
        ssh.arg("-o").arg(way.proxy_command(instance));
        // The AWS CLI goes the same way to AWS as the token did; in a command line the shell would read the name.
        for (variable, value) in [("AWS_PROFILE", &aws.profile), ("AWS_REGION", &aws.region)] {
            ssh.envs(value.iter().map(|value| (variable, value)));
        }
    }
    let error = ssh.args(arguments).exec();
    Err(LoginError::NoProgram("ssh", error))
}

/// Whether the user has said how to get there, on the command line or in ~/.ssh/config.
fn knows_a_way(arguments: &[OsString]) -> bool {
    let Ok(answer) = Command::new("ssh").arg("-G").args(arguments).output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&answer.stdout);
    let says = |name: &str| {
        text.lines()
            .any(|line| line.strip_prefix(name).is_some_and(|value| value != " none"))
    };
    says("proxycommand") || says("proxyjump")
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
