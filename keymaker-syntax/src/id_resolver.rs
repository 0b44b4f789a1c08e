//! The role through which users of another account are read, as keymakerd.toml, credd.toml or the description of the
//! instance's role names it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::arn::{AccountId, ArnError, Partition, RoleArn};

/// A role in another account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct IdResolver {
    account: AccountId,
    role: String,
}

impl IdResolver {
    /// Twelve digits, and a role's name that may have a path before it.
    pub fn new(account: &str, role: &str) -> Result<Self, ArnError> {
        let account: AccountId = account.parse()?;
        let _checked: RoleArn = format!("arn:aws:iam::{account}:role/{role}").parse()?;
        Ok(Self {
            account,
            role: role.to_owned(),
        })
    }

    /// The account that the users live in.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The role's name, with its path before it where it has one.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The role, in the partition that this host is in.
    pub fn role_arn(&self, partition: &Partition) -> Result<RoleArn, ArnError> {
        format!("arn:{partition}:iam::{}:role/{}", self.account, self.role).parse()
    }
}

impl fmt::Display for IdResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "role {} in account {}", self.role, self.account)
    }
}

/// As it stands in a file of keymakerd's.
#[derive(Serialize, Deserialize)]
struct Written {
    account: String,
    role: String,
}

impl TryFrom<Written> for IdResolver {
    type Error = ArnError;

    fn try_from(written: Written) -> Result<Self, ArnError> {
        Self::new(&written.account, &written.role)
    }
}

impl From<IdResolver> for Written {
    fn from(resolver: IdResolver) -> Self {
        Self {
            account: resolver.account.as_str().to_owned(),
            role: resolver.role,
        }
    }
}
