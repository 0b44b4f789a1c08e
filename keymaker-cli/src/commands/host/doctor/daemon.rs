//! keymakerd: its unit, its settings, its sockets.

use std::path::Path;

use keymaker_core::sys::LocalStream;
use keymaker_core::{client, paths};

use super::super::probe::run;
use super::Findings;
use super::finding::FaultCause;

const NO_NEWS: &str = "without keymakerd this host learns nothing new from IAM, and after max_stale nobody from IAM \
    may log in";

/// What takes the line out of a settings file that a daemon names, and has the daemon read it again. A key that is not
/// there has its default.
pub fn mended(why: &str, file: &str, then: &str) -> String {
    let line = why.split_once(&format!("{file}:")).and_then(|(_, rest)| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..digits).filter(|line| !line.is_empty())
    });
    match line {
        Some(line) => {
            format!("sed -i '{line}s/^/#/' {file}; {then}  # or correct the line; as a comment it has no effect")
        }
        None => format!("{then}  # after correcting {file}"),
    }
}

/// Looks at the daemon.
pub fn look(found: &mut Findings) {
    if let Err(why) = run("/usr/sbin/keymakerd", &["--check"]) {
        found
            .fault(
                format!("keymakerd does not accept its settings: {why}"),
                "it goes on with the settings from before, or does not start",
                mended(&why, paths::KEYMAKERD_TOML, "systemctl restart keymakerd"),
            )
            .is(FaultCause::KeymakerdToml);
        return;
    }
    let unit = |what: &str| run("systemctl", &[what, "keymakerd.service"]).unwrap_or_else(|why| why);
    let enabled = unit("is-enabled");
    if enabled.contains("masked") {
        let remedy = "systemctl unmask keymakerd; systemctl enable --now keymakerd";
        found
            .fault("keymakerd.service is masked", NO_NEWS, remedy)
            .is(FaultCause::Keymakerd);
        return;
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
        found
            .fault("keymakerd does not run (systemctl status keymakerd)", NO_NEWS, remedy)
            .is(FaultCause::Keymakerd)
            .of(&[FaultCause::Accounts, FaultCause::KeymakerdToml]);
        return;
    }
    if hangs(found) {
        return;
    }
    for socket in [paths::LOOKUP_SOCKET, paths::LOGIN_SOCKET] {
        if let Err(error) = LocalStream::connect(Path::new(socket)) {
            let why = "a user whom this host does not know yet cannot log in, and revocations take effect late";
            found
                .fault(
                    format!("nobody answers at {socket}: {error}"),
                    why,
                    "systemctl restart keymakerd",
                )
                .of(&[FaultCause::Keymakerd]);
        }
    }
}

/// Whether it shows no sign of life. The kernel takes connections for a daemon that hangs.
pub fn hangs(found: &mut Findings) -> bool {
    let silence = client::silence(Path::new(paths::LOGIN_SOCKET));
    let hangs = silence.is_some_and(|silence| silence >= client::HUNG_AFTER);
    if hangs {
        let what = format!(
            "keymakerd hangs: it has answered nobody for more than {} s (journalctl -u keymakerd)",
            client::HUNG_AFTER.as_secs()
        );
        found
            .fault(what, NO_NEWS, "systemctl restart keymakerd")
            .is(FaultCause::Keymakerd);
    }
    hangs
}
