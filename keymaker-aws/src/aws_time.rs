//! What time it is at AWS, by the `Date` header of its answers. The order of answers rests on it: this host's own clock
//! may be set by anybody with the right to, and by a broken time server.
//!
//! Every answer of IAM's and STS's tells it, errors too, over the connection whose certificate was checked; over plain
//! http only where the settings name such an endpoint. Between two answers time advances by `CLOCK_BOOTTIME`
//! (`clock_gettime(2)`), which counts a suspended host's time and which no one can set.
//!
//! The SDK measures the same header for itself (aws-runtime's `ServiceClockSkewInterceptor`, one offset a client) and
//! signs by it, so a wrong clock of this host's makes AWS refuse nothing, and proves nothing about that clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

#[cfg(feature = "host")]
use rustix::time::{ClockId, clock_gettime};

/// `Date` counts whole seconds and was written before the answer travelled: what differs by less is not news, and would
/// let time go back.
pub const INEXACT: Duration = Duration::from_secs(2);

/// The time at AWS, as far as it has been heard. Clones share it.
#[derive(Clone, Debug)]
pub struct AwsTime(Arc<Mutex<Heard>>);

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Since 1970.
    date: Duration,
    /// When that was, since boot.
    at: Duration,
    /// AWS said so, and not this host's clock.
    from_aws: bool,
}

impl AwsTime {
    /// Until an answer is heard, what this host's clock says now, and whatever passes from now on.
    pub fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(Arc::new(Mutex::new(Heard {
            date: since_1970.unwrap_or_default(),
            at: since_boot(),
            from_aws: false,
        })))
    }

    /// The time at AWS now, since 1970. It goes back only where an answer says so.
    pub fn now(&self) -> Duration {
        self.heard().at(since_boot())
    }

    /// Whether AWS has told the time yet.
    pub fn is_heard(&self) -> bool {
        self.heard().from_aws
    }

    /// AWS said `date`, counted since 1970, when it was `at`, counted since boot.
    pub(crate) fn hear(&self, date: Duration, at: Duration) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.at(at).abs_diff(date) > INEXACT {
            (heard.date, heard.at) = (date, at);
        }
        heard.from_aws = true;
    }

    fn heard(&self) -> Heard {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for AwsTime {
    fn default() -> Self {
        Self::new()
    }
}

impl Heard {
    fn at(self, since_boot: Duration) -> Duration {
        self.date + since_boot.saturating_sub(self.at)
    }
}

/// What has passed since this host booted, by `CLOCK_BOOTTIME`: a suspended host's time counts; setting the host's
/// clock does not.
#[cfg(feature = "host")]
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        now.tv_sec.try_into().unwrap_or_default(),
        now.tv_nsec.try_into().unwrap_or_default(),
    )
}

/// A user's own computer orders no answers by it: any clock that does not go back will do.
#[cfg(not(feature = "host"))]
pub fn since_boot() -> Duration {
    static BEGAN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    BEGAN.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn heard(date: u64, at: u64) -> AwsTime {
        AwsTime(Arc::new(Mutex::new(Heard {
            date: Duration::from_secs(date),
            at: Duration::from_secs(at),
            from_aws: true,
        })))
    }

    #[test]
    fn until_aws_tells_the_time_it_is_this_hosts_word() {
        let time = AwsTime::new();
        assert!(!time.is_heard());
        time.hear(time.now(), since_boot());
        assert!(time.is_heard());
    }

    // P3
    #[test]
    fn between_two_dates_time_passes_as_it_does_since_boot() {
        let time = heard(1_800_000_000, 100);
        assert_eq!(time.heard().at(160 * SECOND).as_secs(), 1_800_000_060);
    }

    // P3
    #[test]
    fn a_later_date_counts_and_the_inexactness_of_one_lets_no_time_go_back() {
        let time = heard(1_800_000_000, 100);
        for inexact in [1_800_000_008, 1_800_000_012] {
            time.hear(Duration::from_secs(inexact), 110 * SECOND);
            assert_eq!(time.heard().at(110 * SECOND).as_secs(), 1_800_000_010);
        }
        for other in [1_700_000_000, 1_900_000_000] {
            time.hear(Duration::from_secs(other), 120 * SECOND);
            assert_eq!(time.heard().at(121 * SECOND).as_secs(), other + 1);
        }
    }
}
