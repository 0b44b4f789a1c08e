//! What still bears a former name of a user whom IAM has renamed: a link to their home under a name that is somebody else's now, their
//! crontab and their mail, which cron and the mail system look for by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::link_home;
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
    let names = published.iter().map(|(_, name)| name.as_str()).collect();
    links(found, home_base, &names, &map);
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

fn links(found: &mut Findings, home_base: &Path, published: &BTreeSet<&str>, map: &Value) {
    for entry in fs::read_dir(home_base).into_iter().flatten().flatten() {
        let (name, link) = (entry.file_name(), entry.path());
        let Some(name) = name
            .to_str()
            .filter(|_| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        else {
            continue;
        };
        if !published.contains(name) && !has_local_user(name) {
            continue;
        }
        if let Some(target) = link_home::target(&link, 0, map) {
            let (link, target) = (link.display(), target.display());
            found.fault(
                format!("{link} leads to {target}, and {name} is somebody else's name now"),
                "what is made for the one, or given to them (chown -R), would be in the home of the other",
                format!("rm {link}"),
            );
        }
    }
}

/// A user's file that bears a former name of theirs.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftFile {
    file: PathBuf,
    /// where it belongs
    to: PathBuf,
    name: String,
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
        for former in link_home::names(kept).filter(|former| *former != name) {
            let files = spools.iter().map(|spool| (spool.join(former), spool.join(name)));
            left.extend(files.filter(|(file, _)| is_of(file, uid)).map(|(file, to)| LeftFile {
                file,
                to,
                name: name.to_owned(),
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

    /// What puts it in its place, and replaces nothing.
    pub fn remedy(&self) -> String {
        let (file, to, name) = (self.file.display(), self.to.display(), &self.name);
        if fs::symlink_metadata(&self.to).is_err() {
            format!("mv -n {file} {to}")
        } else if self.file.starts_with("/var/mail") {
            format!("cat {file} >> {to} && rm {file}")
        } else {
            format!("cat {to} {file} | crontab -u {name} - && rm {file}")
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
        fs::write(folder.join("alicia"), "").unwrap();
        assert_eq!(
            left()[0].remedy(),
            format!("cat {alicia} {alice} | crontab -u alicia - && rm {alice}")
        );
        assert!(left_under_former_names(&[&folder], &[], &map).is_empty());
    }
}
