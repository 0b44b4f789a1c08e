//! What one question changes, and what it costs.

use super::*;

// P6
#[test]
fn a_user_made_just_now_is_found_by_name_with_groups_and_keys() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        host.iam.add_user("dave", "AIDADAVE", 200);
        host.iam.join("dave", "keymaker_devs");
        host.iam.add_key("dave", "APKA2", KEY);
        host.pass_time(5);
        let lookup = Cause::Lookup { uid: 0 };
        assert_eq!(
            host.service.refresh_account(name("dave"), lookup).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!(
            host.service.refresh_keys(name("dave"), SSHD).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!((host.groups("dave").len(), host.keys("dave")), (1, 1));
        assert_eq!(host.decision("dave"), Some(LoginDecision::Allowed));
    });
}

// P6
#[test]
fn under_lowercase_names_a_user_made_just_now_is_found_however_iam_takes_case() {
    for (goes_by_case, somebody_has_capitals) in [(true, false), (true, true), (false, false), (false, true)] {
        on_one_thread(async move {
            let host = host("lowercase_names = true");
            if !goes_by_case {
                host.iam.go_without_case();
            }
            if somebody_has_capitals {
                host.iam.add_user("Erin", "AIDAERIN", 150);
            }
            host.service.pass().await;
            // A mistyped name costs at most the one question how IAM takes case, once, and a listing a minute where that is needed.
            let calls = |action| host.iam.calls(action);
            let (listings, questions) = (calls(Action::LIST_USERS), calls(Action::GET_USER));
            for typo in ["dav", "davv"] {
                let asked = host.service.refresh_account(name(typo), SSHD).await;
                assert_eq!(asked, DirectoryOutcome::NoSuchUser);
            }
            let is_listed = goes_by_case || !somebody_has_capitals;
            assert_eq!(calls(Action::LIST_USERS), listings + usize::from(is_listed));
            assert_eq!(
                calls(Action::GET_USER),
                questions + 2 + usize::from(somebody_has_capitals)
            );
            host.pass_time(60);
            host.iam.add_user("Dave", "AIDADAVE", 200);
            host.iam.join("Dave", "keymaker_devs");
            host.iam.add_key("Dave", "APKA2", KEY);
            let lookup = Cause::Lookup { uid: 0 };
            for _ in 0..2 {
                let asked = host.service.refresh_account(name("dave"), lookup).await;
                assert_eq!(asked, DirectoryOutcome::Fresh, "{goes_by_case} {somebody_has_capitals}");
            }
            assert_eq!(
                host.service.refresh_keys(name("dave"), SSHD).await,
                DirectoryOutcome::Fresh
            );
            assert_eq!((host.groups("dave").len(), host.keys("dave")), (1, 1));
            assert_eq!(host.decision("dave"), Some(LoginDecision::Allowed));
        });
    }
}

// P3 P6
#[test]
fn under_lowercase_names_a_listing_that_fails_says_of_nobody_that_they_are_not_there() {
    on_one_thread(async {
        let host = host("lowercase_names = true");
        host.service.pass().await;
        host.iam.add_user("Dave", "AIDADAVE", 200);
        host.iam.add_key("Dave", "APKA2", KEY);
        host.iam.time_out(Action::LIST_USERS);
        // At once, from memory, and when it is asked for again within the minute that a listing counts.
        for seconds in [0, 0, 10] {
            host.pass_time(seconds);
            let asked = host.service.refresh_account(name("dave"), SSHD).await;
            assert_eq!(asked, DirectoryOutcome::CannotTell, "{seconds}");
        }
        host.iam.mend(Action::LIST_USERS);
        host.pass_time(60);
        let asked = host.service.refresh_account(name("dave"), SSHD).await;
        assert_eq!(asked, DirectoryOutcome::Fresh);
        let asked = host.service.refresh_account(name("erin"), SSHD).await;
        assert_eq!(asked, DirectoryOutcome::NoSuchUser);
    });
}

// P6
#[test]
fn an_unknown_name_is_asked_for_again_after_five_seconds() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        let lookup = Cause::Lookup { uid: 0 };
        assert_eq!(
            host.service.refresh_account(name("dave"), lookup).await,
            DirectoryOutcome::NoSuchUser
        );
        host.iam.add_user("dave", "AIDADAVE", 200);
        assert_eq!(
            host.service.refresh_account(name("dave"), lookup).await,
            DirectoryOutcome::NoSuchUser
        );
        host.pass_time(6);
        assert_eq!(
            host.service.refresh_account(name("dave"), lookup).await,
            DirectoryOutcome::Fresh
        );
        assert!(host.uid("dave").is_some());
    });
}

// P9
#[test]
fn who_leaves_the_required_group_is_refused_within_authz_ttl() {
    on_one_thread(async {
        let host = host("require_iam_group = \"prod_ssh_users\"");
        host.iam.join("alice", "prod_ssh_users");
        host.service.pass().await;
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        host.iam.leave("alice", "prod_ssh_users");
        host.pass_time(61);
        assert_eq!(
            host.service.refresh_account(name("alice"), SSHD).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
        host.iam.join("alice", "prod_ssh_users");
        host.pass_time(6);
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
    });
}

// P9
#[test]
fn a_key_made_inactive_is_no_longer_shown() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        host.service.refresh_keys(name("alice"), SSHD).await;
        assert_eq!(host.keys("alice"), 1);
        host.iam.set_key_active("alice", "APKA1", false);
        host.pass_time(61);
        host.service.refresh_keys(name("alice"), SSHD).await;
        assert_eq!(host.keys("alice"), 0);
        assert_eq!(
            host.iam.calls(Action::GET_SSH_PUBLIC_KEY),
            1,
            "a body was fetched twice"
        );
    });
}

// P9
#[test]
fn within_authz_ttl_a_login_asks_iam_once_and_no_longer() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        host.pass_time(61);
        host.service.refresh_keys(name("alice"), SSHD).await;
        let calls = host.iam.all_calls();
        // The clock goes on by itself, too, slowly where the machine is busy.
        host.pass_time(20);
        assert_eq!(
            host.service.refresh_keys(name("alice"), SSHD).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!(
            host.service.refresh_account(name("alice"), SSHD).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!(host.iam.all_calls(), calls, "asked again within the minute");
        host.pass_time(41);
        host.service.refresh_account(name("alice"), SSHD).await;
        assert!(host.iam.all_calls() > calls, "not asked after the minute");
        let calls = host.iam.calls(Action::LIST_SSH_PUBLIC_KEYS);
        host.service.refresh_keys(name("alice"), SSHD).await;
        assert!(host.iam.calls(Action::LIST_SSH_PUBLIC_KEYS) > calls);
    });
}

// P20: credd keeps the answer for the last twelfth of authz_ttl.
#[test]
fn what_is_called_fresh_is_so_for_as_long_as_credd_keeps_the_answer() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        host.pass_time(56);
        let calls = host.iam.all_calls();
        host.service.refresh_account(name("alice"), SSHD).await;
        assert!(
            host.iam.all_calls() > calls,
            "five seconds on, its facts would be a minute old"
        );
    });
}

// P9
#[test]
fn what_is_silent_about_keys_or_groups_is_not_called_fresh_because_the_rest_answers() {
    for silent in [Action::LIST_SSH_PUBLIC_KEYS, Action::LIST_GROUPS_FOR_USER] {
        on_one_thread(async {
            let host = host("");
            host.service.pass().await;
            host.service.refresh_keys(name("alice"), SSHD).await;
            host.iam.time_out(silent);
            host.pass_time(61);
            for _ in 0..2 {
                assert_eq!(
                    host.service.refresh_keys(name("alice"), SSHD).await,
                    DirectoryOutcome::CannotTell,
                    "{silent:?}"
                );
            }
        });
    }
}

// P9
#[test]
fn scanners_cannot_spend_the_accounts_quota_and_one_listing_answers_them_all() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        for number in 0..200 {
            host.service
                .refresh_account(name(&format!("scan{number}")), Cause::Lookup { uid: 0 })
                .await;
        }
        assert!(
            host.iam.calls(Action::GET_USER) <= 31,
            "{} calls",
            host.iam.calls(Action::GET_USER)
        );
        assert_eq!(host.iam.calls(Action::LIST_USERS), 2);
        assert_eq!(
            host.service
                .refresh_account(name("alice"), Cause::Lookup { uid: 0 })
                .await,
            DirectoryOutcome::Fresh
        );
    });
}

// P9
#[test]
fn names_offered_without_proof_buy_few_calls_and_silence_nobody_who_has_proved_a_key() {
    on_one_thread(async {
        let host = host("");
        let many: Vec<String> = (0..200).map(|number| format!("known{number}")).collect();
        for (number, user) in (0..).zip(&many) {
            host.iam.add_user(user, &format!("AIDAKNOWN{number}"), number);
        }
        host.service.pass().await;
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        host.pass_time(61);
        // Tokens come back while files are written.
        host.service.state_mut().halted = true;
        for user in &many {
            host.service.refresh_keys(name(user), SSHD).await;
        }
        host.service.state_mut().halted = false;
        let calls = host.iam.calls(Action::GET_USER) + host.iam.calls(Action::LIST_SSH_PUBLIC_KEYS);
        assert!((30..200).contains(&calls), "{calls} of 400 calls");
        host.iam.set_key_active("alice", "APKA1", false);
        host.iam.fail(AwsCallError::Throttled {
            action: Action::LIST_SSH_PUBLIC_KEYS,
        });
        host.pass_time(1);
        let offered = host.service.refresh_keys(name("alice"), SSHD).await;
        assert_eq!(offered, DirectoryOutcome::CannotTell);
        host.iam.mend(Action::LIST_SSH_PUBLIC_KEYS);
        assert_eq!(
            host.service.refresh_keys(name("alice"), SSHD).await,
            DirectoryOutcome::CannotTell
        );
        let proved = host.service.refresh_keys(name("alice"), Cause::Login).await;
        assert_eq!((proved, host.keys("alice")), (DirectoryOutcome::Fresh, 0));
    });
}

#[test]
fn ten_thousand_who_ask_at_once_cause_one_question() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        host.pass_time(61);
        let asked = (0..10_000).map(|_| {
            let service = Rc::clone(&host.service);
            tokio::task::spawn_local(async move { service.refresh_account(name("alice"), SSHD).await })
        });
        for answer in asked.collect::<Vec<_>>() {
            assert_eq!(answer.await.unwrap(), DirectoryOutcome::Fresh);
        }
        let questions = [Action::GET_USER, Action::LIST_GROUPS_FOR_USER].map(|action| host.iam.calls(action));
        assert_eq!(questions, [2, 1]);
    });
}

// P9
#[test]
fn a_pass_that_does_not_tell_tags_does_not_make_them_young() {
    on_one_thread(async {
        let host = host("tags = [\"expires\"]");
        host.service.pass().await;
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        host.iam.change_user("alice", |alice| {
            alice.tags = Some(vec![("expires".into(), "2020-01-01".into())]);
        });
        host.pass_time(61);
        host.service.pass().await;
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_eq!(host.decision("alice"), Some(LoginDecision::Refused(Refusal::Expired)));
        host.iam.change_user("alice", |alice| alice.tags = Some(Vec::new()));
        host.pass_time(3600);
        host.service.pass().await;
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Allowed),
            "a pass reads old tags anew"
        );
    });
}

// Prints what a pass costs, as ARCHITECTURE.md says it.
#[test]
fn a_steady_pass_asks_for_nobody_by_name_but_for_one_list_of_keys_each() {
    on_one_thread(async {
        let mut budgets = counted::Budgets::default();
        for (settings, kind) in [("", "pass-grade-2"), ("grade = 1", "pass-grade-1")] {
            let host = host(settings);
            // What is published is not asked about here.
            host.service.state_mut().halted = true;
            for number in 0..4_999 {
                let user = format!("user{number}");
                host.iam.add_user_anew(&user, &format!("AIDA{number}"), number);
            }
            for number in 0..49 {
                host.iam
                    .add_group(&format!("keymaker_group{number}"), &format!("AGPA{number}"), number);
            }
            host.service.pass().await;
            for number in 0..100 {
                host.iam
                    .add_key(&format!("user{number}"), &format!("APKA{number}"), KEY);
                let mut state = host.service.state_mut();
                let user = state.facts.users.get_mut(&format!("AIDA{number}")).unwrap();
                user.last_login = Some(host.service.clock.unix());
            }
            host.service.pass().await;
            let before = host.iam.all_calls();
            host.pass_time(400);
            assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
            let calls = host.iam.all_calls() - before;
            budgets.judge(kind, "calls", calls as f64);
        }
        budgets.are_kept();
    });
}
