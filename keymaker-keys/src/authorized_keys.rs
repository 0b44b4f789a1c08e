//! Which lines sshd is shown for a user: keys that log in, keys that only read a refusal, or none.
//!
//! Called by `main`. Whatever cannot be read or does not agree with the directory ends in no line at all (P1, P7, P8,
//! P10); the decision is [`LoginDecision`], which PAM makes too.

use std::fmt::{self, Write};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use keymaker_core::audit::AuditReason;
use keymaker_core::client::{self, AskError};
use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, User};
use keymaker_core::keys_file::{KeysFile, UserKeys};
use keymaker_core::login::{self, LoginDecision};
use keymaker_core::name::UserName;
use keymaker_core::proof::ProofGate;
use keymaker_core::protocol::{Answer, KEYS_BUDGET, MAX_ANSWER, Question};
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::sys::{self, ResolvedUser};
use keymaker_core::{local_files, paths};

/// Where the facts about this host lie, and how it resolves a name.
pub struct KeysHost<'a> {
    /// /etc/passwd
    pub passwd: &'a Path,
    /// /etc/group
    pub group: &'a Path,
    /// the published directory
    pub directory: &'a Path,
    /// the published keys
    pub keys: &'a Path,
    /// its modification time is the last contact with IAM
    pub contact: &'a Path,
    /// where keymakerd listens for us
    pub login_socket: &'a Path,
    /// getpwnam(3): what sshd goes by
    pub resolve: &'a dyn Fn(&str) -> io::Result<Option<ResolvedUser>>,
}

/// Why no key is shown.
#[derive(Debug)]
pub enum NoKeys {
    /// sshd did not say as which uid it would start the session
    NoUid,
    /// no name that an IAM user can have here
    NotAName,
    /// a local account
    LocalAccount,
    /// a published file or /etc/passwd could not be read
    Unreadable(&'static str, ReadError),
    /// not a user of the published directory
    Unknown,
    /// the name is another account on this host than the IAM user, or was when the client connected
    EntryOfAnother,
    /// glibc could not tell whose name it is
    NotResolved(io::Error),
    /// this host has never fetched the user's keys
    NeverFetched,
    /// the published keys are those of another IAM user or uid
    KeysOfAnother,
    /// the published files show more than IAM does, and keymakerd cannot write new ones
    NotPublished,
    /// sshd did not read the lines
    NotPrinted(io::Error),
    /// the certificate that was offered proves nothing, and at what it failed
    NotProven(ProofGate, String),
    /// it proves another user, or opens nothing here
    NoProof(String),
    /// the same as the other says, of a certificate with a token of this name (`jti`), which the issuer has signed
    OfToken(String, Box<Self>),
}

/// What the published files are worth after a nudge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysAfterNudge {
    /// they are fresh, or nobody knows better
    Stands,
    /// they show more than IAM does
    DoesNotStand,
}

impl KeysHost<'static> {
    /// The host that this process runs on.
    pub fn this() -> Self {
        Self {
            passwd: Path::new(paths::PASSWD),
            group: Path::new(paths::GROUP),
            directory: Path::new(paths::DIRECTORY),
            keys: Path::new(paths::KEYS),
            contact: Path::new(paths::CONTACT),
            login_socket: Path::new(paths::LOGIN_SOCKET),
            resolve: &sys::resolve_user,
        }
    }
}

/// The name, if it may be one of ours: local accounts win, and no question is asked about them (P1).
pub fn candidate(argument: &[u8], host: &KeysHost<'_>) -> Result<UserName, NoKeys> {
    let name = UserName::parse(argument).map_err(|_| NoKeys::NotAName)?;
    match local_files::names(host.passwd, name.as_str()) {
        Ok(false) => Ok(name),
        Ok(true) => Err(NoKeys::LocalAccount),
        Err(error) => Err(NoKeys::Unreadable(paths::PASSWD, error.into())),
    }
}

/// The uid that sshd found when the client connected, and that it will start the session as.
pub fn uid(argument: &[u8]) -> Result<u32, NoKeys> {
    str::from_utf8(argument)
        .ok()
        .and_then(|uid| uid.parse().ok())
        .ok_or(NoKeys::NoUid)
}

/// Has keymakerd look whether anything changed. What it published stands if it cannot tell; not if it says so (P9).
pub fn nudge(name: UserName, host: &KeysHost<'_>) -> Result<KeysAfterNudge, AskError> {
    nudge_within(KEYS_BUDGET, name, host)
}

/// The same, where another question has taken some of the time.
pub fn nudge_within(budget: Duration, name: UserName, host: &KeysHost<'_>) -> Result<KeysAfterNudge, AskError> {
    let mut buffer = [0; MAX_ANSWER];
    worth(client::ask(
        host.login_socket,
        &Question::Keys(name),
        budget,
        &mut buffer,
    ))
}

fn worth(asked: Result<Answer<'_>, AskError>) -> Result<KeysAfterNudge, AskError> {
    match asked {
        Ok(Answer::NotPublished) | Err(AskError::ThisHost(_)) => Ok(KeysAfterNudge::DoesNotStand),
        answer => answer.map(|_| KeysAfterNudge::Stands),
    }
}

/// What sshd is shown.
#[derive(Debug)]
pub struct ShownKeys {
    /// a line for each key, with its newline
    pub lines: String,
    /// whether they log in, or read why not
    pub decision: LoginDecision,
    /// IAM's `UserId`
    pub iam_user_id: String,
    /// the name of the token, where they are shown for a proof
    pub token_id: Option<String>,
    /// the keys' fingerprints, where a key that EC2 Instance Connect has opens a login of this user's, too
    pub beside_instance_connect: Option<Vec<String>>,
}

/// The lines for this user. A name that has changed hands since sshd resolved it opens nothing (P2).
pub fn lines(name: UserName, sshds_uid: u32, host: &KeysHost<'_>, now: SystemTime) -> Result<ShownKeys, NoKeys> {
    let directory = directory(host)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let user = user(name, sshds_uid, host, &directory, &mut buffer)?;
    let keys = KeysFile::open(host.keys)
        .and_then(|file| file.user(name))
        .map_err(|error| NoKeys::Unreadable("the keys file", error))?
        .ok_or(NoKeys::NeverFetched)?;
    if !keys.are_of(&user) {
        return Err(NoKeys::KeysOfAnother);
    }
    let header = directory.header();
    let by_facts = LoginDecision::about(&user, &header, login::last_contact(host.contact), now).and_home(&user);
    let decision = by_facts.and_keys(&keys, &header, now);
    let fingerprints = || keys.keys.iter().map(|key| key.fingerprint.clone()).collect();
    let instance_connect = header.instance_connect && by_facts == LoginDecision::Allowed;
    Ok(ShownKeys {
        lines: spell(&keys, decision),
        decision,
        iam_user_id: user.iam_user_id.to_owned(),
        token_id: None,
        beside_instance_connect: instance_connect.then(fingerprints),
    })
}

/// The directory as it is now.
pub fn directory(host: &KeysHost<'_>) -> Result<Directory, NoKeys> {
    Directory::open(host.directory).map_err(|error| NoKeys::Unreadable("the directory", error))
}

/// The user of this name, where sshd and this host mean the same account by it (P1, P2).
pub fn user<'b>(
    name: UserName,
    sshds_uid: u32,
    host: &KeysHost<'_>,
    directory: &Directory,
    buffer: &'b mut [u8; MAX_USER_RECORD],
) -> Result<User<'b>, NoKeys> {
    let user = directory
        .user_by_name(name, buffer)
        .map_err(|error| NoKeys::Unreadable("the directory", error))?
        .filter(|user| !user.tombstone)
        .ok_or(NoKeys::Unknown)?;
    let entry = (host.resolve)(name.as_str()).map_err(NoKeys::NotResolved)?;
    if sshds_uid != user.uid.get() || entry.is_none_or(|entry| entry.uid != sshds_uid) {
        return Err(NoKeys::EntryOfAnother);
    }
    for (file, path) in [(paths::PASSWD, host.passwd), (paths::GROUP, host.group)] {
        match local_files::has_id(path, sshds_uid) {
            Ok(false) => {}
            Ok(true) => return Err(NoKeys::EntryOfAnother),
            Err(error) => return Err(NoKeys::Unreadable(file, error.into())),
        }
    }
    Ok(user)
}

/// A user who may not log in reads why, once the key is proved. `restrict` takes away the terminal, forwarding and
/// ~/.ssh/rc.
fn spell(keys: &UserKeys, decision: LoginDecision) -> String {
    let mut lines = String::new();
    for key in &keys.keys {
        // Writing to a String cannot fail.
        let _ = match decision {
            LoginDecision::Allowed => writeln!(lines, "{}", key.line),
            LoginDecision::Refused(_) | LoginDecision::CannotTell(_) => {
                writeln!(lines, "restrict,command=\"{}\" {}", paths::REFUSAL, key.line)
            }
        };
    }
    lines
}

impl NoKeys {
    /// In the words of the audit.
    pub fn audited(&self) -> AuditReason {
        match self {
            Self::NoUid => AuditReason::NoUid,
            Self::NotAName => AuditReason::NotAName,
            Self::LocalAccount => AuditReason::LocalAccount,
            Self::Unreadable(..) => AuditReason::Unreadable,
            Self::Unknown => AuditReason::Unknown,
            Self::EntryOfAnother => AuditReason::EntryOfAnother,
            Self::NotResolved(_) => AuditReason::NotResolved,
            Self::NeverFetched => AuditReason::NeverFetched,
            Self::KeysOfAnother => AuditReason::KeysOfAnother,
            Self::NotPublished => AuditReason::NotPublished,
            Self::NotPrinted(_) => AuditReason::NotPrinted,
            Self::NotProven(ProofGate::Certificate, _) => AuditReason::ProofsCertificate,
            Self::NotProven(ProofGate::Token, _) => AuditReason::ProofsToken,
            Self::NotProven(ProofGate::Key, _) => AuditReason::ProofsKey,
            Self::NotProven(ProofGate::Signature, _) => AuditReason::ProofsSignature,
            Self::NotProven(ProofGate::Claims, _) => AuditReason::ProofsClaims,
            Self::NoProof(_) => AuditReason::NoProof,
            Self::OfToken(_, why) => why.audited(),
        }
    }

    /// The name of the token, where the issuer has signed it.
    pub fn token_id(&self) -> Option<&str> {
        match self {
            Self::OfToken(id, _) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for NoKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(self, Self::OfToken(..)) {
            f.write_str("no key: ")?;
        }
        match self {
            Self::NoUid => f.write_str("sshd gave no uid: the keys command takes %u %U %f (dpkg-reconfigure keymaker or \
                dnf reinstall keymaker corrects it)"),
            Self::NotAName => f.write_str("no IAM user can have this name here"),
            Self::LocalAccount => f.write_str("the name is a local account's (/etc/passwd)"),
            Self::Unreadable(file, error) => write!(f, "{file}: {error}"),
            Self::Unknown => f.write_str("not an IAM user of this host (keymaker status)"),
            Self::EntryOfAnother => {
                f.write_str("the name resolves to another account than the IAM user, or to none (getent passwd NAME)")
            }
            Self::NotResolved(error) => write!(f, "the name could not be resolved: {error}"),
            Self::NeverFetched => f.write_str("this host has never fetched the user's keys from IAM"),
            Self::KeysOfAnother => {
                f.write_str("the published keys are those of another IAM user; keymaker sync corrects that")
            }
            Self::NotPublished => f.write_str(
                "this host lacks the ports, memory or disk space to ask IAM about the user, or to write down the answer; keymaker doctor says which",
            ),
            Self::NotPrinted(error) => write!(f, "sshd did not read the keys: {error}"),
            Self::NotProven(_, why) | Self::NoProof(why) => write!(f, "no proof: {why}"),
            Self::OfToken(_, why) => why.fmt(f),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
