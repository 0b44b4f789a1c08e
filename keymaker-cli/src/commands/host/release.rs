//! `keymaker release NAME`: the name becomes its present IAM user's, and the former one's home makes room.
//!
//! keymakerd knows who holds the name; only root may move homes, so this command does, and changes nothing else about them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::id::Uid;
use keymaker_core::name::UserName;
use keymaker_core::paths;
use keymaker_core::protocol::Question;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::{HostError, order};
use crate::output::Output;

/// Releases the name, then moves a home of another uid from the user's home path to PATH.UID.
pub fn run(name: UserName, output: &Output) -> Result<(), HostError> {
    let released = order::give(Question::Release(name))?;
    let moved = move_home_of_another(name)?;
    let text = match &moved {
        Some((from, to)) => format!(
            "{released}\n{} is now {}, owner and modes untouched",
            from.display(),
            to.display()
        ),
        None => released.clone(),
    };
    let moved = moved.map(|(from, to)| json!({ "from": from, "to": to }));
    output.print(&text, &json!({ "done": released, "moved": moved }));
    Ok(())
}

fn move_home_of_another(name: UserName) -> Result<Option<(PathBuf, PathBuf)>, HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let directory = Directory::open(Path::new(paths::DIRECTORY)).map_err(unreadable)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let Some(user) = directory
        .user_by_name(name, &mut buffer)
        .map_err(unreadable)?
        .filter(|user| !user.tombstone)
    else {
        return Ok(None);
    };
    let home = PathBuf::from(user.home);
    // Of a link the link itself is judged and moved, never what it names.
    let Ok(metadata) = std::fs::symlink_metadata(&home) else {
        return Ok(None);
    };
    // A folder of the system's is no former user's home, whatever the tag `home` says.
    if metadata.uid() == user.uid.get() || Uid::new(metadata.uid()).is_none() {
        return Ok(None);
    }
    let mut aside = home.clone().into_os_string();
    aside.push(format!(".{}", metadata.uid()));
    let aside = PathBuf::from(aside);
    match renameat_with(CWD, &home, CWD, &aside, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Some((home, aside))),
        Err(error) => Err(HostError::HomeInTheWay(home, aside, error.into())),
    }
}
