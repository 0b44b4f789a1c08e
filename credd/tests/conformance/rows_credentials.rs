//! Rows 30 to 40: the caller's role and its credentials. They are answered here, whatever stands below.

use std::time::{Duration, Instant};

use credd::audit::Decision;

use crate::stand::{ALICE, BOB, Plan, on_both};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/user-alice";

#[test]
fn row_30_the_role_list_is_the_users_role_without_a_newline() {
    on_both(|stand| {
        for path in [LIST, LIST.trim_end_matches('/')] {
            let reply = stand.get(path);
            assert_eq!(
                (reply.status, reply.body.as_slice()),
                (200, &b"user-alice"[..]),
                "{path}"
            );
        }
        stand.become_uid(BOB);
        assert_eq!(stand.get(LIST).text(), "user-bob");
    });
}

#[test]
fn row_31_the_role_list_of_a_user_without_credentials_is_404() {
    on_both(|stand| {
        stand.plan(ALICE, Plan::NotApplicable);
        assert_eq!(stand.get(LIST).status, 404);
        stand.become_uid(4242);
        assert_eq!(stand.get(LIST).status, 404);
        assert_eq!(stand.shared().audit.last().unwrap().outcome, Decision::NotApplicable);
    });
}

// P13
#[test]
fn row_32_credentials_have_the_fields_and_times_that_sdks_parse() {
    on_both(|stand| {
        let reply = stand.get(ROLE);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/plain")));
        let document = reply.json();
        let names = [
            "Code",
            "LastUpdated",
            "Type",
            "AccessKeyId",
            "SecretAccessKey",
            "Token",
            "Expiration",
        ];
        assert_eq!(document.as_object().unwrap().len(), names.len());
        assert!(names.iter().all(|name| document[name].is_string()));
        assert_eq!(
            (&document["Code"], &document["Type"]),
            (&"Success".into(), &"AWS-HMAC".into())
        );
        for name in ["LastUpdated", "Expiration"] {
            let shape: String = document[name].as_str().unwrap().chars().map(shape_of).collect();
            assert_eq!(shape, "0000-00-00T00:00:00Z");
        }
        let event = stand.shared().audit.last().unwrap().clone();
        assert_eq!(document["SecretAccessKey"], "secret/of+\"2001\"");
        assert_eq!(
            (event.outcome, event.uid, event.status),
            (Decision::Issued, Some(ALICE), 200)
        );
        assert_eq!(event.access_key_id.as_deref(), Some("ASIAUSERALICE"));
        assert!(!serde_json::to_string(&event).unwrap().contains("secret/of"));
    });
}

fn shape_of(character: char) -> char {
    if character.is_ascii_digit() { '0' } else { character }
}

// P15 H2
#[test]
fn row_33_whatever_follows_the_roles_name_is_answered_here() {
    on_both(|stand| {
        let own = stand.get(ROLE).json()["AccessKeyId"].clone();
        assert!(own.as_str().unwrap().starts_with("ASIA"), "{own}");
        for below in ["/", "/anything", "/anything/else/"] {
            assert_eq!(
                stand.get(&format!("{ROLE}{below}")).json()["AccessKeyId"],
                own,
                "{below}"
            );
            assert_eq!(
                stand.get(&format!("{LIST}sandbox-instance{below}")).status,
                404,
                "{below}"
            );
        }
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_34_any_other_roles_name_is_404() {
    on_both(|stand| {
        for name in [
            "user-bob",
            "User-Alice",
            "user-aliceX",
            "user-alic",
            "people/user-alice",
            "sandbox-instance",
        ] {
            assert_eq!(stand.get(&format!("{LIST}{name}")).status, 404, "{name}");
        }
        assert!(stand.real.asked().is_empty());
    });
}

// P17
#[test]
fn row_35_the_end_that_is_shown_is_the_end_that_sts_gave() {
    // At least 25 minutes while STS answers is the cache's promise; the server neither shortens nor prolongs.
    on_both(|stand| {
        let start = std::time::SystemTime::now();
        stand.plan(ALICE, Plan::Issue(1500));
        let shown = stand.get(ROLE).json()["Expiration"].as_str().unwrap().to_owned();
        let possible: Vec<String> = (1500..1530)
            .map(|seconds| credd_core::time_text::iso8601(start + Duration::from_secs(seconds)))
            .collect();
        assert!(possible.contains(&shown), "{shown}");
    });
}

// P17
#[test]
fn row_36_credentials_that_end_within_a_minute_are_never_served() {
    on_both(|stand| {
        for left in [-3600, -1, 0, 55] {
            stand.plan(ALICE, Plan::Issue(left));
            let reply = stand.get(ROLE);
            assert_eq!(reply.status, 503, "{left}");
            assert!(!reply.text().contains("secret"), "{left}");
        }
    });
}

#[test]
fn row_37_a_refusal_by_sts_is_404_or_a_code() {
    on_both(|stand| {
        stand.plan(ALICE, Plan::RefusedByAws);
        let reply = stand.get(ROLE);
        let document = reply.json();
        assert_eq!(
            (reply.status, &document["Code"]),
            (200, &"AssumeRoleUnauthorizedAccess".into())
        );
        assert!(document["Message"].is_string() && document["LastUpdated"].is_string());
        assert!(!reply.text().contains("secret-detail"));
        let event = stand.shared().audit.last().unwrap().clone();
        assert!(event.outcome == Decision::Denied && event.reason.unwrap().contains("secret-detail"));
        stand.plan(ALICE, Plan::Denied);
        assert_eq!(stand.get(LIST).status, 404);
        assert_eq!(stand.get(ROLE).json()["Code"], "AssumeRoleUnauthorizedAccess");
    });
}

#[test]
fn row_38_what_cannot_be_found_out_now_is_503_within_a_second() {
    on_both(|stand| {
        for plan in [Plan::Transient, Plan::AwsDown, Plan::Hang] {
            stand.plan(ALICE, plan);
            let token = format!("X-aws-ec2-metadata-token: {}", stand.token());
            // A busy test machine may delay one of three.
            let waited = [(); 3].map(|()| {
                let start = Instant::now();
                assert_eq!(stand.ask("GET", ROLE, &[&token]).status, 503, "{plan:?}");
                start.elapsed()
            });
            assert!(waited.iter().min() < Some(&A_SECOND), "{plan:?}: {waited:?}");
        }
        assert_eq!(stand.shared().audit.last().unwrap().outcome, Decision::Transient);
    });
}

// P15 H3
#[test]
fn row_39_the_extended_path_is_404_and_never_asked_for() {
    on_both(|stand| {
        for below in ["", "/", "/user-alice", "/sandbox-instance", "/sandbox-instance/x"] {
            let path = format!("/latest/meta-data/iam/security-credentials-extended{below}");
            assert_eq!(stand.get(&path).status, 404, "{path}");
        }
        assert!(stand.real.asked().is_empty());
    });
}

#[test]
fn row_40_iam_info_is_of_the_users_own_role() {
    on_both(|stand| {
        let document = stand.get("/latest/meta-data/iam/info").json();
        assert_eq!(document["Code"], "Success");
        let arn = "arn:aws:iam::123456789012:instance-profile/people/user-alice";
        assert_eq!(document["InstanceProfileArn"], arn);
        let id = document["InstanceProfileId"].as_str().unwrap();
        assert!(id.starts_with("AIPA") && id.len() == 21 && id.bytes().all(|byte| byte.is_ascii_uppercase()));
        assert!(document["LastUpdated"].as_str().unwrap().ends_with('Z'));
        stand.plan(ALICE, Plan::NotApplicable);
        assert_eq!(stand.get("/latest/meta-data/iam/info").status, 404);
        assert!(stand.real.asked().is_empty());
    });
}

// P13
#[test]
fn a_socket_that_changed_hands_before_the_secret_was_written_gets_none() {
    on_both(|stand| {
        stand.shared().changed_before_secret = true;
        let reply = stand.get(ROLE);
        assert_eq!(reply.status, 403);
        assert!(!reply.text().contains("secret"));
        assert_eq!(stand.shared().audit.last().unwrap().outcome, Decision::Refused);
    });
}

/// The server's own limit is 900 ms.
const A_SECOND: Duration = Duration::from_secs(1);
