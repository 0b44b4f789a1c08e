//! keymaker(1) against the program: every command and every option that `--help` shows stands in the page.

#![cfg(test)]

use std::collections::BTreeSet;
use std::process::Command;

const PAGE: &str = include_str!("../../docs/man/keymaker.1");

#[test]
fn the_man_page_has_every_command_and_every_option() {
    let page = PAGE.replace('\\', "");
    let mut missing = BTreeSet::new();
    let mut unread = vec![Vec::new()];
    while let Some(command) = unread.pop() {
        let help = help(&command);
        let options = help.match_indices("--").map(|(at, _)| word(&help[at..]));
        missing.extend(options.filter(|option| !page.contains(option)).map(str::to_owned));
        for name in commands(&help) {
            let named = page.lines().any(|line| line.starts_with('.') && line.contains(name));
            missing.extend((!named).then(|| name.to_owned()));
            unread.push([command.clone(), vec![name.to_owned()]].concat());
        }
    }
    assert!(missing.is_empty(), "docs/man/keymaker.1 lacks {missing:?}");
}

fn help(command: &[String]) -> String {
    let program = env!("CARGO_BIN_EXE_keymaker");
    let output = Command::new(program).args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "keymaker {command:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help text lists, without the one that shows help.
fn commands(help: &str) -> Vec<&str> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = list.take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.map(word).filter(|name| *name != "help").collect()
}

fn word(text: &str) -> &str {
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    text.split(ends).next().unwrap_or(text)
}
