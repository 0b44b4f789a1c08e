//! Whose running processes are to end, after each thing that can happen to a user.

use super::*;

const ENDS: &str = "end_sessions = true";
const ALL: &str = "end_sessions = \"all\"";

/// A host with these settings on which alice and bob are known, and bob's number.
async fn host_with_bob(settings: &str) -> (Host, u32) {
    let host = host(settings);
    host.iam.add_user("bob", "AIDABOB", 200);
    host.iam.join("bob", "prod_ssh_users");
    host.iam.join("bob", "keymaker_devs");
    host.next_pass().await;
    let bob = host.uid("bob").unwrap();
    assert!(!host.is_ended(bob), "{settings}");
    (host, bob)
}

impl Host {
    async fn next_pass(&self) {
        self.pass_time(300);
        self.service.pass().await;
    }

    fn is_ended(&self, uid: u32) -> bool {
        let mut buffer = [0; MAX_USER_RECORD];
        let directory = self.directory();
        let user = directory.user_by_uid(uid, &mut buffer).unwrap();
        directory.header().end_sessions && user.is_some_and(|user| user.ended)
    }
}

/// How IAM takes bob's access, under these settings.
struct WayOut(&'static str, fn(&IamFake));

// P9
#[test]
fn whoever_loses_their_access_by_iam_is_ended() {
    let required = "require_iam_group = \"prod_ssh_users\"";
    let by_path = "user_path_prefix = \"/staff/\"";
    let leave: fn(&IamFake) = |iam| {
        iam.leave("bob", "prod_ssh_users");
        iam.leave("bob", "keymaker_devs");
    };
    let ways = [
        WayOut(required, leave),
        WayOut("only_group_members = true", leave),
        WayOut("", |iam| iam.delete_user("bob")),
        WayOut("", |iam| iam.rename_user("bob", "bob@away")),
        WayOut("", |iam| iam.rename_user("bob", "Bob")),
        WayOut(by_path, |iam| {
            iam.change_user("bob", |bob| bob.path = "/away/".to_owned())
        }),
        WayOut("tags = [\"expires\"]", |iam| {
            let tags = vec![("expires".to_owned(), "2000-01-01".to_owned())];
            iam.change_user("bob", |bob| bob.tags = Some(tags));
        }),
    ];
    for (number, WayOut(settings, change)) in ways.into_iter().enumerate() {
        for (end, expected) in [("", false), (ENDS, true), (ALL, true)] {
            on_one_thread(async {
                let host = host(&format!("{settings}\n{end}"));
                host.iam.add_user("bob", "AIDABOB", 200);
                host.iam.join("bob", "prod_ssh_users");
                host.iam.join("bob", "keymaker_devs");
                host.iam.change_user("bob", |bob| {
                    bob.path = "/staff/".to_owned();
                    bob.tags = Some(Vec::new());
                });
                host.next_pass().await;
                let bob = host.uid("bob").unwrap();
                assert!(!host.is_ended(bob));
                change(&host.iam);
                if settings.starts_with("tags") {
                    host.pass_time(300);
                    host.service.refresh_account(name("bob"), Cause::Login).await;
                }
                host.next_pass().await;
                assert_eq!(host.is_ended(bob), expected, "{number}: {settings}, {end}");
            });
        }
    }
}

// P3
#[test]
fn whoever_a_change_of_settings_leaves_out_is_ended_only_where_the_file_says_all() {
    for filter in [
        "only_group_members = true\nlinux_group_prefix = \"unix-\"",
        "user_path_prefix = \"/staff/\"",
        "linux_user_suffix = \"@here\"",
        "reserved_names = [\"bob\"]",
    ] {
        for (end, expected) in [(ENDS, false), (ALL, true)] {
            on_one_thread(async {
                let (mut host, bob) = host_with_bob(end).await;
                host.restart(&format!("{end}\n{filter}")).await;
                assert_eq!(host.uid("bob"), None);
                assert_eq!(host.is_ended(bob), expected, "{filter}, {end}");
                // Nor by what IAM says next.
                host.next_pass().await;
                assert_eq!(host.is_ended(bob), expected, "{filter}, {end}");
                host.iam.delete_user("bob");
                host.next_pass().await;
                assert!(host.is_ended(bob), "{filter}, {end}: deleted");
            });
        }
    }
}

// P2
#[test]
fn a_clash_or_a_reservation_ends_nobody_unless_the_file_says_all() {
    for (end, expected) in [(ENDS, false), (ALL, true)] {
        for taken in ["postgres", "localbob", "devs"] {
            on_one_thread(async {
                let (host, bob) = host_with_bob(end).await;
                host.iam.rename_user("bob", taken);
                host.next_pass().await;
                assert_eq!(
                    (host.uid("bob"), host.is_ended(bob)),
                    (None, expected),
                    "{taken}, {end}"
                );
            });
        }
        // The name of somebody who was here is kept for them.
        on_one_thread(async {
            let (host, bob) = host_with_bob(end).await;
            host.service.refresh_account(name("alice"), Cause::Login).await;
            host.iam.rename_user("alice", "alicia");
            host.iam.rename_user("bob", "alice");
            host.next_pass().await;
            assert_eq!(
                host.decision("alice"),
                Some(LoginDecision::Refused(Refusal::NameHeldByAnother))
            );
            assert_eq!(host.is_ended(bob), expected, "{end}");
        });
    }
}

// P3
#[test]
fn nobody_is_ended_while_iam_does_not_answer_or_has_answered_once() {
    for end in [ENDS, ALL] {
        on_one_thread(async {
            let (host, bob) = host_with_bob(&format!("require_iam_group = \"prod_ssh_users\"\n{end}")).await;
            host.iam.deny(Action::GET_GROUP);
            host.iam.deny(Action::LIST_USERS);
            host.next_pass().await;
            host.pass_time(200_000);
            host.next_pass().await;
            assert!(!host.is_ended(bob), "{end}");
            // Somebody asks for the name: the next pass has to confirm it.
            host.iam.mend_all();
            host.iam.delete_user("bob");
            host.service.refresh_account(name("bob"), Cause::Login).await;
            assert_eq!(host.decision("bob"), Some(LoginDecision::Refused(Refusal::Deleted)));
            assert!(!host.is_ended(bob), "{end}");
        });
    }
}

// P3
#[test]
fn whose_groups_iam_has_never_told_is_refused_and_not_ended() {
    for settings in ["require_iam_group = \"prod_ssh_users\"", "only_group_members = true"] {
        on_one_thread(async {
            let settings = format!("{settings}\n{ENDS}");
            let (mut host, bob) = host_with_bob(&settings).await;
            // What is known of IAM is lost, and IAM does not tell who is in the groups.
            std::fs::remove_file(host.folder.join("private/facts.json")).unwrap();
            host.iam.deny(Action::GET_GROUP);
            host.restart(&settings).await;
            host.next_pass().await;
            assert_ne!(host.decision("bob"), Some(LoginDecision::Allowed));
            assert!(!host.is_ended(bob), "{settings}");
        });
    }
}

// P1
#[test]
fn a_number_that_a_local_account_has_by_now_is_not_ended() {
    on_one_thread(async {
        let (host, bob) = host_with_bob(ENDS).await;
        let passwd = format!("{LOCAL_PASSWD}new:x:{bob}:100::/:/bin/sh\n");
        host.service.state_mut().local = LocalAccounts::parse(&passwd, LOCAL_GROUP, "/bin/bash\n");
        host.iam.delete_user("bob");
        host.next_pass().await;
        assert!(!host.is_ended(bob));
    });
}
