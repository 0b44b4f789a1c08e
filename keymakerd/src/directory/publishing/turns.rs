//! Whose turn it is to write, and when the modules were last told of contact. Kept by the service, used by
//! `publication` only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use keymaker_core::login;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use super::store::StoreError;
use crate::clock::AnswerClock;

/// Whose turn it is to write.
#[derive(Default)]
pub struct Turns {
    pub(super) writing: Mutex<()>,
    /// How many publications have begun.
    pub(super) begun: Cell<u64>,
    pub(super) under_way: Cell<bool>,
    /// Since when the disk has had something to do, in the turn that it is.
    on_disk_since: Cell<Option<Instant>>,
    /// What became of the last one.
    pub(super) last: RefCell<Option<Rc<StoreError>>>,
}

impl Turns {
    /// The disk has something to do until what this returns is dropped.
    pub(super) fn on_disk(&self) -> OnDisk<'_> {
        self.on_disk_since.set(Some(Instant::now()));
        OnDisk(self)
    }

    /// Comes back once the disk has had what is to be written for longer than this. What it takes to find out what that is does not
    /// count: nobody who asks gets it sooner by not waiting.
    pub(crate) async fn disk_is_slow(&self, patience: Duration) {
        loop {
            match self.on_disk_since.get().map(|since| since + patience) {
                Some(end) if end <= Instant::now() => return,
                Some(end) => sleep_until(end).await,
                None => sleep(patience).await,
            }
        }
    }
}

/// See [`Turns::on_disk`].
pub(super) struct OnDisk<'t>(&'t Turns);

impl Drop for OnDisk<'_> {
    fn drop(&mut self) {
        self.0.on_disk_since.set(None);
    }
}

/// The contact that the modules read.
#[derive(Clone, Copy, Debug)]
pub struct ToldContact {
    /// In seconds since boot; negative: before it.
    pub(super) since_boot: i64,
    /// The clock by which the modules were told, as [`AnswerClock::booted_at`].
    pub(super) booted_at: i64,
}

impl ToldContact {
    /// A contact that is told as this unix time, by the host's clock as it is set now.
    pub fn at(unix: u64, clock: &AnswerClock) -> Self {
        let booted_at = clock.booted_at();
        Self {
            since_boot: unix.cast_signed() - booted_at,
            booted_at,
        }
    }

    /// Whether the modules go by it still (`login::older_than`), where facts may be so many seconds old.
    pub fn counts(&self, max_stale: u32, clock: &AnswerClock) -> bool {
        let told = login::unix_time((self.since_boot + self.booted_at).max(0).cast_unsigned());
        let now = login::unix_time((clock.since_boot() + self.booted_at).max(0).cast_unsigned());
        !login::older_than(told, Duration::from_secs(max_stale.into()), now)
    }
}
