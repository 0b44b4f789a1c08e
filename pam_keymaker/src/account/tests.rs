//! What account decides on a host of a test's own.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use keymaker_core::directory_file::Verdict;
use keymaker_core::id::Uid;
use keymaker_core::login::LoginDecision::{Allowed, CannotTell, Refused};
use keymaker_core::sys::ResolvedUser;

use super::*;
use crate::test_host::{KEYMAKER_USERS, TestHost, UID};

/// What is decided about `name` by `service` on this host; `None`: not ours.
fn decided(host: &TestHost, name: &str, service: &str) -> Option<LoginDecision> {
    match host.asked(|asked| judge(name.as_bytes(), service.as_bytes(), asked, host.now)) {
        Judgement::NotOurs => None,
        Judgement::Ours(decided) => Some(decided.decision),
    }
}

/// The same about alice at cron, freshly published after `change`.
fn alice_after(change: impl FnOnce(&mut TestHost)) -> Option<LoginDecision> {
    let mut host = TestHost::new();
    change(&mut host);
    host.publish();
    decided(&host, "alice", "cron")
}

#[test]
fn a_user_of_ours_may_log_in_by_every_service_with_the_daemon_dead() {
    let host = TestHost::new();
    host.publish();
    for service in ["sshd", "login", "remote", "su", "su-l", "cron", "sudo", ""] {
        assert_eq!(decided(&host, "alice", service), Some(Allowed), "{service}");
    }
}

// P7
#[test]
fn a_user_who_is_refused_deleted_or_stale_is_denied() {
    let refused = |verdict| alice_after(|host| host.alice.verdict = verdict);
    assert_eq!(
        refused(Verdict::NotInRequiredGroup),
        Some(Refused(Refusal::NotInRequiredGroup))
    );
    assert_eq!(refused(Verdict::Deleted), Some(Refused(Refusal::Deleted)));
    assert_eq!(
        refused(Verdict::NameHeldByAnother),
        Some(Refused(Refusal::NameHeldByAnother))
    );
    assert_eq!(refused(Verdict::Expired), Some(Refused(Refusal::Expired)));
    let stale = alice_after(|host| host.now += Duration::from_secs(86_460));
    assert_eq!(stale, Some(CannotTell(Doubt::OutOfContact)));
    let never = alice_after(|host| std::fs::remove_file(host.file("contact")).unwrap());
    assert_eq!(never, Some(CannotTell(Doubt::NeverInContact)));
    let unread = alice_after(|host| host.header.settings_unread = true);
    assert_eq!(unread, Some(CannotTell(Doubt::SettingsUnread)));
}

// P7
#[test]
fn a_tombstone_is_denied_whether_its_name_resolves_or_not_and_never_ignored() {
    let gone = |resolved| {
        alice_after(|host| {
            host.alice.tombstone = true;
            host.resolved = resolved;
        })
    };
    assert_eq!(gone(None), Some(Refused(Refusal::Deleted)));
    assert_eq!(gone(Some(UID)), Some(Refused(Refusal::Deleted)));
}

// P7
#[test]
fn who_is_not_ours_is_ignored() {
    let mut host = TestHost::new();
    host.publish();
    host.resolved = Some(5000);
    for name in ["bob", "DOMAIN\\bob", "bob@example.org", "2001", ""] {
        assert_eq!(decided(&host, name, "sshd"), None, "{name}");
    }
    host.resolved = None;
    assert_eq!(decided(&host, "bob", "sshd"), None);
    host.asked(|asked| assert_eq!(judge(b"b\xf6b", b"sshd", asked, host.now), Judgement::NotOurs));
}

// P1
#[test]
fn another_services_account_with_an_iam_users_name_or_number_is_ignored() {
    for tombstone in [false, true] {
        let mut host = TestHost::new();
        host.alice.tombstone = tombstone;
        host.publish();
        // SSSD's mapping of Active Directory's ids reaches into our range, too.
        for (name, uid) in [
            ("alice", 5000),
            ("alice", UID + 1),
            ("bob", UID),
            ("bob", UID + 1),
            ("bob@example.org", UID),
        ] {
            host.resolved = Some(uid);
            for service in ["sshd", "sudo"] {
                assert_eq!(decided(&host, name, service), None, "{name} {uid}");
            }
        }
    }
}

// P2 P7
#[test]
fn what_a_replaced_directory_resolved_is_denied_where_the_present_one_does_not_give_it() {
    let mut host = TestHost::new();
    for (name, next) in [("alice", UID + 1), ("alice", UID + 2)] {
        host.publish();
        host.generation += 1;
        host.alice.uid = Uid::new(next).unwrap();
        // The name changes hands just after our module has answered.
        let resolve = |_: &str| {
            host.publish();
            Ok(Some(ResolvedUser {
                uid: next - 1,
                gid: next - 1,
            }))
        };
        let judgement = host.asked(|asked| {
            let asked = PamHost {
                resolve: &resolve,
                ..*asked
            };
            judge(name.as_bytes(), b"sshd", &asked, host.now)
        });
        let Judgement::Ours(decided) = judgement else {
            panic!("{name} was ours a moment ago")
        };
        assert_eq!(decided.decision, Refused(Refusal::EntryOfAnother));
    }
}

// P12
#[test]
fn root_and_local_accounts_are_told_from_etc_passwd_alone() {
    let host = TestHost::new();
    // Nothing is published, and a look at anything of ours would show.
    host.asked(|asked| {
        assert!(ours::is_local(b"root", asked) && ours::is_local(b"ubuntu", asked));
        assert!(!ours::is_local(b"alice", asked) && !ours::is_local(b"\xff", asked) && !ours::is_local(b"", asked));
    });
    std::fs::remove_file(host.file("passwd")).unwrap();
    host.asked(|asked| assert!(ours::is_local(b"root", asked) && !ours::is_local(b"ubuntu", asked)));
}

// P12
#[test]
fn another_services_account_with_uid_0_is_not_ours_even_without_a_directory() {
    let mut host = TestHost::new();
    host.resolved = Some(0);
    assert_eq!(decided(&host, "toor", "sshd"), None);
    host.publish();
    assert_eq!(decided(&host, "alice", "sshd"), None);
}

// P7 P12
#[test]
fn without_a_directory_nobody_of_ours_gets_in_and_others_are_ignored() {
    let cannot_tell = Some(CannotTell(Doubt::NoDirectory));
    let mut host = TestHost::new();
    for noise in [None, Some(vec![0x5a; 9000]), Some(Vec::new())] {
        if let Some(noise) = noise {
            std::fs::write(host.file("directory"), noise).unwrap();
        }
        // Our module finds nobody either.
        host.resolved = None;
        assert_eq!(decided(&host, "alice", "sshd"), cannot_tell);
        assert_eq!(decided(&host, "virtual", "vsftpd"), None);
        for another in [5000, UID] {
            host.resolved = Some(another);
            assert_eq!(decided(&host, "bob", "sshd"), None);
        }
    }
    // It was there when the name was resolved, and cannot be read any more.
    let resolve = |_: &str| {
        std::fs::remove_file(host.file("directory")).unwrap();
        Ok(Some(ResolvedUser { uid: UID, gid: UID }))
    };
    host.publish();
    for service in ["sshd", "cron"] {
        host.publish();
        let judgement = host.asked(|asked| {
            let asked = PamHost {
                resolve: &resolve,
                ..*asked
            };
            judge(b"alice", service.as_bytes(), &asked, host.now)
        });
        let Judgement::Ours(decided) = judgement else {
            panic!("alice is ours")
        };
        assert_eq!(Some(decided.decision), cannot_tell);
    }
}

// P8
#[test]
fn a_user_whom_sshd_would_not_match_is_denied() {
    let refused = Some(Refused(Refusal::NotInKeymakerUsers));
    assert_eq!(alice_after(|host| host.groups = vec![UID]), refused);
    assert_eq!(
        alice_after(|host| std::fs::write(host.file("group"), "root:x:0:\n").unwrap()),
        refused
    );
    // The group has moved since the directory was written.
    assert_eq!(
        alice_after(|host| std::fs::write(
            host.file("group"),
            format!("keymaker-users:x:{}:\n", KEYMAKER_USERS - 1)
        )
        .unwrap()),
        refused
    );
}

// P2
#[test]
fn a_user_whose_home_is_anothers_is_denied() {
    assert_eq!(
        alice_after(|host| host.alice.home = "/tmp"),
        Some(Refused(Refusal::HomeOfAnother))
    );
}

// P1
#[test]
fn a_number_that_another_service_gives_to_somebody_else_is_denied() {
    let denied = Some(Refused(Refusal::EntryOfAnother));
    assert_eq!(alice_after(|host| host.name_of_number = Some("zed")), denied);
    assert_eq!(alice_after(|host| host.name_of_number = None), Some(Allowed));
    // A service that cannot tell is not a claim.
    let host = TestHost::new();
    host.publish();
    let judgement = host.asked(|asked| {
        let asked = PamHost {
            name_of: &|_| Err(std::io::ErrorKind::TimedOut.into()),
            ..*asked
        };
        judge(b"alice", b"sudo", &asked, host.now)
    });
    assert!(
        matches!(judgement, Judgement::Ours(Decided { decision: Allowed, .. })),
        "{judgement:?}"
    );
}

// P1
#[test]
fn a_number_that_a_local_account_or_group_has_been_given_since_is_denied() {
    for (file, line) in [
        ("passwd", format!("zed:x: {UID}:100::/:/bin/sh\n")),
        ("group", format!("payroll:x:{UID}:\n")),
    ] {
        let host = TestHost::new();
        host.publish();
        let text = std::fs::read_to_string(host.file(file)).unwrap();
        std::fs::write(host.file(file), text + &line).unwrap();
        assert_eq!(
            decided(&host, "alice", "sshd"),
            Some(Refused(Refusal::EntryOfAnother)),
            "{file}"
        );
        // Nobody can say whose the number is.
        std::fs::remove_file(host.file(file)).unwrap();
        assert_eq!(
            decided(&host, "alice", "sshd"),
            Some(Refused(Refusal::EntryOfAnother)),
            "no {file}"
        );
    }
}

// P3 P9
#[test]
fn a_process_without_a_descriptor_to_ask_by_lets_nobody_in_by_what_was_known() {
    let lacking = std::io::Error::from_raw_os_error(libc::EMFILE);
    assert_eq!(
        worth(Some(Err(AskError::ThisHost(lacking)))),
        AccountAfterNudge::DoesNotStand
    );
    let absent = std::io::Error::from_raw_os_error(libc::ECONNREFUSED);
    assert_eq!(
        worth(Some(Err(AskError::NotListening(absent)))),
        AccountAfterNudge::Stands
    );
}

// P5
#[test]
fn a_hung_daemon_costs_a_login_the_budget_and_others_nothing() {
    let host = TestHost::new();
    host.publish();
    let _hung = UnixListener::bind(host.file("login.sock")).unwrap();
    let started = Instant::now();
    assert_eq!(decided(&host, "alice", "cron"), Some(Allowed));
    assert_eq!(decided(&host, "bob", "cron"), None);
    assert!(started.elapsed() < ACCOUNT_BUDGET);
    assert_eq!(decided(&host, "alice", "sshd"), Some(Allowed));
    assert!(started.elapsed() >= ACCOUNT_BUDGET && started.elapsed() < ACCOUNT_BUDGET * 2);
}

// P9
#[test]
fn what_the_nudge_changed_is_what_counts() {
    let mut host = TestHost::new();
    host.publish();
    let listener = UnixListener::bind(host.file("login.sock")).unwrap();
    host.alice.verdict = Verdict::NotInRequiredGroup;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::{Read, Write};
            let (mut asker, _) = listener.accept().unwrap();
            let mut question = [0; 64];
            let len = asker.read(&mut question).unwrap();
            assert_eq!(&question[..len], b"keys alice\n");
            host.publish();
            asker.write_all(b"fresh\n").unwrap();
        });
        assert_eq!(
            decided(&host, "alice", "sshd"),
            Some(Refused(Refusal::NotInRequiredGroup))
        );
    });
}

// P9
#[test]
fn who_has_lost_something_that_cannot_be_published_is_not_let_in() {
    let host = TestHost::new();
    host.publish();
    let listener = UnixListener::bind(host.file("login.sock")).unwrap();
    for (answer, decision) in [
        ("not-published\n", CannotTell(Doubt::NotPublished)),
        ("cannot-tell\n", Allowed),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use std::io::{Read, Write};
                let (mut asker, _) = listener.accept().unwrap();
                asker.read_exact(&mut [0; "keys alice\n".len()]).unwrap();
                asker.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(decided(&host, "alice", "sshd"), Some(decision));
        });
    }
}

/// What is decided about alice by `service`, two days after IAM last answered, where keymakerd answers this to what it is asked.
fn in_an_outage(host: &TestHost, service: &str, answer: &str) -> (Option<LoginDecision>, String) {
    use std::io::{Read, Write};
    let socket = host.file("login.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let (mut asker, _) = listener.accept().unwrap();
            let mut question = [0; 64];
            let len = asker.read(&mut question).unwrap();
            asker.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&question[..len]).into_owned()
        });
        (decided(host, "alice", service), asked.join().unwrap())
    })
}

fn two_days_after_the_last_contact(change: impl FnOnce(&mut TestHost)) -> TestHost {
    let mut host = TestHost::new();
    host.alice.seen_here = true;
    host.now += Duration::from_secs(2 * 86_400);
    change(&mut host);
    host.publish();
    host
}

// P7 P9
#[test]
fn what_a_user_began_here_goes_on_while_aws_is_silent_and_nothing_else_does() {
    let too_old = Some(CannotTell(Doubt::OutOfContact));
    let host = two_days_after_the_last_contact(|_| ());
    for service in keymaker_core::running::CONTINUING {
        assert_eq!(
            in_an_outage(&host, service, "aws-silent\n"),
            (Some(Allowed), "go-on alice\n".into()),
            "{service}"
        );
    }
    for service in ["sshd", "login", "remote", "su", "su-l", "vsftpd", "cockpit", ""] {
        let (decision, asked) = in_an_outage(&host, service, "aws-silent\n");
        assert_eq!(decision, too_old, "{service}");
        assert!(!asked.starts_with("go-on"), "{service}");
    }
}

// P3 P9
#[test]
fn without_keymakerds_word_that_aws_is_silent_nothing_goes_on() {
    let too_old = Some(CannotTell(Doubt::OutOfContact));
    let host = two_days_after_the_last_contact(|_| ());
    // This host lacks a port, IAM throttles or denies, a daemon of an earlier version hangs up.
    for answer in [
        "cannot-tell\n",
        "fresh\n",
        "no-such-user\n",
        "not-permitted\n",
        "aws-silent",
        "",
    ] {
        assert_eq!(in_an_outage(&host, "sudo", answer).0, too_old, "{answer}");
    }
    let lost = Some(CannotTell(Doubt::NotPublished));
    assert_eq!(in_an_outage(&host, "sudo", "not-published\n").0, lost);
    std::fs::remove_file(host.file("login.sock")).unwrap();
    assert_eq!(decided(&host, "alice", "sudo"), too_old, "a dead daemon");
}

// P7
#[test]
fn nothing_goes_on_for_who_was_refused_or_has_begun_nothing_here_or_once_max_stale_running_has_passed() {
    let silent = |change: &dyn Fn(&mut TestHost)| {
        let host = two_days_after_the_last_contact(change);
        match decided(&host, "alice", "sudo") {
            refused @ Some(Refused(_)) => refused,
            _ => in_an_outage(&host, "sudo", "aws-silent\n").0,
        }
    };
    let too_old = Some(CannotTell(Doubt::OutOfContact));
    assert_eq!(silent(&|_| ()), Some(Allowed));
    assert_eq!(silent(&|host| host.alice.seen_here = false), too_old);
    assert_eq!(silent(&|host| host.header.max_stale_running = 0), too_old);
    assert_eq!(
        silent(&|host| host.now += Duration::from_secs(5 * 86_400 + 60)),
        too_old
    );
    let lingering = |host: &mut TestHost| {
        host.alice.seen_here = false;
        std::fs::create_dir_all(host.file("var/lib/systemd/linger")).unwrap();
        std::fs::write(host.file("var/lib/systemd/linger/alice"), "").unwrap();
    };
    assert_eq!(silent(&lingering), Some(Allowed));
    for verdict in [
        Verdict::NotInRequiredGroup,
        Verdict::Expired,
        Verdict::NameHeldByAnother,
    ] {
        let refused = silent(&|host| host.alice.verdict = verdict);
        assert!(matches!(refused, Some(Refused(_))), "{refused:?}");
    }
    assert_eq!(
        silent(&|host| host.alice.home = "/tmp"),
        Some(Refused(Refusal::HomeOfAnother))
    );
    assert_eq!(
        silent(&|host| host.groups = vec![UID]),
        Some(Refused(Refusal::NotInKeymakerUsers))
    );
}

// P6
#[test]
fn a_user_who_resolves_only_since_the_nudge_gets_in() {
    let host = TestHost::new();
    host.publish();
    let asked_before = std::cell::Cell::new(false);
    let resolve = |_: &str| {
        Ok(asked_before
            .replace(true)
            .then_some(ResolvedUser { uid: UID, gid: UID }))
    };
    let judgement = host.asked(|asked| {
        let asked = PamHost {
            resolve: &resolve,
            ..*asked
        };
        judge(b"alice", b"sshd", &asked, host.now)
    });
    assert!(
        matches!(judgement, Judgement::Ours(Decided { decision: Allowed, .. })),
        "{judgement:?}"
    );
}

// P2
#[test]
fn a_name_that_resolves_to_somebody_elses_number_by_now_is_denied() {
    let host = TestHost::new();
    host.publish();
    let asked_before = std::cell::Cell::new(false);
    // Another service has an alice of its own, whom it did not know a moment ago; or still nobody has one.
    for entry in [Some(ResolvedUser { uid: 5000, gid: 5000 }), None] {
        asked_before.set(false);
        let resolve = |_: &str| Ok(entry.filter(|_| asked_before.replace(true)));
        let judgement = host.asked(|asked| {
            let asked = PamHost {
                resolve: &resolve,
                ..*asked
            };
            judge(b"alice", b"sshd", &asked, host.now)
        });
        let Judgement::Ours(decided) = judgement else {
            panic!("{judgement:?}")
        };
        assert_eq!(decided.decision, Refused(Refusal::EntryOfAnother));
    }
}

#[test]
fn only_four_codes_ever_leave_account() {
    let codes: Vec<PamResultCode> = [
        Allowed,
        Refused(Refusal::Deleted),
        Refused(Refusal::EntryOfAnother),
        CannotTell(Doubt::OutOfContact),
    ]
    .map(|decision| {
        result_code(&Judgement::Ours(Decided {
            decision,
            sentence: String::new(),
            reason: String::new(),
            user: None,
            by_last_verdict: false,
        }))
    })
    .into();
    assert_eq!(
        codes,
        [
            PamResultCode::PAM_SUCCESS,
            PamResultCode::PAM_PERM_DENIED,
            PamResultCode::PAM_PERM_DENIED,
            PamResultCode::PAM_AUTHINFO_UNAVAIL
        ]
    );
    assert_eq!(result_code(&Judgement::NotOurs), PamResultCode::PAM_IGNORE);
}

// P7
#[test]
fn the_user_reads_a_sentence_about_themselves_and_the_administrator_more() {
    let mut host = TestHost::new();
    host.alice.verdict = Verdict::NotInRequiredGroup;
    host.publish();
    let Judgement::Ours(decided) = host.asked(|asked| judge(b"alice", b"cron", asked, host.now)) else {
        panic!("alice is ours");
    };
    assert_eq!(
        decided.sentence,
        "keymaker: alice is not in the IAM group prod_ssh_users, which this host requires."
    );
    assert_eq!(
        decided.reason,
        format!(
            "\"alice\" refused: {} [uid {UID}, IAM UserId AIDAALICE, directory generation 7]",
            decided.sentence
        )
    );
}

// P5
#[test]
fn where_there_is_no_contact_every_service_waits_for_the_pass_that_is_under_way() {
    for (service, question) in [
        ("cron", "go-on alice\n"),
        ("sudo", "go-on alice\n"),
        ("vsftpd", "contact\n"),
    ] {
        let host = TestHost::new();
        host.publish();
        let contact = std::fs::File::options().write(true).open(host.file("contact")).unwrap();
        contact.set_modified(host.now - Duration::from_secs(90_000)).unwrap();
        let listener = UnixListener::bind(host.file("login.sock")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use std::io::{Read, Write};
                let (mut asker, _) = listener.accept().unwrap();
                let mut asked = [0; 64];
                let len = asker.read(&mut asked).unwrap();
                assert_eq!(&asked[..len], question.as_bytes());
                contact.set_modified(host.now).unwrap();
                asker.write_all(b"fresh\n").unwrap();
            });
            assert_eq!(decided(&host, "alice", service), Some(Allowed), "{service}");
        });
    }
}

// P5
#[test]
fn cron_at_and_user_managers_alone_wait_for_a_first_pass_longer_than_others() {
    assert!(FIRST_PASS_BUDGET > ACCOUNT_BUDGET);
    for service in ["cron", "crond", "atd", "systemd-user"] {
        assert_eq!(contact_budget(service.as_bytes()), FIRST_PASS_BUDGET, "{service}");
    }
    for service in [
        "sudo", "sudo-i", "polkit-1", "sshd", "login", "su", "vsftpd", "at", "cron.d", "CRON", "",
    ] {
        assert_eq!(contact_budget(service.as_bytes()), ACCOUNT_BUDGET, "{service}");
    }
}

// P5 P7
#[test]
fn who_is_refused_waits_for_no_pass() {
    let mut host = TestHost::new();
    host.alice.verdict = Verdict::NotInRequiredGroup;
    host.publish();
    std::fs::remove_file(host.file("contact")).unwrap();
    let _hung = UnixListener::bind(host.file("login.sock")).unwrap();
    let started = Instant::now();
    let refused = Some(Refused(Refusal::NotInRequiredGroup));
    assert_eq!(decided(&host, "alice", "cron"), refused);
    assert!(started.elapsed() < ACCOUNT_BUDGET);
}
