//! When one question asks IAM, how often, and what is said of half an answer. The clock of these tests stands still
//! unless they move it.

use std::cell::RefCell;

use super::*;

/// After a first pass.
async fn at_rest(settings: &str) -> Host {
    let host = host(settings);
    host.service.clock.stop(host.service.clock.unix());
    host.service.pass().await;
    host
}

impl Host {
    /// Since when the file says that the user's facts lag behind the contact; 0: they do not.
    fn lags_since(&self, login: &str) -> u64 {
        let mut buffer = [0; MAX_USER_RECORD];
        let directory = self.directory();
        let user = directory.user_by_name(name(login), &mut buffer).unwrap().unwrap();
        user.answered_at
    }

    /// When IAM last answered about the user's keys, as the file says it.
    fn keys_answered_at(&self, login: &str) -> u64 {
        let keys = KeysFile::open(&self.folder.join("public/keys")).unwrap();
        keys.user(name(login)).unwrap().unwrap().answered_at
    }

    fn last_login(&self, user_id: &str) -> Option<u64> {
        self.service.state().facts.users[user_id].last_login
    }
}

// P9
#[test]
fn facts_are_asked_for_again_at_the_age_of_authz_ttl() {
    on_one_thread(async {
        let host = at_rest("").await;
        host.service.refresh_keys(name("alice"), SSHD).await;
        let calls =
            || [Action::LIST_GROUPS_FOR_USER, Action::LIST_SSH_PUBLIC_KEYS].map(|action| host.iam.calls(action));
        assert_eq!(calls(), [0, 1]);
        let before = host.iam.all_calls();
        // Less the twelfth for which credd keeps the answer.
        host.pass_time(54);
        assert_eq!(
            host.service.refresh_keys(name("alice"), SSHD).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!(host.iam.all_calls(), before);
        host.pass_time(1);
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_eq!(calls(), [1, 1]);
        host.pass_time(5);
        host.service.refresh_keys(name("alice"), SSHD).await;
        assert_eq!(calls(), [1, 2]);
    });
}

// P9
#[test]
fn half_an_answer_is_not_fresh_while_iam_is_silent() {
    for silent in [Action::LIST_SSH_PUBLIC_KEYS, Action::LIST_GROUPS_FOR_USER] {
        on_one_thread(async {
            let host = at_rest("").await;
            host.service.refresh_keys(name("alice"), SSHD).await;
            let calls = host.iam.calls(silent);
            host.iam.time_out(silent);
            for _ in 0..3 {
                host.pass_time(61);
                let answer = host.service.refresh_keys(name("alice"), SSHD).await;
                assert_eq!(answer, DirectoryOutcome::CannotTell, "{silent:?}");
            }
            assert_eq!(host.iam.calls(silent), calls + 1, "{silent:?}");
        });
    }
}

// P9
#[test]
fn what_an_offered_key_costs_is_charged_in_full() {
    on_one_thread(async {
        // Sixty calls: three or four for each user, two of them GetUser.
        for (groups, keys, users) in [(true, true, 15), (false, true, 20), (true, false, 20)] {
            let host = at_rest("").await;
            for number in 0..30 {
                host.iam
                    .add_user(&format!("user{number}"), &format!("AIDA{number}"), number);
            }
            host.service.pass().await;
            host.service.state_mut().halted = true;
            if groups {
                host.pass_time(61);
            }
            for number in 0..30 {
                let name = name(&format!("user{number}"));
                if keys {
                    host.service.refresh_keys(name, SSHD).await
                } else {
                    host.service.refresh_account(name, SSHD).await
                };
            }
            assert_eq!(host.iam.calls(Action::GET_USER), 2 * users, "{groups} {keys}");
        }
    });
}

// P9
#[test]
fn that_there_is_nobody_of_a_name_is_remembered_for_five_seconds_beside_other_such_names() {
    on_one_thread(async {
        let host = at_rest("").await;
        let ask = async |login: &str| {
            let answer = host.service.refresh_account(name(login), Cause::Login).await;
            (answer, host.iam.calls(Action::GET_USER))
        };
        assert_eq!(ask("dave").await, (DirectoryOutcome::NoSuchUser, 1));
        host.pass_time(2);
        assert_eq!(ask("erin").await, (DirectoryOutcome::NoSuchUser, 2));
        host.pass_time(2);
        assert_eq!(ask("dave").await, (DirectoryOutcome::NoSuchUser, 2));
        host.pass_time(1);
        assert_eq!(ask("dave").await, (DirectoryOutcome::NoSuchUser, 3));
        assert_eq!(ask("erin").await, (DirectoryOutcome::NoSuchUser, 3));
    });
}

// P2
#[test]
fn iam_is_asked_once_more_where_a_name_moves_meanwhile() {
    on_one_thread(async {
        let host = at_rest("").await;
        host.iam.add_user("bob", "AIDABOB", 200);
        host.pass_time(61);
        let mut moved = false;
        host.iam.between_calls(move |iam, action| {
            if action == Action::LIST_GROUPS_FOR_USER && !std::mem::replace(&mut moved, true) {
                iam.swap_users("alice", "bob");
            }
        });
        let answer = host.service.refresh_account(name("alice"), Cause::Login).await;
        assert_eq!((answer, host.iam.calls(Action::GET_USER)), (DirectoryOutcome::Fresh, 4));
        let asked = host.iam.calls(Action::LIST_GROUPS_FOR_USER);
        host.iam.time_out(Action::LIST_GROUPS_FOR_USER);
        host.pass_time(61);
        let answer = host.service.refresh_account(name("alice"), Cause::Login).await;
        assert_eq!(answer, DirectoryOutcome::CannotTell);
        assert_eq!(host.iam.calls(Action::LIST_GROUPS_FOR_USER), asked + 1);
    });
}

// P5
#[test]
fn a_call_that_hangs_leaves_time_to_ask_whose_the_other_answers_are() {
    on_one_thread(async {
        let host = at_rest("").await;
        host.pass_time(61);
        host.iam.leave("alice", "keymaker_devs");
        host.iam.hang(Action::LIST_SSH_PUBLIC_KEYS);
        host.service.state_mut().halted = true;
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        let whole = Duration::from_millis(900)..Duration::from_millis(1400);
        assert!(whole.contains(&began.elapsed()), "{:?}", began.elapsed());
        assert!(host.service.state().facts.users["AIDAALICE"].groups.is_empty());
    });
}

#[test]
fn a_first_login_waits_for_three_answers_one_after_the_other_however_many_keys_there_are() {
    on_one_thread(async {
        let host = at_rest("").await;
        host.iam.add_user("bob", "AIDABOB", 200);
        for number in 0..5 {
            host.iam.add_key("bob", &format!("APKABOB{number}"), KEY);
        }
        host.service.pass().await;
        host.iam.hang(Action::GET_SSH_PUBLIC_KEY);
        tokio::time::pause();
        let (began, asked) = (tokio::time::Instant::now(), Rc::new(RefCell::new(Vec::new())));
        let calls = Rc::clone(&asked);
        host.iam
            .between_calls(move |_, action| calls.borrow_mut().push((action, began.elapsed())));
        host.service.refresh_keys(name("bob"), SSHD).await;
        let until_keys_hang = |of: Action| {
            asked
                .borrow()
                .iter()
                .filter(|call| **call == (of, Duration::ZERO))
                .count()
        };
        assert_eq!(
            [Action::GET_USER, Action::GET_SSH_PUBLIC_KEY].map(until_keys_hang),
            [2, 5]
        );
    });
}

#[test]
fn who_finds_no_token_is_answered_by_a_listing_or_not_at_all() {
    on_one_thread(async {
        let host = at_rest("").await;
        let ask = async |login: &str| {
            host.pass_time(60);
            let now = host.service.clock.instant();
            while host.service.state_mut().unknown_names.may_ask(1001, now) {}
            let cause = Cause::Lookup { uid: 1001 };
            host.service.refresh_account(name(login), cause).await
        };
        host.iam.add_user("dave", "AIDADAVE", 200);
        assert_eq!(ask("dave").await, DirectoryOutcome::Fresh);
        assert_eq!(ask("erin").await, DirectoryOutcome::NoSuchUser);
        host.iam.time_out(Action::LIST_USERS);
        assert_eq!(ask("frank").await, DirectoryOutcome::CannotTell);
        assert_eq!(host.iam.calls(Action::GET_USER), 0);
    });
}

#[test]
fn that_somebody_logged_in_is_written_down_once_a_day() {
    on_one_thread(async {
        let host = at_rest("max_stale = 2592000").await;
        let began = host.service.clock.unix();
        for (later, noted) in [(0, 0), (100, 0), (86_300, 0), (1, 86_401), (86_400, 86_401)] {
            host.pass_time(later);
            host.service.refresh_account(name("alice"), Cause::Login).await;
            assert_eq!(host.last_login("AIDAALICE"), Some(began + noted), "{later}");
        }
    });
}

// P6
#[test]
fn an_answer_about_somebody_whose_facts_lag_is_published_although_it_is_no_news() {
    on_one_thread(async {
        let host = at_rest("").await;
        host.pass_time(61);
        // Tells her tags, which a listing does not.
        host.service.refresh_account(name("alice"), SSHD).await;
        let asked_at = host.service.clock.unix();
        host.iam.deny(Action::GET_GROUP);
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!(host.lags_since("alice"), asked_at);
        host.pass_time(61);
        assert_eq!(
            host.service.refresh_account(name("alice"), SSHD).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!(host.lags_since("alice"), 0);
    });
}

// P6
#[test]
fn an_answer_about_keys_is_published_after_an_hour_although_it_is_no_news() {
    on_one_thread(async {
        let host = at_rest("").await;
        let began = host.service.clock.unix();
        for (later, answered_at) in [(0, 0), (3600 - 61, 0), (61, 3600)] {
            host.pass_time(later);
            // Within the hour other news is written, and the keys' file rests.
            host.service.state_mut().unpublished |= answered_at == 0;
            host.service.refresh_keys(name("alice"), SSHD).await;
            assert_eq!(host.keys_answered_at("alice"), began + answered_at, "{later}");
        }
    });
}

// P9
#[test]
fn after_an_ordered_pass_the_next_login_asks_about_the_keys() {
    on_one_thread(async {
        let host = at_rest("").await;
        host.iam.add_user("bob", "AIDABOB", 100);
        host.iam.add_key("bob", "APKABOB", KEY);
        host.service.pass().await;
        for order in ["sync", "invalidate", "invalidate bob"] {
            host.iam.set_key_active("bob", "APKABOB", true);
            host.pass_time(200);
            host.service.refresh_keys(name("bob"), SSHD).await;
            host.iam.set_key_active("bob", "APKABOB", false);
            host.pass_time(10);
            host.service.refresh_keys(name("bob"), SSHD).await;
            assert_eq!(host.keys("bob"), 1, "{order}: the answer is young");
            match order {
                "sync" => drop(host.service.order_pass().await.unwrap()),
                "invalidate" => drop(host.service.order_invalidation(None).unwrap()),
                _ => drop(host.service.order_invalidation(Some(name("bob"))).unwrap()),
            }
            // PAM's question, which is not about the keys, may come first.
            host.service.refresh_account(name("bob"), Cause::Login).await;
            host.service.refresh_keys(name("bob"), SSHD).await;
            assert_eq!(host.keys("bob"), 0, "{order}");
        }
    });
}

// P3
#[test]
fn an_ordered_pass_in_an_outage_takes_nothing_from_who_could_log_in() {
    on_one_thread(async {
        let host = at_rest("").await;
        host.iam.add_user("bob", "AIDABOB", 100);
        host.iam.add_key("bob", "APKABOB", KEY);
        host.service.pass().await;
        host.service.refresh_keys(name("bob"), SSHD).await;
        assert_eq!(host.decision("bob"), Some(LoginDecision::Allowed));
        for action in [
            Action::GET_ROLE,
            Action::LIST_USERS,
            Action::GET_USER,
            Action::LIST_SSH_PUBLIC_KEYS,
        ] {
            host.iam.time_out(action);
        }
        host.service.order_pass().await.unwrap_err();
        host.service.refresh_keys(name("bob"), SSHD).await;
        assert_eq!(
            (host.decision("bob"), host.keys("bob")),
            (Some(LoginDecision::Allowed), 1)
        );
    });
}
