//! What other services of this host know of the names and numbers that we publish. Whoever resolves without us wins (P1), and what a
//! service ever had here stays its own until root says `keymaker release`: files may carry the number.
//!
//! A pass asks about whoever is new, and about a twelfth of the others, those asked longest ago: each name for a user and a group, each
//! number likewise, so with 5,000 users and 100 groups 1,700 look-ups a service and pass, and 20,400 when the daemon has started or a service
//! has been added. A nudge asks about the one user. Where a service cannot tell, what is published stays and nothing is added.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use keymaker_core::name::UserName;
use keymaker_core::protocol::Answer;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::entitled::{Candidate, candidates};
use super::names::{AcceptedNames, UnixGroup};
use super::refused::{Kind, Refusal, RefusedEntry};
use crate::directory::facts::Facts;
use crate::directory::iam::Iam;
use crate::directory::publishing::store::Store;
use crate::directory::service::{Service, State};
use crate::other_services::{Ask, OtherServices, Question, Said};

/// How long a pass waits for the other services in all; they are asked side by side.
const PASS_LIMIT: Duration = Duration::from_secs(30);
/// How long a nudge does: somebody waits.
const NUDGE_LIMIT: Duration = Duration::from_secs(1);
/// A pass asks about one in so many of those who were asked about before.
const TURNS: usize = 12;

/// A name or a number, of users and groups alike: they share one space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A Unix name.
    Name(String),
    /// A uid or gid.
    Id(u32),
}

impl Key {
    fn questions(&self, users: bool, groups: bool) -> impl Iterator<Item = Question> {
        let (user, group) = match self {
            Self::Name(name) => (Question::User(name.clone()), Question::Group(name.clone())),
            Self::Id(id) => (Question::Uid(*id), Question::Gid(*id)),
        };
        users.then_some(user).into_iter().chain(groups.then_some(group))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "the id {id}"),
        }
    }
}

/// What private/neighbours.json holds: what other services have, or once had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    names: BTreeMap<String, Holder>,
    ids: BTreeMap<u32, Holder>,
}

/// Who has a name or a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The service, as nsswitch.conf names it.
    pub service: String,
    /// Whether it had it when it last answered.
    pub present: bool,
}

/// What is known of the other services.
#[derive(Default)]
pub struct Neighbours {
    /// Kept on disk.
    pub held: Held,
    /// What all of them have answered about, and in which turn last; 0: not yet, but it was published before that.
    asked: BTreeMap<Key, u64>,
    turn: u64,
    services: OtherServices,
    /// Services that could not tell when they were last asked, and why.
    silent: BTreeMap<String, String>,
    ask: Option<Rc<dyn Ask>>,
}

impl Neighbours {
    /// As they were left: what was published then is not taken back before a service has claimed it.
    pub fn left(held: Held, store: &Store, ask: Rc<dyn Ask>) -> Self {
        let mut neighbours = Self {
            held,
            ask: Some(ask),
            ..Self::default()
        };
        neighbours.learn_services(store);
        neighbours
    }

    /// Why this may not be published now.
    pub fn refusal(&self, key: &Key) -> Option<Refusal> {
        if let Some(holder) = self.holder(key) {
            return Some(Refusal::OtherService {
                what: key.to_string(),
                service: holder.service.clone(),
                present: holder.present,
            });
        }
        (!self.services.is_empty() && !self.asked.contains_key(key)).then(|| Refusal::NotYetAsked {
            what: key.to_string(),
            why: self.silent.values().next().cloned(),
        })
    }

    /// Takes out who may not be published.
    pub fn strike_names(&self, names: &mut AcceptedNames, facts: &Facts) {
        let mut refused = Vec::new();
        let mut strike = |kind, iam_id: &str, iam_name: &str, name: &str| {
            let reason = self.refusal(&Key::Name(name.to_owned()));
            let entry = reason.map(|reason| RefusedEntry {
                kind,
                iam_id: iam_id.to_owned(),
                iam_name: iam_name.to_owned(),
                reason,
            });
            refused.extend(entry.clone());
            entry.is_none()
        };
        names.users.retain(|name, user_id| {
            let iam_name = facts
                .users
                .get(user_id)
                .map_or(name.as_str(), |user| user.name.as_str());
            strike(Kind::User, user_id, iam_name, name.as_str())
        });
        names.groups.retain(|iam_name, group| match group.unix {
            UnixGroup::Ours(name) => strike(Kind::Group, &group.group_id, iam_name, name.as_str()),
            UnixGroup::Local { .. } => true,
        });
        names.refused.extend(refused);
    }

    /// Whether a service besides those of this host's own files knows users. Its users come and go without root's doing.
    pub fn are_remote(&self) -> bool {
        self.services
            .passwd
            .iter()
            .any(|service| !matches!(service.as_str(), "compat" | "db" | "systemd"))
    }

    /// Frees these, to be asked about anew; returns who had one of them.
    pub fn release(&mut self, keys: &[Key]) -> Option<String> {
        let mut service = None;
        for key in keys {
            let holder = match key {
                Key::Name(name) => self.held.names.remove(name),
                Key::Id(id) => self.held.ids.remove(id),
            };
            if let Some(holder) = holder {
                self.asked.remove(key);
                service = Some(holder.service);
            }
        }
        service
    }

    fn holder(&self, key: &Key) -> Option<&Holder> {
        match key {
            Key::Name(name) => self.held.names.get(name),
            Key::Id(id) => self.held.ids.get(id),
        }
    }

    /// Whether it waits for an answer.
    fn is_new(&self, key: &Key) -> bool {
        self.holder(key).is_none() && !self.asked.contains_key(key)
    }

    /// Reads nsswitch.conf. A service that was added has been asked about nobody; what is published stays until it claims it.
    fn learn_services(&mut self, store: &Store) {
        let Some(ask) = &self.ask else { return };
        match ask.services() {
            Ok(services) if services == self.services => {}
            Ok(services) => {
                let names: Vec<&String> = services.each().map(|(service, ..)| service).collect();
                info!(?names, "the services asked besides IAM are now {names:?}");
                self.services = services;
                self.asked = store.published_keys().into_iter().map(|key| (key, 0)).collect();
                self.silent.clear();
            }
            Err(error) => warn!(%error, "nsswitch.conf cannot be read; the services that it named before are still \
                asked: {error}"),
        }
    }

    /// What a pass asks about: whoever was not asked about in this life of the daemon, and a twelfth of the others. Who comes back after
    /// having been gone is new.
    fn due(&mut self, candidates: &[Candidate]) -> Vec<Key> {
        let keys: BTreeSet<&Key> = candidates.iter().flat_map(|candidate| &candidate.keys).collect();
        self.asked.retain(|key, _| keys.contains(key));
        let turn = |key: &Key| self.asked.get(key).copied().unwrap_or(0);
        let (new, mut others): (Vec<&Key>, Vec<&Key>) = keys.into_iter().partition(|key| turn(key) == 0);
        let share = others.len().div_ceil(TURNS);
        // A name that a service hangs on must not be in the way of the same others each time.
        fastrand::shuffle(&mut others);
        others.sort_by_key(|key| turn(key));
        new.into_iter().chain(others.into_iter().take(share)).cloned().collect()
    }

    /// Takes down what the services said of these keys. Returns whether anything may be published that was not, or no longer.
    fn learn(&mut self, keys: Vec<Key>, answers: &[Answers]) -> bool {
        self.turn += 1;
        self.silent.clear();
        for answers in answers {
            if let Some(why) = answers.by_key.values().find_map(|said| match said {
                Said::CannotTell(why) => Some(why),
                _ => None,
            }) {
                warn!(%why, "another service does not answer; nobody new whom it may have is published: {why}");
                self.silent.insert(answers.service.clone(), why.clone());
            }
        }
        let mut changed = false;
        for key in keys {
            let said = |wanted: &Said| answers.iter().find(|answers| answers.by_key.get(&key) == Some(wanted));
            let silent = answers
                .iter()
                .any(|answers| !matches!(answers.by_key.get(&key), Some(Said::Yes | Said::No)));
            if let Some(Answers { service, .. }) = said(&Said::Yes) {
                changed |= self.hold(&key, service);
            } else if !silent {
                changed |= self.let_go(&key);
            } else {
                continue;
            }
            changed |= self.asked.insert(key, self.turn).is_none();
        }
        changed
    }

    fn hold(&mut self, key: &Key, service: &str) -> bool {
        let holder = Holder {
            service: service.to_owned(),
            present: true,
        };
        let before = match key {
            Key::Name(name) => self.held.names.insert(name.clone(), holder.clone()),
            Key::Id(id) => self.held.ids.insert(*id, holder.clone()),
        };
        if before.is_none() {
            info!(%service, "{key} is also in {service}, and belongs to it from now on");
        }
        before.as_ref() != Some(&holder)
    }

    /// What a service has no longer stays its own.
    fn let_go(&mut self, key: &Key) -> bool {
        let holder = match key {
            Key::Name(name) => self.held.names.get_mut(name),
            Key::Id(id) => self.held.ids.get_mut(id),
        };
        holder.is_some_and(|holder| std::mem::take(&mut holder.present))
    }
}

/// What one service said.
struct Answers {
    service: String,
    by_key: BTreeMap<Key, Said>,
}

impl<I: Iam + 'static> Service<I> {
    /// A pass's share of questions. Publishes nothing.
    pub(crate) async fn ask_neighbours(&self) {
        let due = {
            let mut state = self.state_mut();
            state.neighbours.learn_services(&self.store);
            state.due()
        };
        self.put_to_neighbours(due, PASS_LIMIT).await;
    }

    /// The name, and the number that its IAM user wants, are free once the other services have been asked again. Returns who had them.
    pub(crate) fn release_from_neighbours(&self, login: UserName) -> Option<String> {
        let mut state = self.state_mut();
        let iam_name = state.iam_name(login.as_str());
        let user_id = state.facts.user_named(&iam_name).map(|(id, _)| id.clone());
        let own = candidates(&state)
            .into_iter()
            .filter(|candidate| Some(&candidate.iam_id) == user_id.as_ref());
        let mut keys: Vec<Key> = own.flat_map(|candidate| candidate.keys).collect();
        keys.push(Key::Name(login.to_string()));
        state.neighbours.release(&keys)
    }

    /// Has the other services asked about the user of this name, whom IAM has and who may be new here.
    pub(crate) async fn beside_neighbours(
        self: &Rc<Self>,
        login: UserName,
        answer: Answer<'static>,
    ) -> Answer<'static> {
        if answer != Answer::Fresh || self.state().new_keys_of(login).0.is_empty() {
            return answer;
        }
        let service = Rc::clone(self);
        let asked = self.nudges.join(format!("neighbours {login}"), || async move {
            let (own, of_groups) = service.state().new_keys_of(login);
            service.put_to_neighbours([own, of_groups].concat(), NUDGE_LIMIT).await;
            match service.state().new_keys_of(login).0.is_empty() {
                true => Answer::Fresh,
                false => Answer::CannotTell,
            }
        });
        asked.await.unwrap_or(Answer::CannotTell)
    }

    async fn put_to_neighbours(&self, keys: Vec<Key>, limit: Duration) {
        let (ask, services) = {
            let state = self.state();
            match &state.neighbours.ask {
                Some(ask) if !keys.is_empty() => (Rc::clone(ask), state.neighbours.services.clone()),
                _ => return,
            }
        };
        let answers = services.each().map(|(service, users, groups)| {
            let asked: Vec<(&Key, Question)> = keys
                .iter()
                .flat_map(|key| key.questions(users, groups).map(move |question| (key, question)))
                .collect();
            let questions = asked.iter().map(|(_, question)| question.clone()).collect();
            let said = ask.ask(service.clone(), questions, limit);
            async move {
                let mut by_key: BTreeMap<Key, Said> = BTreeMap::new();
                for ((key, _), said) in asked.into_iter().zip(said.await) {
                    let known = by_key.entry(key.clone()).or_insert(Said::No);
                    // A user or a group of it suffices; one silence is doubt.
                    if *known != Said::Yes && said != Said::No {
                        *known = said;
                    }
                }
                Answers {
                    service: service.clone(),
                    by_key,
                }
            }
        });
        let answers = join_all(answers).await;
        let mut state = self.state_mut();
        // Another nsswitch.conf was read meanwhile: its services have not been asked.
        if state.neighbours.services == services {
            let changed = state.neighbours.learn(keys, &answers);
            state.unpublished |= changed;
        }
    }
}

impl State {
    fn due(&mut self) -> Vec<Key> {
        if self.neighbours.services.is_empty() {
            return Vec::new();
        }
        let candidates = candidates(self);
        self.neighbours.due(&candidates)
    }

    /// What waits for an answer: the name and number of this user, and those of groups, which the user may be in.
    fn new_keys_of(&self, login: UserName) -> (Vec<Key>, Vec<Key>) {
        if self.neighbours.services.is_empty() {
            return Default::default();
        }
        let iam_name = self.iam_name(login.as_str());
        let Some((user_id, _)) = self.facts.user_named(&iam_name) else {
            return Default::default();
        };
        let (own, others): (Vec<_>, Vec<_>) = candidates(self)
            .into_iter()
            .filter(|candidate| candidate.kind == Kind::Group || candidate.iam_id == *user_id)
            .partition(|candidate| candidate.kind == Kind::User);
        let new = |candidates: Vec<Candidate>| {
            let keys = candidates.into_iter().flat_map(|candidate| candidate.keys);
            keys.filter(|key| self.neighbours.is_new(key)).collect()
        };
        (new(own), new(others))
    }
}
