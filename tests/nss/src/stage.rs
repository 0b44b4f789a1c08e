//! A host of the process's own: a private mount namespace with the module, an empty /var/lib and /run, and small local
//! files.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::published;

const ENTERED: &str = "KEYMAKER_HARNESS_STAGE";
/// A command, with its options, under which the program runs inside: valgrind.
const UNDER: &str = "KEYMAKER_HARNESS_UNDER";
const MODULES: &str = "/run/modules";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nlocal:x:1000:1000::/home/local:/bin/sh\n";
const GROUP: &str = "root:x:0:\nsudo:x:27:\nkeymaker-users:x:990:\nlocal:x:1000:\n";

/// Of how many users the directory is, where not of [`published::USERS`].
const SIZE: &str = "KEYMAKER_HARNESS_USERS";

/// How many users are in the directory with which the host begins.
pub fn users() -> u32 {
    std::env::var(SIZE).map_or(published::USERS, |users| users.parse().unwrap())
}

/// Whether this process already runs inside.
pub fn is_entered() -> bool {
    std::env::var_os(ENTERED).is_some()
}

/// Makes the host and starts this program again in it; does not come back.
pub fn enter(module: &str, arguments: &[String]) -> ! {
    let module = fs::read(module).expect("the built module");
    // In a chroot it has this name only in the mount namespace in which it was started.
    let program = std::env::current_exe().unwrap();
    unshare();
    mount(None, "/", None, libc::MS_REC | libc::MS_PRIVATE);
    for place in ["/var/lib", "/run"] {
        mount(Some("tmpfs"), place, Some("tmpfs"), 0);
    }
    fs::create_dir_all(MODULES).unwrap();
    fs::write(format!("{MODULES}/libnss_keymaker.so.2"), module).unwrap();
    fs::create_dir_all("/run/keymaker").unwrap();
    for (name, text) in [
        ("nsswitch.conf", "passwd: files keymaker\ngroup: files keymaker\n"),
        ("passwd", PASSWD),
        ("group", GROUP),
    ] {
        let own = format!("/run/{name}");
        fs::write(&own, text).unwrap();
        mount(Some(&own), &format!("/etc/{name}"), None, libc::MS_BIND);
    }
    match users() {
        published::USERS => published::publish(0),
        users => published::publish_of(users),
    }
    let mut command = match std::env::var(UNDER) {
        Ok(under) => {
            let mut words = under.split_whitespace();
            let mut command = Command::new(words.next().unwrap());
            command.args(words).arg(program);
            command
        }
        Err(_) => Command::new(program),
    };
    let error = command
        .args(arguments)
        .env(ENTERED, "1")
        .env("LD_LIBRARY_PATH", MODULES)
        .exec();
    panic!("starting anew inside: {error}");
}

/// A mount namespace, and for a user other than root a user namespace, in which that user is root.
fn unshare() {
    // SAFETY: takes nothing.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let flags = libc::CLONE_NEWNS | if uid == 0 { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: takes a number; this process has one thread.
    check(
        unsafe { libc::unshare(flags) },
        "a namespace of our own (root, or user namespaces)",
    );
    if uid != 0 {
        fs::write("/proc/self/setgroups", "deny").unwrap();
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
    }
}

fn mount(source: Option<&str>, target: &str, kind: Option<&str>, flags: libc::c_ulong) {
    let text = |text: &str| CString::new(text).unwrap();
    let (source, place, kind) = (source.map(text), text(target), kind.map(text));
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: strings that live through the call, or null where mount(2) allows it.
    let mounted = unsafe {
        libc::mount(
            pointer(&source),
            place.as_ptr(),
            pointer(&kind),
            flags,
            std::ptr::null(),
        )
    };
    check(mounted, target);
}

fn check(code: i32, what: &str) {
    assert!(code == 0, "{what}: {}", io::Error::last_os_error());
}
