//! Prints the public keys of an IAM user who may log in now, for a program that passes a name and nothing else.
//!
//! For `pam_ssh_agent_auth`, which opens sudo to whoever has one of these keys in their agent, and others like it. They
//! ignore options, `command="…"` among them, so that a refused user's keys must not be printed at all. Run as user
//! keymaker-keys, which alone may have keymakerd ask IAM first.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::SystemTime;

use keymaker_core::login::LoginDecision;
use keymaker_keys::authorized_keys::{self, KeysAfterNudge, KeysHost, NoKeys};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(name), None) = (arguments.next(), arguments.next()) else {
        return without_keys("usage: keymaker-keys-of NAME");
    };
    match keys_of(&name, &KeysHost::this()) {
        Ok(lines) => match io::stdout().lock().write_all(lines.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => without_keys(&NoKeys::NotPrinted(error).to_string()),
        },
        Err(why) => without_keys(&why),
    }
}

/// The lines, or why there are none.
fn keys_of(name: &OsString, host: &KeysHost<'_>) -> Result<String, String> {
    let sentence = |why: NoKeys| why.to_string();
    let name = authorized_keys::candidate(name.as_bytes(), host).map_err(sentence)?;
    match authorized_keys::nudge(name, host) {
        Ok(KeysAfterNudge::Stands) => {}
        Ok(KeysAfterNudge::DoesNotStand) => return Err(sentence(NoKeys::NotPublished)),
        // What was published last may still do, for as long as a login goes by it.
        Err(error) => warn(&error.to_string()),
    }
    let entry = (host.resolve)(name.as_str())
        .map_err(NoKeys::NotResolved)
        .map_err(sentence)?;
    let uid = entry.ok_or_else(|| sentence(NoKeys::EntryOfAnother))?.uid;
    let shown = authorized_keys::lines(name, uid, host, SystemTime::now()).map_err(sentence)?;
    match shown.decision {
        LoginDecision::Allowed => Ok(shown.lines),
        LoginDecision::Refused(_) | LoginDecision::CannotTell(_) => {
            Err(format!("no key: {name} may not log in here (keymaker why {name})"))
        }
    }
}

fn without_keys(why: &str) -> ExitCode {
    warn(why);
    ExitCode::FAILURE
}

/// If nobody reads, nobody is told.
fn warn(line: &str) {
    let _ = writeln!(io::stderr(), "keymaker-keys-of: {line}");
}
