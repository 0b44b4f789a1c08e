//! Logins by proof: for whom, from when on, and by whose keys.

use keymaker_core::issuers_file::{self, IssuerKey};

use super::*;
use crate::directory::iam::fake::FETCH;

const ON: &str = "login_by = [\"iam-keys\", \"proof\"]";
const OWN: &str = "https://1.example";
const OTHER: &str = "https://2.example";

impl Host {
    fn proofs_from(&self, login: &str) -> Option<u64> {
        let mut buffer = [0; MAX_USER_RECORD];
        let directory = self.directory();
        let user = directory.user_by_name(name(login), &mut buffer).unwrap().unwrap();
        user.proofs_from
    }

    fn issuer_keys(&self) -> Option<Vec<IssuerKey>> {
        issuers_file::read(&self.folder.join("public/issuers"))
            .ok()
            .map(|(_, keys)| keys)
    }

    fn kids(&self) -> Vec<String> {
        self.issuer_keys().unwrap().into_iter().map(|key| key.kid).collect()
    }

    fn now(&self) -> u64 {
        self.service.clock.answer_time()
    }
}

// P24
#[test]
fn where_proofs_are_off_no_user_and_no_file_says_anything_of_them() {
    on_one_thread(async {
        let host = host("");
        host.iam.set_issuer(Some(OWN));
        host.iam.set_issuer_keys(OWN, &["EC384_0"]);
        host.service.pass().await;
        host.service.keep_issuers().await;
        host.service.refresh_keys(name("alice"), SSHD).await;
        assert_eq!((host.proofs_from("alice"), host.issuer_keys()), (None, None));
        assert_eq!(host.keys("alice"), 1);
        assert!(!host.folder.join("private/issuers.json").exists());
    });
}

// P21, P8
#[test]
fn without_iam_keys_in_login_by_there_are_none_and_proofs_count_only_where_they_are_named() {
    on_one_thread(async {
        let mut host = host("login_by = [\"proof\"]");
        host.service.pass().await;
        host.service.refresh_keys(name("alice"), SSHD).await;
        assert_eq!((host.keys("alice"), host.proofs_from("alice")), (0, Some(100)));
        host.restart(ON).await;
        assert_eq!((host.keys("alice"), host.proofs_from("alice")), (1, Some(100)));
        host.restart("").await;
        assert_eq!((host.keys("alice"), host.proofs_from("alice")), (1, None));
    });
}

// P21
#[test]
fn only_members_of_login_proof_group_log_in_by_proof() {
    on_one_thread(async {
        let host = host(&format!("{ON}\nlogin_proof_group = \"prod_ssh_users\""));
        host.service.pass().await;
        assert_eq!(host.proofs_from("alice"), None);
        host.iam.join("alice", "prod_ssh_users");
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!(host.proofs_from("alice"), Some(100));
        host.iam.leave("alice", "prod_ssh_users");
        host.pass_time(61);
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_eq!(host.proofs_from("alice"), None);
    });
}

// P21, P2
#[test]
fn no_token_older_than_the_names_holder_counts() {
    on_one_thread(async {
        let mut host = host(ON);
        host.service.pass().await;
        // Made before, and renamed to what was another's: known here under another name, or not at all.
        for (id, known_as) in [("AIDABOB", Some("bob")), ("AIDAEVE", None)] {
            if let Some(known_as) = known_as {
                host.iam.add_user(known_as, id, 50);
                host.pass_time(300);
                host.service.pass().await;
                assert_eq!(host.proofs_from(known_as), Some(50));
            }
            host.iam.delete_user("alice");
            if let Some(known_as) = known_as {
                host.iam.rename_user(known_as, "alice");
            } else {
                host.iam.add_user("alice", id, 40);
            }
            host.pass_time(300);
            let before = host.now();
            host.service.pass().await;
            let _ = host.service.order_release(name("alice")).await;
            assert!(host.proofs_from("alice").unwrap() >= before, "{id}");
            host.restart(ON).await;
            assert!(host.proofs_from("alice").unwrap() >= before, "{id}");
        }
    });
}

// P21, P2
#[test]
fn a_user_who_comes_back_to_a_name_has_it_from_then_on() {
    on_one_thread(async {
        let host = host(ON);
        host.service.pass().await;
        let mut before = 0;
        for to in ["alicia", "alice"] {
            host.iam.rename_user(if to == "alice" { "alicia" } else { "alice" }, to);
            host.pass_time(300);
            before = host.now();
            host.service.pass().await;
        }
        assert!(host.proofs_from("alice").unwrap() >= before);
    });
}

// P6
#[test]
fn who_was_made_just_now_logs_in_by_a_token_of_that_second() {
    on_one_thread(async {
        let host = host(ON);
        host.service.pass().await;
        host.pass_time(100);
        let made = host.now();
        host.iam.add_user("dora", "AIDADORA", made);
        host.pass_time(10);
        host.service.refresh_keys(name("dora"), SSHD).await;
        assert_eq!(host.proofs_from("dora"), Some(made));
    });
}

// P21, P9
#[test]
fn revoked_proofs_count_no_longer_nor_after_a_restart_and_later_ones_do() {
    on_one_thread(async {
        let mut host = host(ON);
        host.iam.add_user("bob", "AIDABOB", 200);
        host.service.pass().await;
        assert!(host.service.order_revocation(Some(name("nobody"))).await.is_err());
        host.service.order_revocation(Some(name("alice"))).await.unwrap();
        let now = host.now();
        // AWS has told no time here: a token may be a minute ahead of this host's.
        let ahead = keymaker_core::proof::TOKEN_LEEWAY + 1;
        assert_eq!(host.proofs_from("alice"), Some(now + ahead));
        assert_eq!(host.proofs_from("bob"), Some(200));
        host.restart(ON).await;
        assert_eq!(host.proofs_from("alice"), Some(now + ahead));
        host.pass_time(60);
        host.service.order_revocation(None).await.unwrap();
        assert!(host.proofs_from("bob").unwrap() > now + 59);
        host.restart(&format!("{ON}\nlogin_not_before = 4000000000")).await;
        assert_eq!(host.proofs_from("bob"), Some(4_000_000_000));
    });
}

// P21, P9
#[test]
fn on_a_full_disk_a_proof_that_was_taken_away_opens_nothing() {
    on_one_thread(async {
        let host = host(&format!("{ON}\nlogin_proof_group = \"prod_ssh_users\""));
        host.iam.join("alice", "prod_ssh_users");
        host.service.pass().await;
        assert_eq!(host.proofs_from("alice"), Some(100));
        host.fill_disk(true);
        host.iam.leave("alice", "prod_ssh_users");
        host.pass_time(61);
        let answer = host.service.refresh_keys(name("alice"), SSHD).await;
        assert_eq!(answer, DirectoryOutcome::NotPublished);
        host.fill_disk(false);
    });
}

// P21, P22
#[test]
fn the_accounts_issuer_is_pinned_and_its_keys_stay_through_every_failure() {
    on_one_thread(async {
        let mut host = host(ON);
        host.service.pass().await;
        host.service.keep_issuers().await;
        assert!(host.kids().is_empty(), "federation is off");
        host.iam.set_issuer(Some(OWN));
        host.iam.set_issuer_keys(OWN, &["EC384_0"]);
        host.service.keep_issuers().await;
        assert!(host.kids().is_empty(), "not before ten seconds have passed");
        host.pass_time(11);
        host.service.keep_issuers().await;
        assert_eq!(host.kids(), ["EC384_0"]);
        let fetched = host.issuer_keys().unwrap()[0].fetched_at;
        // Nothing new, an empty set, another issuer: the first one's keys stand, and grow old.
        host.iam.set_issuer_keys(OWN, &[]);
        host.pass_time(86_400);
        host.service.keep_issuers().await;
        host.iam.set_issuer(Some(OTHER));
        host.iam.set_issuer_keys(OTHER, &["EVIL"]);
        host.pass_time(86_400);
        host.service.keep_issuers().await;
        assert_eq!(
            (host.kids(), host.issuer_keys().unwrap()[0].fetched_at),
            (vec!["EC384_0".to_owned()], fetched)
        );
        host.restart(ON).await;
        assert_eq!(host.kids(), ["EC384_0"]);
        // A rotation, once the issuer answers again.
        host.iam.set_issuer_keys(OWN, &["EC384_0", "EC384_1"]);
        host.service.keep_issuers().await;
        assert_eq!(host.kids(), ["EC384_0", "EC384_1"]);
        assert!(host.service.state().pending_settings()[0].contains(OTHER));
        host.service.order_acceptance().await.unwrap();
        host.service.keep_issuers().await;
        assert_eq!(host.kids(), ["EVIL"]);
        host.restart("").await;
        assert!(host.kids().is_empty(), "proofs are off");
    });
}

// P21
#[test]
fn issuers_of_the_file_count_instead_of_the_accounts_and_so_does_a_file_of_keys() {
    on_one_thread(async {
        let mut host = host(&format!("{ON}\nlogin_issuers = [\"{OTHER}\"]"));
        host.iam.set_issuer(Some(OWN));
        host.iam.set_issuer_keys(OWN, &["OWN"]);
        host.iam.set_issuer_keys(OTHER, &["OTHER"]);
        host.service.pass().await;
        host.service.keep_issuers().await;
        assert_eq!(host.kids(), ["OTHER"]);
        let file = host.folder.join("keys.json");
        let number = "A".repeat(64);
        let key = format!(r#"{{"kty":"EC","crv":"P-384","kid":"FILE","x":"{number}","y":"{number}"}}"#);
        std::fs::write(&file, format!(r#"{{"issuer":"{OWN}","keys":[{key}]}}"#)).unwrap();
        host.restart(&format!("{ON}\nlogin_keys_file = \"{}\"", file.display()))
            .await;
        host.service.keep_issuers().await;
        assert_eq!(host.kids(), ["FILE"]);
        std::fs::write(&file, "{}").unwrap();
        host.pass_time(86_401);
        host.service.keep_issuers().await;
        assert_eq!(host.kids(), ["FILE"]);
    });
}

// P21
#[test]
fn the_first_token_of_a_new_key_has_it_fetched_and_one_that_is_gone_counts_no_longer() {
    on_one_thread(async {
        let host = host(ON);
        host.iam.set_issuer(Some(OWN));
        host.iam.set_issuer_keys(OWN, &["EC384_0"]);
        host.service.pass().await;
        host.service.keep_issuers().await;
        host.pass_time(3600);
        host.iam.set_issuer_keys(OWN, &["EC384_0", "EC384_1"]);
        host.service.keep_issuers().await;
        assert_eq!(host.kids(), ["EC384_0"], "a regular fetch is not due");
        assert_eq!(host.service.nudge_issuers().await, DirectoryOutcome::Fresh);
        assert_eq!(host.kids(), ["EC384_0", "EC384_1"]);
        // Who asked for the same key a moment later reads it, too; nobody is asked for that.
        let asked = host.iam.calls(FETCH);
        assert_eq!(host.service.nudge_issuers().await, DirectoryOutcome::Fresh);
        assert_eq!(host.iam.calls(FETCH), asked);
        host.pass_time(86_400);
        host.iam.set_issuer_keys(OWN, &["EC384_1"]);
        host.service.keep_issuers().await;
        assert_eq!(host.kids(), ["EC384_1"]);
    });
}

// P9, P21
#[test]
fn a_flood_of_unknown_keys_has_the_issuer_asked_a_few_times_and_hides_no_rotation() {
    on_one_thread(async {
        let host = host(ON);
        // Seconds that a busy machine takes for all this are none of the host's.
        host.service.clock.stop(host.service.clock.unix());
        host.iam.set_issuer(Some(OWN));
        host.iam.set_issuer_keys(OWN, &["EC384_0"]);
        host.service.pass().await;
        host.service.keep_issuers().await;
        host.pass_time(60);
        let before = host.iam.calls(FETCH);
        let mut at = Vec::new();
        for second in 0..3600 {
            let asked = host.iam.calls(FETCH);
            for _ in 0..20 {
                assert_eq!(host.service.nudge_issuers().await, DirectoryOutcome::CannotTell);
            }
            if host.iam.calls(FETCH) > asked {
                at.push(second);
            }
            host.pass_time(1);
        }
        assert_eq!(at, [0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030]);
        assert_eq!(host.iam.calls(FETCH) - before, at.len());
        // The flood goes on, and the issuer has a new key.
        host.iam.set_issuer_keys(OWN, &["EC384_1"]);
        let mut waited = 0;
        while host.service.nudge_issuers().await != DirectoryOutcome::Fresh {
            host.pass_time(1);
            waited += 1;
        }
        assert_eq!(host.kids(), ["EC384_1"]);
        assert!(waited <= 600, "{waited}");
        // A failure is no new key, and the next one comes ten seconds after the last.
        host.pass_time(10);
        host.iam.time_out(FETCH);
        assert_eq!(host.service.nudge_issuers().await, DirectoryOutcome::CannotTell);
        host.iam.mend(FETCH);
        host.iam.set_issuer_keys(OWN, &["EC384_2"]);
        host.pass_time(10);
        assert_eq!(host.service.nudge_issuers().await, DirectoryOutcome::Fresh);
        // An hour later what was tried in vain is forgotten.
        for _ in 0..50 {
            host.pass_time(100);
            host.service.nudge_issuers().await;
        }
        host.pass_time(1800);
        host.service.nudge_issuers().await;
        host.iam.set_issuer_keys(OWN, &["EC384_3"]);
        host.pass_time(10);
        assert_eq!(host.service.nudge_issuers().await, DirectoryOutcome::Fresh);
    });
}

// P9
#[test]
fn whoever_asks_while_the_keys_are_fetched_waits_for_that_fetch_and_not_for_long() {
    on_one_thread(async {
        let host = host(ON);
        host.iam.set_issuer(Some(OWN));
        host.iam.set_issuer_keys(OWN, &["EC384_0"]);
        host.service.pass().await;
        let all = futures_util::future::join_all((0..100).map(|_| host.service.nudge_issuers())).await;
        assert!(all.iter().all(|answer| *answer == DirectoryOutcome::Fresh));
        assert_eq!(host.iam.calls(FETCH), 1);
        host.pass_time(3600);
        host.iam.hang(FETCH);
        let began = std::time::Instant::now();
        assert_eq!(host.service.nudge_issuers().await, DirectoryOutcome::CannotTell);
        assert!(began.elapsed() < keymaker_core::protocol::KEYS_BUDGET);
    });
}

// P24
#[test]
fn where_proofs_are_off_nobody_has_the_issuer_asked() {
    on_one_thread(async {
        let host = host("");
        host.iam.set_issuer(Some(OWN));
        host.iam.set_issuer_keys(OWN, &["EC384_0"]);
        host.service.pass().await;
        assert_eq!(host.service.nudge_issuers().await, DirectoryOutcome::CannotTell);
        assert_eq!(host.iam.calls(FETCH), 0);
    });
}
