//! Errors that say that this host lacks something, and nothing about AWS.

use std::io;

#[cfg(feature = "host")]
use rustix::io::Errno;

/// Errors by which the kernel says that this host has no more of something: connect(2), socket(2), open(2).
#[cfg(feature = "host")]
pub(crate) fn is_of_this_host(error: &io::Error) -> bool {
    let lacks = [
        Errno::ADDRNOTAVAIL,
        Errno::ADDRINUSE,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::NOSPC,
    ];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

/// On a user's own computer nobody decides by the difference.
#[cfg(not(feature = "host"))]
pub(crate) fn is_of_this_host(_: &io::Error) -> bool {
    false
}
