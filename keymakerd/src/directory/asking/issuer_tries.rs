//! When the issuer's keys are fetched: by the clock, and because tokens name unknown ones. Pure: time comes in as a parameter.
//!
//! `issuers` calls it.

use std::time::{Duration, Instant};

/// When the keys are fetched next, and what was wanted when they were last.
#[derive(Default)]
pub struct IssuerTries {
    pub(super) wanted: String,
    pub(super) next: Option<Instant>,
    pub(super) failures: u32,
    /// why the last one failed; none where it did not
    pub(super) failure: Option<String>,
    pub(super) nudges: NudgedTries,
}

/// Fetches that tokens with an unknown key cause. Nobody knows who made such a token, so they are few (P9).
#[derive(Default)]
pub(super) struct NudgedTries {
    /// none before
    next: Option<Instant>,
    /// how many there were since the issuer last showed a new key
    in_vain: u32,
}

impl NudgedTries {
    /// The issuer has shown one now.
    pub(super) fn after_a_new_key(now: Instant) -> Self {
        Self {
            next: Some(now + FIRST_WAIT),
            in_vain: 0,
        }
    }

    /// Whether the last fetch did, if nobody has had another made since.
    pub(super) fn last_brought_a_key(&self) -> bool {
        self.in_vain == 0
    }

    /// Whether there may be one now: at most every ten seconds, and less and less often while nothing new comes. What somebody tried
    /// long ago counts no more.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        if self.next.is_some_and(|next| now >= next + LONGEST_WAIT) {
            self.in_vain = 0;
        }
        self.next = Some(now + doubled(self.in_vain));
        self.in_vain = self.in_vain.saturating_add(1);
        true
    }
}

/// How long to wait after so many tries that brought nothing.
pub(super) fn doubled(tries: u32) -> Duration {
    LONGEST_WAIT.min(FIRST_WAIT * 2_u32.saturating_pow(tries.min(6)))
}

const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(600);
