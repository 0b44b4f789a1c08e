//! A program that logs somebody in: it speaks with libpam, notes what the user is told, and reads the administrator's
//! log.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::net::UnixDatagram;

/// `pam_strerror(3)`'s numbers (security/_`pam_types.h`).
pub const SUCCESS: c_int = 0;
pub const PERM_DENIED: c_int = 6;
pub const AUTHINFO_UNAVAIL: c_int = 9;
pub const SESSION_ERR: c_int = 14;
pub const IGNORE: c_int = 25;
const SILENT: c_int = 0x8000;
const RHOST: c_int = 4;

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Conversation {
    speak: extern "C" fn(c_int, *const *const Message, *mut *mut c_void, *mut c_void) -> c_int,
    heard: *mut c_void,
}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start(
        service: *const c_char,
        user: *const c_char,
        speak: *const Conversation,
        pam: *mut *mut c_void,
    ) -> c_int;
    fn pam_end(pam: *mut c_void, status: c_int) -> c_int;
    fn pam_acct_mgmt(pam: *mut c_void, flags: c_int) -> c_int;
    fn pam_open_session(pam: *mut c_void, flags: c_int) -> c_int;
    fn pam_close_session(pam: *mut c_void, flags: c_int) -> c_int;
    fn pam_putenv(pam: *mut c_void, assignment: *const c_char) -> c_int;
    fn pam_set_item(pam: *mut c_void, item: c_int, value: *const c_void) -> c_int;
}

type Hook = unsafe extern "C" fn(*mut c_void, c_int, c_int, *const *const c_char) -> c_int;

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// what the module itself answered
    pub module: c_int,
    /// what the whole stack with our line came to
    pub stack: c_int,
    /// what the user was told, by the stack
    pub told: Vec<String>,
    /// what the administrator reads, by the stack, without the time and the program
    pub logged: Vec<String>,
}

/// One login.
pub struct Login<'a> {
    pub service: &'a str,
    pub user: &'a str,
    /// with what the user proved themselves to sshd
    pub auth_info: Option<&'a str>,
    pub silent: bool,
}

/// A hook.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Account,
    Session,
}

/// An account call by `service` for `user`.
pub fn account(log: &UnixDatagram, service: &str, user: &str) -> Outcome {
    Login {
        service,
        user,
        auth_info: None,
        silent: false,
    }
    .call(log, Call::Account)
}

/// A session for `user` by `service`, with what sshd says about the keys.
pub fn session(log: &UnixDatagram, service: &str, user: &str, auth_info: Option<&str>) -> Outcome {
    Login {
        service,
        user,
        auth_info,
        silent: false,
    }
    .call(log, Call::Session)
}

impl Login<'_> {
    /// Asks the module by itself and the whole stack, as two programs one after the other.
    pub fn call(&self, log: &UnixDatagram, call: Call) -> Outcome {
        let (stack, told, logged) = self.stack(log, call);
        let name = match call {
            Call::Account => c"pam_sm_acct_mgmt",
            Call::Session => c"pam_sm_open_session",
        };
        let (module, _) = self.with_handle(|pam, flags| {
            let arguments = [c"skel=/run/skel".as_ptr()];
            // SAFETY: the hook's own signature (pam_sm_acct_mgmt(3)), a handle of pam_start's and one terminated
            // argument.
            unsafe { hook(name)(pam, flags, 1, arguments.as_ptr()) }
        });
        log_lines(log);
        Outcome {
            module,
            stack,
            told,
            logged,
        }
    }

    /// What the whole stack comes to, what the user is told, and what the administrator reads.
    pub fn stack(&self, log: &UnixDatagram, call: Call) -> (c_int, Vec<String>, Vec<String>) {
        let (code, told) = self.with_handle(|pam, flags| {
            if call == Call::Account {
                // SAFETY: a handle of pam_start's.
                return unsafe { pam_acct_mgmt(pam, flags) };
            }
            // SAFETY: as above.
            let opened = unsafe { pam_open_session(pam, flags) };
            if opened == SUCCESS {
                // SAFETY: as above.
                assert_eq!(unsafe { pam_close_session(pam, flags) }, SUCCESS);
            }
            opened
        });
        (code, told, log_lines(log))
    }

    fn with_handle(&self, work: impl FnOnce(*mut c_void, c_int) -> c_int) -> (c_int, Vec<String>) {
        let mut told: Vec<String> = Vec::new();
        let conversation = Conversation {
            speak: hear,
            heard: (&raw mut told).cast(),
        };
        let (service, user) = (CString::new(self.service).unwrap(), CString::new(self.user).unwrap());
        let mut pam = std::ptr::null_mut();
        // SAFETY: terminated strings, a conversation that outlives the handle, and a place for it.
        let started = unsafe { pam_start(service.as_ptr(), user.as_ptr(), &raw const conversation, &raw mut pam) };
        assert_eq!(started, SUCCESS);
        // SAFETY: a handle of pam_start's and a terminated string, which is copied.
        unsafe { pam_set_item(pam, RHOST, c"198.51.100.7".as_ptr().cast()) };
        if let Some(info) = self.auth_info {
            let assignment = CString::new(format!("SSH_AUTH_INFO_0={info}")).unwrap();
            // SAFETY: as above.
            assert_eq!(unsafe { pam_putenv(pam, assignment.as_ptr()) }, SUCCESS);
        }
        let code = work(pam, if self.silent { SILENT } else { 0 });
        // SAFETY: the handle is not used again.
        unsafe { pam_end(pam, code) };
        (code, told)
    }
}

/// The administrator's log; must be there before the first login.
pub fn log() -> UnixDatagram {
    let log = UnixDatagram::bind("/dev/log").unwrap();
    log.set_nonblocking(true).unwrap();
    log
}

/// What has been logged since: `<86>Jan  1 00:00:00 program: pam_keymaker(sshd:account): text` without all before the
/// text.
fn log_lines(log: &UnixDatagram) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = [0; 4096];
    while let Ok(len) = log.recv(&mut line) {
        let line = String::from_utf8_lossy(&line[..len]);
        if let Some((_, text)) = line.split_once("pam_keymaker(") {
            lines.push(text.trim_end_matches('\0').to_owned());
        }
    }
    lines
}

fn hook(name: &CStr) -> Hook {
    let path = CString::new(crate::stage::PAM_MODULE).unwrap();
    // SAFETY: a terminated path; the module's constructors are std's.
    let module = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!module.is_null(), "the module cannot be loaded");
    // SAFETY: a handle of dlopen's and a terminated name.
    let hook = unsafe { libc::dlsym(module, name.as_ptr()) };
    assert!(!hook.is_null(), "{name:?} is not exported");
    // SAFETY: the function has this signature by the contract between libpam and its modules.
    unsafe { std::mem::transmute::<*mut c_void, Hook>(hook) }
}

extern "C" fn hear(
    count: c_int,
    messages: *const *const Message,
    answers: *mut *mut c_void,
    heard: *mut c_void,
) -> c_int {
    // SAFETY: the list of one login, which is alive.
    let heard = unsafe { &mut *heard.cast::<Vec<String>>() };
    for number in 0..usize::try_from(count).unwrap() {
        // SAFETY: libpam passes `count` pointers to messages with terminated texts.
        let (style, text) = unsafe {
            let message = *messages.add(number);
            ((*message).style, CStr::from_ptr((*message).text))
        };
        let style = if style == 3 { "error" } else { "info" };
        heard.push(format!("{style}: {}", text.to_string_lossy()));
    }
    // SAFETY: libpam's caller frees a malloc'ed array of `count` answers (a pointer and a number each).
    unsafe { *answers = libc::calloc(count as usize, 16) };
    SUCCESS
}
