//! What other services of this host know of the names and numbers that we publish. Anybody who resolves without us wins
//! (P1), and what a service ever had here stays its own until root says `keymaker release`: files may carry the number.
//!
//! `asking::neighbours` puts the questions. Where a service cannot tell, what is published stays and nothing is added.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::refused::EntryRefusal;
use crate::other_services::{AskServices, OtherServices, Said, ServiceQuestion};

/// A pass asks about one in so many of those who were asked about before.
const TURNS: usize = 12;

/// A name or a number, of users and groups alike: they share one space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameOrId {
    /// A Unix name.
    Name(String),
    /// A uid or gid.
    Id(u32),
}

impl NameOrId {
    pub(crate) fn questions(&self, users: bool, groups: bool) -> impl Iterator<Item = ServiceQuestion> {
        let (user, group) = match self {
            Self::Name(name) => (
                ServiceQuestion::User(name.clone()),
                ServiceQuestion::Group(name.clone()),
            ),
            Self::Id(id) => (ServiceQuestion::Uid(*id), ServiceQuestion::Gid(*id)),
        };
        users.then_some(user).into_iter().chain(groups.then_some(group))
    }
}

impl std::fmt::Display for NameOrId {
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
pub struct HeldByServices {
    names: BTreeMap<String, HoldingService>,
    ids: BTreeMap<u32, HoldingService>,
}

/// Who has a name or a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldingService {
    /// The service, as nsswitch.conf names it.
    pub service: String,
    /// Whether it had it when it last answered.
    pub present: bool,
}

/// What is known of the other services.
#[derive(Default)]
pub struct Neighbours {
    /// Kept on disk.
    pub held: HeldByServices,
    /// What all of them have answered about, and in which turn last; 0: not yet, but it was published before that.
    asked: BTreeMap<NameOrId, u64>,
    turn: u64,
    pub(crate) services: OtherServices,
    /// Services that could not tell when they were last asked, and why.
    silent: BTreeMap<String, String>,
    pub(crate) ask: Option<Rc<dyn AskServices>>,
}

impl Neighbours {
    /// As they were left: what was published then is not taken back before a service has claimed it.
    pub fn left(held: HeldByServices, ask: Rc<dyn AskServices>, published: impl FnOnce() -> Vec<NameOrId>) -> Self {
        let mut neighbours = Self {
            held,
            ask: Some(ask),
            ..Self::default()
        };
        neighbours.learn_services(published);
        neighbours
    }

    /// Why this may not be published now.
    pub fn refusal(&self, key: &NameOrId) -> Option<EntryRefusal> {
        if let Some(holder) = self.holder(key) {
            return Some(EntryRefusal::OtherService {
                what: key.to_string(),
                service: holder.service.clone(),
                present: holder.present,
            });
        }
        (!self.services.is_empty() && !self.asked.contains_key(key)).then(|| EntryRefusal::NotYetAsked {
            what: key.to_string(),
            why: self.silent.values().next().cloned(),
        })
    }

    /// Whether a service besides those of this host's own files knows users. Its users come and go without root's
    /// doing.
    pub fn are_remote(&self) -> bool {
        self.services
            .passwd
            .iter()
            .any(|service| !matches!(service.as_str(), "compat" | "db" | "systemd"))
    }

    /// Frees these, to be asked about again; returns who had one of them.
    pub fn release(&mut self, keys: &[NameOrId]) -> Option<String> {
        let mut service = None;
        for key in keys {
            let holder = match key {
                NameOrId::Name(name) => self.held.names.remove(name),
                NameOrId::Id(id) => self.held.ids.remove(id),
            };
            if let Some(holder) = holder {
                self.asked.remove(key);
                service = Some(holder.service);
            }
        }
        service
    }

    /// Whether another service has it, or had it once.
    pub fn ever_had(&self, key: &NameOrId) -> bool {
        self.holder(key).is_some()
    }

    fn holder(&self, key: &NameOrId) -> Option<&HoldingService> {
        match key {
            NameOrId::Name(name) => self.held.names.get(name),
            NameOrId::Id(id) => self.held.ids.get(id),
        }
    }

    /// Whether it waits for an answer.
    pub(crate) fn is_new(&self, key: &NameOrId) -> bool {
        self.holder(key).is_none() && !self.asked.contains_key(key)
    }

    /// Reads nsswitch.conf. A service that was added has been asked about nobody; what is published stays until it
    /// claims it.
    pub(crate) fn learn_services(&mut self, published: impl FnOnce() -> Vec<NameOrId>) {
        let Some(ask) = &self.ask else { return };
        match ask.services() {
            Ok(services) if services == self.services => {}
            Ok(services) => {
                let names: Vec<&String> = services.each().map(|(service, ..)| service).collect();
                info!(?names, "the services asked besides IAM are now {names:?}");
                self.services = services;
                self.asked = published().into_iter().map(|key| (key, 0)).collect();
                self.silent.clear();
            }
            Err(error) => warn!(%error, "nsswitch.conf cannot be read; the services that it named before are still \
                asked: {error}"),
        }
    }

    /// What a pass asks about: everybody who was not asked about in this life of the daemon, and a twelfth of the
    /// others. Who comes back after having been gone is new.
    pub(crate) fn due(&mut self, keys: &BTreeSet<NameOrId>) -> Vec<NameOrId> {
        self.asked.retain(|key, _| keys.contains(key));
        let turn = |key: &NameOrId| self.asked.get(key).copied().unwrap_or(0);
        let (new, mut others): (Vec<&NameOrId>, Vec<&NameOrId>) = keys.iter().partition(|key| turn(key) == 0);
        let share = others.len().div_ceil(TURNS);
        // A name that a service hangs on must not be in the way of the same others each time.
        fastrand::shuffle(&mut others);
        others.sort_by_key(|key| turn(key));
        new.into_iter().chain(others.into_iter().take(share)).cloned().collect()
    }

    /// Takes down what the services said of these keys. Returns whether anything may be published that was not, or no
    /// longer.
    pub(crate) fn learn(&mut self, keys: Vec<NameOrId>, answers: &[ServiceAnswers]) -> bool {
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
            if let Some(ServiceAnswers { service, .. }) = said(&Said::Yes) {
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

    fn hold(&mut self, key: &NameOrId, service: &str) -> bool {
        let holder = HoldingService {
            service: service.to_owned(),
            present: true,
        };
        let before = match key {
            NameOrId::Name(name) => self.held.names.insert(name.clone(), holder.clone()),
            NameOrId::Id(id) => self.held.ids.insert(*id, holder.clone()),
        };
        if before.is_none() {
            info!(%service, "{key} is also in {service}, and belongs to it from now on");
        }
        before.as_ref() != Some(&holder)
    }

    /// What a service has no longer stays its own.
    fn let_go(&mut self, key: &NameOrId) -> bool {
        let holder = match key {
            NameOrId::Name(name) => self.held.names.get_mut(name),
            NameOrId::Id(id) => self.held.ids.get_mut(id),
        };
        holder.is_some_and(|holder| std::mem::take(&mut holder.present))
    }
}

/// What one service said.
pub(crate) struct ServiceAnswers {
    pub(crate) service: String,
    pub(crate) by_key: BTreeMap<NameOrId, Said>,
}
