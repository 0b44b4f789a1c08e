//! Rows 23 to 29 and 40 to 50: what is listed, passed on, or not there.

use crate::stand::{ALICE, INSTANCE_CONNECT, on_both};
use crate::stand_in::Mode;

#[test]
fn row_23_head_is_get_without_the_body() {
    on_both(|stand| {
        for path in [
            "/latest/meta-data/instance-id/",
            "/latest/meta-data/iam/security-credentials/",
            "/latest/none",
        ] {
            let (head, get) = (stand.with_token("HEAD", path, &[]), stand.get(path));
            assert_eq!(head.status, get.status, "{path}");
            assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
            assert!(head.body.is_empty(), "{path}");
        }
    });
}

#[test]
fn row_24_other_methods_are_405() {
    on_both(|stand| {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
            assert_eq!(
                stand.with_token(method, "/latest/meta-data/instance-id", &[]).status,
                405,
                "{method}"
            );
        }
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_25_the_root_lists_the_versions_and_latest_last() {
    on_both(|stand| {
        let reply = stand.get("/");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.text().lines().next(), Some("1.0"));
        assert_eq!(reply.text().lines().last(), Some("latest"));
        assert!(!reply.text().ends_with('\n'));
    });
}

#[test]
fn row_26_a_version_lists_its_three_parts() {
    on_both(|stand| {
        for path in ["/latest", "/latest/", "/2021-07-15/"] {
            let reply = stand.get(path);
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (200, "dynamic\nmeta-data\nuser-data"),
                "{path}"
            );
        }
    });
}

#[test]
fn row_27_meta_data_lists_what_the_caller_may_read_and_iam() {
    on_both(|stand| {
        for path in ["/latest/meta-data", "/latest/meta-data/"] {
            let reply = stand.get(path);
            assert_eq!(reply.status, 200);
            // The stand-in lists identity-credentials/, managed-ssh-keys/ and a name that the table does not have, too.
            let text = reply.text();
            let listed: Vec<&str> = text
                .lines()
                .filter(|name| !ONLY_IN_THE_SANDBOX.contains(name))
                .collect();
            let expected = [
                "ami-id",
                "iam/",
                "instance-id",
                "mac",
                "network/",
                "placement/",
                "public-keys/",
                "tags/",
            ];
            assert_eq!(listed, expected, "{path}");
        }
    });
}

#[test]
fn row_28_dated_versions_have_the_same_rules() {
    on_both(|stand| {
        assert_eq!(
            stand.get("/2019-10-01/meta-data/instance-id").text(),
            "i-0123456789abcdef0"
        );
        assert_eq!(stand.get("/1.0/meta-data/ami-id").status, 200);
        assert_eq!(
            stand.get("/2019-10-01/meta-data/iam/security-credentials/").text(),
            "user-alice"
        );
        assert_eq!(stand.get("/1.0/meta-data/iam/security-credentials/").status, 404);
        assert_eq!(stand.get("/2011-05-01/meta-data/iam/").status, 404);
        assert_eq!(stand.get("/2012-01-12/meta-data/iam/").status, 200);
        assert_eq!(stand.get("/2019-10-01/user-data").status, 404);
        for unknown in ["2019-10-02", "2.0", "LATEST", "future"] {
            assert_eq!(
                stand.get(&format!("/{unknown}/meta-data/instance-id")).status,
                404,
                "{unknown}"
            );
        }
        assert_eq!(
            stand.real.paths(),
            ["/2019-10-01/meta-data/instance-id", "/1.0/meta-data/ami-id"]
        );
    });
}

#[test]
fn row_29_iam_lists_info_and_security_credentials() {
    on_both(|stand| {
        for path in ["/latest/meta-data/iam", "/latest/meta-data/iam/"] {
            assert_eq!(stand.get(path).text(), "info\nsecurity-credentials/", "{path}");
        }
        assert!(stand.real.asked().is_empty());
    });
}

// P15 H3
#[test]
fn row_41_identity_credentials_are_404_and_never_asked_for() {
    on_both(|stand| {
        for below in [
            "",
            "/ec2",
            "/ec2/info",
            "/ec2/security-credentials",
            "/ec2/security-credentials/ec2-instance",
        ] {
            for uid in [ALICE, INSTANCE_CONNECT, 0] {
                stand.become_uid(uid);
                let path = format!("/latest/meta-data/identity-credentials{below}");
                assert_eq!(stand.get(&path).status, 404, "{path}");
            }
        }
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_42_user_data_is_404_unless_a_rule_opens_it_and_then_byte_exact() {
    on_both(|stand| {
        assert_eq!(stand.get("/latest/user-data").status, 404);
        assert!(stand.real.asked().is_empty());
        // A shipped rule opens it to an account named root; nobody on this stand has that name, so uid 0 gets none
        // either.
        stand.become_uid(0);
        assert_eq!(stand.get("/latest/user-data").status, 404);
        stand.shared().root_has_a_name = true;
        let reply = stand.get("/latest/user-data");
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("application/octet-stream"))
        );
        assert_eq!(reply.body, b"#!/bin/sh\n\x00\x9f\x92\x96\xff");
    });
}

#[test]
fn row_43_the_identity_document_is_for_all_and_its_signatures_are_not() {
    on_both(|stand| {
        assert_eq!(
            stand.get("/latest/dynamic/instance-identity/document").json()["region"],
            "us-east-1"
        );
        for name in ["signature", "pkcs7", "rsa2048"] {
            assert_eq!(
                stand.get(&format!("/latest/dynamic/instance-identity/{name}")).status,
                404,
                "{name}"
            );
        }
        assert_eq!(stand.real.paths(), ["/latest/dynamic/instance-identity/document"]);
        stand.become_uid(0);
        stand.shared().root_has_a_name = true;
        assert_eq!(
            stand.get("/latest/dynamic/instance-identity/signature").text(),
            "c2lnbmF0dXJl"
        );
    });
}

#[test]
fn row_44_a_slash_after_a_leaf_means_nothing() {
    on_both(|stand| {
        for (leaf, value) in [
            ("placement/availability-zone", "us-east-1a"),
            ("instance-id", "i-0123456789abcdef0"),
            ("services/domain", "amazonaws.com"),
        ] {
            let reply = stand.get(&format!("/latest/meta-data/{leaf}/"));
            assert_eq!((reply.status, reply.text().as_str()), (200, value), "{leaf}");
        }
    });
}

#[test]
fn row_45_pushed_ssh_keys_are_for_instance_connect_only() {
    on_both(|stand| {
        let keys = "/latest/meta-data/managed-ssh-keys/active-keys/bob/";
        let certificate = "/latest/meta-data/managed-ssh-keys/signer-cert/";
        for path in [keys, certificate] {
            assert_eq!(stand.get(path).status, 404, "{path}");
        }
        assert!(stand.real.asked().is_empty());
        stand.become_uid(INSTANCE_CONNECT);
        for path in [keys, certificate] {
            assert_eq!(stand.get(path).status, 200, "{path}");
            assert_eq!(stand.with_token("HEAD", path, &[]).status, 200, "{path}");
        }
        let none = "/latest/meta-data/managed-ssh-keys/active-keys/nobody/";
        assert_eq!(stand.get(none).status, 404);
    });
}

#[test]
fn row_46_plain_metadata_is_passed_on_and_so_is_its_absence() {
    on_both(|stand| {
        assert_eq!(stand.get("/latest/meta-data/tags/instance/Name").text(), "web");
        assert_eq!(stand.get("/latest/meta-data/public-keys/").text(), "0=my-key");
        for absent in [
            "spot/instance-action",
            "events/maintenance/scheduled",
            "events/recommendations/rebalance",
        ] {
            let reply = stand.get(&format!("/latest/meta-data/{absent}"));
            assert_eq!(reply.status, 404, "{absent}");
            assert!(reply.text().contains("<title>404 - Not Found</title>"), "{absent}");
        }
        assert_eq!(stand.real.asked().len(), 5);
    });
}

#[test]
fn row_47_an_unknown_path_is_the_404_page_and_is_not_passed_on() {
    on_both(|stand| {
        for path in [
            "/nothing",
            "/latest/nothing",
            "/latest/meta-data/nothing",
            "/latest/meta-data/instance-id/x",
        ] {
            let reply = stand.get(path);
            assert_eq!(reply.status, 404, "{path}");
            assert!(reply.text().contains("<title>404 - Not Found</title>"), "{path}");
        }
        assert!(stand.real.asked().is_empty());
    });
}

// P14 P15 H1 H2
#[test]
fn row_48_a_path_with_two_readings_is_refused_and_never_passed_on() {
    on_both(|stand| {
        let role = "meta-data/iam/security-credentials/sandbox-instance";
        let long = format!("/latest/{}", "a".repeat(1024));
        for path in [
            "//latest/meta-data/instance-id",
            "/latest//meta-data/instance-id",
            "/latest/./meta-data/instance-id",
            "/x/../latest/meta-data/instance-id",
            "/latest/%2e%2e/latest/meta-data/instance-id",
            "/latest/meta-data%2Finstance-id",
            "/latest/meta-data%252Finstance-id",
            "/latest/meta-data/instance-id%00",
            "/latest/meta-data/instance-id;x",
            "/latest\\meta-data\\instance-id",
            "/latest/meta-data/instance-id\u{e9}",
            &format!("/latest/meta-data/../{role}"),
            &format!("/latest//{role}"),
            &format!("/x/../latest/{role}"),
            "/latest/meta-data/iam/security-credentials/../security-credentials/sandbox-instance",
            "/latest/meta-data/iam%2Fsecurity-credentials%2Fsandbox-instance",
            "/latest/meta-data/iam%252Fsecurity-credentials%252Fsandbox-instance",
            "/latest/meta-data/iam/security%2Dcredentials/%2e/sandbox-instance",
            &long,
        ] {
            let reply = stand.get(path);
            assert!([400, 404].contains(&reply.status), "{path}: {}", reply.status);
        }
        assert!(stand.real.asked().is_empty(), "{:?}", stand.real.paths());
    });
}

#[test]
fn row_49_a_query_is_ignored_and_never_passed_on() {
    on_both(|stand| {
        assert_eq!(
            stand.get("/latest/meta-data/instance-id?x=security-credentials").status,
            200
        );
        assert_eq!(stand.get("/latest/meta-data/ami-id#fragment").status, 200);
        assert_eq!(
            stand.real.paths(),
            ["/latest/meta-data/instance-id", "/latest/meta-data/ami-id"]
        );
        let reply = stand.ask(
            "PUT",
            "/latest/api/token?x",
            &["X-aws-ec2-metadata-token-ttl-seconds: 60"],
        );
        assert_eq!(reply.status, 200);
    });
}

#[test]
fn row_59_a_metadata_service_that_is_switched_off_is_403() {
    on_both(|stand| {
        stand.real.set(Mode::SwitchedOff);
        assert_eq!(stand.get("/latest/meta-data/instance-id").status, 403);
        stand.real.set(Mode::Broken);
        assert_eq!(stand.get("/latest/meta-data/instance-id").status, 503);
        stand.real.set(Mode::Well);
        assert_eq!(stand.get("/latest/meta-data/instance-id").status, 200);
    });
}

#[test]
fn a_document_longer_than_the_real_service_has_any_is_503_and_fills_no_memory() {
    on_both(|stand| {
        let longest = 64 * 1024;
        for (length, status) in [(longest, 200), (longest + 1, 503), (64 * longest, 503)] {
            stand.real.set(Mode::Long(length));
            // Answers are kept for a while, by path.
            let path = format!("/latest/meta-data/tags/instance/of-{length}");
            assert_eq!(stand.get(&path).status, status, "{length}");
        }
    });
}

#[test]
fn row_60_listings_are_one_level_and_only_folders_end_in_a_slash() {
    on_both(|stand| {
        assert_eq!(stand.get("/latest/meta-data/public-keys/0/").text(), "openssh-key");
        assert_eq!(
            stand.get("/latest/meta-data/public-keys/0/openssh-key").text(),
            "ssh-ed25519 AAAA my-key"
        );
        assert_eq!(stand.get("/latest/meta-data/mac").text(), "02:29:96:8f:6a:2d");
        assert_eq!(
            stand.get("/latest/meta-data/network/interfaces/macs/").text(),
            "02:29:96:8f:6a:2d/"
        );
        let interface = "/latest/meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/";
        assert_eq!(stand.get(interface).text(), "device-number\nipv4-associations/\nmac");
    });
}

#[test]
fn no_header_of_a_client_reaches_the_real_service_and_a_lost_token_is_renewed() {
    on_both(|stand| {
        let token = format!("X-aws-ec2-metadata-token: {}", stand.token());
        let headers = [&token, "User-Agent: mallory", "Cookie: a=b", "X-Anything: here"];
        assert_eq!(stand.ask("GET", "/latest/meta-data/ami-id", &headers).status, 200);
        let asked = stand.real.asked();
        let mut headers = asked[0].headers.clone();
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|header| header.split(':').next().unwrap()).collect();
        assert_eq!(names, ["host", "x-aws-ec2-metadata-token"]);
        // A token of credd's own, not the client's.
        assert!(headers[1].starts_with("x-aws-ec2-metadata-token: "));
        assert!(!headers[1].ends_with(token.rsplit(' ').next().unwrap()));
        stand.real.forget_tokens();
        assert_eq!(stand.get("/latest/meta-data/mac").status, 200);
    });
}

#[test]
fn what_changes_rarely_is_asked_once_and_what_announces_something_each_time() {
    on_both(|stand| {
        for _ in 0..3 {
            stand.get("/latest/meta-data/ami-id");
            stand.get("/latest/meta-data/tags/instance/Name");
        }
        let paths = stand.real.paths();
        assert_eq!(paths.iter().filter(|path| path.ends_with("ami-id")).count(), 1);
        assert_eq!(paths.iter().filter(|path| path.ends_with("Name")).count(), 3);
    });
}

/// What the sandbox's stand-in has besides.
const ONLY_IN_THE_SANDBOX: &[&str] = &["hostname", "instance-type", "local-hostname", "local-ipv4", "services/"];
