//! The parts of AWS's names for principals that Keymaker builds on: partition, account, role. Read from
//! `GetCallerIdentity` and from settings, parsed here once. Never builds an ARN from a part that was not checked.
//!
//! Formats: AWS General Reference, "Amazon Resource Names"; IAM User Guide, "IAM identifiers" and "IAM and STS quotas".

use std::fmt;
use std::str::FromStr;

/// Who AWS says we are: the answer of sts:GetCallerIdentity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// `aws`, `aws-cn`, `aws-us-gov` …
    pub partition: Partition,
    /// The account that the credentials belong to.
    pub account: AccountId,
    /// What kind of principal it is.
    pub principal: Principal,
}

/// The principal kinds that can run Keymaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// `assumed-role/ROLE/SESSION`. STS drops the role's path here; only iam:GetRole knows it.
    AssumedRole {
        /// The role's name without its path.
        role_name: String,
        /// The role session name; on EC2 the instance id.
        role_session_name: String,
    },
    /// `user/PATH/NAME`: an IAM user, as on an administrator's computer.
    User {
        /// The user's name without the path.
        iam_user_name: String,
    },
    /// `root`, `federated-user/…` and whatever else AWS may answer.
    Other(String),
}

impl CallerIdentity {
    /// Reads the ARN of a `GetCallerIdentity` answer, such as `arn:aws:sts::123456789012:assumed-role/web/i-0abc`.
    pub fn from_arn(arn: &str) -> Result<Self, ArnError> {
        let (partition, account, resource) = split(arn)?;
        let unreadable = || ArnError::Unreadable(arn.to_owned());
        let principal = match resource.split_once('/') {
            Some(("assumed-role", rest)) => {
                let (role_name, role_session_name) = rest.split_once('/').ok_or_else(unreadable)?;
                check_role_name(role_name).ok_or_else(unreadable)?;
                Principal::AssumedRole {
                    role_name: role_name.to_owned(),
                    role_session_name: role_session_name.to_owned(),
                }
            }
            Some(("user", rest)) => {
                let iam_user_name = rest
                    .rsplit('/')
                    .next()
                    .filter(|name| !name.is_empty())
                    .ok_or_else(unreadable)?;
                Principal::User {
                    iam_user_name: iam_user_name.to_owned(),
                }
            }
            _ => Principal::Other(resource.to_owned()),
        };
        Ok(Self {
            partition,
            account,
            principal,
        })
    }
}

/// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleArn {
    partition: Partition,
    account: AccountId,
    path: String,
    name: String,
}

impl RoleArn {
    /// Puts an ARN together. `path` is `/` or `/some/path/`.
    pub fn new(partition: Partition, account: AccountId, path: &str, name: &str) -> Result<Self, ArnError> {
        let whole = || ArnError::Unreadable(format!("arn:{partition}:iam::{account}:role{path}{name}"));
        check_role_name(name).ok_or_else(whole)?;
        check_path(path).ok_or_else(whole)?;
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            partition,
            account,
        })
    }

    /// The partition.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// `/` or `/some/path/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name without the path.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for RoleArn {
    type Err = ArnError;

    fn from_str(arn: &str) -> Result<Self, ArnError> {
        let (partition, account, resource) = split(arn)?;
        let rest = resource
            .strip_prefix("role")
            .ok_or_else(|| ArnError::Unreadable(arn.to_owned()))?;
        let name_at = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, name) = rest.split_at(name_at);
        Self::new(partition, account, path, name)
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "arn:{}:iam::{}:role{}{}",
            self.partition, self.account, self.path, self.name
        )
    }
}

/// A partition's name as it stands in ARNs: `aws`, `aws-cn`, `aws-us-gov`, `aws-iso` …
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition(String);

impl FromStr for Partition {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let legal = text.starts_with("aws") && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        legal
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| ArnError::NoPartition(text.to_owned()))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account's number: exactly twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountId(String);

impl AccountId {
    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let legal = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        legal
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| ArnError::NoAccount(text.to_owned()))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a name of AWS's could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArnError {
    /// "'…' is not the ARN of a role or caller; write it as `arn:PARTITION:iam::ACCOUNT:role/NAME`."
    Unreadable(String),
    /// "'…' is not an AWS account number; write its twelve digits without dashes."
    NoAccount(String),
    /// "'…' is not an AWS partition; write aws, aws-cn or aws-us-gov."
    NoPartition(String),
}

impl fmt::Display for ArnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) => write!(
                f,
                "{text:?} is not the ARN of a role or caller; write it as arn:PARTITION:iam::ACCOUNT:role/NAME"
            ),
            Self::NoAccount(text) => {
                write!(
                    f,
                    "{text:?} is not an AWS account number; write its twelve digits without dashes"
                )
            }
            Self::NoPartition(text) => {
                write!(f, "{text:?} is not an AWS partition; write aws, aws-cn or aws-us-gov")
            }
        }
    }
}

impl std::error::Error for ArnError {}

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE` → partition, account, resource; service iam or sts only.
fn split(arn: &str) -> Result<(Partition, AccountId, &str), ArnError> {
    let mut parts = arn.splitn(6, ':');
    match (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) {
        (Some("arn"), Some(partition), Some("iam" | "sts"), Some(""), Some(account), Some(resource)) => {
            Ok((partition.parse()?, account.parse()?, resource))
        }
        _ => Err(ArnError::Unreadable(arn.to_owned())),
    }
}

/// IAM: 1 to 64 characters of `[\w+=,.@-]`.
pub fn check_role_name(name: &str) -> Option<()> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    ((1..=64).contains(&name.len()) && name.bytes().all(legal)).then_some(())
}

/// IAM: up to 512 characters `!` to DEL, beginning and ending with a slash.
fn check_path(path: &str) -> Option<()> {
    let legal = |b: u8| (0x21..=0x7f).contains(&b);
    (path.len() <= 512 && path.starts_with('/') && path.ends_with('/') && path.bytes().all(legal)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assumed_role_is_read_in_every_partition() {
        for partition in ["aws", "aws-cn", "aws-us-gov"] {
            let caller =
                CallerIdentity::from_arn(&format!("arn:{partition}:sts::123456789012:assumed-role/web/i-0abc"))
                    .unwrap();
            assert_eq!(caller.partition.to_string(), partition);
            assert_eq!(caller.account.as_str(), "123456789012");
            assert_eq!(
                caller.principal,
                Principal::AssumedRole {
                    role_name: "web".into(),
                    role_session_name: "i-0abc".into()
                }
            );
        }
    }

    #[test]
    fn a_user_with_a_path_is_read_by_name() {
        let caller = CallerIdentity::from_arn("arn:aws:iam::123456789012:user/ops/eu/dave").unwrap();
        assert_eq!(
            caller.principal,
            Principal::User {
                iam_user_name: "dave".into()
            }
        );
    }

    #[test]
    fn a_role_arn_keeps_its_path_and_round_trips() {
        let text = "arn:aws-cn:iam::123456789012:role/teams/ops/KeymakerIdResolver";
        let arn: RoleArn = text.parse().unwrap();
        assert_eq!((arn.path(), arn.name()), ("/teams/ops/", "KeymakerIdResolver"));
        assert_eq!(arn.to_string(), text);
    }

    #[test]
    fn what_is_not_an_arn_is_refused() {
        for text in [
            "",
            "arn:aws:iam::123456789012:role",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::12345678901:role/x",
            "arn:aws:iam::123456789012:rolex/y",
            "arn:aws:iam::123456789012:role/a b",
            "arn:AWS:iam::123456789012:role/x",
            "arn:aws:s3:::bucket",
        ] {
            assert!(text.parse::<RoleArn>().is_err(), "{text}");
        }
        assert!(CallerIdentity::from_arn("arn:aws:sts::123456789012:assumed-role/web").is_err());
    }
}
