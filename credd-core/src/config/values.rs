//! What single values of credd.toml may be.
//!
//! `config` uses it; each type is read from and printed as the text that stands in the file.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use keymaker_core::paths;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::metadata::rules::{Rule, RuleEffect, RuleError, Who};

/// How requests are brought to credd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// Policy routing to a transparent listener.
    Route,
    /// A redirect by nftables.
    Nft,
}

/// Whether anything is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMode {
    /// Requests are captured and answered.
    Enforce,
    /// It is only written down who would have been captured.
    Observe,
}

/// Whether users must stand in keymakerd's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryNeed {
    /// Required where keymakerd.toml exists, or keymakerd has published here before: settings that are gone open
    /// nothing.
    Auto,
    /// Whom no chain names gets nothing while it cannot be read.
    Required,
    /// Local accounts only.
    None,
}

impl DirectoryNeed {
    /// Whether the directory is required on a host where keymakerd leaves these `traces`. One that cannot be looked for
    /// counts as there.
    pub fn is_required(self, traces: &[impl AsRef<Path>]) -> bool {
        match self {
            Self::Required => true,
            Self::None => false,
            Self::Auto => traces.iter().any(|trace| trace.as_ref().try_exists().unwrap_or(true)),
        }
    }
}

/// What keymakerd leaves on a host: its settings, what it published, and who owned which uid, which an rpm leaves when
/// it is erased: the users' processes may still run, and are nobody's to be taken for a local account's.
pub const KEYMAKERD_TRACES: [&str; 3] = [paths::KEYMAKERD_TOML, paths::DIRECTORY, paths::PRIVATE];

/// A way to credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `AssumeRole` on the user's own role.
    UserRole,
    /// The same, on roles that `keymaker sync-roles` keeps.
    CreateUserRole,
    /// The instance's role, cut to what the IAM user may do.
    RestrictedInstanceRole,
    /// The instance's role, less `deny_actions`.
    InstanceRole,
    /// One role for everybody, told apart by session tags.
    SharedRole,
}

impl Method {
    /// Its name in credd.toml.
    pub fn word(self) -> &'static str {
        match self {
            Self::UserRole => "user_role",
            Self::CreateUserRole => "create_user_role",
            Self::RestrictedInstanceRole => "restricted_instance_role",
            Self::InstanceRole => "instance_role",
            Self::SharedRole => "shared_role",
        }
    }

    /// Whether it needs the ARN of the instance's own role.
    pub fn needs_own_role(self) -> bool {
        !matches!(self, Self::UserRole | Self::SharedRole)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Somebody who is not captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a user's name or uid")]
pub enum Exempt {
    /// By uid.
    Uid(u32),
    /// By the name of a local account.
    Name(String),
}

/// Uids, both ends included; written `900-999` or `900`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UidRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl UidRange {
    /// Whether `uid` is one of them.
    pub fn contains(&self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }
}

impl FromStr for UidRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{text} is not a range of uids, such as 900-999 or 900")),
        }
    }
}

impl fmt::Display for UidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A table of chains by uids. Two keys that mean the same uids are two chains, of which neither may be dropped in
/// silence.
pub fn disjoint_chains<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<UidRange, Vec<Method>>, D::Error> {
    let mut chains: BTreeMap<UidRange, (String, Vec<Method>)> = BTreeMap::new();
    for (text, chain) in BTreeMap::<String, Vec<Method>>::deserialize(deserializer)? {
        let range: UidRange = text.parse().map_err(de::Error::custom)?;
        let meets = |other: &&UidRange| other.first <= range.last && range.first <= other.last;
        if let Some(other) = chains.keys().find(meets) {
            let other = chains.get(other).map_or("", |(text, _)| text);
            return Err(de::Error::custom(format!(
                "{other} and {text} overlap; write disjoint ranges"
            )));
        }
        chains.insert(range, (text, chain));
    }
    Ok(chains.into_iter().map(|(range, (_, chain))| (range, chain)).collect())
}

/// A network, `172.17.0.0/16` or `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its address.
    pub address: IpAddr,
    /// The bits that count.
    pub prefix: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is not a network, such as 172.17.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (address, prefix): (IpAddr, u8) = (
            address.parse().map_err(|_| wrong())?,
            prefix.parse().map_err(|_| wrong())?,
        );
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if prefix <= longest {
            Ok(Self { address, prefix })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// One `[[rules]]` table: whom (nobody named: everybody), and which paths are opened or closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uids: Option<UidRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    allow: Vec<String>,
    deny: Vec<String>,
}

impl RuleEntry {
    /// The rules that it stands for: what is allowed first, so that a denied part of it stays denied.
    pub fn rules(&self) -> Result<Vec<Rule>, String> {
        let who = match (&self.user, self.uids, &self.group) {
            (None, None, None) => Who::Everybody,
            (Some(user), None, None) => Who::User(user.clone()),
            (None, Some(range), None) => Who::Uids(range.first..=range.last),
            (None, None, Some(group)) => Who::Group(group.clone()),
            _ => {
                return Err(
                    "a rule names one of user, uids and group; one that names none of them means everybody".into(),
                );
            }
        };
        let allowed = self.allow.iter().map(|path| (RuleEffect::Allow, path));
        let denied = self.deny.iter().map(|path| (RuleEffect::Deny, path));
        let rule = |(effect, path): (RuleEffect, &String)| {
            Rule::new(who.clone(), effect, path).map_err(|error| rule_problem(&error, path))
        };
        allowed.chain(denied).map(rule).collect()
    }
}

fn rule_problem(error: &RuleError, path: &str) -> String {
    match error {
        RuleError::Credentials => {
            format!(
                "{path}: no rule reaches credentials; a user who must read them from the real service belongs in \
                exempt_uids"
            )
        }
        RuleError::NoSuchPath => format!("{path}: no such path; write it as below the version, like meta-data/tags"),
    }
}

/// `http://ADDRESS[:PORT][/]`.
pub fn plain_endpoint(url: &str) -> Option<SocketAddr> {
    let host = url.strip_prefix("http://")?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let bare = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host);
    host.parse()
        .ok()
        .or_else(|| Some(SocketAddr::new(bare.parse().ok()?, 80)))
}

/// `service:Action`, with wildcards in the action.
pub fn is_action(action: &str) -> bool {
    let known = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-*?".contains(&byte))
    };
    action
        .split_once(':')
        .is_some_and(|(service, action)| known(service) && known(action))
}

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

as_text!(UidRange, Network);
