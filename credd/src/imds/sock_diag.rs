//! Asks the kernel which sockets have exactly this pair of addresses, and whose they are.
//!
//! `caller` asks for one socket at every connection, and for all before a secret: sockets that are bound to different
//! devices, or one that is bound and one that is not, may have one pair of addresses, and only a dump of the socket
//! table shows them all. Every answer is compared with the question. It needs no capability, only the network namespace
//! of the client.
//!
//! The messages are those of `linux/inet_diag.h`: a request is `nlmsghdr` and `inet_diag_req_v2`, a dump's is `nlmsghdr`,
//! `inet_diag_req` and a filter of `inet_diag_bc_op`; an answer is `nlmsghdr` and `inet_diag_msg`. Addresses and ports are in network
//! order (but for the ports of a filter), everything else in host order.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};

/// What the kernel says about one TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// The file system uid of the thread that created the socket.
    pub uid: u32,
    /// 0 where no process holds the socket any more; `uid` then means nothing.
    pub inode: u32,
    /// One of the `TCP_*` states of `net/tcp_states.h`.
    pub state: u8,
    /// The device that the socket is bound to (`SO_BINDTODEVICE`); 0: none.
    pub device: u32,
    /// The kernel's name for the socket, never used again before the next boot.
    pub cookie: u64,
}

/// Why the owner of a socket could not be told.
#[derive(Debug)]
pub enum SockDiagError {
    /// The kernel knows no socket with this pair of addresses (closed, or in another network namespace).
    NoSuchSocket,
    /// The kernel answered about another socket, as it does for a listener on the same port.
    AnotherSocket,
    /// The answer is not a `sock_diag` answer to our question.
    Malformed,
    /// The netlink socket failed; see that the unit's `RestrictAddressFamilies` has `AF_NETLINK`.
    Netlink(io::Error),
}

/// An open netlink socket, kept so that a question costs 3 µs and not 8.
pub struct SockDiag {
    netlink: OwnedFd,
    sequence: u32,
}

impl SockDiag {
    /// Opens the netlink socket. Fails only with [`SockDiagError::Netlink`].
    pub fn open() -> Result<Self, SockDiagError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let netlink = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
        // Connected to port 0, the kernel: messages that another process sends us are then dropped.
        connect(&netlink, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { netlink, sequence: 0 })
    }

    /// The socket bound to no device whose own address is `local` and whose peer is `remote`. Costs 3 µs. Another
    /// socket, bound to a device, may have the same pair. The kernel answers while the question is being sent, so this
    /// never waits.
    pub fn exact(&mut self, local: SocketAddr, remote: SocketAddr) -> Result<TcpSocket, SockDiagError> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = encode(local, remote, self.sequence, None);
        let mut answer = [0_u8; 1024];
        send(&self.netlink, &request, SendFlags::empty())?;
        loop {
            let (_, length) = recv(&self.netlink, &mut answer, RecvFlags::empty())?;
            let message = answer.get(..length).ok_or(SockDiagError::Malformed)?;
            // An answer to an earlier question is still there if reading it was interrupted.
            if u32_at(message, 8) == Some(self.sequence) {
                return decode(message, local, remote);
            }
        }
    }

    /// Every socket whose own address is `local`, whose peer is `remote` and whose state is one of `states`, whatever
    /// device it is bound to, and of both families, since an IPv4 pair may belong to either. Costs a third of a
    /// millisecond or more: the kernel walks through its whole table, and only the older form of the question has it
    /// look for both families in one walk.
    pub fn all(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        states: &[u8],
    ) -> Result<Vec<TcpSocket>, SockDiagError> {
        let mut sockets = vec![];
        self.sequence = self.sequence.wrapping_add(1);
        let request = encode(local, remote, self.sequence, Some(states));
        let mut answer = vec![0_u8; LARGEST_ANSWER];
        send(&self.netlink, &request, SendFlags::empty())?;
        loop {
            let (_, length) = recv(&self.netlink, answer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = answer.get(..length).ok_or(SockDiagError::Malformed)?;
            while !rest.is_empty() {
                let length = u32_at(rest, 0).and_then(|length| usize::try_from(length).ok());
                let length = length.filter(|length| *length >= HEADER_LENGTH);
                let message = length.and_then(|length| rest.get(..length));
                let message = message.ok_or(SockDiagError::Malformed)?;
                rest = rest.get(message.len().next_multiple_of(4)..).unwrap_or_default();
                if u32_at(message, 8) != Some(self.sequence) {
                    continue;
                }
                if u16_at(message, 4) == Some(NLMSG_DONE) {
                    return Ok(sockets);
                }
                sockets.push(decode(message, local, remote)?);
            }
        }
    }
}

impl From<rustix::io::Errno> for SockDiagError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Netlink(errno.into())
    }
}

/// The question for one socket, or with `states` for all of the pair that are in one of them.
fn encode(local: SocketAddr, remote: SocketAddr, sequence: u32, states: Option<&[u8]>) -> Vec<u8> {
    // struct inet_diag_sockid; a dump compares the ports only
    let mut id = vec![];
    id.extend(local.port().to_be_bytes());
    id.extend(remote.port().to_be_bytes());
    id.extend(address_words(local.ip()));
    id.extend(address_words(remote.ip()));
    id.extend(0_u32.to_ne_bytes());
    id.extend(INET_DIAG_NOCOOKIE.to_ne_bytes());
    let (kind, flags, question) = match states {
        None => {
            // struct inet_diag_req_v2; states are a filter of dumps only
            let mut question = vec![family(local), IPPROTO_TCP, 0, 0];
            question.extend(0_u32.to_ne_bytes());
            question.extend(id);
            (SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, question)
        }
        Some(states) => {
            // struct inet_diag_req
            let mut question = vec![family(local), 0, 0, 0];
            question.extend(id);
            let states = states.iter().fold(0, |mask, state| mask | 1_u32 << state);
            question.extend(states.to_ne_bytes());
            question.extend(0_u32.to_ne_bytes());
            question.extend(filter(local, remote));
            (TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP, question)
        }
    };
    // struct nlmsghdr
    let mut message = vec![];
    message.extend(u32::try_from(HEADER_LENGTH + question.len()).unwrap_or(0).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(question);
    message
}

/// The attribute that has the kernel compare the addresses too: who holds many sockets of one port makes no dump long.
fn filter(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let conditions = [(INET_DIAG_BC_S_COND, local), (INET_DIAG_BC_D_COND, remote)];
    let address_length = if local.is_ipv4() { 4 } else { 16 };
    let condition_length = 12 + address_length;
    let mut left = condition_length * 2;
    // struct nlattr
    let mut attribute = vec![];
    attribute.extend(u16::try_from(4 + left).unwrap_or(0).to_ne_bytes());
    attribute.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    for (code, address) in conditions {
        // struct inet_diag_bc_op: where it holds, to the next condition; where not, behind the end, which means no.
        attribute.extend([code, u8::try_from(condition_length).unwrap_or(0)]);
        attribute.extend(u16::try_from(left + 4).unwrap_or(0).to_ne_bytes());
        // struct inet_diag_hostcond; an IPv4 address matches the socket of the other family that has it, too.
        let bits = u8::try_from(address_length * 8).unwrap_or(0);
        attribute.extend([family(address), bits, 0, 0]);
        attribute.extend(i32::from(address.port()).to_ne_bytes());
        attribute.extend(address_words(address.ip()).iter().take(address_length));
        left -= condition_length;
    }
    attribute
}

fn family(address: SocketAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// Reads the kernel's answer to a question about this connection.
pub fn decode(message: &[u8], local: SocketAddr, remote: SocketAddr) -> Result<TcpSocket, SockDiagError> {
    let kind = u16_at(message, 4).ok_or(SockDiagError::Malformed)?;
    if kind == NLMSG_ERROR {
        let errno = u32_at(message, HEADER_LENGTH)
            .ok_or(SockDiagError::Malformed)?
            .wrapping_neg();
        return Err(match i32::try_from(errno).map_err(|_| SockDiagError::Malformed)? {
            ENOENT => SockDiagError::NoSuchSocket,
            other => SockDiagError::Netlink(io::Error::from_raw_os_error(other)),
        });
    }
    if kind != SOCK_DIAG_BY_FAMILY && kind != TCPDIAG_GETSOCK {
        return Err(SockDiagError::Malformed);
    }
    let answer = message.get(HEADER_LENGTH..).ok_or(SockDiagError::Malformed)?;
    let socket = SocketAnswer::read(answer).ok_or(SockDiagError::Malformed)?;
    if same(socket.local, local) && same(socket.remote, remote) {
        Ok(socket.owner)
    } else {
        Err(SockDiagError::AnotherSocket)
    }
}

/// `struct inet_diag_msg`.
struct SocketAnswer {
    local: SocketAddr,
    remote: SocketAddr,
    owner: TcpSocket,
}

impl SocketAnswer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let family = *bytes.first()?;
        let (low, high) = (u32_at(bytes, 44)?, u32_at(bytes, 48)?);
        Some(Self {
            local: SocketAddr::new(address_at(bytes, 8, family)?, port_at(bytes, 4)?),
            remote: SocketAddr::new(address_at(bytes, 24, family)?, port_at(bytes, 6)?),
            owner: TcpSocket {
                uid: u32_at(bytes, 64)?,
                inode: u32_at(bytes, 68)?,
                state: *bytes.get(1)?,
                device: u32_at(bytes, 40)?,
                cookie: u64::from(high) << 32 | u64::from(low),
            },
        })
    }
}

/// A v4 client on an `AF_INET6` socket is answered as family 10 with `::ffff:` addresses: the same pair all the same.
fn same(left: SocketAddr, right: SocketAddr) -> bool {
    left.port() == right.port() && left.ip().to_canonical() == right.ip().to_canonical()
}

fn address_words(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

fn address_at(bytes: &[u8], offset: usize, family: u8) -> Option<IpAddr> {
    match family {
        AF_INET => array_at::<4>(bytes, offset).map(|octets| Ipv4Addr::from(octets).into()),
        AF_INET6 => array_at::<16>(bytes, offset).map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn port_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_be_bytes)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_ne_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

const HEADER_LENGTH: usize = 16;
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_BC_S_COND: u8 = 7;
const INET_DIAG_BC_D_COND: u8 = 8;
/// The kernel's messages of a dump are not larger.
const LARGEST_ANSWER: usize = 32 * 1024;
const INET_DIAG_NOCOOKIE: u64 = u64::MAX;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const ENOENT: i32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn pair(address: &str) -> (TcpStream, TcpStream, TcpListener) {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        (client, server, listener)
    }

    // P13
    #[test]
    fn an_address_is_the_same_only_with_its_port_and_in_whichever_family_it_is_written() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(same(address("[::ffff:127.0.0.1]:80"), address("127.0.0.1:80")));
        assert!(!same(address("127.0.0.1:80"), address("127.0.0.1:81")));
        assert!(!same(address("127.0.0.1:80"), address("127.0.0.2:80")));
    }

    #[test]
    fn a_connected_socket_is_found_with_its_inode_in_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (client, _server, _listener) = pair(address);
            let inode = rustix::fs::fstat(&client).unwrap().st_ino;
            let found = SockDiag::open()
                .unwrap()
                .exact(client.local_addr().unwrap(), client.peer_addr().unwrap())
                .unwrap();
            assert_eq!(u64::from(found.inode), inode);
            assert_eq!(found.uid, rustix::process::getuid().as_raw());
            assert_eq!(found.state, 1);
        }
    }

    // P13
    #[test]
    fn exactly_the_sockets_of_a_pair_are_found_in_both_families() {
        for (address, other) in [("127.0.0.1:0", Some("127.0.0.2")), ("[::1]:0", None)] {
            let (client, _server, _listener) = pair(address);
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            // Anybody who holds these ports at other addresses could have everybody else refused.
            let _others = other.map(|other| twin(other.parse().unwrap(), local.port(), remote.port()));
            let mut kernel = SockDiag::open().unwrap();
            let found = kernel.exact(local, remote).unwrap();
            assert_eq!(kernel.all(local, remote, &[1]).unwrap(), [found], "{address}");
            assert_eq!(kernel.all(local, remote, &[8]).unwrap(), [], "{address}");
        }
    }

    /// A connection from `address` to itself, by these ports.
    fn twin(address: IpAddr, from: u16, to: u16) -> (OwnedFd, TcpListener) {
        use rustix::net::{bind, socket};
        let listener = TcpListener::bind((address, to)).unwrap();
        let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&client, &SocketAddr::new(address, from)).unwrap();
        connect(&client, &SocketAddr::new(address, to)).unwrap();
        (client, listener)
    }

    // P13
    #[test]
    fn sockets_whose_cookies_differ_in_one_half_are_two() {
        let (local, remote) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let cookie = |low: u32, high: u32| {
            let mut message = [0_u8; 88];
            message[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            message[16] = AF_INET;
            message[20..22].copy_from_slice(&1_u16.to_be_bytes());
            message[22..24].copy_from_slice(&2_u16.to_be_bytes());
            message[24..28].copy_from_slice(&[127, 0, 0, 1]);
            message[40..44].copy_from_slice(&[127, 0, 0, 1]);
            message[60..64].copy_from_slice(&low.to_ne_bytes());
            message[64..68].copy_from_slice(&high.to_ne_bytes());
            decode(&message, local, remote).unwrap().cookie
        };
        assert_eq!(cookie(3, 0), 3);
        assert_eq!(cookie(3, 5), 5 << 32 | 3);
    }

    #[test]
    fn the_socket_to_the_kernel_never_waits_and_goes_to_no_other_program() {
        let kernel = SockDiag::open().unwrap();
        let flags = rustix::fs::fcntl_getfl(&kernel.netlink).unwrap();
        assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
        let flags = rustix::io::fcntl_getfd(&kernel.netlink).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn a_listener_on_the_same_port_is_not_taken_for_the_client() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let asked = SockDiag::open()
            .unwrap()
            .exact(listener.local_addr().unwrap(), "127.0.0.1:9".parse().unwrap());
        assert!(
            matches!(asked, Err(SockDiagError::AnotherSocket | SockDiagError::NoSuchSocket)),
            "{asked:?}"
        );
    }

    #[test]
    fn a_socket_that_is_not_there_is_no_such_socket() {
        let asked = SockDiag::open()
            .unwrap()
            .exact("127.0.0.1:9".parse().unwrap(), "127.0.0.1:10".parse().unwrap());
        assert!(matches!(asked, Err(SockDiagError::NoSuchSocket)), "{asked:?}");
    }

    #[test]
    fn the_rest_of_an_earlier_answer_is_not_taken_for_this_one() {
        let (other, _server, _listener) = pair("127.0.0.1:0");
        let (client, _server, _listener) = pair("127.0.0.1:0");
        let mut kernel = SockDiag::open().unwrap();
        let ends = |stream: &TcpStream| (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let (local, remote) = ends(&other);
        // Asked, and never read.
        let earlier = encode(local, remote, kernel.sequence, None);
        send(&kernel.netlink, &earlier, SendFlags::empty()).unwrap();
        let (local, remote) = ends(&client);
        let found = kernel.exact(local, remote).unwrap();
        assert_eq!(u64::from(found.inode), rustix::fs::fstat(&client).unwrap().st_ino);
        send(&kernel.netlink, &earlier, SendFlags::empty()).unwrap();
        assert_eq!(kernel.all(local, remote, &[1]).unwrap(), [found]);
    }

    // P13
    #[test]
    fn no_other_process_can_answer_for_the_kernel() {
        let kernel = SockDiag::open().unwrap();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let other = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG)).unwrap();
        let ours = rustix::net::getsockname(&kernel.netlink).unwrap();
        let forged = rustix::net::sendto(&other, &[0; 16], SendFlags::empty(), &ours);
        // Not by root either; anybody who is not root may not even try.
        let refused = [rustix::io::Errno::CONNREFUSED, rustix::io::Errno::PERM];
        assert!(forged.is_err_and(|error| refused.contains(&error)), "{forged:?}");
    }

    #[test]
    fn truncated_and_garbled_answers_are_malformed_and_never_a_uid() {
        let (local, remote) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let mut message = [0_u8; 88];
        message[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        for length in 0..message.len() {
            assert!(matches!(
                decode(&message[..length], local, remote),
                Err(SockDiagError::Malformed)
            ));
        }
    }
}
