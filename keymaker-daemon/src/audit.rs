//! Lines about decisions, and what one person may have written: anybody who has themselves refused all the time fills no
//! log and drops nobody else's line. Both daemons write by it.
//!
//! [`FewRefusals`] counts what it does not write. credd's server and cache keep [`Buckets`] by [`Share`], too: they
//! never matter in steady state, keep a noisy user from taking what the others need, and a person with many numbers
//! (subuid(5)) from having many shares.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use keymaker_core::audit::AuditLine;

use crate::bucket::{Bucket, Rate};
use crate::log::Log;

/// Whose part of what is limited somebody takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Share {
    /// A uid that has a name here, or a chain by its number.
    Of(u32),
    /// All others together: connections without an owner, and numbers that nobody here has been given.
    #[default]
    OfNobody,
}

impl Share {
    /// The share of `uid`; `is_somebody` says whether this host knows it.
    pub fn of(uid: u32, is_somebody: bool) -> Self {
        if is_somebody { Self::Of(uid) } else { Self::OfNobody }
    }
}

/// A bucket for each share. Times are since boot.
#[derive(Default)]
pub struct Buckets(HashMap<Share, Bucket>);

impl Buckets {
    /// How long `share` has to wait for one more; None, and nothing is taken, if that is too long.
    pub fn turn(&mut self, share: Share, rate: Rate, now: Duration) -> Option<Duration> {
        self.0.entry(share).or_default().turn(rate, now)
    }

    /// The same, if `all` have one more too. The share's own bucket comes first, so that who is noisy takes nothing
    /// from the others.
    pub fn turn_among(
        &mut self,
        (share, of_one): (Share, Rate),
        (all, of_all): (&mut Bucket, Rate),
        now: Duration,
    ) -> Option<Duration> {
        let own = self.0.entry(share).or_default();
        own.wait(1, of_one, now)?;
        let wait = all.turn(of_all, now)?;
        own.turn(of_one, now).map(|own| own.max(wait))
    }

    /// Forgets the buckets that are full again.
    pub fn tidy(&mut self, rate: Rate, now: Duration) {
        self.0.retain(|_, bucket| !bucket.is_full(rate, now));
    }

    /// Whether all are full.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Nobody takes audit lines now: journald hangs, or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken;

/// Where lines `E` go.
pub trait AuditLog<E> {
    /// Hands one line of somebody of `share` over, at once or not at all.
    fn record(&self, share: Share, line: &E) -> Result<(), NotTaken>;
}

impl<E, L: AuditLog<E> + ?Sized> AuditLog<E> for Rc<L> {
    fn record(&self, share: Share, line: &E) -> Result<(), NotTaken> {
        (**self).record(share, line)
    }
}

/// A line about one decision.
pub trait DecisionLine: Clone {
    /// Whether it says no, which anybody can have said as often as they like.
    fn is_refusal(&self) -> bool;

    /// How many like it were left out before it.
    fn unwritten(&mut self) -> &mut u64;
}

impl DecisionLine for AuditLine {
    fn is_refusal(&self) -> bool {
        self.decision.is_refusal()
    }

    fn unwritten(&mut self) -> &mut u64 {
        &mut self.unwritten
    }
}

impl AuditLog<AuditLine> for Log {
    fn record(&self, _: Share, line: &AuditLine) -> Result<(), NotTaken> {
        match self {
            Self::Journal(journal) => journal.send(&line.entry()).map_err(|_| NotTaken),
            Self::StandardError => {
                tracing::info!(target: "audit", "{}", line.message);
                Ok(())
            }
        }
    }
}

/// Writes every line but refusals, and of each share's refusals one a second after a burst.
pub struct FewRefusals<L, E> {
    log: L,
    since_boot: Box<dyn Fn() -> Duration>,
    turns: RefCell<Buckets>,
    unwritten: RefCell<HashMap<Share, E>>,
}

impl<L: AuditLog<E>, E: DecisionLine> FewRefusals<L, E> {
    /// Before `log`.
    pub fn new(log: L, since_boot: impl Fn() -> Duration + 'static) -> Self {
        Self {
            log,
            since_boot: Box::new(since_boot),
            turns: RefCell::default(),
            unwritten: RefCell::default(),
        }
    }

    /// Writes the last refusal of each share that has none of its own, and how many there were. To be called every
    /// second.
    pub fn tidy(&self) {
        let unwritten = self.unwritten.take();
        for (share, line) in unwritten {
            // What cannot be written now is kept.
            let _ = self.refusal(share, line);
        }
        self.turns.borrow_mut().tidy(REFUSALS, (self.since_boot)());
    }

    /// Whether it was written. If not, it is kept: the next one of this share says how many there were.
    fn refusal(&self, share: Share, mut line: E) -> Result<(), NotTaken> {
        if let Some(mut before) = self.unwritten.borrow_mut().remove(&share) {
            *line.unwritten() += *before.unwritten() + 1;
        }
        let turn = self.turns.borrow_mut().turn(share, REFUSALS, (self.since_boot)());
        let written = turn.ok_or(NotTaken).and_then(|_| self.log.record(share, &line));
        if written.is_err() {
            self.unwritten.borrow_mut().insert(share, line);
        }
        written
    }
}

impl<L: AuditLog<E>, E: DecisionLine> AuditLog<E> for FewRefusals<L, E> {
    fn record(&self, share: Share, line: &E) -> Result<(), NotTaken> {
        if line.is_refusal() {
            self.refusal(share, line.clone())
        } else {
            self.log.record(share, line)
        }
    }
}

/// Lines about what one share was refused.
const REFUSALS: Rate = Rate {
    a_second: 1.0,
    burst: 20.0,
    longest_wait: Duration::ZERO,
};

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use keymaker_core::audit::AuditDecision::{self, Denied, Issued, NotApplicable};
    use keymaker_core::audit::{AuditEvent, AuditField};

    use super::*;

    /// What was written, unless it takes nothing now.
    #[derive(Default)]
    struct Lines {
        lines: RefCell<Vec<AuditLine>>,
        hangs: Cell<bool>,
    }

    impl AuditLog<AuditLine> for Lines {
        fn record(&self, _: Share, line: &AuditLine) -> Result<(), NotTaken> {
            if self.hangs.get() {
                return Err(NotTaken);
            }
            self.lines.borrow_mut().push(line.clone());
            Ok(())
        }
    }

    fn event(uid: u32, decision: AuditDecision) -> AuditLine {
        AuditLine::new(AuditEvent::Credentials, decision).with(AuditField::Uid, uid)
    }

    fn told(lines: &Lines, uid: u32, decision: AuditDecision) -> (usize, u64) {
        let (lines, uid) = (lines.lines.borrow(), uid.to_string());
        let of_uid = lines
            .iter()
            .filter(|line| line.decision == decision && line.told(AuditField::Uid) == Some(&uid));
        of_uid.fold((0, 0), |(count, unwritten), line| {
            (count + 1, unwritten + line.unwritten)
        })
    }

    /// A log before lines of its own, and what time it is there.
    struct LogOfTest {
        log: FewRefusals<Rc<Lines>, AuditLine>,
        lines: Rc<Lines>,
        now: Rc<Cell<Duration>>,
    }

    fn log() -> LogOfTest {
        let (now, lines) = (Rc::new(Cell::new(Duration::from_secs(100))), Rc::new(Lines::default()));
        let clock = Rc::clone(&now);
        LogOfTest {
            log: FewRefusals::new(Rc::clone(&lines), move || clock.get()),
            lines,
            now,
        }
    }

    #[test]
    fn a_flood_of_refusals_is_a_few_lines_that_say_how_many() {
        let LogOfTest { log, lines, now } = log();
        for _ in 0..10 {
            for _ in 0..1000 {
                let _ = log.record(Share::Of(1), &event(1, Denied));
                log.record(Share::Of(1), &event(1, Issued)).unwrap();
                // Of 64 numbers of nobody's.
                for uid in 100_000..100_064 {
                    let _ = log.record(Share::OfNobody, &event(uid, NotApplicable));
                }
            }
            log.record(Share::Of(2), &event(2, Denied)).unwrap();
            now.set(now.get() + Duration::from_secs(1));
            log.tidy();
        }
        assert_eq!(told(&lines, 1, Issued).0, 10_000);
        assert_eq!(told(&lines, 2, Denied), (10, 0));
        // Each is in a line, or in a line's count.
        let (written, counted) = told(&lines, 1, Denied);
        assert!((20..=31).contains(&written), "{written}");
        assert_eq!(written as u64 + counted, 10_000);
        let of_nobody: Vec<u64> = (100_000..100_064)
            .map(|uid| told(&lines, uid, NotApplicable))
            .map(|(written, counted)| written as u64 + counted)
            .collect();
        assert_eq!(of_nobody.iter().sum::<u64>(), 640_000);
        now.set(now.get() + Duration::from_secs(60));
        log.tidy();
        assert!(log.turns.borrow().is_empty() && log.unwritten.borrow().is_empty());
    }

    #[test]
    fn what_a_hanging_journal_does_not_take_is_counted_when_it_does_again() {
        let LogOfTest { log, lines, .. } = log();
        lines.hangs.set(true);
        assert_eq!(log.record(Share::Of(1), &event(1, Issued)), Err(NotTaken));
        for _ in 0..5 {
            assert_eq!(log.record(Share::Of(1), &event(1, Denied)), Err(NotTaken));
        }
        lines.hangs.set(false);
        log.tidy();
        assert_eq!(told(&lines, 1, Denied), (1, 4));
        assert_eq!(told(&lines, 1, Issued), (0, 0));
    }
}
