//! Puts questions to glibc, and judges the answers. Allocates nothing, so that it can ask from anywhere.

use std::ffi::{CStr, c_char, c_int};
use std::mem::MaybeUninit;

use crate::published::KnownUser;

/// What came of a question about somebody who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The answer was right.
    Right,
    /// The answer was another one than the right one.
    Wrong,
    /// There was no answer, and this error: 0 is "not found".
    Lost(c_int),
}

/// Where glibc puts an answer: large enough for every known user and team.
pub struct Answer {
    bytes: [c_char; 4096],
}

impl Answer {
    pub const fn new() -> Self {
        Self { bytes: [0; 4096] }
    }

    /// `getpwnam_r(3)` about a known user.
    pub fn user_by_name(&mut self, user: &KnownUser) -> Judged {
        judged(self.passwd(Question::Name(&user.name)), |entry| is_user(entry, user))
    }

    /// `getpwuid_r(3)` about a known user.
    pub fn user_by_uid(&mut self, user: &KnownUser) -> Judged {
        judged(self.passwd(Question::Id(user.uid)), |entry| is_user(entry, user))
    }

    /// `getpwnam_r(3)` about a known user: the full name.
    pub fn full_name(&mut self, user: &KnownUser) -> Option<&CStr> {
        let entry = self.passwd(Question::Name(&user.name)).ok()??;
        // SAFETY: glibc filled the entry, its texts are terminated, and they lie in this answer's bytes.
        Some(unsafe { CStr::from_ptr(entry.pw_gecos) })
    }

    /// `getpwnam_r(3)` about anybody: whether there is an entry, or an error.
    pub fn is_user(&mut self, name: &CStr) -> Result<bool, c_int> {
        self.passwd(Question::Name(name)).map(|entry| entry.is_some())
    }

    /// `getpwuid_r(3)` about any number: whether there is an entry, or an error.
    pub fn is_uid(&mut self, uid: u32) -> Result<bool, c_int> {
        self.passwd(Question::Id(uid)).map(|entry| entry.is_some())
    }

    /// `getgrnam_r(3)` or `getgrgid_r(3)` about the private group of a known user, and about a team with 70 members.
    pub fn group(&mut self, user: &KnownUser, by_name: bool) -> Judged {
        let question = if by_name {
            Question::Name(&user.name)
        } else {
            Question::Id(user.uid)
        };
        judged(self.group_entry(question), |entry| {
            // SAFETY: glibc filled the entry, and its texts are terminated.
            let name = unsafe { CStr::from_ptr(entry.gr_name) };
            // SAFETY: the array ends with a null pointer, so it has at least that.
            entry.gr_gid == user.uid && name == &*user.name && unsafe { entry.gr_mem.read() }.is_null()
        })
    }

    /// `getgrgid_r(3)` about a known user's team: it must list the user among all its members, in order.
    pub fn team(&mut self, user: &KnownUser) -> Judged {
        let gid = user.groups[0];
        judged(self.group_entry(Question::Id(gid)), |entry| {
            let mut found = false;
            let mut count = 0;
            loop {
                // SAFETY: glibc filled the array, which ends with a null pointer.
                let member = unsafe { entry.gr_mem.add(count).read() };
                if member.is_null() {
                    break;
                }
                // SAFETY: each pointer before it leads to a terminated text.
                found |= unsafe { CStr::from_ptr(member) } == &*user.name;
                count += 1;
            }
            entry.gr_gid == gid && found && (71..=72).contains(&count)
        })
    }

    fn passwd(&mut self, question: Question<'_>) -> Result<Option<libc::passwd>, c_int> {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        let (buffer, len) = (self.bytes.as_mut_ptr(), self.bytes.len());
        // SAFETY: everything passed is live through the call and ours, and the name is terminated.
        let code = unsafe {
            match question {
                Question::Name(name) => {
                    libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer, len, &raw mut found)
                }
                Question::Id(uid) => libc::getpwuid_r(uid, entry.as_mut_ptr(), buffer, len, &raw mut found),
            }
        };
        // SAFETY: a non-null result says that the entry was filled.
        outcome(code, (!found.is_null()).then(|| unsafe { entry.assume_init() }))
    }

    fn group_entry(&mut self, question: Question<'_>) -> Result<Option<libc::group>, c_int> {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        let (buffer, len) = (self.bytes.as_mut_ptr(), self.bytes.len());
        // SAFETY: everything passed is live through the call and ours, and the name is terminated.
        let code = unsafe {
            match question {
                Question::Name(name) => {
                    libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer, len, &raw mut found)
                }
                Question::Id(gid) => libc::getgrgid_r(gid, entry.as_mut_ptr(), buffer, len, &raw mut found),
            }
        };
        // SAFETY: a non-null result says that the entry was filled.
        outcome(code, (!found.is_null()).then(|| unsafe { entry.assume_init() }))
    }
}

/// What getgrouplist(3) says about a known user.
pub fn groups_of(user: &KnownUser) -> Vec<libc::gid_t> {
    let mut groups = vec![0; 100];
    let mut count = groups.len() as c_int;
    // SAFETY: as below.
    let code = unsafe { libc::getgrouplist(user.name.as_ptr(), user.uid, groups.as_mut_ptr(), &raw mut count) };
    assert!(code >= 0);
    groups.truncate(count as usize);
    groups
}

/// getgrouplist(3) about a known user, into a list of this size: the groups must be exactly the user's, in any order.
pub fn group_list(user: &KnownUser) -> Judged {
    let mut groups = [0; 16];
    let mut count = groups.len() as c_int;
    // SAFETY: a terminated name, a list of `count` gids, and a live count.
    let code = unsafe { libc::getgrouplist(user.name.as_ptr(), user.uid, groups.as_mut_ptr(), &raw mut count) };
    let right = user.groups;
    let found = &groups[..(count as usize).min(groups.len())];
    if code < 0 || found.iter().any(|gid| *gid != user.uid && !right.contains(gid)) {
        Judged::Wrong
    } else if found.len() == right.len() + 1 && right.iter().all(|gid| found.contains(gid)) {
        Judged::Right
    } else {
        Judged::Lost(found.len() as c_int)
    }
}

#[derive(Clone, Copy)]
enum Question<'a> {
    Name(&'a CStr),
    Id(u32),
}

fn outcome<T>(code: c_int, entry: Option<T>) -> Result<Option<T>, c_int> {
    if code == 0 { Ok(entry) } else { Err(code) }
}

fn judged<T>(outcome: Result<Option<T>, c_int>, is_right: impl FnOnce(&T) -> bool) -> Judged {
    match outcome {
        Ok(Some(entry)) if is_right(&entry) => Judged::Right,
        Ok(Some(_)) => Judged::Wrong,
        Ok(None) => Judged::Lost(0),
        Err(code) => Judged::Lost(code),
    }
}

fn is_user(entry: &libc::passwd, user: &KnownUser) -> bool {
    // SAFETY: glibc filled the entry, and its texts are terminated.
    let text = |pointer: *mut c_char| unsafe { CStr::from_ptr(pointer) };
    entry.pw_uid == user.uid
        && entry.pw_gid == user.uid
        && text(entry.pw_name) == &*user.name
        && text(entry.pw_passwd) == c"*"
        && text(entry.pw_gecos) == &*user.gecos
        && text(entry.pw_dir) == &*user.home
        && text(entry.pw_shell) == c"/bin/bash"
}
