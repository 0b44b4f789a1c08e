//! What a nudge is told while this host lacks what it takes to ask IAM, or to write down what it knows. Called by `nudge`; nothing else may
//! differ from the files.
//!
//! Any local user can fill a disk. If the old files then stood for whoever has just been taken out of IAM, that user could fill it to
//! stay (P9). So whoever is allowed less now than the files say is not let in; nobody else notices.
//!
//! Any local user can hold all ports, too, by which IAM is asked. Then nobody knows who has been taken out, so no user of ours is let in.

use keymaker_core::directory_file::{MAX_USER_RECORD, User, Verdict};
use keymaker_core::keys_file::KeysFile;
use keymaker_core::name::UserName;
use keymaker_core::protocol::Answer;

use super::iam::Iam;
use super::service::{Service, State};
use super::store::Store;
use super::{composition, verdict};

impl<I: Iam + 'static> Service<I> {
    /// The answer about `login`, once what is known is on disk; where it cannot be put there, what the files are worth.
    pub(super) fn as_published(&self, login: UserName, answer: Answer<'static>) -> Answer<'static> {
        let iam_name = self.state().iam_name(login.as_str());
        if answer == Answer::CannotTell && self.state().outages.lacks(&iam_name, self.clock.instant()) {
            return Answer::NotPublished;
        }
        if !self.state().unpublished || self.publish().is_ok() {
            return answer;
        }
        if self.state_mut().files_allow_more(&self.store, login, self.clock.unix()) {
            Answer::NotPublished
        } else {
            Answer::CannotTell
        }
    }
}

impl State {
    /// Whether the files let the user of this name do something that IAM does not, as far as is known.
    fn files_allow_more(&mut self, store: &Store, login: UserName, now: u64) -> bool {
        let Some(directory) = store.directory() else {
            return false;
        };
        let mut buffer = [0; MAX_USER_RECORD];
        let shown = match directory.user_by_name(login, &mut buffer) {
            Ok(Some(shown)) if !shown.tombstone && shown.verdict == Verdict::Allowed => shown,
            _ => return false,
        };
        self.is_refused_now(&shown, now) || self.has_left_a_group(&shown) || self.has_lost_a_key(store, &shown)
    }

    fn is_refused_now(&self, shown: &User<'_>, now: u64) -> bool {
        let known = self.facts.users.get(shown.iam_user_id);
        known.is_none_or(|user| {
            verdict::by_facts(user, &self.facts, &self.config, &self.effective(), now) != Verdict::Allowed
        })
    }

    fn has_left_a_group(&mut self, shown: &User<'_>) -> bool {
        let now = composition::groups_of(self, shown.iam_user_id);
        shown.groups().any(|gid| !now.contains(&gid))
    }

    fn has_lost_a_key(&self, store: &Store, shown: &User<'_>) -> bool {
        let Some(user) = self.facts.users.get(shown.iam_user_id) else {
            return true;
        };
        let published = KeysFile::open(&store.public.join("keys")).and_then(|file| file.user(shown.name));
        let mut published = published.ok().flatten().into_iter().flat_map(|keys| keys.keys);
        let usable: Vec<_> = composition::keys_of(&self.config, user).0;
        published.any(|key| !usable.contains(&key))
    }
}
