//! What a flood costs: whoever makes it, and nobody else. One person may have many numbers (subuid(5)): those without a
//! name have one share of everything together.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use credd::imds::server::Limits;
use keymaker_daemon::bucket::Rate;

use crate::stage::Gate;
use crate::stand::{ALICE, BOB, Options, Reply, Stand, with_options};

const SUBORDINATE: u32 = 100_000;
const UNLIMITED: Rate = Rate {
    a_second: 1e9,
    burst: 1e9,
    longest_wait: Duration::ZERO,
};
const REQUEST: &[u8] =
    b"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";

fn with_limits(limits: Limits, check: impl Fn(&mut Stand)) {
    let options = Options {
        limits,
        ..Options::default()
    };
    with_options(options, check);
}

/// A connection of `uid` that holds a place: the server has seen it and waits for the rest of its request.
fn hold(stand: &Stand, uid: u32) -> TcpStream {
    stand.become_uid(uid);
    stand.shared().keep_socket = true;
    let mut stream = stand.connect();
    stream.write_all(b"PUT /latest/api/tok").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while stand.shared().last_socket.take().is_none() {
        assert!(Instant::now() < deadline, "the server takes no connection");
        std::thread::yield_now();
    }
    stand.shared().keep_socket = false;
    stream
}

/// What a request of `uid` gets; 0: its connection was closed.
fn ask(stand: &Stand, uid: u32) -> u16 {
    stand.become_uid(uid);
    stand.raw(REQUEST).status
}

// The server let go half as fast as it took in: 400 MB after a flood of 90 seconds.
#[test]
fn whoever_keeps_to_their_places_is_never_closed_however_fast_they_come_back() {
    let limits = Limits {
        connections_of_one_uid: 32,
        rate: UNLIMITED,
        ..Limits::default()
    };
    with_limits(limits, |stand| {
        let address = stand.address;
        let crowd: Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(move || {
                    let served = (0..400).filter(|_| {
                        let mut stream = TcpStream::connect(address).unwrap();
                        stream.write_all(REQUEST).unwrap();
                        Reply::read(stream).status == 200
                    });
                    served.count()
                })
            })
            .collect();
        for client in crowd {
            assert_eq!(client.join().unwrap(), 400);
        }
    });
}

// P13: where new connections come first under a flood, those that have ended keep their places.
#[test]
fn whoever_comes_when_their_last_connection_has_ended_has_its_place() {
    let limits = Limits {
        connections_of_one_uid: 1,
        linger: Duration::from_secs(20),
        ..Limits::default()
    };
    with_limits(limits, |stand| {
        let request = b"GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
        let ask = |uid| {
            stand.become_uid(uid);
            let mut stream = stand.connect();
            stream.write_all(request).unwrap();
            stream
        };
        let mut first = ask(ALICE);
        let mut reply = String::new();
        first.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 401"), "{reply}");
        // While the server stands still, in bob's audit line, one of hers ends and the next one comes.
        let (written, is_written) = channel();
        let (go_on, may_go_on) = channel();
        stand.shared().gate = Some(Gate {
            written,
            go_on: Arc::new(Mutex::new(may_go_on)),
        });
        let bobs = ask(BOB);
        is_written.recv_timeout(Duration::from_secs(20)).expect("an audit line");
        stand.shared().gate = None;
        drop(first);
        let next = ask(ALICE);
        go_on.send(()).unwrap();
        assert_eq!((Reply::read(bobs).status, Reply::read(next).status), (401, 401));
    });
}

// P13
#[test]
fn numbers_that_nobody_was_given_have_the_places_of_one_uid_together() {
    let limits = Limits {
        connections_of_one_uid: 3,
        ..Limits::default()
    };
    with_limits(limits, |stand| {
        let held: Vec<TcpStream> = (0..3).map(|number| hold(stand, SUBORDINATE + number)).collect();
        assert_eq!(ask(stand, SUBORDINATE + 3), 0);
        assert_eq!((ask(stand, ALICE), ask(stand, BOB)), (200, 200));
        drop(held);
    });
}

// P13: reading the files for each kept the daemon too busy to take in anybody else.
#[test]
fn a_number_without_owner_or_place_costs_no_look_at_the_files() {
    let limits = Limits {
        connections_of_one_uid: 5,
        ..Limits::default()
    };
    with_limits(limits, |stand| {
        let numbers = SUBORDINATE..SUBORDINATE + 5;
        let held: Vec<TcpStream> = numbers.clone().map(|uid| hold(stand, uid)).collect();
        assert_eq!(ask(stand, SUBORDINATE), 0);
        let before = stand.shared().accounts_read;
        for uid in numbers {
            assert_eq!(ask(stand, uid), 0);
        }
        assert_eq!(stand.shared().accounts_read, before);
        assert_eq!(ask(stand, ALICE), 200);
        drop(held);
    });
}

// One user held every port towards the address: none was left for anybody else.
#[test]
fn a_client_that_never_closes_holds_no_port() {
    with_limits(Limits::default(), |stand| {
        stand.become_uid(ALICE);
        let mut stream = stand.connect();
        stream.write_all(REQUEST).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        let deadline = Instant::now() + Duration::from_secs(20);
        while stream.peer_addr().is_ok() {
            assert!(Instant::now() < deadline, "the connection is still there");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn the_last_quarter_of_all_places_is_for_whoever_holds_few() {
    let limits = Limits {
        connections: 8,
        connections_of_one_uid: 8,
        few: 2,
        ..Limits::default()
    };
    with_limits(limits, |stand| {
        let mut held: Vec<TcpStream> = (0..6).map(|_| hold(stand, ALICE)).collect();
        assert_eq!(ask(stand, ALICE), 0);
        held.extend((0..2).map(|_| hold(stand, BOB)));
        assert_eq!(ask(stand, BOB), 0);
        drop(held);
    });
}

#[test]
fn whoever_comes_too_fast_waits_for_their_turn() {
    let limits = Limits {
        rate: Rate {
            a_second: 1.0,
            burst: 1.0,
            longest_wait: Duration::from_secs(9),
        },
        ..Limits::default()
    };
    with_limits(limits, |stand| {
        let began = Instant::now();
        assert_eq!((ask(stand, ALICE), ask(stand, ALICE)), (200, 200));
        // Less what two clocks may differ by.
        assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    });
}

#[test]
fn whoever_would_wait_too_long_is_closed_and_nobody_else_is() {
    let limits = Limits {
        rate: Rate {
            a_second: 1e-6,
            burst: 1.0,
            longest_wait: Duration::ZERO,
        },
        ..Limits::default()
    };
    with_limits(limits, |stand| {
        assert_eq!((ask(stand, ALICE), ask(stand, ALICE)), (200, 0));
        assert_eq!(ask(stand, BOB), 200);
        // Whom nobody knows are one.
        assert_eq!((ask(stand, SUBORDINATE), ask(stand, SUBORDINATE + 1)), (200, 0));
    });
}
