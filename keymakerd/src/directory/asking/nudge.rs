//! One user brought up to date because somebody waits: the three nudges.
//!
//! The sockets call it. It answers within 1.4 s of AWS time, from memory where the facts are young, at once where IAM
//! is known to be silent; it publishes before it says "fresh" (`unpublished`). What IAM answers by name it learns about
//! whom IAM named before and after (`by_name`).

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use keymaker_aws::{Action, AwsCallError};
use keymaker_core::directory_file::Verdict;
use keymaker_core::name::UserName;
use keymaker_core::protocol::FRESH_SHARE;
use tokio::time::Instant;

use super::by_name::{About, Deadlines, FetchedKeys, within};
use super::limits::NudgeOrigin;
use super::passing::AT_LATER_PASS;
use crate::config::Publish;
use crate::directory::entitlement::refused::Kind;
use crate::directory::entitlement::verdict;
use crate::directory::facts::UserFacts;
use crate::directory::facts::order::Asked;
use crate::directory::iam::{Iam, IamGroup, IamUser};
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::{AskedAccounts, NEGATIVE_TTL, Service};
use crate::directory::state::{Grade, State};

/// How long the calls of one nudge may last together.
const BUDGET: Duration = Duration::from_millis(1400);
/// What of it is kept for the last call, which says whose the answers are.
pub(super) const LAST_CALL: Duration = Duration::from_millis(400);
/// What of a caller's patience is kept for the disk, once there is contact.
const PUBLISHING: Duration = Duration::from_millis(100);

/// What is asked by name besides `GetUser`.
const BY_NAME: [Action; 3] = [
    Action::LIST_GROUPS_FOR_USER,
    Action::LIST_SSH_PUBLIC_KEYS,
    Action::GET_SSH_PUBLIC_KEY,
];

/// What a nudge asks IAM for, besides who has the name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NudgeWanted {
    groups: bool,
    keys: bool,
}

impl NudgeWanted {
    /// What that takes: each answer, and the two `GetUser` around them. The body of a key is fetched once, ever, and
    /// not counted.
    fn calls(self) -> u32 {
        2 + u32::from(self.groups) + u32::from(self.keys)
    }
}

/// What came of that.
struct NudgeAnswers {
    groups: Option<Result<Vec<IamGroup>, AwsCallError>>,
    keys: Option<Result<FetchedKeys, AwsCallError>>,
}

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
    fn origin(self) -> NudgeOrigin {
        match self {
            Self::Lookup { .. } => NudgeOrigin::Lookup,
            Self::KeyOffered => NudgeOrigin::Offer,
            Self::Credentials | Self::Login => NudgeOrigin::Login,
        }
    }

    /// How long the answer may take in all, where the disk is slow: less than the caller waits for it (`protocol`;
    /// credd's 500 ms).
    fn patience(self) -> Duration {
        Duration::from_millis(match self {
            Self::Lookup { .. } => 1400,
            Self::KeyOffered | Self::Login => 1800,
            Self::Credentials => 400,
        })
    }
}

impl<I: Iam + 'static> Service<I> {
    /// Makes sure that what is published about whether `name` exists and may log in is fresh.
    pub async fn refresh_account(self: &Rc<Self>, name: UserName, cause: Cause) -> DirectoryOutcome {
        let deadline = Instant::now() + cause.patience();
        let answer = self.know_account(name, cause).await;
        let answer = self.beside_neighbours(name, answer).await;
        let contact_by = match cause {
            // PAM, for services that show no keys.
            Cause::Login => deadline - cause.patience() + AT_LATER_PASS,
            _ => deadline,
        };
        self.await_contact_of(name, cause, contact_by).await;
        self.note_login(name, cause);
        self.as_published(name, answer, deadline).await
    }

    pub(super) async fn know_account(self: &Rc<Self>, name: UserName, cause: Cause) -> DirectoryOutcome {
        let iam_name = self.state().iam_name(name.as_str());
        let known = self.account_from_memory(&iam_name);
        // Whether somebody is a person may hang on their keys, which no pass lists: then they are judged when asked for (P6).
        let is_lookup = matches!(cause, Cause::Lookup { .. });
        let needs_keys = is_lookup && known != Some(DirectoryOutcome::NoSuchUser) && self.hangs_on_keys(&iam_name);
        if let Some(answer) = known.filter(|_| !needs_keys) {
            return answer;
        }
        let origin = cause.origin();
        if self.is_silent(origin, &[Action::GET_USER, Action::LIST_GROUPS_FOR_USER], &iam_name) {
            return DirectoryOutcome::CannotTell;
        }
        if let Cause::Lookup { uid } = cause
            && !self.state_mut().unknown_names.may_ask(uid, self.clock.instant())
        {
            return self.ask_by_listing(name).await;
        }
        let account = NudgeWanted {
            groups: known.is_none(),
            keys: needs_keys && !self.is_silent(origin, &[Action::LIST_SSH_PUBLIC_KEYS], &iam_name),
        };
        match self.ask_by_login(name, origin, account).await {
            DirectoryOutcome::Fresh if needs_keys && self.login_hangs_on_keys(name) => DirectoryOutcome::CannotTell,
            answer => answer,
        }
    }

    /// Makes sure of the same, and of the user's keys; both are asked for at once.
    pub async fn refresh_keys(self: &Rc<Self>, name: UserName, cause: Cause) -> DirectoryOutcome {
        let deadline = Instant::now() + cause.patience();
        let answer = self.know_keys(name, cause).await;
        let answer = self.beside_neighbours(name, answer).await;
        self.await_contact_of(name, cause, deadline).await;
        self.note_login(name, cause);
        self.as_published(name, answer, deadline).await
    }

    /// However young the answer is, nobody logs in without contact. A look-up needs none, and anybody may ask it.
    async fn await_contact_of(&self, name: UserName, cause: Cause, until: Instant) {
        let may_log_in = {
            let state = self.state();
            let known = state.facts.user_named(&state.iam_name(name.as_str()));
            known.is_some_and(|(_, user)| state.is_allowed(user, &self.clock))
        };
        if may_log_in && !matches!(cause, Cause::Lookup { .. }) {
            let patience = until.saturating_duration_since(Instant::now());
            self.await_contact(patience.saturating_sub(PUBLISHING)).await;
        }
    }

    async fn know_keys(self: &Rc<Self>, name: UserName, cause: Cause) -> DirectoryOutcome {
        let iam_name = self.state().iam_name(name.as_str());
        let account = self.account_from_memory(&iam_name);
        let keys_are_young = self
            .state()
            .facts
            .user_named(&iam_name)
            .is_some_and(|(_, user)| !user.ask_again && self.keys_are_young(user));
        if keys_are_young || account == Some(DirectoryOutcome::NoSuchUser) {
            return self.know_account(name, cause).await;
        }
        let origin = cause.origin();
        if self.is_silent(origin, &[Action::GET_USER], &iam_name) {
            return DirectoryOutcome::CannotTell;
        }
        let silent = |actions| self.is_silent(origin, actions, &iam_name);
        let needed = NudgeWanted {
            groups: account.is_none(),
            keys: true,
        };
        let wanted = NudgeWanted {
            groups: needed.groups && !silent(&[Action::LIST_GROUPS_FOR_USER]),
            keys: !silent(&[Action::LIST_SSH_PUBLIC_KEYS, Action::GET_SSH_PUBLIC_KEY]),
        };
        match self.ask_by_login(name, origin, wanted).await {
            DirectoryOutcome::Fresh if wanted.groups != needed.groups || !wanted.keys => DirectoryOutcome::CannotTell,
            answer => answer,
        }
    }

    fn account_from_memory(&self, iam_name: &str) -> Option<DirectoryOutcome> {
        let state = self.state();
        if state
            .no_such_user
            .get(iam_name)
            .is_some_and(|until| *until > self.clock.instant())
        {
            return Some(DirectoryOutcome::NoSuchUser);
        }
        let (_, user) = state.facts.user_named(iam_name)?;
        let now = self.clock.answer_time();
        let refused = user.doubted_since.is_some()
            || verdict::by_facts(user, &state.facts, &state.config, &state.effective(), self.clock.unix())
                != Verdict::Allowed;
        let ttl = if refused {
            NEGATIVE_TTL
        } else {
            u64::from(state.config.authz_ttl - state.config.authz_ttl / FRESH_SHARE)
        };
        let mut answered_at = user.answered_at;
        if !state.config.tags.is_empty() {
            // A pass of grade 2 or 3 saw the user, and not the tags that decide about them.
            answered_at = answered_at.min(user.tags_answered_at);
        }
        // An answer from the future counts for nothing: ask.
        let young = now.checked_sub(answered_at).is_some_and(|age| age < ttl);
        let answered = young && !user.ask_again;
        drop(state);
        answered.then_some(DirectoryOutcome::Fresh)
    }

    /// Whether IAM may be asked so often. For a client that has proved nothing it may not be without end; PAM asks
    /// again once they have.
    fn may_call(&self, origin: NudgeOrigin, iam_name: &str, calls: u32) -> bool {
        if origin != NudgeOrigin::Offer {
            return true;
        }
        let mut state = self.state_mut();
        let keys_known = state
            .facts
            .user_named(iam_name)
            .is_some_and(|(_, user)| user.keys.is_some());
        state.offered_keys.may_ask(keys_known, calls, self.clock.instant())
    }

    fn keys_are_young(&self, user: &UserFacts) -> bool {
        let Some(keys) = user.keys.as_ref().filter(|keys| keys.proved && !keys.ask_again) else {
            return false;
        };
        let ttl = if keys.usable().next().is_none() {
            NEGATIVE_TTL
        } else {
            u64::from(self.state().config.authz_ttl)
        };
        self.clock
            .answer_time()
            .checked_sub(keys.answered_at)
            .is_some_and(|age| age < ttl)
    }

    pub(super) async fn ask_joined(
        self: &Rc<Self>,
        iam_name: &str,
        origin: NudgeOrigin,
        wanted: NudgeWanted,
    ) -> DirectoryOutcome {
        let (service, name) = (Rc::clone(self), iam_name.to_owned());
        // By origin: a lookup in trouble must not answer a login.
        let about = format!("{origin:?} {wanted:?} {iam_name}");
        let asked = self.nudges.join(about, || async move {
            let Some(accounts) = service.accounts() else {
                return DirectoryOutcome::CannotTell;
            };
            if !wanted.groups && !wanted.keys {
                return DirectoryOutcome::CannotTell;
            }
            service.ask_about(&accounts, &name, origin, wanted).await
        });
        asked.await.unwrap_or(DirectoryOutcome::CannotTell)
    }

    /// Asks, and once more where the name moved meanwhile.
    async fn ask_about(
        &self,
        accounts: &AskedAccounts<I>,
        iam_name: &str,
        origin: NudgeOrigin,
        wanted: NudgeWanted,
    ) -> DirectoryOutcome {
        let end = Instant::now() + BUDGET;
        for _ in 0..2 {
            if !self.may_call(origin, iam_name, wanted.calls()) {
                break;
            }
            let asked_at = self.clock.answer_time();
            match self
                .ask_once(&accounts.people_nudged, iam_name, origin, wanted, end)
                .await
            {
                Ok(Some(about)) => return self.learn_about(about, iam_name, origin),
                Ok(None) if self.is_silent(origin, &BY_NAME, iam_name) => break,
                Ok(None) => {}
                Err(AwsCallError::NoSuchEntity { .. }) => {
                    self.learn_no_such_user(iam_name, asked_at);
                    return DirectoryOutcome::NoSuchUser;
                }
                Err(error) => {
                    self.begin_outage(origin, iam_name, &error);
                    break;
                }
            }
        }
        DirectoryOutcome::CannotTell
    }

    async fn ask_once(
        &self,
        people: &I,
        iam_name: &str,
        origin: NudgeOrigin,
        wanted: NudgeWanted,
        end: Instant,
    ) -> Result<Option<About<NudgeAnswers>>, AwsCallError> {
        let deadlines = Deadlines {
            answer: Some(end - LAST_CALL),
            all: Some(end),
        };
        let ask = async |user: &IamUser| {
            let groups = async {
                let listed = people.groups_for_user(iam_name);
                let listed = within(deadlines.answer, Action::LIST_GROUPS_FOR_USER, listed).await?;
                self.confirm_new_groups(people, &user.id, listed, deadlines.answer)
                    .await
            };
            let keys = self.list_keys(people, iam_name, deadlines.answer);
            let (groups, keys) = tokio::join!(only_if(wanted.groups, groups), only_if(wanted.keys, keys));
            let answered = matches!(groups, Some(Ok(_))) || matches!(keys, Some(Ok(_)));
            let answers = NudgeAnswers { groups, keys };
            if !answered {
                self.begin_outages(origin, iam_name, &answers);
            }
            answered.then_some(answers)
        };
        let bodies = async |user: &IamUser, answers: &mut NudgeAnswers| {
            if let Some(Ok(keys)) = &mut answers.keys {
                self.fetch_bodies(people, &user.id, iam_name, deadlines.answer, keys)
                    .await;
            }
        };
        self.about(people, iam_name, deadlines, ask, bodies).await
    }

    /// A group that the user was not known to be in counts where IAM has the `UserId` among its members: a name can be
    /// somebody else's between two `GetUser`, and that person's groups come with it. Where this host may not read a
    /// group, the list alone has to do.
    async fn confirm_new_groups(
        &self,
        people: &I,
        user_id: &str,
        mut listed: Vec<IamGroup>,
        deadline: Option<Instant>,
    ) -> Result<Vec<IamGroup>, AwsCallError> {
        let new: Vec<IamGroup> = {
            let state = self.state();
            let known = state.facts.users.get(user_id);
            let is_new = |group: &IamGroup| known.is_none_or(|user| !user.groups.contains(&group.id));
            self.groups_that_matter(&listed).into_iter().filter(is_new).collect()
        };
        let asked = new
            .iter()
            .map(|group| within(deadline, Action::GET_GROUP, people.group(&group.name)));
        for (group, answer) in new.iter().zip(join_all(asked).await) {
            let is_member = match answer {
                Ok(answer) => answer.group.id == group.id && answer.members.iter().any(|user| user.id == user_id),
                Err(AwsCallError::NoSuchEntity { .. }) => false,
                Err(AwsCallError::AccessDenied { .. }) => true,
                Err(error) => return Err(error),
            };
            if !is_member {
                listed.retain(|other| other.id != group.id);
            }
        }
        Ok(listed)
    }

    /// Takes in what was answered about one person; what was not is an outage.
    fn learn_about(&self, about: About<NudgeAnswers>, iam_name: &str, origin: NudgeOrigin) -> DirectoryOutcome {
        let asked = self.asked(about.asked_at);
        self.begin_outages(origin, iam_name, &about.answer);
        let mut state = self.state_mut();
        state.outages.end(Action::GET_USER);
        state.no_such_user.remove(iam_name);
        let mut whole = true;
        match about.answer.groups {
            Some(Ok(groups)) => {
                state.outages.end(Action::LIST_GROUPS_FOR_USER);
                state.learn_answers(&about.user, &groups, asked);
            }
            Some(Err(_)) => whole = false,
            None => {}
        }
        match about.answer.keys {
            Some(Ok(keys)) => {
                state.outages.end(Action::LIST_SSH_PUBLIC_KEYS);
                if keys.missing.is_none() {
                    state.outages.end(Action::GET_SSH_PUBLIC_KEY);
                }
                whole &= keys.missing.is_none() & state.learn_keys(&about.user.id, keys, asked);
            }
            Some(Err(_)) => whole = false,
            None => {}
        }
        if whole {
            DirectoryOutcome::Fresh
        } else {
            DirectoryOutcome::CannotTell
        }
    }

    fn begin_outages(&self, origin: NudgeOrigin, iam_name: &str, answers: &NudgeAnswers) {
        let groups = answers.groups.as_ref().and_then(|groups| groups.as_ref().err());
        let keys = answers.keys.as_ref().and_then(|keys| match keys {
            Ok(keys) => keys.missing.as_ref(),
            Err(error) => Some(error),
        });
        for error in groups.into_iter().chain(keys) {
            self.begin_outage(origin, iam_name, error);
        }
    }

    fn learn_no_such_user(&self, iam_name: &str, asked_at: u64) {
        let (now, asked) = (self.clock.instant(), self.asked(asked_at));
        let mut state = self.state_mut();
        state.outages.end(Action::GET_USER);
        state.unpublished |= state.facts.learn_gone(iam_name, asked);
        state.no_such_user.retain(|_, until| *until > now);
        state
            .no_such_user
            .insert(iam_name.to_owned(), now + Duration::from_secs(NEGATIVE_TTL));
    }

    /// The bucket for unknown names is empty: one early listing, at most one a minute, answers everybody's.
    pub(super) async fn ask_by_listing(self: &Rc<Self>, login: UserName) -> DirectoryOutcome {
        let now = self.clock.instant();
        {
            let mut state = self.state_mut();
            let lately = state
                .early_pass
                .is_some_and(|(at, _)| now.saturating_duration_since(at).as_secs() < 60);
            if state.grade == Grade::Three || lately && !self.passes.is_under_way("pass") {
                return DirectoryOutcome::CannotTell;
            }
            if !lately {
                state.early_pass = Some((now, false));
            }
        }
        if self.pass_over_people().await != DirectoryOutcome::Fresh {
            return DirectoryOutcome::CannotTell;
        }
        if let Some((_, told)) = &mut self.state_mut().early_pass {
            *told = true;
        }
        let iam_name = self.state().iam_name(login.as_str());
        if self.state().facts.user_named(&iam_name).is_none() {
            DirectoryOutcome::NoSuchUser
        } else if self.hangs_on_keys(&iam_name) {
            DirectoryOutcome::CannotTell
        } else {
            DirectoryOutcome::Fresh
        }
    }

    /// Whether IAM's answer about the keys decides whether the user of this name is a person, and is not known or not young. Of
    /// nobody's who is not known at all.
    fn hangs_on_keys(&self, iam_name: &str) -> bool {
        let state = self.state();
        match state.facts.user_named(iam_name) {
            None => state.config.publish == Publish::People,
            Some((id, user)) => !state.known().is_person(&state.ids, id, user) && !self.keys_are_young(user),
        }
    }

    fn login_hangs_on_keys(&self, login: UserName) -> bool {
        let iam_name = self.state().iam_name(login.as_str());
        self.hangs_on_keys(&iam_name)
    }

    /// A user who logs in here is one whose keys are kept fresh, who is shown by getent, and whose jobs go on for a while when AWS is
    /// silent: not one who only tries to. To the day is close enough.
    fn note_login(&self, login: UserName, cause: Cause) {
        if cause != Cause::Login || !self.is_in_contact() {
            return;
        }
        let (now, mut state) = (self.clock.unix(), self.state_mut());
        let known = state.facts.user_named(&state.iam_name(login.as_str()));
        let id = known.and_then(|(id, user)| state.is_allowed(user, &self.clock).then(|| id.clone()));
        let state = &mut *state;
        let Some((id, user)) = id.and_then(|id| Some((id.clone(), state.facts.users.get_mut(&id)?))) else {
            return;
        };
        let same_name = user.last_login_as.as_deref() == Some(login.as_str());
        if !same_name || user.last_login.is_none_or(|at| now > at + 86_400) {
            user.last_login = Some(now);
            user.last_login_as = Some(login.to_string());
            state.login_unpublished = true;
            // At once: whoever has been here keeps their number, whatever IAM says next (P2).
            if state.ids.has_kept_name(Kind::User, login.as_str(), &id) {
                state.ids.note_presence(&id);
                state.ids.note_presence_as(&id, login.as_str());
            }
        }
    }
}

async fn only_if<T>(wanted: bool, asking: impl Future<Output = T>) -> Option<T> {
    if wanted { Some(asking.await) } else { None }
}

impl State {
    fn learn_answers(&mut self, user: &IamUser, groups: &[IamGroup], asked: Asked) {
        // The file says of a user whose facts lag behind the contact since when they do.
        let fresh = |user: &UserFacts| self.contact.is_some_and(|contact| user.answered_at >= contact);
        let lagged = !self.facts.users.get(&user.id).is_some_and(fresh);
        self.unpublished |= self.facts.learn_answers(user, groups, asked) || lagged;
    }

    /// Whether the answer counted. One that names a key known as another user's does not.
    pub(super) fn learn_keys(&mut self, user_id: &str, keys: FetchedKeys, asked: Asked) -> bool {
        let changed = self.facts.learn_keys(user_id, keys.listed, asked);
        let due = self.facts.users.get(user_id).and_then(|user| user.keys.as_ref());
        let step = self.config.keys_time_step();
        let due = due.is_some_and(|keys| keys.answered_at >= keys.published_at + step);
        self.unpublished |= changed.unwrap_or(true) || due;
        changed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use keymaker_core::protocol::{ACCOUNT_BUDGET, KEYS_BUDGET, LOOKUP_BUDGET};

    use super::*;

    // P5
    #[test]
    fn a_caller_is_answered_in_time_although_the_disk_is_slow() {
        for (cause, waits) in [
            (Cause::Lookup { uid: 0 }, LOOKUP_BUDGET),
            (Cause::KeyOffered, KEYS_BUDGET),
            (Cause::Login, KEYS_BUDGET.min(ACCOUNT_BUDGET)),
        ] {
            assert!((BUDGET..waits).contains(&cause.patience()), "{cause:?}");
        }
        // credd asks IAM nothing more meanwhile, and has half a second.
        let of_credd = Duration::from_millis(300)..Duration::from_millis(500);
        assert!(of_credd.contains(&Cause::Credentials.patience()));
    }
}
