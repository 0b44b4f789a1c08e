//! Says which uid owns the other end of an accepted connection, as the kernel sees it.
//!
//! The server asks at accept, and once more before it writes what not everybody may read. It never concludes anything
//! from an absence: no owner, a closed socket, another network namespace, a netlink error are all refusals.
//!
//! A pair of addresses may have two sockets if one of them is bound to a device, and anybody may bind one
//! (`SO_BINDTODEVICE`). The kernel does not say which of the two stands here. So a second socket is a refusal too
//! (tests/impostors.rs has them all), and the server refuses every uid that capture exempts: their sockets stand at the
//! real service.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use credd_core::metadata::METADATA_ADDRESSES;
use keymaker_daemon::account_files::AccountFilesError;
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
    /// The connection was made to the container endpoint, which `container_endpoint = false` closes.
    ClosedDoor,
    /// The kernel names no owner for the client's socket.
    Unowned(SockDiagError),
    /// The process that made the socket has closed it (the kernel reports inode 0, and a meaningless uid).
    Orphaned,
    /// The client's socket is in this TCP state, in which it does not wait for an answer.
    State(u8),
    /// The uid talks to the real service: a socket of its own that has this pair of addresses stands there, and not
    /// here.
    Exempt(u32),
    /// Whether the uid is exempt from capture cannot be told.
    ExemptionUnknown(AccountFilesError),
    /// The only socket of this pair is bound to a device: a client of the metadata service has no reason to be.
    Bound,
    /// Sockets of these uids have one pair of addresses; which of them stands here cannot be told.
    Ambiguous(Vec<u32>),
    /// The socket is no longer the one that was identified at accept.
    Changed,
}

/// How connections get their owner; the tests have an implementation that speaks for several uids.
pub trait IdentifyCaller {
    /// The owner of the socket at the other end of `accepted`, by what it takes for an answer that everybody may read.
    fn owner(&self, accepted: BorrowedFd<'_>) -> Result<SocketOwner, CallerError>;

    /// Fails unless `accepted` still belongs to `owner`, by the same socket, and no other socket can be the one that
    /// stands there. It takes that for any other answer.
    fn still(&self, accepted: BorrowedFd<'_>, owner: SocketOwner) -> Result<(), CallerError>;
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

    fn ask<T>(&self, ask: impl FnOnce(&mut SockDiag) -> Result<T, SockDiagError>) -> Result<T, SockDiagError> {
        let mut slot = self.sock_diag.borrow_mut();
        let mut sock_diag = match slot.take() {
            Some(open) => open,
            None => SockDiag::open()?,
        };
        let found = ask(&mut sock_diag);
        // After any other error the rest of an answer may still come: the next question opens a new one.
        if !matches!(
            found,
            Err(SockDiagError::Netlink(_) | SockDiagError::Malformed | SockDiagError::AnotherSocket)
        ) {
            *slot = Some(sock_diag);
        }
        found
    }

    /// The owner of the only socket that `look` finds of the pair of addresses of `accepted`.
    fn judge(
        &self,
        accepted: BorrowedFd<'_>,
        look: impl FnOnce(SocketAddr, SocketAddr) -> Result<Vec<TcpSocket>, SockDiagError>,
    ) -> Result<SocketOwner, CallerError> {
        let (client, dialled) = (peer(accepted)?, self.dialled(accepted)?);
        let owner = sole(&look(client, dialled).map_err(CallerError::Unowned)?)?;
        // Only now look at our own end: while ours lives, the socket at its other end does, so it is the one found
        // above and not a later one that reuses the client's port. getpeername fails with ENOTCONN once our end is
        // closed or reset.
        peer(accepted)?;
        Ok(owner)
    }
}

impl IdentifyCaller for KernelCallers {
    fn owner(&self, accepted: BorrowedFd<'_>) -> Result<SocketOwner, CallerError> {
        self.judge(accepted, |client, dialled| {
            self.ask(|kernel| kernel.exact(client, dialled).map(|socket| vec![socket]))
        })
    }

    fn still(&self, accepted: BorrowedFd<'_>, owner: SocketOwner) -> Result<(), CallerError> {
        let now = self.judge(accepted, |client, dialled| {
            self.ask(|kernel| kernel.all(client, dialled, &STATES_OF_A_CLIENT))
        })?;
        if now == owner {
            Ok(())
        } else {
            Err(CallerError::Changed)
        }
    }
}

/// The owner of the only socket of a pair, if that can be a client's.
fn sole(sockets: &[TcpSocket]) -> Result<SocketOwner, CallerError> {
    match sockets {
        [] => Err(CallerError::Unowned(SockDiagError::NoSuchSocket)),
        [socket] if socket.inode == 0 => Err(CallerError::Orphaned),
        [socket] if !STATES_OF_A_CLIENT.contains(&socket.state) => Err(CallerError::State(socket.state)),
        [socket] if socket.device != 0 => Err(CallerError::Bound),
        [socket] => Ok(SocketOwner {
            uid: socket.uid,
            cookie: socket.cookie,
        }),
        several => Err(CallerError::Ambiguous(
            several.iter().map(|socket| socket.uid).collect(),
        )),
    }
}

/// Callers whom capture brought here. `C` says who they are, `is_exempt` whom it does not capture: these have nothing
/// to ask here, and anybody who seems to be one of them is somebody else.
pub struct Captured<C, E> {
    /// Who they are.
    pub callers: C,
    /// Whether a uid goes on talking to the real service.
    pub is_exempt: E,
}

impl<C: IdentifyCaller, E: Fn(u32) -> Result<bool, AccountFilesError>> IdentifyCaller for Captured<C, E> {
    fn owner(&self, accepted: BorrowedFd<'_>) -> Result<SocketOwner, CallerError> {
        let owner = self.callers.owner(accepted)?;
        match (self.is_exempt)(owner.uid) {
            Ok(false) => Ok(owner),
            Ok(true) => Err(CallerError::Exempt(owner.uid)),
            Err(error) => Err(CallerError::ExemptionUnknown(error)),
        }
    }

    fn still(&self, accepted: BorrowedFd<'_>, owner: SocketOwner) -> Result<(), CallerError> {
        self.callers.still(accepted, owner)
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

/// The states of a client whose answer we have not ended: ESTABLISHED; `FIN_WAIT1` and `FIN_WAIT2`, where it has shut
/// down its writing side and waits for the answer. One in `CLOSE_WAIT` has had its answer, so it is no longer at the
/// other end of a connection that waits for one.
const STATES_OF_A_CLIENT: [u8; 3] = [1, 4, 5];

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
    fn a_client_that_has_had_its_answer_is_no_caller() {
        let listener = listener();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let owner = owner_of(&accepted).unwrap();
        let callers = KernelCallers::new(Arrival::Transparent);
        callers.still(accepted.as_fd(), owner).unwrap();
        accepted.shutdown(std::net::Shutdown::Write).unwrap();
        let refused = owner_of(&accepted);
        assert!(matches!(refused, Err(CallerError::State(8))), "{refused:?}");
        assert!(callers.still(accepted.as_fd(), owner).is_err());
        drop(client);
    }

    // P13
    #[test]
    fn a_connection_that_the_server_has_closed_belongs_to_nobody() {
        let listener = listener();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // The client's socket is whole, and ours is no longer a connection.
        rustix::net::connect_unspec(&accepted).unwrap();
        let refused = owner_of(&accepted);
        assert!(matches!(refused, Err(CallerError::Gone(_))), "{refused:?}");
        drop(client);
    }

    // P13
    #[test]
    fn a_connection_that_ends_while_its_owner_is_looked_up_belongs_to_nobody() {
        let listener = listener();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let callers = KernelCallers::new(Arrival::Transparent);
        let refused = callers.judge(accepted.as_fd(), |client, dialled| {
            let found = callers.ask(|kernel| kernel.exact(client, dialled));
            rustix::net::connect_unspec(&accepted).unwrap();
            found.map(|socket| vec![socket])
        });
        assert!(matches!(refused, Err(CallerError::Gone(_))), "{refused:?}");
        drop(client);
    }

    // P13
    #[test]
    fn only_a_socket_that_waits_for_an_answer_is_a_callers_whatever_its_state() {
        let socket = TcpSocket {
            uid: 0,
            inode: 1,
            state: 1,
            device: 0,
            cookie: 1,
        };
        for state in 0..=u8::MAX {
            let is_one = sole(&[TcpSocket { state, ..socket }]).is_ok();
            // ESTABLISHED, FIN_WAIT1, FIN_WAIT2. TIME_WAIT (6) would be reported as uid 0.
            assert_eq!(is_one, [1, 4, 5].contains(&state), "{state}");
        }
        assert!(sole(&[]).is_err() && sole(&[socket, socket]).is_err());
        assert!(sole(&[TcpSocket { inode: 0, ..socket }]).is_err());
        assert!(sole(&[TcpSocket { device: 1, ..socket }]).is_err());
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

    // P13
    #[test]
    fn whoever_was_identified_is_looked_up_again_where_capture_spares_some_uids_too() {
        let listener = listener();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let callers = Captured {
            callers: KernelCallers::new(Arrival::Transparent),
            is_exempt: |_| Ok(false),
        };
        let owner = callers.owner(accepted.as_fd()).unwrap();
        callers.still(accepted.as_fd(), owner).unwrap();
        let former = SocketOwner {
            cookie: owner.cookie.wrapping_add(1),
            ..owner
        };
        let refused = callers.still(accepted.as_fd(), former);
        assert!(matches!(refused, Err(CallerError::Changed)), "{refused:?}");
        accepted.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(callers.still(accepted.as_fd(), owner).is_err());
        drop(client);
    }

    #[test]
    fn after_an_answer_that_broke_off_the_kernel_is_asked_through_a_new_socket() {
        let callers = KernelCallers::new(Arrival::Transparent);
        let interrupted = || SockDiagError::Netlink(io::ErrorKind::Interrupted.into());
        for (answer, is_kept) in [
            (Ok(()), true),
            (Err(SockDiagError::NoSuchSocket), true),
            (Err(SockDiagError::AnotherSocket), false),
            (Err(SockDiagError::Malformed), false),
            (Err(interrupted()), false),
        ] {
            let what = format!("{answer:?}");
            let _ = callers.ask(|_| answer);
            assert_eq!(callers.sock_diag.borrow().is_some(), is_kept, "{what}");
        }
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
