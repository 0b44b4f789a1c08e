//! What other services of the host have, while they come, answer, fall silent and forget.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::LocalBoxFuture;
use keymaker_core::name::GroupName;

use super::*;
use crate::directory::entitlement::neighbours::Neighbours;
use crate::other_services::{AskServices, OtherServices, Said, ServiceQuestion};

/// Services that answer from a table.
#[derive(Default)]
struct Table {
    services: RefCell<Vec<&'static str>>,
    has: RefCell<BTreeMap<&'static str, BTreeSet<ServiceQuestion>>>,
    silent: RefCell<BTreeSet<&'static str>>,
    asked: RefCell<Vec<ServiceQuestion>>,
}

impl AskServices for Table {
    fn services(&self) -> std::io::Result<OtherServices> {
        let names: Vec<String> = self.services.borrow().iter().map(|name| (*name).to_owned()).collect();
        Ok(OtherServices {
            passwd: names.clone(),
            group: names,
        })
    }

    fn ask(&self, service: String, questions: Vec<ServiceQuestion>, _limit: Duration) -> LocalBoxFuture<'_, Vec<Said>> {
        self.asked.borrow_mut().extend(questions.iter().cloned());
        let answer = |question: &ServiceQuestion| {
            if self.silent.borrow().contains(service.as_str()) {
                return Said::CannotTell(format!("{service} is down"));
            }
            let has = self
                .has
                .borrow()
                .get(service.as_str())
                .is_some_and(|has| has.contains(question));
            if has { Said::Yes } else { Said::No }
        };
        let said = questions.iter().map(answer).collect();
        Box::pin(async move { said })
    }
}

impl Table {
    fn with(services: &[&'static str]) -> Rc<Self> {
        let table = Self::default();
        table.services.borrow_mut().extend(services);
        Rc::new(table)
    }

    fn give(&self, service: &'static str, question: ServiceQuestion) {
        self.has.borrow_mut().entry(service).or_default().insert(question);
    }

    fn take_all(&self) {
        self.has.borrow_mut().clear();
    }

    fn fall_silent(&self, services: &[&'static str]) {
        *self.silent.borrow_mut() = services.iter().copied().collect();
    }

    fn count(&self) -> usize {
        self.asked.take().len()
    }
}

impl Host {
    /// As the daemon starts beside these services, after whatever it was before.
    fn beside(&self, table: &Rc<Table>) {
        let held = self.service.store.load("neighbours.json").unwrap().unwrap_or_default();
        let ask = Rc::clone(table) as Rc<dyn AskServices>;
        self.service.state_mut().neighbours = Neighbours::left(held, ask, || self.service.store.published_keys());
    }

    async fn pass(&self) {
        assert_eq!(self.service.pass().await, DirectoryOutcome::Fresh);
    }

    fn shows(&self, text: &str) -> bool {
        self.status().contains(text)
    }
}

fn user(name: &str) -> ServiceQuestion {
    ServiceQuestion::User(name.to_owned())
}

// P1
#[test]
fn who_is_in_another_service_by_name_or_number_is_not_published_and_status_says_where() {
    on_one_thread(async {
        let uid = {
            let host = host("");
            host.pass().await;
            host.uid("alice").unwrap()
        };
        for question in [
            user("alice"),
            ServiceQuestion::Group("alice".to_owned()),
            ServiceQuestion::Uid(uid),
            ServiceQuestion::Gid(uid),
        ] {
            let host = host("");
            let table = Table::with(&["systemd", "sss"]);
            table.give("sss", question.clone());
            host.beside(&table);
            host.pass().await;
            assert_eq!(host.uid("alice"), None, "{question:?}");
            assert!(
                host.shows("is also in sss") && !host.shows("release"),
                "{}",
                host.status()
            );
            assert_ne!(
                host.service.refresh_account(name("alice"), Cause::Login).await,
                DirectoryOutcome::NotPublished
            );
            assert_eq!(host.uid("alice"), None, "{question:?}");
        }
    });
}

// P1
#[test]
fn a_group_that_another_service_has_is_not_published_nor_given() {
    on_one_thread(async {
        let host = host("");
        let table = Table::with(&["sss"]);
        table.give("sss", ServiceQuestion::Group("devs".to_owned()));
        host.beside(&table);
        host.pass().await;
        assert!(host.uid("alice").is_some() && host.groups("alice").is_empty());
    });
}

// P1 P2
#[test]
fn what_another_service_ever_had_stays_its_own_until_root_releases_it() {
    on_one_thread(async {
        let host = host("");
        host.pass().await;
        let published = host.uid("alice").unwrap();
        let table = Table::with(&["sss"]);
        table.give("sss", user("alice"));
        host.beside(&table);
        host.pass().await;
        assert_eq!(host.uid("alice"), None, "the namesake came later, and wins");
        table.take_all();
        host.pass().await;
        host.beside(&table);
        host.pass().await;
        assert_eq!(host.uid("alice"), None);
        assert!(
            host.shows("stays reserved for it") && host.shows("keymaker release NAME"),
            "{}",
            host.status()
        );
        let said = host.service.order_release(name("alice")).await;
        assert!(said.as_ref().is_ok_and(|said| said.contains("sss")), "{said:?}");
        host.pass().await;
        assert_eq!(host.uid("alice"), Some(published));
        // Released too early, it is taken back.
        table.give("sss", ServiceQuestion::Uid(published));
        host.beside(&table);
        host.pass().await;
        assert!(host.uid("alice").is_none() && host.service.order_release(name("alice")).await.is_ok());
        host.pass().await;
        assert_eq!(host.uid("alice"), None);
    });
}

// P1 P3
#[test]
fn a_service_that_cannot_tell_keeps_whom_it_did_not_claim_and_adds_nobody() {
    on_one_thread(async {
        let host = host("");
        let table = Table::with(&["sss", "systemd"]);
        host.beside(&table);
        host.pass().await;
        assert!(host.uid("alice").is_some());
        host.beside(&table);
        table.fall_silent(&["sss"]);
        host.iam.add_user("bob", "AIDABOB", 200);
        host.pass().await;
        assert!(host.uid("alice").is_some(), "the last answer stands");
        assert_eq!(host.uid("bob"), None);
        assert!(host.shows("sss is down"), "{}", host.status());
        assert_eq!(
            host.service.refresh_account(name("bob"), Cause::Login).await,
            DirectoryOutcome::CannotTell
        );
        // One service's yes counts, whatever another's silence.
        table.give("systemd", user("alice"));
        host.pass().await;
        assert_eq!(host.uid("alice"), None);
        table.fall_silent(&[]);
        assert_eq!(
            host.service.refresh_account(name("bob"), Cause::Login).await,
            DirectoryOutcome::Fresh
        );
        assert!(host.uid("bob").is_some(), "the first login after that works (P6)");
    });
}

// P3
#[test]
fn a_service_that_is_added_while_it_cannot_tell_takes_nobody_away() {
    on_one_thread(async {
        let host = host("");
        let table = Table::with(&[]);
        host.beside(&table);
        host.pass().await;
        table.services.borrow_mut().push("sss");
        table.fall_silent(&["sss"]);
        host.pass().await;
        assert!(host.uid("alice").is_some());
    });
}

// P1 P6
#[test]
fn a_user_made_a_moment_ago_is_asked_about_before_being_published_and_nobody_else_is() {
    on_one_thread(async {
        let host = host("");
        let table = Table::with(&["sss"]);
        host.beside(&table);
        host.pass().await;
        table.count();
        host.iam.add_user("bob", "AIDABOB", 200);
        host.iam.add_user("carol", "AIDACAROL", 300);
        table.give("sss", user("carol"));
        assert_eq!(
            host.service.refresh_account(name("bob"), Cause::Login).await,
            DirectoryOutcome::Fresh
        );
        assert!(host.uid("bob").is_some());
        assert_eq!(table.count(), 4, "name and number, for a user and a group");
        host.service.refresh_account(name("carol"), Cause::Login).await;
        assert_eq!(host.uid("carol"), None);
        table.count();
        assert_eq!(
            host.service.refresh_account(name("alice"), Cause::Login).await,
            DirectoryOutcome::Fresh
        );
        assert_eq!(table.count(), 0);
    });
}

#[test]
fn a_pass_asks_about_everybody_new_and_a_twelfth_of_the_others() {
    on_one_thread(async {
        let host = host("");
        for number in 0..118 {
            host.iam
                .add_user(&format!("user{number}"), &format!("AIDAUSER{number}"), 1000 + number);
        }
        let table = Table::with(&["sss"]);
        host.beside(&table);
        host.pass().await;
        // 119 users and a group, each a name and a number, each of users and of groups.
        assert_eq!(table.count(), 480);
        let mut about = BTreeSet::new();
        for _ in 0..12 {
            host.pass().await;
            let asked = table.asked.take();
            assert_eq!(asked.len(), 40);
            about.extend(asked);
        }
        assert_eq!(about.len(), 480);
        // A service that was added has been asked about nobody.
        table.services.borrow_mut().push("ldap");
        host.pass().await;
        assert_eq!(table.count(), 960);
    });
}

// P1
#[test]
fn beside_a_remote_service_no_group_lists_its_members_and_they_have_it_all_the_same() {
    on_one_thread(async {
        for (service, listed) in [("systemd", true), ("sss", false), ("extrausers", false)] {
            let host = host("");
            host.beside(&Table::with(&[service]));
            host.pass().await;
            let mut record = [0; 4096];
            let devs = GroupName::parse(b"devs").unwrap();
            let directory = host.directory();
            let group = directory.group_by_name(devs, &mut record).unwrap().unwrap();
            let texts = String::from_utf8_lossy(group.texts).into_owned();
            assert_eq!(texts.contains("alice"), listed, "{service}");
            assert_eq!(host.groups("alice"), [group.gid.get()]);
        }
    });
}
