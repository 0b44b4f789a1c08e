//! keymakerd.toml: what the administrator of this host decided, whole and checked. `main` reads it at start and on
//! reload; a file that cannot be read whole changes nothing, so this module never returns a part of one.

mod checks;
mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keymaker_aws::{IdResolver, ProxyUrl, ssh_key_tags};
use keymaker_core::id::IdRange;
use keymaker_daemon::config_error;
pub use keymaker_daemon::config_error::ConfigError;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::directory::entitlement::ids::IdScheme;
#[cfg(test)]
pub use keys::KEYS;
use keys::SETTINGS;

/// What stands in the file, with the defaults for what does not. `keys::KEYS` says what each value may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeymakerdConfig {
    /// Whether the description of the instance's role is read too.
    pub role_settings: bool,
    /// The IAM group that a user must be in to log in. Empty: none, whatever the role's description says.
    pub require_iam_group: Option<String>,
    /// Who of them is published.
    pub publish: Publish,
    /// Only users below this path are published.
    pub user_path_prefix: String,
    /// Only users in one of our groups or the required one are published.
    pub only_group_members: bool,
    /// What opens a login.
    pub login_by: BTreeSet<LoginBy>,
    /// For whom the token of a proof must be; None: `keymaker:ACCOUNT`.
    pub login_audience: Option<String>,
    /// How long the token of a proof may live, in seconds.
    pub login_token_max: u32,
    /// Whether the token of a proof must name this instance.
    pub login_bound: bool,
    /// The IAM group whose members may log in by proof; None: everybody.
    pub login_proof_group: Option<String>,
    /// No token that was made before opens anything: unix time.
    pub login_not_before: u64,
    /// Whose tokens count; empty: the account's own issuer, as IAM names it.
    pub login_issuers: BTreeSet<String>,
    /// A file of the issuer's keys, where they cannot be fetched.
    pub login_keys_file: Option<PathBuf>,
    /// What an IAM user name ends in and the Unix name does not.
    pub linux_user_suffix: Option<String>,
    /// Whether ASCII capitals become small.
    pub lowercase_names: bool,
    /// Whether names with a dot are Unix names here.
    pub dotted_names: bool,
    /// Names that nobody from IAM may have, besides the built-in ones.
    pub reserved_names: BTreeSet<String>,
    /// What the name of an IAM group begins with that becomes a Unix group.
    pub linux_group_prefix: Option<String>,
    /// Groups of /etc/group in which IAM may give membership.
    pub local_groups: BTreeSet<String>,
    /// Whether the file says so, and not the default.
    #[serde(skip)]
    local_groups_stand: bool,
    /// Gids by Unix group name.
    pub group_ids: BTreeMap<String, u32>,
    /// The IAM group whose members get the local group keymaker-sudo.
    pub sudo_iam_group: Option<String>,
    id_scheme: Scheme,
    id_range: Option<[u32; 2]>,
    /// The tags that may decide something.
    pub tags: BTreeSet<Tag>,
    tag_uid_range: Option<[u32; 2]>,
    /// The shell of users whose tags name none.
    pub default_shell: String,
    /// The folder of home directories, without a slash at its end.
    pub home_base: String,
    /// How old a fact may be before a login asks again, in seconds.
    pub authz_ttl: u32,
    /// How old a fact may be before logins stop, in seconds.
    pub max_stale: u32,
    /// How old it may be, while AWS is silent, before what users began here stops, in seconds.
    pub max_stale_running: u32,
    /// The time between two passes, in seconds.
    pub sync_interval: u32,
    /// Whose keys are fetched ahead.
    pub prefetch_keys: Prefetch,
    /// Whether enumeration shows all users or those seen here.
    pub enumerate: bool,
    /// Whether what runs as somebody ends who lost their access.
    pub end_sessions: EndSessions,
    /// 1: iam:GetAccountAuthorizationDetails. None: 3 or 2, as found.
    pub grade: Option<u8>,
    id_resolver_account: Option<String>,
    id_resolver_iam_role: Option<String>,
    /// The region of STS; None: the instance's.
    pub region: Option<String>,
    /// Where IAM is; None: AWS's own.
    pub iam_endpoint: Option<String>,
    /// Where STS is; None: AWS's own.
    pub sts_endpoint: Option<String>,
    /// Where the metadata service is; None: its link-local addresses.
    pub metadata_endpoint: Option<String>,
    /// The proxy on the way to AWS.
    pub https_proxy: Option<ProxyUrl>,
    /// A PEM file of the certificate authorities to trust; None: the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Where metrics are written for `node_exporter`; None: nowhere.
    pub metrics_file: Option<PathBuf>,
}

impl Default for KeymakerdConfig {
    fn default() -> Self {
        Self {
            role_settings: true,
            require_iam_group: None,
            publish: Publish::People,
            user_path_prefix: "/".into(),
            only_group_members: false,
            login_by: [LoginBy::IamKeys].into(),
            login_audience: None,
            login_token_max: 300,
            login_bound: false,
            login_proof_group: None,
            login_not_before: 0,
            login_issuers: BTreeSet::new(),
            login_keys_file: None,
            linux_user_suffix: None,
            lowercase_names: false,
            dotted_names: true,
            reserved_names: BTreeSet::new(),
            linux_group_prefix: None,
            local_groups: ["sudo", "wheel", "adm", "systemd-journal"].map(str::to_owned).into(),
            local_groups_stand: false,
            group_ids: BTreeMap::new(),
            sudo_iam_group: None,
            id_scheme: Scheme::Wide,
            id_range: None,
            tags: BTreeSet::new(),
            tag_uid_range: None,
            default_shell: "/bin/bash".into(),
            home_base: "/home".into(),
            authz_ttl: 60,
            max_stale: 86_400,
            max_stale_running: 7 * 86_400,
            sync_interval: 300,
            prefetch_keys: Prefetch::Seen,
            enumerate: false,
            end_sessions: EndSessions::Ends(false),
            grade: None,
            id_resolver_account: None,
            id_resolver_iam_role: None,
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

/// The line, from 1, on which a key stands in a settings file that was read before.
pub fn line_of_key(path: &Path, key: &str) -> usize {
    config_error::line_of_key(&fs::read_to_string(path).unwrap_or_default(), key)
}

impl KeymakerdConfig {
    /// Reads and checks the file. One that is not there says nothing: the defaults hold, and below them what an earlier
    /// file said (`settings::file`).
    pub fn read(path: &Path) -> Result<Table, ConfigError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => String::new(),
            Err(why) => return Err(ConfigError::Unreadable(path.to_owned(), why)),
        };
        Self::parse(&text, path)?;
        config_error::parse(&text, path, &SETTINGS)
    }

    /// What the keys and values of a file mean that was read before.
    pub fn of(table: &Table) -> Result<Self, ConfigError> {
        let mut config: Self = table
            .clone()
            .try_into()
            .map_err(|why: toml::de::Error| ConfigError::Kept {
                file: SETTINGS.file,
                key: String::new(),
                problem: why.message().to_owned(),
            })?;
        config.local_groups_stand = table.contains_key("local_groups");
        match checks::first_problem(&config) {
            Some((key, problem)) => Err(ConfigError::Kept {
                file: SETTINGS.file,
                key: key.to_owned(),
                problem,
            }),
            None => Ok(config),
        }
    }

    /// Reads and checks a text; `path` is for the sentences.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = config_error::parse(text, path, &SETTINGS)?;
        let table: Table = config_error::parse(text, path, &SETTINGS)?;
        config.local_groups_stand = table.contains_key("local_groups");
        match checks::first_problem(&config) {
            Some(problem) => Err(SETTINGS.bad_value(text, path, problem)),
            None => Ok(config),
        }
    }

    /// The whole configuration as it holds, as a file of the same form; what has no value is absent.
    pub fn print(&self) -> Result<String, toml::ser::Error> {
        let mut printed = self.clone();
        // Printed, the default would stand in the file, and give what it does not give by itself.
        if self.linux_group_prefix.as_deref() == Some("") && !self.local_groups_stand {
            printed.local_groups.clear();
        }
        toml::to_string(&printed)
    }

    /// One setting as it holds, a text without its quotes; nothing where it has no value.
    pub fn value_of(&self, key: &str) -> Result<String, String> {
        if !SETTINGS.all.iter().any(|known| known.name == key) {
            return Err(format!(
                "there is no setting {key:?}: {}(5) has them all",
                SETTINGS.file
            ));
        }
        let all = Table::try_from(self).map_err(|error| error.to_string())?;
        Ok(match all.get(key) {
            None => String::new(),
            Some(toml::Value::String(text)) => format!("{text}\n"),
            Some(value) => format!("{value}\n"),
        })
    }

    /// How ids are drawn.
    pub fn id_scheme(&self) -> IdScheme {
        match (self.id_scheme, self.id_range) {
            (Scheme::Keymaker, _) => IdScheme::Keymaker,
            (Scheme::Wide, Some(range)) => IdScheme::Wide(id_range(range)),
            (Scheme::Wide, None) => IdScheme::Wide(IdRange::WIDE),
        }
    }

    /// Whether IAM may give membership in this group of /etc/group, under this prefix. Under an empty one each IAM group has
    /// its own name here, so that whoever may name a group could be root; then the file itself must say both.
    pub fn gives_local_group(&self, name: &str, prefix: &str) -> bool {
        let is_meant = !prefix.is_empty() || (self.linux_group_prefix.is_some() && self.local_groups_stand);
        is_meant && self.local_groups.contains(name)
    }

    /// How far the time of a user's keys may lag in the file, in seconds, so that the file rests while nothing else
    /// changes: little of `max_stale`, by which that time is judged.
    pub fn keys_time_step(&self) -> u64 {
        u64::from(self.max_stale / 24).clamp(1, 3600)
    }

    /// Whether a token of AWS's may open a login.
    pub fn proofs_are_on(&self) -> bool {
        self.login_by.contains(&LoginBy::Proof)
    }

    /// Whether something narrows who of the account gets a name here.
    pub fn is_fenced(&self) -> bool {
        self.only_group_members || self.user_path_prefix != "/"
    }

    /// The uids that the tag uid may ask for; `None` where the tag is not enabled.
    pub fn tag_uid_range(&self) -> Option<IdRange> {
        self.tag_uid_range
            .filter(|_| self.tags.contains(&Tag::Uid))
            .map(id_range)
    }

    /// Where users live, if the file says so.
    pub fn id_resolver(&self) -> Option<ResolverSetting> {
        let account = self.id_resolver_account.as_deref()?;
        let role = self.id_resolver_iam_role.as_deref().unwrap_or_default();
        Some(match IdResolver::new(account, role) {
            Ok(resolver) => ResolverSetting::Other(resolver),
            // Checked when the file was read: it is the empty text.
            Err(_) => ResolverSetting::OwnAccount,
        })
    }
}

/// Where the file says that users live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolverSetting {
    /// In the instance's account, whatever the role's description says.
    OwnAccount,
    /// In another one.
    Other(IdResolver),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    Wide,
    Keymaker,
}

/// What opens a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginBy {
    /// SSH keys that IAM, or an enabled tag, has for the user.
    IamKeys,
    /// A token of AWS's for the key.
    Proof,
    /// A key that somebody whom AWS lets do so pushed for the name, by EC2 Instance Connect.
    InstanceConnect,
}

/// A tag that may decide something about its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tag {
    /// The uid.
    Uid,
    /// The home directory.
    Home,
    /// The login shell.
    Shell,
    /// The full name.
    Gecos,
    /// The last day.
    Expires,
    /// More public keys.
    Keys,
}

impl Tag {
    /// Whether a tag of this name is what is enabled.
    pub fn is_called(self, name: &str) -> bool {
        match self {
            Self::Uid => name == "uid",
            Self::Home => name == "home",
            Self::Shell => name == "shell",
            Self::Gecos => name == "gecos",
            Self::Expires => name == "expires",
            Self::Keys => name.starts_with(ssh_key_tags::NAME_BEGINS),
        }
    }
}

/// Who is published of IAM's users, whose most are no people but programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Who has an SSH key, a tag of ours or a group of ours, or had one here.
    People,
    /// Everybody.
    All,
}

/// Whether what runs as a user ends with the user's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "no such value")]
pub enum EndSessions {
    /// Where IAM has taken it, or not at all.
    Ends(bool),
    /// Also where this host gives the user no entry any more for a name, or by a change of its settings.
    EndsAlso(OfWhom),
}

/// See [`EndSessions::EndsAlso`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfWhom {
    /// Everybody who is refused.
    All,
}

/// Whose keys are fetched ahead of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prefetch {
    /// Those of users who logged in here in the last 30 days.
    Seen,
    /// Those of members of the required group.
    RequiredGroup,
    /// Everybody's.
    All,
    /// Nobody's.
    Never,
}

fn id_range([first, last]: [u32; 2]) -> IdRange {
    IdRange { first, last }
}

#[cfg(test)]
mod tests;
