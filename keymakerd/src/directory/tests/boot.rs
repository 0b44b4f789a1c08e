//! A boot, a resume, and the end of an outage: how soon who may log in does, and who waits for what.

use super::*;

const OUT_OF_CONTACT: Option<LoginDecision> = Some(LoginDecision::CannotTell(Doubt::OutOfContact));
const ALLOWED: Option<LoginDecision> = Some(LoginDecision::Allowed);
const WEEKEND: Duration = Duration::from_secs(65 * 3600);

/// The daemon's part: passes, while the test runs. One has ended.
async fn kept_passing(host: &Host) -> tokio::task::JoinHandle<()> {
    let service = Rc::clone(&host.service);
    let passing = tokio::task::spawn_local(service.keep_passing(async || Ok(())));
    until("a pass", || host.service.tries.has_ended()).await;
    passing
}

async fn moment() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn throttled(iam: &IamFake) {
    iam.fail(AwsCallError::Throttled {
        action: Action::GET_ROLE,
    });
}

// P9
#[test]
fn a_resumed_host_makes_a_pass_at_once_by_a_clock_that_counts_the_suspended_time() {
    on_one_thread(async {
        let host = host("");
        let _passing = kept_passing(&host).await;
        assert_eq!(host.decision("alice"), ALLOWED);
        host.service.clock.suspend(WEEKEND);
        assert_eq!(host.decision("alice"), OUT_OF_CONTACT);
        until("contact", || host.decision("alice") == ALLOWED).await;
    });
}

#[test]
fn after_a_weekend_a_login_wakes_the_pass_that_a_throttled_call_put_off_and_waits_for_it() {
    on_one_thread(async {
        for cause in [SSHD, Cause::Login, Cause::Credentials] {
            let mut host = host("");
            host.service.pass().await;
            host.service.refresh_keys(name("alice"), SSHD).await;
            host.pass_time(WEEKEND.as_secs());
            throttled(&host.iam);
            host.restart("").await;
            let _passing = kept_passing(&host).await;
            assert_eq!(host.decision("alice"), OUT_OF_CONTACT);
            host.iam.mend(Action::GET_ROLE);
            // The next one by itself is due after eight seconds or more.
            host.pass_time(6);
            let lookup = Cause::Lookup { uid: 1001 };
            host.service.refresh_account(name("alice"), lookup).await;
            moment().await;
            assert_eq!(host.decision("alice"), OUT_OF_CONTACT, "anybody may look names up");
            host.service.refresh_account(name("alice"), cause).await;
            assert_eq!(host.decision("alice"), ALLOWED, "{cause:?}");
        }
    });
}

// P9
#[test]
fn whoever_tries_to_log_in_without_contact_has_no_more_than_one_pass_made_in_five_seconds() {
    on_one_thread(async {
        let mut host = host("");
        host.service.pass().await;
        host.pass_time(WEEKEND.as_secs());
        throttled(&host.iam);
        host.restart("").await;
        let _passing = kept_passing(&host).await;
        let began = host.iam.calls(Action::GET_ROLE);
        let asked = |seconds: u64, who: &'static str| {
            host.pass_time(seconds);
            let host = &host;
            async move {
                for _ in 0..3 {
                    host.service.refresh_account(name(who), SSHD).await;
                }
                host.iam.calls(Action::GET_ROLE) - began
            }
        };
        assert_eq!(asked(2, "alice").await, 0);
        // Anybody whom IAM does not have wakes nobody.
        assert_eq!(asked(4, "oracle").await, 0);
        assert_eq!(asked(0, "alice").await, 1);
        assert_eq!(asked(2, "alice").await, 1);
    });
}

#[test]
fn a_pass_is_made_as_soon_as_the_contact_ceases_to_count() {
    on_one_thread(async {
        let host = host("max_stale = 700");
        let _passing = kept_passing(&host).await;
        throttled(&host.iam);
        host.pass_time(400);
        until("a throttled pass", || {
            host.service.state().throttled && host.service.tries.has_ended()
        })
        .await;
        host.iam.mend(Action::GET_ROLE);
        // Put off by 480 s at least.
        host.pass_time(301);
        until("contact", || host.decision("alice") == ALLOWED).await;
    });
}

// P5
#[test]
fn what_tries_once_waits_through_the_tries_of_a_first_pass_and_later_for_one_that_is_under_way() {
    on_one_thread(async {
        let mut host = host("");
        host.service.pass().await;
        host.pass_time(WEEKEND.as_secs());
        host.iam.time_out(Action::GET_ROLE);
        host.restart("").await;
        host.service.tries.begin_first(&host.service.clock);
        let _passing = kept_passing(&host).await;
        let asking = |host: &Host| {
            let service = Rc::clone(&host.service);
            tokio::task::spawn_local(async move { service.renew_contact().await })
        };
        // The network comes up late.
        let cron = asking(&host);
        moment().await;
        assert!(!cron.is_finished());
        host.iam.mend(Action::GET_ROLE);
        host.pass_time(7);
        assert_eq!(cron.await.unwrap(), DirectoryOutcome::Fresh);
        assert_eq!(host.decision("alice"), ALLOWED);
        // A minute later it is an outage like any other, unless the host is resumed.
        host.iam.time_out(Action::GET_ROLE);
        for (suspended, waits) in [(0, false), (WEEKEND.as_secs(), true)] {
            host.pass_time(WEEKEND.as_secs() - suspended);
            host.service.clock.suspend(Duration::from_secs(suspended));
            until("the pass that failed", || host.service.state().last_failure.is_some()).await;
            until("its end", || host.service.tries.has_ended()).await;
            host.service.state_mut().last_failure = None;
            let cron = asking(&host);
            if waits {
                moment().await;
                assert!(!cron.is_finished());
            } else {
                assert_eq!(cron.await.unwrap(), DirectoryOutcome::CannotTell);
            }
        }
    });
}

#[test]
fn with_contact_and_without_a_daemon_that_passes_nobody_waits() {
    on_one_thread(async {
        let host = host("");
        assert_eq!(host.service.renew_contact().await, DirectoryOutcome::CannotTell);
        host.service.pass().await;
        assert_eq!(host.service.renew_contact().await, DirectoryOutcome::Fresh);
    });
}

// P3 P9
#[test]
fn what_runs_goes_on_only_where_the_last_pass_ended_in_aws_being_silent() {
    on_one_thread(async {
        let host = host("");
        let said = async || host.service.go_on(name("alice")).await;
        assert_eq!(said().await, DirectoryOutcome::CannotTell, "nobody has asked AWS yet");
        host.service.pass().await;
        assert_eq!(said().await, DirectoryOutcome::Fresh);
        host.pass_time(WEEKEND.as_secs());
        let action = Action::LIST_USERS;
        let silences = [
            OutageCause::Timeout,
            OutageCause::Unreachable("no route".into()),
            OutageCause::ServerError(503),
        ];
        for cause in silences {
            host.iam.fail(AwsCallError::Outage { action, cause });
            host.service.pass().await;
            assert_eq!(said().await, DirectoryOutcome::AwsSilent);
        }
        let message = "not this role".to_owned();
        for answered in [
            AwsCallError::Throttled { action },
            AwsCallError::AccessDenied {
                action: Action::GET_ROLE,
                message,
            },
            AwsCallError::ThisHost {
                action,
                why: "no port".into(),
            },
            AwsCallError::Outage {
                action,
                cause: OutageCause::Credentials("none".into()),
            },
        ] {
            let failing = answered.action();
            host.iam.fail(answered.clone());
            host.service.pass().await;
            assert_eq!(said().await, DirectoryOutcome::CannotTell, "{answered}");
            host.iam.mend(failing);
        }
        host.service.pass().await;
        assert_eq!(said().await, DirectoryOutcome::Fresh);
    });
}

// P5 P7
#[test]
fn after_a_boot_who_was_here_goes_on_as_soon_as_aws_is_known_to_be_silent() {
    on_one_thread(async {
        let mut host = host("");
        host.iam.add_user("zoe", "AIDAZOE", 100);
        host.service.pass().await;
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        host.pass_time(WEEKEND.as_secs());
        host.iam.time_out(Action::GET_ROLE);
        host.restart("").await;
        host.service.tries.begin_first(&host.service.clock);
        let _passing = kept_passing(&host).await;
        let asking = |host: &Host, who: &'static str| {
            let service = Rc::clone(&host.service);
            tokio::task::spawn_local(async move { service.go_on(name(who)).await })
        };
        // PAM gives up on sudo long before the first minute is over.
        assert_eq!(asking(&host, "alice").await.unwrap(), DirectoryOutcome::AwsSilent);
        let newcomer = asking(&host, "zoe");
        moment().await;
        assert!(!newcomer.is_finished(), "the network may come up late");
        host.iam.mend(Action::GET_ROLE);
        host.pass_time(7);
        assert_eq!(newcomer.await.unwrap(), DirectoryOutcome::Fresh);
    });
}

// P7 P9
#[test]
fn who_is_taken_out_while_only_listings_are_silent_goes_on_no_longer() {
    on_one_thread(async {
        let host = host("require_iam_group = \"prod_ssh_users\"");
        host.iam.join("alice", "prod_ssh_users");
        host.service.pass().await;
        host.pass_time(WEEKEND.as_secs());
        host.iam.time_out(Action::LIST_USERS);
        host.service.pass().await;
        assert_eq!(host.service.go_on(name("alice")).await, DirectoryOutcome::AwsSilent);
        assert_eq!(host.decision("alice"), OUT_OF_CONTACT);
        host.iam.leave("alice", "prod_ssh_users");
        host.pass_time(61);
        host.service.go_on(name("alice")).await;
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
        // And nobody goes on where this host cannot ask about them.
        let why = "no port".to_owned();
        let action = Action::GET_USER;
        host.iam.fail(AwsCallError::ThisHost { action, why });
        host.pass_time(61);
        assert_eq!(host.service.go_on(name("alice")).await, DirectoryOutcome::NotPublished);
    });
}

// P9
#[test]
fn who_only_tries_to_log_in_has_had_no_session_here() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        let seen = || {
            let mut buffer = [0; MAX_USER_RECORD];
            let directory = host.directory();
            directory
                .user_by_name(name("alice"), &mut buffer)
                .unwrap()
                .unwrap()
                .seen_here
        };
        host.pass_time(WEEKEND.as_secs());
        host.iam.time_out(Action::LIST_USERS);
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        assert!(!seen(), "there is no contact, so PAM refused");
        host.iam.mend(Action::LIST_USERS);
        host.service.pass().await;
        let before = host.directory().generation();
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        assert_eq!(
            host.directory().generation(),
            before,
            "a login waits for nothing that only reports it"
        );
        assert!(host.service.state().login_unpublished);
        host.service.publish().await.unwrap();
        assert!(seen());
        assert!(!host.service.state().login_unpublished);
    });
}

#[test]
fn whoever_asks_before_the_first_pass_has_begun_waits_for_it() {
    on_one_thread(async {
        let host = host("");
        host.service.tries.begin();
        let _passing = tokio::task::spawn_local(Rc::clone(&host.service).keep_passing(async || Ok(())));
        host.service.await_contact(Duration::from_secs(5)).await;
        assert_eq!(host.decision("alice"), ALLOWED);
    });
}

// P6
#[test]
fn keys_that_are_fetched_ahead_hold_no_publication_back_and_one_denied_user_stops_no_other() {
    on_one_thread(async {
        let host = host("prefetch_keys = \"all\"");
        for user in ["aaron", "zoe"] {
            host.iam.add_user(user, &format!("AIDA{user}"), 100);
            host.iam.add_key(user, &format!("APKA{user}"), KEY);
        }
        let action = Action::LIST_SSH_PUBLIC_KEYS;
        let message = "not this one".into();
        host.iam
            .fail_for("aaron", AwsCallError::AccessDenied { action, message });
        let contact = host.folder.join("public/contact");
        host.iam.between_calls(move |_, called| {
            assert!(
                called != action || contact.exists(),
                "nobody was published before the keys"
            );
        });
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        assert_eq!(["aaron", "alice", "zoe"].map(|user| host.keys(user)), [0, 1, 1]);
    });
}

// P6
#[test]
fn with_a_small_max_stale_keys_that_iam_confirms_are_never_too_old() {
    on_one_thread(async {
        let host = host("max_stale = 600");
        for _ in 0..40 {
            host.service.pass().await;
            host.service.refresh_keys(name("alice"), Cause::Login).await;
            let keys = KeysFile::open(&host.folder.join("public/keys")).unwrap();
            let keys = keys.user(name("alice")).unwrap().unwrap();
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(host.service.clock.unix());
            let decision = LoginDecision::Allowed.and_keys(&keys, &host.directory().header(), now);
            assert_eq!(decision, LoginDecision::Allowed);
            host.pass_time(200);
        }
    });
}
