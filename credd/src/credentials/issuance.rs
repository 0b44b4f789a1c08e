//! What a method issued, and how long it lasts. The cache keeps it; time comes in.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use credd_core::config::Method;
use keymaker_aws::RoleArn;

use crate::imds::credential_source::Credentials;

/// Credentials, and whose they are.
pub struct Issuance {
    /// The method that issued them.
    pub method: Method,
    /// The role of the session.
    pub role: RoleArn,
    /// The session's credentials.
    pub credentials: Credentials,
}

impl Issuance {
    pub(super) fn left(&self, now: SystemTime) -> Duration {
        self.credentials.expiration.duration_since(now).unwrap_or_default()
    }

    /// Half the life, a tenth of that more or less, so that what was issued together is not renewed together.
    pub(super) fn half_life(&self, random: &RandomState) -> SystemTime {
        let begin = self.credentials.last_updated;
        let life = self.left(begin);
        let jitter = u32::try_from(random.hash_one(life) % 201).unwrap_or(100);
        begin + life / 2 * (900 + jitter) / 1000
    }
}
