//! What still bears a former name of a user whom IAM has renamed: a link to their home under a name that is somebody else's now, their
//! crontab and their mail, which cron and the mail system look for by name.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::link_home::{self, LinkedHome};
use super::super::probe::has_local_user;
use super::super::published::of_each_published;
use super::super::who_was;
use super::Findings;

/// Where cron (Debian's, then cronie) and mail systems keep a file for each user, by name.
const SPOOLS: [&str; 3] = ["/var/spool/cron/crontabs", "/var/spool/cron", "/var/mail"];

pub(super) fn look(found: &mut Findings, home_base: &Path) {
    // A directory that cannot be read is told with the files.
    let published = of_each_published(|user| (user.uid.get(), user.name.to_string()));
    let (Ok(published), Ok(Some(map))) = (published, who_was::map()) else {
        return;
    };
    for link in wrong_links(home_base, 0, &published, &map) {
        found.fault(link.what, link.why, link.remedy);
    }
    let left = left_under_former_names(&SPOOLS.map(Path::new), &published, &map);
    if left.is_empty() {
        return;
    }
    let what: Vec<String> = left.iter().map(LeftFile::what).collect();
    let remedy: Vec<String> = left.iter().map(LeftFile::remedy).collect();
    found.fault(
        what.join("; "),
        "cron and the mail system go by the name: no job runs from such a crontab, and nobody reads such mail",
        remedy.join("; "),
    );
}

struct WrongLink {
    what: String,
    why: &'static str,
    remedy: String,
}

/// Links to former homes that are in the way of somebody, or lead to another's home.
fn wrong_links(home_base: &Path, owner: u32, published: &[(u32, String)], map: &Value) -> Vec<WrongLink> {
    let named = |name: &str| published.iter().find(|(_, of)| of == name).map(|(uid, _)| *uid);
    let mut wrong = Vec::new();
    for (name, LinkedHome { home, uids }) in link_home::links_in(home_base, owner, map) {
        let (link, name) = (home_base.join(name.as_str()).display().to_string(), name.as_str());
        let present = home.file_name().and_then(|name| name.to_str()).and_then(named);
        let is_theirs = |uid: Option<u32>| uid.is_some_and(|uid| uids.contains(&uid));
        let leads = format!("{link} leads to {}", home.display());
        let (what, why) = if is_theirs(named(name)) {
            (
                format!("{leads}, and {name} is the name of who has that home again"),
                "their home does not move to the name while the link is there, and where others may write in the folder they cannot log in",
            )
        } else if named(name).is_some() || has_local_user(name) {
            (
                format!("{leads}, and {name} is somebody else's name now"),
                "what is made for the one, or given to them (chown -R), would be in the home of the other",
            )
        } else if !is_theirs(present) {
            (
                format!("{leads}, which is no longer the home of who had the name {name}"),
                "what goes by the former name would reach the home of whoever has the other name next",
            )
        } else {
            continue;
        };
        let remedy = format!("rm {link}");
        wrong.push(WrongLink { what, why, remedy });
    }
    wrong
}

/// A user's file that bears a former name of theirs.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftFile {
    file: PathBuf,
    /// where it belongs
    to: PathBuf,
    name: String,
    uid: u32,
}

/// What there is of the users with these numbers and names, by the names that the map knows of each.
fn left_under_former_names(spools: &[&Path], users: &[(u32, String)], map: &Value) -> Vec<LeftFile> {
    let numbers: BTreeMap<u32, &str> = users.iter().map(|(uid, name)| (*uid, name.as_str())).collect();
    let kept = map.get("kept").and_then(Value::as_object);
    let kept = kept.into_iter().flatten().map(|(_, kept)| kept);
    let mut left = Vec::new();
    for kept in kept.filter(|kept| link_home::is_user(kept)) {
        let uid = kept.get("id").and_then(Value::as_u64);
        let Some((uid, name)) = uid
            .and_then(|uid| u32::try_from(uid).ok())
            .and_then(|uid| Some((uid, *numbers.get(&uid)?)))
        else {
            continue;
        };
        for former in link_home::names(kept).filter(|former| former.as_str() != name) {
            let files = spools
                .iter()
                .map(|spool| (spool.join(former.as_str()), spool.join(name)));
            left.extend(files.filter(|(file, _)| is_of(file, uid)).map(|(file, to)| LeftFile {
                file,
                to,
                name: name.to_owned(),
                uid,
            }));
        }
    }
    left
}

fn is_of(file: &Path, uid: u32) -> bool {
    fs::symlink_metadata(file).is_ok_and(|found| found.is_file() && found.uid() == uid)
}

impl LeftFile {
    /// That it is there.
    pub fn what(&self) -> String {
        format!("{} is {}'s, who has another name now", self.file.display(), self.name)
    }

    /// What puts it in its place, and replaces nothing. Root writes to no file of a user's, which may be a link by then.
    pub fn remedy(&self) -> String {
        let (file, to, name) = (self.file.display(), self.to.display(), &self.name);
        if fs::symlink_metadata(&self.to).is_err() {
            format!("mv -n {file} {to}")
        } else if !is_of(&self.to, self.uid) {
            format!("ls -l {to}  # it is not {name}'s: move it away, and then: mv -n {file} {to}")
        } else if self.file.starts_with("/var/mail") {
            format!("runuser -u {name} -- sh -c 'cat {file} >> {to}' && rm {file}")
        } else {
            format!("crontab -u {name} -e  # add the lines of {file}, and then: rm {file}")
        }
    }
}

/// The same of one user, for why; only root can tell.
pub fn left_of(uid: u32, name: &str) -> Vec<LeftFile> {
    let map = who_was::map().ok().flatten().unwrap_or_default();
    left_under_former_names(&SPOOLS.map(Path::new), &[(uid, name.to_owned())], &map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keymaker_core::sys::own_uid;
    use serde_json::json;
    use std::os::unix::fs::symlink;
    use test_folder::TestFolder;

    #[test]
    fn a_file_under_a_former_name_is_named_with_where_it_belongs_and_replaces_nothing() {
        let folder = TestFolder::new();
        let uid = own_uid();
        let map = json!({ "kept": {
            "AIDA1": { "kind": "user", "id": uid, "names": ["alice", "ali", "alix", "alicia"] },
            "AIDA2": { "kind": "user", "id": uid + 1, "names": ["bob", "robert"] },
            "AGPA1": { "kind": "group", "id": uid, "names": ["devs", "alicia"] },
        }});
        for name in ["alice", "alicia.bak", "bob", "devs", "elsewhere"] {
            fs::write(folder.join(name), "").unwrap();
        }
        fs::create_dir(folder.join("ali")).unwrap();
        symlink("elsewhere", folder.join("alix")).unwrap();
        let users = [(uid, "alicia".to_owned()), (uid + 1, "robert".to_owned())];
        let left = || left_under_former_names(&[&folder, Path::new("/nowhere")], &users, &map);
        let files: Vec<PathBuf> = left().into_iter().map(|left| left.file).collect();
        assert_eq!(files, [folder.join("alice")]);
        let (alice, alicia) = (folder.join("alice"), folder.join("alicia"));
        let (alice, alicia) = (alice.display(), alicia.display());
        assert_eq!(left()[0].remedy(), format!("mv -n {alice} {alicia}"));
        symlink("/etc/passwd", folder.join("alicia")).unwrap();
        assert_eq!(
            left()[0].remedy(),
            format!("ls -l {alicia}  # it is not alicia's: move it away, and then: mv -n {alice} {alicia}")
        );
        fs::remove_file(folder.join("alicia")).unwrap();
        fs::write(folder.join("alicia"), "").unwrap();
        assert_eq!(
            left()[0].remedy(),
            format!("crontab -u alicia -e  # add the lines of {alice}, and then: rm {alice}")
        );
        assert!(left_under_former_names(&[&folder], &[], &map).is_empty());
    }

    // P2
    #[test]
    fn a_link_at_a_former_home_is_wrong_where_either_name_is_anothers_or_its_own_comes_back() {
        let folder = TestFolder::new();
        let map = json!({ "kept": { "AIDA1": { "kind": "user", "id": 2000, "names": ["ali_ce", "ali_cia", "ali_x"] },
            "AIDA0": { "kind": "user", "id": 1999, "names": ["ali_ce", "ali_cia"] } } });
        symlink(folder.join("ali_cia"), folder.join("ali_ce")).unwrap();
        let said = |published: &[(u32, &str)]| {
            let published: Vec<_> = published.iter().map(|(uid, name)| (*uid, (*name).to_owned())).collect();
            let wrong = wrong_links(&folder, own_uid(), &published, &map);
            wrong.into_iter().map(|link| link.what).collect::<String>()
        };
        assert_eq!(said(&[(2000, "ali_cia"), (2001, "bob")]), "");
        assert!(said(&[(2000, "ali_cia"), (2001, "ali_ce")]).contains("somebody else's name"));
        assert!(said(&[(2000, "ali_ce")]).contains("is the name of who has that home again"));
        // Renamed once more: the next holder of the name between would be led to.
        for published in [vec![(2000, "ali_x")], vec![(2000, "ali_x"), (2001, "ali_cia")], vec![]] {
            assert!(said(&published).contains("no longer the home"), "{published:?}");
        }
    }
}
