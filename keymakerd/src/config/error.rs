//! What is wrong with keymakerd.toml, as a sentence with file, line, key and remedy. Called by [`super::Config::parse`] only.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::keys::KEYS;

/// Why the file cannot be used. Nothing of it is.
#[derive(Debug)]
pub enum ConfigError {
    /// "FILE cannot be read: …"
    Unreadable(PathBuf, io::Error),
    /// "FILE:12: this is not TOML: …"
    NotToml {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// "FILE:12: there is no key …; did you mean …?"
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The one that it resembles.
        nearest: Option<&'static str>,
    },
    /// "FILE:12: max_stale: …; it takes …"
    BadValue {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// "max_stale: …; a line that the file no longer has holds all the same"
    Kept {
        /// The key.
        key: String,
        /// What is wrong with its value beside those that the file no longer has.
        problem: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, why) => write!(f, "{} cannot be read: {why}", file.display()),
            Self::NotToml { file, line, why } => write!(f, "{}:{line}: this is not TOML: {why}", file.display()),
            Self::UnknownKey {
                file,
                line,
                key,
                nearest,
            } => {
                write!(f, "{}:{line}: there is no key {key}; ", file.display())?;
                match nearest {
                    Some(nearest) => write!(f, "did you mean {nearest}?"),
                    None => f.write_str("see keymakerd.toml(5), or remove the line"),
                }
            }
            Self::BadValue {
                file,
                line,
                key,
                problem,
            } => {
                write!(f, "{}:{line}: {key}: {problem}", file.display())?;
                match KEYS.iter().find(|known| known.name == key) {
                    Some(known) => write!(f, "; it takes {}", known.takes),
                    None => Ok(()),
                }
            }
            Self::Kept { key, problem } => write!(
                f,
                "keymakerd.toml: {key}: {problem}; a line that was removed from the file still holds: write it back"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Refuses what is not TOML and keys that there are not.
pub fn check_keys(text: &str, path: &Path) -> Result<(), ConfigError> {
    let table = DeTable::parse(text).map_err(|why| ConfigError::NotToml {
        file: path.to_owned(),
        line: line_of(text, why.span()),
        why: why.message().to_owned(),
    })?;
    let known = |key: &str| KEYS.iter().any(|known| known.name == key);
    match table.get_ref().keys().find(|key| !known(key.get_ref())) {
        None => Ok(()),
        Some(key) => Err(ConfigError::UnknownKey {
            file: path.to_owned(),
            line: line_of(text, Some(key.span())),
            key: key.get_ref().to_string(),
            nearest: nearest(key.get_ref()),
        }),
    }
}

/// A value of another type than its key takes.
pub fn misfit(text: &str, path: &Path, why: &toml::de::Error) -> ConfigError {
    let table = DeTable::parse(text).ok();
    let entries = table.iter().flat_map(|table| table.get_ref().iter());
    let start = why.span().unwrap_or_default().start;
    // The last key that begins before the value: also right for a table under a header of its own.
    let before = entries.filter(|(key, _)| key.span().start <= start);
    let key = before.max_by_key(|(key, _)| key.span().start);
    ConfigError::BadValue {
        file: path.to_owned(),
        line: line_of(text, why.span()),
        key: key.map(|(key, _)| key.get_ref().to_string()).unwrap_or_default(),
        problem: why.message().to_owned(),
    }
}

/// A value that fits its type and is wrong all the same.
pub fn bad_value(text: &str, path: &Path, key: &str, problem: String) -> ConfigError {
    ConfigError::BadValue {
        file: path.to_owned(),
        line: line_of_key(text, key),
        key: key.to_owned(),
        problem,
    }
}

/// The line, from 1, on which a key stands.
pub fn line_of_key(text: &str, key: &str) -> usize {
    let table = DeTable::parse(text).ok();
    let entry = table.as_ref().and_then(|table| table.get_ref().get_key_value(key));
    line_of(text, entry.map(|(key, _)| key.span()))
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let before = text
        .as_bytes()
        .get(..span.unwrap_or_default().start)
        .unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The key of which this one is a part, or the role's token, or a slip of the pen.
fn nearest(key: &str) -> Option<&'static str> {
    let word = key.strip_prefix("keymaker_").unwrap_or(key);
    let part = |known: &str| word.len() > 3 && (known.contains(word) || word.contains(known));
    let names = || KEYS.iter().map(|known| known.name);
    names()
        .find(|known| *known == word)
        .or_else(|| names().find(|known| part(known)))
        .or_else(|| names().find(|known| differ_little(word, known)))
}

/// Whether one letter was left out, put in or changed, or two neighbours were swapped.
fn differ_little(a: &str, b: &str) -> bool {
    let same_start = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let rest = |text: &str, skip: usize| text.as_bytes().get(same_start + skip..).unwrap_or_default().to_vec();
    let swapped = |text: &str| rest(text, 0).iter().take(2).rev().copied().collect::<Vec<_>>();
    rest(a, 1) == rest(b, 1)
        || rest(a, 1) == rest(b, 0)
        || rest(a, 0) == rest(b, 1)
        || (rest(a, 2) == rest(b, 2) && swapped(a) == rest(b, 0).get(..2).unwrap_or_default())
}
