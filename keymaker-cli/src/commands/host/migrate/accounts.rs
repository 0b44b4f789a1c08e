//! The local users and groups that the Python keymaker made: those whose number is its formula of their IAM id.
//!
//! IAM ids come from keymakerd's status, which refuses exactly these entries because they are local.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::local_files::{PasswdLine, lines, number_of};
use keymaker_core::login;
use keymaker_core::name::{GroupName, UserName};
use keymaker_core::paths;
use keymaker_core::protocol::Question;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::get::MAX_GROUP_RECORD;
use super::super::install::files::{remove, write};
use super::super::order;
use super::super::probe::{local_line, run};
use super::{MigrationStep, accepts};

/// `id = 2000 + (u16 // 2)`, u16 being the last two bytes of the id's SHA-256, little-endian.
fn formula(iam_id: &str) -> u32 {
    let digest = Sha256::digest(iam_id.as_bytes());
    let last = digest.last_chunk::<2>().copied().unwrap_or_default();
    2000 + u32::from(u16::from_le_bytes(last)) / 2
}

fn status() -> Result<Value, String> {
    let text = fs::read_to_string(paths::STATUS);
    let text = text.map_err(|error| {
        format!(
            "{}: {error}; keymakerd must run first (systemctl start keymakerd)",
            paths::STATUS
        )
    })?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// Of what keymakerd refuses: kind, Unix name and IAM id.
fn refused(status: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    let entries = status.get("refused_entries").and_then(Value::as_array);
    entries.into_iter().flatten().map(|entry| {
        let word = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        // "alice is a user in this host's /etc/passwd": the Unix name is the first word.
        let name = word("why").split(' ').next().unwrap_or_default();
        (word("kind"), name, word("iam_id"))
    })
}

/// What the predecessor made here: names with their numbers.
#[derive(Debug, Default)]
pub struct FormerAccounts {
    users: Vec<(String, u32)>,
    groups: Vec<(String, u32)>,
}

/// Finds them.
pub fn found() -> Result<FormerAccounts, String> {
    let status = status()?;
    let mut accounts = FormerAccounts::default();
    for (kind, name, iam_id) in refused(&status) {
        let number = formula(iam_id);
        let (file, made) = match kind {
            "user" => (paths::PASSWD, &mut accounts.users),
            _ => (paths::GROUP, &mut accounts.groups),
        };
        if number_of(Path::new(file), name).ok().flatten() == Some(number) {
            made.push((name.to_owned(), number));
        }
    }
    Ok(accounts)
}

/// Local accounts that look as the predecessor made them, of people whom IAM does not have: nothing took the accounts
/// away, and keys in their homes still open them.
pub fn departed() -> Result<Vec<(String, u32)>, String> {
    let status = status()?;
    let grade = status.get("grade").and_then(Value::as_u64).unwrap_or(3);
    let contact = login::last_contact(Path::new(paths::CONTACT));
    let read = contact.is_some_and(|contact| contact.elapsed().is_ok_and(|age| age < READ_LATELY));
    // Whom IAM has is known from a listing of everybody only.
    if grade > 2 || !read {
        return Ok(Vec::new());
    }
    let in_iam: Vec<&str> = refused(&status).map(|(_, name, _)| name).collect();
    let passwd = fs::read(paths::PASSWD).map_err(|error| format!("{}: {error}", paths::PASSWD))?;
    // The eighth field of shadow(5), as the step below sets it.
    let is_locked = |name: &str| local_line(SHADOW, name).is_some_and(|line| line.ends_with(":1:"));
    let mut departed = departed_in(&passwd, &in_iam);
    departed.retain(|(name, _)| !is_locked(name));
    Ok(departed)
}

/// It gave them a number of its formula, and their name as the full name.
fn departed_in(passwd: &[u8], in_iam: &[&str]) -> Vec<(String, u32)> {
    lines(passwd)
        .filter_map(PasswdLine::parse)
        // adduser(8) puts commas behind it.
        .filter(|line| NUMBERS.contains(&line.uid) && line.full_name.split(|b| *b == b',').next() == Some(line.name))
        .filter_map(|line| Some((str::from_utf8(line.name).ok()?.to_owned(), line.uid)))
        .filter(|(name, _)| UserName::parse(name.as_bytes()).is_ok() && !in_iam.contains(&name.as_str()))
        .collect()
}

const SHADOW: &str = "/etc/shadow";
/// What [`formula`] can give.
const NUMBERS: std::ops::RangeInclusive<u32> = 2000..=2000 + 32767;
/// By what keymakerd read longer ago, nobody is called gone.
const READ_LATELY: Duration = Duration::from_secs(3600);

/// The step that locks one of them.
pub fn lock(name: String) -> MigrationStep {
    let what = format!("lock the local account {name}, whom IAM does not have");
    MigrationStep::new(what, move || {
        // Expired, since a locked password alone keeps no key out.
        run("usermod", &["--lock", "--expiredate", "1", &name]).map(|_| ())
    })
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
        format!(
            "set id_scheme = \"keymaker\" and publish = \"all\" in {}",
            paths::KEYMAKERD_TOML
        ),
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

/// As the predecessor did: the same numbers, for everybody whom it made an account.
fn with_scheme(text: &str) -> String {
    let scheme = with_line(text, "id_scheme", "id_scheme = \"keymaker\"");
    with_line(&scheme, "publish", "publish = \"all\"")
}

/// In the place of the present one, or above the first table, of which it would else be a key: no other line moves, so
/// that a complaint names the line that the administrator sees.
fn with_line(text: &str, key: &str, line: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let starts = |word: &str, line: &&str| line.trim_start().starts_with(word);
    match lines.iter().position(|line| starts(key, line)) {
        Some(at) => lines.splice(at..=at, [line]).for_each(drop),
        None => {
            let table = lines.iter().position(|line| starts("[", line));
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
    let Ok(directory) = Directory::open_whole(Path::new(paths::DIRECTORY)) else {
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
        let set = "# Ours.\nid_scheme = \"keymaker\"\nauthz_ttl = 60\npublish = \"all\"\n[group_ids]\ndevs = 5001\n";
        assert_eq!(with_scheme(text), set);
        assert_eq!(with_scheme(set), set);
        assert_eq!(
            with_scheme("a = 1\n[group_ids]\ndevs = 1\n"),
            "a = 1\nid_scheme = \"keymaker\"\npublish = \"all\"\n[group_ids]\ndevs = 1\n"
        );
        assert_eq!(
            with_scheme("a = 1\n"),
            "a = 1\nid_scheme = \"keymaker\"\npublish = \"all\"\n"
        );
    }

    #[test]
    fn departed_is_whom_the_predecessor_made_and_iam_does_not_have() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000:ubuntu:/home/ubuntu:/bin/bash\n\
            bob:x:26594:26594:bob:/home/bob:/bin/bash\neve:x:3001:3001:eve,,,:/home/eve:/bin/bash\n\
            alice:x:4001:4001:alice:/home/alice:/bin/bash\nlola:x:5001:5001:Lola L.:/home/lola:/bin/bash\n";
        let expected = [("bob".to_owned(), 26594), ("eve".to_owned(), 3001)];
        assert_eq!(departed_in(passwd, &["alice"]), expected);
    }

    #[test]
    fn the_formula_is_the_predecessors() {
        // The test vector of the Python keymaker.
        assert_eq!(formula("AKIAIJLRCB5E7CGTDF5A"), 26594);
    }
}
