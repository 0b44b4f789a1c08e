//! What a nudge is told while this host lacks what it takes to ask IAM, or to write down what it knows, or is slow at
//! that. Called by `nudge`, and at the end of a pass; nothing else may differ from the files.
//!
//! Any local user can fill a disk, or keep it busy. If the old files then stood for anybody who has just been taken out
//! of IAM, that user could do so to stay (P9). So anybody who is allowed less now than the files say is not let in;
//! nobody else notices.
//!
//! Any local user can hold all ports, too, by which IAM is asked. Then nobody knows who has been taken out, so no user
//! of ours is let in.

use std::rc::Rc;
use std::time::Duration;

use keymaker_core::directory_file::{MAX_USER_RECORD, User, Verdict};
use keymaker_core::keys_file::{KeysFile, PublishedKey};
use keymaker_core::name::UserName;
use tokio::time::{Instant, timeout_at};

use super::composition::{keys_of, proofs_from, takes_pushed_keys};
use super::store::Store;
use crate::clock::AnswerClock;
use crate::directory::entitlement::entitled::Entitlements;
use crate::directory::entitlement::passwd_fields::lag;
use crate::directory::entitlement::verdict;
use crate::directory::facts::UserFacts;
use crate::directory::iam::Iam;
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::Service;
use crate::directory::state::State;

/// A disk that takes longer is slow: anybody who finds in the files what is known of them does not wait for it. Tests
/// do, whatever machine they run on, and move the clock where the disk is to be slow.
const AT_ONCE: Duration = Duration::from_millis(if cfg!(test) { 600_000 } else { 50 });

/// What the files say of a user, beside what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The same.
    Same,
    /// Less: IAM allows the user something that the files do not say yet.
    Less,
    /// More: IAM has taken something from the user.
    More,
}

impl<I: Iam + 'static> Service<I> {
    /// The answer about `login`, once what is known is on disk; where it cannot be put there, or not before the
    /// deadline, what the files are worth.
    pub(crate) async fn as_published(
        self: &Rc<Self>,
        login: UserName,
        answer: DirectoryOutcome,
        deadline: Instant,
    ) -> DirectoryOutcome {
        let iam_name = self.state().iam_name(login.as_str());
        if answer == DirectoryOutcome::CannotTell && self.state().outages.lacks(&iam_name, self.clock.instant()) {
            return DirectoryOutcome::NotPublished;
        }
        if self.is_published() {
            return answer;
        }
        let publishing = self.publish();
        tokio::pin!(publishing);
        let published = tokio::select! {
            biased;
            published = &mut publishing => published.is_ok(),
            // However little the disk is known to have, nobody waits longer than their deadline.
            _ = timeout_at(deadline, self.turns.disk_is_slow(AT_ONCE)) => {
                if self.standing(login) == Standing::Same {
                    return answer;
                }
                timeout_at(deadline, publishing).await.is_ok_and(|done| done.is_ok())
            }
        };
        match published {
            true => answer,
            false if self.standing(login) == Standing::More => DirectoryOutcome::NotPublished,
            false => DirectoryOutcome::CannotTell,
        }
    }

    fn standing(&self, login: UserName) -> Standing {
        let mut state = self.state_mut();
        let Some(directory) = self.store.directory() else {
            return Standing::Less;
        };
        let mut buffer = [0; MAX_USER_RECORD];
        let shown = directory.user_by_name(login, &mut buffer).ok().flatten();
        state.standing_of(login, shown.filter(gets_in), &self.store, &self.clock)
    }
}

/// Whether the files let this user in. Of the others nobody loses anything by old ones.
fn gets_in(shown: &User<'_>) -> bool {
    !shown.tombstone && shown.verdict == Verdict::Allowed
}

impl State {
    /// Whether the files, read with a contact of now, would let anybody do something that IAM does not, as far as is
    /// known.
    pub(super) fn files_allow_anybody_more(&mut self, store: &Store, clock: &AnswerClock) -> bool {
        // Without a directory nobody gets in, whatever the contact.
        // Not read whole: what can be opened and then not be read answers yes, below.
        let Some(directory) = store.directory() else {
            return false;
        };
        let header = directory.header();
        let by_pushed_keys = header.instance_connect && !takes_pushed_keys(&self.config, &self.effective());
        if by_pushed_keys
            || header.max_stale > self.config.max_stale
            || !header.settings_unread && !self.effective().known
        {
            return true;
        }
        let keys = KeysFile::open(&store.public.join("keys")).ok();
        let entitlements = self.entitlements();
        let mut buffer = [0; MAX_USER_RECORD];
        let mut from = 0;
        loop {
            match directory.next_user(from, &mut buffer) {
                Ok(Some((next, shown))) => {
                    let more = gets_in(&shown)
                        && (self.is_less(&shown, &entitlements, keys.as_ref(), clock) || self.would_look_fresh(&shown));
                    if more {
                        return true;
                    }
                    from = next;
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// The file says "as fresh as the contact" of a user about whom the last pass was not answered.
    fn would_look_fresh(&self, shown: &User<'_>) -> bool {
        let known = self.facts.users.get(shown.iam_user_id);
        shown.answered_at == 0 && known.is_none_or(|user| lag(user, self.contact) != 0)
    }

    fn standing_of(
        &mut self,
        login: UserName,
        shown: Option<User<'_>>,
        store: &Store,
        clock: &AnswerClock,
    ) -> Standing {
        let Some(shown) = shown else {
            let iam_name = self.iam_name(login.as_str());
            let known = self.facts.user_named(&iam_name);
            return if known.is_some_and(|(_, user)| self.is_allowed(user, clock)) {
                Standing::Less
            } else {
                Standing::Same
            };
        };
        let entitlements = self.entitlements();
        let keys = KeysFile::open(&store.public.join("keys")).ok();
        if self.is_less(&shown, &entitlements, keys.as_ref(), clock) {
            Standing::More
        } else if self.is_same(&shown, &entitlements, keys.as_ref(), clock) {
            Standing::Same
        } else {
            Standing::Less
        }
    }

    /// Who has which name and number, as the next publication would have them.
    fn entitlements(&mut self) -> Entitlements {
        let (known, ids) = self.known_and_ids();
        Entitlements::of(&known, ids)
    }

    pub(crate) fn is_allowed(&self, user: &UserFacts, clock: &AnswerClock) -> bool {
        let verdict = verdict::by_facts(user, &self.facts, &self.config, &self.effective(), clock.unix());
        verdict == Verdict::Allowed
    }

    /// Whether IAM, or this host, allows the user less than is shown.
    fn is_less(&self, shown: &User<'_>, now: &Entitlements, keys: Option<&KeysFile>, clock: &AnswerClock) -> bool {
        let Some(user) = self.facts.users.get(shown.iam_user_id) else {
            return true;
        };
        let entry = now.entry(shown.name);
        let held_by_another = self
            .ids
            .holder_of_name(shown.name)
            .is_some_and(|id| id != shown.iam_user_id);
        if !self.is_allowed(user, clock) || entry != Some((shown.iam_user_id, shown.uid)) || held_by_another {
            return true;
        }
        let (groups, usable) = (now.groups(&self.known(), user), keys_of(&self.config, user).0);
        let lost_a_group = shown.groups().any(|gid| !groups.contains(&gid));
        let proofs = proofs_from(&self.known(), &self.ids, shown.iam_user_id, user);
        let lost_proofs = shown
            .proofs_from
            .is_some_and(|from| proofs.is_none_or(|now| now > from));
        lost_a_group || lost_proofs || shown_keys(shown, keys).iter().any(|key| !usable.contains(key))
    }

    /// Whether what is shown of a user who is allowed no less says all that decides about a login.
    fn is_same(&self, shown: &User<'_>, now: &Entitlements, keys: Option<&KeysFile>, clock: &AnswerClock) -> bool {
        let Some(user) = self.facts.users.get(shown.iam_user_id) else {
            return false;
        };
        let (groups, usable) = (now.groups(&self.known(), user), keys_of(&self.config, user).0);
        groups.len() == shown.groups().count()
            && usable.len() == shown_keys(shown, keys).len()
            && shown.proofs_from == proofs_from(&self.known(), &self.ids, shown.iam_user_id, user)
            && shown.answered_at == clock.on_host(lag(user, self.contact))
    }
}

fn shown_keys(shown: &User<'_>, keys: Option<&KeysFile>) -> Vec<PublishedKey> {
    let keys = keys.and_then(|keys| keys.user(shown.name).ok().flatten());
    keys.map(|keys| keys.keys).unwrap_or_default()
}
