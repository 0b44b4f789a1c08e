//! Any text as the settings of ec2userkeyd: what is made of it is a credd.toml that credd takes, and nobody's chain is
//! empty, since there an empty one meant "not set" and here it denies.

#![no_main]

use std::path::Path;

use credd_core::config::Config;
use libfuzzer_sys::fuzz_target;

#[path = "../../keymaker-cli/src/commands/host/migrate/ec2userkeyd"]
mod ec2userkeyd {
    pub mod import;
}

fuzz_target!(|text: &str| {
    let printed = ec2userkeyd::import::from_ec2userkeyd(text);
    if let Err(why) = Config::parse(&printed, Path::new("imported")) {
        panic!("{why}\n{printed}");
    }
});
