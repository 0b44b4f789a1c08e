//! When an idle daemon wakes up.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Until the next second that this process counts. Whatever is looked at once a second waits for the same one, so that an
/// idle daemon wakes up once for all of it.
pub async fn next_second() {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(Instant::now);
    let next = Duration::from_secs(first.elapsed().as_secs() + 1);
    sleep_until(first + next).await;
}
