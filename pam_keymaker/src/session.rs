//! PAM session: was the key one of the user's, is their home there, and one line in the journal about who came.
//!
//! Called by `abi`. A foreign key is `PAM_SESSION_ERR`, and sshd starts nothing; a home that cannot be made lets the
//! login go on, since otherwise a full disk would lock out exactly those who must repair it. But not where others may put
//! something in its place: the shell would obey what they put there.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keymaker_core::audit::{AuditDecision, AuditEvent, AuditField, AuditLine};
use keymaker_core::directory_file::{Directory, Header, MAX_USER_RECORD, User};
use keymaker_core::home::others_may_write;
use keymaker_core::journal::Priority;
use keymaker_core::keys_file::{KeysFile, UserKeys};
use keymaker_core::login::{Doubt, LoginDecision, Refusal};
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::source_identity::source_identity;
use keymaker_core::ticket::{INSTANCE_CONNECT, Ticket};
use pam::constants::PamResultCode;

use crate::abi::calls::guarded;
use crate::account::Decided;
use crate::auth_info::{ProvedKey, ProvedKeys, proved_keys};
use crate::handle::Handle;
use crate::home::{self, Home, NewHome};
use crate::ours::{self, LoginAccount, Ownership, PamHost};

/// The arguments on the PAM line.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// `nohome`: homes are made by somebody else
    pub make_home: bool,
    /// `umask=`: which permissions a new home lacks
    pub umask: u32,
    /// `skel=`: what a new home is a copy of
    pub skel: PathBuf,
    /// what is none of these, for the administrator
    pub unknown: Vec<String>,
}

/// A login that goes on.
#[derive(Debug)]
pub struct Welcome {
    /// the line for the journal, without where from
    pub line: AuditLine,
    /// where the home is, and whose
    pub home: PathBuf,
    /// uid and gid of the user
    pub uid: u32,
    /// names under which the user was here before, the last one first
    pub former_names: Vec<String>,
}

/// Whether a session may begin.
#[derive(Debug)]
pub enum Opening {
    /// the account is not an IAM user's
    NotOurs,
    /// it may not, and why
    Refused(Decided),
    /// it may
    Welcome(Welcome),
}

/// The hook.
pub fn open(handle: &Handle<'_>, arguments: &[&CStr], host: &PamHost<'_>) -> PamResultCode {
    let Some(name) = handle.user() else {
        return PamResultCode::PAM_IGNORE;
    };
    if guarded(true, || ours::is_local(name, host)) {
        return PamResultCode::PAM_IGNORE;
    }
    let auth_info = handle.ssh_auth_info().unwrap_or_default();
    let opening = guarded(None, || {
        Some(judge(name, handle.service(), &auth_info, host, SystemTime::now()))
    });
    match opening {
        None => PamResultCode::PAM_SESSION_ERR,
        Some(Opening::NotOurs) => PamResultCode::PAM_IGNORE,
        Some(Opening::Refused(decided)) => {
            handle.refuse(&decided.sentence);
            handle.audit("session", decided.audited(name), host);
            PamResultCode::PAM_SESSION_ERR
        }
        Some(Opening::Welcome(welcome)) => {
            match guarded(Homecoming::Safe, || receive(handle, arguments, welcome, host)) {
                Homecoming::Safe => PamResultCode::PAM_SUCCESS,
                Homecoming::OthersMayTakeItsPlace => PamResultCode::PAM_SESSION_ERR,
            }
        }
    }
}

/// What the user finds at the path of their home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Homecoming {
    /// it, or nothing that others decide
    Safe,
    /// what others put there by the time that a shell looks
    OthersMayTakeItsPlace,
}

/// Makes the home and writes the login down.
fn receive(handle: &Handle<'_>, arguments: &[&CStr], welcome: Welcome, host: &PamHost<'_>) -> Homecoming {
    if ours::at_login(handle.service()) {
        let from = handle.remote_host().unwrap_or_else(|| "this host".to_owned());
        let mut line = welcome.line;
        line.message += &format!(" from {from}");
        handle.audit("session", line, host);
    }
    let options = Options::parse(arguments);
    for unknown in &options.unknown {
        handle.log(
            Priority::Warning,
            &format!("unknown argument {unknown:?} on the PAM line is ignored"),
        );
    }
    if !options.make_home {
        return Homecoming::Safe;
    }
    let former_names: Vec<String> = welcome
        .former_names
        .into_iter()
        .filter(|name| !ours::is_local(name.as_bytes(), host))
        .collect();
    let wanted = NewHome {
        path: &welcome.home,
        uid: welcome.uid,
        skel: &options.skel,
        umask: options.umask,
        former_names: &former_names,
    };
    let path = welcome.home.display();
    match home::provide(&wanted) {
        Ok(Home::Present) => {}
        Ok(Home::Moved(from)) => {
            let from = from.display();
            handle.tell(&format!(
                "keymaker: you have another name here now, so your home directory {from} is {path} from now on; what still names \
                the old place, scripts or links, needs the new one."
            ));
            handle.log(
                Priority::Info,
                &format!("moved the home {from} to {path}, since IAM renamed its user"),
            );
        }
        Ok(Home::Made { unlabelled, former }) => {
            match unlabelled {
                None => handle.log(Priority::Info, &format!("made the home {path}")),
                Some(error) => handle.log(
                    Priority::Warning,
                    &format!("made the home {path}, without its SELinux label ({error}): restorecon -R {path}"),
                ),
            }
            if let Some(former) = former {
                handle.tell(&format!(
                    "keymaker: you have another name here now, and a new home directory; your former one, {}, stays where it \
                     is, since others may write to it or it is a file system of its own.",
                    former.display()
                ));
            }
        }
        Err(error) => {
            handle.tell(&format!(
                "keymaker: your home directory {path} could not be made; please tell the administrator of this host."
            ));
            handle.log(Priority::Warning, &format!("no home at {path}: {error}"));
            let base = welcome.home.parent().map(fs::metadata);
            if base.is_some_and(|base| base.is_ok_and(|base| others_may_write(&base))) {
                return Homecoming::OthersMayTakeItsPlace;
            }
        }
    }
    Homecoming::Safe
}

/// Decides about a session for an account that is not local.
pub fn judge(name: &[u8], service: &[u8], auth_info: &[u8], host: &PamHost<'_>, now: SystemTime) -> Opening {
    let Some(account) = LoginAccount::of(name, host) else {
        return Opening::NotOurs;
    };
    read(&account, auth_info, host, now).unwrap_or_else(|error| {
        if !account.may_be_ours(ours::at_login(service), &error) {
            return Opening::NotOurs;
        }
        let mut decided = Decided::about(&account, LoginDecision::CannotTell(Doubt::NoDirectory), "");
        decided.reason += &format!(" [the directory: {error}]");
        Opening::Refused(decided)
    })
}

fn read(
    account: &LoginAccount<'_>,
    auth_info: &[u8],
    host: &PamHost<'_>,
    now: SystemTime,
) -> Result<Opening, ReadError> {
    let directory = Directory::open(host.directory)?;
    let header = directory.header();
    let mut buffer = [0; MAX_USER_RECORD];
    let refused = |decision| Opening::Refused(Decided::about(account, decision, header.required_group));
    let refused_user =
        |user: &User<'_>, decision| Opening::Refused(Decided::about(account, decision, header.required_group).of(user));
    let user = match account.find(&directory, &mut buffer)? {
        Ownership::NotOurs => return Ok(Opening::NotOurs),
        // Account refuses these already; a service whose account stack was changed must not give them a session either.
        Ownership::Outdated => return Ok(refused(LoginDecision::Refused(Refusal::EntryOfAnother))),
        Ownership::User(user) if user.tombstone => {
            return Ok(refused_user(&user, LoginDecision::Refused(Refusal::Deleted)));
        }
        Ownership::User(user) if !account.is_of(&user) => {
            return Ok(refused(LoginDecision::Refused(Refusal::EntryOfAnother)));
        }
        Ownership::User(user) => user,
    };
    // A keys file that cannot be read knows no key.
    let keys = KeysFile::open(host.keys)
        .and_then(|file| file.user(user.name))
        .ok()
        .flatten();
    let keys = keys.filter(|keys| keys.are_of(&user));
    let ticket = |certificate: &str| Ticket::of(host.tickets, &user, &header, certificate, now);
    let proved = proved_keys(auth_info, keys.as_ref(), &ticket);
    Ok(match about_keys(&user, &header, proved, keys.as_ref(), now) {
        Ok(proved) => Opening::Welcome(Welcome::new(&user, &proved)),
        Err(decision) => refused_user(&user, decision),
    })
}

/// The keys that opened the connection; an error where one of them should not have.
fn about_keys<'k>(
    user: &User<'_>,
    header: &Header<'_>,
    proved: ProvedKeys<'k>,
    keys: Option<&UserKeys>,
    now: SystemTime,
) -> Result<Vec<ProvedKey<'k>>, LoginDecision> {
    let proved = match proved {
        ProvedKeys::None => Vec::new(),
        ProvedKeys::Foreign if header.without_iam_keys => return Err(LoginDecision::Refused(Refusal::NoKeyCounts)),
        ProvedKeys::Foreign => return Err(LoginDecision::Refused(Refusal::ForeignKey)),
        ProvedKeys::Known(proved) => proved,
    };
    let mut decision = LoginDecision::Allowed.and_home(user);
    if let Some(keys) = keys
        && proved.iter().any(|key| matches!(key, ProvedKey::Published(_)))
    {
        decision = decision.and_keys(keys, header, now);
    }
    match decision {
        LoginDecision::Allowed => Ok(proved),
        refused => Err(refused),
    }
}

impl Welcome {
    fn new(user: &User<'_>, proved: &[ProvedKey<'_>]) -> Self {
        let fingerprints = proved.iter().map(ProvedKey::fingerprint).collect::<Vec<_>>().join(",");
        let tokens = proved.iter().filter_map(|key| match key {
            ProvedKey::ByTicket(ticket) => Some(ticket.token_id.as_str()),
            ProvedKey::Published(_) => None,
        });
        let tokens = tokens.collect::<Vec<_>>().join(",");
        let mut key = if fingerprints.is_empty() {
            "none".to_owned()
        } else {
            fingerprints.clone()
        };
        match tokens.as_str() {
            "" => {}
            INSTANCE_CONNECT => key += " by EC2 Instance Connect",
            tokens => key += &format!(" by proof {tokens}"),
        }
        let identity = source_identity(user.iam_user_name, user.iam_user_id);
        let sentence = format!(
            "login of {}: uid {}, IAM UserId {}, key {key}, SourceIdentity {identity},",
            user.name, user.uid, user.iam_user_id,
        );
        let line = AuditLine::new(AuditEvent::Login, AuditDecision::Allowed)
            .with(AuditField::User, user.name)
            .with(AuditField::Uid, user.uid)
            .with(AuditField::IamUserId, user.iam_user_id)
            .with(AuditField::Key, fingerprints)
            .with(AuditField::Proof, tokens)
            .with(AuditField::SourceIdentity, identity)
            .saying("", sentence);
        Self {
            line,
            home: PathBuf::from(user.home),
            uid: user.uid.get(),
            former_names: user.former_names().map(|name| name.to_string()).collect(),
        }
    }
}

impl Options {
    /// Reads the words of the PAM line. What is not understood changes nothing.
    pub fn parse(arguments: &[&CStr]) -> Self {
        let mut options = Self {
            make_home: true,
            umask: 0o077,
            skel: PathBuf::from("/etc/skel"),
            unknown: Vec::new(),
        };
        for argument in arguments {
            let argument = argument.to_string_lossy();
            let (word, value) = argument.split_once('=').unwrap_or((&argument, ""));
            let umask = u32::from_str_radix(value, 8).ok().filter(|umask| *umask <= 0o777);
            match (word, umask) {
                ("nohome", _) if argument == "nohome" => options.make_home = false,
                ("umask", Some(umask)) => options.umask = umask,
                ("skel", _) if Path::new(value).is_absolute() => options.skel = PathBuf::from(value),
                _ => options.unknown.push(argument.into_owned()),
            }
        }
        options
    }
}

// The path for tests/pam/panicking_module, which builds this file too.
#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
