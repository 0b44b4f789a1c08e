//! What the daemons answer root at their status sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A daemon answers within a second, STS included.
const PATIENCE: Duration = Duration::from_secs(3);

/// The answer to `GET /metrics`, say.
pub fn ask(socket: &str, method: &str, path: &str) -> Result<String, String> {
    let answer = converse(socket, method, path).map_err(|error| format!("{socket}: {error}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.trim().to_owned()),
        _ => {
            let said = answer.lines().next().unwrap_or("no answer");
            Err(format!("{socket}: {said}"))
        }
    }
}

fn converse(socket: &str, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
