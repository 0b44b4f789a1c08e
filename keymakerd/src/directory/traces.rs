//! Whether a user whom IAM no longer has, and who was never seen here, left anything on this host: a session, a home, a lingering manager.
//! Then a tombstone stands for them for ever; else it goes, or whoever may create and delete IAM users would fill the directory with them.
//!
//! Called by the daemon once a minute, while there is somebody to look for. A home may lie on a disk or a server that does not answer, so
//! a thread of its own looks, and nobody waits for it. docs/formats.md says why nobody is let in by a tombstone that goes.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tracing::{info, warn};

use super::iam::Iam;
use super::service::{Service, State};
use crate::config::Tag;

/// A user who is gone, and a number that they had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gone {
    /// IAM's UserId.
    pub iam_id: String,
    /// Every Unix name that they had here.
    pub names: Vec<String>,
    /// The number.
    pub uid: u32,
}

impl<I: Iam + 'static> Service<I> {
    /// Looks what is left of users who are gone, and settles those about whom `before`, the look before this one, says the same. Returns
    /// who left nothing, for the next look: between the two, whoever was just logging in has a session.
    pub async fn settle_tombstones(self: &Rc<Self>, root: PathBuf, before: BTreeSet<Gone>) -> BTreeSet<Gone> {
        let gone = {
            let state = self.state();
            // With that tag a home may be anywhere, and the tag went with the user.
            if state.config.tags.contains(&Tag::Home) {
                return BTreeSet::new();
            }
            state.published.unsettled.clone()
        };
        if gone.is_empty() {
            return BTreeSet::new();
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        // Not tokio's own threads: it waits for them when the daemon ends.
        std::thread::spawn(move || {
            let _ = tell.send(look(&root, gone));
        });
        let Ok((left_something, left_nothing)) = told.await else {
            return BTreeSet::new();
        };
        let settled = left_nothing.intersection(&before).cloned().collect();
        self.state_mut().settle(&left_something, &settled);
        if let Err(error) = self.publish().await {
            warn!(%error, "could not publish: {error}");
        }
        left_nothing
    }
}

impl State {
    fn settle(&mut self, left_something: &BTreeSet<Gone>, left_nothing: &BTreeSet<Gone>) {
        for gone in left_something {
            self.ids.note_presence(&gone.iam_id);
        }
        for gone in left_nothing {
            let is_back =
                self.facts.users.contains_key(&gone.iam_id) && self.ids.kept_id(&gone.iam_id) == Some(gone.uid);
            if !is_back {
                info!(user = %gone.iam_id, uid = gone.uid, "{}, who is gone, was never here and left nothing", gone.iam_id);
                self.ids.note_absence(&gone.iam_id, gone.uid);
            }
        }
    }
}

/// Who left something, and who did not. What cannot be looked at may be something.
fn look(root: &Path, gone: Vec<Gone>) -> (BTreeSet<Gone>, BTreeSet<Gone>) {
    let exists = |folder: &str, name: &str| match root.join(folder).join(name).symlink_metadata() {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(_) => true,
    };
    let has_left = |gone: &Gone| {
        // systemd-logind has a file for whoever has a session, or processes of one.
        let has_session = exists("run/systemd/users", &gone.uid.to_string());
        let has_files = |name: &String| exists("home", name) || exists("var/lib/systemd/linger", name);
        has_session || gone.names.iter().any(has_files)
    };
    gone.into_iter().partition(has_left)
}
