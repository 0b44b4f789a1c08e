//! A host of the process's own: a private mount namespace with the modules, an empty /var/lib, /run and /home, and
//! small local files.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const ENTERED: &str = "KEYMAKER_HARNESS_STAGE";
/// A command, with its options, under which the program runs inside: valgrind.
const UNDER: &str = "KEYMAKER_HARNESS_UNDER";
const MODULES: &str = "/run/modules";
/// The PAM module inside.
pub const PAM_MODULE: &str = "/run/modules/pam_keymaker.so";
/// The local group by which sshd knows our users.
pub const GROUP: &str = "root:x:0:\nkeymaker-users:x:990:\nlocal:x:1000:\n";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nlocal:x:1000:1000::/home/local:/bin/sh\n";
/// The line that the package installs (dist/pam-configs/keymaker), for each type, before a module that lets everybody
/// in.
const CONTROL: &str = "[success=ok ignore=ignore module_unknown=ignore default=die]";
/// The services: what of our line they have.
pub const SERVICES: [(&str, &str); 6] = [
    ("sshd", ""),
    ("su", ""),
    ("cron", ""),
    ("nohome", "nohome"),
    ("arguments", "umask=027 skel=/run/other-skel frobnicate"),
    ("without-module", ""),
];

/// Whether this process already runs inside.
pub fn is_entered() -> bool {
    std::env::var_os(ENTERED).is_some()
}

/// Makes the host and starts this program again in it; does not come back.
pub fn enter(pam_module: &str, nss_module: &str, arguments: &[String]) -> ! {
    let modules = [pam_module, nss_module].map(|module| fs::read(module).expect("the built module"));
    // In a chroot it has this name only in the mount namespace in which it was started.
    let program = std::env::current_exe().unwrap();
    // SAFETY: takes a number; this process has one thread.
    check(
        unsafe { libc::unshare(libc::CLONE_NEWNS) },
        "a mount namespace of our own (root)",
    );
    mount(None, "/", None, libc::MS_REC | libc::MS_PRIVATE, "");
    for place in ["/var/lib", "/run", "/home"] {
        mount(Some("tmpfs"), place, Some("tmpfs"), 0, "mode=755");
    }
    make_devices();
    fs::create_dir(MODULES).unwrap();
    let [pam_module, nss_module] = modules;
    fs::write(PAM_MODULE, pam_module).unwrap();
    fs::write(format!("{MODULES}/libnss_keymaker.so.2"), nss_module).unwrap();
    make_files();
    let mut under = std::env::var(UNDER).unwrap_or_default();
    under = format!("{under} {}", program.to_str().unwrap());
    let mut words = under.split_whitespace();
    let error = Command::new(words.next().unwrap())
        .args(words)
        .args(arguments)
        .env(ENTERED, "1")
        .env("LD_LIBRARY_PATH", MODULES)
        .exec();
    panic!("starting anew inside: {error}");
}

/// A /dev in which a socket can be bound at /dev/log.
fn make_devices() {
    fs::create_dir("/run/dev").unwrap();
    mount(Some("tmpfs"), "/run/dev", Some("tmpfs"), 0, "mode=755");
    fs::write("/run/dev/null", "").unwrap();
    mount(Some("/dev/null"), "/run/dev/null", None, libc::MS_BIND, "");
    mount(Some("/run/dev"), "/dev", None, libc::MS_BIND | libc::MS_REC, "");
}

fn make_files() {
    for (name, text) in [
        ("nsswitch.conf", "passwd: files keymaker\ngroup: files keymaker\n"),
        ("passwd", PASSWD),
        ("group", GROUP),
    ] {
        let own = format!("/run/{name}");
        fs::write(&own, text).unwrap();
        mount(Some(&own), &format!("/etc/{name}"), None, libc::MS_BIND, "");
    }
    fs::create_dir("/run/pam.d").unwrap();
    for (service, arguments) in SERVICES {
        let module = if service == "without-module" {
            "/run/modules/none.so"
        } else {
            PAM_MODULE
        };
        let stack = |kind: &str, arguments: &str| {
            format!("{kind} {CONTROL} {module} {arguments}\n{kind} required pam_permit.so\n")
        };
        fs::write(
            Path::new("/run/pam.d").join(service),
            stack("account", "") + &stack("session", arguments),
        )
        .unwrap();
    }
    mount(Some("/run/pam.d"), "/etc/pam.d", None, libc::MS_BIND, "");
    for (skel, file) in [("/run/skel", ".profile"), ("/run/other-skel", ".other")] {
        fs::create_dir(skel).unwrap();
        fs::write(format!("{skel}/{file}"), "umask 022\n").unwrap();
        fs::set_permissions(format!("{skel}/{file}"), fs::Permissions::from_mode(0o640)).unwrap();
    }
    mount(Some("/run/skel"), "/etc/skel", None, libc::MS_BIND, "");
}

/// mount(2).
pub fn mount(source: Option<&str>, target: &str, kind: Option<&str>, flags: libc::c_ulong, options: &str) {
    let text = |text: &str| CString::new(text).unwrap();
    let (source, place, kind, options) = (source.map(text), text(target), kind.map(text), text(options));
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: strings that live through the call, or null where mount(2) allows it.
    let mounted = unsafe {
        libc::mount(
            pointer(&source),
            place.as_ptr(),
            pointer(&kind),
            flags,
            options.as_ptr().cast(),
        )
    };
    check(mounted, target);
}

/// From now on chown(2) is refused, as by a file server that makes nobody of root.
pub fn squash_root() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    // Two words each of what is effective, permitted and inheritable.
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: capget(2) reads a header and, in its version 3, fills two times three words.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) };
    assert_eq!(got, 0, "capget: {}", io::Error::last_os_error());
    // CAP_CHOWN is number 0.
    sets[0][0] &= !1;
    // SAFETY: capset(2) reads the same.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    assert_eq!(set, 0, "capset: {}", io::Error::last_os_error());
}

fn check(code: i32, what: &str) {
    assert!(code == 0, "{what}: {}", io::Error::last_os_error());
}
