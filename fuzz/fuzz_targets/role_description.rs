//! Any two texts, with a zero byte between them, as the description of the instance's role, one after the other: never
//! a panic, and the second lets nobody in whom the first kept out until an administrator accepts it.

#![no_main]

use keymakerd::config::KeymakerdConfig;
use keymakerd::settings::{EffectiveSettings, KeptSettings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|descriptions: &str| {
    let (first, second) = descriptions.split_once('\0').unwrap_or((descriptions, ""));
    let (config, mut kept) = (KeymakerdConfig::default(), KeptSettings::default());
    kept.observe("AROA", Some(first));
    let before = EffectiveSettings::of(&config, &kept);
    let change = kept.observe("AROA", Some(second));
    let after = EffectiveSettings::of(&config, &kept);
    assert_eq!(change.pending, kept.pending());
    if before.known {
        assert!(after.known && after.id_resolver == before.id_resolver);
        assert!(before.require_iam_group.is_none() || after.require_iam_group.is_some());
    }
    let _ = kept.accept();
    assert!(kept.pending().is_empty());
});
