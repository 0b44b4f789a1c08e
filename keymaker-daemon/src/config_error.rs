//! What is wrong with a daemon's settings file, as a sentence with file, line, key and remedy.
//!
//! Each daemon has a table of its keys and what they take. Its `config` reads the file by [`parse`], and tells of a
//! value that fits its type and is wrong all the same by [`Keys::bad_value`].

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::DeTable;

/// The keys of a settings file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// How the manual calls the file: its page is `FILE(5)`.
    pub file: &'static str,
    /// All of them, in the order of the sample file.
    pub all: &'static [SettingKey],
}

/// A key, and what it takes in words: for the sentence about a bad value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingKey {
    /// Its name.
    pub name: &'static str,
    /// What may stand after the equals sign, with unit and range.
    pub takes: &'static str,
}

/// A row of the table.
pub const fn key(name: &'static str, takes: &'static str) -> SettingKey {
    SettingKey { name, takes }
}

/// Why the file cannot be used. Nothing of it is.
#[derive(Debug)]
pub enum ConfigError {
    /// "FILE cannot be read: …"
    Unreadable(PathBuf, io::Error),
    /// `FILE:12: this is not TOML: …`
    NotToml {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// `FILE:12: there is no key …; did you mean …?`
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// Those that there are.
        keys: Keys,
    },
    /// `FILE:12: max_stale: …; it takes …`
    BadValue {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong with its value.
        problem: String,
        /// What it takes.
        takes: Option<&'static str>,
    },
    /// `max_stale: …; a line that was removed from the file still holds`
    Kept {
        /// The file, as the manual calls it.
        file: &'static str,
        /// The key.
        key: String,
        /// What is wrong with its value beside those that the file no longer has.
        problem: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, why) => {
                write!(f, "{} cannot be read: {why}", file.display())?;
                match why.kind() {
                    io::ErrorKind::NotFound => f.write_str("; an empty file means the defaults"),
                    _ => Ok(()),
                }
            }
            Self::NotToml { file, line, why } => write!(f, "{}:{line}: this is not TOML: {why}", file.display()),
            Self::UnknownKey { file, line, key, keys } => {
                write!(f, "{}:{line}: there is no key {key}; ", file.display())?;
                match keys.nearest(key) {
                    Some(nearest) => write!(f, "did you mean {nearest}?"),
                    None => write!(f, "see {}(5), or remove the line", keys.file),
                }
            }
            Self::BadValue {
                file,
                line,
                key,
                problem,
                takes,
            } => {
                write!(f, "{}:{line}: {key}: {problem}", file.display())?;
                takes.map_or(Ok(()), |takes| write!(f, "; it takes {takes}"))
            }
            Self::Kept { file, key, problem } => write!(
                f,
                "{file}: {key}: {problem}; a line that was removed from the file still holds: write it back"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The values in a text; `path` is for the sentences.
pub fn parse<C: DeserializeOwned>(text: &str, path: &Path, keys: &Keys) -> Result<C, ConfigError> {
    let table = DeTable::parse(text).map_err(|why| ConfigError::NotToml {
        file: path.to_owned(),
        line: line_of(text, why.span()),
        why: why.message().trim().to_owned(),
    })?;
    match table.get_ref().keys().find(|key| keys.takes(key.get_ref()).is_none()) {
        None => toml::from_str(text).map_err(|why| keys.misfit(text, path, &why)),
        Some(key) => Err(ConfigError::UnknownKey {
            file: path.to_owned(),
            line: line_of(text, Some(key.span())),
            key: key.get_ref().to_string(),
            keys: *keys,
        }),
    }
}

impl Keys {
    /// A value of another type than its key takes.
    pub fn misfit(&self, text: &str, path: &Path, why: &toml::de::Error) -> ConfigError {
        let table = DeTable::parse(text).ok();
        let entries = table.iter().flat_map(|table| table.get_ref().iter());
        let start = why.span().unwrap_or_default().start;
        // The last key that begins before the value: also right for a table under a header of its own.
        let before = entries.filter(|(key, _)| key.span().start <= start);
        let key = before.max_by_key(|(key, _)| key.span().start);
        let key = key.map(|(key, _)| key.get_ref().to_string()).unwrap_or_default();
        ConfigError::BadValue {
            file: path.to_owned(),
            line: line_of(text, why.span()),
            takes: self.takes(&key),
            key,
            problem: why.message().trim().to_owned(),
        }
    }

    /// A value that fits its type and is wrong all the same.
    pub fn bad_value(&self, text: &str, path: &Path, (key, problem): (&str, String)) -> ConfigError {
        ConfigError::BadValue {
            file: path.to_owned(),
            line: line_of_key(text, key),
            takes: self.takes(key),
            key: key.to_owned(),
            problem,
        }
    }

    fn takes(&self, key: &str) -> Option<&'static str> {
        self.all.iter().find(|known| known.name == key).map(|known| known.takes)
    }

    /// The key of which this one is a part, or the role's token, or a slip of the pen.
    fn nearest(&self, key: &str) -> Option<&'static str> {
        let word = key.strip_prefix("keymaker_").unwrap_or(key);
        let part = |known: &str| word.len() > 3 && (known.contains(word) || word.contains(known));
        let names = || self.all.iter().map(|known| known.name);
        names()
            .find(|known| *known == word)
            .or_else(|| names().find(|known| part(known)))
            .or_else(|| names().find(|known| strsim::osa_distance(word, known) == 1))
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
