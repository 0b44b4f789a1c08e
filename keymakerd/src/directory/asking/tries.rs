//! What is known of the tries to renew the contact: who wants one, whether one is under way, and whether it is the first
//! since a boot or resume. The service keeps it, `passing` makes the tries and waits for them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::clock::AnswerClock;

/// From a boot or resume on the first pass counts as under way for so long, since the network may come up late.
const FIRST_PASS: Duration = Duration::from_secs(60);
/// What differs by less was no suspend.
const SUSPENDED: Duration = Duration::from_secs(2);

/// The tries to renew the contact: reaching for AWS where that is needed, and a pass.
pub struct Tries {
    /// The daemon is to reach for other accounts, or to renew the contact, now.
    pub wanted: Notify,
    pub(super) latest: watch::Sender<Latest>,
    first_until: Cell<Option<Instant>>,
    suspended: Cell<Duration>,
}

/// The latest try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latest {
    /// Nobody makes any.
    None,
    UnderWay,
    Ended(Instant),
}

impl Tries {
    /// Nobody makes any yet.
    pub fn new(clock: &AnswerClock) -> Self {
        Self {
            wanted: Notify::new(),
            latest: watch::Sender::new(Latest::None),
            first_until: Cell::new(None),
            suspended: Cell::new(clock.suspended()),
        }
    }

    /// One is made now. The daemon says so before anybody can ask.
    pub fn begin(&self) {
        self.latest.send_replace(Latest::UnderWay);
    }

    /// The host has booted, or been resumed: the next pass is the first.
    pub fn begin_first(&self, clock: &AnswerClock) {
        self.first_until.set(Some(clock.instant() + FIRST_PASS));
    }

    /// Whoever waits looks again whether there is contact.
    pub(crate) fn note_contact(&self) {
        self.latest.send_modify(|_| ());
    }

    pub(crate) fn note_resume(&self, clock: &AnswerClock) {
        let suspended = clock.suspended();
        if suspended > self.suspended.replace(suspended) + SUSPENDED {
            self.begin_first(clock);
        }
    }

    /// Whether the latest has.
    #[cfg(test)]
    pub fn has_ended(&self) -> bool {
        matches!(*self.latest.borrow(), Latest::Ended(_))
    }

    /// Whether the first pass after a boot or resume is under way.
    pub(super) fn is_first(&self, clock: &AnswerClock) -> bool {
        self.note_resume(clock);
        self.first_until.get().is_some_and(|until| clock.instant() < until)
    }
}
