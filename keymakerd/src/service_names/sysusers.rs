//! The users and groups that sysusers.d(5) makes, by its lines `u`, `g` and `m`. Names with a specifier (`%m`) are left
//! out: no package is known that has one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ServiceNames;

/// Adds every name that these folders want.
pub fn read(folders: &[PathBuf], names: &mut ServiceNames) {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in folders {
        for file in names.folder(folder).into_iter().filter(|file| file.ends_with(".conf")) {
            let path = folder.join(&file);
            files.entry(file).or_insert(path);
        }
    }
    for path in files.values() {
        let text = names.text(path);
        for (line, number) in text.lines().zip(1..) {
            for name in wanted(line) {
                names.add(&name, path, number);
            }
        }
    }
}

/// The users and groups that a line makes.
fn wanted(line: &str) -> Vec<String> {
    let mut words = words(line).into_iter();
    let (kind, name, id) = (words.next(), words.next(), words.next());
    // `u!` makes a locked account.
    match kind.as_deref().map(|kind| kind.trim_end_matches('!')) {
        // An id of `uid:group` names the group too.
        Some("u") => {
            let group = id.and_then(|id| Some(id.split_once(':')?.1.to_owned()));
            name.into_iter().chain(group).collect()
        }
        Some("g") => name.into_iter().collect(),
        // The user and the group are both made where they are missing.
        Some("m") => name.into_iter().chain(id).collect(),
        _ => Vec::new(),
    }
}

/// Words are set apart by blanks, but for those in quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
