//! Many users vanish from IAM, or leave a group, at once: nobody else's refusal waits for that, and no listing is believed that IAM
//! contradicts.

use super::*;

const MANY: usize = 600;

/// dave, whose id is the last of all, among many; all have been here.
async fn host_of_many() -> Host {
    let host = host("prefetch_keys = \"never\"");
    for number in 0..MANY {
        host.iam
            .add_user_anew(&format!("user{number}"), &format!("AIDA{number}"), 1);
    }
    host.iam.add_user_anew("dave", "AIDAZDAVE", 1);
    host.pass_time(300);
    host.service.pass().await;
    let now = host.service.clock.unix();
    let mut state = host.service.state_mut();
    state
        .facts
        .users
        .values_mut()
        .for_each(|user| user.last_login = Some(now));
    drop(state);
    host
}

// P9
#[test]
fn who_is_deleted_among_hundreds_is_refused_by_the_next_pass() {
    on_one_thread(async {
        let host = host_of_many().await;
        for number in 0..MANY {
            host.iam.delete_user(&format!("user{number}"));
        }
        host.iam.delete_user("dave");
        host.pass_time(300);
        assert_eq!(host.service.pass().await, Answer::Fresh);
        assert_eq!(host.decision("dave"), Some(LoginDecision::Refused(Refusal::Deleted)));
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!((host.uid("dave"), host.uid("user599")), (None, None));
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
    });
}

// P9
#[test]
fn who_leaves_the_required_group_with_hundreds_is_refused_by_the_next_pass() {
    on_one_thread(async {
        let settings = "require_iam_group = \"prod_ssh_users\"";
        let host = host(settings);
        let mut logins: Vec<String> = (0..300).map(|number| format!("user{number}")).collect();
        for (number, login) in logins.iter().enumerate() {
            host.iam.add_user_anew(login, &format!("AIDA{number}"), 1);
        }
        host.iam.add_user_anew("dave", "AIDAZDAVE", 1);
        logins.push("dave".to_owned());
        logins.iter().for_each(|login| host.iam.join(login, "prod_ssh_users"));
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!(host.decision("dave"), Some(LoginDecision::Allowed));
        logins.iter().for_each(|login| host.iam.leave(login, "prod_ssh_users"));
        host.pass_time(300);
        assert_eq!(host.service.pass().await, Answer::Fresh);
        let refused = Some(LoginDecision::Refused(Refusal::NotInRequiredGroup));
        assert_eq!(host.decision("dave"), refused);
    });
}

// P3
#[test]
fn a_listing_that_iam_contradicts_removes_nobody_and_costs_few_calls() {
    on_one_thread(async {
        let host = host_of_many().await;
        let before = host.iam.calls(Action::GET_USER);
        // Everybody is missing from the listing, and there again when asked about.
        let mut hidden = false;
        host.iam.between_calls(move |iam, action| {
            if action == Action::LIST_USERS && !hidden {
                (0..MANY).for_each(|number| iam.delete_user(&format!("user{number}")));
                hidden = true;
            } else if action == Action::GET_USER && hidden {
                (0..MANY).for_each(|number| iam.add_user_anew(&format!("user{number}"), &format!("AIDA{number}"), 1));
                hidden = false;
            }
        });
        host.pass_time(300);
        assert_eq!(host.service.pass().await, Answer::Fresh);
        let asked = host.iam.calls(Action::GET_USER) - before;
        assert!((50..=60).contains(&asked), "{asked}");
        assert_eq!(host.decision("user599"), Some(LoginDecision::Allowed));
        assert!(host.uid("user0").is_some());
    });
}
