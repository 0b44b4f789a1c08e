//! Whether a user left anything on this host: a session, a home, a lingering manager. Looked for where IAM no longer
//! has the user, who was never seen here: then a tombstone stands for them forever, else it goes, or anybody who may
//! create and delete IAM users would fill the directory with them. Looked for likewise under a name that its holder has
//! no longer: then the name is kept for them until root releases it, else it is free, or anybody who may rename IAM
//! users would take every name of the people to come.
//!
//! Called by the daemon once a minute, while there is somebody to look for. A home may lie on a disk or a server that
//! does not answer, so a thread of its own looks, and nobody waits for it. docs/formats.md says why nobody is let in by
//! a tombstone or a name that goes.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use keymaker_core::running::LINGER;
use tracing::{info, warn};

use super::unsettled::{FormerName, Gone, Unsettled};
use crate::config::Tag;
use crate::directory::iam::Iam;
use crate::directory::service::Service;
use crate::directory::state::State;

impl<I: Iam + 'static> Service<I> {
    /// Looks what is left of users and under former names, and settles those about which `before`, the look before this
    /// one, says the same. Returns who left nothing, for the next look: between the two, anybody who was just logging
    /// in has a session.
    pub async fn settle(self: &Rc<Self>, root: PathBuf, before: Unsettled) -> Unsettled {
        let (unsettled, homes) = {
            let state = self.state();
            // With that tag a home may be anywhere, and the tag went with the user.
            if state.config.tags.contains(&Tag::Home) {
                return Unsettled::default();
            }
            let homes = state.config.home_base.trim_start_matches('/').to_owned();
            (state.published.unsettled.clone(), homes)
        };
        if unsettled.is_empty() {
            return Unsettled::default();
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        // Not tokio's own threads: it waits for them when the daemon ends.
        std::thread::spawn(move || {
            let host = SearchedHost {
                root: &root,
                homes: &homes,
                owner_of: |path: &Path| Ok(path.symlink_metadata()?.uid()),
            };
            let _ = tell.send(host.look(unsettled));
        });
        let Ok((left_something, left_nothing)) = told.await else {
            return Unsettled::default();
        };
        self.state_mut().settle(&left_something, &left_nothing, &before);
        if let Err(error) = self.publish().await {
            warn!(%error, "could not publish: {error}");
        }
        left_nothing
    }
}

impl State {
    fn settle(&mut self, left_something: &Unsettled, left_nothing: &Unsettled, before: &Unsettled) {
        for gone in &left_something.gone {
            self.ids.note_presence(&gone.iam_id);
        }
        for gone in left_nothing.gone.intersection(&before.gone) {
            let is_back =
                self.facts.users.contains_key(&gone.iam_id) && self.ids.kept_id(&gone.iam_id) == Some(gone.uid);
            if !is_back {
                info!(user = %gone.iam_id, uid = gone.uid, "{} is gone, was never here and left nothing", gone.iam_id);
                self.ids.note_absence(&gone.iam_id, gone.uid);
            }
        }
        for former in &left_something.names {
            self.ids.note_presence_as(&former.iam_id, &former.name);
        }
        for former in left_nothing.names.intersection(&before.names) {
            let user = self.facts.users.get(&former.iam_id);
            let is_back = user.is_some_and(|user| user.name == self.iam_name(&former.name));
            if !is_back {
                info!(user = %former.iam_id, name = %former.name, "the name {} is free: {} was never here under it", former.name, former.iam_id);
                self.ids.forget_name(&former.name, &former.iam_id);
            }
        }
    }
}

/// Where to look.
struct SearchedHost<'a, O> {
    root: &'a Path,
    /// Below the root.
    homes: &'a str,
    /// Whose a file is, without following a link.
    owner_of: O,
}

impl<O: Fn(&Path) -> io::Result<u32>> SearchedHost<'_, O> {
    /// Who left something, and who did not. What cannot be looked at may be something.
    fn look(&self, unsettled: Unsettled) -> (Unsettled, Unsettled) {
        let (gone, not_gone) = unsettled.gone.into_iter().partition(|gone| self.has_left(gone));
        let (names, free_names) = unsettled.names.into_iter().partition(|former| self.was_here(former));
        let left_nothing = Unsettled {
            gone: not_gone,
            names: free_names,
        };
        (Unsettled { gone, names }, left_nothing)
    }

    fn has_left(&self, gone: &Gone) -> bool {
        // systemd-logind has a file for anybody who has a session, or processes of one.
        let has_session = self.exists("run/systemd/users", &gone.uid.to_string());
        let has_files = |name: &String| self.exists(self.homes, name) || self.exists(LINGER, name);
        has_session || gone.names.iter().any(has_files)
    }

    fn was_here(&self, former: &FormerName) -> bool {
        let has_session = |number: &u32| self.has_session_as(*number, &former.name);
        self.exists(LINGER, &former.name)
            || [self.homes, "var/mail"]
                .iter()
                .any(|folder| self.has_file(folder, former))
            || former.numbers.iter().any(has_session)
    }

    /// Whether a home, or a file of mail, may be the holder's. One of root's may hide theirs (a server that is not
    /// mounted); one that somebody else owns is not of anybody who only passed by.
    fn has_file(&self, folder: &str, former: &FormerName) -> bool {
        match (self.owner_of)(&self.root.join(folder).join(&former.name)) {
            Ok(owner) => owner == 0 || former.numbers.contains(&owner),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Whether systemd-logind knows the number by this name. A session that began under another one says so.
    fn has_session_as(&self, number: u32, name: &str) -> bool {
        let path = self.root.join("run/systemd/users").join(number.to_string());
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let known = text.lines().find_map(|line| line.strip_prefix("NAME="));
                known.is_none_or(|known| known == name)
            }
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn exists(&self, folder: &str, name: &str) -> bool {
        match (self.owner_of)(&self.root.join(folder).join(name)) {
            Err(error) => error.kind() != io::ErrorKind::NotFound,
            Ok(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // P2
    #[test]
    fn a_name_is_kept_where_what_goes_by_it_may_be_its_holders() {
        let unknown = || Err(io::Error::from(io::ErrorKind::TimedOut));
        let absent = || Err(io::Error::from(io::ErrorKind::NotFound));
        let theirs = 2_000_000_001;
        let looked = |homes: &'static str, at: &'static str, found: fn() -> io::Result<u32>| {
            let host = SearchedHost {
                root: Path::new("/nowhere"),
                homes,
                owner_of: |path: &Path| {
                    if path == Path::new("/nowhere").join(at) {
                        found()
                    } else {
                        absent()
                    }
                },
            };
            let former = FormerName {
                name: "boss".to_owned(),
                iam_id: "AIDABOSS".to_owned(),
                numbers: vec![theirs],
            };
            host.was_here(&former)
        };
        for at in ["home/boss", "var/mail/boss"] {
            assert!(looked("home", at, || Ok(2_000_000_001)), "{at}, their own");
            assert!(looked("home", at, || Ok(0)), "{at}, root's");
            assert!(looked("home", at, unknown), "{at}, where nobody can tell");
            assert!(!looked("home", at, || Ok(2_000_000_002)), "{at}, somebody else's");
            assert!(!looked("home", at, absent), "{at}, which is not there");
        }
        assert!(looked("srv/homes", "srv/homes/boss", || Ok(2_000_000_001)));
        assert!(!looked("srv/homes", "home/boss", || Ok(2_000_000_001)));
        assert!(looked("home", "var/lib/systemd/linger/boss", || Ok(2_000_000_002)));
    }
}
