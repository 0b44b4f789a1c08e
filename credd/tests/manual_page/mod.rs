//! A man page against what a program says of itself. credd-capture's tests use it, too.

use std::collections::BTreeSet;
use std::process::Command;

/// Every option and every command of `program` is explained in `page`, and no other.
pub fn explains(program: &str, page: &str) {
    let help = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert_eq!(
        long_options(&section(page, "OPTIONS")),
        long_options(&help),
        "{program}"
    );
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // What goes on in a second line stands further in.
    let named = listed.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names = named.filter_map(|line| line.split_whitespace().next());
    let names: BTreeSet<&str> = names.filter(|name| *name != "help").collect();
    let commands = section(page, "COMMANDS");
    let explained = commands.lines().filter_map(|line| line.strip_prefix(".B "));
    assert_eq!(explained.collect::<BTreeSet<_>>(), names, "{program}");
}

fn section(page: &str, title: &str) -> String {
    let from = page
        .split_once(&format!("\n.SH {title}\n"))
        .map_or("", |(_, rest)| rest);
    from.split("\n.SH ").next().unwrap_or_default().replace('\\', "")
}

fn long_options(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("--").map(|(at, _)| &text[at..]);
    let ends = |c: char| !c.is_ascii_lowercase() && c != '-';
    starts
        .filter_map(|rest| Some(rest.split(ends).next()?.to_owned()))
        .collect()
}
