//! Decides which paths of the real service a caller may read.
//!
//! The server asks before a path is passed on. A rule can only open or close what the allow-list has; credentials are
//! not in it. The rules shipped here stand before the administrator's, and the last rule that matches counts.

use std::ops::RangeInclusive;

use super::route_table::{Readers, TABLE};
use super::routes::UpstreamPath;
use crate::accounts::{Account, AccountDoubt};

/// Whom a rule or a chain is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Every caller.
    Everybody,
    /// The account of this name.
    User(String),
    /// Uids, both ends included.
    Uids(RangeInclusive<u32>),
    /// The members of this Unix group.
    Group(String),
}

impl Who {
    /// Whether the caller of `uid` with this account is meant.
    pub fn includes(&self, uid: u32, account: &Account) -> Result<bool, AccountDoubt> {
        match self {
            Self::Everybody => Ok(true),
            Self::User(name) => account.is_user(name),
            Self::Uids(range) => Ok(range.contains(&uid)),
            Self::Group(name) => account.is_in(name),
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleEffect {
    /// The path may be read.
    Allow,
    /// The path answers 404.
    Deny,
}

/// One rule: these callers, this path and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is about.
    pub who: Who,
    /// What it does.
    pub effect: RuleEffect,
    /// Where it begins, below the version.
    path: Vec<String>,
}

/// Why a rule cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub enum RuleError {
    /// Credentials are answered by credd itself and no rule reaches them; anybody who must read them from the real
    /// service belongs into `exempt_uids`.
    Credentials,
    /// The metadata service has no such path; write it as below the version, like meta-data/tags or user-data.
    NoSuchPath,
}

impl Rule {
    /// A rule for `path` (`meta-data/tags`, `user-data`; slashes at the ends mean nothing) and all below it.
    pub fn new(who: Who, effect: RuleEffect, path: &str) -> Result<Self, RuleError> {
        let path: Vec<String> = path.trim_matches('/').split('/').map(str::to_owned).collect();
        if path.iter().any(|segment| segment.contains("credentials")) || path.get(1).is_some_and(|below| below == "iam")
        {
            return Err(RuleError::Credentials);
        }
        if TABLE.iter().any(|entry| reaches(&path, entry.pattern)) {
            Ok(Self { who, effect, path })
        } else {
            Err(RuleError::NoSuchPath)
        }
    }

    fn covers(&self, path: &UpstreamPath) -> bool {
        let mut segments = path.below_version();
        self.path.iter().all(|wanted| segments.next() == Some(wanted))
    }
}

/// The shipped rules and the administrator's.
pub struct Rules(Vec<Rule>);

impl Rules {
    /// The shipped rules, then `configured` in their order.
    pub fn new(configured: Vec<Rule>) -> Self {
        let shipped = SHIPPED.iter().filter_map(|(user, path)| {
            let who = Who::User((*user).to_owned());
            Rule::new(who, RuleEffect::Allow, path).ok()
        });
        Self(shipped.chain(configured).collect())
    }

    /// Whether the caller of `uid` may read `path`. A rule that would open it opens it to nobody of whom it cannot be
    /// told that they are meant; where one would close it, the answer is an error.
    pub fn allow(&self, uid: u32, account: &Account, path: &UpstreamPath) -> Result<bool, AccountDoubt> {
        for rule in self.0.iter().rev().filter(|rule| rule.covers(path)) {
            match rule.who.includes(uid, account) {
                Ok(true) => return Ok(rule.effect == RuleEffect::Allow),
                Err(AccountDoubt) if rule.effect == RuleEffect::Deny => return Err(AccountDoubt),
                Ok(false) | Err(AccountDoubt) => {}
            }
        }
        Ok(path.entry().readers == Readers::Everybody)
    }
}

/// Whether `path` is `pattern` or a folder above it. A placeholder stands for any one segment.
fn reaches(path: &[String], pattern: &str) -> bool {
    let mut segments = pattern.trim_end_matches('/').split('/');
    path.iter().all(|wanted| {
        segments
            .next()
            .is_some_and(|have| have == wanted || have.starts_with('{'))
    })
}

/// What the agents of AWS need, by the account they run as. The SSM agent and cloud-init run as root, which is exempt
/// unless `exempt_uids` leaves it out. Credentials for an agent come from a chain, never from here.
const SHIPPED: &[(&str, &str)] = &[
    // EC2 Instance Connect: its AuthorizedKeysCommand reads keys and the certificate that signed them.
    ("ec2-instance-connect", "meta-data/managed-ssh-keys"),
    // The same program, run by our keys command where login_by has "instance-connect".
    ("keymaker-keys", "meta-data/managed-ssh-keys"),
    // CloudWatch agent: the document for the region, tags as dimensions.
    ("cwagent", "dynamic/instance-identity/document"),
    ("cwagent", "meta-data/tags"),
    // SSM agent: document and signature, when it registers.
    ("root", "dynamic/instance-identity"),
    // cloud-init: what it was given to do.
    ("root", "user-data"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::path::segments;
    use crate::metadata::routes::{MetadataRoute, route};

    fn upstream(path: &str) -> UpstreamPath {
        match route(&segments(&format!("/latest/{path}")).unwrap()) {
            MetadataRoute::Upstream(path) => path,
            other => panic!("{path} is {other:?}"),
        }
    }

    fn account(user: &str, groups: &[&str]) -> Account {
        Account {
            user: Some(user.into()),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            is_doubtful: false,
        }
    }

    fn rule(who: Who, effect: RuleEffect, path: &str) -> Rule {
        Rule::new(who, effect, path).unwrap()
    }

    #[test]
    fn every_shipped_rule_names_a_path_that_exists() {
        assert_eq!(Rules::new(vec![]).0.len(), SHIPPED.len());
    }

    #[test]
    fn signatures_user_data_and_pushed_ssh_keys_are_for_whom_a_rule_names() {
        let rules = Rules::new(vec![]);
        let alice = account("alice", &[]);
        assert!(
            rules
                .allow(2001, &alice, &upstream("dynamic/instance-identity/document"))
                .unwrap()
        );
        for closed in [
            "user-data",
            "dynamic/instance-identity/pkcs7",
            "meta-data/managed-ssh-keys/active-keys/bob",
        ] {
            assert!(!rules.allow(2001, &alice, &upstream(closed)).unwrap(), "{closed}");
            assert!(
                !rules.allow(2001, &Account::default(), &upstream(closed)).unwrap(),
                "{closed}"
            );
        }
        for name in ["ec2-instance-connect", "keymaker-keys"] {
            let connect = account(name, &[]);
            let pushed = upstream("meta-data/managed-ssh-keys/active-keys/bob");
            assert!(rules.allow(997, &connect, &pushed).unwrap());
            assert!(!rules.allow(997, &connect, &upstream("user-data")).unwrap());
        }
    }

    #[test]
    fn the_last_rule_that_matches_counts() {
        let rules = Rules::new(vec![
            rule(Who::Group("ops".into()), RuleEffect::Allow, "user-data"),
            rule(Who::Everybody, RuleEffect::Deny, "meta-data/tags"),
            rule(
                Who::Uids(3000..=3001),
                RuleEffect::Allow,
                "meta-data/tags/instance/Name",
            ),
            rule(Who::User("eve".into()), RuleEffect::Deny, "/user-data/"),
        ]);
        let ops = account("olga", &["ops"]);
        assert!(rules.allow(2001, &ops, &upstream("user-data")).unwrap());
        assert!(
            !rules
                .allow(2001, &account("eve", &["ops"]), &upstream("user-data"))
                .unwrap()
        );
        assert!(!rules.allow(2001, &ops, &upstream("meta-data/tags/instance")).unwrap());
        assert!(
            rules
                .allow(3001, &ops, &upstream("meta-data/tags/instance/Name"))
                .unwrap()
        );
        assert!(
            !rules
                .allow(3002, &ops, &upstream("meta-data/tags/instance/Name"))
                .unwrap()
        );
        assert!(
            !rules
                .allow(3001, &ops, &upstream("meta-data/tags/instance/Names"))
                .unwrap()
        );
    }

    // P13
    #[test]
    fn a_rule_about_somebody_who_cannot_be_told_opens_nothing_and_closes_with_an_error() {
        let rules = Rules::new(vec![
            rule(Who::Group("ops".into()), RuleEffect::Allow, "user-data"),
            rule(Who::User("eve".into()), RuleEffect::Deny, "meta-data/tags"),
        ]);
        let unknown = Account::unknown();
        assert_eq!(rules.allow(7, &unknown, &upstream("user-data")), Ok(false));
        assert_eq!(
            rules.allow(7, &unknown, &upstream("meta-data/tags/instance")),
            Err(AccountDoubt)
        );
        assert_eq!(
            rules.allow(7, &unknown, &upstream("dynamic/instance-identity/document")),
            Ok(true)
        );
    }

    // P15
    #[test]
    fn no_rule_can_open_a_credentials_path() {
        for path in [
            "meta-data/iam",
            "meta-data/iam/security-credentials",
            "meta-data/identity-credentials/ec2",
        ] {
            assert_eq!(
                Rule::new(Who::Everybody, RuleEffect::Allow, path),
                Err(RuleError::Credentials),
                "{path}"
            );
        }
        for path in ["", "latest/user-data", "meta-data/nothing", "user-data/x"] {
            assert_eq!(
                Rule::new(Who::Everybody, RuleEffect::Allow, path),
                Err(RuleError::NoSuchPath),
                "{path}"
            );
        }
    }
}
