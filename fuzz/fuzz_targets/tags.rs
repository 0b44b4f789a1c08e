//! Any texts, with zero bytes between them, as a user's tags: what they put into a passwd entry is a field that a
//! passwd line can hold, a home is nobody else's and no folder of the system's, and a date that cannot be read lets
//! nobody in.

#![no_main]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use keymaker_core::directory_file::Verdict;
use keymaker_core::name::UserName;
use keymakerd::config::KeymakerdConfig;
use keymakerd::directory::entitlement::passwd_fields::{gecos, home, shell};
use keymakerd::directory::entitlement::verdict;
use keymakerd::directory::facts::Facts;
use keymakerd::local_accounts::LocalAccounts;
use keymakerd::settings::{EffectiveSettings, KeptSettings};
use libfuzzer_sys::fuzz_target;

static CONFIG: LazyLock<KeymakerdConfig> = LazyLock::new(|| {
    KeymakerdConfig::parse(
        "role_settings = false\ntags = [\"expires\", \"home\", \"shell\", \"gecos\"]",
        Path::new("fuzzed"),
    )
    .expect("the settings are right")
});

static LOCAL: LazyLock<LocalAccounts> =
    LazyLock::new(|| LocalAccounts::parse("root:x:0:0::/root:/bin/sh\n", "root:x:0:\n", "/bin/bash\n/bin/sh\n"));

/// Alice, as version 0.1 kept her facts.
static FACTS: LazyLock<Facts> = LazyLock::new(|| {
    let kept = r#"{"account": null, "groups": {}, "awaiting_second_pass": [], "users": {"AIDAALICE": {"name": "alice", "path": "/",
        "created": 0, "tags": null, "groups": [], "doubted_since": null, "answered_at": 0, "keys": null, "last_login": null}}}"#;
    serde_json::from_str(kept).expect("kept facts are read")
});

fuzz_target!(|texts: &str| {
    let tags: Vec<(&str, &str)> = ["expires", "home", "shell", "gecos"]
        .into_iter()
        .zip(texts.split('\0'))
        .collect();
    let (_, known) = FACTS.users.first_key_value().expect("one user");
    let mut user = known.clone();
    user.tags = Some(
        tags.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    );
    let settings = EffectiveSettings::of(&CONFIG, &KeptSettings::default());
    // A day that is not a day of toml's calendar is not a date.
    let (_, expires) = tags.first().expect("a text has a first part");
    let is_date = expires
        .parse::<toml::value::Datetime>()
        .is_ok_and(|it| it.date.is_some() && it.time.is_none());
    assert!(
        is_date || verdict::by_facts(&user, &FACTS, &CONFIG, &settings, 0) == Verdict::Expired,
        "{expires:?}"
    );
    assert_eq!(
        verdict::by_facts(&user, &FACTS, &CONFIG, &settings, u64::MAX),
        Verdict::Expired
    );

    let name = UserName::parse(b"alice").expect("a name");
    let mut taken = BTreeSet::from(["/srv/bob".to_owned()]);
    let home = home(&CONFIG, name, &user, &mut taken);
    let parts: Vec<&str> = home.split('/').collect();
    assert!(home.starts_with('/') && !parts.iter().skip(1).any(|part| matches!(*part, "" | "." | "..")));
    assert!(home != "/srv/bob" && (!home.starts_with("/home/") || home == "/home/alice"));
    assert!(!["etc", "usr", "root", "lib64"].contains(parts.get(1).expect("a first folder")));
    assert!(["/bin/bash", "/bin/sh"].contains(&shell(&CONFIG, &LOCAL, &user)));
    let gecos = gecos(&CONFIG, &user);
    assert!(gecos.len() <= 255 && !gecos.contains(|c: char| c == ':' || c.is_control()));
});
