//! The service with a fake IAM and real files: what others would read after each thing that can happen.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use keymaker_aws::{Action, AwsCallError};
use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, Verdict};
use keymaker_core::keys_file::KeysFile;
use keymaker_core::login::{Doubt, LoginDecision, Refusal, last_contact};
use keymaker_core::name::UserName;
use keymaker_core::protocol::Answer;

use super::iam_fake::IamFake;
use super::nudge::Cause;
use super::publication::Published;
use super::service::{Accounts, Grade, Service, State};
use super::store::Store;
use crate::clock::Clock;
use crate::config::Config;
use crate::local_accounts::LocalAccounts;

const KEY: &str = include_str!("testdata/rsa2048.pub");
const LOCAL_PASSWD: &str = "root:x:0:0::/root:/bin/sh\nlocalbob:x:1000:1000::/home/localbob:/bin/bash\n";
const LOCAL_GROUP: &str = "root:x:0:\nsudo:x:27:\nkeymaker-users:x:998:\nkeymaker-sudo:x:997:\n";
const SSHD: Cause = Cause::Question;

struct Host {
    iam: IamFake,
    service: Rc<Service<IamFake>>,
    folder: PathBuf,
}

fn host(settings: &str) -> Host {
    let folder = std::env::temp_dir().join(format!("keymakerd-{}-{}", std::process::id(), fastrand::u64(..)));
    for part in ["public", "private", "run"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    let iam = IamFake::new();
    iam.add_group("keymaker_devs", "AGPADEVS", 1);
    iam.add_group("prod_ssh_users", "AGPAPROD", 1);
    iam.add_user("alice", "AIDAALICE", 100);
    iam.add_key("alice", "APKA1", KEY);
    iam.join("alice", "keymaker_devs");
    let service = start(&folder, settings, &iam);
    Host { iam, service, folder }
}

/// The daemon's start, on whatever lies in the folder.
fn start(folder: &std::path::Path, settings: &str, iam: &IamFake) -> Rc<Service<IamFake>> {
    let store = Store {
        public: folder.join("public"),
        private: folder.join("private"),
        run: folder.join("run"),
    };
    let contact = store.contact();
    let facts: super::facts::Facts = store.load("facts.json").unwrap().unwrap_or_default();
    let state = State {
        config: Config::parse(settings, "keymakerd.toml".as_ref()).unwrap(),
        settings: store.load("settings.json").unwrap().unwrap_or_default(),
        facts: facts.since_contact(contact),
        ids: store.load("ids.json").unwrap().unwrap_or_default(),
        published: Published::left_in(&store),
        unpublished: true,
        local: LocalAccounts::parse(LOCAL_PASSWD, LOCAL_GROUP, "/bin/bash\n/bin/zsh\n"),
        contact,
        instance_id: Some("i-0123456789abcdef0".into()),
        grade: Grade::default(),
        grade_until: None,
        outages: Default::default(),
        unknown_names: super::limits::UnknownNames::new(),
        no_such_user: Default::default(),
        early_pass: None,
        last_failure: None,
        settings_problems: Vec::new(),
        throttled: false,
        halted: false,
    };
    let service = Service::new(state, store, Rc::new(Clock::default()));
    service.ask(Some(Accounts {
        id_resolver: None,
        host: iam.clone(),
        host_role: Some("host".into()),
        people: iam.clone(),
        people_nudged: iam.clone(),
    }));
    service
}

fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn name(text: &str) -> UserName {
    UserName::parse(text.as_bytes()).unwrap()
}

impl Host {
    fn status(&self) -> String {
        std::fs::read_to_string(self.folder.join("run/status.json")).unwrap()
    }

    fn directory(&self) -> Directory {
        Directory::open(&self.folder.join("public/directory")).unwrap()
    }

    fn uid(&self, login: &str) -> Option<u32> {
        let mut buffer = [0; MAX_USER_RECORD];
        self.directory()
            .user_by_name(name(login), &mut buffer)
            .unwrap()
            .filter(|user| !user.tombstone)
            .map(|user| user.uid.get())
    }

    fn groups(&self, login: &str) -> Vec<u32> {
        let mut buffer = [0; MAX_USER_RECORD];
        self.directory()
            .user_by_name(name(login), &mut buffer)
            .unwrap()
            .unwrap()
            .groups()
            .collect()
    }

    /// What PAM and the keys command decide now.
    fn decision(&self, login: &str) -> Option<LoginDecision> {
        let mut buffer = [0; MAX_USER_RECORD];
        let directory = self.directory();
        let user = directory.user_by_name(name(login), &mut buffer).unwrap()?;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(self.service.clock.unix());
        Some(LoginDecision::about(
            &user,
            &directory.header(),
            last_contact(&self.folder.join("public/contact")),
            now,
        ))
    }

    fn keys(&self, login: &str) -> usize {
        let keys = KeysFile::open(&self.folder.join("public/keys")).unwrap();
        keys.user(name(login)).unwrap().map_or(0, |user| user.keys.len())
    }

    /// Whether nothing new can be published.
    fn fill_disk(&self, full: bool) {
        for aside in [".directory.new", ".keys.new"] {
            let aside = self.folder.join("public").join(aside);
            match full {
                true => std::fs::create_dir(aside).unwrap(),
                false => std::fs::remove_dir(aside).unwrap(),
            }
        }
    }

    fn restart(&mut self, settings: &str) {
        self.service = start(&self.folder, settings, &self.iam);
        self.service.publish().unwrap();
    }

    fn pass_time(&self, seconds: u64) {
        self.service.clock.advance(Duration::from_secs(seconds));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_pass_publishes_everyone_with_their_groups() {
    on_one_thread(async {
        let host = host("");
        assert_eq!(host.service.pass().await, Answer::Fresh);
        assert!(host.uid("alice").unwrap() >= 1_879_048_192);
        assert_eq!(host.groups("alice").len(), 1);
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        let generation = host.directory().generation();
        host.pass_time(300);
        assert_eq!(host.service.pass().await, Answer::Fresh);
        assert_eq!(
            host.directory().generation(),
            generation,
            "a pass that learned nothing wrote a file"
        );
    });
}

// P6
#[test]
fn a_user_made_just_now_is_found_by_name_with_groups_and_keys() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        host.iam.add_user("dave", "AIDADAVE", 200);
        host.iam.join("dave", "keymaker_devs");
        host.iam.add_key("dave", "APKA2", KEY);
        let lookup = Cause::Lookup { uid: 0 };
        assert_eq!(host.service.refresh_account(name("dave"), lookup).await, Answer::Fresh);
        assert_eq!(host.service.refresh_keys(name("dave")).await, Answer::Fresh);
        assert_eq!((host.groups("dave").len(), host.keys("dave")), (1, 1));
        assert_eq!(host.decision("dave"), Some(LoginDecision::Allowed));
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
            Answer::NoSuchUser
        );
        host.iam.add_user("dave", "AIDADAVE", 200);
        assert_eq!(
            host.service.refresh_account(name("dave"), lookup).await,
            Answer::NoSuchUser
        );
        host.pass_time(6);
        assert_eq!(host.service.refresh_account(name("dave"), lookup).await, Answer::Fresh);
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
        assert_eq!(host.service.refresh_account(name("alice"), SSHD).await, Answer::Fresh);
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
        host.service.refresh_keys(name("alice")).await;
        assert_eq!(host.keys("alice"), 1);
        host.iam.set_key_active("alice", "APKA1", false);
        host.pass_time(61);
        host.service.refresh_keys(name("alice")).await;
        assert_eq!(host.keys("alice"), 0);
        assert_eq!(
            host.iam.calls(Action::GET_SSH_PUBLIC_KEY),
            1,
            "a body was fetched twice"
        );
    });
}

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
                    _ if action == Action::LIST_USERS => continue,
                    _ => host.iam.deny(action),
                }
                host.pass_time(300);
                assert_eq!(host.service.pass().await, Answer::CannotTell, "{action}");
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
fn a_denied_listing_is_a_lower_grade_in_which_nobody_disappears() {
    on_one_thread(async {
        let host = host("");
        host.iam.add_user("carol", "AIDACAROL", 300);
        host.service.pass().await;
        host.iam.deny(Action::LIST_USERS);
        host.pass_time(300);
        assert_eq!(host.service.pass().await, Answer::Fresh);
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

// P2
#[test]
fn a_user_made_again_is_another_person_until_an_administrator_says_otherwise() {
    on_one_thread(async {
        let mut host = host("");
        host.service.pass().await;
        let former = host.uid("alice").unwrap();
        host.iam.delete_user("alice");
        host.iam.add_user("alice", "AIDAALICE2", 500);
        host.pass_time(61);
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_ne!(host.uid("alice").unwrap(), former);
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NameHeldByAnother))
        );
        host.service.pass().await;
        host.restart("");
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NameHeldByAnother))
        );
        assert!(
            host.service.order_release(name("alice")).starts_with("done "),
            "{}",
            host.service.order_release(name("alice"))
        );
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        assert!(host.service.order_release(name("alice")).starts_with("failed "));
        let mut buffer = [0; MAX_USER_RECORD];
        let tombstone = host
            .directory()
            .user_by_uid(former, &mut buffer)
            .unwrap()
            .map(|user| (user.tombstone, user.verdict));
        assert_eq!(tombstone, Some((true, Verdict::Deleted)));
    });
}

// P1
#[test]
fn local_names_and_reserved_ones_are_never_published() {
    on_one_thread(async {
        let host = host("");
        for (number, taken) in ["root", "localbob", "sudo", "postgres", "wheel"]
            .into_iter()
            .enumerate()
        {
            host.iam.add_user(taken, &format!("AIDATAKEN{number}"), 1);
        }
        host.service.pass().await;
        for taken in ["root", "localbob", "sudo", "postgres", "wheel"] {
            assert_eq!(host.uid(taken), None, "{taken}");
        }
        assert_eq!(host.service.state().published.refused.len(), 5);
        host.service.state_mut().local = LocalAccounts::parse(
            &format!("{LOCAL_PASSWD}alice:x:1001:1001::/home/alice:/bin/sh\n"),
            LOCAL_GROUP,
            "",
        );
        host.service.publish().unwrap();
        assert_eq!(host.uid("alice"), None);
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
            Answer::CannotTell
        );
        let calls = host.iam.calls(Action::GET_USER);
        assert_eq!(
            host.service.refresh_account(name("alice"), SSHD).await,
            Answer::CannotTell
        );
        assert_eq!(host.iam.calls(Action::GET_USER), calls);
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        host.iam.mend(Action::GET_USER);
        host.pass_time(11);
        assert!(host.status().contains("\"action\": \"iam:GetUser\""));
        host.service.probe().await;
        assert!(host.status().contains("\"outages\": []"));
        assert_eq!(host.service.refresh_account(name("alice"), SSHD).await, Answer::Fresh);
    });
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
            Answer::Fresh
        );
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
            assert_eq!(answer.await.unwrap(), Answer::Fresh);
        }
        assert_eq!(host.iam.calls(Action::GET_USER), 1);
    });
}

#[test]
fn until_the_settings_have_been_read_once_nobody_of_ours_logs_in() {
    on_one_thread(async {
        let host = host("");
        host.iam.time_out(Action::GET_ROLE);
        host.service.pass().await;
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.service.state_mut().facts = super::facts::Facts::of_account("123456789012".into());
        host.service
            .refresh_account(name("dave"), Cause::Lookup { uid: 0 })
            .await;
        assert_eq!(
            host.decision("dave"),
            Some(LoginDecision::CannotTell(Doubt::NeverInContact))
        );
        host.iam.mend(Action::GET_ROLE);
        host.service.pass().await;
        assert_eq!(host.decision("dave"), Some(LoginDecision::Allowed));
    });
}

#[test]
fn a_required_group_that_vanishes_from_the_description_is_kept_until_accepted() {
    on_one_thread(async {
        let host = host("");
        host.iam
            .set_role("host", Some("keymaker_require_iam_group=prod_ssh_users"));
        host.service.pass().await;
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
        host.iam.set_role("host", Some("rubbish = = keymaker_=x"));
        host.service.pass().await;
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
        assert!(host.service.order_acceptance().await.starts_with("done "));
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
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
            Answer::CannotTell
        );
        std::fs::rename(host.folder.join("gone"), host.folder.join("public")).unwrap();
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        host.pass_time(6);
        assert_eq!(host.service.refresh_account(name("alice"), SSHD).await, Answer::Fresh);
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
        host.service.refresh_keys(name("alice")).await;
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
        host.restart("");
        host.service.pass().await;
        assert_eq!(std::fs::read(host.folder.join("public/directory")).unwrap(), before);
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        assert_eq!(host.keys("alice"), 1);
    });
}

#[test]
fn members_of_sudo_iam_group_get_keymaker_sudo_and_mapped_local_groups() {
    on_one_thread(async {
        let host = host("sudo_iam_group = \"admins\"");
        host.iam.add_group("admins", "AGPAADMINS", 1);
        host.iam.add_group("keymaker_sudo", "AGPASUDO", 1);
        host.iam.join("alice", "admins");
        host.iam.join("alice", "keymaker_sudo");
        host.service.pass().await;
        let groups = host.groups("alice");
        assert!(groups.contains(&997) && groups.contains(&27), "{groups:?}");
        assert!(host.directory().header().allows_local_gid(997));
    });
}

// P9
#[test]
fn while_the_disk_is_full_whoever_iam_has_taken_something_from_is_not_let_in_and_everybody_else_is() {
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
            assert_eq!(host.service.refresh_keys(name(all)).await, Answer::Fresh);
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
                let answer = host.service.refresh_keys(name(lost)).await;
                assert_eq!(answer, Answer::NotPublished, "{lost}");
            }
            assert_eq!(host.service.refresh_keys(name("alice")).await, Answer::CannotTell);
        }
        host.fill_disk(false);
        assert_eq!(host.service.refresh_keys(name("inactive")).await, Answer::Fresh);
        assert_eq!((host.keys("inactive"), host.keys("alice")), (0, 1));
        assert_eq!(
            host.decision("excluded"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
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

// P2
#[test]
fn no_tag_makes_a_folder_of_the_systems_or_of_somebody_elses_a_home() {
    on_one_thread(async {
        let host = host("tags = [\"home\"]");
        let refused = [
            "/etc/systemd/system/ssh.service.d",
            "/root",
            "/run/systemd/system/x.d",
            "/lib64/x",
            "/home",
            "/home/bob",
            "//home/bob",
            "/home//bob",
            "/srv/../home/bob",
            "/srv/alice/",
            "srv/alice",
            "/",
        ];
        for (tag, home) in refused
            .map(|tag| (tag, "/home/alice"))
            .into_iter()
            .chain([("/srv/alice", "/srv/alice")])
        {
            let tags = vec![("home".to_owned(), tag.to_owned())];
            host.iam.change_user("alice", |alice| alice.tags = Some(tags));
            host.pass_time(3600);
            host.service.pass().await;
            let mut buffer = [0; MAX_USER_RECORD];
            let directory = host.directory();
            let alice = directory.user_by_name(name("alice"), &mut buffer).unwrap().unwrap();
            assert_eq!(alice.home, home, "{tag}");
        }
    });
}
