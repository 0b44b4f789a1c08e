//! `keymaker link-home OLD`: a link from where the home of a renamed user was to where it is, for what still names the old place.
//!
//! Nothing makes one by itself: whoever has the name next would be in the other's home, by `chown -R OLD: /home/OLD/` or `useradd`. So it
//! is made only while the name is nobody's, `release` takes it away (no holder of the name from IAM logs in before that), and doctor
//! names one whose name is taken. Others may write in the folder of homes: it is held by a descriptor, and nothing in it is replaced.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::home::{self, HomeState};
use keymaker_core::name::UserName;
use keymaker_core::{paths, reserved_names, roots_folder, sys};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, readlinkat, statat, symlinkat, unlinkat};
use rustix::io::Errno;
use serde_json::Value;

use super::probe::{has_local_user, home_base, is_root};
use super::who_was::{last_name, map};
use super::{HostError, order};
use crate::output::Output;

const ROOT: u32 = 0;

/// Makes the link, or says why not.
pub fn run(old: UserName, output: &Output) -> Result<(), HostError> {
    if !is_root() {
        return Err(HostError::NotRoot);
    }
    not_taken(old)?;
    let (home, uid) = present_home(old)?;
    let base = home_base();
    if home.parent() != Some(&base) {
        let why = format!(
            "{} is not in {}, where a home of {old} was",
            home.display(),
            base.display()
        );
        return Err(HostError::Refused(why));
    }
    let has_home = || matches!(home::state(&home, uid), Ok(HomeState::Theirs));
    if !has_home() {
        let why = format!(
            "{} is not there yet: the home moves at the next login of its user; link it then",
            home.display()
        );
        return Err(HostError::Refused(why));
    }
    let link = Link::at(&base, old)?;
    link.make(&home, ROOT)?;
    // Meanwhile somebody may have got the name, or moved the home.
    let moved = || HostError::Refused(format!("{} is no longer there", home.display()));
    if let Err(why) = not_taken(old).and_then(|()| has_home().then_some(()).ok_or_else(moved)) {
        link.remove()?;
        return Err(why);
    }
    let done = format!(
        "{0} leads to {1}; 'rm {0}' takes it away, and so does 'keymaker release {old}', which hands the name on: do one before a local \
         account gets the name",
        link.path.display(),
        home.display()
    );
    order::done(&done, output);
    Ok(())
}

/// The link of this name is taken away, and any that leads to the home of this name, which is to be another's; returns where they were.
pub fn remove(name: UserName) -> Result<Vec<PathBuf>, HostError> {
    let base = home_base();
    if !is_root() {
        return Ok(Vec::new());
    }
    // What cannot be read is an error: the next holder of the name would find the link.
    let map = map()?.unwrap_or_default();
    let of_name = |path: &Path| path.file_name() == Some(OsStr::new(name.as_str()));
    let mut removed = Vec::new();
    for (link, led) in links_in(&base, ROOT, &map) {
        if of_name(&base.join(link.as_str())) || of_name(&led.home) {
            let link = Link::at(&base, link)?;
            link.remove()?;
            removed.push(link.path);
        }
    }
    Ok(removed)
}

/// Those in the folder of homes that were made here.
pub fn links_in(base: &Path, owner: u32, map: &Value) -> Vec<(UserName, LinkedHome)> {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = UserName::parse(entry.file_name().as_bytes()).ok()?;
            Some((name, target(&entry.path(), owner, map)?))
        })
        .collect()
}

/// Where a link leads.
#[derive(Debug, PartialEq, Eq)]
pub struct LinkedHome {
    /// The home.
    pub home: PathBuf,
    /// Whose both names were: somebody deleted had them before, perhaps.
    pub uids: Vec<u32>,
}

/// Where the link leads, if it is one of root's from a former name of somebody to the home beside it that bears another name of theirs:
/// that is what is made here.
pub fn target(link: &Path, owner: u32, map: &Value) -> Option<LinkedHome> {
    let metadata = std::fs::symlink_metadata(link).ok()?;
    if !metadata.is_symlink() || metadata.uid() != owner {
        return None;
    }
    let target = std::fs::read_link(link).ok()?;
    let (old, new) = (link.file_name()?.to_str()?, target.file_name()?.to_str()?);
    if target.parent() != link.parent() || old == new {
        return None;
    }
    let had_both = |kept: &&Value| {
        let had = |name: &str| names(kept).any(|known| known.as_str() == name);
        is_user(kept) && had(old) && had(new)
    };
    let people = map.get("kept")?.as_object()?.values().filter(had_both);
    let uids: Vec<u32> = people
        .filter_map(|kept| u32::try_from(kept.get("id")?.as_u64()?).ok())
        .collect();
    (!uids.is_empty()).then_some(LinkedHome { home: target, uids })
}

/// The home of today of who had the name last, and their number.
fn present_home(old: UserName) -> Result<(PathBuf, u32), HostError> {
    let map = map()?.unwrap_or_default();
    let nobody = || {
        let why = format!("nobody from IAM who is on this host now had the name {old} here before");
        HostError::Refused(format!("{why}: 'keymaker who-was UID' says who had a number"))
    };
    let holder = map
        .get("holders")
        .and_then(|holders| holders.get(old.as_str())?.as_str());
    let (holder, kept) = holder
        .and_then(|id| Some((id, map.get("kept")?.get(id)?)))
        .filter(|(_, kept)| is_user(kept) && last_name(kept) != Some(old.as_str()))
        .ok_or_else(nobody)?;
    let uid = kept
        .get("id")
        .and_then(Value::as_u64)
        .and_then(|id| u32::try_from(id).ok());
    let uid = uid.ok_or_else(nobody)?;
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let directory = Directory::open(Path::new(paths::DIRECTORY)).map_err(unreadable)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let user = directory.user_by_uid(uid, &mut buffer).map_err(unreadable)?;
    let user = user.filter(|user| !user.tombstone && user.iam_user_id == holder);
    Ok((PathBuf::from(user.ok_or_else(nobody)?.home), uid))
}

/// Whether nobody has the name and nobody can have it.
fn not_taken(name: UserName) -> Result<(), HostError> {
    if reserved_names::is_reserved(name.as_str()) {
        return Err(HostError::Refused(format!("the name {name} is reserved for this host")));
    }
    let found = match sys::resolve_user(name.as_str()) {
        Ok(found) => found.map(|entry| format!("is the name of uid {}", entry.uid)),
        Err(error) => Some(format!("could not be looked up: {error}")),
    };
    let local = || has_local_user(name.as_str()).then(|| "is the name of an account of this host".to_owned());
    match found.or_else(local) {
        Some(whose) => Err(HostError::Refused(format!("{name} {whose}; no link is made"))),
        None => Ok(()),
    }
}

/// Whether an entry of the map is a user's.
pub fn is_user(kept: &Value) -> bool {
    kept.get("kind").and_then(Value::as_str) == Some("user")
}

/// The names that an entry of the map had here, the last one last: keymakerd wrote them, which is not root.
pub fn names(kept: &Value) -> impl Iterator<Item = UserName> {
    let names = kept.get("names").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.filter_map(|name| UserName::parse(name.as_bytes()).ok())
}

/// A place in the folder of homes, which is held open.
struct Link {
    base: OwnedFd,
    name: UserName,
    /// for sentences
    path: PathBuf,
}

impl Link {
    fn at(base: &Path, name: UserName) -> Result<Self, HostError> {
        let path = base.join(name.as_str());
        let held = roots_folder::find(base, ROOT).map_err(|error| HostError::Refused(error.to_string()))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let base = rustix::fs::open(&held.path, flags, Mode::empty());
        let base = base.map_err(|error| HostError::unreadable(&held.path.display().to_string(), &error))?;
        Ok(Self { base, name, path })
    }

    fn make(&self, home: &Path, owner: u32) -> Result<(), HostError> {
        let failed = |error: Errno| HostError::unreadable(&self.path.display().to_string(), &error);
        match symlinkat(home, &self.base, self.name.as_str()) {
            Err(Errno::EXIST) => {
                let why = format!("{} is there already, and stays as it is", self.path.display());
                return Err(HostError::Refused(why));
            }
            made => made.map_err(failed)?,
        }
        let found = statat(&self.base, self.name.as_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let leads_to = readlinkat(&self.base, self.name.as_str(), Vec::new()).map_err(failed)?;
        if found.st_uid == owner && OsStr::from_bytes(leads_to.as_bytes()) == home.as_os_str() {
            return Ok(());
        }
        let why = format!(
            "somebody who may write to the folder has put something else at {}",
            self.path.display()
        );
        Err(HostError::Refused(why))
    }

    /// A link, and nothing else: unlink(2) removes no folder, and where others may replace the link they could remove theirs.
    fn remove(&self) -> Result<(), HostError> {
        match unlinkat(&self.base, self.name.as_str(), AtFlags::empty()) {
            Err(error) if io::Error::from(error).kind() != io::ErrorKind::NotFound => {
                Err(HostError::unreadable(&self.path.display().to_string(), &error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::symlink;
    use test_folder::TestFolder;

    fn link_in(folder: &TestFolder) -> Link {
        Link {
            base: rustix::fs::open(&**folder, OFlags::DIRECTORY, Mode::empty()).unwrap(),
            name: UserName::parse(b"alice").unwrap(),
            path: folder.join("alice"),
        }
    }

    // P2 P11
    #[test]
    fn a_link_replaces_nothing_follows_nothing_and_is_whose_it_should_be() {
        let folder = TestFolder::new();
        let (link, home, own) = (link_in(&folder), folder.join("alicia"), sys::own_uid());
        std::fs::create_dir(&home).unwrap();
        link.make(&home, own).unwrap();
        assert_eq!(std::fs::read_link(&link.path).unwrap(), home);
        link.remove().unwrap();
        link.remove().unwrap();
        assert!(home.is_dir());
        for there in ["a folder", "a file", "a link to a folder", "a link to nothing"] {
            match there {
                "a folder" => std::fs::create_dir(&link.path).unwrap(),
                "a file" => std::fs::write(&link.path, "").unwrap(),
                "a link to a folder" => symlink(&home, &link.path).unwrap(),
                _ => symlink("nowhere", &link.path).unwrap(),
            }
            let before = std::fs::symlink_metadata(&link.path).unwrap().ino();
            let refused = link.make(&home, own).unwrap_err().to_string();
            assert!(refused.contains("is there already"), "{there}: {refused}");
            assert_eq!(std::fs::symlink_metadata(&link.path).unwrap().ino(), before, "{there}");
            assert!(std::fs::read_dir(&home).unwrap().next().is_none(), "{there}");
            if there == "a folder" {
                assert!(link.remove().is_err(), "a folder is no link");
                std::fs::remove_dir(&link.path).unwrap();
            } else {
                std::fs::remove_file(&link.path).unwrap();
            }
        }
        let other = link.make(&home, own + 1).unwrap_err().to_string();
        assert!(other.contains("something else"), "{other}");
    }

    // P2
    #[test]
    fn only_a_link_of_roots_from_one_name_of_a_person_to_another_is_ours() {
        let folder = TestFolder::new();
        let map = json!({ "kept": {
            "AIDA1": { "kind": "user", "id": 2000, "names": ["alice", "alicia", "alix"] },
            "AIDA2": { "kind": "user", "id": 2001, "names": ["bob"] },
            "AGPA1": { "kind": "group", "id": 2002, "names": ["devs", "eng"] },
        }});
        let own = sys::own_uid();
        let ours = |from: &str, to: &Path, owner| {
            symlink(to, folder.join(from)).unwrap();
            let found = target(&folder.join(from), owner, &map);
            std::fs::remove_file(folder.join(from)).unwrap();
            found.is_some()
        };
        assert!(ours("alice", &folder.join("alix"), own));
        // After another new name the link leads to where the home was then.
        assert!(ours("alice", &folder.join("alicia"), own));
        assert!(!ours("alice", &folder.join("alix"), own + 1));
        assert!(!ours("alice", &folder.join("bob"), own));
        assert!(!ours("alice", Path::new("/elsewhere/alix"), own));
        assert!(!ours("alice", Path::new("alix"), own));
        assert!(!ours("alice", &folder.join("alice"), own));
        assert!(!ours("devs", &folder.join("eng"), own));
        std::fs::create_dir(folder.join("alice")).unwrap();
        assert_eq!(target(&folder.join("alice"), own, &map), None);
    }

    // P2
    #[test]
    fn of_the_links_in_the_folder_each_that_was_made_here_is_found_with_whose_it_is() {
        let folder = TestFolder::new();
        let map = json!({ "kept": { "AIDA1": { "kind": "user", "id": 2000, "names": ["alice", "alicia", "../x"] } } });
        symlink(folder.join("alicia"), folder.join("alice")).unwrap();
        symlink("/etc", folder.join("etc")).unwrap();
        std::fs::create_dir(folder.join("alicia")).unwrap();
        let home = folder.join("alicia");
        let alice = UserName::parse(b"alice").unwrap();
        assert_eq!(
            links_in(&folder, sys::own_uid(), &map),
            [(alice, LinkedHome { home, uids: vec![2000] })]
        );
        assert_eq!(names(&map["kept"]["AIDA1"]).count(), 2);
    }
}
