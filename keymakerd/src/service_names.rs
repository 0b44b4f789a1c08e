//! Names that services of this host want: those of sysusers.d(5), and those that systemd gives to running units with
//! `DynamicUser=yes`.
//!
//! Why: systemd-sysusers and `DynamicUser=` both take an account that exists already for the one they want. So an IAM
//! user of such a name became the service's user. `local_accounts` reads them with the accounts, `watch` follows the
//! folders; an account of /etc/passwd is not looked for here. A unit's name alone says nothing: alice.service without
//! `DynamicUser=` runs as whoever its `User=` is.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod sysusers;
mod units;

/// The folders that say which names services want, in systemd's order: of two files with one name the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFolders {
    /// sysusers.d(5)
    pub sysusers: Vec<PathBuf>,
    /// systemd.unit(5), "Unit File Load Path" of the system; nothing of a user's own units.
    pub units: Vec<PathBuf>,
}

impl ServiceFolders {
    /// Where systemd looks.
    pub fn of_the_host() -> Self {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        Self {
            sysusers: paths(&[
                "/etc/sysusers.d",
                "/run/sysusers.d",
                "/usr/local/lib/sysusers.d",
                "/usr/lib/sysusers.d",
            ]),
            units: paths(&[
                "/etc/systemd/system.control",
                "/run/systemd/system.control",
                "/run/systemd/transient",
                "/run/systemd/generator.early",
                "/etc/systemd/system",
                "/etc/systemd/system.attached",
                "/run/systemd/system",
                "/run/systemd/system.attached",
                "/run/systemd/generator",
                "/usr/local/lib/systemd/system",
                "/usr/lib/systemd/system",
                // Where /usr is not merged.
                "/lib/systemd/system",
                "/run/systemd/generator.late",
            ]),
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.sysusers.iter().chain(&self.units)
    }
}

/// The names, each with what wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceNames {
    wanted: BTreeMap<String, Source>,
    /// Files and folders that are there and cannot be read, in order.
    pub unreadable: Vec<PathBuf>,
}

/// What wants a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    file: PathBuf,
    /// From 1; 0: the file as a whole.
    line: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

impl ServiceNames {
    /// Reads the folders as they are now.
    pub fn read(folders: &ServiceFolders) -> Self {
        let mut names = Self::default();
        sysusers::read(&folders.sysusers, &mut names);
        units::read(&folders.units, &mut names);
        names
    }

    /// What wants this name, if anything does.
    pub fn wanting(&self, name: &str) -> Option<&Source> {
        self.wanted.get(name)
    }

    /// What cannot be read now goes on wanting what it wanted when it was `before` (P3).
    pub fn keep_unreadable(&mut self, before: &Self) {
        let hidden = |source: &Source| self.unreadable.iter().any(|path| source.file.starts_with(path));
        let kept: Vec<_> = before.wanted.iter().filter(|(_, source)| hidden(source)).collect();
        for (name, source) in kept {
            self.wanted.entry(name.clone()).or_insert_with(|| source.clone());
        }
    }

    fn add(&mut self, name: &str, file: &Path, line: usize) {
        let source = || Source {
            file: file.to_owned(),
            line,
        };
        self.wanted.entry(name.to_owned()).or_insert_with(source);
    }

    /// The names in a folder, sorted; none where there is no such folder.
    fn folder(&mut self, path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).and_then(|entries| {
            let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect::<io::Result<Vec<String>>>()
        });
        let mut names = self.known(path, entries).unwrap_or_default();
        names.sort();
        names
    }

    /// What a file says. A device such as /dev/null says nothing: that is how systemd masks a file.
    fn text(&mut self, path: &Path) -> String {
        let text = fs::metadata(path).and_then(|metadata| {
            if metadata.is_file() {
                fs::read(path)
            } else {
                Ok(Vec::new())
            }
        });
        let bytes = self.known(path, text).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn known<T>(&mut self, path: &Path, read: io::Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
            Err(_) => {
                self.unreadable.push(path.to_owned());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
