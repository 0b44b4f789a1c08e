//! Tells systemd how a daemon is: ready, reloading, stopping, alive (`sd_notify(3)`). Where systemd did not start it,
//! nothing happens.
//!
//! The crates for this send without a limit: beside a systemd that reads nothing, a daemon of one thread would answer
//! nobody.

use std::env;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Connections and questions are taken, by the settings in force.
pub fn ready() {
    say("READY=1");
}

/// The settings are read again, until `ready` is said once more.
pub fn reloading() {
    say("RELOADING=1");
}

/// The daemon ends by its own will.
pub fn stopping() {
    say("STOPPING=1");
}

/// Says three times within `WatchdogSec` of the unit that the thread which runs this, and answers everybody, still
/// runs: one of them may be lost. Ends where the unit has no such line.
pub async fn feed_watchdog<F: Future<Output = ()>>(sleep: impl Fn(Duration) -> F) {
    let limit = env::var("WATCHDOG_USEC").ok().and_then(|limit| limit.parse().ok());
    let (Some(limit @ 1..), true) = (limit, is_for_us()) else {
        return;
    };
    loop {
        say("WATCHDOG=1");
        sleep(Duration::from_micros(limit) / 3).await;
    }
}

/// Children inherit the environment, and feed nobody's watchdog (`sd_watchdog_enabled(3)`).
fn is_for_us() -> bool {
    env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string())
}

fn say(what: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_write_timeout(Some(LONGEST_WAIT))?;
        socket.send_to(what.as_bytes(), path).map(drop)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "systemd cannot be told {what}: {error}");
    }
}

const LONGEST_WAIT: Duration = Duration::from_millis(100);
