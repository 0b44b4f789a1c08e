//! What is wrong with credd.toml, as a sentence with file, line and remedy.
//!
//! `config` makes the errors; the programs print them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the file cannot be used. Nothing of it is.
#[derive(Debug)]
pub enum ConfigError {
    /// "FILE cannot be read: …; an empty file means the defaults"
    Unreadable(PathBuf, io::Error),
    /// "FILE:12: …; see credd.toml(5)": not TOML, an unknown key or a value of another type
    Wrong {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl ConfigError {
    /// What the parser refuses.
    pub(super) fn unreadable_toml(text: &str, path: &Path, why: &toml::de::Error) -> Self {
        let start = why.span().map_or(0, |span| span.start);
        Self::Wrong {
            file: path.to_owned(),
            line: line_of(text, start),
            problem: why.message().trim().to_owned(),
        }
    }

    /// A value that has the right type and is wrong all the same.
    pub(super) fn bad_value(text: &str, path: &Path, key: &str, problem: String) -> Self {
        let table = toml::de::DeTable::parse(text).ok();
        let entry = table.as_ref().and_then(|table| table.get_ref().get_key_value(key));
        let start = entry.map_or(0, |(key, _)| key.span().start);
        Self::Wrong {
            file: path.to_owned(),
            line: line_of(text, start),
            problem: format!("{key}: {problem}"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, why) => {
                write!(
                    f,
                    "{} cannot be read: {why}; an empty file means the defaults",
                    file.display()
                )
            }
            Self::Wrong { file, line, problem } => {
                write!(f, "{}:{line}: {problem}; see credd.toml(5)", file.display())
            }
        }
    }
}

impl std::error::Error for ConfigError {}

fn line_of(text: &str, start: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(start)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}
