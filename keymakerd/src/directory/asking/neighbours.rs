//! Other services of this host asked about the names and numbers that we publish. `entitlement::neighbours` keeps what
//! they said.
//!
//! A pass asks about everybody who is new, and about a twelfth of the others, those asked longest ago: each name for a
//! user and a group, each number likewise, so with 5,000 users and 100 groups 1,700 look-ups a service and pass, and
//! 20,400 when the daemon has started or a service has been added. A nudge asks about the one user. Where a service
//! cannot tell, what is published stays and nothing is added.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use keymaker_core::name::UserName;

use crate::directory::entitlement::entitled::{Candidate, candidates};
use crate::directory::entitlement::neighbours::{NameOrId, ServiceAnswers};
use crate::directory::entitlement::refused::Kind;
use crate::directory::iam::Iam;
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::Service;
use crate::directory::state::State;
use crate::other_services::{Said, ServiceQuestion};

/// How long a pass waits for the other services in all; they are asked side by side.
const PASS_LIMIT: Duration = Duration::from_secs(30);
/// How long a nudge does: somebody waits.
const NUDGE_LIMIT: Duration = Duration::from_secs(1);

impl<I: Iam + 'static> Service<I> {
    /// A pass's share of questions. Publishes nothing.
    pub(crate) async fn ask_neighbours(&self) {
        let due = {
            let mut state = self.state_mut();
            state.neighbours.learn_services(|| self.store.published_keys());
            state.due()
        };
        self.put_to_neighbours(due, PASS_LIMIT).await;
    }

    /// The name, and the number that its IAM user wants, are free once the other services have been asked again.
    /// Returns who had them.
    pub(crate) fn release_from_neighbours(&self, login: UserName) -> Option<String> {
        let mut state = self.state_mut();
        let iam_name = state.iam_name(login.as_str());
        let user_id = state.facts.user_named(&iam_name).map(|(id, _)| id.clone());
        let own = candidates(&state.known(), &state.ids)
            .into_iter()
            .filter(|candidate| Some(&candidate.iam_id) == user_id.as_ref());
        let mut keys: Vec<NameOrId> = own.flat_map(|candidate| candidate.keys).collect();
        keys.push(NameOrId::Name(login.to_string()));
        state.neighbours.release(&keys)
    }

    /// Has the other services asked about the user of this name, whom IAM has and who may be new here.
    pub(crate) async fn beside_neighbours(
        self: &Rc<Self>,
        login: UserName,
        answer: DirectoryOutcome,
    ) -> DirectoryOutcome {
        if answer != DirectoryOutcome::Fresh || self.state().new_keys_of(login).0.is_empty() {
            return answer;
        }
        let service = Rc::clone(self);
        let asked = self.nudges.join(format!("neighbours {login}"), || async move {
            let (own, of_groups) = service.state().new_keys_of(login);
            service.put_to_neighbours([own, of_groups].concat(), NUDGE_LIMIT).await;
            if service.state().new_keys_of(login).0.is_empty() {
                DirectoryOutcome::Fresh
            } else {
                DirectoryOutcome::CannotTell
            }
        });
        asked.await.unwrap_or(DirectoryOutcome::CannotTell)
    }

    async fn put_to_neighbours(&self, keys: Vec<NameOrId>, limit: Duration) {
        let (ask, services) = {
            let state = self.state();
            match &state.neighbours.ask {
                Some(ask) if !keys.is_empty() => (Rc::clone(ask), state.neighbours.services.clone()),
                _ => return,
            }
        };
        let answers = services.each().map(|(service, users, groups)| {
            let asked: Vec<(&NameOrId, ServiceQuestion)> = keys
                .iter()
                .flat_map(|key| key.questions(users, groups).map(move |question| (key, question)))
                .collect();
            let questions = asked.iter().map(|(_, question)| question.clone()).collect();
            let said = ask.ask(service.clone(), questions, limit);
            async move {
                let mut by_key: BTreeMap<NameOrId, Said> = BTreeMap::new();
                for ((key, _), said) in asked.into_iter().zip(said.await) {
                    let known = by_key.entry(key.clone()).or_insert(Said::No);
                    // A user or a group of it suffices; one silence is doubt.
                    if *known != Said::Yes && said != Said::No {
                        *known = said;
                    }
                }
                ServiceAnswers {
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
    fn due(&mut self) -> Vec<NameOrId> {
        if self.neighbours.services.is_empty() {
            return Vec::new();
        }
        let candidates = candidates(&self.known(), &self.ids).into_iter();
        let keys = candidates.flat_map(|candidate| candidate.keys).collect();
        self.neighbours.due(&keys)
    }

    /// What waits for an answer: the name and number of this user, and those of groups, which the user may be in.
    fn new_keys_of(&self, login: UserName) -> (Vec<NameOrId>, Vec<NameOrId>) {
        if self.neighbours.services.is_empty() {
            return Default::default();
        }
        let iam_name = self.iam_name(login.as_str());
        let Some((user_id, _)) = self.facts.user_named(&iam_name) else {
            return Default::default();
        };
        let (own, others): (Vec<_>, Vec<_>) = candidates(&self.known(), &self.ids)
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
