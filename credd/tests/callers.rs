//! Who is at the other end: random connections of three uids that reuse each other's ports, close, reset and hand
//! sockets over, and the holes of the predecessor. Root only, since a socket belongs to the uid that made it; says so
//! elsewhere.
//!
//! Every client writes its uid into the connection, so the truth travels with the connection itself.

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsFd, OwnedFd};
    use std::process::{Command, Stdio};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use credd::imds::caller::{Arrival, CallerError, IdentifyCaller, KernelCallers, SocketOwner};
    use credd_core::metadata::METADATA_ADDRESSES;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
    use rustix::process::getuid;
    use rustix::thread::set_thread_res_uid;

    const UIDS: [u32; 3] = [2001, 2002, 2003];

    // P13
    #[test]
    fn no_random_connection_is_given_to_another_uid() {
        if !is_root() {
            return;
        }
        // The full number is for a quiet machine: CREDD_CONNECTIONS=100000.
        let number = std::env::var("CREDD_CONNECTIONS").map_or(6_000, |text| text.parse().unwrap());
        let listeners = ["127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).unwrap());
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let clients = start_clients(addresses, number);
        let (mut judged, mut verdicts): (Vec<JoinHandle<Option<u32>>>, Vec<Option<u32>>) = (vec![], vec![]);
        let callers = KernelCallers::new(Arrival::Transparent);
        for listener in &listeners {
            listener.set_nonblocking(true).unwrap();
        }
        while clients.iter().any(|client| !client.is_finished()) {
            let mut waiting = listeners
                .each_ref()
                .map(|listener| PollFd::new(listener, PollFlags::IN));
            let _ = poll(
                &mut waiting,
                Some(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 10_000_000,
                }),
            )
            .unwrap();
            for accepted in listeners.iter().filter_map(|listener| listener.accept().ok()) {
                let owner = callers.owner(accepted.0.as_fd());
                // A client may wait for another one, so nobody is waited for here.
                judged.push(thread::spawn(move || judge(owner, accepted.0)));
                // Threads that have ended still hold their stacks.
                if judged.len() >= 500 {
                    let (done, running): (Vec<_>, Vec<_>) = judged.into_iter().partition(JoinHandle::is_finished);
                    verdicts.extend(done.into_iter().map(|verdict| verdict.join().unwrap()));
                    judged = running;
                }
            }
        }
        for client in clients {
            client.join().unwrap();
        }
        verdicts.extend(judged.into_iter().map(|verdict| verdict.join().unwrap()));
        let named = verdicts.iter().flatten().count();
        let refused = verdicts.len() - named;
        println!("{named} named rightly, {refused} refused");
        let number = usize::try_from(number).unwrap();
        assert!(named > number / 4 && refused > number / 20, "{named} {refused}");
    }

    /// Asks as the server does, again after the request was read, and compares with the uid that the client wrote.
    fn judge(owner: Result<SocketOwner, CallerError>, mut accepted: TcpStream) -> Option<u32> {
        accepted.set_nonblocking(false).unwrap();
        accepted.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut claim = [0; 4];
        accepted.read_exact(&mut claim).ok()?;
        let (owner, claim) = (owner.ok()?, u32::from_be_bytes(claim));
        assert_eq!(owner.uid, claim, "a connection of {claim} was given to {}", owner.uid);
        KernelCallers::new(Arrival::Transparent)
            .still(accepted.as_fd(), owner)
            .ok()?;
        let _ = accepted.write_all(b"yours");
        Some(owner.uid)
    }

    fn start_clients(addresses: [SocketAddr; 2], number: u32) -> Vec<JoinHandle<()>> {
        let (heirs, inheritances): (Vec<_>, Vec<_>) = UIDS.iter().map(|_| channel()).unzip();
        let share = number / 3;
        let clients = UIDS.into_iter().zip(inheritances).enumerate();
        clients
            .map(|(index, (uid, inherited))| {
                // Each hands sockets to the next.
                let heir = heirs[(index + 1) % 3].clone();
                thread::spawn(move || be_a_client(uid, addresses, share, &heir, &inherited))
            })
            .collect()
    }

    fn be_a_client(
        uid: u32,
        addresses: [SocketAddr; 2],
        number: u32,
        heir: &Sender<Bequest>,
        inherited: &Receiver<Bequest>,
    ) {
        become_uid(uid);
        let mut dice = u64::from(uid) << 20 | 0x5eed;
        let mut roll = |limit: u64| {
            dice ^= dice >> 12;
            dice ^= dice << 25;
            dice ^= dice >> 27;
            (dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
        };
        for _ in 0..number {
            // Few ports, so that one uid soon has the pair of addresses that another had.
            let port = 40_000 + u16::try_from(roll(40)).unwrap();
            let address = addresses[usize::try_from(roll(2)).unwrap()];
            let (from, way) = (SocketAddr::new(address.ip(), port), roll(6));
            if let Some(stream) = try_connect(from, address) {
                converse(stream, uid, way, heir);
            }
            for bequest in inherited.try_iter() {
                converse(bequest.stream, bequest.maker, 0, heir);
            }
        }
    }

    /// A socket in the hands of another uid than its maker's.
    struct Bequest {
        stream: TcpStream,
        maker: u32,
    }

    fn converse(mut stream: TcpStream, maker: u32, way: u64, heir: &Sender<Bequest>) {
        if way == 5 {
            let _ = heir.send(Bequest { stream, maker });
            return;
        }
        let _ = stream.write_all(&maker.to_be_bytes());
        match way {
            0 | 1 => drop(stream.read(&mut [0; 8])),
            2 => {
                let _ = stream.shutdown(Shutdown::Write);
                drop(stream.read(&mut [0; 8]));
            }
            3 => drop(stream),
            _ => sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
        }
    }

    fn try_connect(from: SocketAddr, to: SocketAddr) -> Option<TcpStream> {
        let family = if from.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let client: OwnedFd = socket(family, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&client, true).unwrap();
        // A port that lingers in TIME_WAIT or is in use is tried again later.
        bind(&client, &from).ok()?;
        let stream = TcpStream::from(client);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        connect(&stream, &to).ok()?;
        Some(stream)
    }

    // P13 H4
    #[test]
    fn a_listener_on_the_same_port_lends_its_owner_to_nobody() {
        if !is_root() {
            return;
        }
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let alices = thread::spawn(|| {
            become_uid(2001);
            TcpListener::bind("127.0.0.2:0").unwrap()
        });
        let alices = alices.join().unwrap();
        let from = SocketAddr::new(to.ip(), alices.local_addr().unwrap().port());
        let mallorys = thread::spawn(move || {
            become_uid(2002);
            try_connect(from, to).unwrap()
        });
        let _mallorys = mallorys.join().unwrap();
        let (accepted, _) = server.accept().unwrap();
        assert_eq!(
            KernelCallers::new(Arrival::Transparent)
                .owner(accepted.as_fd())
                .unwrap()
                .uid,
            2002
        );
    }

    // P13 H9
    #[test]
    fn root_of_a_user_namespace_is_the_user_who_made_it() {
        if !is_root() {
            return;
        }
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let dial = format!("test $(id -u) = 0 || exit 3; exec 3<>/dev/tcp/127.0.0.1/{port}; read -r -t 20 <&3; true");
        let in_a_namespace = |words: &[&str]| {
            let mut client = Command::new("setpriv");
            let user = ["--reuid=2002", "--regid=2002", "--clear-groups"];
            let namespace = ["unshare", "--user", "--map-root-user"];
            client.args(user).args(namespace).args(words).stdin(Stdio::null());
            client
        };
        let permitted = in_a_namespace(&["true"]).output().unwrap();
        if !permitted.status.success() {
            let said = String::from_utf8_lossy(&permitted.stderr).into_owned();
            assert!(said.contains("Operation not permitted"), "{said}");
            println!("not run: user namespaces are not permitted here");
            return;
        }
        let mut client = in_a_namespace(&["bash", "-c", &dial]).spawn().unwrap();
        server.set_nonblocking(true).unwrap();
        let accepted = loop {
            match server.accept() {
                Ok((accepted, _)) => break accepted,
                Err(_) => assert!(client.try_wait().unwrap().is_none(), "the client ended and never came"),
            }
            thread::yield_now();
        };
        let owner = KernelCallers::new(Arrival::Transparent)
            .owner(accepted.as_fd())
            .unwrap();
        drop(accepted);
        client.wait().unwrap();
        assert_eq!(owner.uid, 2002);
    }

    // P13
    #[test]
    fn a_socket_of_another_network_namespace_has_no_owner_here() {
        // The kernel looks in this namespace only: to it such a pair of addresses does not exist.
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (accepted, _) = server.accept().unwrap();
        if !is_root() {
            return;
        }
        let elsewhere = thread::spawn(move || {
            enter_another_network();
            KernelCallers::new(Arrival::Transparent).owner(accepted.as_fd())
        });
        let found = elsewhere.join().unwrap();
        assert!(matches!(found, Err(CallerError::Unowned(_))), "{found:?}");
    }

    // P14 H10
    #[test]
    fn by_a_redirect_comes_only_who_dialled_the_metadata_address() {
        if !is_root() {
            return;
        }
        let whole = thread::spawn(|| {
            enter_another_network();
            done("ip", &["link", "set", "lo", "up"]);
            for (address, loopback) in METADATA_ADDRESSES.into_iter().zip(["127.0.0.1:0", "[::1]:0"]) {
                let (keyword, bits) = if address.is_ipv4() { ("ip", 32) } else { ("ip6", 128) };
                done(
                    "ip",
                    &["addr", "add", &format!("{address}/{bits}"), "dev", "lo", "nodad"],
                );
                let listener = TcpListener::bind(loopback).unwrap();
                let direct = listener.local_addr().unwrap();
                let redirect = format!(
                    "add table {keyword} test; add chain {keyword} test output {{ type nat hook output priority -100; }}; \
                     add rule {keyword} test output {keyword} daddr {address} tcp dport 80 redirect to :{}",
                    direct.port()
                );
                if !Command::new("nft")
                    .arg(redirect)
                    .status()
                    .is_ok_and(|nft| nft.success())
                {
                    println!("not run: nftables cannot be used here");
                    return;
                }
                let owner = |to: SocketAddr| {
                    let _client = TcpStream::connect(to).unwrap();
                    let (accepted, _) = listener.accept().unwrap();
                    KernelCallers::new(Arrival::Redirected).owner(accepted.as_fd())
                };
                assert_eq!(owner(SocketAddr::new(address, 80)).unwrap().uid, 0);
                // The kernel remembers this connection too, and that it was not made to the metadata address.
                let refused = owner(direct);
                assert!(matches!(refused, Err(CallerError::NotCaptured(_))), "{refused:?}");
            }
        });
        whole.join().unwrap();
    }

    /// This thread alone.
    fn enter_another_network() {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let mut holder = Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let path = format!("/proc/{}/ns/net", holder.id());
        while std::fs::read_link(&path).unwrap() == own {
            thread::yield_now();
        }
        let namespace = std::fs::File::open(path).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
    }

    fn done(program: &str, words: &[&str]) {
        let output = Command::new(program).args(words).output().unwrap();
        assert!(output.status.success(), "{program} {words:?}: {output:?}");
    }

    /// Of this thread alone.
    fn become_uid(uid: u32) {
        let uid = rustix::process::Uid::from_raw(uid);
        set_thread_res_uid(uid, uid, uid).unwrap();
    }

    fn is_root() -> bool {
        if !getuid().is_root() {
            println!("not run: only root can be several users");
        }
        getuid().is_root()
    }
}
