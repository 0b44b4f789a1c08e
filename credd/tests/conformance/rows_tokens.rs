//! Rows 1 to 22: tokens, and requests with and without them.

use std::time::Duration;

use crate::stand::{ALICE, BOB, Options, Stand, on_both, with_options, with_v1};

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

#[test]
fn row_01_a_token_for_six_hours_is_plain_text_and_says_its_ttl() {
    on_both(|stand| {
        let reply = stand.ask(
            "PUT",
            "/latest/api/token",
            &["X-aws-ec2-metadata-token-ttl-seconds: 21600"],
        );
        assert_eq!((reply.status, reply.header(TTL)), (200, Some("21600")));
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        assert_eq!(reply.header("server"), Some("EC2ws"));
        assert!(
            reply
                .text()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_=-".contains(&byte))
        );
        assert_eq!(reply.body.len(), 56);
        assert_eq!(stand.shared().prewarmed, [ALICE]);
    });
}

#[test]
fn row_02_short_ttls_are_echoed() {
    on_both(|stand| {
        for ttl in ["1", "60"] {
            let header = format!("x-aws-ec2-metadata-token-ttl-seconds: {ttl}");
            let reply = stand.ask("PUT", "/latest/api/token", &[&header]);
            assert_eq!((reply.status, reply.header(TTL)), (200, Some(ttl)));
        }
    });
}

#[test]
fn row_03_a_put_without_a_ttl_is_400() {
    on_both(|stand| assert_eq!(stand.ask("PUT", "/latest/api/token", &[]).status, 400));
}

#[test]
fn row_04_a_ttl_that_is_no_number_from_1_to_21600_is_400() {
    on_both(|stand| {
        for ttl in ["0", "-1", "21601", "abc", "", "1.5"] {
            let header = format!("X-aws-ec2-metadata-token-ttl-seconds: {ttl}");
            assert_eq!(stand.ask("PUT", "/latest/api/token", &[&header]).status, 400, "{ttl}");
        }
    });
}

#[test]
fn row_05_two_ttls_are_400() {
    on_both(|stand| {
        let header = "X-aws-ec2-metadata-token-ttl-seconds: 60";
        assert_eq!(stand.ask("PUT", "/latest/api/token", &[header, header]).status, 400);
    });
}

// H10
#[test]
fn row_06_a_put_with_any_x_forwarded_for_gets_no_token() {
    on_both(|stand| {
        for forwarded in [
            "X-Forwarded-For: 10.0.0.1",
            "x-forwarded-for: x",
            "X-FORWARDED-FOR:",
            "Forwarded: for=10.0.0.1",
            "Via: 1.1 proxy",
            "via:",
        ] {
            let headers = ["X-aws-ec2-metadata-token-ttl-seconds: 60", forwarded];
            let reply = stand.ask("PUT", "/latest/api/token", &headers);
            assert_eq!((reply.status, reply.header(TTL)), (403, None), "{forwarded}");
        }
        assert!(stand.shared().prewarmed.is_empty());
    });
}

#[test]
fn row_07_a_put_with_forwarded_gets_no_token() {
    on_both(|stand| {
        let headers = ["X-aws-ec2-metadata-token-ttl-seconds: 60", "Forwarded: for=10.0.0.1"];
        assert_eq!(stand.ask("PUT", "/latest/api/token", &headers).status, 403);
    });
}

#[test]
fn row_08_a_put_may_have_a_body_of_one_kibibyte() {
    on_both(|stand| {
        let put = |framing: &str, body: &str| {
            let head = "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n";
            let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
            stand.raw(format!("{head}{ttl}{framing}\r\n\r\n{body}")).status
        };
        let (small, large) = ("x".repeat(1024), "x".repeat(1025));
        assert_eq!(put("Content-Length: 0", ""), 200);
        assert_eq!(put("Content-Length: 1024", &small), 200);
        assert_eq!(
            put("Transfer-Encoding: chunked", &format!("400\r\n{small}\r\n0\r\n\r\n")),
            200
        );
        assert_eq!(put("Content-Length: 1025", &large), 413);
        assert_eq!(
            put("Transfer-Encoding: chunked", &format!("401\r\n{large}\r\n0\r\n\r\n")),
            413
        );
    });
}

#[test]
fn row_09_the_token_path_takes_put_only() {
    on_both(|stand| {
        for method in ["GET", "POST", "DELETE"] {
            let reply = stand.ask(method, "/latest/api/token", &[]);
            assert_eq!(
                (reply.status, reply.header("allow")),
                (405, Some("OPTIONS, PUT")),
                "{method}"
            );
            assert_eq!(
                (reply.header("content-length"), reply.body.len()),
                (Some("0"), 0),
                "{method}"
            );
        }
    });
}

#[test]
fn row_10_a_slash_after_the_token_path_means_nothing() {
    on_both(|stand| {
        let reply = stand.ask(
            "PUT",
            "/latest/api/token/",
            &["X-aws-ec2-metadata-token-ttl-seconds: 60"],
        );
        assert_eq!(reply.status, 200);
    });
}

#[test]
fn row_11_a_dated_version_gives_tokens_too() {
    on_both(|stand| {
        let reply = stand.ask(
            "PUT",
            "/2021-03-23/api/token",
            &["X-aws-ec2-metadata-token-ttl-seconds: 60"],
        );
        assert_eq!(reply.status, 200);
    });
}

#[test]
fn row_12_a_put_elsewhere_is_405() {
    on_both(|stand| {
        let reply = stand.ask(
            "PUT",
            "/latest/meta-data/instance-id",
            &["X-aws-ec2-metadata-token-ttl-seconds: 60"],
        );
        assert_eq!((reply.status, reply.header(TTL)), (405, None));
    });
}

#[test]
fn row_13_a_token_leaves_with_a_hop_limit_of_one() {
    on_both(|stand| assert_eq!(hops_of_a_token(stand), 1));
}

#[test]
fn a_token_leaves_with_the_hop_limit_that_is_set() {
    let options = Options {
        token_hop_limit: 7,
        ..Options::default()
    };
    with_options(options, |stand| assert_eq!(hops_of_a_token(stand), 7));
}

fn hops_of_a_token(stand: &Stand) -> u32 {
    stand.shared().keep_socket = true;
    stand.token();
    let shared = stand.shared();
    let socket = shared.last_socket.as_ref().unwrap();
    if stand.address.is_ipv4() {
        rustix::net::sockopt::ip_ttl(socket).unwrap()
    } else {
        rustix::net::sockopt::ipv6_unicast_hops(socket).unwrap().into()
    }
}

#[test]
fn row_14_an_answer_says_how_long_its_token_still_lives() {
    on_both(|stand| {
        let token = format!("X-aws-ec2-metadata-token: {}", stand.token());
        stand.shared().later = Duration::from_secs(21_590);
        let reply = stand.ask("GET", "/latest/meta-data/instance-id", &[&token]);
        let left: u64 = reply.header(TTL).unwrap().parse().unwrap();
        assert_eq!(reply.status, 200);
        assert!((1..=10).contains(&left), "{left}");
    });
}

#[test]
fn row_15_an_unknown_token_is_401_even_where_none_is_needed() {
    with_v1(|stand| {
        for token in [
            "garbage",
            "",
            "AQAAAMvHsnB2AWyKIXKFUl1cRLSZ0o4ZCN1Xj8lQkWpPGFAbCdEfGh==",
            &"0".repeat(56),
        ] {
            let header = format!("X-aws-ec2-metadata-token: {token}");
            assert_eq!(
                stand.ask("GET", "/latest/meta-data/instance-id", &[&header]).status,
                401,
                "{token}"
            );
        }
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_16_a_token_is_expired_when_its_age_is_its_ttl() {
    on_both(|stand| {
        let reply = stand.ask(
            "PUT",
            "/latest/api/token",
            &["X-aws-ec2-metadata-token-ttl-seconds: 60"],
        );
        let token = format!("X-aws-ec2-metadata-token: {}", reply.text());
        assert_eq!(stand.ask("GET", "/latest/meta-data/instance-id", &[&token]).status, 200);
        stand.shared().later = Duration::from_secs(60);
        assert_eq!(stand.ask("GET", "/latest/meta-data/instance-id", &[&token]).status, 401);
    });
}

// P16
#[test]
fn row_17_a_token_of_another_uid_is_401() {
    on_both(|stand| {
        let token = format!("X-aws-ec2-metadata-token: {}", stand.token());
        stand.become_uid(BOB);
        for path in [
            "/latest/meta-data/instance-id",
            "/latest/meta-data/iam/security-credentials/user-bob",
        ] {
            assert_eq!(stand.ask("GET", path, &[&token]).status, 401, "{path}");
        }
    });
}

#[test]
fn two_tokens_are_none_though_each_would_do() {
    on_both(|stand| {
        let tokens = [stand.token(), stand.token()].map(|token| format!("X-aws-ec2-metadata-token: {token}"));
        for both in [[&tokens[0], &tokens[1]], [&tokens[0], &tokens[0]]] {
            let headers = both.map(String::as_str);
            assert_eq!(stand.ask("GET", "/latest/meta-data/instance-id", &headers).status, 401);
        }
        for token in &tokens {
            assert_eq!(stand.ask("GET", "/latest/meta-data/instance-id", &[token]).status, 200);
        }
    });
}

#[test]
fn row_18_a_token_outlives_a_restart_of_the_daemon() {
    on_both(|stand| {
        let token = format!("X-aws-ec2-metadata-token: {}", stand.token());
        stand.restart();
        assert_eq!(stand.ask("GET", "/latest/meta-data/instance-id", &[&token]).status, 200);
    });
}

#[test]
fn row_19_without_a_token_imdsv1_is_answered_where_it_is_allowed() {
    with_v1(|stand| {
        let reply = stand.ask("GET", "/latest/meta-data/instance-id", &[]);
        assert_eq!((reply.status, reply.text().as_str()), (200, "i-0123456789abcdef0"));
        assert_eq!(reply.header(TTL), None);
    });
}

#[test]
fn row_20_without_a_token_everything_is_401_by_default() {
    on_both(|stand| {
        for path in [
            "/",
            "/latest/meta-data/",
            "/latest/meta-data/iam/security-credentials/",
            "/latest/nothing",
        ] {
            assert_eq!(stand.ask("GET", path, &[]).status, 401, "{path}");
        }
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_21_a_forwarded_imdsv1_request_is_403() {
    with_v1(|stand| {
        let reply = stand.ask("GET", "/latest/meta-data/instance-id", &["X-Forwarded-For: 10.0.0.1"]);
        assert_eq!(reply.status, 403);
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_22_a_forwarded_request_with_a_token_is_403() {
    on_both(|stand| {
        let reply = stand.with_token("GET", "/latest/meta-data/instance-id", &["X-Forwarded-For: 10.0.0.1"]);
        assert_eq!(reply.status, 403);
    });
}
