//! Knows the names and groups of this host's local accounts.
//!
//! The metadata server asks for a caller's names, because rules and chains may go by them; the capture program asks for
//! the uids of exempt names. Both files are parsed here and not asked for through glibc: getpwuid could ask the
//! directory daemon, a directory server, or this daemon itself. They are read again when they change, as glibc reads
//! them. What cannot be told is told as a doubt, never as "nobody": a chain or rule that denies somebody would be
//! passed over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use keymaker_core::directory_file::FileStamp;
use keymaker_core::local_files::{GroupLine, PasswdLine, lines};
use keymaker_core::{nsswitch, paths};
use keymaker_daemon::account_files::{AccountFiles, AccountFilesError};

/// What rules and chains can go by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Account {
    /// The name, if the uid has one.
    pub user: Option<String>,
    /// The names of the account's groups, the primary one first.
    pub groups: Vec<String>,
    /// Whether the account may have another name, or more groups, than stand here: something could not be read, or
    /// another service of nsswitch.conf knows this uid and is not asked.
    pub is_doubtful: bool,
}

/// Nobody can tell whether a chain or a rule is about this caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountDoubt;

impl Account {
    /// An account of which nothing can be told.
    pub fn unknown() -> Self {
        Self {
            is_doubtful: true,
            ..Self::default()
        }
    }

    /// Whether this is the account of that name.
    pub fn is_user(&self, name: &str) -> Result<bool, AccountDoubt> {
        match &self.user {
            Some(user) => Ok(user == name),
            None if self.is_doubtful => Err(AccountDoubt),
            None => Ok(false),
        }
    }

    /// Whether the account is a member of that group.
    pub fn is_in(&self, group: &str) -> Result<bool, AccountDoubt> {
        match self.groups.iter().any(|name| name == group) {
            false if self.is_doubtful => Err(AccountDoubt),
            found => Ok(found),
        }
    }
}

/// Where accounts are looked up.
pub trait Accounts {
    /// The account of `uid`: an empty one if it has none, a doubtful one if that cannot be told.
    fn account(&self, uid: u32) -> Account;
}

/// `/etc/passwd` and `/etc/group`.
pub struct LocalNames {
    passwd: PathBuf,
    group: PathBuf,
    nsswitch: PathBuf,
    read: RefCell<Option<Snapshot>>,
}

impl LocalNames {
    /// Reads nothing before it is asked. The paths are parameters for the tests.
    pub fn new(passwd: impl Into<PathBuf>, group: impl Into<PathBuf>) -> Self {
        Self {
            passwd: passwd.into(),
            group: group.into(),
            nsswitch: "/dev/null".into(),
            read: RefCell::new(None),
        }
    }

    /// The host's own files.
    pub fn host() -> Self {
        Self::new(paths::PASSWD, paths::GROUP).with_services(paths::NSSWITCH)
    }

    /// The same, with the services that this nsswitch.conf(5) names.
    pub fn with_services(self, nsswitch: impl Into<PathBuf>) -> Self {
        Self {
            nsswitch: nsswitch.into(),
            ..self
        }
    }

    /// Whether users or groups of this host may stand elsewhere than in its files and in the directory. A file that
    /// cannot be read may name any service; one that is absent names `files` only.
    pub fn has_other_services(&self) -> bool {
        match nsswitch::read(&self.nsswitch) {
            Ok(text) => ["passwd", "group", "initgroups"]
                .iter()
                .any(|database| nsswitch::others(&text, database).next().is_some()),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// The uid of `name`; None if no local account has that name.
    pub fn uid(&self, name: &str) -> Result<Option<u32>, AccountFilesError> {
        self.with_snapshot(|snapshot| {
            snapshot
                .users
                .iter()
                .find(|user| user.name == name.as_bytes())
                .map(|user| user.uid)
        })
    }

    /// The name of the local group `gid`; None where there is none.
    pub fn group_name(&self, gid: u32) -> Result<Option<String>, AccountFilesError> {
        self.with_snapshot(|snapshot| snapshot.group_names.get(&gid).cloned())
    }

    /// The gids of the local groups that name `user` as a member, whether that is a local account or not.
    pub fn memberships(&self, user: &str) -> Result<Vec<u32>, AccountFilesError> {
        self.with_snapshot(|snapshot| snapshot.memberships.get(user.as_bytes()).cloned().unwrap_or_default())
    }

    fn with_snapshot<T>(&self, ask: impl FnOnce(&Snapshot) -> T) -> Result<T, AccountFilesError> {
        let stamps = AccountFiles::stamps_now(&self.passwd, &self.group)?;
        let mut read = self.read.borrow_mut();
        let snapshot = match read.take() {
            Some(snapshot) if snapshot.stamps == stamps => snapshot,
            _ => Snapshot::of(&AccountFiles::read(&self.passwd, &self.group)?),
        };
        Ok(ask(read.insert(snapshot)))
    }
}

impl Accounts for LocalNames {
    fn account(&self, uid: u32) -> Account {
        self.with_snapshot(|snapshot| snapshot.account(uid))
            .unwrap_or_else(|error| {
                tracing::error!(
                    %error,
                    "{error}; until the local accounts can be read, every caller whom a chain or rule might name is refused"
                );
                Account::unknown()
            })
    }
}

/// What the files said when they had these stamps.
struct Snapshot {
    stamps: [FileStamp; 2],
    users: Vec<LocalName>,
    group_names: HashMap<u32, String>,
    memberships: HashMap<Vec<u8>, Vec<u32>>,
}

struct LocalName {
    name: Vec<u8>,
    uid: u32,
    gid: u32,
}

impl Snapshot {
    fn of(files: &AccountFiles) -> Self {
        let (passwd, group) = (&files.passwd.text, &files.group.text);
        let (mut group_names, mut memberships) = (HashMap::new(), HashMap::<Vec<u8>, Vec<u32>>::new());
        for line in lines(group).filter_map(GroupLine::parse) {
            // The first line with an id counts, as in glibc.
            let name = || String::from_utf8_lossy(line.name).into_owned();
            group_names.entry(line.gid).or_insert_with(name);
        }
        for line in lines(group).filter_map(GroupLine::parse_membership) {
            for member in line.members() {
                memberships.entry(member.to_vec()).or_default().push(line.gid);
            }
        }
        let users = lines(passwd).filter_map(PasswdLine::parse).map(|line| LocalName {
            name: line.name.to_vec(),
            uid: line.uid,
            gid: line.gid,
        });
        Self {
            stamps: files.stamps(),
            users: users.collect(),
            group_names,
            memberships,
        }
    }

    fn account(&self, uid: u32) -> Account {
        let Some(user) = self.users.iter().find(|user| user.uid == uid) else {
            return Account::default();
        };
        let secondary = self.memberships.get(&user.name).into_iter().flatten();
        let gids = std::iter::once(&user.gid).chain(secondary);
        let groups = gids.filter_map(|gid| self.group_names.get(gid).cloned()).collect();
        Account {
            user: Some(String::from_utf8_lossy(&user.name).into_owned()),
            groups,
            is_doubtful: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use test_folder::TestFolder;

    const ROOT: &str = "root:x:0:0::/root:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\ntls:x:5:other,web\nbroken\n";

    fn accounts(folder: &TestFolder) -> (LocalNames, PathBuf) {
        let web = "# x\nweb:x:33:33::/:/bin/sh\ntwin:x:33:5::/:/bin/sh\nbad:x:y:1::\n";
        let passwd = folder.file("passwd", format!("{ROOT}{web}"));
        (LocalNames::new(&passwd, folder.file("group", GROUP)), passwd)
    }

    #[test]
    fn a_uid_gets_its_first_name_and_all_its_groups() {
        let folder = TestFolder::new();
        let (accounts, _) = accounts(&folder);
        let web = Account {
            user: Some("web".into()),
            groups: vec!["web".into(), "tls".into()],
            is_doubtful: false,
        };
        assert_eq!(accounts.account(33), web);
        assert_eq!(accounts.account(34), Account::default());
        assert_eq!(accounts.uid("root").unwrap(), Some(0));
        assert_eq!(accounts.uid("bad").unwrap(), None);
    }

    #[test]
    fn a_changed_file_is_read_again_and_an_unreadable_one_is_a_doubt_about_everybody() {
        let folder = TestFolder::new();
        let (accounts, passwd) = accounts(&folder);
        assert_eq!(accounts.uid("late").unwrap(), None);
        folder.file("passwd", format!("{ROOT}late:x:7000:33::/:/bin/sh\n"));
        assert_eq!(accounts.uid("late").unwrap(), Some(7000));
        fs::remove_file(&passwd).unwrap();
        assert_eq!(accounts.account(7000), Account::unknown());
        assert!(accounts.group_name(33).is_err() && accounts.memberships("late").is_err());
    }

    // P13
    #[test]
    fn local_files_that_are_not_whole_are_a_doubt_about_everybody() {
        let folder = TestFolder::new();
        let (accounts, passwd) = accounts(&folder);
        let group = passwd.with_file_name("group");
        for (passwd_text, group_text) in [
            ("", "root:x:0:\n"),
            ("zed:x:2555:5::/:/bin/sh\n", "root:x:0:\n"),
            (ROOT, ""),
            (ROOT, "tls:x:5:zed\n"),
        ] {
            fs::write(&passwd, passwd_text).unwrap();
            fs::write(&group, group_text).unwrap();
            assert_eq!(
                accounts.account(2555),
                Account::unknown(),
                "{passwd_text:?} {group_text:?}"
            );
            assert!(
                accounts.uid("zed").is_err() && accounts.memberships("zed").is_err() && accounts.group_name(5).is_err()
            );
        }
        fs::write(&group, "root:x:0:\n").unwrap();
        assert_eq!(accounts.account(2555), Account::default());
        // Its size is never what is read from it, as when a file grows under the reader.
        let restless = LocalNames::new("/proc/version", &group);
        assert_eq!(restless.account(2555), Account::unknown());
    }

    // P13
    #[test]
    fn a_file_that_changes_in_one_thing_only_is_read_again() {
        use std::time::{Duration, SystemTime};
        let folder = TestFolder::new();
        let (accounts, passwd) = accounts(&folder);
        let (next, group) = (passwd.with_file_name("next"), passwd.with_file_name("group"));
        let first = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let later = first + Duration::from_millis(1);
        let write = |path: &Path, name: &str, time: SystemTime| {
            fs::write(path, format!("{ROOT}{name}:x:33:33::/:/bin/sh\n")).unwrap();
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        let is_user = |name: &str| assert_eq!(accounts.account(33).user.as_deref(), Some(name));
        write(&passwd, "ann", first);
        is_user("ann");
        write(&passwd, "bob", later);
        is_user("bob");
        write(&passwd, "bobby", later);
        is_user("bobby");
        write(&next, "carol", later);
        fs::rename(&next, &passwd).unwrap();
        is_user("carol");
        fs::write(&group, "root:x:0:\nstaff:x:33:\n").unwrap();
        assert_eq!(accounts.account(33).groups, ["staff"]);
    }

    // P13
    #[test]
    fn a_name_that_glibc_reads_is_read_here() {
        let folder = TestFolder::new();
        let (accounts, passwd) = accounts(&folder);
        fs::write(
            &passwd,
            "root:x:0:0\n\tzed:x: 2555:5::/:/bin/sh\n+nis::0:0:::\n#out:x:2556:5::/:/bin/sh",
        )
        .unwrap();
        let zed = accounts.account(2555);
        assert_eq!((zed.user.as_deref(), zed.groups), (Some("zed"), vec!["tls".to_owned()]));
        assert_eq!(accounts.account(2556), Account::default());
        assert_eq!(accounts.uid("+nis").unwrap(), None);
    }

    // P13
    #[test]
    fn another_service_of_users_or_groups_in_nsswitch_conf_is_seen() {
        let folder = TestFolder::new();
        let (accounts, passwd) = accounts(&folder);
        let nsswitch = passwd.with_file_name("nsswitch.conf");
        let accounts = accounts.with_services(&nsswitch);
        assert!(!accounts.has_other_services(), "without the file there is `files`");
        for (text, others) in [
            ("passwd: files [!UNAVAIL = return] keymaker # sss\n", false),
            ("passwd: files\ngroup: files sss\n", true),
            ("initgroups: files sss\n", true),
            ("shadow: files sss\n", false),
        ] {
            fs::write(&nsswitch, text).unwrap();
            assert_eq!(accounts.has_other_services(), others, "{text}");
        }
        fs::write(&nsswitch, b"passwd: files # f\xfcr alle, in Latin-1\n").unwrap();
        assert!(!accounts.has_other_services(), "a comment names nobody");
        fs::write(&nsswitch, b"passwd: \xff").unwrap();
        assert!(accounts.has_other_services(), "what cannot be read may be anything");
    }
}
