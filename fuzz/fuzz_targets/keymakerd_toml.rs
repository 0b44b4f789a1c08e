//! Any text as keymakerd.toml: settings or a sentence, never a panic; and what is in force is printed as settings that
//! mean the same.

#![no_main]

use std::path::Path;

use keymakerd::config::KeymakerdConfig;
use keymakerd::settings::{EffectiveSettings, KeptSettings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("/etc/keymaker/keymakerd.toml");
    match KeymakerdConfig::parse(text, path) {
        Err(error) => assert!(error.to_string().starts_with("/etc/keymaker/keymakerd.toml")),
        Ok(config) => {
            let printed = config.print().expect("settings can be printed");
            // A proxy's password is not printed, so what is read again may differ there alone.
            let mut again = KeymakerdConfig::parse(&printed, path).expect("what is printed is settings");
            again.https_proxy.clone_from(&config.https_proxy);
            assert_eq!(again, config);
            let _ = EffectiveSettings::of(&config, &KeptSettings::default());
        }
    }
});
