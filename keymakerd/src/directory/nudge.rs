//! One user brought up to date because somebody waits: the three nudges.
//!
//! The sockets call it. It answers within 1.4 s of AWS time, from memory where the facts are young, at once where IAM is known to be
//! silent; it publishes before it says "fresh".

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use keymaker_aws::{Action, AwsCallError};
use keymaker_core::directory_file::Verdict;
use keymaker_core::name::UserName;
use keymaker_core::protocol::Answer;
use tracing::warn;

use super::composition::KEYS_TIME_STEP;
use super::facts::{KeyFacts, KnownKey, UserFacts};
use super::iam::{Iam, IamGroup, IamUser};
use super::limits::Door;
use super::service::{Grade, NEGATIVE_TTL, Service, State};
use super::{ssh_keys, verdict};

/// Who caused the nudge, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A program looked a name up.
    Lookup { uid: u32 },
    /// A client offers sshd a key, and has proved nothing yet.
    KeyOffered,
    /// A process of the user's wants credentials: credd asks.
    Credentials,
    /// PAM lets a user in: they have proved who they are.
    Login,
}

impl Cause {
    fn door(self) -> Door {
        match self {
            Self::Lookup { .. } => Door::Lookup,
            Self::KeyOffered => Door::Offer,
            Self::Credentials | Self::Login => Door::Login,
        }
    }
}

impl<I: Iam + 'static> Service<I> {
    /// Makes sure that what is published about whether `name` exists and may log in is fresh.
    pub async fn refresh_account(self: &Rc<Self>, name: UserName, cause: Cause) -> Answer<'static> {
        let answer = self.know_account(name, cause).await;
        self.as_published(name, answer)
    }

    async fn know_account(self: &Rc<Self>, name: UserName, cause: Cause) -> Answer<'static> {
        let iam_name = self.state().iam_name(name.as_str());
        if let Some(answer) = self.account_from_memory(&iam_name) {
            self.note_login(&iam_name, cause);
            return answer;
        }
        if self.is_silent(
            cause.door(),
            &[Action::GET_USER, Action::LIST_GROUPS_FOR_USER],
            &iam_name,
        ) {
            return Answer::CannotTell;
        }
        if let Cause::Lookup { uid } = cause
            && !self.state_mut().unknown_names.may_ask(uid, self.clock.instant())
        {
            return self.ask_by_listing(&iam_name).await;
        }
        let answer = self.ask_account(&iam_name, cause.door()).await;
        self.note_login(&iam_name, cause);
        answer
    }

    /// Makes sure of the same, and of the user's keys; both are asked for at once.
    pub async fn refresh_keys(self: &Rc<Self>, name: UserName, cause: Cause) -> Answer<'static> {
        let iam_name = self.state().iam_name(name.as_str());
        let (account, keys) = tokio::join!(self.know_account(name, cause), self.keys_if_old(&iam_name, cause));
        let answer = match (account, keys) {
            // A user first heard of just now had no facts to which keys could be added.
            (Answer::Fresh, Answer::NoSuchUser) => self.keys_if_old(&iam_name, cause).await,
            (Answer::Fresh, keys) => keys,
            (account, _) => account,
        };
        self.as_published(name, answer)
    }

    fn account_from_memory(&self, iam_name: &str) -> Option<Answer<'static>> {
        let state = self.state();
        if state
            .no_such_user
            .get(iam_name)
            .is_some_and(|until| *until > self.clock.instant())
        {
            return Some(Answer::NoSuchUser);
        }
        let (_, user) = state.facts.user_named(iam_name)?;
        let now = self.clock.unix();
        let refused = user.doubted_since.is_some()
            || verdict::by_facts(user, &state.config, &state.effective(), now) != Verdict::Allowed;
        let ttl = if refused {
            NEGATIVE_TTL
        } else {
            u64::from(state.config.authz_ttl)
        };
        // An answer from the future means that the clock was set back: ask.
        let mut answered_at = user.answered_at;
        if !state.config.tags.is_empty() {
            // A pass of grade 2 or 3 saw the user, and not the tags that decide about them.
            answered_at = answered_at.min(user.tags_answered_at);
        }
        let young = now.checked_sub(answered_at).is_some_and(|age| age < ttl);
        let answered = young && !user.ask_again;
        drop(state);
        answered.then(|| self.publish_for_nudge())
    }

    async fn keys_if_old(self: &Rc<Self>, iam_name: &str, cause: Cause) -> Answer<'static> {
        let young = self
            .state()
            .facts
            .user_named(iam_name)
            .map(|(_, user)| !user.ask_again && self.keys_are_young(user));
        let Some(young) = young else { return Answer::NoSuchUser };
        if young {
            return Answer::Fresh;
        }
        let door = cause.door();
        if self.is_silent(
            door,
            &[Action::LIST_SSH_PUBLIC_KEYS, Action::GET_SSH_PUBLIC_KEY],
            iam_name,
        ) {
            return Answer::CannotTell;
        }
        let (service, name) = (Rc::clone(self), iam_name.to_owned());
        let asked = self.nudges.join(format!("{door:?} keys {iam_name}"), || async move {
            service.ask_keys(&name, door).await
        });
        asked.await.unwrap_or(Answer::CannotTell)
    }

    /// Whether IAM may be asked. For a client that has proved nothing it may not be without end; PAM asks again once they have.
    fn may_call(&self, door: Door, iam_name: &str) -> bool {
        if door != Door::Offer {
            return true;
        }
        let mut state = self.state_mut();
        let keys_known = state
            .facts
            .user_named(iam_name)
            .is_some_and(|(_, user)| user.keys.is_some());
        state.offered_keys.may_ask(keys_known, self.clock.instant())
    }

    fn keys_are_young(&self, user: &UserFacts) -> bool {
        let Some(keys) = &user.keys else { return false };
        let ttl = if keys.usable().next().is_none() {
            NEGATIVE_TTL
        } else {
            u64::from(self.state().config.authz_ttl)
        };
        self.clock
            .unix()
            .checked_sub(keys.answered_at)
            .is_some_and(|age| age < ttl)
    }

    async fn ask_account(self: &Rc<Self>, iam_name: &str, door: Door) -> Answer<'static> {
        let (service, name) = (Rc::clone(self), iam_name.to_owned());
        // By door: a lookup in trouble must not answer a login.
        let asked = self.nudges.join(format!("{door:?} account {iam_name}"), || async move {
            let Some(accounts) = service.accounts().filter(|_| service.may_call(door, &name)) else {
                return Answer::CannotTell;
            };
            let began = service.clock.unix();
            let people = &accounts.people_nudged;
            let (user, groups) = tokio::join!(people.user(&name), people.groups_for_user(&name));
            match (user, groups) {
                (Ok(user), Ok(groups)) => {
                    let mut state = service.state_mut();
                    state.outages.end(Action::GET_USER);
                    state.outages.end(Action::LIST_GROUPS_FOR_USER);
                    state.no_such_user.remove(&name);
                    state.learn_answers(&user, &groups, began, service.clock.unix());
                    drop(state);
                    service.publish_for_nudge()
                }
                (Err(AwsCallError::NoSuchEntity { .. }), _) => {
                    service.learn_no_such_user(&name);
                    service.publish_for_nudge();
                    Answer::NoSuchUser
                }
                (user, groups) => {
                    let failures = user.err().into_iter().chain(groups.err());
                    failures.for_each(|error| service.begin_outage(door, &name, &error));
                    Answer::CannotTell
                }
            }
        });
        asked.await.unwrap_or(Answer::CannotTell)
    }

    fn learn_no_such_user(&self, iam_name: &str) {
        let (now, unix) = (self.clock.instant(), self.clock.unix());
        let mut state = self.state_mut();
        state.outages.end(Action::GET_USER);
        state.unpublished |= state.facts.learn_gone(iam_name, unix);
        state.no_such_user.retain(|_, until| *until > now);
        state
            .no_such_user
            .insert(iam_name.to_owned(), now + Duration::from_secs(NEGATIVE_TTL));
    }

    async fn ask_keys(self: &Rc<Self>, iam_name: &str, door: Door) -> Answer<'static> {
        let Some(accounts) = self.accounts().filter(|_| self.may_call(door, iam_name)) else {
            return Answer::CannotTell;
        };
        match self.fetch_keys(&accounts.people_nudged, iam_name).await {
            Ok(()) => {
                let mut state = self.state_mut();
                state.outages.end(Action::LIST_SSH_PUBLIC_KEYS);
                state.outages.end(Action::GET_SSH_PUBLIC_KEY);
                drop(state);
                self.publish_for_nudge()
            }
            Err(AwsCallError::NoSuchEntity { .. }) => Answer::NoSuchUser,
            Err(error) => {
                self.begin_outage(door, iam_name, &error);
                Answer::CannotTell
            }
        }
    }

    /// Lists a user's keys and fetches the bodies not known yet; a body never changes for a key id.
    pub(super) async fn fetch_keys(&self, people: &I, iam_name: &str) -> Result<(), AwsCallError> {
        let began = self.clock.unix();
        let listed = people.ssh_public_keys(iam_name).await?;
        let known = self
            .state()
            .facts
            .user_named(iam_name)
            .map(|(id, user)| (id.clone(), user.keys.clone().unwrap_or_default()));
        let Some((user_id, known)) = known else { return Ok(()) };
        let mut keys = KeyFacts {
            answered_at: began,
            published_at: known.published_at,
            by_id: BTreeMap::new(),
        };
        for key in listed {
            let body = match known.by_id.get(&key.id) {
                Some(known) => known.body.clone(),
                None => {
                    ssh_keys::clean(&people.ssh_public_key(iam_name, &key.id).await?).map_err(|why| why.to_string())
                }
            };
            keys.by_id.insert(
                key.id,
                KnownKey {
                    active: key.active,
                    body,
                },
            );
        }
        self.state_mut().learn_keys(&user_id, keys);
        Ok(())
    }

    /// The bucket for unknown names is empty: one early listing, at most one a minute, answers everybody's.
    async fn ask_by_listing(self: &Rc<Self>, iam_name: &str) -> Answer<'static> {
        let now = self.clock.instant();
        {
            let mut state = self.state_mut();
            let lately = state
                .early_pass
                .is_some_and(|at| now.saturating_duration_since(at).as_secs() < 60);
            if state.grade == Grade::Three || lately && !self.passes.is_under_way() {
                return Answer::CannotTell;
            }
            if !lately {
                state.early_pass = Some(now);
            }
        }
        if self.pass().await != Answer::Fresh {
            return Answer::CannotTell;
        }
        if self.state().facts.user_named(iam_name).is_some() {
            Answer::Fresh
        } else {
            Answer::NoSuchUser
        }
    }

    /// A user who logs in here is one whose keys are kept fresh, and who is shown by getent. To the day is close enough.
    fn note_login(&self, iam_name: &str, cause: Cause) {
        if cause != Cause::Login {
            return;
        }
        let now = self.clock.unix();
        let id = self.state().facts.user_named(iam_name).map(|(id, _)| id.clone());
        let mut state = self.state_mut();
        let Some(user) = id.and_then(|id| state.facts.users.get_mut(&id)) else {
            return;
        };
        if user.last_login.is_none_or(|at| now > at + 86_400) {
            user.last_login = Some(now);
            state.unpublished = true;
            drop(state);
            self.publish_for_nudge();
        }
    }

    /// Publishes what a nudge learned, if that is news. On a full disk the answer is "cannot tell", and the old files stand.
    fn publish_for_nudge(&self) -> Answer<'static> {
        if !self.state().unpublished {
            return Answer::Fresh;
        }
        match self.publish() {
            Ok(()) => Answer::Fresh,
            Err(error) => {
                warn!(%error, "could not publish: {error}");
                Answer::CannotTell
            }
        }
    }
}

impl State {
    fn learn_answers(&mut self, user: &IamUser, groups: &[IamGroup], began: u64, now: u64) {
        // The file says of a user whose facts lag behind the contact since when they do.
        let fresh = |user: &UserFacts| self.contact.is_some_and(|contact| user.answered_at >= contact);
        let lagged = !self.facts.users.get(&user.id).is_some_and(fresh);
        self.unpublished |= self.facts.learn_answers(user, groups, began, now) || lagged;
    }

    fn learn_keys(&mut self, user_id: &str, keys: KeyFacts) {
        let Some(user) = self.facts.users.get_mut(user_id) else {
            return;
        };
        let before = user.keys.take().unwrap_or_default();
        // Two may have asked at once, and the later answer have come first.
        let (keys, changed) = match keys.answered_at < before.answered_at {
            true => (before, false),
            false => {
                let changed = keys.by_id != before.by_id || keys.answered_at >= before.published_at + KEYS_TIME_STEP;
                (keys, changed)
            }
        };
        user.keys = Some(keys);
        self.unpublished |= changed;
    }
}
