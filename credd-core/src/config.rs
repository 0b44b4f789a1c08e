//! credd.toml: what the administrator of this host decided about metadata and credentials, whole and checked.
//!
//! credd and credd-capture read it at start; a file that cannot be read whole is an error, and so is one that is not
//! there (H11: a missing file must not mean more than the file did). An empty file means the defaults.

mod keys;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keymaker_daemon::config_error;
pub use keymaker_daemon::config_error::ConfigError;
use keymaker_daemon::metrics_file::is_metrics_file;
use keymaker_syntax::{ArnError, IdResolver, ProxyUrl, RoleArn, is_service_url};
use serde::{Deserialize, Serialize};

use crate::accounts::{Account, AccountDoubt};
use crate::metadata::METADATA_ADDRESSES;
use crate::metadata::rules::Rule;
pub use keys::KEYS;
use keys::SETTINGS;
pub use values::{Capture, CaptureMode, DirectoryNeed, Exempt, KEYMAKERD_TRACES, Method, Network, RuleEntry, UidRange};

/// The port of credd-container.socket.
pub const CONTAINER_PORT: u16 = 989;

/// What stands in the file, with the defaults for what does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who goes on talking to the real metadata service, besides keymakerd and credd.
    pub exempt_uids: Vec<Exempt>,
    /// How requests are brought here.
    pub capture: Capture,
    /// The local port of `capture = "nft"`; below 1024, so that nobody can take it while credd is down.
    pub nft_port: u16,
    /// Whether anything is captured, or only written down.
    pub mode: CaptureMode,
    /// Networks whose forwarded packets may reach the real metadata service.
    pub containers: Vec<Network>,
    /// Whether users must stand in keymakerd's directory.
    pub directory: DirectoryNeed,
    /// How old a directory fact may be before it is asked for again, in seconds.
    pub authz_ttl: u32,
    /// The methods of whom no other chain names.
    pub default_chain: Vec<Method>,
    /// Chains by user name.
    pub user_chains: BTreeMap<String, Vec<Method>>,
    /// Chains by uid, `"900-999"` or `"900"`; they do not overlap.
    #[serde(deserialize_with = "values::disjoint_chains")]
    pub uid_chains: BTreeMap<UidRange, Vec<Method>>,
    /// Chains by Unix group, in alphabetical order.
    pub group_chains: BTreeMap<String, Vec<Method>>,
    /// The role of `user_role` and `create_user_role`.
    pub role_name_pattern: String,
    /// The path of that role.
    pub role_path: String,
    /// Whether `user_role`, too, gives out only a role whose tag says that it was made for the person.
    pub user_role_tag: bool,
    /// The IAM user of `create_user_role` and `restricted_instance_role`.
    pub iam_name_pattern: String,
    /// The account that users live in, where it is another one.
    pub id_resolver_account: Option<String>,
    /// The role of that account through which they are read.
    pub id_resolver_iam_role: Option<String>,
    /// Whether policies that are too large are made smaller.
    pub compress_user_policy: bool,
    /// What `instance_role` denies.
    pub deny_actions: Vec<String>,
    /// The role of `shared_role`.
    pub shared_role: Option<String>,
    /// Whether the other methods, too, send session tags and a `SourceIdentity`.
    pub session_tags: bool,
    /// Whether a request needs an IMDSv2 token.
    pub require_imds_v2: bool,
    /// The IP hop limit of replies that carry a token.
    pub token_hop_limit: u8,
    /// Who may read what else; the last rule that matches counts.
    pub rules: Vec<RuleEntry>,
    /// Whether `AWS_CONTAINER_CREDENTIALS_FULL_URI` is answered.
    pub container_endpoint: bool,
    /// The region of STS; None: the instance's.
    pub region: Option<String>,
    /// Where IAM is; None: AWS's own.
    pub iam_endpoint: Option<String>,
    /// Where STS is; None: AWS's own.
    pub sts_endpoint: Option<String>,
    /// Where the real metadata service is, `http://ADDRESS[:PORT]`; None: its link-local addresses.
    pub metadata_endpoint: Option<String>,
    /// The proxy on the way to AWS.
    pub https_proxy: Option<ProxyUrl>,
    /// A PEM file of the certificate authorities to trust; None: the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Where metrics are written for `node_exporter`; None: nowhere.
    pub metrics_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            exempt_uids: vec![Exempt::Name("root".into())],
            capture: Capture::Route,
            nft_port: 988,
            mode: CaptureMode::Enforce,
            containers: vec![],
            directory: DirectoryNeed::Auto,
            authz_ttl: 60,
            default_chain: vec![Method::UserRole],
            user_chains: BTreeMap::new(),
            uid_chains: BTreeMap::new(),
            group_chains: BTreeMap::new(),
            role_name_pattern: "user-{username}".into(),
            role_path: "/".into(),
            user_role_tag: false,
            iam_name_pattern: "{username}".into(),
            id_resolver_account: None,
            id_resolver_iam_role: None,
            compress_user_policy: false,
            deny_actions: DENIED_ACTIONS.map(str::to_owned).into(),
            shared_role: None,
            session_tags: false,
            require_imds_v2: true,
            token_hop_limit: 1,
            rules: vec![],
            container_endpoint: false,
            region: None,
            iam_endpoint: None,
            sts_endpoint: None,
            metadata_endpoint: None,
            https_proxy: None,
            ca_bundle: None,
            metrics_file: None,
        }
    }
}

impl Config {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|why| ConfigError::Unreadable(path.to_owned(), why))?;
        Self::parse(&text, path)
    }

    /// Reads and checks a text; `path` is for the sentences.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = config_error::parse(text, path, &SETTINGS)?;
        match config.first_problem() {
            Some(problem) => Err(SETTINGS.bad_value(text, path, problem)),
            None => Ok(config),
        }
    }

    /// The whole configuration as it holds, as a file of the same form; what has no value is absent, and a proxy's
    /// password is not shown.
    pub fn print(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The rules of the file. They were checked when it was read.
    pub fn rules(&self) -> Vec<Rule> {
        self.rules
            .iter()
            .flat_map(|entry| entry.rules().unwrap_or_default())
            .collect()
    }

    /// The chain of the caller of `uid`: by user, else by uid, else by group, else the default. An error where a chain
    /// goes by a name or group that cannot be told: to pass over it could pass over a chain that denies.
    pub fn chain(&self, uid: u32, account: &Account) -> Result<&[Method], AccountDoubt> {
        for (user, chain) in &self.user_chains {
            if account.is_user(user)? {
                return Ok(chain);
            }
        }
        let by_uid = self.uid_chains.iter().find(|(range, _)| range.contains(uid));
        if let Some((_, chain)) = by_uid {
            return Ok(chain);
        }
        for (group, chain) in &self.group_chains {
            if account.is_in(group)? {
                return Ok(chain);
            }
        }
        Ok(&self.default_chain)
    }

    /// Whether a chain names that user or uid; a group names nobody.
    pub fn names(&self, uid: u32, account: &Account) -> bool {
        let by_user = account
            .user
            .as_ref()
            .is_some_and(|user| self.user_chains.contains_key(user));
        by_user || self.uid_chains.keys().any(|range| range.contains(uid))
    }

    /// Where users are read, if the file says so.
    pub fn id_resolver(&self) -> Result<Option<IdResolver>, ArnError> {
        match (&self.id_resolver_account, &self.id_resolver_iam_role) {
            (None, None) => Ok(None),
            (account, role) => {
                let [account, role] = [account, role].map(|value| value.as_deref().unwrap_or_default());
                IdResolver::new(account, role).map(Some)
            }
        }
    }

    /// The methods of all chains; one may come more than once.
    pub fn methods(&self) -> impl Iterator<Item = Method> {
        let named = self.user_chains.values().chain(self.uid_chains.values());
        let chains = named.chain(self.group_chains.values()).chain([&self.default_chain]);
        chains.flatten().copied()
    }

    /// Whether both give the same answer to the same question. A key that is not named here counts as shaping answers,
    /// and so does what stands in a file of its own.
    pub fn issues_like(&self, other: &Self) -> bool {
        let shaping = |config: &Self| Self {
            exempt_uids: vec![],
            capture: Capture::Route,
            nft_port: 0,
            mode: CaptureMode::Enforce,
            containers: vec![],
            directory: DirectoryNeed::Auto,
            authz_ttl: 0,
            default_chain: vec![],
            user_chains: BTreeMap::new(),
            uid_chains: BTreeMap::new(),
            group_chains: BTreeMap::new(),
            require_imds_v2: true,
            token_hop_limit: 0,
            rules: vec![],
            container_endpoint: false,
            metrics_file: None,
            ..config.clone()
        };
        self.ca_bundle.is_none() && shaping(self) == shaping(other)
    }

    /// Where the real metadata service is.
    pub fn metadata_endpoints(&self) -> Vec<SocketAddr> {
        match self.metadata_endpoint.as_deref().and_then(values::plain_endpoint) {
            Some(endpoint) => vec![endpoint],
            None => METADATA_ADDRESSES.map(|address| SocketAddr::new(address, 80)).into(),
        }
    }

    /// The first value that fits its type and is wrong all the same, by key.
    fn first_problem(&self) -> Option<(&'static str, String)> {
        let shared = || self.methods().any(|method| method == Method::SharedRole);
        let bad_rule = self.rules.iter().find_map(|entry| entry.rules().err());
        let action = self.deny_actions.iter().find(|action| !values::is_action(action));
        let url = |value: &Option<String>| value.as_ref().is_some_and(|url| !is_service_url(url));
        let role = |role: &String| role.parse::<RoleArn>().is_err();
        let endpoint = self.metadata_endpoint.as_deref();
        let bad_endpoint = endpoint.is_some_and(|url| values::plain_endpoint(url).is_none());
        let problem = |key, problem: &str| Some((key, problem.to_owned()));
        if !(1..=1023).contains(&self.nft_port) {
            problem("nft_port", "out of range: any user could take a higher port")
        } else if self.nft_port == CONTAINER_PORT {
            problem("nft_port", "the container endpoint has this port")
        } else if !(1..=64).contains(&self.token_hop_limit) {
            problem("token_hop_limit", "out of range")
        } else if self.shared_role.is_none() && shared() {
            problem(
                "shared_role",
                "a chain has the method shared_role, which needs its role here",
            )
        } else if self.shared_role.as_ref().is_some_and(role) {
            problem("shared_role", "this is not the ARN of a role")
        } else if let Some(problem) = bad_rule {
            Some(("rules", problem))
        } else if let Some(action) = action {
            Some(("deny_actions", format!("{action} is not an action")))
        } else if let Some(problem) = self.denial_problem() {
            Some(("deny_actions", problem))
        } else if let Some(found) = self.pattern_problem() {
            Some(found)
        } else if self.id_resolver().is_err() {
            problem("id_resolver_account", "the two do not name a role of an account")
        } else if url(&self.iam_endpoint) {
            problem("iam_endpoint", "this is not one")
        } else if url(&self.sts_endpoint) {
            problem("sts_endpoint", "this is not one")
        } else if self.metrics_file.as_deref().is_some_and(|path| !is_metrics_file(path)) {
            problem("metrics_file", "node_exporter would not read it")
        } else {
            bad_endpoint.then(|| ("metadata_endpoint", "this is not one".to_owned()))
        }
    }

    fn pattern_problem(&self) -> Option<(&'static str, String)> {
        for (key, pattern) in [
            ("role_name_pattern", &self.role_name_pattern),
            ("iam_name_pattern", &self.iam_name_pattern),
        ] {
            if pattern.matches("{username}").count() != 1 {
                let problem = "without {username}, once, all users would have one role";
                return Some((key, problem.into()));
            }
            if !makes_names(pattern) {
                return Some((key, "this does not make names that IAM allows".into()));
            }
        }
        (!is_role_path(&self.role_path)).then(|| ("role_path", "IAM allows no such path".into()))
    }

    /// What would make `instance_role`, where a chain has it, refuse everybody.
    fn denial_problem(&self) -> Option<String> {
        self.methods().find(|method| *method == Method::InstanceRole)?;
        let actions = self.deny_actions.iter().map(|action| action.parse());
        let actions: Result<Vec<_>, _> = actions.collect();
        let made = actions.and_then(|actions| session_policy::instance_role(&actions));
        made.err().map(|refusal| refusal.to_string())
    }
}

/// Whether what a pattern makes of a username can be a name in IAM.
pub fn makes_names(pattern: &str) -> bool {
    is_role("/", &pattern.replace("{username}", "x"))
}

/// Whether roles can have this path.
pub fn is_role_path(path: &str) -> bool {
    path.starts_with('/') && path.ends_with('/') && is_role(path, "x")
}

/// Whether there can be a role of this path and name.
fn is_role(path: &str, name: &str) -> bool {
    format!("arn:aws:iam::123456789012:role{path}{name}")
        .parse::<RoleArn>()
        .is_ok_and(|role| role.path() == path && role.name() == name)
}

/// Everything that leads from the instance's role to other roles, people or secrets. sts:GetCallerIdentity cannot be
/// denied (IAM User Guide: "no permissions are required"), so it stays possible.
const DENIED_ACTIONS: [&str; 5] = ["sts:*", "iam:*", "secretsmanager:*", "ssm:GetParameter*", "kms:Decrypt"];

#[cfg(test)]
mod tests;
