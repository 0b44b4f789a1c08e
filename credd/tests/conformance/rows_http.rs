//! Rows 50 to 58: HTTP itself, and who may speak it.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use credd::audit::Decision;
use credd::imds::server::Limits;

use crate::stand::{ALICE, Options, Plan, Reply, on_both, with_options, with_v1};

const LEAF: &str = "/latest/meta-data/instance-id";

#[test]
fn row_50_an_absolute_address_of_the_metadata_service_is_its_path() {
    with_v1(|stand| {
        for authority in ["169.254.169.254", "169.254.169.254:80", "[fd00:ec2::254]"] {
            assert_eq!(
                stand.ask("GET", &format!("http://{authority}{LEAF}"), &[]).status,
                200,
                "{authority}"
            );
        }
    });
}

#[test]
fn row_51_this_is_no_proxy() {
    with_v1(|stand| {
        assert_eq!(stand.ask("GET", &format!("http://example.com{LEAF}"), &[]).status, 403);
        assert_eq!(
            stand.ask("GET", &format!("https://169.254.169.254{LEAF}"), &[]).status,
            403
        );
        assert_eq!(
            stand.ask("GET", &format!("http://u@169.254.169.254{LEAF}"), &[]).status,
            403
        );
        assert!([400, 403].contains(&stand.ask("CONNECT", "169.254.169.254:80", &[]).status));
        let upgrade = ["Connection: Upgrade", "Upgrade: h2c"];
        assert_eq!(stand.ask("GET", LEAF, &upgrade).status, 400);
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_52_the_names_and_addresses_of_the_service_are_accepted_as_host() {
    with_v1(|stand| {
        for host in [
            "169.254.169.254",
            "169.254.169.254:80",
            "[fd00:ec2::254]",
            "[fd00:ec2::254]:80",
            "instance-data",
            "instance-data.ec2.internal",
            "Instance-Data:80",
        ] {
            assert_eq!(
                stand.raw(format!("GET {LEAF} HTTP/1.1\r\nHost: {host}\r\n\r\n")).status,
                200,
                "{host}"
            );
        }
        assert_eq!(stand.raw(format!("GET {LEAF} HTTP/1.0\r\n\r\n")).status, 200);
    });
}

// H10
#[test]
fn row_53_another_host_or_a_web_page_is_403() {
    with_v1(|stand| {
        for host in [
            "evil.example",
            "169.254.169.254:8080",
            "127.0.0.1",
            "localhost",
            "",
            "169.254.169.254.evil.example",
        ] {
            assert_eq!(
                stand.raw(format!("GET {LEAF} HTTP/1.1\r\nHost: {host}\r\n\r\n")).status,
                403,
                "{host}"
            );
        }
        for header in [
            "Origin: http://evil.example",
            "Origin: null",
            "Sec-Fetch-Site: none",
            "sec-fetch-mode: cors",
        ] {
            assert_eq!(stand.ask("GET", LEAF, &[header]).status, 403, "{header}");
        }
        assert_eq!(stand.raw(format!("GET {LEAF} HTTP/1.1\r\n\r\n")).status, 400);
        assert_eq!(stand.ask("GET", LEAF, &["Host: 169.254.169.254"]).status, 400);
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_54_what_parsers_read_differently_is_refused_and_the_connection_closed() {
    with_v1(|stand| {
        let head = format!("GET {LEAF} HTTP/1.1\r\nHost: 169.254.169.254\r\n");
        let smuggled = format!("{head}\r\n");
        for (name, wrong) in [
            (
                "both lengths",
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            ("two lengths", "Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
            (
                "two different lengths",
                "Content-Length: 0\r\nContent-Length: 9\r\n\r\n",
            ),
            ("a signed length", "Content-Length: +0\r\n\r\n"),
            ("an unknown coding", "Transfer-Encoding: gzip\r\n\r\n"),
            ("a folded line", "X: a\r\n b\r\n\r\n"),
            ("a bare LF", "X: a\nY: b\r\n\r\n"),
            ("a bare CR", "X: a\rY: b\r\n\r\n"),
            ("a space before the colon", "X : a\r\n\r\n"),
            ("a NUL", "X: a\0b\r\n\r\n"),
            ("no colon", "nonsense\r\n\r\n"),
        ] {
            let reply = stand.raw(format!("{head}{wrong}{smuggled}"));
            assert_eq!(reply.status, 400, "{name}: {reply:?}");
            assert!(!reply.text().contains("HTTP/1.1"), "{name}: a second reply");
        }
        for large in [format!("X: {}\r\n", "a".repeat(16 * 1024)), "X: a\r\n".repeat(101)] {
            assert_eq!(stand.raw(format!("{head}{large}\r\n")).status, 431);
        }
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_55_a_connection_serves_one_request() {
    with_v1(|stand| {
        let request = format!("GET {LEAF} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: keep-alive\r\n\r\n");
        let second = request.replace("instance-id", "ami-id");
        let reply = stand.raw(format!("{request}{second}"));
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        assert_eq!(reply.text(), "i-0123456789abcdef0");
        assert_eq!(stand.real.paths(), [LEAF]);
    });
}

// H13
#[test]
fn row_56_slow_and_half_open_connections_end_and_one_uid_has_only_so_many() {
    let defaults = Limits::default();
    assert!(defaults.head <= Duration::from_secs(5) && defaults.connections_of_one_uid <= 64);
    let limits = Limits {
        head: Duration::from_millis(1500),
        connections_of_one_uid: 2,
        ..defaults
    };
    with_options(
        Options {
            limits,
            ..Options::default()
        },
        |stand| {
            let slow = stand.connect();
            let mut half = stand.connect();
            half.write_all(b"GET / HT").unwrap();
            // Both places are taken: a third connection of this uid is closed at once, one of another uid is not.
            let third = stand.ask(
                "PUT",
                "/latest/api/token",
                &["X-aws-ec2-metadata-token-ttl-seconds: 60"],
            );
            assert_eq!(third.status, 0);
            stand.become_uid(ALICE + 1);
            stand.token();
            assert_eq!(Reply::read(slow).status, 0);
            assert_eq!(Reply::read(half).status, 0);
            stand.become_uid(ALICE);
            stand.token();
        },
    );
}

// P13 H12
#[test]
fn row_57_a_caller_that_nobody_can_name_gets_403_and_an_audit_line() {
    on_both(|stand| {
        let token = format!("X-aws-ec2-metadata-token: {}", stand.token());
        stand.shared().unidentified = true;
        for path in [LEAF, "/latest/meta-data/iam/security-credentials/user-alice"] {
            assert_eq!(stand.ask("GET", path, &[&token]).status, 403, "{path}");
        }
        let event = stand.shared().audit.last().unwrap().clone();
        assert_eq!((event.outcome, event.uid, event.status), (Decision::Refused, None, 403));
        assert!(stand.real.asked().is_empty());
    });
}

// H6
#[test]
fn row_58_every_row_holds_on_ipv6() {
    // Each row's test runs on 127.0.0.1 and on ::1. Here: the whole conversation of an SDK, callers named by the
    // kernel.
    let mut families = vec![];
    let families = std::cell::RefCell::new(&mut families);
    on_both(|stand| {
        families.borrow_mut().push(stand.address.is_ipv4());
        stand.shared().uid = None;
        let own = rustix::process::getuid().as_raw();
        stand.plan(own, Plan::NotApplicable);
        let token = format!("X-aws-ec2-metadata-token: {}", stand.token());
        assert_eq!(stand.ask("GET", LEAF, &[&token]).status, 200);
        assert_eq!(
            stand
                .ask("GET", "/latest/meta-data/iam/security-credentials/", &[&token])
                .status,
            404
        );
        assert_eq!(stand.shared().audit.last().unwrap().uid, Some(own));
    });
    assert_eq!(**families.borrow(), [true, false]);
}

#[test]
fn a_client_that_shuts_down_its_writing_side_still_gets_its_answer() {
    with_v1(|stand| {
        let mut stream = stand.connect();
        stream
            .write_all(format!("GET {LEAF} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n").as_bytes())
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(Reply::read(stream).status, 200);
    });
}
