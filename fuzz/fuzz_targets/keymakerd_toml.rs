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
            // A proxy's password is not printed, and a list of local groups that was a default stands in the file then: what is
            // read again is printed the same, and gives the same groups.
            let again = KeymakerdConfig::parse(&printed, path).expect("what is printed is settings");
            assert_eq!(again.print().expect("settings can be printed"), printed);
            let prefixes = config
                .linux_group_prefix
                .as_deref()
                .map_or(vec!["", "keymaker_"], |prefix| vec![prefix]);
            for prefix in prefixes {
                for group in ["sudo", "docker"] {
                    assert_eq!(
                        again.gives_local_group(group, prefix),
                        config.gives_local_group(group, prefix)
                    );
                }
            }
            let _ = EffectiveSettings::of(&config, &KeptSettings::default());
        }
    }
});
