//! What is written down: one audit line for each issuance and each refusal, with the method's name, before the bytes
//! leave.

use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credd::audit::Decision;
use credd_core::config::Method;

use crate::stage::Gate;
use crate::stand::{ALICE, Plan, Reply, Stand, on_both};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/user-alice";
const PROFILE: &str = "/latest/meta-data/iam/info";

/// A plan, a request, and what must be written of it.
type Case = (Plan, &'static str, &'static str, Decision, Option<Method>, u16);

const BY_USER_ROLE: Option<Method> = Some(Method::UserRole);

const CASES: [Case; 15] = [
    (
        Plan::Issue(3600),
        LIST,
        "role_list",
        Decision::Issued,
        BY_USER_ROLE,
        200,
    ),
    (
        Plan::Issue(3600),
        ROLE,
        "role_credentials",
        Decision::Issued,
        BY_USER_ROLE,
        200,
    ),
    (
        Plan::Issue(3600),
        PROFILE,
        "instance_profile",
        Decision::Issued,
        BY_USER_ROLE,
        200,
    ),
    (
        Plan::Issue(10),
        ROLE,
        "role_credentials",
        Decision::Transient,
        BY_USER_ROLE,
        503,
    ),
    (
        Plan::RefusedByAws,
        ROLE,
        "role_credentials",
        Decision::Denied,
        BY_USER_ROLE,
        200,
    ),
    (
        Plan::AwsDown,
        ROLE,
        "role_credentials",
        Decision::Transient,
        BY_USER_ROLE,
        503,
    ),
    (
        Plan::NotApplicable,
        LIST,
        "role_list",
        Decision::NotApplicable,
        None,
        404,
    ),
    (
        Plan::NotApplicable,
        ROLE,
        "role_credentials",
        Decision::NotApplicable,
        None,
        404,
    ),
    (
        Plan::NotApplicable,
        PROFILE,
        "instance_profile",
        Decision::NotApplicable,
        None,
        404,
    ),
    (Plan::Denied, LIST, "role_list", Decision::Denied, BY_USER_ROLE, 404),
    (
        Plan::Denied,
        PROFILE,
        "instance_profile",
        Decision::Denied,
        BY_USER_ROLE,
        404,
    ),
    (
        Plan::Transient,
        LIST,
        "role_list",
        Decision::Transient,
        BY_USER_ROLE,
        503,
    ),
    (
        Plan::Transient,
        ROLE,
        "role_credentials",
        Decision::Transient,
        BY_USER_ROLE,
        503,
    ),
    (Plan::Hang, ROLE, "role_credentials", Decision::Transient, None, 503),
    (
        Plan::Issue(3600),
        "/latest/user-data",
        "metadata",
        Decision::Refused,
        None,
        404,
    ),
];

#[test]
fn every_issuance_and_every_refusal_is_one_line_with_its_method_before_a_byte_leaves() {
    on_both(|stand| {
        let mut lines = 0;
        for (plan, path, asked, outcome, method, status) in CASES {
            stand.plan(ALICE, plan);
            let token = format!("X-aws-ec2-metadata-token: {}", stand.token());
            let reply = ask_and_hold(stand, path, &token);
            let told = format!("{plan:?} {path}");
            assert_eq!(reply.status, status, "{told}");
            let audit = stand.shared().audit.clone();
            lines += 1;
            assert_eq!(audit.len(), lines, "{told}");
            let event = audit.last().unwrap();
            assert_eq!(
                (event.asked, event.outcome, event.method),
                (asked, outcome, method),
                "{told}"
            );
            assert_eq!((event.status, event.uid), (status, Some(ALICE)), "{told}");
            assert_eq!(event.reason.is_none(), outcome == Decision::Issued, "{told}");
            let line: serde_json::Value = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
            assert_eq!(line["method"].as_str(), method.map(|_| "user_role"), "{told}");
        }
        // What is refused before anybody's method, too.
        for (request, status) in [
            (format!("GET {ROLE} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"), 401),
            (format!("GET {ROLE} HTTP/1.1\r\nHost: example.com\r\n\r\n"), 403),
            (
                "GET /latest/%2e%2e/x HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n".to_owned(),
                400,
            ),
        ] {
            assert_eq!(stand.raw(&request).status, status, "{request}");
            lines += 1;
            let audit = stand.shared().audit.clone();
            assert_eq!(
                (audit.len(), audit.last().unwrap().status),
                (lines, status),
                "{request}"
            );
        }
    });
}

/// The reply to one request, whose audit line was seen to come first: while the line waits, not a byte is there.
fn ask_and_hold(stand: &Stand, path: &str, token: &str) -> Reply {
    let (written, is_written) = channel();
    let (go_on, may_go_on) = channel();
    stand.shared().gate = Some(Gate {
        written,
        go_on: Arc::new(Mutex::new(may_go_on)),
    });
    let mut stream = stand.connect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{token}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    is_written.recv_timeout(Duration::from_secs(10)).expect("an audit line");
    stream.set_nonblocking(true).unwrap();
    let early = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(ErrorKind::WouldBlock), "{path}");
    stream.set_nonblocking(false).unwrap();
    stand.shared().gate = None;
    go_on.send(()).unwrap();
    Reply::read(stream)
}

// P14
#[test]
fn while_capture_is_not_as_planned_credentials_are_503_and_plain_metadata_goes_on() {
    on_both(|stand| {
        for path in [LIST, ROLE, PROFILE] {
            stand.shared().capture_problem = Some("capture is being repaired");
            let refused = stand.get(path);
            assert_eq!(
                (refused.status, refused.header("retry-after")),
                (503, Some("1")),
                "{path}"
            );
            let event = stand.shared().audit.last().unwrap().clone();
            assert_eq!(event.reason.as_deref(), Some("capture is being repaired"), "{path}");
            assert_eq!(stand.get("/latest/meta-data/instance-id").status, 200);
            stand.shared().capture_problem = None;
            assert_eq!(stand.get(path).status, 200, "{path}");
        }
    });
}

// One thread wrote the line and waited: a journald that hung stopped credd for everybody.
#[test]
fn while_the_journal_hangs_an_issuance_is_refused_in_time_and_nobody_else_waits() {
    on_both(|stand| {
        let token = format!("X-aws-ec2-metadata-token: {}", stand.token());
        let role = format!("GET {ROLE} HTTP/1.1\r\nHost: 169.254.169.254\r\n{token}\r\n\r\n");
        stand.shared().journal_hangs = true;
        let mut waiting = stand.connect();
        waiting.write_all(role.as_bytes()).unwrap();
        // Others are answered meanwhile, refusals too.
        assert_eq!(stand.get("/latest/meta-data/instance-id").status, 200);
        assert_eq!(stand.ask("GET", ROLE, &[]).status, 401);
        let refused = Reply::read(waiting);
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        assert!(!refused.text().contains("ASIA"), "{refused:?}");
        // One that hangs for a moment only delays.
        let mut waiting = stand.connect();
        waiting.write_all(role.as_bytes()).unwrap();
        stand.shared().journal_hangs = false;
        assert_eq!(Reply::read(waiting).status, 200);
        let audit = stand.shared().audit.clone();
        let issued = audit.iter().filter(|line| line.outcome == Decision::Issued);
        assert_eq!(issued.count(), 1);
    });
}
