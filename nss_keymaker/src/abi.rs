//! What glibc calls: the functions `_nss_keymaker_*` of nsswitch's module interface (glibc manual, "Extending NSS").
//!
//! Each turns pointers into references, calls one safe function inside [`guarded`], and hands the result over. All the
//! unsafe code of this crate is here and in [`group_list`]. Nothing here may panic outward, print, allocate (but for
//! growing glibc's list of groups), take a lock or change errno on success: the caller may be any program, in any
//! state.
#![allow(unsafe_code)]

// By path, since tests/nss/panicking_module includes this file, too.
#[path = "abi/group_list.rs"]
mod group_list;

use std::ffi::{c_char, c_int, c_long};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use keymaker_core::name::MAX_NAME;
use keymaker_core::{paths, protocol};

use self::group_list::GroupList;
use crate::group::GroupEntry;
use crate::passwd::PasswdEntry;
use crate::remembered::RememberedAnswers;
use crate::{LookupError, NssHost, group, initgroups, passwd};

/// What an NSS function returns when it has answered.
const SUCCESS: c_int = 1;

/// How far this process's enumeration of users and of groups has come: glibc keeps one of each per process, too.
static USERS_SHOWN: AtomicU32 = AtomicU32::new(0);
static GROUPS_SHOWN: AtomicU32 = AtomicU32::new(0);

static ANSWERS: RememberedAnswers = RememberedAnswers::new();

/// `getpwnam_r(3)`.
///
/// # Safety
/// As glibc calls it: `name` is a string, `entry` may be written, `buffer` has `len` bytes which are ours during the
/// call, and `errnop` is the place of the caller's errno. The same holds for the functions below. Null pointers are
/// tolerated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_keymaker_getpwnam_r(
    name: *const c_char,
    entry: *mut libc::passwd,
    buffer: *mut c_char,
    len: usize,
    errnop: *mut c_int,
) -> c_int {
    // SAFETY: the caller passes a string or null.
    let name = unsafe { beginning_of(name) };
    let reply = Reply::new(entry, buffer, len, errnop);
    // SAFETY: the caller promises what `Reply` asks.
    unsafe { reply.fill(passwd_entry, |bytes| passwd::by_name(&host(), name?, bytes)) }
}

/// `getpwuid_r(3)`.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_keymaker_getpwuid_r(
    uid: libc::uid_t,
    entry: *mut libc::passwd,
    buffer: *mut c_char,
    len: usize,
    errnop: *mut c_int,
) -> c_int {
    let reply = Reply::new(entry, buffer, len, errnop);
    // SAFETY: the caller promises what `Reply` asks.
    unsafe { reply.fill(passwd_entry, |bytes| passwd::by_uid(&host(), uid, bytes)) }
}

/// setpwent(3): the next getpwent(3) begins at the first user.
#[unsafe(no_mangle)]
pub extern "C" fn _nss_keymaker_setpwent(_stay_open: c_int) -> c_int {
    rewind(&USERS_SHOWN)
}

/// `getpwent_r(3)`; works without a setpwent(3) before it.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_keymaker_getpwent_r(
    entry: *mut libc::passwd,
    buffer: *mut c_char,
    len: usize,
    errnop: *mut c_int,
) -> c_int {
    let reply = Reply::new(entry, buffer, len, errnop);
    // SAFETY: the caller promises what `Reply` asks.
    unsafe {
        reply.fill(passwd_entry, |bytes| {
            advance(&USERS_SHOWN, |from| passwd::next(&host(), from, bytes))
        })
    }
}

/// endpwent(3).
#[unsafe(no_mangle)]
pub extern "C" fn _nss_keymaker_endpwent() -> c_int {
    rewind(&USERS_SHOWN)
}

/// `getgrnam_r(3)`.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_keymaker_getgrnam_r(
    name: *const c_char,
    entry: *mut libc::group,
    buffer: *mut c_char,
    len: usize,
    errnop: *mut c_int,
) -> c_int {
    // SAFETY: the caller passes a string or null.
    let name = unsafe { beginning_of(name) };
    let reply = Reply::new(entry, buffer, len, errnop);
    // SAFETY: the caller promises what `Reply` asks.
    unsafe { reply.fill(group_entry, |bytes| group::by_name(&host(), name?, bytes)) }
}

/// `getgrgid_r(3)`.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_keymaker_getgrgid_r(
    gid: libc::gid_t,
    entry: *mut libc::group,
    buffer: *mut c_char,
    len: usize,
    errnop: *mut c_int,
) -> c_int {
    let reply = Reply::new(entry, buffer, len, errnop);
    // SAFETY: the caller promises what `Reply` asks.
    unsafe { reply.fill(group_entry, |bytes| group::by_gid(&host(), gid, bytes)) }
}

/// setgrent(3): the next getgrent(3) begins at the first group.
#[unsafe(no_mangle)]
pub extern "C" fn _nss_keymaker_setgrent(_stay_open: c_int) -> c_int {
    rewind(&GROUPS_SHOWN)
}

/// `getgrent_r(3)`; works without a setgrent(3) before it.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_keymaker_getgrent_r(
    entry: *mut libc::group,
    buffer: *mut c_char,
    len: usize,
    errnop: *mut c_int,
) -> c_int {
    let reply = Reply::new(entry, buffer, len, errnop);
    // SAFETY: the caller promises what `Reply` asks.
    unsafe {
        reply.fill(group_entry, |bytes| {
            advance(&GROUPS_SHOWN, |from| group::next(&host(), from, bytes))
        })
    }
}

/// endgrent(3).
#[unsafe(no_mangle)]
pub extern "C" fn _nss_keymaker_endgrent() -> c_int {
    rewind(&GROUPS_SHOWN)
}

/// initgroups(3) and getgrouplist(3): adds the user's groups to glibc's list, which grows by realloc(3).
///
/// # Safety
/// As above; besides, `*groups` came from malloc(3) and has room for `*size` gids, of which `*start` are there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_keymaker_initgroups_dyn(
    name: *const c_char,
    skip: libc::gid_t,
    start: *mut c_long,
    size: *mut c_long,
    groups: *mut *mut libc::gid_t,
    limit: c_long,
    errnop: *mut c_int,
) -> c_int {
    // SAFETY: the caller passes a string or null.
    let name = unsafe { beginning_of(name) };
    // SAFETY: the caller passes its own three variables, or null, and nobody else uses them during the call.
    let list = unsafe { GroupList::of(start, size, groups) };
    let outcome = guarded(|| list?.add(&initgroups::of_user(&host(), name?, skip)?, skip, limit));
    // SAFETY: the caller passes the place of its errno, or null.
    unsafe { nss_status(outcome, errnop) }
}

/// The paths of a real host.
fn host() -> NssHost<'static> {
    NssHost {
        directory: Path::new(paths::DIRECTORY),
        lookup_socket: Path::new(paths::LOOKUP_SOCKET),
        passwd: Path::new(paths::PASSWD),
        group: Path::new(paths::GROUP),
        patience: protocol::LOOKUP_BUDGET,
        memory: &ANSWERS,
    }
}

/// Where the caller wants its answer.
///
/// `entry` may be written, `buffer` has `len` bytes that nobody else uses, `errnop` is the place of errno; or they are
/// null.
struct Reply<T> {
    entry: *mut T,
    buffer: *mut c_char,
    len: usize,
    errnop: *mut c_int,
}

impl<T> Reply<T> {
    fn new(entry: *mut T, buffer: *mut c_char, len: usize, errnop: *mut c_int) -> Self {
        Self {
            entry,
            buffer,
            len,
            errnop,
        }
    }

    /// Runs a lookup into the buffer and makes an entry of what it finds.
    ///
    /// # Safety
    /// The fields are as said above.
    unsafe fn fill<F>(
        self,
        entry_of: fn(*mut c_char, &F) -> T,
        lookup: impl FnOnce(&mut [u8]) -> Result<F, LookupError>,
    ) -> c_int {
        let Self {
            entry, buffer, errnop, ..
        } = self;
        // A slice may not be larger; no answer comes near it.
        let len = self.len.min(isize::MAX.cast_unsigned());
        let outcome = if buffer.is_null() || entry.is_null() {
            Err(LookupError::CannotTell)
        } else {
            // SAFETY: these bytes are there and ours during the call; any bytes are valid u8s.
            let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast(), len) };
            guarded(|| lookup(bytes))
        };
        let outcome = outcome.map(|found| {
            // SAFETY: not null, so the caller's to be written.
            unsafe { entry.write(entry_of(buffer, &found)) }
        });
        // SAFETY: it is the place of the caller's errno, or null.
        unsafe { nss_status(outcome, errnop) }
    }
}

fn passwd_entry(buffer: *mut c_char, found: &PasswdEntry) -> libc::passwd {
    libc::passwd {
        pw_name: buffer.wrapping_add(found.name),
        pw_passwd: buffer.wrapping_add(found.password),
        pw_uid: found.uid,
        pw_gid: found.uid,
        pw_gecos: buffer.wrapping_add(found.gecos),
        pw_dir: buffer.wrapping_add(found.home),
        pw_shell: buffer.wrapping_add(found.shell),
    }
}

fn group_entry(buffer: *mut c_char, found: &GroupEntry) -> libc::group {
    libc::group {
        gr_name: buffer.wrapping_add(found.name),
        gr_passwd: buffer.wrapping_add(found.password),
        gr_gid: found.gid,
        gr_mem: buffer.wrapping_add(found.members).cast(),
    }
}

/// Runs a lookup that leaves errno as it is. A panic ends here, as "cannot tell".
fn guarded<T>(lookup: impl FnOnce() -> Result<T, LookupError>) -> Result<T, LookupError> {
    silence_panics();
    // SAFETY: __errno_location(3) is always callable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: it points to this thread's errno, which lives as long as the thread.
    let before = unsafe { errno.read() };
    // A lookup leaves nothing behind that a panic could break.
    let outcome = catch_unwind(AssertUnwindSafe(lookup)).unwrap_or(Err(LookupError::CannotTell));
    // SAFETY: as above.
    unsafe { errno.write(before) };
    outcome
}

/// The one place where outcomes become NSS's: the status, and where it is not success the errno that goes with it.
///
/// UNAVAIL with ENOENT, since `getpwnam_r(3)` passes the errno on, and its callers take ENOENT for "not found", but
/// ECONNREFUSED or EIO for a broken system. ERANGE only with TRYAGAIN, and only where a larger buffer helps: glibc
/// doubles it until it does.
///
/// # Safety
/// `errnop` is null, or may be written.
unsafe fn nss_status(outcome: Result<(), LookupError>, errnop: *mut c_int) -> c_int {
    const TRYAGAIN: c_int = -2;
    const UNAVAIL: c_int = -1;
    const NOTFOUND: c_int = 0;
    let (status, code) = match outcome {
        Ok(()) => return SUCCESS,
        Err(LookupError::NotFound) => (NOTFOUND, libc::ENOENT),
        Err(LookupError::CannotTell) => (UNAVAIL, libc::ENOENT),
        Err(LookupError::BufferTooSmall) => (TRYAGAIN, libc::ERANGE),
        Err(LookupError::OutOfMemory) => (TRYAGAIN, libc::ENOMEM),
    };
    if !errnop.is_null() {
        // SAFETY: not null, so the caller's to be written.
        unsafe { errnop.write(code) };
    }
    status
}

/// A panic's default hook prints to the host's stderr and reads its environment. This library has a standard library,
/// and so a hook, of its own: the host's is not touched. An empty closure is not allocated.
fn silence_panics() {
    static SILENT: AtomicBool = AtomicBool::new(false);
    if !SILENT.load(Ordering::Relaxed) && !SILENT.swap(true, Ordering::Relaxed) {
        std::panic::set_hook(Box::new(|_| {}));
    }
}

fn rewind(shown: &AtomicU32) -> c_int {
    shown.store(0, Ordering::Relaxed);
    SUCCESS
}

/// Takes the next entry of an enumeration; the position moves only when there is one that fits the caller's buffer.
fn advance<T>(shown: &AtomicU32, mut next: impl FnMut(u32) -> Result<(u32, T), LookupError>) -> Result<T, LookupError> {
    loop {
        let from = shown.load(Ordering::Relaxed);
        let (to, entry) = next(from)?;
        // Another thread may have taken the same entry in between.
        if shown
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            return Ok(entry);
        }
    }
}

/// As much of a string as a legal name can have, and one byte more where it is longer.
///
/// # Safety
/// `text` is null or a string that lives as long as the result is used.
unsafe fn beginning_of<'a>(text: *const c_char) -> Result<&'a [u8], LookupError> {
    if text.is_null() {
        return Err(LookupError::NotFound);
    }
    // SAFETY: strnlen(3) reads up to the terminator, or these many bytes.
    let len = unsafe { libc::strnlen(text, MAX_NAME + 1) };
    // SAFETY: strnlen has just read these bytes, and the caller keeps them.
    Ok(unsafe { std::slice::from_raw_parts(text.cast(), len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enumeration_moves_only_past_what_was_handed_over() {
        let shown = AtomicU32::new(4);
        assert_eq!(
            advance::<()>(&shown, |_| Err(LookupError::BufferTooSmall)),
            Err(LookupError::BufferTooSmall)
        );
        assert_eq!(advance(&shown, |from| Ok((from + 2, from))), Ok(4));
        assert_eq!(shown.load(Ordering::Relaxed), 6);
        rewind(&shown);
        assert_eq!(advance(&shown, |from| Ok((from + 1, from))), Ok(0));
    }
}
