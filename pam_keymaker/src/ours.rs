//! Whose account is it: a local one, somebody else's, or an IAM user's?
//!
//! Both hooks begin here. A local account is told from /etc/passwd alone, before anything of Keymaker's is opened (P1, P12).

use std::io;
use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, User};
use keymaker_core::id::IdRange;
use keymaker_core::name::UserName;
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::sys::{self, ResolvedUser};
use keymaker_core::{local_files, paths};

/// Where the facts about this host lie, and how it resolves names.
#[derive(Clone, Copy)]
pub struct Host<'a> {
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
    /// where keymakerd listens for root
    pub login_socket: &'a Path,
    /// getpwnam(3)
    pub resolve: &'a dyn Fn(&str) -> io::Result<Option<ResolvedUser>>,
    /// getgrouplist(3)
    pub group_list: &'a dyn Fn(&str, u32) -> io::Result<Vec<u32>>,
}

impl Host<'static> {
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
            group_list: &sys::group_list,
        }
    }
}

/// A name as a program gave it to PAM.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// the name
    pub name: &'a str,
    /// the same, where an IAM user can have it
    pub user_name: Option<UserName>,
    /// what it resolves to now
    pub entry: Option<ResolvedUser>,
}

/// Whether root or /etc/passwd has this name. Where that file cannot be read, only root is sure to be local.
pub fn is_local(name: &[u8], host: &Host<'_>) -> bool {
    let Ok(name) = str::from_utf8(name) else {
        return false;
    };
    local_files::names(host.passwd, name).unwrap_or(name == "root")
}

impl<'a> Account<'a> {
    /// `None` where the account cannot be ours: another service's with uid 0, or with a name that is no text.
    pub fn of(name: &'a [u8], host: &Host<'_>) -> Option<Self> {
        let name = str::from_utf8(name).ok()?;
        // An error here is some other service's; what is ours is found below, by its name.
        let entry = (host.resolve)(name).ok().flatten();
        if entry.is_some_and(|entry| entry.uid == 0) {
            return None;
        }
        Some(Self {
            name,
            user_name: UserName::parse(name.as_bytes()).ok(),
            entry,
        })
    }

    /// What the directory says of it.
    pub fn find<'b>(
        &self,
        directory: &Directory,
        buffer: &'b mut [u8; MAX_USER_RECORD],
    ) -> Result<Ownership<'b>, ReadError> {
        if let Some(name) = self.user_name
            && directory.user_by_name(name, buffer)?.is_some()
        {
            return Ok(directory
                .user_by_name(name, buffer)?
                .map_or(Ownership::NotOurs, Ownership::User));
        }
        let Some(uid) = self.entry.map(|entry| entry.uid) else {
            return Ok(Ownership::NotOurs);
        };
        let claimed = directory.header().claims_uid(uid);
        Ok(match directory.user_by_uid(uid, buffer)? {
            Some(user) => Ownership::User(user),
            None if claimed => Ownership::OnlyTheUid,
            None => Ownership::NotOurs,
        })
    }

    /// Whether the account may be ours although no directory can be read: its uid is of a range that only Keymaker uses, or a program
    /// that had found it cannot any more. (Whatever else still resolves without a directory, another service knows.)
    pub fn may_be_ours(&self, at_login: bool) -> bool {
        match self.entry {
            Some(entry) => IdRange::WIDE.contains(entry.uid),
            None => at_login && self.user_name.is_some(),
        }
    }

    /// Whether this is the user's own account, and not another one with the name or the uid (P1).
    pub fn is_of(&self, user: &User<'_>) -> bool {
        self.user_name == Some(user.name) && self.entry.is_some_and(|entry| entry.uid == user.uid.get())
    }
}

/// Whose an account is.
#[derive(Debug)]
pub enum Ownership<'b> {
    /// neither the name nor the uid is ours
    NotOurs,
    /// the name or the uid is this user's, living or a tombstone
    User(User<'b>),
    /// the uid is of our range, and nobody's whom the directory knows
    OnlyTheUid,
}

/// Whether a person logs in by this service just now: then IAM is asked, and the login is written down. Others (cron, sudo, systemd-user)
/// go by what is published.
pub fn at_login(service: &[u8]) -> bool {
    matches!(service, b"sshd" | b"login" | b"remote" | b"su" | b"su-l")
}
