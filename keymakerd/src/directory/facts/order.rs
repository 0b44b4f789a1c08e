//! The one order of all answers about one person or group, wherever they come from: passes, nudges, the kept file.
//! Pure; called by `facts` at each answer that it takes in.
//!
//! Of two answers the later asked counts, whatever arrives last (P3). Asked within five seconds of each other they may
//! come from copies of IAM that do not agree yet: then the more refusing one counts, and IAM is asked again (P9). A
//! time in the future counts for nothing.

/// Answers asked closer together than this, in seconds, have no order.
pub const TOGETHER: u64 = 5;

/// When an answer was asked for, and what time it is now that it is taken in: both by `AnswerClock::answer_time`.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    at: u64,
    now: u64,
}

/// How a new answer stands to what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It counts.
    Later,
    /// Neither is later: the more refusing one counts.
    Together,
    /// It changes nothing.
    Earlier,
}

impl Asked {
    /// An answer asked for at `at`, in seconds since 1970; where the clock was set back meanwhile, now.
    pub fn new(at: u64, now: u64) -> Self {
        Self { at: at.min(now), now }
    }

    /// Seconds since 1970, never later than now.
    pub fn at(self) -> u64 {
        self.at
    }

    /// The turn of this answer after one asked for at `known_at`; 0: never.
    pub fn turn(self, known_at: u64) -> Turn {
        if known_at > self.now || self.at >= known_at.saturating_add(TOGETHER) {
            Turn::Later
        } else if known_at >= self.at.saturating_add(TOGETHER) {
            Turn::Earlier
        } else {
            Turn::Together
        }
    }

    /// The later of this time and a known one that is not in the future.
    pub fn or_later(self, known_at: u64) -> u64 {
        self.believed(known_at).max(self.at)
    }

    /// The later of two known times, without those in the future.
    pub fn latest(self, one: u64, other: u64) -> u64 {
        self.believed(one).max(self.believed(other))
    }

    fn believed(self, known_at: u64) -> u64 {
        if known_at > self.now { 0 } else { known_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // P3 P9
    #[test]
    fn the_later_asked_counts_and_within_five_seconds_neither_does() {
        use Turn::{Earlier, Later, Together};
        let asked = Asked::new(100, 200);
        let turns = [0, 95, 96, 104, 105, 200].map(|known_at| asked.turn(known_at));
        assert_eq!(turns, [Later, Later, Together, Together, Earlier, Earlier]);
    }

    // P3
    #[test]
    fn a_time_in_the_future_counts_for_nothing() {
        let asked = Asked::new(100, 200);
        assert_eq!(
            (asked.turn(201), asked.or_later(201), asked.latest(50, 201)),
            (Turn::Later, 100, 50)
        );
        assert_eq!(Asked::new(300, 200).at(), 200);
    }
}
