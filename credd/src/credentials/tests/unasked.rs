//! What the issuer does before anybody asks and between questions, and what a reload keeps of the one before it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use credd_core::accounts::{Account, LocalNames};
use tokio::task::LocalSet;

use super::cached::settle;
use super::host::{ALICE, Generous, Host, OneChain};
use crate::credentials::directory_accounts::HostAccounts;
use crate::credentials::people::{Keymakerd, People};
use crate::credentials::{Cache, CredentialRefusal, Issuer};
use crate::imds::caller::SocketOwner;
use crate::imds::credential_source::{Caller, CredentialSource};

type HostIssuer = Issuer<Generous, OneChain>;

fn issuer(host: &Host, people: People) -> (HostIssuer, Rc<Cell<usize>>) {
    let calls = Rc::new(Cell::new(0));
    let source = Generous(host.clock.clone(), Rc::clone(&calls));
    let cache = Cache::new(source, Rc::new(host.clock.clone()), Rc::default());
    (Issuer::new(people, OneChain, cache, Rc::default()), calls)
}

/// Of a host that has local accounts only, so that nobody waits for keymakerd.
fn without_directory(host: &Host) -> (HostIssuer, Rc<Cell<usize>>) {
    let local = LocalNames::new(host.path("passwd"), host.path("group"));
    let keymakerd = Keymakerd {
        contact: host.path("contact"),
        login_socket: host.path("login.sock"),
        authz_ttl: Duration::from_secs(60),
    };
    let accounts = HostAccounts::new(local, None);
    issuer(host, People::new(accounts, keymakerd, Rc::new(host.clock.clone())))
}

#[tokio::test(start_paused = true)]
async fn whoever_will_ask_finds_the_answer_ready() {
    let host = Host::new();
    let caller = Caller {
        owner: SocketOwner { uid: 0, cookie: 1 },
        account: Account::default(),
    };
    LocalSet::new()
        .run_until(async {
            let (warmed, calls) = without_directory(&host);
            warmed.warm(vec![0]);
            settle().await;
            assert_eq!((calls.get(), warmed.in_use()), (1, vec![0]));
            let (prewarmed, calls) = without_directory(&host);
            prewarmed.prewarm(&caller);
            settle().await;
            assert_eq!((calls.get(), prewarmed.in_use()), (1, vec![0]));
        })
        .await;
}

// P17
#[tokio::test(start_paused = true)]
async fn what_is_in_use_is_renewed_before_anybody_asks_again() {
    let host = Host::new();
    let (issuer, calls) = without_directory(&host);
    LocalSet::new()
        .run_until(async {
            assert!(issuer.issuance(0).await.is_ok());
            host.clock.pass(Duration::from_secs(35 * 60));
            settle().await;
            assert_eq!(calls.get(), 1);
            issuer.tidy();
            settle().await;
            assert_eq!(calls.get(), 2);
        })
        .await;
}

// P20
#[tokio::test]
async fn a_reload_answers_by_the_new_settings_and_forgets_nothing_that_keymakerd_said_against_a_user() {
    let host = Host::new();
    let (running, calls) = issuer(&host, host.people());
    let (other, _) = issuer(&host, host.people());
    let clone = running.clone();
    LocalSet::new()
        .run_until(async {
            *host.answer.lock().unwrap() = "no-such-user";
            // What comes too late on a busy machine counts as silence.
            while !matches!(running.issuance(ALICE).await, Err(CredentialRefusal::Denied(_))) {
                host.clock.pass(Duration::from_secs(60));
            }
            let before = calls.get();
            running.become_like(&other);
            for issuer in [&running, &clone] {
                assert!(Rc::ptr_eq(&issuer.cache(), &other.cache()));
            }
            // She is published still, and keymakerd is gone: its silence takes nothing back.
            std::fs::remove_file(host.path("login.sock")).unwrap();
            assert!(running.issuance(ALICE).await.is_err());
            assert_eq!(calls.get(), before);
        })
        .await;
}
