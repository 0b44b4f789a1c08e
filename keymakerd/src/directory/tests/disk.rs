//! What a full disk and a slow one change: nothing for a user from whom IAM has taken nothing.

use super::*;

const REQUIRED: &str = "require_iam_group = \"prod_ssh_users\"";
/// Less than `max_stale`; twice that is more.
const LONG: u64 = 80_000;

/// Alice and bob may log in, have done so, and are published with their keys.
async fn host_of_two() -> Host {
    let host = host(REQUIRED);
    host.iam.add_user("bob", "AIDABOB", 100);
    host.iam.add_key("bob", "APKABOB", KEY);
    for login in ["alice", "bob"] {
        host.iam.join(login, "prod_ssh_users");
    }
    host.service.pass().await;
    for login in ["alice", "bob"] {
        assert_eq!(
            host.service.refresh_keys(name(login), Cause::Login).await,
            DirectoryOutcome::Fresh
        );
    }
    host
}

// P3
#[test]
fn that_iam_answered_counts_although_the_disk_is_full() {
    on_one_thread(async {
        let host = host_of_two().await;
        host.fill_disk(true);
        for number in 0..3 {
            host.iam
                .add_user(&format!("new{number}"), &format!("AIDANEW{number}"), number);
            host.pass_time(LONG);
            assert_eq!(host.service.pass().await, DirectoryOutcome::CannotTell);
            assert!(host.status().contains("could not publish"));
            assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed), "day {number}");
        }
        host.fill_disk(false);
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        assert!(host.uid("new2").is_some());
    });
}

// P9
#[test]
fn there_is_no_contact_while_files_that_cannot_be_written_allow_anybody_more_than_iam_does() {
    type Change = fn(&IamFake);
    let taken_away: [(&str, Change); 4] = [
        ("the required group", |iam| iam.leave("bob", "prod_ssh_users")),
        ("the key", |iam| iam.set_key_active("bob", "APKABOB", false)),
        ("the name", |iam| {
            iam.change_user("bob", |bob| bob.name = "bobby".into())
        }),
        ("an answer about the members", |iam| {
            iam.fail_for(
                "prod_ssh_users",
                AwsCallError::AccessDenied {
                    action: Action::GET_GROUP,
                    message: "not this one".into(),
                },
            );
        }),
    ];
    for (what, change) in taken_away {
        on_one_thread(async {
            let host = host_of_two().await;
            host.fill_disk(true);
            host.iam.add_user("dave", "AIDADAVE", 1);
            change(&host.iam);
            for _ in 0..2 {
                host.pass_time(LONG);
                host.service.pass().await;
            }
            let out_of_contact = Some(LoginDecision::CannotTell(Doubt::OutOfContact));
            assert_eq!(host.decision("bob"), out_of_contact, "{what}");
            host.fill_disk(false);
            host.service.pass().await;
            assert_ne!(host.decision("bob"), out_of_contact, "{what}");
        });
    }
}

// P8: AWS's permission goes by the IAM name, and what is left of one may be another's.
#[test]
fn no_pushed_key_counts_where_names_here_are_shorter_than_in_iam() {
    on_one_thread(async {
        let host = host("login_by = [\"iam-keys\", \"instance-connect\"]\nlinux_user_suffix = \"@example.com\"");
        host.service.pass().await;
        assert!(!host.directory().header().instance_connect);
    });
}

// P9
#[test]
fn a_way_in_that_is_closed_while_the_disk_is_full_opens_nothing() {
    on_one_thread(async {
        let mut host = host("login_by = [\"iam-keys\", \"instance-connect\"]");
        host.service.pass().await;
        assert!(host.directory().header().instance_connect);
        let out_of_contact = Some(LoginDecision::CannotTell(Doubt::OutOfContact));
        assert_ne!(host.decision("alice"), out_of_contact);
        host.fill_disk(true);
        let clock = Rc::clone(&host.service.clock);
        host.service = start(&host.folder, "", &host.iam, clock);
        for _ in 0..2 {
            host.pass_time(LONG);
            host.service.pass().await;
        }
        assert_eq!(host.decision("alice"), out_of_contact);
        host.fill_disk(false);
        host.service.pass().await;
        assert_ne!(host.decision("alice"), out_of_contact);
    });
}

// P5 P9
#[test]
fn a_slow_disk_keeps_nobody_waiting_and_lets_nobody_in_whom_iam_refuses() {
    on_one_thread(async {
        let host = host_of_two().await;
        host.iam.leave("bob", "prod_ssh_users");
        host.pass_time(61);
        let stuck = host.service.store.stuck.lock().await;
        // Anybody who waits for the disk waits as long as they ever would.
        tokio::time::pause();
        for _ in 0..2 {
            for cause in [SSHD, Cause::Login, Cause::Credentials] {
                bob_is_refused_and_alice_is_not(&host, cause).await;
            }
        }
        assert_eq!(
            host.decision("bob"),
            Some(LoginDecision::Allowed),
            "the disk was not slow"
        );
        // What IAM has added is not said to be there before it is.
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.iam.join("dave", "prod_ssh_users");
        assert_eq!(
            host.service.refresh_keys(name("dave"), SSHD).await,
            DirectoryOutcome::CannotTell
        );
        assert_eq!(host.service.pass().await, DirectoryOutcome::CannotTell);
        assert!(host.status().contains("the disk has not answered"));
        drop(stuck);
        host.service.publish().await.unwrap();
        let refused = LoginDecision::Refused(Refusal::NotInRequiredGroup);
        assert_eq!(host.decision("bob"), Some(refused));
        assert_eq!(host.decision("dave"), Some(LoginDecision::Allowed));
    });
}

// P5 P9
#[test]
fn a_disk_that_hangs_while_only_the_contact_is_told_lets_nobody_in_whom_iam_refuses() {
    on_one_thread(async {
        let host = host_of_two().await;
        let stuck = host.service.store.stuck.lock().await;
        // All that the disk is given is the time of the contact, by another clock.
        host.service.clock.set_host(1000);
        let service = Rc::clone(&host.service);
        let _following = tokio::task::spawn_local(async move { service.follow_clock().await });
        tokio::task::yield_now().await;
        host.iam.leave("bob", "prod_ssh_users");
        host.pass_time(61);
        tokio::time::pause();
        for cause in [SSHD, Cause::Login, Cause::Credentials] {
            let answered = bob_is_refused_and_alice_is_not(&host, cause);
            let in_time = tokio::time::timeout(Duration::from_secs(4), answered).await;
            assert!(in_time.is_ok(), "{cause:?}");
        }
        let is_slow = host.service.turns.disk_is_slow(Duration::from_secs(1));
        let in_time = tokio::time::timeout(Duration::from_secs(4), is_slow).await;
        assert!(in_time.is_ok(), "the disk is not known to have anything");
        drop(stuck);
    });
}

/// What they are told while the disk hangs, since bob has left the required group.
async fn bob_is_refused_and_alice_is_not(host: &Host, cause: Cause) {
    let answers = [
        host.service.refresh_keys(name("bob"), cause).await,
        host.service.refresh_keys(name("alice"), cause).await,
    ];
    let expected = [DirectoryOutcome::NotPublished, DirectoryOutcome::Fresh];
    assert_eq!(answers, expected, "{cause:?}");
}

#[test]
fn who_asks_while_files_are_written_waits_for_one_more_publication_at_most() {
    on_one_thread(async {
        let host = host_of_two().await;
        let stuck = host.service.store.stuck.lock().await;
        tokio::time::pause();
        host.pass_time(61);
        for number in 0..20 {
            host.iam
                .add_user(&format!("new{number}"), &format!("AIDANEW{number}"), number);
            host.iam.join(&format!("new{number}"), "prod_ssh_users");
            let answer = host
                .service
                .refresh_keys(name(&format!("new{number}")), Cause::Login)
                .await;
            assert_eq!(answer, DirectoryOutcome::CannotTell, "{number}");
        }
        let before = host.directory().generation();
        drop(stuck);
        host.service.publish().await.unwrap();
        assert!(host.uid("new19").is_some());
        assert!(host.directory().generation() <= before + 2);
    });
}
