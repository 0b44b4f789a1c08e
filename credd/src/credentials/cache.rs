//! Keeps what was issued, so that AWS is asked once per question and not once per request. The issuer asks
//! [`Cache::get`]; behind it stands the chain of methods.
//!
//! One question is under way at a time and goes on when those who wait for it give up. Credentials are handed out while
//! they have 25 minutes, renewed in the background from half their life on, and in an outage handed out down to their
//! last minute (P17). An entry is found by the whole question only (P18); what is dropped is wiped (P19).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::entry::{CacheEntry, LAST_MINUTE, Now};
use super::issuance::Issuance;
use super::metrics::{Metrics, count};
use super::question::CredentialQuestion;
use super::rate::Rates;
use super::refusal::CredentialRefusal;
use crate::clock::Clock;

/// Asks AWS.
pub trait Issue {
    /// The credentials that answer the question, new.
    fn issue(&self, question: &CredentialQuestion) -> impl Future<Output = Result<Issuance, CredentialRefusal>>;

    /// Whether that takes a call to AWS; if not, no method applies.
    fn asks_aws(&self, question: &CredentialQuestion) -> bool;

    /// Finds out what every question needs, and opens the connections.
    fn warm(&self) -> impl Future<Output = Result<(), CredentialRefusal>>;
}

/// What was issued, by question. Runs on a `LocalSet`.
pub struct Cache<I> {
    source: I,
    clock: Rc<dyn Clock>,
    metrics: Rc<Metrics>,
    entries: RefCell<HashMap<CredentialQuestion, CacheEntry>>,
    rates: RefCell<Rates>,
    flights: Cell<usize>,
}

impl<I: Issue + 'static> Cache<I> {
    /// An empty cache before `source`.
    pub fn new(source: I, clock: Rc<dyn Clock>, metrics: Rc<Metrics>) -> Rc<Self> {
        Rc::new(Self {
            source,
            clock,
            metrics,
            entries: RefCell::default(),
            rates: RefCell::default(),
            flights: Cell::new(0),
        })
    }

    /// The answer to `question`, by `deadline`.
    pub async fn get(
        self: &Rc<Self>,
        question: &CredentialQuestion,
        deadline: Instant,
    ) -> Result<Rc<Issuance>, CredentialRefusal> {
        if !self.source.asks_aws(question) {
            count(&self.metrics.not_applicable);
            return Err(CredentialRefusal::NotApplicable);
        }
        let now = self.now();
        if let Some(issuance) = self.fresh(question, now) {
            count(&self.metrics.hits);
            if self.with_entry(question, |entry| entry.is_due(now)) {
                self.ask(question, now);
            }
            return Ok(issuance);
        }
        if let Some(mut flight) = self.ask(question, now) {
            // An error is the end that is waited for: the channel closes.
            let _ = timeout_at(deadline, flight.changed()).await;
        }
        let now = self.now();
        self.with_entry(question, |entry| entry.settled(now))
    }

    /// Wipes what is kept for `uid`.
    pub fn forget(&self, uid: u32) {
        self.entries.borrow_mut().retain(|question, _| question.uid != uid);
    }

    /// Renews what is in use and wipes what has ended. Called every few seconds.
    pub fn tidy(self: &Rc<Self>) {
        let now = self.now();
        let mut due = vec![];
        self.entries.borrow_mut().retain(|question, entry| {
            if entry.is_used() && entry.is_due(now) {
                due.push(question.clone());
            }
            !entry.tidy(now)
        });
        self.rates.borrow_mut().tidy(now.since_boot);
        for question in due {
            self.ask(&question, now);
        }
    }

    /// Asks AWS what every question will need, so that the first one need not wait for it.
    pub async fn warm(&self) -> Result<(), CredentialRefusal> {
        self.source.warm().await
    }

    /// Whose credentials are in use.
    pub fn uids(&self) -> Vec<u32> {
        let entries = self.entries.borrow();
        let used = entries.iter().filter(|(_, entry)| entry.is_used());
        used.map(|(question, _)| question.uid).collect()
    }

    /// Who is asked.
    pub fn source(&self) -> &I {
        &self.source
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    fn fresh(&self, question: &CredentialQuestion, now: Now) -> Option<Rc<Issuance>> {
        self.entries.borrow_mut().get_mut(question)?.fresh(now)
    }

    /// Asks the source, unless it is being asked already, has refused a moment ago, or was asked too often. What is
    /// under way, if anything is.
    fn ask(self: &Rc<Self>, question: &CredentialQuestion, now: Now) -> Option<watch::Receiver<()>> {
        let known = self.with_entry(question, |entry| match entry.flight() {
            Some(flight) => Some(Some(flight)),
            None if !entry.may_ask(now) => Some(None),
            None => None,
        });
        if let Some(known) = known {
            return known;
        }
        if self.flights.get() >= MOST_FLIGHTS {
            count(&self.metrics.held_back);
            return None;
        }
        let Some(turn) = self.rates.borrow_mut().turn(question.share, now.since_boot) else {
            count(&self.metrics.held_back);
            return None;
        };
        count(&self.metrics.flights);
        let (ended, flight) = watch::channel(());
        self.with_entry(question, |entry| entry.begin(flight.clone()));
        let flown = InTheAir::new(Rc::clone(self), flight.clone());
        let question = question.clone();
        tokio::task::spawn_local(async move {
            if !turn.is_zero() {
                sleep(turn).await;
            }
            let outcome = flown.cache.source.issue(&question).await;
            flown.cache.land(&question, &flown.flight, outcome);
            drop(ended);
        });
        Some(flight)
    }

    /// Keeps an answer. One whose uid was refused meanwhile is dropped, also where the same is being asked again.
    fn land(
        &self,
        question: &CredentialQuestion,
        flight: &watch::Receiver<()>,
        outcome: Result<Issuance, CredentialRefusal>,
    ) {
        let now = self.now();
        let outcome = outcome.and_then(|issuance| usable(issuance, now));
        count(match &outcome {
            Ok(_) => &self.metrics.issued,
            Err(CredentialRefusal::NotApplicable) => &self.metrics.not_applicable,
            Err(CredentialRefusal::Denied(_)) => &self.metrics.denied,
            Err(CredentialRefusal::Transient(_)) => &self.metrics.transient,
        });
        if let Some(entry) = self.entries.borrow_mut().get_mut(question)
            && entry.waits_for(flight)
        {
            entry.end(outcome, now);
        }
    }

    fn with_entry<T>(&self, question: &CredentialQuestion, ask: impl FnOnce(&mut CacheEntry) -> T) -> T {
        let mut entries = self.entries.borrow_mut();
        match entries.get_mut(question) {
            Some(entry) => ask(entry),
            None => ask(entries.entry(question.clone()).or_default()),
        }
    }

    fn now(&self) -> Now {
        Now {
            wall: self.clock.now(),
            since_boot: self.clock.since_boot(),
        }
    }
}

/// A question under way, counted until it ends, by a panic too.
struct InTheAir<I> {
    cache: Rc<Cache<I>>,
    flight: watch::Receiver<()>,
}

impl<I> InTheAir<I> {
    fn new(cache: Rc<Cache<I>>, flight: watch::Receiver<()>) -> Self {
        cache.flights.set(cache.flights.get() + 1);
        Self { cache, flight }
    }
}

impl<I> Drop for InTheAir<I> {
    fn drop(&mut self) {
        self.cache.flights.set(self.cache.flights.get() - 1);
    }
}

/// Credentials that have ended by this host's clock are as good as none, and worth a word about the clock.
fn usable(issuance: Issuance, now: Now) -> Result<Issuance, CredentialRefusal> {
    if issuance.credentials.expiration < now.wall + LAST_MINUTE {
        let why = "STS gave credentials that have expired by this host's clock; set the clock";
        return Err(CredentialRefusal::transient(why));
    }
    Ok(issuance)
}

/// So many questions at once, whatever AWS does: more than a restart on a busy host begins with, and a bound on
/// connections and memory while each lasts its time.
const MOST_FLIGHTS: usize = 512;
