//! `pam-account SERVICE FOLDER USER ORIGIN…`: what PAM's account stack of a service says about a user who comes from
//! each of these addresses, if FOLDER is /etc/pam.d. Prints one line for each: PAM's code and its words.
//!
//! `keymaker why` runs it as root, with a copy of the stack in which only modules are left that look and change nothing.
//! A program of its own, since a module may hang or end the process it is in; and here, since it is the other side of
//! the border to C. It sees FOLDER and no system log in a mount namespace that ends with it, opens no session, and no
//! module can ask the user anything.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_ulong, c_void};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::ptr;

/// `struct pam_conv`, as `pam_conv(3)` has it.
#[repr(C)]
struct Conversation {
    converse: extern "C" fn(c_int, *const *const c_void, *mut *mut c_void, *mut c_void) -> c_int,
    data: *mut c_void,
}

/// libpam's `pam_handle_t`.
#[repr(C)]
struct Transaction {
    _opaque: [u8; 0],
}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start(
        service: *const c_char,
        user: *const c_char,
        conversation: *const Conversation,
        transaction: *mut *mut Transaction,
    ) -> c_int;
    fn pam_set_item(transaction: *mut Transaction, kind: c_int, item: *const c_void) -> c_int;
    fn pam_acct_mgmt(transaction: *mut Transaction, flags: c_int) -> c_int;
    fn pam_end(transaction: *mut Transaction, status: c_int) -> c_int;
    fn pam_strerror(transaction: *mut Transaction, code: c_int) -> *const c_char;
}

/// <`security/_pam_types.h`>
const PAM_SUCCESS: c_int = 0;
const PAM_CONV_ERR: c_int = 19;
const PAM_TTY: c_int = 3;
const PAM_RHOST: c_int = 4;
const PAM_SILENT: c_int = 0x8000;

fn main() -> ExitCode {
    let arguments: Result<Vec<CString>, _> = std::env::args_os()
        .skip(1)
        .map(|argument: OsString| CString::new(argument.into_vec()))
        .collect();
    let said = match arguments.as_deref() {
        Ok([service, folder, user, origins @ ..]) => ask(service, folder, user, origins),
        _ => Err(io::Error::other("usage: pam-account SERVICE FOLDER USER ORIGIN…")),
    };
    match said.and_then(|said| io::stdout().write_all(said.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where that fails, the exit status still says it.
            let _ = writeln!(io::stderr(), "pam-account: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(service: &CStr, folder: &CStr, user: &CStr, origins: &[CString]) -> io::Result<String> {
    see_instead(folder)?;
    let said = origins.iter().map(|origin| account(service, user, origin));
    said.collect()
}

/// From now on this process sees `folder` as /etc/pam.d, and nothing that it logs arrives.
fn see_instead(folder: &CStr) -> io::Result<()> {
    // SAFETY: unshare(2) takes a number and touches no memory; this process has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(folder, c"/etc/pam.d", libc::MS_BIND)?;
    // Where nobody listens, nobody is to be kept from hearing.
    match mount(c"/dev/null", c"/dev/log", libc::MS_BIND) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn mount(from: &CStr, to: &CStr, flags: c_ulong) -> io::Result<()> {
    // SAFETY: both paths are terminated strings that outlive the call; mount(2) takes null for a type and for data that
    // are not wanted.
    check(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), ptr::null(), flags, ptr::null()) })
}

fn check(result: c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One question, as sshd puts it: with the terminal `ssh` and the address for a host.
fn account(service: &CStr, user: &CStr, origin: &CStr) -> io::Result<String> {
    let conversation = Conversation {
        converse: says_nothing,
        data: ptr::null_mut(),
    };
    let mut transaction = ptr::null_mut();
    // SAFETY: the strings are terminated; the conversation outlives the transaction, which ends in this function; the
    // place for the handle is live and ours.
    let started = unsafe {
        pam_start(
            service.as_ptr(),
            user.as_ptr(),
            &raw const conversation,
            &raw mut transaction,
        )
    };
    if started != PAM_SUCCESS {
        return Err(io::Error::other(format!("pam_start answers {started}")));
    }
    let mut code = PAM_SUCCESS;
    for (kind, item) in [(PAM_TTY, c"ssh"), (PAM_RHOST, origin)] {
        if code == PAM_SUCCESS {
            // SAFETY: the handle is live; both items are terminated strings, which libpam copies.
            code = unsafe { pam_set_item(transaction, kind, item.as_ptr().cast()) };
        }
    }
    if code == PAM_SUCCESS {
        // SAFETY: the handle is live.
        code = unsafe { pam_acct_mgmt(transaction, PAM_SILENT) };
    }
    // SAFETY: the handle is live; pam_strerror(3) returns a constant string for every number.
    let words = unsafe { pam_strerror(transaction, code) };
    let words = if words.is_null() {
        String::new()
    } else {
        // SAFETY: not null, so a terminated string of libpam's, which is copied before libpam is called again.
        unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
    };
    // SAFETY: the handle is live, and not used from here on.
    unsafe { pam_end(transaction, code) };
    Ok(format!("{code} {words}\n"))
}

/// Nobody is there to be asked.
extern "C" fn says_nothing(_: c_int, _: *const *const c_void, _: *mut *mut c_void, _: *mut c_void) -> c_int {
    PAM_CONV_ERR
}
