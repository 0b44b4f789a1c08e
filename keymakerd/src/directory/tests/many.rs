//! Many users vanish from IAM, or leave a group, at once: nobody else's refusal waits for that, and no listing is
//! believed that IAM contradicts.

use std::collections::BTreeSet;

use super::super::publishing::unsettled::Unsettled;
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
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
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
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
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
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        let asked = host.iam.calls(Action::GET_USER) - before;
        assert!((50..=60).contains(&asked), "{asked}");
        assert_eq!(host.decision("user599"), Some(LoginDecision::Allowed));
        assert!(host.uid("user0").is_some());
    });
}

/// alice's name is moved through these and back, a pass each.
async fn pass_by(host: &Host, user: &str, names: &[&str]) {
    let mut present = user;
    for next in names.iter().chain([&user]) {
        host.iam.rename_user(present, next);
        host.pass_time(300);
        host.service.pass().await;
        present = next;
    }
}

async fn settle(host: &Host) {
    let root = host.folder.join("root");
    let first = host.service.settle(root.clone(), Unsettled::default()).await;
    host.service.settle(root, first).await;
}

// P2
#[test]
fn who_is_renamed_through_many_names_or_made_and_deleted_keeps_them_from_nobody() {
    on_one_thread(async {
        for suffix in ["", "linux_user_suffix = \"-ops\"\nlowercase_names = true"] {
            let host = host(suffix);
            let end = if suffix.is_empty() { "" } else { "-ops" };
            let full = |login: &str| format!("{login}{end}");
            host.iam.add_user(&full("mallory"), "AIDAMALLORY", 100);
            host.pass_time(300);
            host.service.pass().await;
            let names: Vec<String> = (0..40).map(|number| full(&format!("person{number}"))).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // That mallory has been here under another name changes nothing.
            host.service.refresh_account(name("mallory"), Cause::Login).await;
            pass_by(&host, &full("mallory"), &names).await;
            host.iam.add_user(&full("hank"), "AIDAHANK", 100);
            host.pass_time(300);
            host.service.pass().await;
            host.iam.delete_user(&full("hank"));
            host.pass_time(300);
            host.service.pass().await;
            settle(&host).await;
            for login in ["person7", "person33", "hank"] {
                host.iam.add_user(&full(login), &format!("AIDATRUE{login}"), 500);
                host.service.refresh_account(name(login), SSHD).await;
                assert_eq!(host.decision(login), Some(LoginDecision::Allowed), "{login}{end}");
            }
        }
    });
}

// P2
#[test]
fn a_name_somebody_used_here_is_theirs_until_it_is_released() {
    on_one_thread(async {
        let traces = ["login", "session", "linger", "day", "present"];
        for trace in traces {
            let mut host = host("");
            host.iam.add_user("mallory", "AIDAMALLORY", 100);
            host.pass_time(300);
            host.service.pass().await;
            host.iam.rename_user("mallory", "boss");
            host.pass_time(300);
            host.service.pass().await;
            let uid = host.uid("boss").unwrap();
            let root = host.folder.join("root");
            let put = |path: String, text: &str| {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            };
            match trace {
                "login" => drop(host.service.refresh_account(name("boss"), Cause::Login).await),
                "session" => put(
                    format!("run/systemd/users/{uid}"),
                    "# private\nNAME=boss\nSTATE=active\n",
                ),
                "linger" => put("var/lib/systemd/linger/boss".to_owned(), ""),
                "day" => {
                    host.pass_time(86_400);
                    host.service.pass().await;
                }
                _ => {}
            }
            if trace != "present" {
                host.iam.rename_user("boss", "mallory");
                host.pass_time(300);
                host.service.pass().await;
            }
            host.restart("").await;
            settle(&host).await;
            let _ = std::fs::remove_dir_all(&root);
            settle(&host).await;
            host.restart("").await;
            let holder = host.service.state().ids.holder_of_name(name("boss")).map(str::to_owned);
            assert_eq!(holder.as_deref(), Some("AIDAMALLORY"), "{trace}");
            if trace != "present" {
                host.iam.add_user("boss", "AIDABOSS", 500);
                host.service.refresh_account(name("boss"), SSHD).await;
                let refused = Some(LoginDecision::Refused(Refusal::NameHeldByAnother));
                assert_eq!(host.decision("boss"), refused, "{trace}");
                assert!(host.service.order_release(name("boss")).await.is_ok());
                assert_eq!(host.decision("boss"), Some(LoginDecision::Allowed), "{trace}");
            }
        }
    });
}

// P2
#[test]
fn a_session_under_another_name_keeps_no_name_that_passed_by() {
    on_one_thread(async {
        let host = host("");
        host.iam.add_user("mallory", "AIDAMALLORY", 100);
        host.pass_time(300);
        host.service.pass().await;
        let users = host.folder.join("root/run/systemd/users");
        std::fs::create_dir_all(&users).unwrap();
        let uid = host.uid("mallory").unwrap();
        std::fs::write(users.join(uid.to_string()), "NAME=mallory\n").unwrap();
        pass_by(&host, "mallory", &["person7"]).await;
        settle(&host).await;
        let kept: BTreeSet<&str> = ["mallory"].into();
        let state = host.service.state();
        let held = ["mallory", "person7"].into_iter();
        let held: BTreeSet<&str> = held
            .filter(|login| state.ids.holder_of_name(name(login)).is_some())
            .collect();
        assert_eq!(held, kept);
    });
}
