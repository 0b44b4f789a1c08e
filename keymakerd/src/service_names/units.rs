//! The users and groups that systemd makes up for units with `DynamicUser=yes` (systemd.exec(5)): `User=` and `Group=`,
//! or, without them, the unit's name up to `@` or its suffix.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ServiceNames;

/// Units that run something.
const KINDS: [&str; 4] = [".service", ".socket", ".mount", ".swap"];
const SECTIONS: [&str; 4] = ["[Service]", "[Socket]", "[Mount]", "[Swap]"];

/// Adds every name that a unit of these folders would run under.
pub fn read(folders: &[PathBuf], names: &mut ServiceNames) {
    // Of files with one name the first counts, whether a unit's own or a drop-in.
    let mut units: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut drop_ins: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for folder in folders {
        for name in names.folder(folder) {
            let path = folder.join(&name);
            if KINDS.iter().any(|kind| name.ends_with(kind)) {
                units.entry(name).or_insert(path);
            } else if let Some(unit) = name.strip_suffix(".d") {
                let files = drop_ins.entry(unit.to_owned()).or_default();
                for file in names.folder(&path).into_iter().filter(|file| file.ends_with(".conf")) {
                    let path = path.join(&file);
                    files.entry(file).or_insert(path);
                }
            }
        }
    }
    for (unit, path) in &units {
        let text = names.text(path);
        // Masked: nothing can start it.
        if text.is_empty() {
            continue;
        }
        let mut settings = Settings::default();
        settings.take(&text);
        for path in of_unit(unit, &drop_ins).values() {
            settings.take(&names.text(path));
        }
        for name in settings.names(unit) {
            names.add(&name, path, 0);
        }
    }
}

/// The drop-ins of a unit by file name: those of its own, of its template, of its name cut at each hyphen, of its kind.
fn of_unit<'a>(
    unit: &str,
    drop_ins: &'a BTreeMap<String, BTreeMap<String, PathBuf>>,
) -> BTreeMap<&'a String, &'a PathBuf> {
    let (stem, kind) = unit.rsplit_once('.').unwrap_or((unit, ""));
    let prefix = prefix(unit);
    let template = (stem != prefix).then(|| format!("{prefix}@.{kind}"));
    let hyphens = prefix.rmatch_indices('-').filter_map(|(at, _)| prefix.get(..=at));
    let shorter = hyphens.map(|name| format!("{name}.{kind}"));
    let folders = std::iter::once(unit.to_owned())
        .chain(template)
        .chain(shorter)
        .chain([kind.to_owned()]);
    let mut files = BTreeMap::new();
    for (name, path) in folders.filter_map(|folder| drop_ins.get(&folder)).flatten() {
        files.entry(name).or_insert(path);
    }
    files
}

/// A unit's name up to `@` or its suffix.
fn prefix(unit: &str) -> &str {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    stem.split_once('@').map_or(stem, |(prefix, _)| prefix)
}

#[derive(Default)]
struct Settings {
    dynamic: bool,
    user: String,
    group: String,
}

impl Settings {
    /// Takes in the lines of one file; the last assignment counts.
    fn take(&mut self, text: &str) {
        let mut ours = false;
        for line in logical_lines(text) {
            if line.starts_with('[') {
                ours = SECTIONS.contains(&line.as_str());
            }
            let Some((key, value)) = line.split_once('=').filter(|_| ours) else {
                continue;
            };
            let value = value.trim();
            match key.trim_end() {
                "DynamicUser" => self.dynamic = truth(value).unwrap_or(self.dynamic),
                "User" => value.clone_into(&mut self.user),
                "Group" => value.clone_into(&mut self.group),
                _ => {}
            }
        }
    }

    fn names(&self, unit: &str) -> Vec<String> {
        if !self.dynamic {
            return Vec::new();
        }
        let user = match self.user.as_str() {
            "" => Some(prefix(unit).to_owned()),
            user => expanded(user, unit),
        };
        user.into_iter().chain(expanded(&self.group, unit)).collect()
    }
}

/// systemd.syntax(7): comments begin with `#` or `;`, a backslash at its end continues a line.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continues = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (line, more) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| continues) {
            Some(last) => {
                last.push(' ');
                last.push_str(line);
            }
            None => lines.push(line.to_owned()),
        }
        continues = more;
    }
    lines
}

/// systemd.syntax(7), "Boolean arguments".
fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// The specifiers that depend on the unit's name alone; `None` where another one stands, such as the instance of a
/// template.
fn expanded(value: &str, unit: &str) -> Option<String> {
    let stem = Path::new(unit).file_stem()?.to_str()?;
    let mut text = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next()? {
                '%' => text.push('%'),
                'p' | 'P' => text.push_str(prefix(unit)),
                'N' => text.push_str(stem),
                'n' => text.push_str(unit),
                _ => return None,
            },
            c => text.push(c),
        }
    }
    Some(text).filter(|text| !text.is_empty())
}
