//! Processes in a bad state: little stack, on the way out, no descriptors, in a jail, without sockets, with a module
//! that panics.

use std::ffi::c_void;
use std::io;
use std::time::Instant;

use keymaker_core::protocol::LOOKUP_BUDGET;

use super::{ask_module_alone, open_descriptors};
use crate::ask::{Answer, Judged};
use crate::published::KnownUser;

/// Where the answers of a thread with little stack go.
static SMALL: std::sync::Mutex<Answer> = std::sync::Mutex::new(Answer::new());
/// `PTHREAD_STACK_MIN`.
const SMALLEST_STACK: usize = 16 * 1024;

/// The first lookup of the process, with the loading of the module, and all others, in a thread of the smallest stack
/// there is.
pub fn small_stack() {
    // SAFETY: all zeros are room for an attribute object, which pthread_attr_init(3) fills.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    let mut thread = 0;
    let mut right: *mut c_void = std::ptr::null_mut();
    // SAFETY: initialised before it is used.
    let made = unsafe {
        [
            libc::pthread_attr_init(&raw mut attributes),
            libc::pthread_attr_setstacksize(&raw mut attributes, SMALLEST_STACK),
            libc::pthread_create(
                &raw mut thread,
                &raw const attributes,
                ask_on_small_stack,
                std::ptr::null_mut(),
            ),
        ]
    };
    assert_eq!(made, [0; 3]);
    // SAFETY: a thread of ours that nobody else joins.
    assert_eq!(unsafe { libc::pthread_join(thread, &raw mut right) }, 0);
    assert_eq!(right.addr(), 1);
    println!("right in a thread of {SMALLEST_STACK} bytes");
}

extern "C" fn ask_on_small_stack(_: *mut c_void) -> *mut c_void {
    let mut answer = SMALL.lock().unwrap();
    let user = KnownUser::new(7);
    let right = is_right(&mut answer, &user) && answer.is_user(c"nobody-knows") == Err(libc::ENOENT);
    std::ptr::without_provenance_mut(usize::from(right))
}

fn is_right(answer: &mut Answer, user: &KnownUser) -> bool {
    super::answers::all_judged(answer, user) == [Judged::Right; 6]
}

/// A lookup from an exit handler, after thread-locals are gone: the handler ends the process, with 0 if the answers
/// were right.
pub fn exit_handler() {
    assert!(is_right(&mut Answer::new(), &KnownUser::new(7)));
    // SAFETY: a function that stays.
    assert_eq!(unsafe { libc::atexit(ask_at_exit) }, 0);
    std::process::exit(3);
}

extern "C" fn ask_at_exit() {
    let right = is_right(&mut Answer::new(), &KnownUser::new(8));
    // SAFETY: takes a number and does not come back.
    unsafe { libc::_exit(if right { 0 } else { 4 }) };
}

/// With no descriptor left: an honest error, and the right answer once there is one again.
pub fn no_descriptors() {
    ask_module_alone();
    let (mut answer, user, remembered) = (Answer::new(), KnownUser::new(7), KnownUser::new(8));
    assert_eq!(answer.user_by_name(&remembered), Judged::Right);
    let open = open_descriptors();
    limit_descriptors(0);
    assert_eq!(answer.user_by_name(&user), Judged::Lost(libc::ENOENT));
    assert_eq!(answer.user_by_uid(&user), Judged::Lost(libc::ENOENT));
    assert_eq!(answer.group(&user, true), Judged::Lost(libc::ENOENT));
    assert_eq!(answer.is_user(c"nobody-knows"), Err(libc::ENOENT));
    assert_eq!(answer.user_by_name(&remembered), Judged::Right);
    limit_descriptors(1024);
    assert_eq!(answer.user_by_name(&user), Judged::Right);
    assert_eq!(open_descriptors(), open);
}

fn limit_descriptors(count: u64) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: 4096,
    };
    // SAFETY: a live structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// With standard input, output and error closed, and descriptors closed under the module between lookups.
pub fn closed_descriptors() {
    let (mut answer, user) = (Answer::new(), KnownUser::new(7));
    let close_all = || {
        for fd in 0..64 {
            // SAFETY: takes a number; nothing of this process is used after it, and EBADF is not harm.
            unsafe { libc::close(fd) };
        }
    };
    close_all();
    let before = is_right(&mut answer, &user);
    close_all();
    let after = is_right(&mut answer, &user);
    // SAFETY: takes two numbers. That 0 is not open says that no lookup left anything there.
    let left = (0..64).any(|fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1);
    std::process::exit(if before && after && !left { 0 } else { 5 });
}

/// In a jail without a directory: an honest error at once.
pub fn chroot() {
    let (mut answer, user) = (Answer::new(), KnownUser::new(7));
    assert!(is_right(&mut answer, &user));
    std::fs::create_dir("/run/jail").unwrap();
    std::os::unix::fs::chroot("/run/jail").unwrap();
    std::env::set_current_dir("/").unwrap();
    let started = Instant::now();
    assert_eq!(answer.user_by_uid(&user), Judged::Lost(libc::ENOENT));
    assert_eq!(answer.user_by_name(&user), Judged::Lost(libc::ENOENT));
    assert!(started.elapsed() < LOOKUP_BUDGET);
}

/// Where socket(2) is refused: known users as ever, and nobody knows about the others.
pub fn seccomp() {
    let (mut answer, user) = (Answer::new(), KnownUser::new(7));
    refuse_sockets();
    assert!(
        std::os::unix::net::UnixStream::connect("/run/nothing")
            .is_err_and(|error| { error.raw_os_error() == Some(libc::EAFNOSUPPORT) })
    );
    assert!(is_right(&mut answer, &user));
    assert_eq!(answer.is_user(c"nobody-knows"), Err(libc::ENOENT));
}

/// A filter that lets everything pass but socket(2), as systemd's `RestrictAddressFamilies=` does.
fn refuse_sockets() {
    let load_number = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let skip_unless_equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(load_number, 0, 0, 0),
        step(skip_unless_equal, 0, 1, libc::SYS_socket as u32),
        step(end, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
        step(end, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: numbers, and a program that lives through the call.
    let set = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
        ]
    };
    assert_eq!(set, [0; 2], "{}", io::Error::last_os_error());
}

/// A module whose every lookup panics (`tests/nss/panicking_module)`: each is "cannot tell", nothing is printed, the
/// process lives.
pub fn panic() {
    ask_module_alone();
    let (mut answer, user) = (Answer::new(), KnownUser::new(7));
    for _ in 0..3 {
        assert_eq!(answer.user_by_name(&user), Judged::Lost(libc::ENOENT));
        assert_eq!(answer.user_by_uid(&user), Judged::Lost(libc::ENOENT));
        assert_eq!(answer.group(&user, true), Judged::Lost(libc::ENOENT));
        assert_eq!(answer.team(&user), Judged::Lost(libc::ENOENT));
        assert_eq!(crate::ask::group_list(&user), Judged::Lost(1));
        // SAFETY: one thread.
        assert!(unsafe { libc::getpwent() }.is_null());
        // SAFETY: one thread.
        assert!(unsafe { libc::getgrent() }.is_null());
    }
    // The host's own panics still print: the hook that was silenced is the module's.
    assert!(std::panic::catch_unwind(|| std::panic::panic_any(1)).is_err());
}
