//! Two sockets for one pair of addresses: anybody who stands at credd is never taken for the owner of the other one.
//!
//! The kernel lets a pair of addresses exist twice if one of the sockets is bound to a device, which needs no rights.
//! So these namespaces have what a host has: alice's packets to the metadata address go to a listener here, and the
//! victims' go to another host. Every combination of family, binding and victim is tried. Root only, since sockets
//! belong to uids.

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::process::{Child, Command};
    use std::thread;
    use std::time::Duration;

    use credd::imds::caller::{Arrival, CallerError, Captured, IdentifyCaller, KernelCallers, SocketOwner};
    use credd_core::metadata::METADATA_ADDRESSES;
    use keymaker_daemon::account_files::AccountFilesError;
    use rustix::process::{Uid, getuid};
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_res_uid};
    use socket2::{Domain, Protocol, Socket, Type};

    const ALICE: u32 = 2001;
    const BOB: u32 = 2002;
    const ROOT: u32 = 0;

    /// When and to what a socket is bound.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Bound {
        Never,
        Before(&'static str),
        After(&'static str),
    }

    /// How a socket names its addresses.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Family {
        V4,
        Mapped,
        V6,
    }

    #[derive(Clone, Copy, Debug)]
    struct Attempt {
        family: Family,
        alice: Bound,
        victim: Option<(u32, Family, Bound)>,
        /// The victim connects before credd looks at alice's connection, or after it did.
        victim_is_late: bool,
    }

    // P13
    #[test]
    fn two_sockets_of_one_pair_never_lend_each_other_their_owner() {
        if !getuid().is_root() {
            println!("not run: only root can be several users");
            return;
        }
        let whole = thread::spawn(|| {
            let Some(stage) = Stage::build() else {
                println!("not run: network namespaces are not permitted here");
                return;
            };
            let (mut told, mut refused) = (0, 0);
            for (number, attempt) in attempts().into_iter().enumerate() {
                match stage.attempt(attempt, 20_000 + u16::try_from(number).unwrap()) {
                    Some(Ok(owner)) => {
                        assert_eq!(owner.uid, ALICE, "{attempt:?}");
                        told += 1;
                    }
                    Some(Err(error)) => {
                        let alone = attempt.victim.is_none() && attempt.alice == Bound::Never;
                        assert!(!alone, "{attempt:?} is refused: {error:?}");
                        refused += 1;
                    }
                    None => {}
                }
            }
            println!("{told} connections were given to their owner, {refused} were refused");
            assert!(told >= 3 && refused >= 10, "the attack itself does not work here");
        });
        whole.join().unwrap();
    }

    // P13
    #[test]
    fn a_uid_that_capture_spares_is_nobody_here() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let own = getuid().as_raw();
        let callers = |exempt: Result<u32, ()>| Captured {
            callers: KernelCallers::new(Arrival::Transparent),
            is_exempt: move |uid| match exempt {
                Ok(exempt) => Ok(uid == exempt),
                Err(()) => Err(AccountFilesError::Unreadable(
                    "/etc/passwd".into(),
                    std::io::ErrorKind::NotFound.into(),
                )),
            },
        };
        let spared = callers(Ok(own)).owner(accepted.as_fd());
        assert!(
            matches!(spared, Err(CallerError::Exempt(uid)) if uid == own),
            "{spared:?}"
        );
        let unknown = callers(Err(())).owner(accepted.as_fd());
        assert!(matches!(unknown, Err(CallerError::ExemptionUnknown(_))), "{unknown:?}");
        let other = callers(Ok(own + 1));
        let owner = other.owner(accepted.as_fd()).unwrap();
        assert_eq!(owner.uid, own);
        other.still(accepted.as_fd(), owner).unwrap();
    }

    fn attempts() -> Vec<Attempt> {
        let bindings = [
            Bound::Never,
            Bound::Before("lo"),
            Bound::After("lo"),
            Bound::Before("out"),
            Bound::After("out"),
        ];
        let mut all = vec![];
        for family in [Family::V4, Family::Mapped, Family::V6] {
            for alice in bindings {
                let alone = Attempt {
                    family,
                    alice,
                    victim: None,
                    victim_is_late: false,
                };
                all.push(alone);
                for uid in [ROOT, BOB] {
                    for theirs in [Family::V4, Family::Mapped, Family::V6] {
                        if (theirs == Family::V6) != (family == Family::V6) {
                            continue;
                        }
                        for bound in [Bound::Never, Bound::Before("out"), Bound::After("out")] {
                            for victim_is_late in [false, true] {
                                let victim = Some((uid, theirs, bound));
                                all.push(Attempt {
                                    victim,
                                    victim_is_late,
                                    ..alone
                                });
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// This namespace, and the one that holds the real service.
    struct Stage {
        here: [TcpListener; 2],
        _there: Vec<TcpListener>,
        holder: Child,
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            let _ = self.holder.kill();
            let _ = self.holder.wait();
        }
    }

    impl Stage {
        fn build() -> Option<Self> {
            let (near, far) = (holder()?, holder()?);
            enter(&near);
            let mut near = near;
            let outside = far.id().to_string();
            ip(&["link", "set", "lo", "up"]);
            ip(&[
                "link", "add", "out", "type", "veth", "peer", "name", "in", "netns", &outside,
            ]);
            ip(&["link", "set", "out", "up"]);
            for (family, own, all) in [("-4", "10.9.0.1/24", "/32"), ("-6", "fd09::1/64", "/128")] {
                // What is still looked for elsewhere cannot be bound.
                ip(&[family, "addr", "add", own, "dev", "out", "nodad"]);
                let metadata = METADATA_ADDRESSES[usize::from(family == "-6")].to_string();
                ip(&[family, "addr", "add", &format!("{metadata}{all}"), "dev", "lo", "nodad"]);
                // The local table comes last, so that the victims' packets can leave.
                ip(&[family, "rule", "add", "pref", "90", "lookup", "local"]);
                for uid in [ROOT, BOB] {
                    let range = format!("{uid}-{uid}");
                    ip(&[
                        family, "rule", "add", "pref", "50", "uidrange", &range, "to", &metadata, "lookup", "55",
                    ]);
                }
                let via = if family == "-4" { "10.9.0.2" } else { "fd09::2" };
                ip(&[
                    family, "route", "add", &metadata, "via", via, "dev", "out", "table", "55",
                ]);
                ip(&[family, "rule", "del", "pref", "0"]);
            }
            for name in ["all", "out"] {
                for (key, value) in [("accept_local", "1"), ("rp_filter", "0")] {
                    fs::write(format!("/proc/sys/net/ipv4/conf/{name}/{key}"), value).unwrap();
                }
            }
            let here = METADATA_ADDRESSES.map(|address| TcpListener::bind((address, 80)).unwrap());
            let far_pid = far.id();
            let there = thread::spawn(move || {
                enter_pid(far_pid);
                ip(&["link", "set", "lo", "up"]);
                ip(&["link", "set", "in", "up"]);
                ip(&["addr", "add", "10.9.0.2/24", "dev", "in"]);
                ip(&["addr", "add", "fd09::2/64", "dev", "in", "nodad"]);
                for address in METADATA_ADDRESSES {
                    ip(&["addr", "add", &address.to_string(), "dev", "in", "nodad"]);
                }
                METADATA_ADDRESSES.map(|address| TcpListener::bind((address, 80)).unwrap())
            });
            let there = there.join().unwrap().into();
            let _ = near.kill();
            let _ = near.wait();
            Some(Self {
                here,
                _there: there,
                holder: far,
            })
        }

        /// Whom credd takes alice for; None where the kernel does not let the two exist, or her connection does not
        /// come here.
        fn attempt(&self, attempt: Attempt, port: u16) -> Option<Result<SocketOwner, CallerError>> {
            let alices = dial(ALICE, attempt.family, attempt.alice, port)?;
            let listener = &self.here[usize::from(attempt.family == Family::V6)];
            let accepted = accept(listener)?;
            let callers = KernelCallers::new(Arrival::Transparent);
            let victim = || match attempt.victim {
                Some((uid, family, bound)) => dial(uid, family, bound, port).map(Some),
                None => Some(None),
            };
            let mut victims = None;
            if !attempt.victim_is_late {
                victims = victim()?;
            }
            let owner = match callers.owner(accepted.as_fd()) {
                Ok(owner) => owner,
                Err(error) => return Some(Err(error)),
            };
            if attempt.victim_is_late {
                victims = victim()?;
            }
            let still = callers.still(accepted.as_fd(), owner);
            drop((alices, victims));
            Some(still.map(|()| owner))
        }
    }

    /// A process that keeps a namespace alive.
    fn holder() -> Option<Child> {
        let mut holder = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().ok()?;
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        loop {
            if holder.try_wait().unwrap().is_some() {
                return None;
            }
            if fs::read_link(format!("/proc/{}/ns/net", holder.id())).unwrap() != own {
                return Some(holder);
            }
            thread::yield_now();
        }
    }

    fn enter(holder: &Child) {
        enter_pid(holder.id());
    }

    fn enter_pid(pid: u32) {
        let namespace = File::open(format!("/proc/{pid}/ns/net")).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    fn ip(words: &[&str]) {
        let done = Command::new("ip").args(words).output().unwrap();
        assert!(done.status.success(), "ip {words:?}: {done:?}");
    }

    /// A connection of `uid` from this port to the metadata address.
    fn dial(uid: u32, family: Family, bound: Bound, port: u16) -> Option<Socket> {
        thread::spawn(move || {
            let uid = Uid::from_raw(uid);
            set_thread_res_uid(uid, uid, uid).unwrap();
            let domain = if family == Family::V4 {
                Domain::IPV4
            } else {
                Domain::IPV6
            };
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.set_reuse_address(true).unwrap();
            let [own, metadata]: [IpAddr; 2] = match family {
                Family::V4 => ["10.9.0.1".parse().unwrap(), METADATA_ADDRESSES[0]],
                Family::Mapped => ["::ffff:10.9.0.1".parse().unwrap(), mapped(METADATA_ADDRESSES[0])],
                Family::V6 => ["fd09::1".parse().unwrap(), METADATA_ADDRESSES[1]],
            };
            if let Bound::Before(device) = bound {
                socket.bind_device(Some(device.as_bytes())).unwrap();
            }
            socket.bind(&SocketAddr::new(own, port).into()).ok()?;
            let to = SocketAddr::new(metadata, 80);
            socket.connect_timeout(&to.into(), Duration::from_millis(300)).ok()?;
            if let Bound::After(device) = bound {
                socket.bind_device(Some(device.as_bytes())).unwrap();
            }
            Some(socket)
        })
        .join()
        .unwrap()
    }

    fn mapped(address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
            v6 => v6,
        }
    }

    /// What has come; None if nothing comes.
    fn accept(listener: &TcpListener) -> Option<TcpStream> {
        listener.set_nonblocking(true).unwrap();
        listener.accept().ok().map(|(stream, _)| stream)
    }
}
