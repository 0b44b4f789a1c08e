//! The container endpoint: rows C1 to C7 of docs/metadata-protocol.md. The installed credd is asked by
//! tests/e2e/tests/credd.rs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use credd::audit::Decision;
use credd_core::config::Method;

use crate::stand::{ALICE, BOB, Options, Plan, Reply, Stand, on_both, with_options};

fn container(check: impl Fn(&mut Stand)) {
    let options = Options {
        container: true,
        ..Options::default()
    };
    with_options(options, check);
}

/// `GET /credentials` as an SDK sends it, with these header lines.
fn ask(stand: &Stand, headers: &[&str]) -> Reply {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    stand.raw(format!(
        "GET /credentials HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
        stand.address
    ))
}

/// The token of `uid`, whose file a first request makes.
fn token(stand: &Stand, uid: u32) -> String {
    stand.become_uid(uid);
    assert_eq!(ask(stand, &[]).status, 401);
    fs::read_to_string(stand.tokens().join(uid.to_string())).unwrap()
}

#[test]
fn container_1_socket_and_token_of_one_uid_get_its_credentials() {
    container(|stand| {
        let token = token(stand, ALICE);
        let reply = ask(stand, &[&format!("Authorization: {token}")]);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("application/json"))
        );
        let document = reply.json();
        assert_eq!(document["SecretAccessKey"], "secret/of+\"2001\"");
        assert_eq!(document["AccountId"], "123456789012");
        for name in ["AccessKeyId", "Token", "Expiration", "RoleArn"] {
            assert!(document[name].is_string(), "{name}");
        }
        let event = stand.shared().audit.last().unwrap().clone();
        assert_eq!(
            (event.asked, event.outcome, event.method),
            ("container_credentials", Decision::Issued, Some(Method::UserRole))
        );
    });
}

// P13 P16
#[test]
fn container_2_the_token_of_another_uid_or_none_or_two_is_401_and_audited() {
    container(|stand| {
        let alices = token(stand, ALICE);
        let bobs = token(stand, BOB);
        assert_ne!(alices, bobs);
        let [alices, bobs] = [alices, bobs].map(|token| format!("Authorization: {token}"));
        // Bob has stolen Alice's token, or makes her program connect: neither is enough.
        stand.become_uid(BOB);
        for headers in [
            &[alices.as_str()][..],
            &[],
            &[&bobs, &bobs],
            &["Authorization: "],
            &["Authorization: x"],
        ] {
            assert_eq!(ask(stand, headers).status, 401, "{headers:?}");
            let event = stand.shared().audit.last().unwrap().clone();
            assert_eq!(
                (event.outcome, event.uid),
                (Decision::Refused, Some(BOB)),
                "{headers:?}"
            );
        }
        assert_eq!(ask(stand, &[&bobs]).status, 200);
        stand.become_uid(ALICE);
        assert_eq!(ask(stand, &[&bobs]).status, 401);
    });
}

// P16
#[test]
fn container_3_the_token_file_is_for_its_uid_alone_and_rewritten_if_wrong() {
    container(|stand| {
        let token = token(stand, ALICE);
        let file = stand.tokens().join(ALICE.to_string());
        assert_eq!(fs::metadata(stand.tokens()).unwrap().mode() & 0o777, 0o711);
        if rustix::process::getuid().is_root() {
            // The folders above are those of the test; /tmp lets everybody pass.
            let reads = |uid: u32| {
                let mut cat = Command::new("cat");
                cat.arg(&file).uid(uid).gid(uid).output().unwrap()
            };
            assert_eq!(reads(ALICE).stdout, token.as_bytes());
            assert!(!reads(BOB).status.success());
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "of another boot").unwrap();
        assert_eq!(ask(stand, &[]).status, 401);
        assert_eq!(fs::read_to_string(&file).unwrap(), token);
    });
}

#[test]
fn container_4_other_hosts_pages_and_proxies_are_403() {
    container(|stand| {
        let token = format!("Authorization: {}", token(stand, ALICE));
        for header in [
            "Origin: http://x",
            "Sec-Fetch-Mode: cors",
            "X-Forwarded-For: 10.0.0.1",
            "Forwarded: for=x",
        ] {
            assert_eq!(ask(stand, &[&token, header]).status, 403, "{header}");
        }
        for host in ["169.254.169.254", "example.com", "127.0.0.1:80"] {
            let request = format!("GET /credentials HTTP/1.1\r\nHost: {host}\r\n{token}\r\n\r\n");
            assert_eq!(stand.raw(request).status, 403, "{host}");
        }
        let named = format!(
            "GET /credentials HTTP/1.1\r\nHost: localhost:{}\r\n{token}\r\n\r\n",
            stand.address.port()
        );
        assert_eq!(stand.raw(named).status, 200);
    });
}

#[test]
fn container_5_nothing_else_is_at_this_door_and_nothing_of_it_reaches_the_real_service() {
    container(|stand| {
        let token = format!("Authorization: {}", token(stand, ALICE));
        let address = stand.address;
        for (method, path, status) in [
            ("GET", "/", 404),
            ("GET", "/credentials/", 404),
            ("GET", "/latest/meta-data/iam/security-credentials/", 404),
            ("GET", "/latest/user-data", 404),
            ("PUT", "/latest/api/token", 404),
            ("POST", "/credentials", 405),
        ] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{token}\r\n\r\n");
            assert_eq!(stand.raw(request).status, status, "{method} {path}");
        }
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn container_6_refusals_are_404_and_doubts_503() {
    container(|stand| {
        let token = format!("Authorization: {}", token(stand, ALICE));
        for (plan, status) in [
            (Plan::NotApplicable, 404),
            (Plan::Denied, 404),
            (Plan::RefusedByAws, 404),
            (Plan::Transient, 503),
            (Plan::AwsDown, 503),
            (Plan::Hang, 503),
            (Plan::Issue(10), 503),
        ] {
            stand.plan(ALICE, plan);
            assert_eq!(ask(stand, &[&token]).status, status, "{plan:?}");
        }
        stand.plan(ALICE, Plan::Issue(3600));
        stand.shared().changed_before_secret = true;
        assert_eq!(ask(stand, &[&token]).status, 403);
    });
}

#[test]
fn container_7_where_it_is_off_the_port_is_no_door() {
    on_both(|stand| {
        let request = "GET /credentials HTTP/1.1\r\nHost: 127.0.0.1:989\r\nAuthorization: x\r\n\r\n";
        assert_eq!(stand.raw(request).status, 403);
        assert_eq!(stand.get("/credentials").status, 404);
    });
}

// P13
#[test]
fn container_8_a_closed_endpoint_serves_nobody_and_nothing_of_the_other_door() {
    let options = Options {
        container: true,
        container_closed: true,
        ..Options::default()
    };
    with_options(options, |stand| {
        let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
        let get = "GET /latest/meta-data/instance-id HTTP/1.1\r\n";
        for head in [put, get, "GET /credentials HTTP/1.1\r\n"] {
            for host in ["169.254.169.254".to_owned(), stand.address.to_string()] {
                let reply = stand.raw(format!("{head}Host: {host}\r\n\r\n"));
                assert_eq!(reply.status, 403, "{head} {host}");
            }
        }
        assert!(stand.real.asked().is_empty() && stand.shared().prewarmed.is_empty());
        let event = stand.shared().audit.last().unwrap().clone();
        assert!(event.reason.unwrap().contains("ClosedDoor"));
    });
}
