//! Asks one other service of this host's nsswitch.conf (SSSD, LDAP, userdb …) whom it knows: `other-service SERVICE`, by keymakerd.
//!
//! A process of its own, since a service's module may hang, crash or keep what it likes, and keymakerd must not. Each line of standard
//! input is a question, `user NAME`, `uid N`, `group NAME` or `gid N`; each is answered at once by a line, `yes`, `no`, or why it cannot
//! be told. (getent(1) says the same for "nobody" and for "the service is down".)

use std::io::{self, BufRead, ErrorKind, Write};
use std::process::ExitCode;

use keymaker_core::sys::{self, NameLookup};

fn main() -> ExitCode {
    match answer_all() {
        Ok(()) => ExitCode::SUCCESS,
        // keymakerd has gone, or has waited long enough.
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer_all() -> io::Result<()> {
    let service = std::env::args().nth(1).unwrap_or_default();
    let ready = sys::ask_only(&service);
    let mut answers = io::stdout().lock();
    for question in io::stdin().lock().lines() {
        let question = question?;
        let known = match &ready {
            Ok(()) => wanted(&question).and_then(sys::is_known),
            // A service whose module is not there knows nobody.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        match known {
            Ok(true) => writeln!(answers, "yes")?,
            Ok(false) => writeln!(answers, "no")?,
            Err(why) => writeln!(answers, "{}", why.to_string().replace('\n', " "))?,
        }
    }
    Ok(())
}

fn wanted(question: &str) -> io::Result<NameLookup<'_>> {
    let number = |text: &str| text.parse().map_err(|_| ErrorKind::InvalidInput);
    Ok(match question.split_once(' ') {
        Some(("user", name)) => NameLookup::User(name),
        Some(("group", name)) => NameLookup::Group(name),
        Some(("uid", uid)) => NameLookup::Uid(number(uid)?),
        Some(("gid", gid)) => NameLookup::Gid(number(gid)?),
        _ => return Err(ErrorKind::InvalidInput.into()),
    })
}
