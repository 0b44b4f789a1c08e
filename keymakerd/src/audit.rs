//! What keymakerd has written down: logins and refusals that PAM and the keys command report, and changes of rights and
//! settings. `sockets` and `publication` call it; the daemon says where the lines go.
//!
//! Nothing here waits. What the journal does not take now is kept and tried again each second: of refusals as many as
//! [`FewRefusals`] keeps, of all other lines [`MOST_WAITING`]. What is left out is counted in the next line.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use keymaker_core::audit::{AuditDecision, AuditEvent, AuditField, AuditLine, AuditReason};
use keymaker_daemon::audit::{AuditLog, FewRefusals, NotTaken, Share};
use keymaker_daemon::metrics::Counts;

/// So many lines wait for a journal that hangs.
const MOST_WAITING: usize = 10_000;
/// Of so many connections it is remembered which key was offered.
const MOST_OFFERS: usize = 4096;

/// The audit of one daemon.
pub struct Audit {
    log: RefCell<Option<FewRefusals<Destination, AuditLine>>>,
    waiting: RefCell<VecDeque<(Share, AuditLine)>>,
    left_out: Cell<u64>,
    offers: RefCell<HashMap<String, Offer>>,
    /// Every line by event, decision and reason, for the metrics.
    pub decisions: Counts<3>,
    /// Logins by decision.
    pub logins: Counts<1>,
}

impl Default for Audit {
    fn default() -> Self {
        let decisions = [
            AuditDecision::Allowed,
            AuditDecision::Refused,
            AuditDecision::CannotTell,
        ];
        Self {
            log: RefCell::default(),
            waiting: RefCell::default(),
            left_out: Cell::default(),
            offers: RefCell::default(),
            decisions: Counts::default(),
            logins: Counts::from_zero(decisions.map(|decision| [decision.word()])),
        }
    }
}

/// The key that a connection offered last, and for whom.
struct Offer {
    user: String,
    key: String,
}

/// Where lines go.
struct Destination(Rc<dyn AuditLog<AuditLine>>);

impl AuditLog<AuditLine> for Destination {
    fn record(&self, share: Share, line: &AuditLine) -> Result<(), NotTaken> {
        self.0.record(share, line)
    }
}

impl Audit {
    /// From now on lines go there.
    pub fn begin(&self, log: Rc<dyn AuditLog<AuditLine>>) {
        let began = Instant::now();
        *self.log.borrow_mut() = Some(FewRefusals::new(Destination(log), move || began.elapsed()));
    }

    /// Writes what PAM or the keys command reports. sshd does not tell PAM which key a refused user proved; the keys
    /// command, a child of the same sshd, was told.
    pub fn report(&self, mut line: AuditLine) {
        match line.event {
            AuditEvent::Keys => self.note_offer(&line),
            _ if line.told(AuditField::Key).is_none() => {
                if let Some(key) = self.key_of(&line) {
                    line.tell(AuditField::Key, key);
                }
            }
            _ => {}
        }
        self.record(line);
    }

    /// Writes one line, or keeps it.
    pub fn record(&self, line: AuditLine) {
        let reason = line.told(AuditField::Reason).unwrap_or_default();
        let reason = AuditReason::of(reason).map_or("", AuditReason::word);
        self.decisions.count([line.event.word(), line.decision.word(), reason]);
        if line.event == AuditEvent::Login {
            self.logins.count([line.decision.word()]);
        }
        let share = line.told(AuditField::Uid).and_then(|uid| uid.parse().ok());
        let share = share.map_or(Share::OfNobody, Share::Of);
        if line.decision.is_refusal() {
            if let Some(log) = &*self.log.borrow() {
                // What is left out is counted there.
                let _ = log.record(share, &line);
            }
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() == MOST_WAITING {
            self.left_out.set(self.left_out.get() + 1);
            return;
        }
        waiting.push_back((share, line));
        drop(waiting);
        self.write_waiting();
    }

    /// Writes what could not be written before. To be called every second.
    pub fn tidy(&self) {
        self.write_waiting();
        if let Some(log) = &*self.log.borrow() {
            log.tidy();
        }
    }

    fn write_waiting(&self) {
        let log = self.log.borrow();
        let Some(log) = &*log else { return };
        let mut waiting = self.waiting.borrow_mut();
        while let Some((share, line)) = waiting.front_mut() {
            line.unwritten += self.left_out.take();
            if log.record(*share, line).is_err() {
                return;
            }
            waiting.pop_front();
        }
    }

    fn note_offer(&self, line: &AuditLine) {
        let told = |field| line.told(field).map(str::to_owned);
        let (Some(process), Some(user), Some(key)) =
            (told(AuditField::Process), told(AuditField::User), told(AuditField::Key))
        else {
            return;
        };
        let mut offers = self.offers.borrow_mut();
        if offers.len() >= MOST_OFFERS {
            offers.clear();
        }
        offers.insert(process, Offer { user, key });
    }

    /// The key that this user offered to this sshd before it asked PAM.
    fn key_of(&self, line: &AuditLine) -> Option<String> {
        let offer = self.offers.borrow_mut().remove(line.told(AuditField::Process)?)?;
        (line.decision != AuditDecision::Allowed && line.told(AuditField::User) == Some(&offer.user))
            .then_some(offer.key)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// What was written, unless nothing is taken now.
    #[derive(Default)]
    pub struct Lines {
        pub lines: RefCell<Vec<AuditLine>>,
        pub hangs: Cell<bool>,
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

    fn audit() -> (Audit, Rc<Lines>) {
        let (audit, lines) = (Audit::default(), Rc::new(Lines::default()));
        audit.begin(Rc::clone(&lines) as Rc<dyn AuditLog<AuditLine>>);
        (audit, lines)
    }

    fn line(event: AuditEvent, decision: AuditDecision, user: &str, uid: u32) -> AuditLine {
        AuditLine::new(event, decision)
            .with(AuditField::User, user)
            .with(AuditField::Uid, uid)
    }

    fn refused(user: &str, process: u32) -> AuditLine {
        line(AuditEvent::Login, AuditDecision::Refused, user, 1).with(AuditField::Process, process)
    }

    #[test]
    fn a_refused_login_has_the_key_that_its_own_connection_offered_for_that_user() {
        let (audit, lines) = audit();
        let offer = line(AuditEvent::Keys, AuditDecision::Refused, "bob", 1)
            .with(AuditField::Process, 7)
            .with(AuditField::Key, "SHA256:bob");
        for (login, key) in [
            (refused("bob", 7), Some("SHA256:bob")),
            (refused("bob", 8), None),
            (refused("carol", 7), None),
        ] {
            audit.report(offer.clone());
            audit.report(login);
            let lines = lines.lines.borrow();
            assert_eq!(lines.last().unwrap().told(AuditField::Key), key);
        }
        // A process id that another sshd has by now tells nothing of the one before.
        audit.report(offer);
        audit.report(refused("bob", 7));
        audit.report(refused("bob", 7));
        assert_eq!(lines.lines.borrow().last().unwrap().told(AuditField::Key), None);
    }

    #[test]
    fn ten_thousand_refusals_of_one_user_leave_out_no_line_of_another() {
        let (audit, lines) = audit();
        for number in 0..10_000 {
            audit.report(refused("bob", number));
            if number % 100 == 0 {
                audit.report(line(AuditEvent::Login, AuditDecision::Allowed, "alice", 2));
                audit.report(line(AuditEvent::Login, AuditDecision::Refused, "carol", number + 3));
            }
        }
        let lines = lines.lines.borrow();
        let of = |user: &str| {
            lines
                .iter()
                .filter(|line| line.told(AuditField::User) == Some(user))
                .count()
        };
        assert_eq!((of("alice"), of("carol")), (100, 100));
        assert_eq!(audit.decisions.of(["login", "refused", ""]), 10_100);
        assert_eq!(audit.logins.of(["allowed"]), 100);
        assert!((20..40).contains(&of("bob")), "{}", of("bob"));
    }

    // With sizes that `bench growth` chooses.
    #[test]
    fn a_line_about_one_more_is_written_after_whatever_number_of_others() {
        let (others, more) = counted::wanted();
        let (audit, lines) = audit();
        for uid in 0..(others + more) as u32 {
            audit.report(line(AuditEvent::Login, AuditDecision::Refused, "bob", uid).with(AuditField::Process, uid));
        }
        assert_eq!(lines.lines.borrow().len() as u64, others + more);
    }

    #[test]
    fn what_a_hanging_journal_does_not_take_is_written_later_or_counted() {
        let (audit, lines) = audit();
        lines.hangs.set(true);
        for uid in 0..MOST_WAITING as u32 + 5 {
            audit.record(line(AuditEvent::Login, AuditDecision::Allowed, "alice", uid));
        }
        lines.hangs.set(false);
        audit.tidy();
        let lines = lines.lines.borrow();
        assert_eq!(lines.len(), MOST_WAITING);
        assert_eq!(lines.iter().map(|line| line.unwritten).sum::<u64>(), 5);
    }
}
