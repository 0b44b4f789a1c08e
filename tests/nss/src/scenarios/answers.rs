//! What glibc's callers see: entries, statuses, enumerations, and nobody's groups given to a namesake.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::os::unix::net::UnixListener;
use std::time::Instant;

use keymaker_core::paths;
use keymaker_core::protocol::LOOKUP_BUDGET;

use crate::ask::{self, Answer, Judged};
use crate::published::{KEYMAKER_USERS, KnownUser, TEAMS, team};

/// Every known user, group and group list; and nothing for names that cannot be ours or that nobody knows.
pub fn are_right() {
    let mut answer = Answer::new();
    for user in KnownUser::all() {
        assert_eq!(all_judged(&mut answer, &user), [Judged::Right; 6], "{:?}", user.name);
    }
    for name in [c"2001", c"User1", c"user1@example.org", c"wheel", c"sudo", c""] {
        assert_eq!(answer.is_user(name), Ok(false), "{name:?}");
    }
    let long = CString::new("a".repeat(100_000)).unwrap();
    assert_eq!(answer.is_user(&long), Ok(false));
    // Nobody listens at the socket, so nobody knows.
    assert_eq!(answer.is_user(c"nobody-knows"), Err(libc::ENOENT));
    assert_eq!(answer.is_user(c"local"), Ok(true));
}

/// Asks everything about this many users, of each twice, and nothing else: for valgrind. The second answer is a
/// remembered one.
pub fn repeat(times: u32) {
    super::ask_module_alone();
    let mut answer = Answer::new();
    let users = KnownUser::all();
    for user in users.iter().take(times as usize).flat_map(|user| [user, user]) {
        let judged = [
            answer.user_by_name(user),
            answer.user_by_uid(user),
            answer.group(user, true),
            answer.team(user),
        ];
        assert_eq!(judged, [Judged::Right; 4]);
    }
}

/// All that glibc can be asked about a user.
pub fn all_judged(answer: &mut Answer, user: &KnownUser) -> [Judged; 6] {
    [
        answer.user_by_name(user),
        answer.user_by_uid(user),
        answer.group(user, true),
        answer.group(user, false),
        answer.team(user),
        ask::group_list(user),
    ]
}

/// A daemon that accepts and never answers: known users at once, unknown ones after the budget.
pub fn wait_for_a_hung_daemon() {
    let _listener = UnixListener::bind(paths::LOOKUP_SOCKET).unwrap();
    let mut answer = Answer::new();
    let started = Instant::now();
    for user in KnownUser::all() {
        assert_eq!(all_judged(&mut answer, &user), [Judged::Right; 6]);
    }
    assert!(started.elapsed() < LOOKUP_BUDGET, "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(answer.is_user(c"nobody-knows"), Err(libc::ENOENT));
    let waited = started.elapsed();
    assert!(waited >= LOOKUP_BUDGET && waited < LOOKUP_BUDGET * 2, "{waited:?}");
}

/// getpwent(3) without setpwent(3), twice; and the groups.
pub fn are_enumerated() {
    // Ten users of this host's directory have logged in here.
    let seen: BTreeSet<CString> = (0..10).map(|number| KnownUser::new(number).name).collect();
    let local = BTreeSet::from([c"root".to_owned(), c"local".to_owned()]);
    for _ in 0..2 {
        let mut users = BTreeSet::new();
        // SAFETY: one thread, and each entry is used before the next call.
        while let Some(entry) = unsafe { libc::getpwent().as_ref() } {
            // SAFETY: glibc filled the entry, and its texts are terminated.
            users.insert(unsafe { CStr::from_ptr(entry.pw_name) }.to_owned());
        }
        assert_eq!(users, seen.union(&local).cloned().collect());
        // SAFETY: takes nothing.
        unsafe { libc::endpwent() };
    }
    let mut gids = Vec::new();
    // SAFETY: as above.
    while let Some(entry) = unsafe { libc::getgrent().as_ref() } {
        gids.push(entry.gr_gid);
    }
    gids.retain(|gid| *gid > 1000);
    gids.sort_unstable();
    let private = (0..10).map(|number| KnownUser::new(number).uid);
    assert_eq!(gids, private.chain((0..TEAMS).map(team)).collect::<Vec<u32>>());
}

/// A line for user3 in /etc/passwd after the publication, and a changed /etc/group, with no daemon anywhere.
pub fn follow_changed_local_files() {
    let (three, four) = (KnownUser::new(3), KnownUser::new(4));
    assert_eq!([ask::group_list(&three), ask::group_list(&four)], [Judged::Right; 2]);
    append(paths::PASSWD, "user3:x:1003:1003::/home/local3:/bin/sh\n");
    assert_eq!(group_list(&three.name, 1003), [1003]);
    assert_eq!(ask::group_list(&four), Judged::Right);
    append(paths::GROUP, "newcomers:x:1004:\n");
    let kept = [four.groups[0], four.uid, KEYMAKER_USERS];
    assert_eq!(
        group_list(&four.name, four.uid),
        BTreeSet::from(kept).into_iter().collect::<Vec<_>>()
    );
}

fn append(path: &str, line: &str) {
    let before = fs::read_to_string(path).unwrap();
    fs::write(path, before + line).unwrap();
}

/// getgrouplist(3), sorted, with the smallest list first, so that the module must let it grow.
fn group_list(name: &CStr, gid: u32) -> Vec<u32> {
    let mut count = 1;
    let mut groups = vec![0; 1];
    loop {
        // SAFETY: a terminated name, a list of `count` gids, and a live count.
        let code = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
        if code >= 0 {
            groups.truncate(count as usize);
            groups.sort_unstable();
            return groups;
        }
        groups.resize(count as usize, 0);
    }
}

type GetPwNam = unsafe extern "C" fn(*const c_char, *mut libc::passwd, *mut c_char, usize, *mut c_int) -> c_int;

/// The module's own functions, as glibc would call them: status, errno, null pointers, buffers of every size and
/// alignment.
pub fn have_honest_statuses() {
    // SAFETY: the module is the one under test, and its function of this name has this type (glibc manual, "NSS Module
    // Names").
    let getpwnam_r: GetPwNam = unsafe { std::mem::transmute(symbol(c"_nss_keymaker_getpwnam_r")) };
    // SAFETY: all zeros and nulls are a passwd.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut ask = |name: *const c_char, buffer: &mut [c_char]| {
        let mut code = 77;
        errno(55);
        // SAFETY: as glibc calls it, or with null pointers, which it must bear.
        let status = unsafe { getpwnam_r(name, &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut code) };
        // SAFETY: points to this thread's errno.
        (status, code, unsafe { *libc::__errno_location() })
    };
    let mut buffer = [0; 128];
    // Success changes neither errno nor *errnop; nothing ever changes errno itself.
    assert_eq!(ask(c"user7".as_ptr(), &mut buffer), (1, 77, 55));
    assert_eq!(ask(c"wheel".as_ptr(), &mut buffer), (0, libc::ENOENT, 55));
    assert_eq!(ask(c"nobody-knows".as_ptr(), &mut buffer), (-1, libc::ENOENT, 55));
    assert_eq!(ask(std::ptr::null(), &mut buffer), (0, libc::ENOENT, 55));
    let needed = "user7\0*\0The user number 7\0/home/user7\0/bin/bash\0".len();
    for start in 0..16 {
        for len in 0..needed + 9 {
            let wanted = if len < needed {
                (-2, libc::ERANGE, 55)
            } else {
                (1, 77, 55)
            };
            assert_eq!(ask(c"user7".as_ptr(), &mut buffer[start..start + len]), wanted);
        }
    }
    fs::write(paths::DIRECTORY, [0x5a; 4096]).unwrap();
    assert_eq!(ask(c"user7".as_ptr(), &mut buffer), (-1, libc::ENOENT, 55));
    // SAFETY: null pointers, which it must bear.
    let status = unsafe {
        getpwnam_r(
            c"user7".as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(status, -1);
}

fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: terminated strings; the module runs no code when loaded.
    let module = unsafe { libc::dlopen(c"libnss_keymaker.so.2".as_ptr(), libc::RTLD_NOW) };
    assert!(!module.is_null());
    // SAFETY: an open module and a terminated string.
    let symbol = unsafe { libc::dlsym(module, name.as_ptr()) };
    assert!(!symbol.is_null());
    symbol
}

fn errno(code: c_int) {
    // SAFETY: points to this thread's errno.
    unsafe { *libc::__errno_location() = code };
}
