//! The directory of one host: what is known, who is asked, what is published. [`super::asking::sync`] brings it up to
//! date as a whole, [`super::asking::nudge`] one user at a time, [`super::publishing::publication`] writes it out;
//! `daemon.rs` owns it.
//!
//! Everything runs on one thread. State is borrowed between awaits only, never across one: no lock is held while AWS is
//! asked.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::rc::Rc;

use keymaker_aws::{Ask, IdResolver};
use tracing::warn;

use super::asking::flights::Flights;
use super::asking::issuer_tries::IssuerTries;
use super::asking::tries::Tries;
use super::iam::Iam;
use super::outcome::DirectoryOutcome;
use super::publishing::store::Store;
use super::publishing::turns::{ToldContact, Turns};
use super::state::State;
use crate::audit::Audit;
use crate::clock::AnswerClock;
use crate::counts::KeymakerdCounts;
use crate::settings::EffectiveSettings;

/// How long "no such user", "not in the required group" and "no active key" are believed without asking again, in
/// seconds.
pub const NEGATIVE_TTL: u64 = 5;

/// The directory of this host.
pub struct Service<I> {
    state: RefCell<State>,
    accounts: RefCell<Option<Rc<AskedAccounts<I>>>>,
    /// The endpoints may have changed: the clients serve until others are made.
    outdated: Cell<bool>,
    pub(super) nudges: Rc<Flights<DirectoryOutcome>>,
    pub(super) passes: Rc<Flights<DirectoryOutcome>>,
    pub(super) issuer_tries: RefCell<IssuerTries>,
    pub(super) turns: Turns,
    pub(super) told_contact: Cell<Option<ToldContact>>,
    /// The daemon's tries to renew the contact.
    pub tries: Tries,
    /// What is written down about logins and rights.
    pub audit: Audit,
    /// What was done since the start, for the metrics.
    pub counts: KeymakerdCounts,
    /// When that was, in seconds since 1970.
    pub started: u64,
    pub(crate) store: Store,
    pub(crate) clock: Rc<AnswerClock>,
}

/// Whom to ask: clients of the accounts, by patience.
pub struct AskedAccounts<I> {
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

impl<I: Iam + 'static> Service<I> {
    /// The service as it was left: `state` holds what was kept.
    pub fn new(state: State, store: Store, clock: Rc<AnswerClock>) -> Rc<Self> {
        let told_contact = state.contact.map(|at| ToldContact::at(at, &clock));
        Rc::new(Self {
            told_contact: Cell::new(told_contact),
            state: RefCell::new(state),
            accounts: RefCell::new(None),
            outdated: Cell::new(false),
            nudges: Flights::new(),
            passes: Flights::new(),
            issuer_tries: RefCell::default(),
            turns: Turns::default(),
            tries: Tries::new(&clock),
            audit: Audit::default(),
            counts: KeymakerdCounts::default(),
            started: clock.unix(),
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
    pub fn accounts(&self) -> Option<Rc<AskedAccounts<I>>> {
        self.accounts.borrow().clone()
    }

    /// Whether there are clients for the accounts that the settings name, by the file as it is.
    pub fn is_connected(&self) -> bool {
        let wanted = self.effective().id_resolver;
        !self.outdated.get() && self.accounts().is_some_and(|accounts| accounts.id_resolver == wanted)
    }

    /// The file says again how AWS is reached. Anybody who logs in meanwhile is served by the old clients.
    pub fn reconnect(&self) {
        self.outdated.set(true);
        self.tries.wanted.notify_one();
    }

    /// From now on these accounts are asked.
    pub fn ask(&self, accounts: Option<AskedAccounts<I>>) {
        self.outdated.set(false);
        *self.accounts.borrow_mut() = accounts.map(Rc::new);
        self.state_mut().outages.forget();
    }

    /// Asks nobody any more as a role that this host no longer has; the daemon then connects as the one that it has
    /// now. Returns whether that was so.
    pub async fn leave_former_role(&self, ask: Ask) -> bool {
        let Some(accounts) = self.accounts() else {
            return false;
        };
        let Some(replaced) = accounts.host.replaced(ask).await else {
            return false;
        };
        // Somebody else may have noticed meanwhile.
        if self.accounts().is_some_and(|present| Rc::ptr_eq(&present, &accounts)) {
            warn!(%replaced, "reconnecting: {replaced}");
            self.ask(None);
            // The new role may be allowed other listings.
            self.state_mut().grade_until = None;
            self.tries.wanted.notify_one();
        }
        true
    }

    /// The settings in force.
    pub fn effective(&self) -> EffectiveSettings {
        self.state().effective()
    }
}
