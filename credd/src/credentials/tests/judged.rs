//! Who may have anything: the directory's word, asked for at every request, against a keymakerd that says what the test
//! wants.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use credd_core::accounts::{Account, Accounts, LocalNames};
use credd_core::config::{Config, Method};
use keymaker_core::directory_file::Verdict;

use super::host::{ALICE, Generous, Host, OneChain};
use crate::clock::Clock;
use crate::credentials::directory_accounts::HostAccounts;
use crate::credentials::metrics::Metrics;
use crate::credentials::people::{Keymakerd, People};
use crate::credentials::{Cache, CredentialQuestion, CredentialRefusal, Issuer, Names, Person};
use crate::imds::caller::SocketOwner;
use crate::imds::credential_source::{Caller, CredentialSource, Outcome};

const CAROL: u32 = 1_900_000_003;

fn nobody_is_named(_: &Account) -> bool {
    false
}

async fn ask(people: &People, uid: u32) -> Result<Person, CredentialRefusal> {
    people.person(uid, nobody_is_named).await
}

#[tokio::test]
async fn a_user_of_the_directory_is_known_by_name_groups_and_iam_identity() {
    let host = Host::new();
    let person = ask(&host.people(), ALICE).await.unwrap();
    assert_eq!(person.account.user.as_deref(), Some("alice"));
    assert_eq!(person.account.groups, ["sudo"]);
    assert_eq!(person.names, Names::Trusted);
    assert_eq!(person.iam.unwrap().user_name, "Alice");
    assert_eq!(*host.asked.lock().unwrap(), ["account alice"]);
}

// P20
#[tokio::test]
async fn whoever_the_directory_refuses_gets_nothing_at_the_very_next_request() {
    let host = Host::new();
    let people = host.people();
    for (verdict, tombstone) in [
        (Verdict::NotInRequiredGroup, false),
        (Verdict::Deleted, false),
        (Verdict::NameHeldByAnother, false),
        (Verdict::Expired, false),
        (Verdict::Allowed, true),
    ] {
        host.publish(Verdict::Allowed, false);
        assert!(ask(&people, ALICE).await.is_ok());
        host.publish(verdict, tombstone);
        assert!(
            matches!(ask(&people, ALICE).await, Err(CredentialRefusal::Denied(_))),
            "{verdict:?}"
        );
    }
    host.publish(Verdict::Allowed, false);
    assert!(matches!(ask(&people, CAROL).await, Err(CredentialRefusal::Denied(_))));
    host.contact(host.clock.now() - Duration::from_secs(86_401));
    assert!(matches!(
        ask(&people, ALICE).await,
        Err(CredentialRefusal::Transient(_))
    ));
    std::fs::remove_file(host.path("contact")).unwrap();
    assert!(matches!(
        ask(&people, ALICE).await,
        Err(CredentialRefusal::Transient(_))
    ));
}

// P20
#[tokio::test]
async fn whoever_is_gone_is_refused_and_keymakerd_is_not_asked_who_has_the_name_now() {
    let host = Host::new();
    host.publish(Verdict::Allowed, true);
    for answer in ["fresh", "cannot-tell", "not-published"] {
        *host.answer.lock().unwrap() = answer;
        let refused = ask(&host.people(), ALICE).await;
        assert!(matches!(refused, Err(CredentialRefusal::Denied(_))), "{answer}");
    }
    assert_eq!(host.questions(), 0);
}

// P20
#[tokio::test]
async fn keymakerd_is_asked_again_before_what_it_said_is_older_than_authz_ttl() {
    let host = Host::new();
    let people = host.people();
    for _ in 0..100 {
        ask(&people, ALICE).await.unwrap();
    }
    assert_eq!(host.questions(), 1);
    for _ in 0..120 {
        host.clock.pass(Duration::from_secs(1));
        ask(&people, ALICE).await.unwrap();
    }
    assert!((13..=25).contains(&host.questions()), "{}", host.questions());
    // Its word counts even before the file says so.
    *host.answer.lock().unwrap() = "no-such-user";
    host.clock.pass(Duration::from_secs(60));
    assert!(matches!(ask(&people, ALICE).await, Err(CredentialRefusal::Denied(_))));
    *host.answer.lock().unwrap() = "fresh";
    assert!(ask(&people, ALICE).await.is_ok());
    // While it cannot tell, hangs up or is gone, what is published stands, until it is too old.
    for answer in ["cannot-tell", ""] {
        *host.answer.lock().unwrap() = answer;
        host.clock.pass(Duration::from_secs(60));
        assert!(ask(&people, ALICE).await.is_ok(), "{answer}");
    }
    std::fs::remove_file(host.path("login.sock")).unwrap();
    host.clock.pass(Duration::from_secs(60));
    assert!(ask(&people, ALICE).await.is_ok());
    host.clock.pass(Duration::from_secs(86_400));
    assert!(matches!(
        ask(&people, ALICE).await,
        Err(CredentialRefusal::Transient(_))
    ));
}

// P20
#[tokio::test]
async fn keymakerds_word_against_a_user_counts_although_it_is_not_published() {
    let host = Host::new();
    let people = host.people();
    for against in ["not-published", "no-such-user"] {
        assert!(ask(&people, ALICE).await.is_ok());
        *host.answer.lock().unwrap() = against;
        host.clock.pass(Duration::from_secs(60));
        assert!(
            matches!(ask(&people, ALICE).await, Err(CredentialRefusal::Denied(_))),
            "{against}"
        );
        // The file, which could not be written, says that she may; that keymakerd falls silent takes nothing back.
        for silence in ["cannot-tell", "", "not-permitted"] {
            *host.answer.lock().unwrap() = silence;
            for seconds in [0, 4, 600] {
                host.clock.pass(Duration::from_secs(seconds));
                people.tidy();
                let answer = ask(&people, ALICE).await;
                assert!(
                    matches!(answer, Err(CredentialRefusal::Denied(_))),
                    "{against}, then {silence:?} for {seconds} s"
                );
            }
        }
        *host.answer.lock().unwrap() = "fresh";
        assert!(ask(&people, ALICE).await.is_ok(), "{against}");
    }
}

// P18
#[tokio::test]
async fn a_local_account_is_nobody_in_iam_unless_a_chain_names_it() {
    let host = Host::new();
    let people = host.people();
    let postgres = ask(&people, 105).await.unwrap();
    assert_eq!(
        (postgres.account.user.as_deref(), postgres.names),
        (Some("postgres"), Names::NotOurs)
    );
    let question = CredentialQuestion {
        uid: 105,
        person: postgres,
        chain: vec![Method::UserRole],
        ..CredentialQuestion::default()
    };
    assert_eq!(question.user(), Err(CredentialRefusal::NotApplicable));
    assert_eq!(
        question.iam_user_name("{username}"),
        Err(CredentialRefusal::NotApplicable)
    );
    let named = people.person(105, |_| true).await.unwrap();
    assert_eq!(named.names, Names::Trusted);
    // A local person who took the name later: neither of the two is alice in IAM.
    std::fs::write(host.path("passwd"), "root:x:0:0\nalice:x:1000:1000::/:/bin/sh\n").unwrap();
    assert_eq!(ask(&people, 1000).await.unwrap().names, Names::NotOurs);
    assert!(matches!(ask(&people, ALICE).await, Err(CredentialRefusal::Denied(_))));
}

// P13
#[tokio::test]
async fn a_directory_user_has_the_directorys_and_the_local_groups() {
    let host = Host::new();
    std::fs::write(
        host.path("group"),
        "root:x:0:\nsudo:x:27:\nlocked:x:300:bob, alice\nother:x:301:alic\n",
    )
    .unwrap();
    let person = ask(&host.people(), ALICE).await.unwrap();
    assert_eq!(person.account.groups, ["sudo", "locked"]);
    let config = |text: &str| Config::parse(text, Path::new("credd.toml")).unwrap();
    let denied = config("group_chains = { locked = [] }\ndefault_chain = [\"instance_role\"]");
    assert_eq!(denied.chain(ALICE, &person.account), Ok([].as_slice()));
    // Anybody who may create IAM users chooses this name.
    let private = config("group_chains = { alice = [\"instance_role\"] }\ndefault_chain = []");
    assert_eq!(private.chain(ALICE, &person.account), Ok([].as_slice()));
}

// P13
#[tokio::test]
async fn while_local_files_cannot_be_read_it_cannot_be_told_who_anybody_is() {
    for file in ["passwd", "group"] {
        let host = Host::new();
        std::fs::remove_file(host.path(file)).unwrap();
        for uid in [0, 105, 1000, ALICE, CAROL] {
            let refused = ask(&host.people(), uid).await;
            assert!(matches!(refused, Err(CredentialRefusal::Transient(_))), "{file} {uid}");
            assert!(host.accounts().account(uid).is_doubtful);
        }
    }
}

// P13
#[tokio::test]
async fn whom_another_service_may_know_is_in_doubt_and_whom_we_know_is_not() {
    let host = Host::new();
    std::fs::write(host.path("nsswitch"), "passwd: files keymaker sss\n").unwrap();
    let directory = Some(host.path("directory"));
    let local = LocalNames::new(host.path("passwd"), host.path("group")).with_services(host.path("nsswitch"));
    let accounts = HostAccounts::new(local, directory);
    assert!(accounts.account(5000).is_doubtful);
    assert!(!accounts.account(105).is_doubtful && !accounts.account(ALICE).is_doubtful);
    let keymakerd = Keymakerd {
        contact: host.path("contact"),
        login_socket: host.path("login.sock"),
        authz_ttl: Duration::from_secs(60),
    };
    let people = People::new(accounts, keymakerd, Rc::new(host.clock.clone()));
    assert!(ask(&people, 5000).await.unwrap().account.is_doubtful);
    assert!(!ask(&people, 105).await.unwrap().account.is_doubtful);
}

// P18
#[tokio::test]
async fn without_the_directory_that_is_required_nobody_gets_anything_but_local_accounts_that_a_chain_names() {
    let host = Host::new();
    let people = host.people();
    std::fs::remove_file(host.path("directory")).unwrap();
    for uid in [0, 105, 1000, ALICE, CAROL] {
        assert!(
            matches!(ask(&people, uid).await, Err(CredentialRefusal::Transient(_))),
            "{uid}"
        );
    }
    assert!(people.person(105, |_| true).await.is_ok());
    assert!(people.person(ALICE, |_| true).await.is_err());
}

// P20
#[tokio::test]
async fn cached_credentials_of_a_refused_user_are_not_given_out_and_are_wiped() {
    let host = Host::new();
    let (metrics, calls) = (Rc::new(Metrics::default()), Rc::new(Cell::new(0)));
    let source = Generous(host.clock.clone(), Rc::clone(&calls));
    let cache = Cache::new(source, Rc::new(host.clock.clone()), Rc::clone(&metrics));
    let issuer = Issuer::new(host.people(), OneChain, cache, metrics);
    tokio::task::LocalSet::new()
        .run_until(async {
            assert!(issuer.issuance(ALICE).await.is_ok());
            assert_eq!(issuer.kept(), 1);
            host.publish(Verdict::NotInRequiredGroup, false);
            assert!(matches!(
                issuer.issuance(ALICE).await,
                Err(CredentialRefusal::Denied(_))
            ));
            assert_eq!((issuer.kept(), calls.get()), (0, 1));
            // A doubt keeps what there is, and gives out nothing.
            host.publish(Verdict::Allowed, false);
            assert!(issuer.issuance(ALICE).await.is_ok());
            host.contact(host.clock.now() - Duration::from_secs(86_401));
            assert!(matches!(
                issuer.issuance(ALICE).await,
                Err(CredentialRefusal::Transient(_))
            ));
            assert_eq!((issuer.kept(), calls.get()), (1, 2));
            assert!(matches!(issuer.issuance(105).await, Err(CredentialRefusal::Denied(_))));
            assert_eq!(calls.get(), 2);
        })
        .await;
}

#[tokio::test]
async fn a_uid_without_name_or_chain_shares_the_strangers_allotment() {
    let host = Host::new();
    let source = Generous(host.clock.clone(), Rc::default());
    let cache = Cache::new(source, Rc::new(host.clock.clone()), Rc::default());
    let issuer = Issuer::new(host.people(), OneChain, cache, Rc::default());
    let nameless = Account::unknown();
    assert!(issuer.knows(ALICE, &super::local("alice").account));
    assert!(issuer.knows(105, &nameless), "a chain has its number");
    assert!(!issuer.knows(100_000, &nameless));
    tokio::task::LocalSet::new()
        .run_until(async {
            assert!(issuer.issuance(ALICE).await.is_ok());
            assert_eq!(issuer.in_use(), [ALICE]);
        })
        .await;
}

// P18
#[tokio::test]
async fn credentials_are_given_under_the_name_of_their_own_role_and_under_no_other() {
    let host = Host::new();
    let source = Generous(host.clock.clone(), Rc::default());
    let cache = Cache::new(source, Rc::new(host.clock.clone()), Rc::default());
    let issuer = Issuer::new(host.people(), OneChain, cache, Rc::default());
    let owner = SocketOwner { uid: ALICE, cookie: 1 };
    let account = host.accounts().account(ALICE);
    let caller = Caller { owner, account };
    tokio::task::LocalSet::new()
        .run_until(async {
            let Outcome::Issued(grant) = issuer.role(&caller).await else {
                panic!("alice has a role");
            };
            let given = issuer.credentials(&caller, &grant.role).await;
            assert!(matches!(given, Outcome::Issued(_)));
            let other = "arn:aws:iam::123456789012:role/other".parse().unwrap();
            let given = issuer.credentials(&caller, &other).await;
            assert!(
                matches!(given, Outcome::Transient(_)),
                "her role has changed between two requests"
            );
        })
        .await;
}
