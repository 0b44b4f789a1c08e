//! credd: its programs, its units, and what it answers root at its status socket.

use super::status_socket;

/// The daemon.
pub const PROGRAM: &str = "/usr/sbin/credd";
/// What brings requests to it.
pub const CAPTURE: &str = "/usr/libexec/keymaker/credd-capture";
/// Its settings.
pub const SETTINGS: &str = "/etc/keymaker/credd.toml";
/// The daemon's unit; the others come and go with it.
pub const SERVICE: &str = "credd.service";
/// All of its units.
pub const UNITS: [&str; 3] = [SERVICE, "credd.socket", "credd-capture.service"];
/// Where credd-capture says in one word how capture stands.
pub const CAPTURE_STATE: &str = "/run/keymaker-credd-capture/state";
/// Where it answers root.
pub const STATUS_SOCKET: &str = "/run/keymaker-credd/status.sock";

/// What it answers, such as `/why/1000`.
pub fn ask(path: &str) -> Result<String, String> {
    status_socket::ask(STATUS_SOCKET, "GET", path)
}
