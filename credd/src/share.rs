//! What one person may take of what everybody shares: connections, refusals in the log, calls to AWS.
//!
//! The server, the audit log and the cache each keep [`Buckets`] by [`Share`]. They never matter in steady state; they keep a
//! noisy user from taking what the others need, and a person with many numbers (subuid(5)) from having many shares.

use std::collections::HashMap;
use std::time::Duration;

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

/// How much of something there is.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// In the long run.
    pub a_second: f64,
    /// At once, after a pause.
    pub burst: f64,
    /// How long somebody may stand in line for their turn.
    pub longest_wait: Duration,
}

/// A bucket for each share. Times are since boot.
#[derive(Default)]
pub struct Buckets(HashMap<Share, Bucket>);

impl Buckets {
    /// How long `share` has to wait for one more; None, and nothing is taken, if that is too long.
    pub fn turn(&mut self, share: Share, rate: Rate, now: Duration) -> Option<Duration> {
        self.0.entry(share).or_default().turn(rate, now)
    }

    /// The same, if `all` have one more too. The share's own bucket comes first, so that who is noisy takes nothing from the
    /// others.
    pub fn turn_among(
        &mut self,
        (share, of_one): (Share, Rate),
        (all, of_all): (&mut Bucket, Rate),
        now: Duration,
    ) -> Option<Duration> {
        let own = self.0.entry(share).or_default();
        own.wait(of_one, now)?;
        let wait = all.turn(of_all, now)?;
        own.turn(of_one, now).map(|own| own.max(wait))
    }

    /// Forgets the buckets that are full again.
    pub fn tidy(&mut self, rate: Rate, now: Duration) {
        self.0.retain(|_, bucket| bucket.level(rate, now) < rate.burst);
    }

    /// Whether all are full.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One bucket. Below zero are those who stand in line.
#[derive(Default)]
pub struct Bucket {
    spent: f64,
    at: Duration,
}

impl Bucket {
    /// How long to wait for one more, which is taken; None, and nothing is taken, if that is too long.
    pub fn turn(&mut self, rate: Rate, now: Duration) -> Option<Duration> {
        let wait = self.wait(rate, now)?;
        (self.spent, self.at) = (rate.burst - self.level(rate, now) + 1.0, now);
        Some(wait)
    }

    fn wait(&self, rate: Rate, now: Duration) -> Option<Duration> {
        let lacking = (1.0 - self.level(rate, now)).max(0.0);
        let wait = Duration::from_secs_f64(lacking / rate.a_second);
        (wait <= rate.longest_wait).then_some(wait)
    }

    fn level(&self, rate: Rate, now: Duration) -> f64 {
        let since = now.saturating_sub(self.at).as_secs_f64();
        (rate.burst - self.spent + since * rate.a_second).min(rate.burst)
    }
}
