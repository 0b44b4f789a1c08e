//! keymakerd: its unit, its settings, its sockets.

use std::path::Path;

use keymaker_core::sys::LocalStream;
use keymaker_core::{client, paths};

use super::super::probe::run;
use super::Findings;

const NO_NEWS: &str = "without keymakerd this host learns nothing new from IAM, and after max_stale nobody from IAM \
    may log in";

/// Looks at the daemon.
pub fn look(found: &mut Findings) {
    if let Err(why) = run("/usr/sbin/keymakerd", &["--check"]) {
        found.fault(
            format!("keymakerd does not accept its settings: {why}"),
            "it goes on with the settings from before, or does not start",
            "editor /etc/keymaker/keymakerd.toml; systemctl restart keymakerd",
        );
        return;
    }
    let unit = |what: &str| run("systemctl", &[what, "keymakerd.service"]).unwrap_or_else(|why| why);
    let enabled = unit("is-enabled");
    if enabled.contains("masked") {
        let remedy = "systemctl unmask keymakerd; systemctl enable --now keymakerd";
        found.fault("keymakerd.service is masked", NO_NEWS, remedy);
    } else if !enabled.contains("enabled") {
        let what = format!("keymakerd.service is not enabled ({enabled})");
        found.fault(
            what,
            "keymakerd does not start at the next boot",
            "systemctl enable --now keymakerd",
        );
    }
    if unit("is-active") != "active" {
        let remedy = "systemctl reset-failed keymakerd; systemctl restart keymakerd";
        found.fault("keymakerd does not run (systemctl status keymakerd)", NO_NEWS, remedy);
        return;
    }
    // The kernel takes connections for a daemon that hangs.
    let silence = client::silence(Path::new(paths::LOGIN_SOCKET)).filter(|silence| *silence > client::HUNG_AFTER);
    if let Some(silence) = silence {
        found.fault(
            format!(
                "keymakerd hangs: it has answered nobody for {} s (journalctl -u keymakerd)",
                silence.as_secs()
            ),
            NO_NEWS,
            "systemctl restart keymakerd",
        );
        return;
    }
    for socket in [paths::LOOKUP_SOCKET, paths::LOGIN_SOCKET] {
        if let Err(error) = LocalStream::connect(Path::new(socket)) {
            let why = "a user whom this host does not know yet cannot log in, and revocations take effect late";
            found.fault(
                format!("nobody answers at {socket}: {error}"),
                why,
                "systemctl restart keymakerd",
            );
        }
    }
}
