//! sshd's `AuthorizedKeysCommand`: prints the public keys of one IAM user, or a refusal for each of them.
//!
//! sshd calls it as user keymaker-keys, with the user's name and uid as it resolved them at connect and the fingerprint
//! of the key that was offered, once per key and once more. It always exits 0: another status would make sshd discard a key that it has matched
//! already. It reads no environment, and what it has to say to the administrator is one line for the system's log: sshd
//! throws its standard error away.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use keymaker_core::audit::{AuditDecision, AuditEvent, AuditField, AuditLine, AuditReason};
use keymaker_core::name::UserName;
use keymaker_core::proof::is_certificate;
use keymaker_core::protocol::REPORT_BUDGET;
use keymaker_core::{client, journal};
use keymaker_keys::authorized_keys::{self, KeysAfterNudge, KeysHost, NoKeys, ShownKeys};
use keymaker_keys::instance_connect::{self, ConnectPlaces};
use keymaker_keys::proofs::{self, Offered, ProofPlaces};

fn main() -> ExitCode {
    whatever_becomes_of(answer)
}

/// A panic, too, is no other status: sshd would discard what it has matched, and log the certificate.
fn whatever_becomes_of(answer: impl FnOnce()) -> ExitCode {
    if catch_unwind(AssertUnwindSafe(answer)).is_err() {
        say("ended by a fault of its own; whatever it had not shown yet is not shown");
    }
    ExitCode::SUCCESS
}

fn answer() {
    let mut arguments = std::env::args_os().skip(1);
    let asked = KeysWanted {
        name: arguments.next().unwrap_or_default(),
        uid: arguments.next().unwrap_or_default(),
        key: arguments.next().unwrap_or_default(),
        key_type: arguments.next().unwrap_or_default(),
        key_base64: arguments.next().unwrap_or_default(),
    };
    let host = KeysHost::this();
    match print_keys(&asked, &host) {
        Ok(shown) => asked.tell_of_refusal(&shown, &host),
        Err(why) => asked.tell_of_none(&why, &host),
    }
}

/// What sshd says: whose keys it wants, as whom it would start the session, and which key was offered, if any
/// (`sshd_config(5)`: `%u`, `%U`, `%f`, and where proofs are on `%t` and `%k`).
struct KeysWanted {
    name: OsString,
    uid: OsString,
    key: OsString,
    /// where proofs are on: the key's type and its base64 (`%t`, `%k`)
    key_type: OsString,
    key_base64: OsString,
}

fn print_keys(asked: &KeysWanted, host: &KeysHost<'_>) -> Result<ShownKeys, NoKeys> {
    let sshds_uid = authorized_keys::uid(asked.uid.as_bytes())?;
    let name = authorized_keys::candidate(asked.name.as_bytes(), host)?;
    if let Some(key_type) = asked.key_type.to_str().filter(|key_type| is_certificate(key_type)) {
        let offered = Offered {
            key_type,
            base64: &asked.key_base64,
            login: (name, sshds_uid),
        };
        return print(proofs::lines(&offered, host, &ProofPlaces::this(), SystemTime::now())?);
    }
    match authorized_keys::nudge(name, host) {
        Ok(KeysAfterNudge::Stands) => {}
        Ok(KeysAfterNudge::DoesNotStand) => return Err(NoKeys::NotPublished),
        Err(error) => say(&format!("{:?}: {error}", asked.name)),
    }
    let mut shown = authorized_keys::lines(name, sshds_uid, host, SystemTime::now())?;
    shown.lines += &pushed_key(asked, (name, sshds_uid), &shown, host);
    print(shown)
}

/// The line of a key that IAM has not, and EC2 Instance Connect has. Whatever becomes of that, IAM's keys are shown.
fn pushed_key(asked: &KeysWanted, login: (UserName, u32), shown: &ShownKeys, host: &KeysHost<'_>) -> String {
    let Some(known) = &shown.beside_instance_connect else {
        return String::new();
    };
    let fingerprint = asked.key.to_str().unwrap_or_default();
    if known.iter().any(|known| known == fingerprint) {
        return String::new();
    }
    instance_connect::line(fingerprint, login, host, &ConnectPlaces::this()).unwrap_or_else(|why| {
        say(&format!("{:?}: {why}", asked.name));
        String::new()
    })
}

fn print(shown: ShownKeys) -> Result<ShownKeys, NoKeys> {
    // In one piece: sshd must not take the beginning of a line for a line.
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(shown.lines.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(NoKeys::NotPrinted)?;
    Ok(shown)
}

impl KeysWanted {
    /// A line about a user whose keys only read a refusal. sshd has the keys already and waits for the end of this.
    fn tell_of_refusal(&self, shown: &ShownKeys, host: &KeysHost<'_>) {
        let (decision, Some(reason)) = shown.decision.audited() else {
            return;
        };
        let line = self
            .line(decision, reason)
            .with(AuditField::IamUserId, &shown.iam_user_id)
            .with(AuditField::Proof, shown.token_id.as_deref().unwrap_or_default())
            .saying(
                PROGRAM,
                format!("{:?}: keys that open nothing: {}", self.name, reason.meaning()),
            );
        if !has_taken(&line, host) {
            let _ = log(&line.message);
        }
    }

    /// A line about a user who gets none.
    fn tell_of_none(&self, why: &NoKeys, host: &KeysHost<'_>) {
        let message = format!("{:?}: {why}", self.name);
        let _ = writeln!(io::stderr(), "{PROGRAM}: {message}");
        let line = self
            .line(AuditDecision::Refused, why.audited())
            .with(AuditField::Proof, why.token_id().unwrap_or_default())
            .saying(PROGRAM, message);
        if !has_taken(&line, host) {
            let _ = log(&line.message);
        }
    }

    fn line(&self, decision: AuditDecision, reason: AuditReason) -> AuditLine {
        AuditLine::new(AuditEvent::Keys, decision)
            .with(AuditField::Reason, reason)
            .with(AuditField::User, self.name.to_string_lossy())
            .with(AuditField::Uid, self.uid.to_string_lossy())
            .with(AuditField::Key, self.key.to_string_lossy())
            .with(AuditField::Process, std::os::unix::process::parent_id())
    }
}

/// Whether keymakerd has the line now, or the journal: where neither has, syslog may.
fn has_taken(line: &AuditLine, host: &KeysHost<'_>) -> bool {
    client::report(host.login_socket, line, REPORT_BUDGET).is_ok()
        || journal::send(&line.entry(), Path::new(journal::SOCKET)).is_ok()
}

/// One line for the log, and for anybody who runs this by hand. If nobody reads, nobody is told, and nobody waits.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{PROGRAM}: {line}");
    let _ = log(line);
}

/// As syslog(3) says it, without its waiting for a journal that hangs.
fn log(line: &str) -> io::Result<()> {
    const AUTHPRIV_INFO: u8 = journal::AUTHPRIV << 3 | 6;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let entry = format!("<{AUTHPRIV_INFO}>{PROGRAM}[{}]: {line}", std::process::id());
    socket.send_to(entry.as_bytes(), journal::DEV_LOG).map(drop)
}

const PROGRAM: &str = "keymaker-keys";

#[cfg(test)]
mod tests {
    use super::*;

    // P24
    #[test]
    fn a_panic_ends_this_program_as_everything_does() {
        let ended = |answer: fn()| format!("{:?}", whatever_becomes_of(answer));
        assert_eq!(
            ended(|| panic!("inside the answer")),
            format!("{:?}", ExitCode::SUCCESS)
        );
        assert_eq!(ended(|| ()), format!("{:?}", ExitCode::SUCCESS));
    }
}
