//! What one person may take of what everybody shares: connections, refusals in the log, calls to AWS.
//!
//! The server, the audit log and the cache each keep [`Buckets`] by [`Share`]. They never matter in steady state; they
//! keep a noisy user from taking what the others need, and a person with many numbers (subuid(5)) from having many
//! shares.

use std::collections::HashMap;
use std::time::Duration;

use keymaker_daemon::bucket::{Bucket, Rate};

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
