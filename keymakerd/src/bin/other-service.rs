//! Asks one other service of this host's nsswitch.conf (SSSD, LDAP, userdb …) whom it knows: `other-service SERVICE`,
//! by keymakerd.
//!
//! A process of its own, since a service's module may hang, crash or keep what it likes, and keymakerd must not. Each
//! line of standard input is a question, `user NAME`, `uid N`, `group NAME` or `gid N`; each is answered at once by a
//! line, `yes`, `no`, or why it cannot be told. (getent(1) says the same for "nobody" and for "the service is down".)

use std::io::{self, BufRead, ErrorKind, Write};
use std::path::Path;
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
            Ok(()) => match wanted(&question).and_then(sys::is_known) {
                Err(why) if service == "sss" && never_ran(&why, Path::new(SSSD)) => Ok(false),
                known => known,
            },
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

/// SSSD whose socket is not there and which has no settings: its unit does not start it (`ConditionPathExists=`), so it
/// knows nobody. Enterprise Linux 9 names it in nsswitch.conf all the same.
fn never_ran(why: &io::Error, settings: &Path) -> bool {
    // What cannot be listed may hold settings.
    let no_more = match std::fs::read_dir(settings.join("conf.d")) {
        Ok(mut files) => files.next().is_none(),
        Err(why) => why.kind() == ErrorKind::NotFound,
    };
    why.kind() == ErrorKind::NotFound && no_more && matches!(settings.join("sssd.conf").try_exists(), Ok(false))
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

/// Where SSSD's settings are.
const SSSD: &str = "/etc/sssd";

#[cfg(test)]
mod tests {
    use super::*;

    // P1
    #[test]
    fn sssd_knows_nobody_only_where_it_has_neither_socket_nor_settings() {
        let folder = std::env::temp_dir().join(format!("keymaker-sssd-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("conf.d")).unwrap();
        let no_socket = io::Error::from(ErrorKind::NotFound);
        assert!(never_ran(&no_socket, &folder));
        assert!(never_ran(&no_socket, &folder.join("not-there")));
        assert!(!never_ran(&io::Error::from(ErrorKind::ConnectionRefused), &folder));
        std::fs::write(folder.join("conf.d/domain.conf"), "").unwrap();
        assert!(!never_ran(&no_socket, &folder));
        std::fs::remove_file(folder.join("conf.d/domain.conf")).unwrap();
        // A folder that cannot be listed; root could list any.
        std::fs::remove_dir(folder.join("conf.d")).unwrap();
        std::fs::write(folder.join("conf.d"), "").unwrap();
        assert!(!never_ran(&no_socket, &folder));
        std::fs::remove_file(folder.join("conf.d")).unwrap();
        assert!(never_ran(&no_socket, &folder));
        std::fs::write(folder.join("sssd.conf"), "").unwrap();
        assert!(!never_ran(&no_socket, &folder));
        // What cannot be looked at is not taken for absent.
        assert!(!never_ran(&no_socket, &folder.join("sssd.conf")));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
