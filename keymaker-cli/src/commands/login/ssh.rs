//! `keymaker ssh`: sees to a proof, and becomes ssh.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::error::LoginError;
use super::instance::{InstanceId, WayToInstance};
use super::options::HowToProve;
use super::place::Place;
use crate::aws::AwsOptions;
use crate::output::Output;

/// Becomes ssh. What ssh ends with is the user's, so nothing here learns that a host has refused the token: they say it with `new`.
pub fn run(
    new: bool,
    how: &HowToProve,
    arguments: &[OsString],
    aws: &AwsOptions,
    output: &Output,
) -> Result<(), LoginError> {
    let arguments = &with_the_end_of_options(arguments, std::env::args_os());
    let host = host_of(destination(arguments).ok_or(LoginError::NoHost)?);
    let instance = InstanceId::parse(&host);
    let mut how = how.clone();
    how.host = how
        .host
        .or_else(|| instance.map(|instance| instance.as_str().to_owned()));
    let way = match instance {
        Some(instance) if !knows_a_way(arguments) => Some(WayToInstance::found(instance)?),
        _ => None,
    };
    let place = Place::of(&how, aws, None)?;
    place.ready(!new, &how, aws)?.remark(output);
    let mut ssh = Command::new("ssh");
    // ssh takes the certificate beside the key by itself, but where ~/.ssh/config names another.
    let certificate = format!("CertificateFile=\"{}\"", place.certificate().display());
    ssh.arg("-i")
        .arg(&place.key)
        .args(["-o", &certificate, "-o", "IdentitiesOnly=yes"]);
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

/// ssh's arguments with the `--` before them that clap has taken for its own: what follows one is never an option.
fn with_the_end_of_options(arguments: &[OsString], typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let ends = |word: &OsString| word == "--";
    let is_gone = typed.filter(ends).count() > arguments.iter().filter(|word| ends(word)).count();
    let end = is_gone.then(|| OsString::from("--"));
    end.into_iter().chain(arguments.iter().cloned()).collect()
}

/// The host of a destination, as ssh takes it from `user@host` and from `ssh://user@host:port`: an instance's id is told from it, so that
/// its token is for that instance however it is written.
fn host_of(destination: &str) -> String {
    let (host, is_url) = match destination.strip_prefix("ssh://") {
        Some(rest) => (rest, true),
        None => (destination, false),
    };
    let host = host.rsplit('@').next().unwrap_or(host);
    let host = if is_url {
        host.split(['/', ':']).next().unwrap_or(host)
    } else {
        host
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// The destination among ssh's arguments, with the user before it.
fn destination(arguments: &[OsString]) -> Option<&str> {
    let mut arguments = arguments.iter().map(|argument| argument.to_str());
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        let Some(options) = argument.strip_prefix('-') else {
            return Some(argument);
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
            ("ssh://alice@h", "ssh://alice@h"),
        ] {
            assert_eq!(destination(&words(arguments)), Some(host), "{arguments}");
        }
        for written in [
            "i-01234567",
            "alice@i-01234567",
            "ssh://alice@i-01234567:22",
            "ssh://i-01234567/",
            "i-01234567.",
            "I-01234567",
            "a@b@i-01234567",
        ] {
            assert_eq!(host_of(written), "i-01234567", "{written}");
        }
        assert_eq!(destination(&words("-v")), None);
        assert_eq!(destination(&[]), None);
    }

    #[test]
    fn what_follows_two_hyphens_is_no_option_of_sshs() {
        let handed =
            |typed: &str, arguments: &str| with_the_end_of_options(&words(arguments), words(typed).into_iter());
        assert_eq!(
            handed("keymaker ssh -- -oX=y uptime", "-oX=y uptime"),
            words("-- -oX=y uptime")
        );
        assert_eq!(destination(&words("-- -oX=y uptime")), Some("-oX=y"));
        for kept in ["-v -- h", "h -- -x"] {
            assert_eq!(handed(&format!("keymaker ssh {kept}"), kept), words(kept));
        }
        assert_eq!(handed("keymaker ssh -- h -- x", "h -- x"), words("-- h -- x"));
    }
}
