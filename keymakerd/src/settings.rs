//! The settings that stand in the description of the instance's role: read exactly as the Python keymaker reads them,
//! kept when they cannot be read, and held back where a change could let other people in. Pure: the sync passes
//! descriptions in and writes [`KeptSettings`] to disk; a failed `GetRole` is not a description and never comes here
//! (P3). `file.rs` does the same for keymakerd.toml.
//!
//! ```text
//! a change in the description        of an id resolver, suffix or prefix: waits, whatever it was before
//!                                    of the required group: none → a: applies, it narrows; a → b, a → none: waits
//!                                    back to what applies: nothing waits
//! a line of keymakerd.toml           there: applies, the file is root's; gone with what it narrowed: stands on, and waits
//! another role                       its description is read as on a fresh host, and what changed by it is reported until accepted
//! what waits                         applies by `keymaker accept-settings`, or is settled by a line of keymakerd.toml
//! ```

use std::fmt;

use keymaker_aws::IdResolver;
use keymaker_aws::role_description::{
    ID_RESOLVER_ACCOUNT, ID_RESOLVER_IAM_ROLE, IdResolverError, LINUX_GROUP_PREFIX, LINUX_USER_SUFFIX,
    REQUIRE_IAM_GROUP, RoleDescription,
};
use serde::{Deserialize, Serialize};

use crate::config::{KeymakerdConfig, ResolverSetting};
use keymaker_aws::iam_names::{is_group_name, is_prefix, is_suffix};

mod changes;
mod file;
mod origins;
pub use changes::SettingsInForce;
pub use file::FileSettings;
pub use origins::{SettingStatus, of as settings_with_origins};

/// The group prefix where nobody says otherwise.
pub const DEFAULT_GROUP_PREFIX: &str = "keymaker_";

/// What holds on this host: keymakerd.toml, and below it the role's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveSettings {
    /// Where the users live; `None`: in the instance's own account.
    pub id_resolver: Option<IdResolver>,
    /// The full name of the IAM group that a user must be in to log in.
    pub require_iam_group: Option<String>,
    /// What an IAM user name ends in and the Unix name does not.
    pub user_suffix: String,
    /// What the name of an IAM group begins with that becomes a Unix group.
    pub group_prefix: String,
    /// Whether the role's description was ever read, or need not be; else nobody of ours may log in.
    pub known: bool,
}

impl EffectiveSettings {
    /// The file wins, setting by setting.
    pub fn of(config: &KeymakerdConfig, kept: &KeptSettings) -> Self {
        let read = kept.applied.as_ref().filter(|_| config.role_settings);
        let role = read.cloned().unwrap_or_default();
        Self {
            id_resolver: match config.id_resolver() {
                Some(ResolverSetting::OwnAccount) => None,
                Some(ResolverSetting::Other(resolver)) => Some(resolver),
                None => role.id_resolver,
            },
            require_iam_group: match &config.require_iam_group {
                Some(group) => Some(group.clone()).filter(|group| !group.is_empty()),
                None => role.require_iam_group,
            },
            user_suffix: config
                .linux_user_suffix
                .clone()
                .or(role.user_suffix)
                .unwrap_or_default(),
            group_prefix: config
                .linux_group_prefix
                .clone()
                .or(role.group_prefix)
                .unwrap_or_else(|| DEFAULT_GROUP_PREFIX.to_owned()),
            known: read.is_some() || !config.role_settings,
        }
    }
}

/// What private/settings.json holds: the settings as they apply, and as they were last read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptSettings {
    applied: Option<RoleSettings>,
    observed: Option<RoleSettings>,
    /// The `RoleId` of the role whose description that is; `None` where an earlier version kept it.
    #[serde(default)]
    role_id: Option<String>,
    /// What another role's description has changed, until an administrator has taken notice.
    #[serde(default)]
    pub other_role: Option<OtherRole>,
    /// keymakerd.toml likewise.
    #[serde(default)]
    pub file: FileSettings,
}

impl KeptSettings {
    /// Takes in the description of the role of this id as `GetRole` just gave it; `None` is a role without one. What
    /// cannot be read stays as it was. Another role is another source: once it is read whole, all of it applies.
    /// Anybody who may give this instance another role may give it any rights; what the former one's description said
    /// binds them to nothing.
    pub fn observe(&mut self, role_id: &str, description: Option<&str>) -> SettingsChange {
        if self.role_id.as_deref().is_none_or(|former| former == role_id) {
            self.role_id = Some(role_id.to_owned());
            return self.observe_same(description);
        }
        let mut fresh = Self {
            file: self.file.clone(),
            role_id: Some(role_id.to_owned()),
            ..Self::default()
        };
        let mut change = fresh.observe_same(description);
        // Until then the last good settings hold (P3).
        if let Some(then) = &fresh.applied {
            fresh.other_role = self.applied.as_ref().and_then(|now| OtherRole::between(now, then));
            change.other_role.clone_from(&fresh.other_role);
            *self = fresh;
        }
        change
    }

    fn observe_same(&mut self, description: Option<&str>) -> SettingsChange {
        let mut problems = Vec::new();
        let words = RoleDescription::parse(description.unwrap_or_default());
        let observed = RoleSettings::read(&words, self.applied.as_ref(), &mut problems);
        let before = self.applied.clone();
        self.applied = match (&self.applied, &observed) {
            // The first reading is whole or none: a required group that cannot be read is not "no required group".
            (None, _) if problems.iter().any(SettingProblem::leaves_a_setting_open) => None,
            (None, observed) => Some(observed.clone()),
            (Some(applied), observed) => Some(applied.changed_to(observed)),
        };
        self.observed = self.applied.is_some().then_some(observed);
        SettingsChange {
            applied: self.applied != before,
            pending: self.pending(),
            problems,
            other_role: None,
        }
    }

    /// What was read in the description but waits for `keymaker accept-settings`.
    pub fn pending(&self) -> Vec<PendingSetting> {
        let (Some(applied), Some(observed)) = (&self.applied, &self.observed) else {
            return Vec::new();
        };
        let resolver = (applied.id_resolver != observed.id_resolver).then(|| PendingSetting::IdResolver {
            now: applied.id_resolver.clone(),
            then: observed.id_resolver.clone(),
        });
        let group = applied
            .require_iam_group
            .clone()
            .map(|now| PendingSetting::RequiredGroup {
                now,
                then: observed.require_iam_group.clone(),
            });
        let group = group.filter(|_| applied.require_iam_group != observed.require_iam_group);
        let word = |key, now: &str, then: &str| {
            (now != then).then(|| PendingSetting::NamePart {
                key,
                now: now.to_owned(),
                then: then.to_owned(),
            })
        };
        let suffix = word(LINUX_USER_SUFFIX, applied.suffix(), observed.suffix());
        let prefix = word(LINUX_GROUP_PREFIX, applied.prefix(), observed.prefix());
        resolver.into_iter().chain(group).chain(suffix).chain(prefix).collect()
    }

    /// Lets what is pending apply, in the description and in the file.
    pub fn accept(&mut self) {
        self.applied.clone_from(&self.observed);
        self.other_role = None;
        self.file.accept();
    }
}

/// What one reading of the description did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsChange {
    /// Whether anything applies now that did not before.
    pub applied: bool,
    /// What waits for an administrator.
    pub pending: Vec<PendingSetting>,
    /// What could not be read, and so changed nothing.
    pub problems: Vec<SettingProblem>,
    /// What another role's description says otherwise.
    pub other_role: Option<OtherRole>,
}

/// What applies since this host has another role, and what applied before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherRole {
    now: Vec<String>,
    before: Vec<String>,
}

impl OtherRole {
    fn between(before: &RoleSettings, now: &RoleSettings) -> Option<Self> {
        let (of_before, of_now) = (before.words(), now.words());
        let only_in = |one: &[String], other: &[String]| {
            let words = one.iter().filter(|word| !other.contains(word));
            words.cloned().collect::<Vec<_>>()
        };
        (of_before != of_now).then(|| Self {
            now: only_in(&of_now, &of_before),
            before: only_in(&of_before, &of_now),
        })
    }
}

impl fmt::Display for OtherRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |words: &[String]| match words {
            [] => "nothing about it".to_owned(),
            words => words.join(" "),
        };
        write!(
            f,
            "this host has another role, and its description applies: it says {}, where the former role's said {}; if that is right: \
             keymaker accept-settings",
            said(&self.now),
            said(&self.before)
        )
    }
}

/// A change that could let other people in, and so waits for `keymaker accept-settings` or the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingSetting {
    /// The users would come from another account or through another role.
    IdResolver {
        /// As it is.
        now: Option<IdResolver>,
        /// As it would be.
        then: Option<IdResolver>,
    },
    /// Another group would be required, or none.
    RequiredGroup {
        /// The group that is required.
        now: String,
        /// The one that would be.
        then: Option<String>,
    },
    /// IAM names would be read otherwise: other users would have these names, or other groups these rights.
    NamePart {
        /// `keymaker_linux_user_suffix` or `keymaker_linux_group_prefix`.
        key: &'static str,
        /// As it is.
        now: String,
        /// As it would be.
        then: String,
    },
}

impl PendingSetting {
    /// Whether keymakerd.toml has decided already, so that nobody need accept anything.
    pub fn is_settled_by(&self, config: &KeymakerdConfig) -> bool {
        let by_the_file = match self {
            Self::IdResolver { .. } => config.id_resolver().is_some(),
            Self::RequiredGroup { .. } => config.require_iam_group.is_some(),
            Self::NamePart { key, .. } => match *key {
                LINUX_USER_SUFFIX => config.linux_user_suffix.is_some(),
                _ => config.linux_group_prefix.is_some(),
            },
        };
        by_the_file || !config.role_settings
    }
}

/// The five settings of the role's description.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSettings {
    /// `keymaker_id_resolver_account` and `keymaker_id_resolver_iam_role`.
    pub id_resolver: Option<IdResolver>,
    /// `keymaker_require_iam_group`.
    pub require_iam_group: Option<String>,
    /// `keymaker_linux_user_suffix`.
    pub user_suffix: Option<String>,
    /// `keymaker_linux_group_prefix`.
    pub group_prefix: Option<String>,
}

impl RoleSettings {
    /// The settings that these words make; one that cannot be read is as in `applied`.
    fn read(words: &RoleDescription, applied: Option<&Self>, problems: &mut Vec<SettingProblem>) -> Self {
        let kept = applied.cloned().unwrap_or_default();
        let mut checked = |key: &'static str, legal: fn(&str) -> bool, kept: Option<String>| {
            let value = words.value(key)?;
            if legal(value) {
                return Some(value.to_owned());
            }
            problems.push(SettingProblem::Illegal {
                key,
                value: value.to_owned(),
            });
            kept
        };
        let read = Self {
            id_resolver: None,
            require_iam_group: checked(REQUIRE_IAM_GROUP, is_group_name, kept.require_iam_group),
            user_suffix: checked(LINUX_USER_SUFFIX, is_suffix, kept.user_suffix),
            group_prefix: checked(LINUX_GROUP_PREFIX, is_prefix, kept.group_prefix),
        };
        let id_resolver = words.id_resolver().unwrap_or_else(|why| {
            problems.push(SettingProblem::IdResolver(why));
            kept.id_resolver
        });
        let unknown = words.keys().filter(|key| !KEYS.contains(key));
        problems.extend(unknown.map(|key| SettingProblem::UnknownKey(key.to_owned())));
        Self { id_resolver, ..read }
    }

    /// These settings after the description changed to `observed`: as they were, but for a first required group, which
    /// narrows.
    fn changed_to(&self, observed: &Self) -> Self {
        let narrowed = self.require_iam_group.clone().or(observed.require_iam_group.clone());
        Self {
            require_iam_group: narrowed,
            ..self.clone()
        }
    }

    /// As a description says it, one word a setting.
    fn words(&self) -> Vec<String> {
        let resolver = self.id_resolver.as_ref();
        let words = [
            (ID_RESOLVER_ACCOUNT, resolver.map(|it| it.account().to_string())),
            (ID_RESOLVER_IAM_ROLE, resolver.map(|it| it.role().to_owned())),
            (REQUIRE_IAM_GROUP, self.require_iam_group.clone()),
            (LINUX_USER_SUFFIX, self.user_suffix.clone()),
            (LINUX_GROUP_PREFIX, self.group_prefix.clone()),
        ];
        let words = words.into_iter();
        words
            .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
            .collect()
    }

    fn suffix(&self) -> &str {
        self.user_suffix.as_deref().unwrap_or_default()
    }

    fn prefix(&self) -> &str {
        self.group_prefix.as_deref().unwrap_or(DEFAULT_GROUP_PREFIX)
    }
}

/// Why a word of the description changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingProblem {
    /// "`keymaker_require_iam_group` in the role's description is '…', which IAM does not allow."
    Illegal {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// The id resolver cannot be used.
    IdResolver(IdResolverError),
    /// "keymaker_… in the role's description is not a setting."
    UnknownKey(String),
}

impl SettingProblem {
    /// Whether one of the five settings is not known because of it.
    fn leaves_a_setting_open(&self) -> bool {
        !matches!(self, Self::UnknownKey(_))
    }
}

impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Illegal { key, value } => write!(
                f,
                "the role's description says {key}={value:?}, which cannot be a name in IAM; correct it there"
            ),
            Self::IdResolver(IdResolverError::Illegal(why)) => {
                write!(f, "the id resolver in the role's description: {why}")
            }
            Self::IdResolver(IdResolverError::Lacks(missing)) => {
                write!(
                    f,
                    "the role's description names half an id resolver; add {missing} there"
                )
            }
            Self::UnknownKey(key) => write!(
                f,
                "the role's description has {key:?}, which is not a setting; check its spelling there"
            ),
        }
    }
}

impl fmt::Display for PendingSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |resolver: &Option<IdResolver>| {
            resolver
                .as_ref()
                .map_or_else(|| "this instance's account".to_owned(), IdResolver::to_string)
        };
        match self {
            Self::IdResolver { now, then } => write!(
                f,
                "users come from {}, and would then come from {}; to allow it: keymaker accept-settings",
                name(now),
                name(then)
            ),
            Self::RequiredGroup { now, then } => {
                write!(f, "the IAM group {now:?} is required, and instead ")?;
                match then {
                    Some(then) => write!(f, "{then:?} would be")?,
                    None => f.write_str("none would be")?,
                }
                f.write_str("; to allow it: keymaker accept-settings")
            }
            Self::NamePart { key, now, then } => write!(
                f,
                "{key} is {now:?}, and would then be {then:?}; to allow it: keymaker accept-settings"
            ),
        }
    }
}

const KEYS: [&str; 5] = [
    ID_RESOLVER_ACCOUNT,
    ID_RESOLVER_IAM_ROLE,
    REQUIRE_IAM_GROUP,
    LINUX_USER_SUFFIX,
    LINUX_GROUP_PREFIX,
];

#[cfg(test)]
mod tests;
