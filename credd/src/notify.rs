//! Tells systemd that a program is ready, as sd_notify(3) describes.
//!
//! Both programs of this crate call it once.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says READY=1. Nothing happens where systemd did not start us.
pub fn ready() {
    say(b"READY=1");
}

/// Says RELOADING=1, until `ready` is said again.
pub fn reloading() {
    say(b"RELOADING=1");
}

fn say(what: &[u8]) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match path.as_encoded_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(what, &address?));
    if let Err(error) = sent {
        tracing::warn!(%error, "systemd could not be told the state of this program");
    }
}
