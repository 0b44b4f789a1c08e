//! What time it is, by two clocks: this host's, which somebody may set, and AWS's, by which answers are ordered. Tests
//! move both.
//!
//! What the modules compare is in the host's clock: they have no other. Facts are in AWS's. Where a fact is published,
//! [`AnswerClock::on_host`] turns one into the other; nothing else does.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use keymaker_aws::{AwsTime, INEXACT, since_boot};
use keymaker_core::proof::TOKEN_LEEWAY;

/// A host's clock that differs from AWS's by as much more or less as this, in seconds, was set; by less, it drifts, and
/// what is published may rest.
pub const DRIFT: u64 = 5;

/// The clocks of one daemon.
#[derive(Debug)]
pub struct AnswerClock {
    aws: AwsTime,
    /// When this life of the daemon began, by the clock that stands still while the host is suspended, and since boot.
    began: (Instant, Duration),
    /// How far the host's clock is ahead of AWS's, in seconds.
    host_ahead: Cell<i64>,
    ahead: Cell<Duration>,
    #[cfg(test)]
    host_set: Cell<i64>,
    #[cfg(test)]
    suspended: Cell<Duration>,
    #[cfg(test)]
    stopped: Cell<Option<Reading>>,
}

impl Default for AnswerClock {
    fn default() -> Self {
        Self {
            aws: AwsTime::default(),
            began: (Instant::now(), since_boot()),
            host_ahead: Cell::default(),
            ahead: Cell::default(),
            #[cfg(test)]
            host_set: Cell::default(),
            #[cfg(test)]
            suspended: Cell::default(),
            #[cfg(test)]
            stopped: Cell::default(),
        }
    }
}

/// What the kernel's clocks say.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// This host's, since 1970.
    host: Duration,
    /// AWS's, since 1970.
    aws: Duration,
    instant: Instant,
    since_boot: Duration,
}

impl AnswerClock {
    /// What every answer of AWS's is to tell the time to.
    pub fn aws(&self) -> AwsTime {
        self.aws.clone()
    }

    /// Seconds since 1970 by this host's clock: for what the modules compare with it, and for days.
    pub fn unix(&self) -> u64 {
        let now = (self.read().host + self.ahead.get()).as_secs();
        #[cfg(test)]
        let now = now.saturating_add_signed(self.host_set.get());
        now
    }

    /// Seconds since 1970 by AWS's clock: for when IAM was asked. Whatever becomes of this host's clock does not move
    /// it.
    pub fn answer_time(&self) -> u64 {
        (self.read().aws + self.ahead.get()).as_secs()
    }

    /// Whether AWS has told the time in this life of the daemon.
    pub fn has_heard_aws(&self) -> bool {
        self.aws.is_heard()
    }

    /// The latest that it can be by AWS's clock, as far as a token's time goes: until AWS has told the time, as far ahead as proof takes one.
    pub fn latest_token_time(&self) -> u64 {
        let heard = self.answer_time().saturating_add(INEXACT.as_secs());
        if self.has_heard_aws() {
            heard
        } else {
            heard.max(self.unix().saturating_add(TOKEN_LEEWAY))
        }
    }

    /// A time of AWS's, in seconds since 1970, on this host's clock. 0 stays 0: never.
    pub fn on_host(&self, answer_time: u64) -> u64 {
        match answer_time {
            0 => 0,
            at => at.saturating_add_signed(self.host_ahead()).max(1),
        }
    }

    /// How far this host's clock is ahead of AWS's, in seconds. The same as before while it only drifts.
    pub fn host_ahead(&self) -> i64 {
        let ahead = self.unix().cast_signed() - self.answer_time().cast_signed();
        if ahead.abs_diff(self.host_ahead.get()) > DRIFT {
            self.host_ahead.set(ahead);
        }
        self.host_ahead.get()
    }

    /// What this host's clock said at its boot, in seconds since 1970, or would have said as it is set now. It changes
    /// only where somebody sets the clock.
    pub fn booted_at(&self) -> i64 {
        self.unix().cast_signed() - self.since_boot()
    }

    /// What has passed since this host booted, in seconds; nobody can set it.
    pub fn since_boot(&self) -> i64 {
        (self.read().since_boot + self.ahead.get()).as_secs().cast_signed()
    }

    /// For what is measured within one life of the daemon; never goes back, and counts the time in which the host was
    /// suspended.
    pub fn instant(&self) -> Instant {
        self.read().instant + self.ahead.get()
    }

    /// For how long the host has been suspended in this life of the daemon.
    pub fn suspended(&self) -> Duration {
        let (instant, boot) = self.began;
        let suspended = since_boot().saturating_sub(boot).saturating_sub(instant.elapsed());
        #[cfg(test)]
        let suspended = suspended + self.suspended.get();
        suspended
    }

    fn read(&self) -> Reading {
        #[cfg(test)]
        if let Some(stopped) = self.stopped.get() {
            return stopped;
        }
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let ((instant, boot), since_boot) = (self.began, since_boot());
        Reading {
            host: since_1970.unwrap_or_default(),
            aws: self.aws.now(),
            instant: instant + since_boot.saturating_sub(boot),
            since_boot,
        }
    }

    /// It is this time, in seconds since 1970, and time passes only where a test lets it.
    #[cfg(test)]
    pub fn stop(&self, since_1970: u64) {
        let since_1970 = Duration::from_secs(since_1970);
        self.stopped.set(Some(Reading {
            host: since_1970,
            aws: since_1970,
            instant: Instant::now(),
            since_boot: since_1970,
        }));
    }

    /// Lets time pass.
    #[cfg(test)]
    pub fn advance(&self, by: Duration) {
        self.ahead.set(self.ahead.get() + by);
    }

    /// Lets time pass in which the host is suspended.
    #[cfg(test)]
    pub fn suspend(&self, by: Duration) {
        self.suspended.set(self.suspended.get() + by);
        self.advance(by);
    }

    /// Sets the host's clock back.
    #[cfg(test)]
    pub fn set_back(&self, by: Duration) {
        self.set_host(-by.as_secs().cast_signed());
    }

    /// Sets the host's clock by so many seconds.
    #[cfg(test)]
    pub fn set_host(&self, by: i64) {
        self.host_set.set(self.host_set.get() + by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    // P3
    #[test]
    fn setting_the_hosts_clock_moves_no_answer_and_what_is_published_follows_it() {
        let clock = AnswerClock::default();
        let asked_at = clock.answer_time();
        for days in [-3, 7, -2] {
            clock.set_host(days * DAY);
            assert!(clock.answer_time() - asked_at < 60);
            assert!(clock.unix() - clock.on_host(asked_at) < 60);
        }
        assert_eq!(clock.on_host(0), 0);
    }

    #[test]
    fn a_clock_that_only_drifts_changes_nothing_that_is_published() {
        let clock = AnswerClock::default();
        let on_host = clock.on_host(1_800_000_000);
        for drift in [2, -4, 3] {
            clock.set_host(drift);
            assert_eq!(clock.on_host(1_800_000_000), on_host);
        }
    }
}
