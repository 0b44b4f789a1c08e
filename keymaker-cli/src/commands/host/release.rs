//! `keymaker release NAME`: the name becomes its present IAM user's, and the former one's home makes room.
//!
//! keymakerd knows who holds the name; only root may move homes, so this command does, and changes nothing else about
//! them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, User, Verdict};
use keymaker_core::id::Uid;
use keymaker_core::local_files::{NamedLine, PasswdLine, lines};
use keymaker_core::name::UserName;
use keymaker_core::protocol::Question;
use keymaker_core::{paths, sys};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde_json::json;

use super::probe::text_of;
use super::{HostError, link_home, order, who_was};
use crate::output::Output;

/// Releases the name, then moves a home of another uid from the user's home path to PATH.UID, or the next free
/// PATH.UID.1, PATH.UID.2, …. Links of that name or to its home go first: nobody is to be let in by one, or led to the next holder's.
pub fn run(name: UserName, output: &Output) -> Result<(), HostError> {
    let unlinked = link_home::remove(name)?;
    let gone = |link: &PathBuf| format!("\nthe link {} is removed", link.display());
    let links_gone: String = unlinked.iter().map(gone).collect();
    let (released, moved) = hand_on(name, !unlinked.is_empty()).map_err(|error| {
        if unlinked.is_empty() {
            error
        } else {
            HostError::Refused(format!("{error}{links_gone}"))
        }
    })?;
    let text = match &moved {
        Some(MovedHome { from, to, owner }) => {
            let whose = owner.map_or(String::new(), |owner| {
                format!(", the home of {owner}, who had the name before")
            });
            format!(
                "{released}\n{} is now {}{whose}, owner and modes untouched",
                from.display(),
                to.display()
            )
        }
        None => released.clone(),
    } + &links_gone;
    let moved = moved.map(|moved| json!({ "from": moved.from, "to": moved.to }));
    output.print(
        &text,
        &json!({ "done": released, "moved": moved, "unlinked": unlinked }),
    );
    Ok(())
}

/// keymakerd's sentence, and the home that was moved; where only links were in the way, the sentence says that the name is free.
fn hand_on(name: UserName, links_are_gone: bool) -> Result<(String, Option<MovedHome>), HostError> {
    match order::give(Question::Release(name)) {
        Ok(released) => Ok((released, move_home_of_another(name)?)),
        // The name may be free already, and only the home in the way.
        Err(HostError::Refused(why)) => match move_home_of_another(name)? {
            None if !links_are_gone => Err(HostError::Refused(why)),
            moved => Ok((why, moved)),
        },
        Err(error) => Err(error),
    }
}

/// A home that made room.
struct MovedHome {
    from: PathBuf,
    to: PathBuf,
    /// Whose home it is there: the former holder's, who has another name by now.
    owner: Option<UserName>,
}

fn move_home_of_another(name: UserName) -> Result<Option<MovedHome>, HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let directory = Directory::open(Path::new(paths::DIRECTORY)).map_err(unreadable)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let Some(user) = directory
        .user_by_name(name, &mut buffer)
        .map_err(unreadable)?
        .filter(|user| !user.tombstone && user.verdict != Verdict::NameHeldByAnother)
    else {
        return Ok(None);
    };
    let home = PathBuf::from(user.home);
    // Of a link the link itself is judged and moved, never what it names.
    let Ok(metadata) = std::fs::symlink_metadata(&home) else {
        return Ok(None);
    };
    // A folder of the system's is not a former user's home, whatever the tag `home` says.
    if metadata.uid() == user.uid.get() || Uid::new(metadata.uid()).is_none() {
        return Ok(None);
    }
    if let Some(whose) = present_holder(&home, metadata.uid(), name, &directory)? {
        return Err(HostError::HomeInUse(home, whose));
    }
    let owner = directory
        .user_by_uid(metadata.uid(), &mut buffer)
        .map_err(unreadable)?
        .filter(|owner| !owner.tombstone && metadata.is_dir());
    if let Some(owner) = owner
        && let Some(to) = move_to_owner(&home, Path::new(owner.home))
    {
        return Ok(Some(MovedHome {
            from: home,
            to,
            owner: Some(owner.name),
        }));
    }
    let to = move_aside(&home, metadata.uid())?;
    Ok(Some(MovedHome {
        from: home,
        to,
        owner: None,
    }))
}

/// HOME becomes the home of its owner, who was renamed and has none yet: at their next login they would get an empty one. Never over
/// anything, and only within one folder of homes.
fn move_to_owner(home: &Path, of_owner: &Path) -> Option<PathBuf> {
    let beside = home.parent().is_some() && home.parent() == of_owner.parent();
    let moved = beside && renameat_with(CWD, home, CWD, of_owner, RenameFlags::NOREPLACE).is_ok();
    moved.then(|| of_owner.to_path_buf())
}

/// Whose the home of another is, where it is not to be moved; `None` where `run` moves it, or where it is the user's own.
pub fn who_keeps_the_home(user: &User<'_>, directory: &Directory) -> Option<String> {
    let owner = std::fs::symlink_metadata(user.home).ok()?.uid();
    if owner == user.uid.get() {
        return None;
    }
    let map = who_was::map().ok().flatten().unwrap_or_default();
    if link_home::target(Path::new(user.home), 0, &map).is_some() {
        return None;
    }
    if Uid::new(owner).is_none() {
        return Some(format!("uid {owner}"));
    }
    let holder = present_holder(Path::new(user.home), owner, user.name, directory);
    holder.unwrap_or_else(|_| Some(format!("uid {owner}")))
}

/// HOME becomes HOME.UID, or HOME.UID.1 and so on: anybody who may name IAM users can see to it that a home of theirs
/// is there already.
fn move_aside(home: &Path, uid: u32) -> Result<PathBuf, HostError> {
    let aside = |number: u32| {
        let mut aside = home.to_path_buf().into_os_string();
        aside.push(format!(".{uid}"));
        if number > 0 {
            aside.push(format!(".{number}"));
        }
        PathBuf::from(aside)
    };
    let mut number = 0;
    loop {
        match renameat_with(CWD, home, CWD, aside(number), RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(aside(number)),
            Err(Errno::EXIST) if number < 10_000 => number += 1,
            Err(error) => return Err(HostError::HomeInTheWay(home.to_path_buf(), aside(number), error.into())),
        }
    }
}

/// Which account of today has this folder, or something in it, for a home, or owns it without being from IAM. (An IAM
/// user who was renamed keeps the uid and has another home: what that user left here may go.)
fn present_holder(
    folder: &Path,
    owner: u32,
    but: UserName,
    directory: &Directory,
) -> Result<Option<String>, HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let passwd =
        text_of(paths::PASSWD).map_err(|error| HostError::Unreadable(paths::PASSWD.into(), error.to_string()))?;
    if let Some(whose) = local_holder(&passwd, folder, owner) {
        return Ok(Some(whose));
    }
    let mut buffer = [0; MAX_USER_RECORD];
    let mut from = 0;
    while let Some((next, user)) = directory.next_user(from, &mut buffer).map_err(unreadable)? {
        from = next;
        if !user.tombstone && user.name != but && Path::new(user.home).starts_with(folder) {
            return Ok(Some(user.name.to_string()));
        }
    }
    if directory.user_by_uid(owner, &mut buffer).map_err(unreadable)?.is_some() {
        return Ok(None);
    }
    // SSSD's accounts and others stand in no file.
    let other = sys::name_of_uid(owner).map_err(|error| {
        let why = format!(
            "the owner of uid {owner} cannot be determined at the moment ({error}), so {} stays: try again",
            folder.display()
        );
        HostError::Refused(why)
    })?;
    Ok(other.map(|name| String::from_utf8_lossy(&name).into_owned()))
}

/// The same among the lines of a passwd(5).
fn local_holder(passwd: &str, folder: &Path, owner: u32) -> Option<String> {
    // A line that glibc passes over may be put right: what it names stays where it is.
    let lives_there = |line| {
        let account = PasswdLine::parse(line);
        account.is_some_and(|account| Path::new(OsStr::from_bytes(account.home)).starts_with(folder))
    };
    let mut named = lines(passwd.as_bytes()).filter_map(|line| Some((line, NamedLine::parse(line)?)));
    let (_, holder) = named.find(|(line, named)| named.id == Some(owner) || lives_there(line))?;
    Some(String::from_utf8_lossy(holder.name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_moves_aside_though_somebody_took_the_name_of_its_new_place() {
        let folder = std::env::temp_dir().join(format!("keymaker-release-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let home = folder.join("carol");
        for aside in ["carol.7", "carol.7.1", "carol.7.2"] {
            std::fs::create_dir(&home).unwrap();
            assert_eq!(move_aside(&home, 7).unwrap(), folder.join(aside));
        }
        assert!(move_aside(&home, 7).is_err(), "no such home");
        std::fs::remove_dir_all(folder).unwrap();
    }

    // P2
    #[test]
    fn the_home_of_a_renamed_user_becomes_theirs_where_they_have_none_and_replaces_nothing() {
        let folder = std::env::temp_dir().join(format!("keymaker-release-owner-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("old")).unwrap();
        let (old, new) = (folder.join("old"), folder.join("new"));
        assert_eq!(move_to_owner(&old, &folder.join("elsewhere/new")), None);
        assert_eq!(move_to_owner(&old, &new), Some(new.clone()));
        std::fs::create_dir(&old).unwrap();
        assert_eq!(move_to_owner(&old, &new), None, "they have one");
        assert!(old.exists() && new.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_a_local_account_owns_or_lives_in_is_its_own() {
        let passwd = "root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1000::/home/alice:/bin/sh\ndata:x:1001:1001::/home/bob/data/:/bin/sh\nbad:x:1002:y::/:\n";
        let holder = |folder: &str, owner| local_holder(passwd, Path::new(folder), owner);
        assert_eq!(holder("/home/alice", 5000).as_deref(), Some("ubuntu"));
        assert_eq!(holder("/home/bob", 5000).as_deref(), Some("data"));
        assert_eq!(holder("/home/carol", 1001).as_deref(), Some("data"));
        assert_eq!(holder("/home/carol", 1002).as_deref(), Some("bad"));
        assert_eq!(holder("/home/ali", 5000), None);
        assert_eq!(holder("/home/carol", 5000), None);
    }
}
