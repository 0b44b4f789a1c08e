//! Knows the names and groups of this host's local accounts.
//!
//! The metadata server asks for a caller's names, because rules and chains may go by them; the capture program asks for
//! the uids of exempt names. Both files are parsed here and not asked for through glibc: getpwuid could ask the directory
//! daemon, a directory server, or this daemon itself. They are read again when they change.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What rules and chains can go by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Account {
    /// The name, if the uid has one.
    pub user: Option<String>,
    /// The names of the account's groups, the primary one first.
    pub groups: Vec<String>,
}

/// Where accounts are looked up.
pub trait Accounts {
    /// The account of `uid`; an empty one if it has none. Never fails: who has no name matches no rule that names somebody.
    fn account(&self, uid: u32) -> Account;
}

/// Why the local accounts are not known.
#[derive(Debug)]
pub enum AccountsError {
    /// The file could not be read; every system has it, world-readable.
    Read(PathBuf, io::Error),
}

/// `/etc/passwd` and `/etc/group`.
pub struct LocalAccounts {
    passwd: PathBuf,
    group: PathBuf,
    read: RefCell<Option<Snapshot>>,
}

impl LocalAccounts {
    /// Reads nothing before it is asked. The paths are parameters for the tests.
    pub fn new(passwd: impl Into<PathBuf>, group: impl Into<PathBuf>) -> Self {
        Self {
            passwd: passwd.into(),
            group: group.into(),
            read: RefCell::new(None),
        }
    }

    /// The host's own files.
    pub fn host() -> Self {
        Self::new("/etc/passwd", "/etc/group")
    }

    /// The uid of `name`; None if no local account has that name.
    pub fn uid(&self, name: &str) -> Result<Option<u32>, AccountsError> {
        self.with_snapshot(|snapshot| {
            snapshot
                .users
                .iter()
                .find(|user| user.name == name)
                .map(|user| user.uid)
        })
    }

    /// The name of the local group `gid`; None where there is none, or the file cannot be read.
    pub fn group_name(&self, gid: u32) -> Option<String> {
        self.with_snapshot(|snapshot| snapshot.group_names.get(&gid).cloned())
            .ok()
            .flatten()
    }

    fn with_snapshot<T>(&self, ask: impl FnOnce(&Snapshot) -> T) -> Result<T, AccountsError> {
        let stamps = [stamp(&self.passwd)?, stamp(&self.group)?];
        let mut read = self.read.borrow_mut();
        let snapshot = match read.take() {
            Some(snapshot) if snapshot.stamps == stamps => snapshot,
            _ => Snapshot::read(&self.passwd, &self.group, stamps)?,
        };
        Ok(ask(read.insert(snapshot)))
    }
}

impl Accounts for LocalAccounts {
    fn account(&self, uid: u32) -> Account {
        self.with_snapshot(|snapshot| snapshot.account(uid))
            .unwrap_or_else(|error| {
                tracing::error!(
                    ?error,
                    "the local accounts cannot be read; nobody has a name until they can"
                );
                Account::default()
            })
    }
}

/// What the files said when they had these stamps.
struct Snapshot {
    stamps: [Stamp; 2],
    users: Vec<PasswdLine>,
    group_names: HashMap<u32, String>,
    memberships: HashMap<String, Vec<u32>>,
}

struct PasswdLine {
    name: String,
    uid: u32,
    gid: u32,
}

impl Snapshot {
    fn read(passwd: &Path, group: &Path, stamps: [Stamp; 2]) -> Result<Self, AccountsError> {
        let text = |path: &Path| fs::read(path).map_err(|error| AccountsError::Read(path.into(), error));
        let (passwd, group) = (text(passwd)?, text(group)?);
        let (mut group_names, mut memberships) = (HashMap::new(), HashMap::<String, Vec<u32>>::new());
        for fields in lines(&String::from_utf8_lossy(&group)) {
            let [name, _, gid, members, ..] = fields.as_slice() else {
                continue;
            };
            let Ok(gid) = gid.parse() else { continue };
            // The first line with an id counts, as in glibc.
            group_names.entry(gid).or_insert_with(|| (*name).to_owned());
            for member in members.split(',').filter(|member| !member.is_empty()) {
                memberships.entry(member.to_owned()).or_default().push(gid);
            }
        }
        let users = lines(&String::from_utf8_lossy(&passwd))
            .filter_map(|fields| passwd_line(&fields))
            .collect();
        Ok(Self {
            stamps,
            users,
            group_names,
            memberships,
        })
    }

    fn account(&self, uid: u32) -> Account {
        let Some(user) = self.users.iter().find(|user| user.uid == uid) else {
            return Account::default();
        };
        let secondary = self.memberships.get(&user.name).into_iter().flatten();
        let gids = std::iter::once(&user.gid).chain(secondary);
        let groups = gids.filter_map(|gid| self.group_names.get(gid).cloned()).collect();
        Account {
            user: Some(user.name.clone()),
            groups,
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.starts_with(['#', '+', '-']))
        .map(|line| line.split(':').collect())
}

fn passwd_line(fields: &[&str]) -> Option<PasswdLine> {
    let [name, _, uid, gid, ..] = fields else { return None };
    Some(PasswdLine {
        name: (*name).to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
    })
}

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

fn stamp(path: &Path) -> Result<Stamp, AccountsError> {
    let found = fs::metadata(path).map_err(|error| AccountsError::Read(path.into(), error))?;
    Ok(Stamp {
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(name: &str) -> (LocalAccounts, PathBuf) {
        let folder = std::env::temp_dir().join(format!("credd-accounts-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (passwd, group) = (folder.join("passwd"), folder.join("group"));
        fs::write(
            &passwd,
            "root:x:0:0::/root:/bin/sh\n# x\nweb:x:33:33::/:/bin/sh\ntwin:x:33:5::/:/bin/sh\nbad:x:y:1::\n",
        )
        .unwrap();
        fs::write(&group, "root:x:0:\nweb:x:33:\ntls:x:5:other,web\nbroken\n").unwrap();
        (LocalAccounts::new(&passwd, &group), passwd)
    }

    #[test]
    fn a_uid_gets_its_first_name_and_all_its_groups() {
        let (accounts, _) = accounts("first");
        let web = Account {
            user: Some("web".into()),
            groups: vec!["web".into(), "tls".into()],
        };
        assert_eq!(accounts.account(33), web);
        assert_eq!(accounts.account(34), Account::default());
        assert_eq!(accounts.uid("root").unwrap(), Some(0));
        assert_eq!(accounts.uid("bad").unwrap(), None);
    }

    #[test]
    fn a_changed_file_is_read_again_and_an_unreadable_one_gives_nobody_a_name() {
        let (accounts, passwd) = accounts("changed");
        assert_eq!(accounts.uid("late").unwrap(), None);
        fs::write(&passwd, "late:x:7000:33::/:/bin/sh\n").unwrap();
        assert_eq!(accounts.uid("late").unwrap(), Some(7000));
        fs::remove_file(&passwd).unwrap();
        assert_eq!(accounts.account(7000), Account::default());
    }
}
