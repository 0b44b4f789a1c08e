//! The service with a fake IAM and real files: what others would read after each thing that can happen.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use keymaker_aws::{Action, AwsCallError, OutageCause};
use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, Verdict};
use keymaker_core::keys_file::KeysFile;
use keymaker_core::login::{Doubt, LoginDecision, Refusal, last_contact};
use keymaker_core::name::{GroupName, UserName};
use test_folder::TestFolder;

use super::asking::nudge::Cause;
use super::iam::fake::IamFake;
use super::outcome::DirectoryOutcome;
use super::publishing::published::PublishedState;
use super::publishing::store::Store;
use super::service::{AskedAccounts, Service};
use super::state::{Grade, State};
use crate::clock::AnswerClock;
use crate::config::KeymakerdConfig;
use crate::local_accounts::LocalAccounts;

mod asking;
mod boot;
mod disk;
mod ending;
mod growth;
mod identity;
mod many;
mod model;
mod names_move;
mod neighbours;
mod nudges;
mod outages;
mod people;
mod proofs;
mod publication;
mod settings;

const KEY: &str = include_str!("testdata/rsa2048.pub");
const LOCAL_PASSWD: &str = "root:x:0:0::/root:/bin/sh\nlocalbob:x:1000:1000::/home/localbob:/bin/bash\n";
const LOCAL_GROUP: &str = "root:x:0:\nsudo:x:27:\nkeymaker-users:x:998:\nkeymaker-sudo:x:997:\n";
const SSHD: Cause = Cause::KeyOffered;

struct Host {
    iam: IamFake,
    service: Rc<Service<IamFake>>,
    folder: TestFolder,
}

fn host(settings: &str) -> Host {
    let folder = TestFolder::new();
    for part in ["public", "private", "run"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    let iam = IamFake::new();
    iam.add_group("keymaker_devs", "AGPADEVS", 1);
    iam.add_group("prod_ssh_users", "AGPAPROD", 1);
    iam.add_user("alice", "AIDAALICE", 100);
    iam.add_key("alice", "APKA1", KEY);
    iam.join("alice", "keymaker_devs");
    let service = start(&folder, settings, &iam, Rc::default());
    Host { iam, service, folder }
}

/// The daemon's start, on whatever lies in the folder.
fn start(folder: &std::path::Path, settings: &str, iam: &IamFake, clock: Rc<AnswerClock>) -> Rc<Service<IamFake>> {
    let store = Store {
        public: folder.join("public"),
        private: folder.join("private"),
        run: folder.join("run"),
        stuck: Default::default(),
    };
    let contact = store.contact(clock.unix());
    let facts: super::facts::Facts = store.load("facts.json").unwrap().unwrap_or_default();
    let state = State {
        config: KeymakerdConfig::parse(&everybody(settings), "keymakerd.toml".as_ref()).unwrap(),
        settings: store.load_settings().unwrap(),
        facts: facts.since_contact(contact),
        issuers: store.load("issuers.json").unwrap().unwrap_or_default(),
        ids: store.load_ids().unwrap(),
        published: PublishedState::left_in(&store),
        unpublished: true,
        login_unpublished: false,
        local: LocalAccounts::parse(LOCAL_PASSWD, LOCAL_GROUP, "/bin/bash\n/bin/zsh\n"),
        neighbours: Default::default(),
        contact,
        instance_id: Some("i-0123456789abcdef0".into()),
        grade: Grade::default(),
        grade_until: None,
        outages: Default::default(),
        unknown_names: super::asking::limits::UnknownNames::new(),
        offered_keys: super::asking::limits::OfferedKeys::default(),
        no_such_user: Default::default(),
        early_pass: None,
        iam_goes_by_case: None,
        tags_wanted: 0,
        last_failure: None,
        settings_problems: Vec::new(),
        settings_file_problem: None,
        throttled: false,
        aws_is_silent: false,
        halted: false,
    };
    let service = Service::new(state, store, clock);
    service.ask(Some(AskedAccounts {
        id_resolver: None,
        host: iam.clone(),
        host_role: Some("host".into()),
        people: iam.clone(),
        people_nudged: iam.clone(),
    }));
    service
}

/// Most tests are about users without keys, as if they were people.
fn everybody(settings: &str) -> String {
    let publish = if settings.contains("publish =") {
        ""
    } else {
        "publish = \"all\"\n"
    };
    format!("{publish}{settings}")
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

    fn shell(&self, login: &str) -> String {
        let mut buffer = [0; MAX_USER_RECORD];
        let directory = self.directory();
        let user = directory.user_by_name(name(login), &mut buffer).unwrap().unwrap();
        user.shell.to_owned()
    }

    fn member_count(&self, group: &str) -> u32 {
        let mut buffer = [0; 4096];
        let group = GroupName::parse(group.as_bytes()).unwrap();
        let directory = self.directory();
        directory
            .group_by_name(group, &mut buffer)
            .unwrap()
            .unwrap()
            .member_count
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
            if full {
                std::fs::create_dir(aside).unwrap()
            } else {
                std::fs::remove_dir(aside).unwrap()
            }
        }
    }

    async fn restart(&mut self, settings: &str) {
        let clock = Rc::clone(&self.service.clock);
        self.service = start(&self.folder, settings, &self.iam, clock);
        self.service.publish().await.unwrap();
    }

    fn pass_time(&self, seconds: u64) {
        self.service.clock.advance(Duration::from_secs(seconds));
    }
}
