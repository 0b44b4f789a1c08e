//! Token buckets: so many at once, then so many a second. Pure: time comes in, as what has passed since any beginning.

use std::time::Duration;

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

/// One bucket, full at first. Below zero are those who stand in line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    spent: f64,
    at: Duration,
}

impl Bucket {
    /// How long to wait for one more, which is taken; None, and nothing is taken, if that is too long.
    pub fn turn(&mut self, rate: Rate, now: Duration) -> Option<Duration> {
        self.turn_of(1, rate, now)
    }

    /// The same for so many.
    pub fn turn_of(&mut self, wanted: u32, rate: Rate, now: Duration) -> Option<Duration> {
        let wait = self.wait(wanted, rate, now)?;
        (self.spent, self.at) = (rate.burst - self.level(rate, now) + f64::from(wanted), now);
        Some(wait)
    }

    /// How long they would wait.
    pub fn wait(&self, wanted: u32, rate: Rate, now: Duration) -> Option<Duration> {
        let lacking = (f64::from(wanted) - self.level(rate, now)).max(0.0);
        let wait = Duration::from_secs_f64(lacking / rate.a_second);
        (wait <= rate.longest_wait).then_some(wait)
    }

    /// Whether nothing has been taken for so long that the bucket need not be remembered.
    pub fn is_full(&self, rate: Rate, now: Duration) -> bool {
        self.level(rate, now) >= rate.burst
    }

    fn level(&self, rate: Rate, now: Duration) -> f64 {
        let since = now.saturating_sub(self.at).as_secs_f64();
        (rate.burst - self.spent + since * rate.a_second).min(rate.burst)
    }
}
