//! The audit line: one JSON object for every issuance, written before the bytes leave, and for refusals.
//!
//! The metadata server records; the daemon says where the lines go. It never holds a secret: an access key id is a
//! name. Anybody who has themselves refused all the time fills no log: [`FewRefusals`] counts what it does not write.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use credd_core::config::Method;
use keymaker_daemon::bucket::Rate;
use keymaker_daemon::log::{JournalEntry, Log};
use serde::Serialize;
use tracing::Level;

use crate::clock::Clock;
use crate::share::{Buckets, Share};

/// One decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditEvent {
    /// When, as `2026-11-21T19:30:54Z`.
    pub time: String,
    /// Who asked; absent where the kernel named nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Their name, if the uid has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The kernel's name for their socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// What was asked: `role_list`, `role_credentials`, `token`, …; never text of the client.
    pub asked: &'static str,
    /// What was decided.
    pub outcome: Decision,
    /// The HTTP status that says so; 0: the connection was closed without an answer.
    pub status: u16,
    /// The method that issued or refused, as credd.toml(5) names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Why, for the administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The role whose credentials were issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The key that was issued, as CloudTrail will name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// When that key ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// How many refusals before this one, of the same uid or of others without a name, have no line of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub unwritten_refusals: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Credentials, or the name of their role, were given.
    Issued,
    /// No method of the caller's chain applies to them.
    NotApplicable,
    /// A method applies, and says no.
    Denied,
    /// It could not be found out now.
    Transient,
    /// The request was refused before any method was asked.
    #[default]
    Refused,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issued => "issued",
            Self::NotApplicable => "not_applicable",
            Self::Denied => "denied",
            Self::Transient => "transient",
            Self::Refused => "refused",
        })
    }
}

/// Nobody takes audit lines now: journald hangs, or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken;

/// Where audit lines go.
pub trait AuditLog {
    /// Hands one event of somebody of `share` over, at once or not at all.
    fn record(&self, share: Share, event: &AuditEvent) -> Result<(), NotTaken>;
}

impl<L: AuditLog + ?Sized> AuditLog for Rc<L> {
    fn record(&self, share: Share, event: &AuditEvent) -> Result<(), NotTaken> {
        (**self).record(share, event)
    }
}

/// The journal, as the field `KEYMAKER_AUDIT` of a line with the target `credd::audit`.
impl AuditLog for Log {
    fn record(&self, _: Share, event: &AuditEvent) -> Result<(), NotTaken> {
        let line = serde_json::to_string(event).map_err(|error| {
            tracing::error!(%error, "an audit event could not be written as JSON");
            NotTaken
        })?;
        match self {
            Self::Journal(journal) => {
                let mut entry = JournalEntry::new(Level::INFO, TARGET);
                entry.put("MESSAGE", &line);
                entry.put("KEYMAKER_AUDIT", &line);
                journal.send(&entry).map_err(|_| NotTaken)
            }
            Self::StandardError => {
                tracing::info!(target: TARGET, "{line}");
                Ok(())
            }
        }
    }
}

/// Writes every issuance, and of each share's refusals one a second after a burst.
pub struct FewRefusals<L> {
    log: L,
    clock: Rc<dyn Clock>,
    turns: RefCell<Buckets>,
    unwritten: RefCell<HashMap<Share, AuditEvent>>,
}

impl<L: AuditLog> FewRefusals<L> {
    /// Before `log`.
    pub fn new(log: L, clock: Rc<dyn Clock>) -> Self {
        Self {
            log,
            clock,
            turns: RefCell::default(),
            unwritten: RefCell::default(),
        }
    }

    /// Writes the last refusal of each share that has none of its own, and how many there were. To be called every
    /// second.
    pub fn tidy(&self) {
        let unwritten = self.unwritten.take();
        for (share, event) in unwritten {
            // What cannot be written now is kept.
            let _ = self.refusal(share, event);
        }
        self.turns.borrow_mut().tidy(REFUSALS, self.clock.since_boot());
    }

    /// Whether it was written. If not, it is kept: the next one of this share says how many there were.
    fn refusal(&self, share: Share, mut event: AuditEvent) -> Result<(), NotTaken> {
        if let Some(before) = self.unwritten.borrow_mut().remove(&share) {
            event.unwritten_refusals += before.unwritten_refusals + 1;
        }
        let turn = self.turns.borrow_mut().turn(share, REFUSALS, self.clock.since_boot());
        let written = turn.ok_or(NotTaken).and_then(|_| self.log.record(share, &event));
        if written.is_err() {
            self.unwritten.borrow_mut().insert(share, event);
        }
        written
    }
}

impl<L: AuditLog> AuditLog for FewRefusals<L> {
    fn record(&self, share: Share, event: &AuditEvent) -> Result<(), NotTaken> {
        match event.outcome {
            Decision::Issued => self.log.record(share, event),
            _ => self.refusal(share, event.clone()),
        }
    }
}

const TARGET: &str = "credd::audit";
/// Lines about what one share was refused.
const REFUSALS: Rate = Rate {
    a_second: 1.0,
    burst: 20.0,
    longest_wait: Duration::ZERO,
};

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::SystemTime;

    use super::*;

    struct Now(Cell<Duration>);

    impl Clock for Now {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn since_boot(&self) -> Duration {
            self.0.get()
        }
    }

    /// What was written, unless it takes nothing now.
    #[derive(Default)]
    struct Lines {
        lines: RefCell<Vec<AuditEvent>>,
        hangs: Cell<bool>,
    }

    impl AuditLog for Lines {
        fn record(&self, _: Share, event: &AuditEvent) -> Result<(), NotTaken> {
            if self.hangs.get() {
                return Err(NotTaken);
            }
            self.lines.borrow_mut().push(event.clone());
            Ok(())
        }
    }

    fn event(uid: u32, outcome: Decision) -> AuditEvent {
        AuditEvent {
            uid: Some(uid),
            outcome,
            ..AuditEvent::default()
        }
    }

    fn told(lines: &Lines, uid: u32, outcome: Decision) -> (usize, u64) {
        let lines = lines.lines.borrow();
        let of_uid = lines
            .iter()
            .filter(|line| (line.uid, line.outcome) == (Some(uid), outcome));
        of_uid.fold((0, 0), |(count, unwritten), line| {
            (count + 1, unwritten + line.unwritten_refusals)
        })
    }

    #[test]
    fn a_flood_of_refusals_is_a_few_lines_that_say_how_many() {
        let (now, lines) = (
            Rc::new(Now(Cell::new(Duration::from_secs(100)))),
            Rc::new(Lines::default()),
        );
        let log = FewRefusals::new(Rc::clone(&lines), Rc::clone(&now) as Rc<dyn Clock>);
        for _ in 0..10 {
            for _ in 0..1000 {
                let _ = log.record(Share::Of(1), &event(1, Decision::Denied));
                log.record(Share::Of(1), &event(1, Decision::Issued)).unwrap();
                // Of 64 numbers of nobody's.
                for uid in 100_000..100_064 {
                    let _ = log.record(Share::OfNobody, &event(uid, Decision::NotApplicable));
                }
            }
            log.record(Share::Of(2), &event(2, Decision::Denied)).unwrap();
            now.0.set(now.0.get() + Duration::from_secs(1));
            log.tidy();
        }
        assert_eq!(told(&lines, 1, Decision::Issued).0, 10_000);
        assert_eq!(told(&lines, 2, Decision::Denied), (10, 0));
        // Each is in a line, or in a line's count.
        let (written, counted) = told(&lines, 1, Decision::Denied);
        assert!((20..=31).contains(&written), "{written}");
        assert_eq!(written as u64 + counted, 10_000);
        let of_nobody: Vec<u64> = (100_000..100_064)
            .map(|uid| told(&lines, uid, Decision::NotApplicable))
            .map(|(written, counted)| written as u64 + counted)
            .collect();
        assert_eq!(of_nobody.iter().sum::<u64>(), 640_000);
        now.0.set(now.0.get() + Duration::from_secs(60));
        log.tidy();
        assert!(log.turns.borrow().is_empty() && log.unwritten.borrow().is_empty());
    }

    #[test]
    fn what_a_hanging_journal_does_not_take_is_counted_when_it_does_again() {
        let (now, lines) = (
            Rc::new(Now(Cell::new(Duration::from_secs(100)))),
            Rc::new(Lines::default()),
        );
        let log = FewRefusals::new(Rc::clone(&lines), Rc::clone(&now) as Rc<dyn Clock>);
        lines.hangs.set(true);
        assert_eq!(log.record(Share::Of(1), &event(1, Decision::Issued)), Err(NotTaken));
        for _ in 0..5 {
            assert_eq!(log.record(Share::Of(1), &event(1, Decision::Denied)), Err(NotTaken));
        }
        lines.hangs.set(false);
        log.tidy();
        assert_eq!(told(&lines, 1, Decision::Denied), (1, 4));
        assert_eq!(told(&lines, 1, Decision::Issued), (0, 0));
    }
}
