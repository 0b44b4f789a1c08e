//! The lines of sshd's configuration with their places: for whoever must change one, and for what `sshd -T` cannot
//! say: which settings hang on where a login comes from.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::pattern;

const FOLDER: &str = "/etc/ssh";
/// sshd's own limit.
const DEEPEST: u8 = 16;

/// A line that sets something.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigLine {
    /// Where it stands.
    pub file: PathBuf,
    /// Counted from 1.
    pub number: usize,
    /// In small letters.
    pub keyword: String,
    /// The rest.
    pub value: String,
    /// What else than the user the Match lines above it look at.
    pub looks_at: LooksAt,
}

/// What a Match line looks at besides the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LooksAt {
    /// Nothing.
    Nothing,
    /// The client's address.
    Client,
    /// Which of this host's addresses or ports it came to, or something that is not known here.
    Connection,
}

/// The configuration as it lies on the disk.
#[derive(Debug, Default)]
pub struct Configuration {
    /// In sshd's order.
    pub lines: Vec<ConfigLine>,
    /// Its files in that order, each with whether it is read for every login: an Include below a Match is for some alone.
    pub files: Vec<(PathBuf, bool)>,
    /// When one of its files was last changed, or one was added or taken away.
    pub changed: Option<SystemTime>,
}

/// What an sshd with these options reads.
pub fn of(options: &[String]) -> Configuration {
    // The last option -f counts, as getopt(3) has it.
    let named = options.iter().rposition(|option| option == "-f");
    let file = named.and_then(|at| options.get(at + 1));
    read(Path::new(file.map_or("/etc/ssh/sshd_config", String::as_str)))
}

/// Reads this file and those that it includes.
fn read(file: &Path) -> Configuration {
    let mut configuration = Configuration::default();
    let everybody = WhoseLogins {
        looks_at: LooksAt::Nothing,
        everybodys: true,
    };
    configuration.collect(file, everybody, DEEPEST);
    configuration
}

/// Which logins a line is for.
#[derive(Clone, Copy)]
struct WhoseLogins {
    looks_at: LooksAt,
    /// Whether no Match line stands above it.
    everybodys: bool,
}

impl Configuration {
    /// Whether this file is read for every login; `None` where none reads it.
    pub fn reads_for_everybody(&self, file: &Path) -> Option<bool> {
        let mut reads = self
            .files
            .iter()
            .filter(|(read, _)| read == file)
            .map(|(_, everybodys)| *everybodys);
        let first = reads.next()?;
        Some(first || reads.any(|everybodys| everybodys))
    }

    fn collect(&mut self, file: &Path, above: WhoseLogins, depth: u8) {
        let Some(depth) = depth.checked_sub(1) else { return };
        self.note(file);
        self.files.push((file.to_owned(), above.everybodys));
        let text = fs::read(file).unwrap_or_default();
        let mut here = above;
        for (index, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            let line = line.trim();
            let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
            let (keyword, value) = line.split_at_checked(end).unwrap_or_default();
            let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
            match keyword.to_ascii_lowercase().as_str() {
                // A Match block ends with the file.
                "match" => {
                    here = WhoseLogins {
                        looks_at: above.looks_at.max(looked_at(value)),
                        everybodys: false,
                    }
                }
                "include" => {
                    for (folder, file) in included(value) {
                        self.note(&folder);
                        self.collect(&file, here, depth);
                    }
                }
                "" => {}
                comment if comment.starts_with('#') => {}
                keyword => self.lines.push(ConfigLine {
                    file: file.to_owned(),
                    number: index + 1,
                    keyword: keyword.to_owned(),
                    value: value.to_owned(),
                    looks_at: here.looks_at,
                }),
            }
        }
    }

    /// By ctime, which no copying keeps.
    fn note(&mut self, path: &Path) {
        let changed = fs::metadata(path).ok().and_then(|found| {
            let since = Duration::new(found.ctime().try_into().ok()?, found.ctime_nsec().try_into().ok()?);
            Some(SystemTime::UNIX_EPOCH + since)
        });
        self.changed = self.changed.max(changed);
    }
}

fn words(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(|c: char| c.is_whitespace() || c == '=')
        .map(|word| word.trim_matches('"'))
        .filter(|word| !word.is_empty())
}

/// Whatever is not known to be about the user alone is taken for the connection's.
fn looked_at(criteria: &str) -> LooksAt {
    let mut words = words(criteria);
    let mut looks_at = LooksAt::Nothing;
    while let Some(criterion) = words.next() {
        let one = match criterion.to_ascii_lowercase().as_str() {
            "all" | "invalid-user" => continue,
            "user" | "group" => LooksAt::Nothing,
            "address" | "host" => LooksAt::Client,
            _ => return LooksAt::Connection,
        };
        words.next();
        looks_at = looks_at.max(one);
    }
    looks_at
}

/// The files that an Include line names, each with its folder, in the order of glob(3): the last part of a path may be a
/// pattern.
fn included(value: &str) -> Vec<(PathBuf, PathBuf)> {
    let mut files = Vec::new();
    for word in words(value) {
        let path = Path::new(FOLDER).join(word);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            continue;
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries
            .filter(|entry| {
                let entry = entry.file_name();
                let entry = entry.to_string_lossy();
                pattern::matches(&entry, name) && !entry.starts_with('.')
            })
            .map(|entry| entry.path())
            .collect();
        found.sort();
        files.extend(found.into_iter().map(|file| (folder.to_owned(), file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_included_below_a_match_is_not_for_everybody() {
        let folder = std::env::temp_dir().join(format!("keymaker-sshd-include-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [main, first, second] = ["main", "first.conf", "second.conf"].map(|name| folder.join(name));
        fs::write(&first, "Match User bob\n").unwrap();
        fs::write(&second, "").unwrap();
        let says = |text: &str| {
            fs::write(&main, text.replace('@', &folder.display().to_string())).unwrap();
            let read = read(&main);
            [&first, &second].map(|file| read.reads_for_everybody(file))
        };
        assert_eq!(says("Include @/*.conf\nMatch all\n"), [Some(true), Some(true)]);
        assert_eq!(
            says("Match Address 10.0.0.0/8\ninclude \"@/first.conf\"\n"),
            [Some(false), None]
        );
        assert_eq!(says("MATCH User=x\nInclude @/second.conf\n"), [None, Some(false)]);
        assert_eq!(
            says("Include @/second.conf\nMatch User x\nInclude @/*.conf\n"),
            [Some(false), Some(true)]
        );
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn lines_are_found_in_included_files_and_a_block_ends_with_its_file() {
        let folder = std::env::temp_dir().join(format!("keymaker-sshd-{}", std::process::id()));
        fs::create_dir_all(folder.join("d")).unwrap();
        let (main, drop_in) = (folder.join("main"), folder.join("d/50-x.conf"));
        let include = folder.join("d/*.conf").display().to_string();
        fs::write(
            &main,
            format!("# A\nInclude {include}\nAllowUsers=alice bob\n\nMatch Address 10.0.0.0/8\n  DenyUsers \"x\"\n"),
        )
        .unwrap();
        fs::write(
            &drop_in,
            "Match User alice Group=devs\nX 1\nmatch user alice localport 22 host x\n  UsePAM no\n",
        )
        .unwrap();
        fs::write(folder.join("d/other"), "UsePAM no\n").unwrap();
        let Configuration {
            lines: found, changed, ..
        } = read(&main);
        assert!(changed.is_some_and(|changed| changed.elapsed().unwrap() < Duration::from_secs(60)));
        fs::remove_dir_all(&folder).unwrap();
        let line = |file: &PathBuf, number, keyword: &str, value: &str, looks_at| ConfigLine {
            file: file.clone(),
            number,
            keyword: keyword.to_owned(),
            value: value.to_owned(),
            looks_at,
        };
        assert_eq!(
            found,
            [
                line(&drop_in, 2, "x", "1", LooksAt::Nothing),
                line(&drop_in, 4, "usepam", "no", LooksAt::Connection),
                line(&main, 3, "allowusers", "alice bob", LooksAt::Nothing),
                line(&main, 6, "denyusers", "\"x\"", LooksAt::Client),
            ]
        );
    }
}
