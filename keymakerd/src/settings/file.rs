//! What keymakerd.toml said, kept in private/: a file that is gone, empty or cut is not a decision of an administrator,
//! and must not open what the last one closed (P3). Called by `daemon` at start and at reload, and by the order
//! `accept-settings`.
//!
//! A value that stands in the file applies. A line that is gone stands on where it narrowed something, until an
//! administrator accepts that it is gone or writes another value. A file that cannot be read or is not TOML changes
//! nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::{ConfigError, KeymakerdConfig};

/// The file as it applies, and as it was last read.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FileSettings {
    /// `None`: never read yet.
    applied: Option<Table>,
    read: Table,
}

impl FileSettings {
    /// Takes in the file as just read; returns what holds now. On an error everything stays as it was.
    pub fn take(&mut self, read: Table) -> Result<KeymakerdConfig, ConfigError> {
        let mut applied = read.clone();
        for (key, value) in self
            .applied
            .iter()
            .flatten()
            .filter(|(key, _)| !read.contains_key(*key))
        {
            if let Some(value) = what_stands_on(key, value) {
                applied.insert(key.clone(), value);
            }
        }
        let config = KeymakerdConfig::of(&applied)?;
        self.read = read;
        self.applied = Some(applied);
        Ok(config)
    }

    /// What held when the file was last read; `None` if it never was.
    pub fn last(&self) -> Option<Result<KeymakerdConfig, ConfigError>> {
        self.applied.as_ref().map(KeymakerdConfig::of)
    }

    /// Whether the file has this key, or had it and its value stands on; `None` where it says nothing about it.
    pub(super) fn says(&self, key: &str) -> Option<bool> {
        let applies = self.applied.as_ref().is_some_and(|applied| applied.contains_key(key));
        applies.then(|| self.read.contains_key(key))
    }

    /// Lines that are gone from the file and stand on.
    pub fn gone(&self) -> Vec<GoneLine> {
        let applied = self.applied.iter().flatten();
        let gone = applied.filter(|(key, _)| !self.read.contains_key(*key));
        gone.map(|(key, value)| GoneLine {
            key: key.clone(),
            value: value.to_string(),
        })
        .collect()
    }

    /// The file is meant as it is.
    pub(super) fn accept(&mut self) {
        if self.applied.is_some() {
            self.applied = Some(self.read.clone());
        }
    }
}

/// The keys only: a value may be the password of a proxy (P19).
impl fmt::Debug for FileSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.applied.iter().flat_map(Table::keys))
            .finish()
    }
}

/// A line that stands on though the file lacks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneLine {
    key: String,
    value: String,
}

impl fmt::Display for GoneLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value } = self;
        write!(
            f,
            "keymakerd.toml no longer says {key} = {value}; that still holds: write the line back, or to accept that it is gone: \
             keymaker accept-settings"
        )
    }
}

/// What of a vanished line narrows more than the default does. Where a line only ever gave something (`sudo_iam_group`,
/// the tag keys), or says how IAM is reached, its absence counts at once.
fn what_stands_on(key: &str, value: &Value) -> Option<Value> {
    let default = KeymakerdConfig::default();
    let stands = match (key, value) {
        ("role_settings" | "dotted_names", value) => value.as_bool() == Some(false),
        ("only_group_members" | "end_sessions", value) => value.as_bool() != Some(false),
        ("authz_ttl", value) => is_below(value, default.authz_ttl),
        ("max_stale", value) => is_below(value, default.max_stale),
        ("max_stale_running", value) => is_below(value, default.max_stale_running),
        // Not to narrow, but since max_stale goes with it.
        ("sync_interval", value) => is_below(value, default.sync_interval),
        // Of what was allowed, what the default allows too.
        ("local_groups", Value::Array(groups)) => {
            let allowed = |group: &&Value| group.as_str().is_some_and(|group| default.local_groups.contains(group));
            return Some(Value::Array(groups.iter().filter(allowed).cloned().collect()));
        }
        // Where IAM's keys were to open nothing, they open nothing.
        ("login_by", Value::Array(ways)) => !ways.contains(&Value::from("iam-keys")),
        ("login_bound", value) => value.as_bool() != Some(false),
        ("login_token_max", value) => is_below(value, default.login_token_max),
        // A last day still ends.
        ("tags", Value::Array(tags)) => {
            let expires = Value::from("expires");
            return tags.contains(&expires).then(|| Value::Array(vec![expires]));
        }
        (
            "require_iam_group"
            | "user_path_prefix"
            | "linux_user_suffix"
            | "linux_group_prefix"
            | "reserved_names"
            | "login_audience"
            | "login_proof_group"
            | "login_not_before"
            | "login_issuers"
            | "login_keys_file"
            | "default_shell"
            | "id_resolver_account"
            | "id_resolver_iam_role"
            | "ca_bundle",
            _,
        ) => true,
        _ => false,
    };
    stands.then(|| value.clone())
}

fn is_below(value: &Value, default: u32) -> bool {
    value.as_integer().is_some_and(|value| value < i64::from(default))
}

#[cfg(test)]
mod tests;
