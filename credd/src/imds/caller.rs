//! Says which uid owns the other end of an accepted connection, as the kernel sees it.
//!
//! The server asks at accept, and once more before a secret is written. It never concludes anything from an absence: no
//! owner, a closed socket, another network namespace, a netlink error are all refusals.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use rustix::net::sockopt;

use super::sock_diag::{SockDiag, SockDiagError, TcpSocket};

/// The owner of the client's socket at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketOwner {
    /// The uid that made the socket.
    pub uid: u32,
    /// The kernel's name for that socket: two owners with one cookie are the same socket.
    pub cookie: u64,
}

/// Why a connection has no caller. Each is a refusal; the sentences go to the audit line.
#[derive(Debug)]
pub enum CallerError {
    /// The client closed or reset the connection before it could be identified.
    Gone(io::Error),
    /// The connection was made to this address directly, not to the metadata address.
    NotCaptured(SocketAddr),
    /// The kernel names no owner for the client's socket.
    Unowned(SockDiagError),
    /// The process that made the socket has closed it (the kernel reports inode 0, and a meaningless uid).
    Orphaned,
    /// The client's socket is in this TCP state, in which its owner cannot be relied on.
    State(u8),
    /// The socket is no longer the one that was identified at accept.
    Changed,
}

/// How connections get their owner; the tests have an implementation that speaks for several uids.
pub trait IdentifyCaller {
    /// The owner of the socket at the other end of `accepted`, right now.
    fn owner(&self, accepted: BorrowedFd<'_>) -> Result<SocketOwner, CallerError>;

    /// Fails unless `accepted` still belongs to `owner`, by the same socket.
    fn still(&self, accepted: BorrowedFd<'_>, owner: SocketOwner) -> Result<(), CallerError> {
        if self.owner(accepted)? == owner {
            Ok(())
        } else {
            Err(CallerError::Changed)
        }
    }
}

/// How the kernel hands connections to the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Policy routing to a transparent listener: the local address is the one the client dialled.
    Transparent,
    /// An nft redirect: the client dialled the metadata address, conntrack remembers it.
    Redirected,
}

/// Asks the kernel.
pub struct KernelCallers {
    arrival: Arrival,
    sock_diag: RefCell<Option<SockDiag>>,
}

impl KernelCallers {
    /// Nothing is opened before the first connection.
    pub fn new(arrival: Arrival) -> Self {
        Self {
            arrival,
            sock_diag: RefCell::new(None),
        }
    }

    /// The address that the client dialled, which is what its own socket has as its peer.
    fn dialled(&self, accepted: BorrowedFd<'_>) -> Result<SocketAddr, CallerError> {
        let local = address(rustix::net::getsockname(accepted))?;
        if self.arrival == Arrival::Transparent {
            return Ok(local);
        }
        let original: Result<SocketAddr, _> = match local {
            SocketAddr::V4(_) => sockopt::ip_original_dst(accepted).map(Into::into),
            SocketAddr::V6(_) => sockopt::ipv6_original_dst(accepted).map(Into::into),
        };
        // Somebody who dials the redirect's port directly has no original destination, or that port as one (H10).
        match original {
            Ok(dialled) if METADATA_ADDRESSES.contains(&dialled.ip()) => Ok(dialled),
            _ => Err(CallerError::NotCaptured(local)),
        }
    }

    fn lookup(&self, client: SocketAddr, dialled: SocketAddr) -> Result<TcpSocket, SockDiagError> {
        let mut slot = self.sock_diag.borrow_mut();
        let mut sock_diag = match slot.take() {
            Some(open) => open,
            None => SockDiag::open()?,
        };
        let found = sock_diag.exact(client, dialled);
        // After a netlink error the socket's state is unknown: the next question opens a new one.
        if !matches!(found, Err(SockDiagError::Netlink(_) | SockDiagError::Malformed)) {
            *slot = Some(sock_diag);
        }
        found
    }
}

impl IdentifyCaller for KernelCallers {
    fn owner(&self, accepted: BorrowedFd<'_>) -> Result<SocketOwner, CallerError> {
        let client = peer(accepted)?;
        let dialled = self.dialled(accepted)?;
        let socket = self.lookup(client, dialled).map_err(CallerError::Unowned)?;
        if socket.inode == 0 {
            return Err(CallerError::Orphaned);
        }
        if !OWNED_STATES.contains(&socket.state) {
            return Err(CallerError::State(socket.state));
        }
        // Only now look at our own end: the kernel lets a pair of addresses have one live connection, so while ours lives
        // the socket found above is the one at its other end, and not a later one that reuses the client's port.
        // getpeername fails with ENOTCONN as soon as our end is closed or reset.
        peer(accepted)?;
        Ok(SocketOwner {
            uid: socket.uid,
            cookie: socket.cookie,
        })
    }
}

fn peer(accepted: BorrowedFd<'_>) -> Result<SocketAddr, CallerError> {
    // None is an address without a family, as a unix socket has it.
    address(rustix::net::getpeername(accepted).and_then(|any| any.ok_or(rustix::io::Errno::NOTCONN)))
}

fn address(found: rustix::io::Result<rustix::net::SocketAddrAny>) -> Result<SocketAddr, CallerError> {
    let any = found.map_err(|errno| CallerError::Gone(errno.into()))?;
    SocketAddr::try_from(any).map_err(|errno| CallerError::Gone(errno.into()))
}

/// The addresses of the metadata service.
pub const METADATA_ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// ESTABLISHED; FIN_WAIT1 and FIN_WAIT2, where a client has shut down its writing side and waits for the answer (an
/// orphan in these states has inode 0); CLOSE_WAIT, where we have shut down ours. TIME_WAIT is not among them: it is
/// reported as uid 0.
const OWNED_STATES: [u8; 4] = [1, 4, 5, 8];

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::process::{Child, Command, Stdio};

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn owner_of(accepted: &TcpStream) -> Result<SocketOwner, CallerError> {
        KernelCallers::new(Arrival::Transparent).owner(accepted.as_fd())
    }

    fn own_uid() -> u32 {
        rustix::process::getuid().as_raw()
    }

    /// A process of `uid` that connects and holds the connection until it is closed from our side.
    fn client_of(uid: u32, port: u16) -> Child {
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read -r -t 20 <&3; true");
        let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args([&uid, &gid, "--clear-groups", "bash", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    // P13
    #[test]
    fn every_connection_is_given_to_the_uid_that_made_its_socket() {
        if own_uid() != 0 {
            println!("only root can run clients as other uids");
            return;
        }
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        for uid in [2001, 2002, 2003, 0, 2001] {
            let mut client = client_of(uid, port);
            let (accepted, _) = listener.accept().unwrap();
            let owner = owner_of(&accepted).unwrap();
            drop(accepted);
            client.wait().unwrap();
            assert_eq!(owner.uid, uid);
        }
    }

    // P13 H9
    #[test]
    fn a_socket_handed_to_another_user_stays_its_makers() {
        if own_uid() != 0 {
            println!("only root can run clients as other uids");
            return;
        }
        let listener = listener();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args(["--reuid=2002", "--clear-groups", "cat"])
            .stdin(std::os::fd::OwnedFd::from(socket));
        let mut heir = setpriv.stdout(Stdio::null()).spawn().unwrap();
        drop(setpriv);
        assert_eq!(owner_of(&accepted).unwrap().uid, 0);
        drop(accepted);
        heir.wait().unwrap();
    }

    // P13 H5
    #[test]
    fn a_client_that_has_closed_is_nobody_and_never_root() {
        let listener = listener();
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (accepted, _) = listener.accept().unwrap();
        let refused = owner_of(&accepted);
        assert!(
            matches!(refused, Err(CallerError::Orphaned | CallerError::Unowned(_))),
            "{refused:?}"
        );
    }

    #[test]
    fn a_client_that_has_only_shut_down_its_writing_side_keeps_its_owner() {
        let listener = listener();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let before = owner_of(&accepted).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(owner_of(&accepted).unwrap(), before);
    }

    // P13
    #[test]
    fn a_port_that_was_reset_and_taken_by_another_socket_does_not_inherit_the_connection() {
        let listener = listener();
        let here = listener.local_addr().unwrap();
        let first = TcpStream::connect(here).unwrap();
        let from = first.local_addr().unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let callers = KernelCallers::new(Arrival::Transparent);
        let owner = callers.owner(accepted.as_fd()).unwrap();
        sockopt::set_socket_linger(&first, Some(std::time::Duration::ZERO)).unwrap();
        drop(first);
        let second = bound_client(from);
        rustix::net::connect(&second, &here).unwrap();
        let refused = callers.still(accepted.as_fd(), owner);
        assert!(matches!(refused, Err(CallerError::Gone(_))), "{refused:?}");
        let (again, _) = listener.accept().unwrap();
        assert_ne!(callers.owner(again.as_fd()).unwrap().cookie, owner.cookie);
    }

    // P14 H10
    #[test]
    fn whoever_dials_the_redirects_port_directly_is_refused() {
        let listener = listener();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let refused = KernelCallers::new(Arrival::Redirected).owner(accepted.as_fd());
        assert!(matches!(refused, Err(CallerError::NotCaptured(_))), "{refused:?}");
    }

    fn bound_client(from: SocketAddr) -> std::os::fd::OwnedFd {
        use rustix::net::{AddressFamily, SocketType, bind, socket};
        let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&client, true).unwrap();
        bind(&client, &from).unwrap();
        client
    }
}
