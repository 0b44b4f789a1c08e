//! The directory of one host: what is known, who is asked, what is published. [`super::asking::sync`] brings it up to date as a whole,
//! [`super::asking::nudge`] one user at a time, [`super::publishing::publication`] writes it out; `daemon.rs` owns it.
//!
//! Everything runs on one thread. State is borrowed between awaits only, never across one: no lock is held while AWS is asked.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use keymaker_aws::{Ask, IdResolver};
use keymaker_core::protocol::Answer;
use tokio::sync::Notify;
use tracing::warn;

use super::asking::flights::Flights;
use super::asking::limits::{OfferedKeys, Outages, UnknownNames};
use super::entitlement::ids::IdMap;
use super::entitlement::neighbours::Neighbours;
use super::entitlement::refused::Kind;
use super::facts::{Facts, UserFacts};
use super::iam::Iam;
use super::publishing::publication::{Published, ToldContact, Turns};
use super::publishing::store::Store;
use crate::clock::Clock;
use crate::config::Config;
use crate::local_accounts::LocalAccounts;
use crate::settings::{EffectiveSettings, KeptSettings};

/// How long "no such user", "not in the required group" and "no active key" are believed without asking again, in seconds.
pub const NEGATIVE_TTL: u64 = 5;

/// The directory of this host.
pub struct Service<I> {
    state: RefCell<State>,
    accounts: RefCell<Option<Rc<Accounts<I>>>>,
    /// The endpoints may have changed: the clients serve until others are made.
    outdated: Cell<bool>,
    pub(super) nudges: Rc<Flights<Answer<'static>>>,
    pub(super) passes: Rc<Flights<Answer<'static>>>,
    pub(super) turns: Turns,
    pub(super) told_contact: Cell<Option<ToldContact>>,
    /// The daemon is to reach for other accounts, and then to make a pass.
    pub accounts_changed: Notify,
    pub(crate) store: Store,
    pub(crate) clock: Rc<Clock>,
}

/// Whom to ask: clients of the accounts, by patience.
pub struct Accounts<I> {
    /// Where these people live, as the settings said when the clients were made.
    pub id_resolver: Option<IdResolver>,
    /// This host's own account, for its role.
    pub host: I,
    /// The name of this host's role; `None` where it has none (tests by hand with a user's credentials).
    pub host_role: Option<String>,
    /// The account that holds the people; patient, for passes.
    pub people: I,
    /// The same in a hurry, for nudges.
    pub people_nudged: I,
}

/// What the daemon knows.
pub struct State {
    /// The administrator's file.
    pub config: Config,
    /// The role description's settings, as last read.
    pub settings: KeptSettings,
    /// What IAM last said.
    pub facts: Facts,
    /// The accounts of this host, which always win.
    pub local: LocalAccounts,
    /// What other services of this host have, which always wins, too.
    pub neighbours: Neighbours,
    /// Who has which number and name here, for ever.
    pub ids: IdMap,
    /// What is on disk for everybody to read.
    pub published: Published,
    /// Whether something is known that the files do not say yet.
    pub unpublished: bool,
    /// When the last pass in which everything answered began, by `Clock::answer_time`; the contact file has it by the host's clock.
    pub contact: Option<u64>,
    /// The EC2 instance on which this runs, once known.
    pub instance_id: Option<String>,
    /// Which listings the role allows.
    pub grade: Grade,
    /// When a denied listing is tried again.
    pub grade_until: Option<Instant>,
    /// What is not answering.
    pub outages: Outages,
    /// What each uid may still ask about.
    pub unknown_names: UnknownNames,
    /// What clients of sshd who have proved nothing may still ask about.
    pub offered_keys: OfferedKeys,
    /// Names that IAM does not have, and until when that is believed.
    pub no_such_user: BTreeMap<String, Instant>,
    /// When a pass was last begun because unknown names had run out of tokens.
    pub early_pass: Option<Instant>,
    /// The last pass's failure, for the status; `None` after a good one.
    pub last_failure: Option<String>,
    /// What could not be read in the role's description.
    pub settings_problems: Vec<String>,
    /// Why keymakerd.toml could not be used when it was last read, so that what was read before holds.
    pub settings_file_problem: Option<String>,
    /// Whether everything was forgotten by order: nothing is asked or published until the next start.
    pub halted: bool,
    /// Whether the last pass was throttled, which stretches the interval.
    pub throttled: bool,
}

/// What the instance's role allows us to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grade {
    /// GetAccountAuthorizationDetails: everyone, with groups and tags; only where configured.
    One,
    /// ListUsers: everyone.
    #[default]
    Two,
    /// ListGroups and GetGroup: the members of our groups, and who is asked for by name.
    Three,
}

impl Grade {
    /// The number by which the documentation knows it.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

impl<I: Iam + 'static> Service<I> {
    /// The service as it was left: `state` holds what was kept.
    pub fn new(state: State, store: Store, clock: Rc<Clock>) -> Rc<Self> {
        let told_contact = state.contact.map(|at| ToldContact::at(at, &clock));
        Rc::new(Self {
            told_contact: Cell::new(told_contact),
            state: RefCell::new(state),
            accounts: RefCell::new(None),
            outdated: Cell::new(false),
            nudges: Flights::new(),
            passes: Flights::new(),
            turns: Turns::default(),
            accounts_changed: Notify::new(),
            store,
            clock,
        })
    }

    /// The state, to read. Never hold it across an await.
    pub fn state(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    /// The state, to change. Never hold it across an await.
    pub fn state_mut(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Whom to ask now; `None` while there is no way to AWS.
    pub fn accounts(&self) -> Option<Rc<Accounts<I>>> {
        self.accounts.borrow().clone()
    }

    /// Whether there are clients for the accounts that the settings name, by the file as it is.
    pub fn is_connected(&self) -> bool {
        let wanted = self.effective().id_resolver;
        !self.outdated.get() && self.accounts().is_some_and(|accounts| accounts.id_resolver == wanted)
    }

    /// The file says anew how AWS is reached. Whoever logs in meanwhile is served by the old clients.
    pub fn reconnect(&self) {
        self.outdated.set(true);
        self.accounts_changed.notify_one();
    }

    /// From now on these accounts are asked.
    pub fn ask(&self, accounts: Option<Accounts<I>>) {
        self.outdated.set(false);
        *self.accounts.borrow_mut() = accounts.map(Rc::new);
        self.state_mut().outages.forget();
    }

    /// Asks nobody any more as a role that this host no longer has; the daemon then connects as the one that it has now. Returns whether
    /// that was so.
    pub async fn leave_former_role(&self, ask: Ask) -> bool {
        let Some(accounts) = self.accounts() else {
            return false;
        };
        let Some(replaced) = accounts.host.replaced(ask).await else {
            return false;
        };
        // Somebody else may have noticed meanwhile.
        if self.accounts().is_some_and(|present| Rc::ptr_eq(&present, &accounts)) {
            warn!(%replaced, "connecting anew: {replaced}");
            self.ask(None);
            // The new role may be allowed other listings.
            self.state_mut().grade_until = None;
            self.accounts_changed.notify_one();
        }
        true
    }

    /// The settings in force.
    pub fn effective(&self) -> EffectiveSettings {
        self.state().effective()
    }
}

impl State {
    /// The settings in force: the file's, and below them the role description's.
    pub fn effective(&self) -> EffectiveSettings {
        EffectiveSettings::of(&self.config, &self.settings)
    }

    /// What waits for `keymaker accept-settings`, as sentences.
    pub fn pending_settings(&self) -> Vec<String> {
        let pending = self.settings.pending().into_iter();
        let of_the_role = pending.filter(|pending| !pending.is_settled_by(&self.config));
        let of_the_file = self.settings.file.gone().into_iter().map(|gone| gone.to_string());
        let of_another_role = self.settings.other_role.iter().filter(|_| self.config.role_settings);
        of_the_role
            .map(|pending| pending.to_string())
            .chain(of_the_file)
            .chain(of_another_role.map(ToString::to_string))
            .collect()
    }

    /// How IAM knows the user who logs in as `login`. Under `lowercase_names` that is the user whose name folds to it; of several the one
    /// who has the name here, else the one made earlier, as `names` decides.
    pub fn iam_name(&self, login: &str) -> String {
        let wanted = format!("{login}{}", self.effective().user_suffix);
        if self.config.lowercase_names {
            let folded = self
                .facts
                .users
                .iter()
                .filter(|(_, user)| user.name.eq_ignore_ascii_case(&wanted));
            let rank = |(id, user): &(&String, &UserFacts)| {
                let newcomer = !self.ids.has_name(Kind::User, login, id);
                (newcomer, user.created, (*id).clone())
            };
            if let Some((_, user)) = folded.min_by_key(rank) {
                return user.name.clone();
            }
        }
        wanted
    }
}
