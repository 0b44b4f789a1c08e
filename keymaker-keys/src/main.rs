//! sshd's `AuthorizedKeysCommand`: prints the public keys of one IAM user, or a refusal for each of them.
//!
//! sshd calls it as user keymaker-keys, with the user's name and uid as it resolved them at connect, once per key that
//! is offered and once more. It always exits 0: another status would make sshd discard a key that it has matched
//! already. It reads no environment, and what it has to say to the administrator is one line for the system's log: sshd
//! throws its standard error away.

mod authorized_keys;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::SystemTime;

use authorized_keys::{KeysAfterNudge, KeysHost, NoKeys};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let uid = arguments.next().unwrap_or_default();
    if let Err(why) = print_keys(&name, &uid, &KeysHost::this()) {
        say(&name, &why);
    }
    ExitCode::SUCCESS
}

fn print_keys(argument: &OsString, uid: &OsString, host: &KeysHost<'_>) -> Result<(), NoKeys> {
    let sshds_uid = authorized_keys::uid(uid.as_bytes())?;
    let name = authorized_keys::candidate(argument.as_bytes(), host)?;
    match authorized_keys::nudge(name, host) {
        Ok(KeysAfterNudge::Stands) => {}
        Ok(KeysAfterNudge::DoesNotStand) => return Err(NoKeys::NotPublished),
        Err(error) => say(argument, &error),
    }
    let lines = authorized_keys::lines(name, sshds_uid, host, SystemTime::now())?;
    // In one piece: sshd must not take the beginning of a line for a line.
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(lines.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(NoKeys::NotPrinted)
}

/// One line for the log, and for anybody who runs this by hand. The name comes from the network, so it is quoted; if
/// nobody reads, nobody is told, and nobody waits.
fn say(argument: &OsString, what: &dyn std::fmt::Display) {
    let line = format!("{argument:?}: {what}");
    let _ = writeln!(io::stderr(), "keymaker-keys: {line}");
    let _ = log(&line);
}

/// As syslog(3) says it, without its waiting for a journal that hangs.
fn log(line: &str) -> io::Result<()> {
    const AUTHPRIV_INFO: u8 = 10 << 3 | 6;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let entry = format!("<{AUTHPRIV_INFO}>keymaker-keys[{}]: {line}", std::process::id());
    socket.send_to(entry.as_bytes(), "/dev/log").map(drop)
}
