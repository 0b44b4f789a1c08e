//! When a pass is made, whether the last contact still counts, and what is done while it does not: nobody of ours can
//! log in, so whoever tries has a pass made at once, and waits for it within their own budget (P5).
//!
//! The daemon runs `keep_passing`; the nudges and PAM's question `contact` wait. Time is told by a clock that counts
//! while the host is suspended.

use std::rc::Rc;
use std::time::Duration;

use super::tries::Latest;
use crate::config::KeymakerdConfig;
use crate::directory::iam::Iam;
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::Service;
use crate::wakeups::next_second;

/// How long until the next try to reach the metadata service or an account that could not be reached; and how soon after
/// one try whoever waits may have another made.
pub const RECONNECT: Duration = Duration::from_secs(5);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
/// While nobody can log in, IAM is asked this often however it throttles: as often as outages are probed.
const LONGEST_OUT_OF_CONTACT: Duration = Duration::from_secs(60);
/// How long PAM's question is answered at the latest, while the first pass is under way and later: less than PAM waits.
const AT_FIRST_PASS: Duration = Duration::from_millis(19_500);
/// The keys command of the same login may have had a second and a half of its six (P5).
pub const AT_LATER_PASS: Duration = Duration::from_millis(3_500);
/// How often a clock that counts a suspended host's time is looked at, since no timer goes by it.
const TICK: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 1000 });

/// Tests wait for what comes, however busy the machine is.
const WHATEVER_MACHINE: u32 = if cfg!(test) { 50 } else { 1 };

impl<I: Iam + 'static> Service<I> {
    /// A pass now, then one at each interval; before it, `connect` makes whatever is needed to reach the accounts that
    /// the settings name.
    pub async fn keep_passing(self: Rc<Self>, connect: impl AsyncFn() -> Result<(), ()>) {
        let mut interval = Duration::ZERO;
        loop {
            self.tries.begin();
            let connected = connect().await;
            if connected.is_ok() {
                self.pass().await;
            }
            self.tries.latest.send_replace(Latest::Ended(self.clock.instant()));
            interval = match connected {
                Ok(()) => {
                    let state = self.state();
                    next_interval(&state.config, self.is_in_contact(), state.throttled, interval)
                }
                Err(()) => RECONNECT,
            };
            self.await_turn(interval).await;
        }
    }

    /// Until the next try is due, is wanted, or the contact ceases to count.
    async fn await_turn(&self, interval: Duration) {
        let (due, in_contact) = (self.clock.instant() + jittered(interval), self.is_in_contact());
        let due = async {
            while self.clock.instant() < due && (self.is_in_contact() || !in_contact) {
                tick().await;
            }
        };
        tokio::select! {
            () = due => {}
            () = self.tries.wanted.notified() => {}
        }
    }

    /// Whether the contact that the modules were told of still counts (`keymaker_core::login`).
    pub fn is_in_contact(&self) -> bool {
        let max_stale = self.state().config.max_stale;
        self.told_contact
            .get()
            .is_some_and(|told| told.counts(max_stale, &self.clock))
    }

    /// Waits for contact at most so long, and no longer than it can come: while a try is under way, and where none has
    /// been made just now, one is.
    pub(crate) async fn await_contact(&self, patience: Duration) {
        self.await_contact_unless(|| false, patience).await;
    }

    /// The same; where this is so once a try has ended, no further one is waited for.
    async fn await_contact_unless(&self, is_enough: impl Fn() -> bool, patience: Duration) {
        let mut latest = self.tries.latest.subscribe();
        let contact = async {
            while !self.is_in_contact() {
                let now = self.clock.instant();
                // Copied: the lock of what is borrowed would outlive the question.
                let seen = *latest.borrow_and_update();
                match seen {
                    Latest::None => return,
                    Latest::UnderWay => {}
                    Latest::Ended(at) if now >= at + RECONNECT => {
                        self.tries.begin();
                        self.tries.wanted.notify_one();
                    }
                    Latest::Ended(_) if self.tries.is_first(&self.clock) && !is_enough() => {}
                    Latest::Ended(_) => return,
                }
                // By the clock, in which the next try may be wanted; else at the latest's end.
                let _ = tokio::time::timeout(TICK, latest.changed()).await;
            }
        };
        // Without contact, the published files say so.
        let _ = tokio::time::timeout(patience * WHATEVER_MACHINE, contact).await;
    }

    /// PAM asks for services that nobody logs in by: is there contact, once the pass that is under way has ended?
    pub async fn renew_contact(&self) -> DirectoryOutcome {
        self.contact_within(self.patience()).await
    }

    /// For how long PAM, which asks, waits.
    pub(super) fn patience(&self) -> Duration {
        if self.tries.is_first(&self.clock) {
            AT_FIRST_PASS
        } else {
            AT_LATER_PASS
        }
    }

    pub(super) async fn contact_within(&self, patience: Duration) -> DirectoryOutcome {
        self.contact_unless(|| false, patience).await
    }

    pub(super) async fn contact_unless(&self, is_enough: impl Fn() -> bool, patience: Duration) -> DirectoryOutcome {
        self.await_contact_unless(is_enough, patience).await;
        if self.is_in_contact() {
            DirectoryOutcome::Fresh
        } else {
            DirectoryOutcome::CannotTell
        }
    }
}

async fn tick() {
    if cfg!(test) {
        tokio::time::sleep(TICK).await;
    } else {
        next_second().await;
    }
}

/// While nobody can log in, nobody is let wait for a whole interval; where IAM throttles, for longer and longer ones.
fn next_interval(config: &KeymakerdConfig, in_contact: bool, throttled: bool, former: Duration) -> Duration {
    let (usual, longest) = if in_contact {
        (Duration::from_secs(config.sync_interval.into()), LONGEST_INTERVAL)
    } else {
        (RECONNECT, LONGEST_OUT_OF_CONTACT)
    };
    if throttled {
        (former.max(usual) * 2).min(longest)
    } else {
        usual
    }
}

/// ± 20 %, so that hosts started together do not ask together.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.8 + 0.4 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use keymaker_core::protocol::{ACCOUNT_BUDGET, FIRST_PASS_BUDGET};

    use super::*;

    #[test]
    fn a_pass_is_made_every_sync_interval_and_ever_more_seldom_while_iam_throttles() {
        let seconds = Duration::from_secs;
        let config = KeymakerdConfig::parse("sync_interval = 100", "keymakerd.toml".as_ref()).unwrap();
        let next = |throttled, former| next_interval(&config, true, throttled, seconds(former));
        assert_eq!(next(false, 0), seconds(100));
        assert_eq!([next(true, 100), next(true, 200)], [seconds(200), seconds(400)]);
        assert_eq!(next(true, 3000), LONGEST_INTERVAL);
    }

    #[test]
    fn while_nobody_can_log_in_a_pass_is_made_every_minute_however_iam_throttles() {
        let config = KeymakerdConfig::default();
        let next = |throttled, former| next_interval(&config, false, throttled, Duration::from_secs(former)).as_secs();
        assert_eq!([next(false, 0), next(false, 3600)], [5, 5]);
        assert_eq!([next(true, 0), next(true, 10), next(true, 3600)], [10, 20, 60]);
    }

    // P5
    #[test]
    fn pam_is_answered_within_its_budget_although_the_pass_lasts() {
        assert!(AT_LATER_PASS < ACCOUNT_BUDGET && AT_FIRST_PASS < FIRST_PASS_BUDGET);
    }
}
