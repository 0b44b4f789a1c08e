//! What is laid out in the files, and what is left out of them.

use super::*;

const COLLIDING: &str = include_str!("../../../../keymaker-core/tests/version_1/colliding_names");

// P2
#[test]
fn whoever_chooses_the_names_of_iam_users_keeps_nobody_from_coming_or_going() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        for (number, chosen) in COLLIDING.split_whitespace().enumerate() {
            host.iam.add_user(chosen, &format!("AIDACHOSEN{number}"), 1);
        }
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.iam.delete_user("alice");
        assert_eq!(host.service.pass().await, Answer::Fresh);
        assert_eq!((host.uid("dave").is_some(), host.uid("alice")), (true, None));
        for chosen in COLLIDING.split_whitespace() {
            assert!(host.uid(chosen).is_some(), "{chosen}");
        }
        assert!(host.status().contains("\"left_out\": []"));
    });
}

#[test]
fn an_entry_that_does_not_fit_is_left_out_and_named_and_stops_nobody() {
    on_one_thread(async {
        let host = host("");
        for number in 0..70 {
            let group = format!("keymaker_g{number}");
            host.iam.add_group(&group, &format!("AGPA{number}"), 1);
            host.iam.join("alice", &group);
        }
        host.iam.add_user("dave", "AIDADAVE", 1);
        assert_eq!(host.service.pass().await, Answer::Fresh);
        assert_eq!((host.uid("dave").is_some(), host.uid("alice")), (true, None));
        assert!(host.status().contains("more groups or keys than a record holds"));
        // Denied by PAM, not ignored.
        assert_eq!(host.decision("alice"), Some(LoginDecision::Refused(Refusal::NoEntry)));
    });
}
