//! Which setting changed, from what to what: the settings in force as keys and values, and the lines about what two of
//! them differ in. Called by `publication`, whatever the change came from: the file, the role's description, an order.

use std::collections::{BTreeMap, BTreeSet};

use keymaker_core::audit::{AuditDecision, AuditEvent, AuditField, AuditLine};

use super::EffectiveSettings;
use crate::config::KeymakerdConfig;

/// The settings in force, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsInForce(pub(super) BTreeMap<String, String>);

impl SettingsInForce {
    /// The file's, and what the role's description says of the five that it may say.
    pub fn of(config: &KeymakerdConfig, effective: &EffectiveSettings) -> Self {
        let file = toml::Table::try_from(config).unwrap_or_default();
        let mut values: BTreeMap<String, String> = file
            .into_iter()
            .map(|(key, value)| (key, without_password(&value.to_string())))
            .collect();
        // By the account, which both keys of the file name together.
        values.remove("id_resolver_iam_role");
        for (key, value) in [
            (
                "id_resolver_account",
                effective.id_resolver.as_ref().map(ToString::to_string),
            ),
            ("require_iam_group", effective.require_iam_group.clone()),
            ("linux_user_suffix", Some(effective.user_suffix.clone())),
            ("linux_group_prefix", Some(effective.group_prefix.clone())),
        ] {
            match value {
                Some(value) => values.insert(key.to_owned(), toml::Value::from(value).to_string()),
                None => values.remove(key),
            };
        }
        Self(values)
    }

    /// A line for each that is different in `now`.
    pub fn changes_to(&self, now: &Self) -> Vec<AuditLine> {
        let keys: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let changed = keys.into_iter().filter(|key| self.0.get(*key) != now.0.get(*key));
        let line = |key: &String| {
            let value = |values: &Self| values.0.get(key).cloned().unwrap_or_default();
            let (from, to) = (value(self), value(now));
            let said = |value: &str| {
                if value.is_empty() {
                    "none".to_owned()
                } else {
                    value.to_owned()
                }
            };
            let message = format!("the setting {key} has changed from {} to {}", said(&from), said(&to));
            AuditLine::new(AuditEvent::Setting, AuditDecision::Changed)
                .with(AuditField::Setting, key)
                .with(AuditField::From, from)
                .with(AuditField::To, to)
                .saying("keymakerd", message)
        };
        changed.map(line).collect()
    }
}

/// A proxy's URL may hold a name and a password (P19).
fn without_password(value: &str) -> String {
    match (value.split_once("://"), value.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::KeptSettings;

    fn in_force(text: &str) -> SettingsInForce {
        let config = KeymakerdConfig::parse(text, "keymakerd.toml".as_ref()).unwrap();
        SettingsInForce::of(&config, &EffectiveSettings::of(&config, &KeptSettings::default()))
    }

    #[test]
    fn each_setting_that_changed_is_a_line_with_both_values_and_no_password() {
        let before = in_force("max_stale = 3600\nrequire_iam_group = \"ops\"\n");
        assert_eq!(before.changes_to(&before), []);
        let after = in_force("https_proxy = \"http://me:secret@proxy:3128\"\nmax_stale = 7200\n");
        let lines = before.changes_to(&after);
        let told: Vec<[Option<&str>; 3]> = lines
            .iter()
            .map(|line| [AuditField::Setting, AuditField::From, AuditField::To].map(|field| line.told(field)))
            .collect();
        assert_eq!(
            told,
            [
                [Some("https_proxy"), None, Some("\"http://…@proxy:3128\"")],
                [Some("max_stale"), Some("3600"), Some("7200")],
                [Some("require_iam_group"), Some("\"ops\""), None],
            ]
        );
        assert!(lines.iter().all(|line| !line.message.contains("secret")));
    }
}
