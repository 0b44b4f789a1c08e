//! How often AWS may be asked, by all and by one share, so that no user spends the account's quota of STS calls, which
//! all hosts have together. The cache asks before a call is made, and for nothing else.

use std::time::Duration;

use keymaker_daemon::bucket::{Bucket, Rate};

use keymaker_daemon::audit::{Buckets, Share};

/// The buckets of this host. Times are since boot.
#[derive(Default)]
pub struct Rates {
    all: Bucket,
    of_share: Buckets,
}

impl Rates {
    /// How long a question of `share` waits for its turn; None if that would be too long for the caller.
    pub fn turn(&mut self, share: Share, now: Duration) -> Option<Duration> {
        let all = (&mut self.all, OF_ALL);
        self.of_share.turn_among((share, OF_SHARE), all, now)
    }

    /// Forgets the buckets that are full again.
    pub fn tidy(&mut self, now: Duration) {
        self.of_share.tidy(OF_SHARE, now);
    }
}

/// Of the 800 ms that an answer may take; the rest is AWS's.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// A thirtieth of what STS allows an account in a region. The burst is for a restart: everybody who was here asks again
/// at once.
const OF_ALL: Rate = Rate {
    a_second: 20.0,
    burst: 200.0,
    longest_wait: LONGEST_WAIT,
};
const OF_SHARE: Rate = Rate {
    a_second: 1.0,
    burst: 10.0,
    longest_wait: LONGEST_WAIT,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_uid_spends_its_own_bucket_and_leaves_the_others_theirs() {
        let mut rates = Rates::default();
        let now = Duration::from_secs(100);
        assert_eq!((0..1000).filter_map(|_| rates.turn(Share::Of(1), now)).count(), 10);
        assert_eq!(rates.turn(Share::Of(2), now), Some(Duration::ZERO));
        // 189 at once, and those whose turn comes within half a second.
        let waits: Vec<Duration> = (10..1000).filter_map(|uid| rates.turn(Share::Of(uid), now)).collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_zero()).count(), 189);
        assert_eq!(waits.len(), 199);
        assert!(waits.is_sorted() && waits.last() <= Some(&LONGEST_WAIT), "{waits:?}");
        let later = now + Duration::from_secs(1);
        assert!(rates.turn(Share::Of(1), later).is_some());
        assert_eq!(rates.turn(Share::Of(1), later), None);
        rates.tidy(now + Duration::from_secs(100));
        assert!(rates.of_share.is_empty());
    }

    #[test]
    fn all_numbers_of_nobody_have_one_share_of_the_calls() {
        let mut rates = Rates::default();
        let now = Duration::from_secs(100);
        let subordinate = (100_000..165_536).map(|uid| Share::of(uid, false));
        assert_eq!(subordinate.filter_map(|share| rates.turn(share, now)).count(), 10);
        assert_eq!(rates.turn(Share::of(1000, true), now), Some(Duration::ZERO));
    }
}
