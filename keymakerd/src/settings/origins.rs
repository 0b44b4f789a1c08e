//! Where each setting in force comes from: for `keymaker status`, which somebody asks who has changed one and sees no effect.

use serde::Serialize;

use super::{EffectiveSettings, KeptSettings, SettingsInForce};
use crate::config::KeymakerdConfig;

/// A setting as it holds.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettingStatus {
    /// As in keymakerd.toml.
    key: String,
    /// As it would be written there.
    value: String,
    /// In words.
    from: &'static str,
}

const FILE: &str = "keymakerd.toml";
const GONE: &str = "a line that keymakerd.toml had";
const DESCRIPTION: &str = "the role's description";
const DEFAULT: &str = "default";

/// All settings that have a value.
pub fn of(config: &KeymakerdConfig, kept: &KeptSettings) -> Vec<SettingStatus> {
    let in_force = SettingsInForce::of(config, &EffectiveSettings::of(config, kept));
    // What would hold if the description said nothing.
    let undescribed = KeptSettings {
        applied: kept.applied.as_ref().map(|_| super::RoleSettings::default()),
        ..kept.clone()
    };
    let undescribed = SettingsInForce::of(config, &EffectiveSettings::of(config, &undescribed));
    let from = |key: &String, value: &String| match kept.file.says(key) {
        Some(true) => FILE,
        Some(false) => GONE,
        None if undescribed.0.get(key) != Some(value) => DESCRIPTION,
        None => DEFAULT,
    };
    let settings = in_force.0.iter().map(|(key, value)| SettingStatus {
        key: key.clone(),
        value: value.clone(),
        from: from(key, value),
    });
    settings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_says_where_it_comes_from() {
        let table = |text: &str| text.parse::<toml::Table>().unwrap();
        let mut kept = KeptSettings::default();
        kept.file.take(table("max_stale = 7200\nauthz_ttl = 10")).unwrap();
        let config = kept
            .file
            .take(table("max_stale = 7200\nlinux_group_prefix = \"unix-\""))
            .unwrap();
        kept.observe(
            "AROA",
            Some("keymaker_require_iam_group=ops keymaker_linux_group_prefix=other-"),
        );
        let all = of(&config, &kept);
        let said = |key: &str| {
            let found = all.iter().find(|setting| setting.key == key);
            found.map(|setting| (setting.value.as_str(), setting.from))
        };
        assert_eq!(said("max_stale"), Some(("7200", FILE)));
        assert_eq!(said("authz_ttl"), Some(("10", GONE)));
        assert_eq!(said("require_iam_group"), Some(("\"ops\"", DESCRIPTION)));
        assert_eq!(said("linux_group_prefix"), Some(("\"unix-\"", FILE)));
        assert_eq!(said("linux_user_suffix"), Some(("\"\"", DEFAULT)));
        assert_eq!(said("sync_interval"), Some(("300", DEFAULT)));
        assert_eq!(said("sudo_iam_group"), None);
    }
}
