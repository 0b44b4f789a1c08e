//! What neither std nor pam-bindings offers, as safe functions: the lower floor of the border to C.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use pam::module::PamHandle;

unsafe extern "C" {
    fn pam_syslog(pamh: *const PamHandle, priority: c_int, format: *const c_char, ...);
    fn pam_getenv(pamh: *mut PamHandle, name: *const c_char) -> *const c_char;
}

/// Writes one line to the administrator's log, headed by the module's name, service and hook. A zero byte ends it
/// early.
pub fn syslog(pamh: &PamHandle, priority: c_int, line: &str) {
    let line: Vec<u8> = line.bytes().take_while(|byte| *byte != 0).collect();
    let Ok(line) = CString::new(line) else { return };
    // SAFETY: pamh is libpam's own live handle, which pam_syslog(3) only reads; "%s" takes exactly one terminated
    // string, and both outlive the call.
    unsafe { pam_syslog(pamh, priority, c"%s".as_ptr(), line.as_ptr()) };
}

/// A copy of a variable of the PAM environment, which the program that logs the user in has set; never of the process's
/// environment.
pub fn pam_environment(pamh: &PamHandle, name: &CStr) -> Option<Vec<u8>> {
    // SAFETY: pamh is libpam's own live handle; pam_getenv(3) takes it as mutable but only searches it; name is
    // terminated.
    let value = unsafe { pam_getenv(std::ptr::from_ref(pamh).cast_mut(), name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: pam_getenv returns null or a terminated string that stays until the environment is changed, which nobody
    // does before it is copied here.
    let value = unsafe { CStr::from_ptr(value) };
    Some(value.to_bytes().to_vec())
}

/// Runs `work`; a panic in it is `instead`, said by nobody: std's own hook would write into the host's stderr.
pub fn guarded<T>(instead: T, work: impl FnOnce() -> T) -> T {
    static SILENCED: Once = Once::new();
    // This crate's std is its own copy, so the hook is nobody else's. (A test binary's is the test harness's too.)
    if !cfg!(test) {
        SILENCED.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    }
    let errno = errno();
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        // Dropping what was thrown could throw again.
        std::mem::forget(panic);
        instead
    });
    set_errno(errno);
    result
}

fn errno() -> c_int {
    // SAFETY: __errno_location(3) always returns this thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the pointer is valid, aligned and this thread's own.
    unsafe { *errno }
}

fn set_errno(value: c_int) {
    // SAFETY: as above.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { *errno = value }
}

#[cfg(test)]
mod tests {
    use super::*;

    // P12
    #[test]
    fn a_panic_stays_inside_and_errno_stays_as_it_was() {
        set_errno(7);
        let result = guarded(1, || {
            set_errno(8);
            panic!("as intended");
        });
        assert_eq!((result, errno()), (1, 7));
    }
}
