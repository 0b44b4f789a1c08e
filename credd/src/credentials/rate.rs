//! Token buckets: how often AWS may be asked, by all and by one uid. They never matter in steady state; they keep a noisy
//! user from spending the account's quota of STS calls, which all hosts share.

use std::collections::HashMap;
use std::time::Duration;

/// The buckets of this host. Times are since boot.
#[derive(Default)]
pub struct Rates {
    all: Bucket,
    of_uid: HashMap<u32, Bucket>,
}

impl Rates {
    /// Takes a place for one question of `uid`; false if there is none now. The uid's own bucket comes first, so that who is
    /// noisy takes nothing from the others.
    pub fn take(&mut self, uid: u32, now: Duration) -> bool {
        let of_uid = self.of_uid.entry(uid).or_default();
        of_uid.has_one(OF_UID, now) && self.all.take(OF_ALL, now) && of_uid.take(OF_UID, now)
    }

    /// Forgets the buckets that are full again.
    pub fn tidy(&mut self, now: Duration) {
        self.of_uid.retain(|_, bucket| bucket.level(OF_UID, now) < OF_UID.burst);
    }
}

#[derive(Clone, Copy)]
struct Rate {
    a_second: f64,
    burst: f64,
}

#[derive(Default)]
struct Bucket {
    spent: f64,
    at: Duration,
}

impl Bucket {
    fn level(&self, rate: Rate, now: Duration) -> f64 {
        let since = now.saturating_sub(self.at).as_secs_f64();
        (rate.burst - self.spent + since * rate.a_second).min(rate.burst)
    }

    fn has_one(&self, rate: Rate, now: Duration) -> bool {
        self.level(rate, now) >= 1.0
    }

    fn take(&mut self, rate: Rate, now: Duration) -> bool {
        let level = self.level(rate, now);
        if level < 1.0 {
            return false;
        }
        (self.spent, self.at) = (rate.burst - level + 1.0, now);
        true
    }
}

/// A thirtieth of what STS allows an account in a region.
const OF_ALL: Rate = Rate {
    a_second: 20.0,
    burst: 50.0,
};
const OF_UID: Rate = Rate {
    a_second: 1.0,
    burst: 10.0,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_uid_spends_its_own_bucket_and_leaves_the_others_theirs() {
        let mut rates = Rates::default();
        let now = Duration::from_secs(100);
        assert_eq!((0..1000).filter(|_| rates.take(1, now)).count(), 10);
        assert!(rates.take(2, now));
        assert_eq!((10..1000).filter(|uid| rates.take(*uid, now)).count(), 39);
        assert!(rates.take(1, now + Duration::from_secs(1)));
        assert!(!rates.take(1, now + Duration::from_secs(1)));
        rates.tidy(now + Duration::from_secs(100));
        assert!(rates.of_uid.is_empty());
    }
}
