//! The local users and groups that the Python keymaker made: those whose number is its formula of their IAM id.
//!
//! IAM ids come from keymakerd's status, which refuses exactly these entries because they are local.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::paths;
use keymaker_core::protocol::Question;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::install::files::write;
use super::super::order;
use super::super::probe::{local_line, run};
use super::Step;

/// `id = 2000 + (u16 // 2)`, u16 being the last two bytes of the id's SHA-256, little-endian.
fn formula(iam_id: &str) -> u32 {
    let digest = Sha256::digest(iam_id.as_bytes());
    let last = digest.last_chunk::<2>().copied().unwrap_or_default();
    2000 + u32::from(u16::from_le_bytes(last)) / 2
}

/// A step for each account and group of the predecessor's.
pub fn found() -> Result<Vec<Step>, String> {
    let text = fs::read_to_string(paths::STATUS);
    let text = text.map_err(|error| {
        format!(
            "{}: {error}; keymakerd must run first (systemctl start keymakerd)",
            paths::STATUS
        )
    })?;
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut steps = Vec::new();
    let mut groups = Vec::new();
    for entry in status
        .get("refused_entries")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let word = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = formula(word("iam_id"));
        // "alice is a user in this host's /etc/passwd": the Unix name is the first word.
        let name = word("why").split(' ').next().unwrap_or_default().to_owned();
        match word("kind") {
            "user" => steps.extend(user(&name, number)),
            _ => groups.extend(group(&name, number)),
        }
    }
    // A group still has its members until they are gone.
    steps.extend(groups);
    Ok(steps)
}

fn number_of(file: &str, name: &str) -> Option<u32> {
    local_line(file, name)?.split(':').nth(2)?.parse().ok()
}

fn user(name: &str, uid: u32) -> Option<Step> {
    (number_of(paths::PASSWD, name)? == uid).then_some(())?;
    let name = name.to_owned();
    let what = format!("give up the local account {name}, whose uid {uid} and home the IAM user keeps");
    Some(Step::new(what, move || {
        // --force: also while the user is logged in. Without --remove the home stays.
        run("userdel", &["--force", &name]).map(|_| ())
    }))
}

fn group(name: &str, gid: u32) -> Option<Step> {
    (number_of(paths::GROUP, name)? == gid).then_some(())?;
    let name = name.to_owned();
    let what = format!("give up the local group {name}, whose gid {gid} the IAM group keeps");
    Some(Step::new(what, move || run("groupdel", &[&name]).map(|_| ())))
}

/// The Python formula for all ids of this host.
pub fn set_scheme() -> Result<(), String> {
    let path = Path::new(paths::KEYMAKERD_TOML);
    let text = fs::read_to_string(path).unwrap_or_default();
    let is_scheme = |line: &&str| line.trim_start().starts_with("id_scheme");
    let kept: String = text
        .lines()
        .filter(|line| !is_scheme(line))
        .map(|line| format!("{line}\n"))
        .collect();
    write(path, format!("{kept}id_scheme = \"keymaker\"\n").as_bytes(), 0o644)
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

/// Starts keymakerd anew and waits until it has read IAM: right after its start it knows no way there.
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
    fn the_formula_is_the_predecessors() {
        // The test vector of the Python keymaker.
        assert_eq!(formula("AKIAIJLRCB5E7CGTDF5A"), 26594);
    }
}
