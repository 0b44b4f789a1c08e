//! What time it is; tests move it forward.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

/// The clock of one daemon.
#[derive(Debug, Default)]
pub struct Clock {
    ahead: Cell<Duration>,
}

impl Clock {
    /// Seconds since 1970: for what is kept over a restart.
    pub fn unix(&self) -> u64 {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        (since_1970 + self.ahead.get()).as_secs()
    }

    /// For what is measured within one life of the daemon; never goes back.
    pub fn instant(&self) -> Instant {
        Instant::now() + self.ahead.get()
    }

    /// Moves both forward.
    #[cfg(test)]
    pub fn advance(&self, by: Duration) {
        self.ahead.set(self.ahead.get() + by);
    }
}
