//! What time it is, as a parameter.
//!
//! The daemon hands the host's clocks in, the tests clocks that they move.

use std::time::{Duration, SystemTime};

/// The two times that credd goes by.
pub trait Clock {
    /// The time of day, for what is shown and for the end of credentials.
    fn now(&self) -> SystemTime;

    /// The time since boot, suspension included, for the end of metadata tokens. Nobody can set it.
    fn since_boot(&self) -> Duration;
}

/// The host's own clocks.
pub struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn since_boot(&self) -> Duration {
        keymaker_aws::since_boot()
    }
}
