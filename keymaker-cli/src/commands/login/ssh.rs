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
    let host = destination(arguments).ok_or(LoginError::NoHost)?;
    let host = host.rsplit('@').next().unwrap_or(host);
    let instance = InstanceId::parse(host);
    let mut how = how.clone();
    how.host = how.host.or_else(|| instance.map(|instance| instance.0.to_owned()));
    let way = match instance {
        Some(instance) if !knows_a_way(arguments) => Some(Way::found(instance)?),
        _ => None,
    };
    let place = Place::of(&how, aws)?;
    place.ready(true, &how, aws)?;
    let mut ssh = Command::new("ssh");
    // ssh takes the certificate beside the key.
    ssh.arg("-i").arg(&place.key).args(["-o", "IdentitiesOnly=yes"]);
    if let (Some(way), Some(instance)) = (way, instance) {
        ssh.arg("-o").arg(way.proxy_command(instance));
        // The AWS CLI goes the same way to AWS as the token did; in a command line the shell would read the name.
        for (variable, value) in [("AWS_PROFILE", &aws.profile), ("AWS_REGION", &aws.region)] {
            ssh.envs(value.iter().map(|value| (variable, value)));
        }
    }
    let error = ssh.args(arguments).exec();
    Err(LoginError::NoProgram("ssh", error).into())
}

/// An instance's id: what it is made of a shell reads as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceId<'a>(&'a str);

impl<'a> InstanceId<'a> {
    /// `i-` and 8 or 17 digits (EC2 User Guide, "Resource IDs").
    pub fn parse(text: &'a str) -> Option<Self> {
        let digits = text.strip_prefix("i-")?;
        let is_one = [8, 17].contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_one.then_some(Self(text))
    }
}

/// How an instance is reached by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    SessionManager,
    InstanceConnectEndpoint,
}

impl Way {
    fn found(instance: InstanceId<'_>) -> Result<Self, LoginError> {
        let none = || LoginError::NoWay(instance.0.to_owned());
        let version = Command::new("aws").arg("--version").output().map_err(|_| none())?;
        let plugin = Command::new("session-manager-plugin").output();
        match plugin {
            Ok(_) => Ok(Self::SessionManager),
            // Version 1 opens no tunnel.
            Err(_) if version.stdout.starts_with(b"aws-cli/1") || !version.status.success() => Err(none()),
            Err(_) => Ok(Self::InstanceConnectEndpoint),
        }
    }

    fn proxy_command(self, InstanceId(id): InstanceId<'_>) -> String {
        match self {
            Self::SessionManager => format!(
                "ProxyCommand=aws ssm start-session --target {id} --document-name AWS-StartSSHSession --parameters portNumber=%p"
            ),
            Self::InstanceConnectEndpoint => {
                format!("ProxyCommand=aws ec2-instance-connect open-tunnel --instance-id {id} --remote-port %p")
            }
        }
    }
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

    #[test]
    fn an_instances_id_is_told_from_a_host_of_that_name_and_holds_nothing_for_a_shell() {
        for id in ["i-01234567", "i-0123456789abcdef0"] {
            assert_eq!(InstanceId::parse(id), Some(InstanceId(id)));
        }
        for other in [
            "i-",
            "i-am-a-host",
            "i-0123456",
            "i-0123456789ABCDEF0",
            "mi-01234567",
            "i-0123456;",
            "i-$(id)45",
        ] {
            assert_eq!(InstanceId::parse(other), None, "{other}");
        }
        let id = InstanceId::parse("i-01234567").unwrap();
        for way in [Way::SessionManager, Way::InstanceConnectEndpoint] {
            // What a server or a URL chose would stand in a command (CVE-2026-35386).
            assert!(!way.proxy_command(id).contains("%h"));
        }
    }
}
