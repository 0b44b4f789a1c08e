//! One answer of the cache: what it holds, what may be handed out of it, and when AWS is asked again. The cache keeps
//! the entries; time comes in, nothing here waits.

use std::hash::RandomState;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::issuance::Issuance;
use super::refusal::CredentialRefusal;

/// The two times, read once for a decision.
#[derive(Clone, Copy)]
pub struct Now {
    /// The time of day: credentials end by it.
    pub wall: SystemTime,
    /// Since boot: pauses are measured by it.
    pub since_boot: Duration,
}

/// What is known about one question.
#[derive(Default)]
pub struct CacheEntry {
    kept: Option<KeptIssuance>,
    refusal: Option<CredentialRefusal>,
    failures: u32,
    not_before: Duration,
    flight: Option<watch::Receiver<()>>,
}

struct KeptIssuance {
    issuance: Rc<Issuance>,
    refresh_at: SystemTime,
    used: bool,
}

impl CacheEntry {
    /// Credentials with the stated minimum of life left, if there are any.
    pub fn fresh(&mut self, now: Now) -> Option<Rc<Issuance>> {
        self.lasting(FLOOR, now)
    }

    /// What can be said without AWS: credentials that still have a minute, else why there are none.
    pub fn settled(&mut self, now: Now) -> Result<Rc<Issuance>, CredentialRefusal> {
        match self.lasting(LAST_MINUTE, now) {
            Some(issuance) => Ok(issuance),
            None => Err(self
                .refusal
                .clone()
                .unwrap_or_else(|| CredentialRefusal::transient("AWS has not answered in time"))),
        }
    }

    fn lasting(&mut self, least: Duration, now: Now) -> Option<Rc<Issuance>> {
        let kept = self
            .kept
            .as_mut()
            .filter(|kept| kept.issuance.left(now.wall) >= least)?;
        kept.used = true;
        Some(Rc::clone(&kept.issuance))
    }

    /// Whether half the life of what is kept has passed.
    pub fn is_due(&self, now: Now) -> bool {
        self.kept.as_ref().is_some_and(|kept| now.wall >= kept.refresh_at)
    }

    /// Whether somebody was given what is kept, so that it is worth renewing unasked.
    pub fn is_used(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.used)
    }

    /// Whether the pause after a failure is over.
    pub fn may_ask(&self, now: Now) -> bool {
        now.since_boot >= self.not_before
    }

    /// The question that is under way. One whose task is gone counts as none.
    pub fn flight(&self) -> Option<watch::Receiver<()>> {
        self.flight.clone().filter(|flight| flight.has_changed().is_ok())
    }

    /// Whether this is the question that is under way.
    pub fn waits_for(&self, flight: &watch::Receiver<()>) -> bool {
        self.flight.as_ref().is_some_and(|own| own.same_channel(flight))
    }

    /// A question is under way; it ends when the channel closes.
    pub fn begin(&mut self, flight: watch::Receiver<()>) {
        self.flight = Some(flight);
    }

    /// The answer has come. Only a doubt leaves what was kept: a refusal is the newer word.
    pub fn end(&mut self, outcome: Result<Issuance, CredentialRefusal>, now: Now) {
        self.flight = None;
        match outcome {
            Ok(issuance) => {
                self.kept = Some(KeptIssuance {
                    refresh_at: issuance.half_life(&RandomState::new()),
                    issuance: Rc::new(issuance),
                    used: false,
                });
                (self.refusal, self.failures, self.not_before) = (None, 0, Duration::ZERO);
            }
            Err(refusal) => {
                let first = match refusal {
                    CredentialRefusal::Transient(_) => DOUBT_PAUSE,
                    CredentialRefusal::Denied(_) | CredentialRefusal::NotApplicable => {
                        self.kept = None;
                        REFUSAL_PAUSE
                    }
                };
                let pause = first.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
                (self.failures, self.not_before) = (self.failures.saturating_add(1), now.since_boot + pause);
                self.refusal = Some(refusal);
            }
        }
    }

    /// Wipes what can never be handed out again; true if nothing is left that anybody could want.
    pub fn tidy(&mut self, now: Now) -> bool {
        self.kept = self
            .kept
            .take()
            .filter(|kept| kept.issuance.left(now.wall) >= LAST_MINUTE);
        self.kept.is_none() && self.flight().is_none() && self.may_ask(now)
    }
}

/// botocore writes an Expiration of its own over one that is nearer than this.
const FLOOR: Duration = Duration::from_secs(25 * 60);
/// In an outage of STS; below it SDKs would sign with what ends under way.
pub const LAST_MINUTE: Duration = Duration::from_secs(60);
const DOUBT_PAUSE: Duration = Duration::from_secs(1);
const REFUSAL_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
