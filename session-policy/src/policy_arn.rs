//! The ARN of a managed policy, as `PolicyArns` takes it. `restricted_instance_role.rs` asks which role may be given
//! it.

use std::fmt;
use std::str::FromStr;

use keymaker_syntax::{AccountId, Partition, RoleArn};

use super::refusal::PolicyRefusal;

/// `arn:PARTITION:iam::ACCOUNT:policy/PATH/NAME`, or AWS's own with `aws` for the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyArn {
    text: String,
    partition: Partition,
    /// None: one of AWS's own, which every account of the partition has.
    account: Option<AccountId>,
}

impl PolicyArn {
    /// The ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a session of `role` may be given this policy by its ARN: "The policies must exist in the same account as
    /// the role" (STS API Reference, `AssumeRole`, `PolicyArns`).
    pub fn exists_beside(&self, role: &RoleArn) -> bool {
        self.partition == *role.partition() && self.account.as_ref().is_none_or(|account| account == role.account())
    }
}

impl FromStr for PolicyArn {
    type Err = PolicyRefusal;

    fn from_str(text: &str) -> Result<Self, PolicyRefusal> {
        let refusal = || PolicyRefusal::NoPolicyArn(text.to_owned());
        let rest = text.strip_prefix("arn:").ok_or_else(refusal)?;
        let (partition, rest) = rest.split_once(":iam::").ok_or_else(refusal)?;
        let (account, path_and_name) = rest.split_once(":policy/").ok_or_else(refusal)?;
        // IAM: names are alphanumeric and "+=,.@_-"; a path may hold any printable ASCII character.
        if path_and_name.is_empty() || !path_and_name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refusal());
        }
        let account = match account {
            "aws" => None,
            number => Some(number.parse().map_err(|_| refusal())?),
        };
        let partition = partition.parse().map_err(|_| refusal())?;
        Ok(Self {
            text: text.to_owned(),
            partition,
            account,
        })
    }
}

impl fmt::Display for PolicyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
