//! Whose account is it: a local one, somebody else's, or an IAM user's?
//!
//! Both hooks begin here. A local account is told from /etc/passwd alone, before anything of Keymaker's is opened (P1,
//! P12).
//!
//! Another service (SSSD, LDAP, userdb) may know the name, or the number, of a user of ours. Who resolves a name
//! decides whose it is: where the directory does not give the entry that glibc found, our module has not found it
//! either, and the account is another's.

use std::io;
use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, User};
use keymaker_core::id::IdRange;
use keymaker_core::name::UserName;
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::sys::{self, ResolvedUser};
use keymaker_core::{journal, local_files, paths};

/// Where the facts about this host lie, and how it resolves names.
#[derive(Clone, Copy)]
pub struct PamHost<'a> {
    /// /etc/passwd
    pub passwd: &'a Path,
    /// /etc/group
    pub group: &'a Path,
    /// /, below which what runs without a login has left its files
    pub root: &'a Path,
    /// the published directory
    pub directory: &'a Path,
    /// the published keys
    pub keys: &'a Path,
    /// the folder of what the keys command has accepted as proofs
    pub tickets: &'a Path,
    /// its modification time is the last contact with IAM
    pub contact: &'a Path,
    /// where keymakerd listens for root
    pub login_socket: &'a Path,
    /// where the journal takes entries
    pub journal: &'a Path,
    /// where syslog(3) writes
    pub dev_log: &'a Path,
    /// getpwnam(3)
    pub resolve: &'a dyn Fn(&str) -> io::Result<Option<ResolvedUser>>,
    /// the name that getpwuid(3) finds
    pub name_of: &'a dyn Fn(u32) -> io::Result<Option<Vec<u8>>>,
    /// getgrouplist(3)
    pub group_list: &'a dyn Fn(&str, u32) -> io::Result<Vec<u32>>,
}

impl PamHost<'static> {
    /// The host that this process runs on.
    pub fn this() -> Self {
        Self {
            passwd: Path::new(paths::PASSWD),
            group: Path::new(paths::GROUP),
            root: Path::new("/"),
            directory: Path::new(paths::DIRECTORY),
            keys: Path::new(paths::KEYS),
            tickets: Path::new(paths::TICKETS),
            contact: Path::new(paths::CONTACT),
            login_socket: Path::new(paths::LOGIN_SOCKET),
            journal: Path::new(journal::SOCKET),
            dev_log: Path::new(journal::DEV_LOG),
            resolve: &sys::resolve_user,
            name_of: &sys::name_of_uid,
            group_list: &sys::group_list,
        }
    }
}

/// A name as a program gave it to PAM.
#[derive(Clone, Copy, Debug)]
pub struct LoginAccount<'a> {
    /// the name
    pub name: &'a str,
    /// the same, where an IAM user can have it
    pub user_name: Option<UserName>,
    /// what it resolves to now
    pub entry: Option<ResolvedUser>,
    /// the directory's generation before the name was resolved
    pub generation: Option<u64>,
}

/// Whether root or /etc/passwd has this name. Where that file cannot be read, only root is sure to be local.
pub fn is_local(name: &[u8], host: &PamHost<'_>) -> bool {
    let Ok(name) = str::from_utf8(name) else {
        return false;
    };
    local_files::names(host.passwd, name).unwrap_or(name == "root")
}

impl<'a> LoginAccount<'a> {
    /// `None` where the account cannot be ours: another service's with uid 0, or with a name that is not a text.
    pub fn of(name: &'a [u8], host: &PamHost<'_>) -> Option<Self> {
        let name = str::from_utf8(name).ok()?;
        let generation = Directory::open(host.directory)
            .ok()
            .map(|directory| directory.generation());
        // An error here is some other service's; what is ours is found below, by its name.
        let entry = (host.resolve)(name).ok().flatten();
        if entry.is_some_and(|entry| entry.uid == 0) {
            return None;
        }
        Some(Self {
            name,
            user_name: UserName::parse(name.as_bytes()).ok(),
            entry,
            generation,
        })
    }

    /// What the directory says of it.
    pub fn find<'b>(
        &self,
        directory: &Directory,
        buffer: &'b mut [u8; MAX_USER_RECORD],
    ) -> Result<Ownership<'b>, ReadError> {
        let found = match self.user_name {
            Some(name) => directory.user_by_name(name, buffer)?,
            None => None,
        };
        Ok(match (found, self.entry) {
            (Some(user), None) => Ownership::User(user),
            (Some(user), Some(entry)) if entry.uid == user.uid.get() => Ownership::User(user),
            (None, None) => Ownership::NotOurs,
            // Our module answered from this very directory, which has no such entry.
            (_, Some(_)) if self.generation == Some(directory.generation()) => Ownership::NotOurs,
            (_, Some(_)) => Ownership::Outdated,
        })
    }

    /// Whether the account may be ours although no directory can be read: a program that had found it cannot any more,
    /// or the directory was there when it was resolved to a uid of the range that Keymaker draws from. Where it was
    /// not, another service knows the name.
    pub fn may_be_ours(&self, at_login: bool, error: &ReadError) -> bool {
        let may_have_been_read = self.generation.is_some() || matches!(error, ReadError::Io(_));
        match self.entry {
            Some(entry) => may_have_been_read && IdRange::WIDE.contains(entry.uid),
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
    /// another service's, or nobody's
    NotOurs,
    /// this user's, living or a tombstone
    User(User<'b>),
    /// the directory has changed since the name was resolved, and does not give what it resolved to
    Outdated,
}

/// Whether a person logs in by this service just now: then IAM is asked, and the login is written down. Others (cron,
/// sudo, systemd-user) go by what is published.
pub fn at_login(service: &[u8]) -> bool {
    matches!(service, b"sshd" | b"login" | b"remote" | b"su" | b"su-l")
}
