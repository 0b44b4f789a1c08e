//! The local users and groups that the Python keymaker made: those whose number is its formula of their IAM id.
//!
//! IAM ids come from keymakerd's status, which refuses exactly these entries because they are local.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::local_files::number_of;
use keymaker_core::name::{GroupName, UserName};
use keymaker_core::paths;
use keymaker_core::protocol::Question;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::get::MAX_GROUP_RECORD;
use super::super::install::files::{remove, write};
use super::super::order;
use super::super::probe::run;
use super::{MigrationStep, accepts};

/// `id = 2000 + (u16 // 2)`, u16 being the last two bytes of the id's SHA-256, little-endian.
fn formula(iam_id: &str) -> u32 {
    let digest = Sha256::digest(iam_id.as_bytes());
    let last = digest.last_chunk::<2>().copied().unwrap_or_default();
    2000 + u32::from(u16::from_le_bytes(last)) / 2
}

/// What the predecessor made here: names with their numbers.
#[derive(Debug, Default)]
pub struct FormerAccounts {
    users: Vec<(String, u32)>,
    groups: Vec<(String, u32)>,
}

/// Finds them.
pub fn found() -> Result<FormerAccounts, String> {
    let text = fs::read_to_string(paths::STATUS);
    let text = text.map_err(|error| {
        format!(
            "{}: {error}; keymakerd must run first (systemctl start keymakerd)",
            paths::STATUS
        )
    })?;
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut accounts = FormerAccounts::default();
    for entry in status
        .get("refused_entries")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let word = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = formula(word("iam_id"));
        // "alice is a user in this host's /etc/passwd": the Unix name is the first word.
        let name = word("why").split(' ').next().unwrap_or_default();
        let (file, made) = match word("kind") {
            "user" => (paths::PASSWD, &mut accounts.users),
            _ => (paths::GROUP, &mut accounts.groups),
        };
        if number_of(Path::new(file), name).ok().flatten() == Some(number) {
            made.push((name.to_owned(), number));
        }
    }
    Ok(accounts)
}

impl FormerAccounts {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// The steps that give them up and see to it that IAM's have the same numbers. A group still has its members until
    /// they are gone.
    pub fn given_up(self) -> Vec<MigrationStep> {
        if self.is_empty() {
            return Vec::new();
        }
        let users = self.users.iter().map(|(name, uid)| give_up_user(name.clone(), *uid));
        let groups = self.groups.iter().map(|(name, gid)| give_up_group(name.clone(), *gid));
        let mut steps: Vec<MigrationStep> = users.chain(groups).collect();
        let what = "have keymakerd publish them, with the same numbers";
        steps.push(MigrationStep::new(what, move || {
            publish().and_then(|()| self.are_published())
        }));
        steps
    }

    fn are_published(&self) -> Result<(), String> {
        let directory = Directory::open(Path::new(paths::DIRECTORY)).map_err(|error| error.to_string())?;
        let mut buffer = vec![0; MAX_GROUP_RECORD];
        let mut record = [0; MAX_USER_RECORD];
        for (name, uid) in &self.users {
            let user = UserName::parse(name.as_bytes())
                .ok()
                .and_then(|name| directory.user_by_name(name, &mut record).ok().flatten());
            if user.filter(|user| !user.tombstone).map(|user| user.uid.get()) != Some(*uid) {
                return Err(format!(
                    "{name} does not have uid {uid} there; 'keymaker status' says more"
                ));
            }
        }
        for (name, gid) in &self.groups {
            let group = GroupName::parse(name.as_bytes())
                .ok()
                .and_then(|name| directory.group_by_name(name, &mut buffer).ok().flatten());
            if group.map(|group| group.gid.get()) != Some(*gid) {
                return Err(format!(
                    "the group {name} does not have gid {gid} there; 'keymaker status' says more"
                ));
            }
        }
        Ok(())
    }
}

fn give_up_user(name: String, uid: u32) -> MigrationStep {
    let what = format!("remove the local account {name}, whose uid {uid} and home the IAM user keeps");
    MigrationStep::new(what, move || {
        // --force: also while the user is logged in. Without --remove the home stays.
        run("userdel", &["--force", &name]).map(|_| ())
    })
}

fn give_up_group(name: String, gid: u32) -> MigrationStep {
    let what = format!("remove the local group {name}, whose gid {gid} the IAM group keeps");
    MigrationStep::new(what, move || match number_of(Path::new(paths::GROUP), &name) {
        // userdel has taken it along: it was its user's own.
        Ok(None) => Ok(()),
        Ok(Some(_)) => run("groupdel", &[&name]).map(|_| ()),
        Err(error) => Err(format!("{}: {error}", paths::GROUP)),
    })
}

/// The steps after which keymakerd runs with the Python formula for all ids of this host; an error where its settings
/// do not allow that.
pub fn new_scheme() -> Result<Vec<MigrationStep>, String> {
    let path = Path::new(paths::KEYMAKERD_TOML);
    let settings = with_scheme(&fs::read_to_string(path).unwrap_or_default());
    accepts("/usr/sbin/keymakerd", "--check", paths::KEYMAKERD_TOML, &settings)?;
    let mut steps = vec![MigrationStep::new(
        format!("set id_scheme = \"keymaker\" in {}", paths::KEYMAKERD_TOML),
        move || write(path, settings.as_bytes(), 0o644),
    )];
    if !anybody_seen_here() {
        steps.push(MigrationStep::new(
            "have keymakerd forget the uids that it has given so far, since nobody has logged in with them",
            forget_ids,
        ));
    }
    steps.push(MigrationStep::new(
        "start keymakerd with that, and have it read IAM",
        publish,
    ));
    Ok(steps)
}

/// In the place of the present one, or above the first table, of which it would else be a key: no other line moves, so
/// that a complaint names the line that the administrator sees.
fn with_scheme(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let starts = |word: &'static str| move |line: &&str| line.trim_start().starts_with(word);
    let line = "id_scheme = \"keymaker\"";
    match lines.iter().position(|line| starts("id_scheme")(line)) {
        Some(at) => lines.splice(at..=at, [line]).for_each(drop),
        None => {
            let table = lines.iter().position(|line| starts("[")(line));
            lines.insert(table.unwrap_or(lines.len()), line);
        }
    }
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

/// keymakerd rests. Its settings stay, and what waits among them for an administrator.
fn forget_ids() -> Result<(), String> {
    let public = ["contact", "keys", "directory"].map(|name| Path::new(paths::PUBLIC).join(name));
    let private = ["facts.json", "ids.json"].map(|name| Path::new(paths::PRIVATE).join(name));
    public.iter().chain(&private).try_for_each(|file| remove(file))
}

/// Whether an IAM user has logged in with a uid that keymakerd gave.
pub fn anybody_seen_here() -> bool {
    let Ok(directory) = Directory::open(Path::new(paths::DIRECTORY)) else {
        return false;
    };
    let mut buffer = [0; MAX_USER_RECORD];
    let mut from = 0;
    while let Ok(Some((next, user))) = directory.next_user(from, &mut buffer) {
        if user.seen_here {
            return true;
        }
        from = next;
    }
    false
}

/// Restarts keymakerd and waits until it has read IAM: right after its start it knows no way there.
pub fn publish() -> Result<(), String> {
    run("systemctl", &["restart", "keymakerd"])?;
    let began = Instant::now();
    loop {
        match order::give(Question::Sync) {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > Duration::from_secs(20) => return Err(error.to_string()),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_set_once_and_above_every_table() {
        let text = "# Ours.\n  id_scheme = \"wide\"\nauthz_ttl = 60\n[group_ids]\ndevs = 5001\n";
        let set = "# Ours.\nid_scheme = \"keymaker\"\nauthz_ttl = 60\n[group_ids]\ndevs = 5001\n";
        assert_eq!(with_scheme(text), set);
        assert_eq!(with_scheme(set), set);
        assert_eq!(
            with_scheme("a = 1\n[group_ids]\ndevs = 1\n"),
            "a = 1\nid_scheme = \"keymaker\"\n[group_ids]\ndevs = 1\n"
        );
        assert_eq!(with_scheme("a = 1\n"), "a = 1\nid_scheme = \"keymaker\"\n");
    }

    #[test]
    fn the_formula_is_the_predecessors() {
        // The test vector of the Python keymaker.
        assert_eq!(formula("AKIAIJLRCB5E7CGTDF5A"), 26594);
    }
}
