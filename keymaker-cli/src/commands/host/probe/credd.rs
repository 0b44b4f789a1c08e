//! credd: its programs, its units, and what it answers root at its status socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

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
const STATUS_SOCKET: &str = "/run/keymaker-credd/status.sock";
/// credd answers within a second, STS included.
const PATIENCE: Duration = Duration::from_secs(3);

/// What it answers, such as `/why/1000`.
pub fn ask(path: &str) -> Result<String, String> {
    let answer = converse(path).map_err(|error| format!("{STATUS_SOCKET}: {error}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.trim().to_owned()),
        _ => {
            let said = answer.lines().next().unwrap_or("no answer");
            Err(format!("{STATUS_SOCKET}: {said}"))
        }
    }
}

fn converse(path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(STATUS_SOCKET)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: credd\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
