//! What keymakerd has done since its start, counted where it is done; `metrics` writes it out.

use std::cell::Cell;
use std::time::Duration;

use keymaker_aws::AwsCalls;
use keymaker_daemon::metrics::Counts;

/// The counts of one daemon.
#[derive(Debug)]
pub struct KeymakerdCounts {
    /// What was asked at the two sockets, and what was answered.
    pub questions: Counts<2>,
    /// Passes by how they ended.
    pub passes: Counts<1>,
    /// How long all of them took together.
    pub pass_time: Cell<Duration>,
    /// How long the last one took.
    pub last_pass: Cell<Duration>,
    /// Publications by what came of them.
    pub publications: Counts<1>,
    /// Reloads of the settings, likewise.
    pub reloads: Counts<1>,
    /// What AWS was asked.
    pub aws: AwsCalls,
}

impl Default for KeymakerdCounts {
    fn default() -> Self {
        let outcomes = || Counts::from_zero([["ok"], ["failed"]]);
        Self {
            questions: Counts::default(),
            passes: outcomes(),
            pass_time: Cell::default(),
            last_pass: Cell::default(),
            publications: outcomes(),
            reloads: outcomes(),
            aws: AwsCalls::default(),
        }
    }
}

impl KeymakerdCounts {
    /// A pass has ended.
    pub fn pass(&self, outcome: &'static str, took: Duration) {
        self.passes.count([outcome]);
        self.pass_time.set(self.pass_time.get() + took);
        self.last_pass.set(took);
    }
}
