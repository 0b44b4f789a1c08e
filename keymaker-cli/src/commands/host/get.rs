//! `keymaker get-uid`, `get-groups` and `get-authorized-keys`: what this host says about one user, in the form that the
//! Python keymaker's scripts read.

use std::path::Path;

use keymaker_core::client::ask;
use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::name::UserName;
use keymaker_core::paths;
use keymaker_core::protocol::{LOOKUP_BUDGET, MAX_ANSWER, Question};
use serde_json::json;

use super::HostError;
use super::probe::{limited, local_name_of};
use crate::output::Output;

const KEYS_COMMAND: &str = "/usr/libexec/keymaker/keymaker-keys";
/// A group with as many members as anybody has.
pub const MAX_GROUP_RECORD: usize = 1 << 20;

/// Prints the uid.
pub fn uid(name: UserName, output: &Output) -> Result<(), HostError> {
    let uid = uid_of(name)?.ok_or(HostError::NoSuchUser(name))?;
    output.print(&uid.to_string(), &json!({ "name": name.as_str(), "uid": uid }));
    Ok(())
}

fn uid_of(name: UserName) -> Result<Option<u32>, HostError> {
    let directory = fresh_directory(name)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let user = directory.user_by_name(name, &mut buffer);
    let user = user.map_err(|error| HostError::unreadable(paths::DIRECTORY, &error))?;
    Ok(user.filter(|user| !user.tombstone).map(|user| user.uid.get()))
}

/// Prints the groups, one a line, as Unix calls them.
pub fn groups(name: UserName, output: &Output) -> Result<(), HostError> {
    let names = group_names(&fresh_directory(name)?, name)?;
    let value = json!({ "name": name.as_str(), "groups": names });
    output.print(&names.join("\n"), &value);
    Ok(())
}

/// The names of the groups that the directory gives the user, local ones among them.
pub fn group_names(directory: &Directory, name: UserName) -> Result<Vec<String>, HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let mut buffer = [0; MAX_USER_RECORD];
    let user = directory.user_by_name(name, &mut buffer).map_err(unreadable)?;
    let user = user.filter(|user| !user.tombstone).ok_or(HostError::NoSuchUser(name))?;
    let mut record = vec![0; MAX_GROUP_RECORD];
    let mut names = Vec::new();
    for gid in user.groups() {
        let ours = directory.group_by_gid(gid, &mut record).map_err(unreadable)?;
        names.push(match ours {
            Some(group) => group.name.to_string(),
            None => local_name_of(paths::GROUP, gid).unwrap_or_else(|| gid.to_string()),
        });
    }
    Ok(names)
}

/// Prints what sshd's keys command prints: it makes the same decision as a login.
pub fn authorized_keys(name: UserName, output: &Output) -> Result<(), HostError> {
    let not_run = |why: String| HostError::NotRun(KEYS_COMMAND, why);
    // The command says itself why it prints nothing for a name that has no uid of ours.
    let uid = uid_of(name).unwrap_or_default().unwrap_or_default();
    let ran = limited(KEYS_COMMAND).args([name.as_str(), &uid.to_string()]).output();
    let ran = ran.map_err(|error| not_run(error.to_string()))?;
    let lines = String::from_utf8_lossy(&ran.stdout).into_owned();
    if lines.is_empty() {
        return Err(not_run(String::from_utf8_lossy(&ran.stderr).trim().to_owned()));
    }
    let value = json!({ "name": name.as_str(), "lines": lines.lines().collect::<Vec<_>>() });
    output.print(&lines, &value);
    Ok(())
}

/// The directory, after keymakerd was asked to make sure of the name. What it published stands where it cannot.
pub fn fresh_directory(name: UserName) -> Result<Directory, HostError> {
    let mut buffer = [0; MAX_ANSWER];
    let _ = ask(
        Path::new(paths::LOOKUP_SOCKET),
        &Question::Lookup(name),
        LOOKUP_BUDGET,
        &mut buffer,
    );
    Directory::open(Path::new(paths::DIRECTORY)).map_err(|error| HostError::unreadable(paths::DIRECTORY, &error))
}
