//! A login by EC2 Instance Connect: the line of a key that was pushed for this user, by AWS's own program, where that is installed.
//!
//! Called by `main` where `login_by` has "instance-connect", for a user who may log in, and a key that IAM does not have for them. The
//! program asks the metadata service, and verifies that AWS has signed the key for this instance and this name. That says that
//! somebody may push a key for the name, and not who did. What the program prints is parsed and written again; PAM goes by a ticket.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use keymaker_core::directory_file::MAX_USER_RECORD;
use keymaker_core::keys_file::is_fingerprint;
use keymaker_core::login::{self, LoginDecision};
use keymaker_core::name::UserName;
use keymaker_core::paths;
use keymaker_core::public_key::SshPublicKey;
use keymaker_core::ticket::{INSTANCE_CONNECT, Ticket};

use crate::authorized_keys::{self, KeysHost};

/// What belongs to EC2 Instance Connect on this host.
pub struct ConnectPlaces<'a> {
    /// where AWS's program may be, as its packages have it
    pub programs: &'a [&'a str],
    /// timeout(1)
    pub timeout: &'a Path,
    /// the folder of the tickets
    pub tickets: &'a Path,
    /// who must own the program
    pub owner: u32,
}

impl ConnectPlaces<'static> {
    /// Those of the host that this process runs on.
    pub fn this() -> Self {
        Self {
            programs: &paths::INSTANCE_CONNECT,
            timeout: Path::new("/usr/bin/timeout"),
            tickets: Path::new(paths::TICKETS),
            owner: 0,
        }
    }
}

/// The line of the key with this fingerprint, empty where none was pushed; an error where that could not be told.
pub fn line(
    fingerprint: &str,
    (name, sshds_uid): (UserName, u32),
    host: &KeysHost<'_>,
    places: &ConnectPlaces<'_>,
) -> Result<String, String> {
    if !is_fingerprint(fingerprint) {
        return Ok(String::new());
    }
    // keymaker doctor says where it is missing.
    let Some(program) = program(places)? else {
        return Ok(String::new());
    };
    let mut command = Command::new(places.timeout);
    command
        .args(["-k", "1", &LONGEST.as_secs().to_string()])
        .args([&program.to_string_lossy(), name.as_str(), fingerprint])
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let said = said_by(&mut command).map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    let Some((status, said)) = said.filter(|(status, _)| status.code() != Some(TIMED_OUT)) else {
        return Err(format!(
            "{} did not end within {} s",
            program.display(),
            LONGEST.as_secs()
        ));
    };
    // With another status it ends where nothing was pushed.
    let Some(key) = only_key(&said).filter(|_| status.success()) else {
        return Ok(String::new());
    };
    // The program took its time: who has the name now, and may they log in?
    let now = SystemTime::now();
    let told = |why: authorized_keys::NoKeys| why.to_string();
    let directory = authorized_keys::directory(host).map_err(told)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let user = authorized_keys::user(name, sshds_uid, host, &directory, &mut buffer).map_err(told)?;
    let header = directory.header();
    let decision = LoginDecision::about(&user, &header, login::last_contact(host.contact), now).and_home(&user);
    if !header.instance_connect || decision != LoginDecision::Allowed {
        return Ok(String::new());
    }
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let ticket = Ticket {
        certificate: key.clone(),
        name,
        uid: user.uid,
        iam_user_id: user.iam_user_id.to_owned(),
        issued_at: since_1970,
        ends_at: since_1970 + LIFE,
        token_id: INSTANCE_CONNECT.to_owned(),
        fingerprint: fingerprint.to_owned(),
    };
    ticket.write(places.tickets, now).map_err(|error| error.to_string())?;
    Ok(format!(
        "{key}
"
    ))
}

/// How a program ended, and what it said, where both came in time. What it has begun may outlive what timeout(1) ends, and hold the pipe open, as
/// the timeout(1) of AWS's own does: nobody waits for that.
fn said_by(command: &mut Command) -> io::Result<Option<(ExitStatus, Vec<u8>)>> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let (tell, told) = mpsc::channel();
    let pipe = child.stdout.take();
    thread::Builder::new().spawn(move || {
        let mut said = Vec::new();
        let read = pipe.map_or(Ok(0), |pipe| pipe.take(MOST).read_to_end(&mut said));
        tell.send(read.map(|_| said))
    })?;
    match told.recv_timeout(LONGEST) {
        Ok(said) => Ok(Some((child.wait()?, said?))),
        Err(_) => Ok(None),
    }
}

/// AWS's program, if it is installed, and nobody else than root can have changed it.
fn program<'a>(places: &ConnectPlaces<'a>) -> Result<Option<&'a Path>, String> {
    let mut programs = places.programs.iter().map(|program| Path::new(*program));
    let Some(program) = programs.find(|program| program.is_file()) else {
        return Ok(None);
    };
    let is_roots =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.uid() == places.owner && found.mode() & 0o022 == 0);
    let folder = program.parent().unwrap_or(program);
    if is_roots(program) && is_roots(folder) {
        Ok(Some(program))
    } else {
        Err(format!("{} is not root's alone, so it is not run", program.display()))
    }
}

/// The one key that it prints, between comments.
fn only_key(said: &[u8]) -> Option<String> {
    let lines = str::from_utf8(said).ok()?.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (line, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let mut words = line.split_ascii_whitespace();
    let key = format!("{} {}", words.next()?, words.next()?);
    SshPublicKey::parse(&key).map(|key| key.line().to_owned())
}

/// In seconds; AWS's program gives itself five.
const LONGEST: Duration = Duration::from_secs(3);
/// What timeout(1) ends with then.
const TIMED_OUT: i32 = 124;
/// More than a key and its comments.
const MOST: u64 = 64 * 1024;
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// For as long as AWS keeps a pushed key.
const LIFE: u64 = 60;

#[cfg(test)]
mod tests;
