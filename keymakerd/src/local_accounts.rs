//! The accounts of this host, read from /etc/passwd, /etc/group and /etc/shells themselves: keymakerd never asks NSS,
//! which asks keymakerd. The sync reads them at each change of their stamps; names and ids found here are never given
//! to anybody from IAM.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use keymaker_core::directory_file::FileStamp;
use keymaker_core::local_files::{NamedLine, lines, members_named_by};
use keymaker_daemon::account_files::{AccountFiles, AccountFilesError, StampedFile};

use crate::service_names::{ServiceFolders, ServiceNames};

/// What stands in the local files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalAccounts {
    users: BTreeMap<String, LocalUser>,
    groups: BTreeMap<String, LocalGroup>,
    /// Members that /etc/group names, each with the first group and line that does.
    members: BTreeMap<String, (String, usize)>,
    ids: BTreeSet<u32>,
    /// Names that services of this host want.
    pub services: ServiceNames,
    shells: BTreeSet<String>,
    /// The state of /etc/passwd that this was read from.
    pub passwd: FileStamp,
    /// The state of /etc/group that this was read from.
    pub group: FileStamp,
}

/// A line of /etc/passwd. The numbers are `None` where they are not numbers: the name is taken all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalUser {
    /// The user id.
    pub uid: Option<u32>,
    /// The primary group.
    pub gid: Option<u32>,
}

/// A line of /etc/group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalGroup {
    /// The group id, `None` where it is not a number.
    pub gid: Option<u32>,
}

/// The three files, by the paths at which they lie, and the folders that say which names services want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFiles {
    /// passwd(5)
    pub passwd: PathBuf,
    /// group(5)
    pub group: PathBuf,
    /// shells(5)
    pub shells: PathBuf,
    /// sysusers.d(5) and systemd.unit(5)
    pub services: ServiceFolders,
}

impl LocalAccounts {
    /// Reads all of it. An absent shells file means what getusershell(3) says: /bin/sh and /bin/csh.
    pub fn read(files: &LocalFiles) -> Result<Self, AccountFilesError> {
        let AccountFiles { passwd, group } = AccountFiles::read(&files.passwd, &files.group)?;
        let shells = match StampedFile::read(&files.shells) {
            Ok(shells) => String::from_utf8_lossy(&shells.text).into_owned(),
            Err(AccountFilesError::Unreadable(_, why)) if why.kind() == io::ErrorKind::NotFound => {
                "/bin/sh\n/bin/csh\n".to_owned()
            }
            Err(error) => return Err(error),
        };
        let accounts = Self::parse(&passwd.text, &group.text, &shells);
        Ok(Self {
            passwd: passwd.stamp,
            group: group.stamp,
            services: ServiceNames::read(&files.services),
            ..accounts
        })
    }

    /// What the texts of the three files say; the stamps are zero.
    pub fn parse(passwd: impl AsRef<[u8]>, group: impl AsRef<[u8]>, shells: &str) -> Self {
        let mut accounts = Self::default();
        // A name that is not UTF-8 can equal none of ours, so its exact bytes do not matter.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for line in lines(passwd.as_ref()).filter_map(NamedLine::parse) {
            accounts.ids.extend(line.id.iter().chain(&line.gid));
            // As glibc's `files`: the first line of a name counts.
            let user = LocalUser {
                uid: line.id,
                gid: line.gid,
            };
            accounts.users.entry(text(line.name)).or_insert(user);
        }
        for (line, number) in lines(group.as_ref()).zip(1..) {
            if let Some(line) = NamedLine::parse(line) {
                accounts.ids.extend(line.id);
                let group = LocalGroup { gid: line.id };
                accounts.groups.entry(text(line.name)).or_insert(group);
            }
            let (name, members) = members_named_by(line);
            for member in members {
                let of = || (text(name), number);
                accounts.members.entry(text(member)).or_insert_with(of);
            }
        }
        let shells = shells.lines().map(str::trim);
        let shells = shells.filter(|line| !line.is_empty() && !line.starts_with('#'));
        accounts.shells = shells.map(str::to_owned).collect();
        accounts
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&LocalUser> {
        self.users.get(name)
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&LocalGroup> {
        self.groups.get(name)
    }

    /// The name of the group of this number.
    pub fn group_of_gid(&self, gid: u32) -> Option<&str> {
        let named = self.groups.iter().find(|(_, group)| group.gid == Some(gid));
        named.map(|(name, _)| name.as_str())
    }

    /// The first group that has this name for a member, and the line of /etc/group, from 1, that says so.
    pub fn membership(&self, name: &str) -> Option<(&str, usize)> {
        let (group, line) = self.members.get(name)?;
        Some((group, *line))
    }

    /// Whether the number is the uid or gid of anything local.
    pub fn owns_id(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// Whether shells(5) allows this login shell.
    pub fn allows_shell(&self, path: &str) -> bool {
        self.shells.contains(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    #[test]
    fn every_name_and_number_of_the_local_files_is_known() {
        let accounts = LocalAccounts::parse(
            "root:x:0:0:root:/root:/bin/bash\n# comment:x:5:5\n\n  dave:x:1001:1002::/:/bin/sh\ndave:x:7:7\nbad:x:y:\nshort\nb\u{fffd}d:x:8:8",
            "root:x:0:\nsudo:x:27:alice, bob,\nodd:x:z:carol\nend:x:99999999999:\n#off:x:28:erin",
            "# shells\n/bin/sh\n /bin/bash \n",
        );
        assert_eq!(
            accounts.user("dave"),
            Some(&LocalUser {
                uid: Some(1001),
                gid: Some(1002)
            }),
            "the first line counts"
        );
        assert!(
            ["root", "bad", "short"]
                .iter()
                .all(|name| accounts.user(name).is_some())
        );
        assert!(
            accounts.user("# comment").is_none() && accounts.user("comment").is_none() && accounts.user("").is_none()
        );
        assert_eq!(accounts.membership("bob"), Some(("sudo", 2)));
        assert_eq!(accounts.membership("carol"), Some(("odd", 3)));
        assert_eq!(
            accounts.membership("erin"),
            Some(("#off", 5)),
            "as getgrouplist(3) has it"
        );
        assert_eq!(accounts.membership("sudo"), None);
        assert_eq!(
            (accounts.group("odd").unwrap().gid, accounts.group("end").unwrap().gid),
            (None, None)
        );
        for id in [0, 1001, 1002, 7, 27] {
            assert!(accounts.owns_id(id), "{id}");
        }
        assert!(!accounts.owns_id(5) && !accounts.owns_id(99));
        assert!(
            accounts.allows_shell("/bin/sh")
                && accounts.allows_shell("/bin/bash")
                && !accounts.allows_shell("/bin/false")
        );
    }

    #[test]
    fn a_host_is_read_with_stamps_and_with_bytes_that_are_not_text() {
        let folder = TestFolder::new();
        let files = LocalFiles {
            passwd: folder.file("passwd", "root:x:0:0::/root:/bin/sh\n"),
            group: folder.file("group", b"root:x:0:\nb\xff:x:1:\n"),
            shells: folder.join("shells"),
            services: ServiceFolders::default(),
        };
        let accounts = LocalAccounts::read(&files).unwrap();
        assert_eq!(accounts.passwd, FileStamp::of(&files.passwd.metadata().unwrap()));
        assert_eq!(accounts.group, FileStamp::of(&files.group.metadata().unwrap()));
        assert!(
            accounts.owns_id(1) && accounts.allows_shell("/bin/csh"),
            "getusershell(3)'s default"
        );
    }
}
