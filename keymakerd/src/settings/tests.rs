//! What a role's description may and may not do to a host.

use std::path::Path;

use super::*;

const RESOLVER: &str = "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=KeymakerIdResolver";

const ROLE: &str = "AROAWEB";

fn config(text: &str) -> KeymakerdConfig {
    KeymakerdConfig::parse(text, Path::new("keymakerd.toml")).unwrap()
}

fn kept(description: &str) -> KeptSettings {
    let mut kept = KeptSettings::default();
    let change = kept.observe(ROLE, Some(description));
    assert_eq!(
        (change.applied, change.pending, change.problems),
        (true, vec![], vec![])
    );
    kept
}

fn effective(kept: &KeptSettings) -> EffectiveSettings {
    EffectiveSettings::of(&KeymakerdConfig::default(), kept)
}

#[test]
fn all_five_settings_are_read() {
    let kept = kept(&format!(
        "Web servers. {RESOLVER}, keymaker_require_iam_group='prod_ssh_users', keymaker_linux_user_suffix=@example.com,\
         keymaker_linux_group_prefix=unix-"
    ));
    assert_eq!(
        effective(&kept),
        EffectiveSettings {
            id_resolver: Some(IdResolver::new("210987654321", "KeymakerIdResolver").unwrap()),
            require_iam_group: Some("prod_ssh_users".into()),
            user_suffix: "@example.com".into(),
            group_prefix: "unix-".into(),
            known: true,
        }
    );
    let arn = effective(&kept)
        .id_resolver
        .unwrap()
        .role_arn(&"aws-cn".parse().unwrap())
        .unwrap();
    assert_eq!(arn.to_string(), "arn:aws-cn:iam::210987654321:role/KeymakerIdResolver");
}

#[test]
fn what_no_name_in_iam_can_be_or_end_in_is_no_setting() {
    let long = |count| "a".repeat(count);
    assert!(is_group_name("a") && is_group_name(&long(128)) && is_suffix("") && is_suffix(&long(63)));
    assert!(!is_group_name("") && !is_group_name(&long(129)) && !is_suffix(&long(64)));
    let resolver = IdResolver::new("210987654321", "R").unwrap();
    assert_eq!(resolver.account().as_str(), "210987654321");
}

#[test]
fn a_role_without_settings_leaves_the_defaults() {
    for description in [None, Some(""), Some("Web servers of team a=b, keymakers welcome")] {
        let mut kept = KeptSettings::default();
        assert!(kept.observe(ROLE, description).problems.is_empty());
        let settings = effective(&kept);
        assert_eq!(
            (settings.user_suffix.as_str(), settings.group_prefix.as_str()),
            ("", "keymaker_")
        );
        assert_eq!(
            (settings.id_resolver, settings.require_iam_group, settings.known),
            (None, None, true)
        );
    }
}

// P3
#[test]
fn until_they_are_read_once_the_settings_are_not_known() {
    assert!(!effective(&KeptSettings::default()).known);
    assert!(EffectiveSettings::of(&config("role_settings = false"), &KeptSettings::default()).known);
    let mut kept = KeptSettings::default();
    let change = kept.observe(ROLE, Some("keymaker_require_iam_group=prod/ssh"));
    assert_eq!((change.applied, change.problems.len()), (false, 1));
    assert!(
        !effective(&kept).known,
        "a required group that cannot be read is not none"
    );
    kept.accept();
    assert!(!effective(&kept).known);
}

// P3
#[test]
fn a_description_full_of_rubbish_changes_nothing() {
    let good = format!(
        "{RESOLVER} keymaker_require_iam_group=ops keymaker_linux_user_suffix=@x keymaker_linux_group_prefix=unix-"
    );
    let before = kept(&good);
    for (rubbish, problems) in [
        (
            "keymaker_id_resolver_account=12 keymaker_id_resolver_iam_role=R keymaker_require_iam_group=o/ps keymaker_linux_user_suffix=é keymaker_linux_group_prefix=é",
            4,
        ),
        (
            "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=a*b keymaker_require_iam_group='' keymaker_linux_user_suffix=\"@ keymaker_linux_group_prefix=$(id)",
            4,
        ),
        (
            "keymaker_id_resolver_iam_role=R keymaker_require_iam_group=%% keymaker_linux_user_suffix=:: keymaker_linux_group_prefix=;",
            4,
        ),
        (
            "keymaker_id_resolver_account=210987654321 keymaker_require_iam_group=ops keymaker_linux_user_suffix=@x keymaker_linux_group_prefix=unix-",
            1,
        ),
    ] {
        let mut after = before.clone();
        let change = after.observe(ROLE, Some(rubbish));
        assert_eq!(
            (change.applied, change.problems.len()),
            (false, problems),
            "{rubbish}: {change:?}"
        );
        assert!(change.pending.is_empty(), "{rubbish}");
        assert_eq!(effective(&after), effective(&before), "{rubbish}");
        after.accept();
        assert_eq!(
            effective(&after),
            effective(&before),
            "accepting accepts nothing that was not read: {rubbish}"
        );
    }
}

#[test]
fn a_misspelt_key_is_reported_and_does_no_harm() {
    let mut kept = KeptSettings::default();
    let change = kept.observe(
        ROLE,
        Some("keymaker_require_iam_gruop=ops keymaker_linux_user_suffix=@x"),
    );
    assert_eq!(
        change.problems,
        [SettingProblem::UnknownKey("keymaker_require_iam_gruop".into())]
    );
    assert_eq!(
        (effective(&kept).known, effective(&kept).user_suffix.as_str()),
        (true, "@x")
    );
}

#[test]
fn another_id_resolver_waits_until_it_is_accepted() {
    let other = RESOLVER.replace("2109", "9999");
    for (before, after) in [(RESOLVER, other.as_str()), ("", RESOLVER), (RESOLVER, "")] {
        let mut kept = kept(before);
        let was = effective(&kept);
        let change = kept.observe(ROLE, Some(&format!("{after} keymaker_require_iam_group=ops")));
        assert_eq!(change.pending.len(), 1, "{before} -> {after}");
        assert_eq!(effective(&kept).id_resolver, was.id_resolver);
        assert_eq!(
            effective(&kept).require_iam_group.as_deref(),
            Some("ops"),
            "what narrows applies"
        );
        kept.accept();
        assert_ne!(effective(&kept).id_resolver, was.id_resolver);
        assert!(kept.pending().is_empty());
    }
}

// P3
#[test]
fn a_change_in_the_description_applies_where_it_narrows_and_waits_where_it_could_open() {
    let [group, suffix, prefix] = [
        "keymaker_require_iam_group",
        "keymaker_linux_user_suffix",
        "keymaker_linux_group_prefix",
    ];
    let of = |key: &str, value: Option<&str>| value.map(|value| format!("{key}={value}")).unwrap_or_default();
    // As it was, as it is described now, as it applies then, and whether it waits.
    for (key, before, now, applies, waits) in [
        (group, None, Some("ops"), "ops", false),
        (group, Some("ops"), Some("dev"), "ops", true),
        (group, Some("ops"), None, "ops", true),
        (group, Some("ops"), Some("o/ps"), "ops", false),
        (suffix, None, Some("@x"), "", true),
        (suffix, None, Some(""), "", false),
        (suffix, Some("@x"), Some("@y"), "@x", true),
        (suffix, Some("@x"), Some(""), "@x", true),
        (suffix, Some("@x"), None, "@x", true),
        (prefix, None, Some("unix-"), "keymaker_", true),
        (prefix, None, Some("keymaker_web_"), "keymaker_", true),
        (prefix, None, Some("keymaker_"), "keymaker_", false),
        (prefix, None, Some(""), "keymaker_", true),
        (prefix, Some("unix-"), Some(""), "unix-", true),
        (prefix, Some(""), None, "", true),
        (prefix, Some("unix-"), None, "unix-", true),
        (prefix, Some("unix-"), Some("keymaker_"), "unix-", true),
    ] {
        let case = format!("{key}: {before:?} -> {now:?}");
        let value = |kept: &KeptSettings| {
            let settings = effective(kept);
            match key {
                key if key == group => settings.require_iam_group.unwrap_or_default(),
                key if key == suffix => settings.user_suffix,
                _ => settings.group_prefix,
            }
        };
        let was = of(key, before);
        let mut kept = kept(&was);
        let change = kept.observe(ROLE, Some(&of(key, now)));
        assert_eq!(
            (value(&kept).as_str(), change.pending.len()),
            (applies, usize::from(waits)),
            "{case}"
        );
        assert_eq!(kept.pending(), change.pending, "{case}");
        let said = change
            .pending
            .iter()
            .all(|pending| pending.to_string().contains("keymaker accept-settings"));
        assert!(said, "{case}");
        // What the file says needs nobody's consent.
        for (settled, text) in [
            (true, "role_settings = false"),
            (key == group, "require_iam_group = \"\""),
            (key == suffix, "linux_user_suffix = \"\""),
            (key == prefix, "linux_group_prefix = \"\""),
            (false, "id_resolver_account = \"\""),
        ] {
            let config = config(text);
            assert!(
                change
                    .pending
                    .iter()
                    .all(|pending| pending.is_settled_by(&config) == settled),
                "{case}: {text}"
            );
        }
        let mut back = kept.clone();
        assert!(
            back.observe(ROLE, Some(&was)).pending.is_empty() || key == group && before.is_none(),
            "{case}: it came back by itself"
        );
        if waits {
            kept.accept();
            let default = if key == prefix { "keymaker_" } else { "" };
            assert_eq!(value(&kept), now.unwrap_or(default), "{case}");
            assert!(kept.pending().is_empty(), "{case}");
        }
    }
}

#[test]
fn the_file_wins_over_the_role_setting_by_setting() {
    let kept = kept(&format!(
        "{RESOLVER} keymaker_require_iam_group=ops keymaker_linux_user_suffix=@x"
    ));
    let of = |text: &str| EffectiveSettings::of(&config(text), &kept);
    assert_eq!(
        of("require_iam_group = \"dev\"").require_iam_group.as_deref(),
        Some("dev")
    );
    assert_eq!(of("require_iam_group = \"dev\"").user_suffix, "@x");
    assert_eq!(of("require_iam_group = \"\"").require_iam_group, None);
    assert_eq!(of("linux_user_suffix = \"\"").user_suffix, "");
    assert_eq!(of("linux_group_prefix = \"\"").group_prefix, "");
    assert_eq!(of("id_resolver_account = \"\"").id_resolver, None);
    let other = of("id_resolver_account = \"999999999999\"\nid_resolver_iam_role = \"ops/Resolver\"");
    assert_eq!(
        other.id_resolver.unwrap().to_string(),
        "role ops/Resolver in account 999999999999"
    );
    let none = of("role_settings = false");
    assert_eq!(
        (none.id_resolver, none.require_iam_group, none.user_suffix),
        (None, None, String::new())
    );
}

#[test]
fn what_is_kept_survives_the_disk() {
    let mut kept = kept(RESOLVER);
    kept.observe(ROLE, Some("keymaker_require_iam_group=ops"));
    let text = serde_json::to_string(&kept).unwrap();
    assert_eq!(serde_json::from_str::<KeptSettings>(&text).unwrap(), kept);
}

// P3
#[test]
fn another_roles_description_is_read_as_on_a_fresh_host_and_reported_until_accepted() {
    let mut kept = kept(&format!("{RESOLVER} keymaker_require_iam_group=ops"));
    kept.observe(ROLE, Some("keymaker_require_iam_group=dev"));
    assert_eq!(kept.pending().len(), 2, "the same role's description waits");
    let change = kept.observe("AROAOTHER", Some("keymaker_require_iam_group=prod"));
    let settings = effective(&kept);
    assert_eq!(
        (settings.id_resolver, settings.require_iam_group.as_deref()),
        (None, Some("prod"))
    );
    assert!(change.applied && kept.pending().is_empty());
    let text = change.other_role.unwrap().to_string();
    assert!(
        text.contains("says keymaker_require_iam_group=prod,")
            && text.contains("keymaker_id_resolver_account=210987654321")
            && text.contains("keymaker_require_iam_group=ops;"),
        "{text}"
    );
    assert_eq!(
        kept.observe("AROAOTHER", Some("keymaker_require_iam_group=prod"))
            .other_role,
        None
    );
    assert_eq!(
        kept.other_role.as_ref().map(ToString::to_string),
        Some(text),
        "reported until accepted"
    );
    kept.accept();
    assert_eq!(
        (kept.other_role.clone(), effective(&kept).require_iam_group.as_deref()),
        (None, Some("prod"))
    );
}

// P3
#[test]
fn until_another_roles_description_is_read_whole_the_former_ones_settings_hold() {
    let mut kept = kept("keymaker_require_iam_group=ops");
    let before = kept.clone();
    let change = kept.observe("AROAOTHER", Some("keymaker_require_iam_group=prod/ssh"));
    assert!(!change.problems.is_empty());
    assert_eq!(kept, before);
    // One and the same setting is not news.
    assert_eq!(
        kept.observe("AROAOTHER", Some("keymaker_require_iam_group=ops"))
            .other_role,
        None
    );
}

#[test]
fn what_an_earlier_version_kept_is_the_present_roles() {
    let text = r#"{"applied":{"id_resolver":null,"require_iam_group":"ops","user_suffix":null,"group_prefix":null},"observed":null}"#;
    let mut kept: KeptSettings = serde_json::from_str(text).unwrap();
    let change = kept.observe(ROLE, Some(""));
    assert_eq!((change.other_role, change.pending.len()), (None, 1));
    assert_eq!(effective(&kept).require_iam_group.as_deref(), Some("ops"));
}
