//! The role through which users of another account are read, as credd.toml or the description of the instance's role names it.
//! The methods that go by a user's policies ask for IAM of the account that the user lives in; it asks here.

use crate::arn::{AccountId, ArnError, Partition, RoleArn};

/// A role in another account.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// The last of each word counts, as for keymakerd.
    pub fn of_description(description: &str) -> Option<Self> {
        let words = description.split(|c: char| c.is_whitespace() || c == ',');
        let value = |key: &str| {
            let mut of_key = words
                .clone()
                .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            of_key.next_back().map(|value| value.trim_matches(['"', '\'']))
        };
        Self::new(
            value("keymaker_id_resolver_account")?,
            value("keymaker_id_resolver_iam_role")?,
        )
        .ok()
    }

    /// The account that the users live in.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The role, in the partition that this host is in.
    pub fn role_arn(&self, partition: &Partition) -> Result<RoleArn, ArnError> {
        format!("arn:{partition}:iam::{}:role/{}", self.account, self.role).parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_description_are_read_as_keymakerd_reads_them() {
        let other = IdResolver::new("210987654321", "path/Resolver").unwrap();
        for text in [
            "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=path/Resolver",
            "x, keymaker_id_resolver_iam_role='path/Resolver',keymaker_id_resolver_account=\"210987654321\" y",
            "keymaker_id_resolver_account=1 keymaker_id_resolver_account=210987654321\nkeymaker_id_resolver_iam_role=path/Resolver",
        ] {
            assert_eq!(IdResolver::of_description(text), Some(other.clone()), "{text}");
        }
        for text in [
            "",
            "keymaker_id_resolver_account=210987654321",
            "keymaker_id_resolver_account=12 keymaker_id_resolver_iam_role=R",
            "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=a*b",
        ] {
            assert_eq!(IdResolver::of_description(text), None, "{text}");
        }
    }
}
