//! Files by name in a folder that is held open: who moves the folder, or puts another in its place, changes nothing about
//! which one is meant. No link is followed, neither here nor by what is returned.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, OsString, c_int};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A folder that is held open.
#[derive(Debug)]
pub struct Folder {
    file: File,
    /// where it was when it was opened: for sentences only
    pub path: PathBuf,
}

impl Folder {
    /// Opens the folder at a path on which nobody else can change a part.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
        Ok(Self { file, path })
    }

    /// Its descriptor, as a file: for its owner, its permissions and its disk.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The folder of this name.
    pub fn folder(&self, name: &OsStr) -> io::Result<Self> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK;
        let path = self.path.join(name);
        Ok(Self {
            file: self.openat(name, flags, 0)?,
            path,
        })
    }

    /// A new file of this name, for its owner alone, to be written.
    pub fn new_file(&self, name: &OsStr) -> io::Result<File> {
        self.openat(name, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o600)
    }

    /// What is there by this name, a link among it.
    pub fn look_at(&self, name: &OsStr) -> io::Result<Metadata> {
        self.openat(name, libc::O_PATH, 0)?.metadata()
    }

    fn openat(&self, name: &OsStr, flags: c_int, mode: libc::mode_t) -> io::Result<File> {
        let name = CString::new(name.as_bytes())?;
        let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY;
        // SAFETY: the descriptor is open while self lives; name is a terminated string that outlives the call.
        let fd = check(unsafe { libc::openat(self.fd(), name.as_ptr(), flags, mode) })?;
        // SAFETY: fd was returned by openat(2) just now, and nobody else has it.
        Ok(unsafe { File::from_raw_fd(fd) })
    }

    /// Makes a folder for its owner alone, whatever the umask; an error where something has this name.
    pub fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        let name = CString::new(name.as_bytes())?;
        // SAFETY: as in openat.
        check(unsafe { libc::mkdirat(self.fd(), name.as_ptr(), 0o700) }).map(drop)
    }

    /// Makes a link of this name; an error where something has it.
    pub fn make_link(&self, target: &Path, name: &OsStr) -> io::Result<()> {
        let (target, name) = (
            CString::new(target.as_os_str().as_bytes())?,
            CString::new(name.as_bytes())?,
        );
        // SAFETY: the descriptor is open while self lives; both are terminated strings that outlive the call.
        check(unsafe { libc::symlinkat(target.as_ptr(), self.fd(), name.as_ptr()) }).map(drop)
    }

    /// Gives a link of this name to a user and the group of the same number.
    pub fn give_link(&self, name: &OsStr, uid: u32) -> io::Result<()> {
        let name = CString::new(name.as_bytes())?;
        let no_follow = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: as in openat.
        check(unsafe { libc::fchownat(self.fd(), name.as_ptr(), uid, uid, no_follow) }).map(drop)
    }

    /// Moves what has this name into another folder; an error where something has the new name there.
    pub fn rename(&self, name: &OsStr, to: &Self, new_name: &OsStr) -> io::Result<()> {
        match self.renameat(name, to, new_name, libc::RENAME_NOREPLACE) {
            // NFS and old kernels know no such flag. rename(2) of a folder replaces nothing but an empty folder.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
                if to.look_at(new_name).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                self.renameat(name, to, new_name, 0)
            }
            renamed => renamed,
        }
    }

    fn renameat(&self, name: &OsStr, to: &Self, new_name: &OsStr, flags: libc::c_uint) -> io::Result<()> {
        let (name, new_name) = (CString::new(name.as_bytes())?, CString::new(new_name.as_bytes())?);
        // SAFETY: both descriptors are open while their folders live; both names are terminated strings that outlive the call.
        check(unsafe { libc::renameat2(self.fd(), name.as_ptr(), to.fd(), new_name.as_ptr(), flags) }).map(drop)
    }

    /// Removes what has this name, and what is in it where that is a folder. Only where nobody else can change a part of it.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match self.unlinkat(name, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EISDIR) => {
                let folder = self.folder(name)?;
                for inner in folder.names()? {
                    folder.remove(&inner)?;
                }
                self.remove_empty(name)
            }
            removed => removed,
        }
    }

    /// Removes an empty folder of this name.
    pub fn remove_empty(&self, name: &OsStr) -> io::Result<()> {
        self.unlinkat(name, libc::AT_REMOVEDIR)
    }

    fn unlinkat(&self, name: &OsStr, flags: c_int) -> io::Result<()> {
        let name = CString::new(name.as_bytes())?;
        // SAFETY: as in openat.
        check(unsafe { libc::unlinkat(self.fd(), name.as_ptr(), flags) }).map(drop)
    }

    /// The names of what is in it.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let own = self.openat(OsStr::new("."), libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
        let fd = own.into_raw_fd();
        // SAFETY: fd is an open descriptor of a folder, and nobody else's; the stream has it from now on.
        let stream = unsafe { libc::fdopendir(fd) };
        if stream.is_null() {
            let error = io::Error::last_os_error();
            // SAFETY: fdopendir(3) has not taken the descriptor, which is still ours alone.
            drop(unsafe { File::from_raw_fd(fd) });
            return Err(error);
        }
        let mut names = Vec::new();
        loop {
            // SAFETY: the stream is open, and no other thread has it.
            let entry = unsafe { libc::readdir(stream) };
            if entry.is_null() {
                break;
            }
            // SAFETY: the entry is not null, and stays until the next call for this stream.
            let name = unsafe { &raw const (*entry).d_name }.cast();
            // SAFETY: an entry's name is a terminated string, which stays as long.
            let name = unsafe { CStr::from_ptr(name) }.to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        // SAFETY: the stream is open and not used again; its descriptor is closed with it.
        unsafe { libc::closedir(stream) };
        Ok(names)
    }

    /// Takes away what the ACL of the folder above lets others do here (acl(5)): what is made in it inherits nothing.
    pub fn remove_acl(&self) -> io::Result<()> {
        for name in [c"system.posix_acl_default", c"system.posix_acl_access"] {
            // SAFETY: the descriptor is open while self lives; name is a terminated string.
            match check(unsafe { libc::fremovexattr(self.fd(), name.as_ptr()) }) {
                Err(error) if !matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Its SELinux label, without the terminating zero; `None` where it has none.
    pub fn selinux_label(&self) -> Option<Vec<u8>> {
        let mut label = vec![0u8; 512];
        let (value, size) = (label.as_mut_ptr().cast(), label.len());
        // SAFETY: the descriptor is open while self lives; name is a terminated string; the buffer is live, exclusively ours
        // and as long as it says.
        let len = unsafe { libc::fgetxattr(self.fd(), c"security.selinux".as_ptr(), value, size) };
        label.truncate(usize::try_from(len).ok()?);
        while label.last() == Some(&0) {
            label.pop();
        }
        Some(label)
    }

    fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    match result {
        0.. => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
