//! keymakerd(8) against the program: every option that `--help` shows is explained, and no other.

use std::collections::BTreeSet;
use std::process::Command;

const PAGE: &str = include_str!("../../docs/man/keymakerd.8");

#[test]
fn the_man_page_explains_every_option_and_no_other() {
    let help = Command::new(env!("CARGO_BIN_EXE_keymakerd"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, options) = PAGE.split_once(".SH OPTIONS").unwrap();
    let (options, _) = options.split_once(".SH ").unwrap();
    assert_eq!(long_options(&options.replace('\\', "")), long_options(&help));
}

fn long_options(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices("--").map(|(at, _)| &text[at..]);
    let ends = |c: char| !c.is_ascii_lowercase() && c != '-';
    starts.map(|rest| rest.split(ends).next().unwrap_or(rest)).collect()
}
