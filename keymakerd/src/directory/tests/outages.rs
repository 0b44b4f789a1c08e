//! What stands while IAM or the disk does not answer.

use super::*;

// P3
#[test]
fn no_failure_of_any_listing_makes_anybody_disappear() {
    on_one_thread(async {
        for action in [
            Action::LIST_USERS,
            Action::LIST_GROUPS,
            Action::GET_GROUP,
            Action::GET_ROLE,
            Action::GET_CALLER_IDENTITY,
        ] {
            let host = host("");
            host.service.pass().await;
            for fault in 0..3 {
                match fault {
                    0 => host.iam.time_out(action),
                    1 => host.iam.fail(AwsCallError::Throttled { action }),
                    _ if action == Action::LIST_USERS || action == Action::GET_GROUP => continue,
                    _ => host.iam.deny(action),
                }
                host.pass_time(300);
                assert_eq!(host.service.pass().await, DirectoryOutcome::CannotTell, "{action}");
                assert!(host.uid("alice").is_some(), "{action}");
                assert_eq!(host.groups("alice").len(), 1, "{action}");
            }
            assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
            host.pass_time(90_000);
            assert_eq!(
                host.decision("alice"),
                Some(LoginDecision::CannotTell(Doubt::OutOfContact)),
                "{action}"
            );
        }
    });
}

// P3
#[test]
fn a_group_that_iam_denies_stops_no_pass_and_only_its_own_members_grow_old() {
    on_one_thread(async {
        let host = host("");
        host.iam.add_user("bob", "AIDABOB", 100);
        host.iam.add_user("carol", "AIDACAROL", 100);
        host.iam.add_group("keymaker_ops", "AGPAOPS", 1);
        host.iam.join("carol", "keymaker_ops");
        host.service.pass().await;
        host.iam.fail_for(
            "keymaker_devs",
            AwsCallError::AccessDenied {
                action: Action::GET_GROUP,
                message: "not this one".into(),
            },
        );
        host.iam.leave("carol", "keymaker_ops");
        for _ in 0..300 {
            host.pass_time(300);
            assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        }
        assert!(host.groups("carol").is_empty(), "what the other group said was lost");
        assert_eq!(host.groups("alice").len(), 1);
        let decisions = ["alice", "bob", "carol"].map(|login| host.decision(login).unwrap());
        let (allowed, old) = (LoginDecision::Allowed, LoginDecision::CannotTell(Doubt::UserStale));
        assert_eq!(decisions, [old, allowed, allowed]);
        assert!(host.status().contains("not this one"));
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_eq!(
            host.decision("alice"),
            Some(allowed),
            "a login asks IAM about alice herself"
        );
    });
}

// P3
#[test]
fn a_denied_listing_is_a_lower_grade_in_which_nobody_disappears() {
    on_one_thread(async {
        let host = host("");
        host.iam.add_user("carol", "AIDACAROL", 300);
        host.service.pass().await;
        host.iam.deny(Action::LIST_USERS);
        host.pass_time(300);
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        assert_eq!(host.service.state().grade, Grade::Three);
        assert!(host.uid("alice").is_some() && host.uid("carol").is_some());
        host.iam.delete_user("carol");
        host.pass_time(300);
        host.service.pass().await;
        assert!(
            host.uid("carol").is_some(),
            "one NoSuchEntity removed a user in grade 3"
        );
        assert_eq!(host.decision("carol"), Some(LoginDecision::Refused(Refusal::Deleted)));
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!(host.uid("carol"), None);
    });
}

// P5
#[test]
fn while_iam_is_silent_nobody_waits_for_it_twice() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        host.iam.time_out(Action::GET_USER);
        host.pass_time(61);
        assert_eq!(
            host.service.refresh_account(name("alice"), SSHD).await,
            DirectoryOutcome::CannotTell
        );
        let calls = host.iam.calls(Action::GET_USER);
        assert_eq!(
            host.service.refresh_account(name("alice"), SSHD).await,
            DirectoryOutcome::CannotTell
        );
        assert_eq!(host.iam.calls(Action::GET_USER), calls);
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        host.iam.mend(Action::GET_USER);
        host.pass_time(11);
        assert!(host.status().contains("\"action\": \"iam:GetUser\""));
        host.service.probe().await;
        assert!(host.status().contains("\"outages\": []"));
        assert_eq!(
            host.service.refresh_account(name("alice"), SSHD).await,
            DirectoryOutcome::Fresh
        );
    });
}

// P9
#[test]
fn what_a_full_disk_kept_back_is_published_by_the_next_nudge() {
    on_one_thread(async {
        let host = host("require_iam_group = \"prod_ssh_users\"");
        host.iam.join("alice", "prod_ssh_users");
        host.service.pass().await;
        host.iam.leave("alice", "prod_ssh_users");
        host.pass_time(61);
        std::fs::rename(host.folder.join("public"), host.folder.join("gone")).unwrap();
        assert_eq!(
            host.service.refresh_account(name("alice"), SSHD).await,
            DirectoryOutcome::CannotTell
        );
        std::fs::rename(host.folder.join("gone"), host.folder.join("public")).unwrap();
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        host.pass_time(6);
        assert_eq!(
            host.service.refresh_account(name("alice"), SSHD).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
    });
}

// P3
#[test]
fn a_daemon_started_during_an_outage_serves_what_it_knew() {
    on_one_thread(async {
        let mut host = host("");
        host.service.pass().await;
        host.service.refresh_keys(name("alice"), SSHD).await;
        host.service.refresh_account(name("alice"), Cause::Login).await;
        for action in [
            Action::GET_ROLE,
            Action::GET_USER,
            Action::LIST_USERS,
            Action::LIST_SSH_PUBLIC_KEYS,
            Action::LIST_GROUPS_FOR_USER,
        ] {
            host.iam.time_out(action);
        }
        let before = std::fs::read(host.folder.join("public/directory")).unwrap();
        host.restart("").await;
        host.service.pass().await;
        assert_eq!(std::fs::read(host.folder.join("public/directory")).unwrap(), before);
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        assert_eq!(host.keys("alice"), 1);
    });
}

// P9
#[test]
fn a_full_disk_keeps_out_only_users_from_whom_iam_took_something() {
    on_one_thread(async {
        let host = host("require_iam_group = \"prod_ssh_users\"");
        for other in ["inactive", "left", "deleted", "excluded"] {
            host.iam.add_user(other, &format!("AIDA{}", other.to_uppercase()), 100);
            host.iam.add_key(other, &format!("APKA{other}"), KEY);
            host.iam.join(other, "keymaker_devs");
        }
        for all in ["alice", "inactive", "left", "deleted", "excluded"] {
            host.iam.join(all, "prod_ssh_users");
        }
        host.service.pass().await;
        for all in ["alice", "inactive", "left", "deleted", "excluded"] {
            assert_eq!(
                host.service.refresh_keys(name(all), SSHD).await,
                DirectoryOutcome::Fresh
            );
        }
        host.fill_disk(true);
        host.iam.set_key_active("inactive", "APKAinactive", false);
        host.iam.leave("left", "keymaker_devs");
        host.iam.leave("excluded", "prod_ssh_users");
        host.iam.delete_user("deleted");
        host.pass_time(61);
        // The second time all of it is in memory, and still not on disk.
        for _ in 0..2 {
            for lost in ["inactive", "left", "deleted", "excluded"] {
                let answer = host.service.refresh_keys(name(lost), SSHD).await;
                assert_eq!(answer, DirectoryOutcome::NotPublished, "{lost}");
            }
            assert_eq!(
                host.service.refresh_keys(name("alice"), SSHD).await,
                DirectoryOutcome::CannotTell
            );
        }
        host.fill_disk(false);
        assert_eq!(
            host.service.refresh_keys(name("inactive"), SSHD).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!((host.keys("inactive"), host.keys("alice")), (0, 1));
        assert_eq!(
            host.decision("excluded"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
    });
}

// P6 P9
#[test]
fn a_user_whom_the_role_may_not_read_keeps_nobody_else_from_being_asked_for() {
    on_one_thread(async {
        let host = host("");
        host.iam.add_user("robot", "AIDAROBOT", 101);
        host.service.pass().await;
        host.pass_time(61);
        let denied = |action| AwsCallError::AccessDenied {
            action,
            message: "not this one".into(),
        };
        host.iam.fail_for("robot", denied(Action::GET_USER));
        host.iam.fail_for("robot", denied(Action::LIST_SSH_PUBLIC_KEYS));
        for cause in [SSHD, Cause::Login, Cause::Lookup { uid: 0 }] {
            let robot = host.service.refresh_account(name("robot"), cause).await;
            assert_eq!(robot, DirectoryOutcome::CannotTell);
            assert_eq!(
                host.service.refresh_account(name("alice"), cause).await,
                DirectoryOutcome::Fresh
            );
            host.pass_time(61);
        }
        let calls = host.iam.calls(Action::GET_USER);
        host.service.refresh_account(name("robot"), SSHD).await;
        host.service.refresh_account(name("robot"), SSHD).await;
        assert_eq!(host.iam.calls(Action::GET_USER), calls + 1);
        assert!(host.status().contains("not this one"));
    });
}

// P3 P9
#[test]
fn a_clock_set_back_discards_no_newer_answer() {
    on_one_thread(async {
        let host = host("require_iam_group = \"prod_ssh_users\"");
        host.iam.join("alice", "prod_ssh_users");
        host.service.pass().await;
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        host.service.clock.set_back(Duration::from_secs(7200));
        host.iam.set_key_active("alice", "APKA1", false);
        host.iam.leave("alice", "prod_ssh_users");
        host.pass_time(61);
        assert_eq!(
            host.service.refresh_keys(name("alice"), Cause::Login).await,
            DirectoryOutcome::Fresh
        );
        let refused = Some(LoginDecision::Refused(Refusal::NotInRequiredGroup));
        assert_eq!((host.keys("alice"), host.decision("alice")), (0, refused));
        host.iam.join("alice", "prod_ssh_users");
        host.pass_time(300);
        let doubt = Some(LoginDecision::CannotTell(Doubt::OutOfContact));
        host.service.refresh_account(name("alice"), Cause::Login).await;
        assert_eq!(host.decision("alice"), doubt, "a contact in the future");
        host.service.pass().await;
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
    });
}

// P3 P9
#[test]
fn what_iam_said_about_known_keys_counts_although_one_body_cannot_be_had() {
    on_one_thread(async {
        let host = host("");
        host.iam.add_key("alice", "APKA2", KEY);
        host.service.pass().await;
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        assert_eq!(host.keys("alice"), 2);
        host.iam.set_key_active("alice", "APKA1", false);
        host.iam.add_key("alice", "APKA3", KEY);
        host.iam.time_out(Action::GET_SSH_PUBLIC_KEY);
        host.pass_time(61);
        let answer = host.service.refresh_keys(name("alice"), Cause::Login).await;
        assert_eq!((answer, host.keys("alice")), (DirectoryOutcome::CannotTell, 1));
        host.iam.mend(Action::GET_SSH_PUBLIC_KEY);
        host.pass_time(11);
        host.service.probe().await;
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        assert_eq!(host.keys("alice"), 2, "the new one is asked for again");
    });
}

// P3 P9
#[test]
fn a_user_about_whom_this_host_cannot_ask_is_not_let_in() {
    on_one_thread(async {
        for action in [
            Action::GET_USER,
            Action::LIST_GROUPS_FOR_USER,
            Action::LIST_SSH_PUBLIC_KEYS,
        ] {
            let host = host("require_iam_group = \"prod_ssh_users\"");
            host.iam.join("alice", "prod_ssh_users");
            host.service.pass().await;
            assert_eq!(
                host.service.refresh_keys(name("alice"), SSHD).await,
                DirectoryOutcome::Fresh
            );
            host.iam.leave("alice", "prod_ssh_users");
            host.iam.fail(AwsCallError::ThisHost {
                action,
                why: "Cannot assign requested address".into(),
            });
            host.pass_time(61);
            for cause in [SSHD, Cause::Login, Cause::Login] {
                let (calls, answer) = (
                    host.iam.calls(action),
                    host.service.refresh_keys(name("alice"), cause).await,
                );
                assert_ne!(answer, DirectoryOutcome::Fresh, "{action}");
                // What was known counts where it says no, and nowhere else.
                let refused = host.decision("alice") != Some(LoginDecision::Allowed);
                assert!(
                    refused || answer == DirectoryOutcome::NotPublished,
                    "{action}: {answer:?}"
                );
                assert!(host.iam.calls(action) > calls, "{action} was taken for silent");
                assert!(host.status().contains("Cannot assign requested address"));
                host.pass_time(6);
            }
            host.iam.mend(action);
            assert_eq!(
                host.service.refresh_keys(name("alice"), Cause::Login).await,
                DirectoryOutcome::Fresh
            );
            assert_eq!(
                host.decision("alice"),
                Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
            );
            host.pass_time(11);
            host.service.write_status();
        }
    });
}

// P3 P9
#[test]
fn a_host_without_a_port_to_aws_lets_nobody_in() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        host.service.ask(None);
        host.pass_time(61);
        assert_eq!(
            host.service.refresh_keys(name("alice"), Cause::Login).await,
            DirectoryOutcome::CannotTell
        );
        let now = host.service.clock.instant();
        host.service.state_mut().outages.note_lack_of_way(now);
        assert_eq!(
            host.service.refresh_keys(name("alice"), Cause::Login).await,
            DirectoryOutcome::NotPublished
        );
        host.pass_time(11);
        assert_eq!(
            host.service.refresh_keys(name("alice"), Cause::Login).await,
            DirectoryOutcome::CannotTell
        );
    });
}

// P3 P9
#[test]
fn a_clock_that_is_set_during_an_outage_makes_the_contact_neither_older_nor_younger() {
    const DAY: i64 = 86_400;
    for days in [-3, 3] {
        on_one_thread(async {
            let host = host("");
            host.service.pass().await;
            host.iam.time_out(Action::GET_ROLE);
            host.service.clock.set_host(days * DAY);
            assert_eq!(
                host.decision("alice"),
                Some(LoginDecision::CannotTell(Doubt::OutOfContact)),
                "by {days} days"
            );
            host.service.follow_clock().await;
            assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed), "by {days} days");
            host.pass_time(86_000);
            host.service.follow_clock().await;
            assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed), "by {days} days");
            host.pass_time(1_000);
            host.service.follow_clock().await;
            assert_eq!(
                host.decision("alice"),
                Some(LoginDecision::CannotTell(Doubt::OutOfContact)),
                "by {days} days"
            );
        });
    }
}

// P3 P9
#[test]
fn a_contact_from_the_future_counts_for_nothing_at_a_start() {
    on_one_thread(async {
        let mut host = host("");
        host.service.pass().await;
        let tomorrow = host.service.clock.unix() + 86_400;
        host.service.store.touch_contact(tomorrow).unwrap();
        host.restart("").await;
        assert_eq!(host.service.state().contact, None);
        let out_of_contact = Some(LoginDecision::CannotTell(Doubt::OutOfContact));
        assert_eq!(host.decision("alice"), out_of_contact);
        host.service.clock.set_host(-3_600);
        host.service.follow_clock().await;
        assert_eq!(host.decision("alice"), out_of_contact);
        host.service.pass().await;
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
    });
}
