//! The sample file and the man pages against the program: every key and every option is explained, and no other.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;

use credd_core::config::{Config, KEYS};

mod manual_page;

const SAMPLE: &str = include_str!("../../dist/etc/credd.toml");
const CREDD_TOML: &str = include_str!("../../docs/man/credd.toml.5");
const METHODS: [&str; 4] = [
    "user_role",
    "create_user_role",
    "restricted_instance_role",
    "instance_role",
];

#[test]
fn the_man_page_explains_every_key_and_no_other() {
    let keys = CREDD_TOML.split(".TP\n.B ").skip(1);
    let mut explained: BTreeSet<&str> = keys.filter_map(|entry| entry.lines().next()).collect();
    // The page explains methods in the same form; shared_role is a key as well.
    for method in METHODS {
        assert!(explained.remove(method), "{method}");
    }
    assert_eq!(explained, known_keys());
}

#[test]
fn the_sample_file_shows_every_key_and_holds_once_uncommented() {
    let lines = SAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
        _ => "",
    });
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let table: toml::Table = text.parse().unwrap();
    let shown: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(shown, known_keys());
    Config::parse(&text, Path::new("credd.toml")).unwrap();
}

#[test]
fn the_man_page_explains_every_option_and_no_other() {
    manual_page::explains(env!("CARGO_BIN_EXE_credd"), include_str!("../../docs/man/credd.8"));
}

/// A test of credd-core's compares them with what the parser takes.
fn known_keys() -> BTreeSet<&'static str> {
    KEYS.iter().map(|key| key.name).collect()
}
