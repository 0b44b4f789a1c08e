//! Ports that nobody but this daemon can connect from. A local user can hold every port that the kernel gives to
//! anybody who connects; a revocation would be missed for want of one. keymakerd takes a few at its start, and connects
//! from them where the kernel has no other.
//!
//! How it works (tried on Linux 6.18; the rule is in `inet_csk_bind_conflict`, and `SO_REUSEPORT` in socket(7)): a port
//! that is bound with `SO_REUSEPORT` alone may be bound again by the same user only. It is not so with `SO_REUSEADDR`:
//! by it anybody binds the port too, and listens there. So a socket that is bound and never connected keeps the port,
//! and others of ours connect from it: one at a time to each address and port.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpSocket, TcpStream};

/// More than a daemon has connections at once to one address.
const WANTED: usize = 32;
/// Where they are taken, from above: the kernel's own range (`net.ipv4.ip_local_port_range`), which firewalls let out.
/// Not at random, or a service that wants a port of this range for itself would find it taken on one host in a
/// thousand.
const AMONG: RangeInclusive<u16> = 32768..=60999;

/// The ports, and the addresses of whom they reach. Clones share them; the ports are free again when the last one is
/// dropped. The default holds none.
#[derive(Clone, Debug, Default)]
pub struct OwnPorts {
    held: Arc<Mutex<Vec<Port>>>,
    names: Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>,
}

/// Bound for both families.
#[derive(Debug)]
struct Port {
    number: u16,
    _bound: TcpSocket,
}

impl OwnPorts {
    /// Takes what is missing of 32 ports, or as many as this host has left. To be called at the start and whenever some
    /// may be free again.
    pub fn hold(&self) {
        let own = self.numbers();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for number in AMONG.rev().filter(|number| !own.contains(number)) {
            if held.len() == WANTED {
                return;
            }
            match Port::take(number) {
                Ok(port) => held.push(port),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(_) => return,
            }
        }
    }

    /// Connects from whatever port the kernel gives, or else from one of these. Where all of them are connected to this
    /// address, the error is the kernel's: EADDRNOTAVAIL.
    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let lacking = match TcpStream::connect(to).await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => error,
            connected => return connected,
        };
        self.connect_from_own(to).await.unwrap_or(Err(lacking))
    }

    /// `None`: each of these ports has a connection to this address, or there are none.
    async fn connect_from_own(&self, to: SocketAddr) -> Option<io::Result<TcpStream>> {
        for port in self.numbers() {
            match connect_from(port, to).await {
                Err(error) if matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse) => {}
                connected => return Some(connected),
            }
        }
        None
    }

    /// What getaddrinfo(3) says of a name; where it cannot say, which is so where it has no port either, what it said
    /// last.
    pub(crate) async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await;
        let mut known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(found) => {
                let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
                known.insert(name.to_owned(), found.clone());
                Ok(found)
            }
            Err(error) => known.get(name).cloned().ok_or(error),
        }
    }

    fn numbers(&self) -> Vec<u16> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|port| port.number).collect()
    }
}

impl Port {
    fn take(number: u16) -> io::Result<Self> {
        let (socket, any): (_, SocketAddr) = match TcpSocket::new_v6() {
            Ok(socket) => (socket, (Ipv6Addr::UNSPECIFIED, number).into()),
            // A host without IPv6.
            Err(_) => (TcpSocket::new_v4()?, (Ipv4Addr::UNSPECIFIED, number).into()),
        };
        share(&socket)?;
        socket.bind(any)?;
        Ok(Self { number, _bound: socket })
    }
}

async fn connect_from(port: u16, to: SocketAddr) -> io::Result<TcpStream> {
    let (socket, any): (_, SocketAddr) = match to {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, (Ipv4Addr::UNSPECIFIED, port).into()),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, (Ipv6Addr::UNSPECIFIED, port).into()),
    };
    share(&socket)?;
    socket.bind(any)?;
    socket.connect(to).await
}

/// With this user's own sockets, and with nobody else's.
#[cfg(feature = "host")]
fn share(socket: &TcpSocket) -> io::Result<()> {
    socket.set_reuseport(true)
}

/// On a user's own computer nothing decides by a revocation.
#[cfg(not(feature = "host"))]
fn share(_: &TcpSocket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[cfg(feature = "host")]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    // P9
    #[tokio::test]
    async fn where_no_port_is_free_a_connection_is_made_from_one_that_is_held() {
        let ports = OwnPorts::default();
        ports.hold();
        ports.hold();
        assert_eq!(ports.numbers().len(), WANTED);
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(any).await else {
                continue; // No IPv6 here.
            };
            let there = listener.local_addr().unwrap();
            let mut connections = Vec::new();
            for _ in 0..WANTED {
                let connection = ports.connect_from_own(there).await.unwrap().unwrap();
                assert!(ports.numbers().contains(&connection.local_addr().unwrap().port()));
                assert_eq!(listener.accept().await.unwrap().1, connection.local_addr().unwrap());
                connections.push(connection);
            }
            assert!(ports.connect_from_own(there).await.is_none());
        }
        assert!(
            OwnPorts::default()
                .connect_from_own("127.0.0.1:9".parse().unwrap())
                .await
                .is_none()
        );
    }

    // P9
    #[tokio::test]
    async fn nobody_takes_a_held_port_by_sharing_it() {
        let ports = OwnPorts::default();
        ports.hold();
        for number in ports.numbers() {
            for reuse in [false, true] {
                let other = TcpSocket::new_v4().unwrap();
                other.set_reuseaddr(reuse).unwrap();
                let taken = other.bind((Ipv4Addr::LOCALHOST, number).into());
                assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            }
        }
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_has_the_addresses_that_it_had_last() {
        let ports = OwnPorts::default();
        let known = ports.addresses("localhost").await.unwrap();
        assert!(known.iter().all(IpAddr::is_loopback) && !known.is_empty(), "{known:?}");
        assert!(ports.addresses("no.such.name.invalid").await.is_err());
        let name = "no.such.name.invalid".to_owned();
        ports.names.lock().unwrap().insert(name.clone(), known.clone());
        assert_eq!(ports.addresses(&name).await.unwrap(), known);
    }
}
