//! The system calls that std does not offer; all the unsafe code of this crate.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// A non-blocking connection to a Unix stream socket, closed when dropped.
#[derive(Debug)]
pub struct LocalStream(OwnedFd);

/// What [`LocalStream::wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// bytes, or the other side's end
    Read,
    /// room for bytes
    Write,
}

impl LocalStream {
    /// Connects without ever blocking; std's `UnixStream::connect` may wait forever on a full backlog.
    ///
    /// `WouldBlock`: the backlog is full. Every other error: nobody listens there, or not for this user.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let mut address = libc::sockaddr_un {
            sun_family: libc::AF_UNIX as libc::sa_family_t,
            sun_path: [0; 108],
        };
        let bytes = path.as_os_str().as_bytes();
        // The last byte stays zero.
        if bytes.len() >= address.sun_path.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in address.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket(2) takes three numbers and touches no memory of ours.
        let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
        // SAFETY: fd was returned by socket(2) just now, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        // SAFETY: address is a whole sockaddr_un of `len` bytes with a terminated path, and lives through the call.
        check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(Self(socket))
    }

    /// Sends without blocking and without SIGPIPE, which could end the host process.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the pointer and length are those of a live slice, which send(2) only reads.
        let sent = unsafe {
            libc::send(
                self.0.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Receives without blocking; 0 is the other side's end.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the pointer and length are those of a live, exclusively borrowed slice.
        let received = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// Waits until the socket is ready, failed, or `limit` has passed; the caller tries again and looks at its
    /// deadline.
    pub fn wait(&self, until: Readiness, limit: Duration) -> io::Result<()> {
        let events = match until {
            Readiness::Read => libc::POLLIN,
            Readiness::Write => libc::POLLOUT,
        };
        let mut waited = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events,
            revents: 0,
        };
        // Rounded up: a rest below a millisecond would spin.
        let milliseconds = libc::c_int::try_from(limit.as_millis().saturating_add(1)).unwrap_or(libc::c_int::MAX);
        // SAFETY: the pointer is to one live pollfd, and the count says one.
        match check(unsafe { libc::poll(&raw mut waited, 1, milliseconds) }) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

/// Asks a process to end.
pub const SIGTERM: libc::c_int = libc::SIGTERM;
/// Ends a process.
pub const SIGKILL: libc::c_int = libc::SIGKILL;

/// A process that is held: whoever has its number meanwhile, this is still the same one, or nobody.
#[derive(Debug)]
pub struct HeldProcess(OwnedFd);

impl HeldProcess {
    /// Takes hold of the process that has this number now. `Unsupported`: Linux before 5.3.
    pub fn of(pid: i32) -> io::Result<Self> {
        // SAFETY: pidfd_open(2) takes two numbers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = check(libc::c_int::try_from(fd).unwrap_or(-1))?;
        // SAFETY: fd was returned by pidfd_open(2) just now, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends it a signal, which is an error where it has ended.
    pub fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        let about = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: pidfd_send_signal(2) takes three numbers, and null where nothing is said about the signal.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, about, 0) };
        check(libc::c_int::try_from(sent).unwrap_or(-1)).map(drop)
    }
}

/// The real user id of this process.
pub fn own_uid() -> u32 {
    // SAFETY: getuid(2) takes nothing, touches no memory and cannot fail.
    unsafe { libc::getuid() }
}

/// Whether a file lies in a file system that a program without rights may have mounted, by fusermount(1).
pub fn is_fuse(file: &File) -> io::Result<bool> {
    let mut about = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open while `file` is borrowed, and the place for the answer is live and ours.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), about.as_mut_ptr()) })?;
    // SAFETY: on success fstatfs(2) has filled it.
    let about = unsafe { about.assume_init() };
    Ok(about.f_type == libc::FUSE_SUPER_MAGIC)
}

/// A passwd entry as glibc finds it, through every service that nsswitch.conf names. What sshd goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedUser {
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
}

/// Asks `getpwnam_r(3)`; `None` where no service knows the name. Allocates: not for use inside NSS.
pub fn resolve_user(name: &str) -> io::Result<Option<ResolvedUser>> {
    let name = CString::new(name)?;
    let ids = |entry: &libc::passwd| ResolvedUser {
        uid: entry.pw_uid,
        gid: entry.pw_gid,
    };
    // SAFETY: name is a terminated string; passwd_entry gives what getpwnam_r wants of the other four.
    passwd_entry(ids, |entry, buffer, len, found| unsafe {
        libc::getpwnam_r(name.as_ptr(), entry, buffer, len, found)
    })
}

/// The name that `getpwuid_r(3)` finds for this number, which is that of the first service to know it; `None` where
/// none does. Allocates: not for use inside NSS.
pub fn name_of_uid(uid: u32) -> io::Result<Option<Vec<u8>>> {
    // SAFETY: passwd_entry shows an entry that getpwuid_r has filled, whose name is a terminated string in the buffer.
    let name = |entry: &libc::passwd| unsafe { CStr::from_ptr(entry.pw_name) }.to_bytes().to_vec();
    // SAFETY: passwd_entry gives what getpwuid_r wants.
    passwd_entry(name, |entry, buffer, len, found| unsafe {
        libc::getpwuid_r(uid, entry, buffer, len, found)
    })
}

/// What `read` makes of the entry that `ask` finds. `ask` is given a place for an entry, a buffer with its length, and
/// a place for the result, all live and its own while it is called; `read` a filled entry, while the buffer lives.
fn passwd_entry<T>(
    read: impl Fn(&libc::passwd) -> T,
    ask: impl Fn(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> libc::c_int,
) -> io::Result<Option<T>> {
    let mut buffer = vec![0u8; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        let code = ask(
            entry.as_mut_ptr(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            &raw mut found,
        );
        match code {
            libc::ERANGE if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 2, 0),
            0 if found.is_null() => return Ok(None),
            0 => {
                // SAFETY: on success with a non-null result getpwnam_r and getpwuid_r have filled the entry.
                let entry = unsafe { entry.assume_init_ref() };
                return Ok(Some(read(entry)));
            }
            // What services say when they do not know a name (getpwnam(3), "ERRORS").
            libc::ENOENT | libc::ESRCH => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Every group of the user, as getgrouplist(3) finds them: as sshd's `Match Group` sees them.
pub fn group_list(name: &str, gid: u32) -> io::Result<Vec<u32>> {
    let name = CString::new(name)?;
    let mut count: libc::c_int = 64;
    loop {
        let mut groups = vec![0u32; usize::try_from(count).unwrap_or_default()];
        let room = count;
        // SAFETY: name is a terminated string; groups holds `count` gids; count is live and exclusively ours.
        let code = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
        if code >= 0 {
            groups.truncate(usize::try_from(count).unwrap_or_default());
            return Ok(groups);
        }
        if count <= room || count > 1 << 16 {
            return Err(io::Error::other("getgrouplist failed"));
        }
    }
}

/// What a name service can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameLookup<'a> {
    /// a user by name
    User(&'a str),
    /// a user by number
    Uid(u32),
    /// a group by name
    Group(&'a str),
    /// a group by number
    Gid(u32),
}

/// From now on this process asks no other service than this one about users and groups, whatever nsswitch.conf says.
/// Before its first question only.
///
/// `NotFound`: the service's module is not installed, so it knows nobody.
pub fn ask_only(service: &str) -> io::Result<()> {
    unsafe extern "C" {
        /// glibc, <nss.h>: the services of a database, as a line of nsswitch.conf has them.
        fn __nss_configure_lookup(database: *const libc::c_char, services: *const libc::c_char) -> libc::c_int;
    }
    let module = CString::new(format!("libnss_{service}.so.2"))?;
    // SAFETY: module is a terminated string. What the module's constructors do, they do in every process that resolves
    // a name.
    if unsafe { libc::dlopen(module.as_ptr(), libc::RTLD_NOW) }.is_null() {
        return Err(dynamic_loading_error());
    }
    let service = CString::new(service)?;
    for database in [c"passwd", c"group"] {
        // SAFETY: both are terminated strings, which glibc copies; no other thread looks anything up meanwhile.
        check(unsafe { __nss_configure_lookup(database.as_ptr(), service.as_ptr()) })?;
    }
    Ok(())
}

fn dynamic_loading_error() -> io::Error {
    // SAFETY: dlerror(3) takes nothing and returns null or a string.
    let said = unsafe { libc::dlerror() };
    if said.is_null() {
        return io::Error::other("dlopen failed");
    }
    // SAFETY: not null, so a terminated string that stays until this thread's next call of the family.
    let said = unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned();
    let kind = if said.contains("No such file") {
        io::ErrorKind::NotFound
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, said)
}

/// Whether the services have what is wanted. An error: they cannot tell now. Allocates: not for use inside NSS.
pub fn is_known(wanted: NameLookup<'_>) -> io::Result<bool> {
    let name = match wanted {
        NameLookup::User(name) | NameLookup::Group(name) => CString::new(name)?,
        NameLookup::Uid(_) | NameLookup::Gid(_) => CString::default(),
    };
    let mut buffer = vec![0u8; 16 << 10];
    let (bytes, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    let mut user = MaybeUninit::<libc::passwd>::uninit();
    let mut group = MaybeUninit::<libc::group>::uninit();
    let (mut user_found, mut group_found) = (std::ptr::null_mut(), std::ptr::null_mut());
    let code = match wanted {
        // SAFETY: name is a terminated string; the entry, the buffer of this length and the result are live and
        // exclusively ours.
        NameLookup::User(_) => unsafe {
            libc::getpwnam_r(name.as_ptr(), user.as_mut_ptr(), bytes, len, &raw mut user_found)
        },
        // SAFETY: as above.
        NameLookup::Uid(uid) => unsafe { libc::getpwuid_r(uid, user.as_mut_ptr(), bytes, len, &raw mut user_found) },
        // SAFETY: as above.
        NameLookup::Group(_) => unsafe {
            libc::getgrnam_r(name.as_ptr(), group.as_mut_ptr(), bytes, len, &raw mut group_found)
        },
        // SAFETY: as above.
        NameLookup::Gid(gid) => unsafe { libc::getgrgid_r(gid, group.as_mut_ptr(), bytes, len, &raw mut group_found) },
    };
    match code {
        0 => Ok(!user_found.is_null() || !group_found.is_null()),
        // An entry that is larger than the buffer is one.
        libc::ERANGE => Ok(true),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_is_asked_for_users_and_groups() {
        assert_eq!(resolve_user("root").unwrap(), Some(ResolvedUser { uid: 0, gid: 0 }));
        assert_eq!(resolve_user("no-such-user-here").unwrap(), None);
        assert_eq!(name_of_uid(0).unwrap().as_deref(), Some(&b"root"[..]));
        assert_eq!(name_of_uid(u32::MAX - 1).unwrap(), None);
        assert!(group_list("root", 0).unwrap().contains(&0));
    }

    #[test]
    fn users_and_groups_are_known_by_name_and_by_number_or_are_not() {
        for known in [
            NameLookup::User("root"),
            NameLookup::Uid(0),
            NameLookup::Group("root"),
            NameLookup::Gid(0),
        ] {
            assert!(is_known(known).unwrap(), "{known:?}");
        }
        let nobody = 2_000_000_001;
        for unknown in [
            NameLookup::User("no-such-user-here"),
            NameLookup::Uid(nobody),
            NameLookup::Group("no-such-user-here"),
            NameLookup::Gid(nobody),
        ] {
            assert!(!is_known(unknown).unwrap(), "{unknown:?}");
        }
    }

    #[test]
    fn a_path_longer_than_a_socket_address_is_an_error() {
        let long = "x".repeat(108);
        assert_eq!(
            LocalStream::connect(Path::new(&long)).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
