//! An instance by its id: what one is, and how ssh gets there by the user's own tools.

use std::process::Command;

use super::error::LoginError;

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

    /// As it was written.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// How an instance is reached by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayToInstance {
    SessionManager,
    InstanceConnectEndpoint,
}

impl WayToInstance {
    /// Of the tools that the user has.
    pub fn found(instance: InstanceId<'_>) -> Result<Self, LoginError> {
        let none = || LoginError::NoWay(instance.0.to_owned());
        let version = Command::new("aws").arg("--version").output().map_err(|_| none())?;
        // Run alone, the plugin says that it is installed, and ends.
        if Command::new("session-manager-plugin").output().is_ok() {
            return Ok(Self::SessionManager);
        }
        // Version 1 opens no tunnel; some of it say who they are on standard error.
        let is_first = [&version.stdout, &version.stderr]
            .iter()
            .any(|said| said.starts_with(b"aws-cli/1"));
        let opens_tunnels = version.status.success() && !is_first;
        opens_tunnels.then_some(Self::InstanceConnectEndpoint).ok_or_else(none)
    }

    /// For ssh, which puts the port in.
    pub fn proxy_command(self, InstanceId(id): InstanceId<'_>) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        for way in [WayToInstance::SessionManager, WayToInstance::InstanceConnectEndpoint] {
            // What a server or a URL chose would stand in a command (CVE-2026-35386).
            assert!(!way.proxy_command(id).contains("%h"));
        }
    }
}
