//! The supplementary groups of a user of ours; abi.rs calls, when sshd, sudo or cron starts a session. Never asks the
//! daemon.
//!
//! The directory was made from /etc/passwd and /etc/group as keymakerd last read them. They may have changed since, and
//! the daemon be dead: a local user must not inherit a namesake's groups, nor a user of ours a gid that now means
//! something else. Local users are found out first, so that nothing of ours, not even a hanging file system, can stop
//! their logins.
//!
//! Another service (SSSD, LDAP, userdb) may have a user of the same name. glibc asks every service and adds up what
//! they say; but it passes on the primary gid of the account that the groups are for, and ours are private: only that
//! number is the user of ours. (With another one, as `su -g` and `Group=` of a unit have it, a user of ours has no
//! groups of ours.)

use std::io;

use keymaker_core::directory_file::records::MAX_GROUPS;
use keymaker_core::directory_file::{Directory, Header, LocalStamps, MAX_USER_RECORD, User};
use keymaker_core::id::Gid;
use keymaker_core::local_files;
use keymaker_core::paths;

use crate::local::{self, ChangedFiles};
use crate::{LookupError, NssHost, name_of_ours, resolves};

/// The gids that a user has besides the primary one.
pub(crate) struct SupplementaryGids {
    gids: [u32; MAX_GROUPS + 1],
    count: usize,
}

/// The groups of the account with this name and primary group, if it is ours: the record's, and keymaker-users.
pub(crate) fn of_user(host: &NssHost<'_>, name: &[u8], primary: u32) -> Result<SupplementaryGids, LookupError> {
    let name = name_of_ours(name)?;
    if local_files::names(host.passwd, name.as_str()).map_err(unreadable)? {
        return Err(LookupError::NotFound);
    }
    let directory = Directory::open(host.directory)?;
    let header = directory.header();
    let mut record = [0; MAX_USER_RECORD];
    let user = directory
        .user_by_name(name, &mut record)?
        .filter(|user| resolves(user, &header) && user.uid.get() == primary)
        .filter(|user| !ChangedFiles::since(LocalStamps::of(&header), host).have(user.name.as_str(), user.uid.get()))
        .ok_or(LookupError::NotFound)?;
    memberships(host, &header, &user).map_err(unreadable)
}

/// Where /etc/group has changed, its gids may mean other groups: only keymaker-users is kept, looked up again, since
/// without it sshd's `Match` block would not hold for the user.
fn memberships(host: &NssHost<'_>, header: &Header<'_>, user: &User<'_>) -> io::Result<SupplementaryGids> {
    let changed = local::has_changed(host.group, header.group)?;
    let keymaker_users = if changed {
        local_files::number_of(host.group, paths::KEYMAKER_USERS)?.unwrap_or_default()
    } else {
        header.keymaker_users_gid
    };
    let still_ours = |gid: u32| !changed || !local_files::has_id(host.group, gid).unwrap_or(true);
    let ours = |gid: u32| Gid::new(gid).is_some() && header.in_ranges(gid) && still_ours(gid);
    let local = |gid: u32| !changed && header.allows_local_gid(gid);
    let named = user.groups().filter(|gid| ours(*gid) || local(*gid));
    Ok(SupplementaryGids::of(named.chain([keymaker_users])))
}

/// What a local file says is not known; to go by the older state could give a local user somebody else's groups.
fn unreadable(_: io::Error) -> LookupError {
    LookupError::CannotTell
}

impl SupplementaryGids {
    /// gid 0 is never given, whatever any file says. A record holds [`MAX_GROUPS`] gids at most, so all have room.
    pub fn of(gids: impl Iterator<Item = u32>) -> Self {
        let mut memberships = Self {
            gids: [0; MAX_GROUPS + 1],
            count: 0,
        };
        for (slot, gid) in memberships.gids.iter_mut().zip(gids.filter(|gid| *gid != 0)) {
            *slot = gid;
            memberships.count += 1;
        }
        memberships
    }

    /// The gids.
    pub fn gids(&self) -> &[u32] {
        self.gids.get(..self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests_support::{ALICE, BOB, DEVS, KEYMAKER_USERS, SUDO, TestHost};

    /// As glibc asks when the account is the one of ours.
    fn groups(host: &TestHost, name: &str) -> Result<Vec<u32>, LookupError> {
        let number = match name {
            "alice" => ALICE,
            "bob" => BOB,
            _ => 1000,
        };
        groups_of(host, name, number)
    }

    fn groups_of(host: &TestHost, name: &str, primary: u32) -> Result<Vec<u32>, LookupError> {
        of_user(&host.host(), name.as_bytes(), primary).map(|found| found.gids().to_vec())
    }

    // P1
    #[test]
    fn another_services_account_of_the_name_has_none_of_the_namesakes_groups() {
        let host = TestHost::new();
        for primary in [0, 100, 5000, BOB, DEVS, u32::MAX] {
            assert_eq!(
                groups_of(&host, "alice", primary),
                Err(LookupError::NotFound),
                "{primary}"
            );
        }
    }

    // P1
    #[test]
    fn a_gid_that_a_local_group_has_come_to_have_is_given_to_nobody() {
        let host = TestHost::new();
        let group = format!("payroll:x:{DEVS}:\nkeymaker-users:x:{KEYMAKER_USERS}:\n");
        std::fs::write(host.host().group, group).unwrap();
        assert_eq!(groups(&host, "alice"), Ok(vec![KEYMAKER_USERS]));
    }

    // P1
    #[test]
    fn a_user_has_the_records_groups_and_keymaker_users_and_no_gid_that_nobody_allowed() {
        let host = TestHost::new();
        assert_eq!(groups(&host, "alice"), Ok(vec![DEVS, SUDO, KEYMAKER_USERS]));
    }

    #[test]
    fn whoever_is_not_ours_is_not_found_and_a_system_user_without_opening_anything() {
        let host = TestHost::new();
        for name in ["gone", "nosuch", "stray", "wheel", "messagebus", "root", "2000"] {
            assert_eq!(groups(&host, name), Err(LookupError::NotFound), "{name}");
        }
        std::fs::remove_file(host.host().directory).unwrap();
        assert_eq!(groups(&host, "messagebus"), Err(LookupError::NotFound));
        assert_eq!(groups(&host, "alice"), Err(LookupError::CannotTell));
    }

    // P1
    #[test]
    fn a_local_user_added_later_has_none_of_the_namesakes_groups() {
        let host = TestHost::new();
        std::fs::write(
            host.host().passwd,
            "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n",
        )
        .unwrap();
        assert_eq!(groups(&host, "alice"), Err(LookupError::NotFound));
        assert_eq!(groups(&host, "bob"), Ok(vec![DEVS, SUDO, KEYMAKER_USERS]));
    }

    // P1
    #[test]
    fn where_the_local_groups_have_changed_only_keymaker_users_is_kept_at_its_present_gid() {
        let host = TestHost::new();
        std::fs::write(host.host().group, "sudo:x:27:\nkeymaker-users:x:991:\n").unwrap();
        assert_eq!(groups(&host, "alice"), Ok(vec![DEVS, 991]));
        std::fs::write(host.host().group, "sudo:x:27:\nkeymaker-users:x:0:\n").unwrap();
        assert_eq!(groups(&host, "alice"), Ok(vec![DEVS]));
        std::fs::write(host.host().group, "sudo:x:27:\n").unwrap();
        assert_eq!(groups(&host, "alice"), Ok(vec![DEVS]));
    }

    // P1
    #[test]
    fn a_local_file_that_cannot_be_read_gives_nobody_groups() {
        for unreadable in [2, 3] {
            let host = TestHost::new();
            std::fs::remove_file(&host.paths()[unreadable]).unwrap();
            assert_eq!(groups(&host, "alice"), Err(LookupError::CannotTell));
        }
    }
}
