//! /etc/nsswitch.conf: which services glibc asks, in which order. keymakerd asks those beside us; the command line puts
//! us into it and looks whether we stand there rightly.

use std::io;
use std::path::Path;

/// What stands in one line: services, and actions in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(Vec<String>);

/// The text of the file, whatever its encoding: a comment hides no line.
pub fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

/// The line of this database in the text of an nsswitch.conf(5).
pub fn line(text: &str, database: &str) -> Option<Line> {
    let line = raw_line(text, database)?;
    Some(Line(words(line).iter().map(|word| word.text.to_owned()).collect()))
}

/// The services beside the local files and us that any line of this database names, in their order: a service too many is
/// asked for nothing, one too few would leave its users unseen.
pub fn others<'t>(text: &'t str, database: &'t str) -> impl Iterator<Item = &'t str> {
    let lines = text.lines().filter(move |line| names(line, database));
    let services = lines.flat_map(words).map(|word| word.text);
    services.filter(|word| !word.starts_with('[') && !matches!(*word, "files" | "keymaker"))
}

/// The whole line of this database, as it is written. Of two glibc goes by the last: tried with 2.31, 2.36 and 2.41.
pub fn raw_line<'t>(text: &'t str, database: &str) -> Option<&'t str> {
    text.lines().rfind(|line| names(line, database))
}

fn names(line: &str, database: &str) -> bool {
    let rest = line.trim_start().strip_prefix(database);
    rest.is_some_and(|rest| rest.starts_with(ends_a_name))
}

/// Spaces do for the colon (glibc's `nss_database.c`, `process_line`).
fn ends_a_name(c: char) -> bool {
    c == ':' || c.is_whitespace()
}

/// The line with keymaker where it belongs: behind every other service, since anybody who resolves without us wins; but
/// before an action that ends the search where a name was not found, or we would never be asked. A line `initgroups`
/// ends at the first service that knows the user, so there files goes on. (dist/nsswitch/join.sh does the same where
/// we are installed.)
pub fn with_keymaker(line: &str) -> String {
    let line = without_keymaker(line);
    let written = words(&line);
    let Some(last) = written.last() else {
        return format!("{line} keymaker");
    };
    let stop = written.iter().position(|word| ends_where_not_found(word.text));
    let before = match stop {
        Some(stop) => written.get(..stop).unwrap_or_default(),
        None => &written,
    };
    let at = match (stop, before.last()) {
        (None, _) => last.end,
        (Some(_), Some(before)) => before.end,
        (Some(stop), None) => written.get(stop).map_or(last.end, |word| word.start),
    };
    let mut inserts = vec![(at, " keymaker")];
    if names(&line, "initgroups") {
        let followed_by_action = |at: usize| before.get(at + 1).is_some_and(|word| word.text.starts_with('['));
        let local = before
            .iter()
            .enumerate()
            .filter(|(at, word)| matches!(word.text, "files" | "compat") && !followed_by_action(*at));
        inserts.extend(local.map(|(_, word)| (word.end, " [SUCCESS=continue]")));
    }
    // From the end, and at one place what comes first last.
    inserts.sort_by_key(|(at, what)| std::cmp::Reverse((*at, *what == " keymaker")));
    let mut line = line.clone();
    for (at, what) in inserts {
        line.insert_str(at, what);
    }
    line
}

/// The line without our word.
pub fn without_keymaker(line: &str) -> String {
    let ours = words(line)
        .iter()
        .find(|word| word.text == "keymaker")
        .map(|word| word.start..word.end);
    let Some(ours) = ours else {
        return line.to_owned();
    };
    let (before, after) = (
        line.get(..ours.start).unwrap_or_default(),
        line.get(ours.end..).unwrap_or_default(),
    );
    format!("{}{after}", before.trim_end())
}

/// Whether an action ends the search where a service does not know the name (nsswitch.conf(5), "STATUS => ACTION").
fn ends_where_not_found(word: &str) -> bool {
    let Some(action) = word.strip_prefix('[') else {
        return false;
    };
    let spaceless = action
        .trim_end_matches(']')
        .to_ascii_lowercase()
        .replace(" =", "=")
        .replace("= ", "=")
        .replace("! ", "!");
    spaceless.split_whitespace().any(|pair| {
        let (status, action) = pair.split_once('=').unwrap_or_default();
        action == "return" && (status == "notfound" || status.starts_with('!') && status != "!notfound")
    })
}

/// A service or a bracketed action, and where it stands in its line.
struct Word<'t> {
    text: &'t str,
    start: usize,
    end: usize,
}

fn words(line: &str) -> Vec<Word<'_>> {
    let code = line.split('#').next().unwrap_or_default();
    let mut words = Vec::new();
    let named = code.trim_start().trim_start_matches(|c| !ends_a_name(c));
    let services = named.trim_start_matches(ends_a_name);
    let mut at = code.len() - services.len();
    while let Some(rest) = code.get(at..).filter(|rest| !rest.is_empty()) {
        let begun = rest.trim_start();
        let start = at + rest.len() - begun.len();
        let len = if begun.starts_with('[') {
            begun.find(']').map_or(begun.len(), |end| end + 1)
        } else {
            begun
                .find(|c: char| c.is_whitespace() || c == '[')
                .unwrap_or(begun.len())
        };
        let text = begun.get(..len).unwrap_or_default();
        at = start + len;
        if !text.is_empty() {
            words.push(Word { text, start, end: at });
        }
    }
    words
}

impl Line {
    /// Where a service stands.
    pub fn position(&self, service: &str) -> Option<usize> {
        self.0.iter().position(|word| word == service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_actions() {
        let text = "# x\npasswd:\tfiles[NOTFOUND=return UNAVAIL=continue] keymaker # ours\ngroup : keymaker files\n";
        let passwd = line(text, "passwd").unwrap();
        assert_eq!(passwd.0, ["files", "[NOTFOUND=return UNAVAIL=continue]", "keymaker"]);
        assert_eq!(passwd.position("keymaker"), Some(2));
        assert_eq!(passwd.position("sss"), None);
        assert_eq!(line(text, "group").unwrap().position("keymaker"), Some(0));
        assert_eq!(raw_line(text, "group"), Some("group : keymaker files"));
        assert_eq!(raw_line(text, "shadow"), None);
        assert_eq!(line(text, "shadow"), None);
        assert_eq!(line("  passwd files\tsss\n", "passwd").unwrap().0, ["files", "sss"]);
        assert_eq!(line("passwd_compat: nis\n", "passwd"), None);
        let twice = "passwd: files keymaker\npasswd: files\n";
        assert_eq!(line(twice, "passwd").unwrap().0, ["files"]);
        assert_eq!(raw_line(twice, "passwd"), Some("passwd: files"));
    }

    // P13
    #[test]
    fn every_service_that_a_line_of_the_database_names_is_another_one_but_files_and_ours() {
        for (text, services) in [
            ("passwd: files keymaker\ngroup: files sss\nhosts: files dns\n", ""),
            ("passwd: files [!UNAVAIL = return] keymaker # sss\n", ""),
            ("shadow: files sss\n#passwd: sss\n", ""),
            (
                "passwd: files sss [NOTFOUND=return] keymaker extrausers",
                "sss extrausers",
            ),
            (" passwd : files [SUCCESS=merge]ldap\n", "ldap"),
            ("passwd: compat\n", "compat"),
            ("passwd files sss\r\n", "sss"),
            ("passwd: files keymaker\npasswd: files sss\n", "sss"),
        ] {
            assert_eq!(others(text, "passwd").collect::<Vec<_>>().join(" "), services, "{text}");
        }
    }

    // P1
    #[test]
    fn keymaker_stands_behind_every_other_service_and_before_what_ends_the_search() {
        // The lines that the Debian package is tested with, read from there.
        let packaging = include_str!("../../tests/packaging.sh");
        let mut tried = 0;
        for test in packaging
            .lines()
            .filter_map(|line| line.trim().strip_prefix("nsswitch_becomes "))
        {
            let quoted: Vec<&str> = test.split('"').collect();
            let [_, before, _, after, rest] = quoted[..] else {
                panic!("{test}")
            };
            if !["passwd", "group", "initgroups"]
                .iter()
                .any(|database| before.starts_with(database))
            {
                continue;
            }
            tried += 1;
            assert_eq!(with_keymaker(before), after);
            assert_eq!(with_keymaker(after), after);
            if rest.trim() != "kept" && !before.starts_with("initgroups") {
                assert_eq!(without_keymaker(after), before);
            }
        }
        assert!(tried > 15, "{tried}");
    }
}
