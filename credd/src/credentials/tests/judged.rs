//! Who may have anything: the directory's word, asked for at every request, against a keymakerd that says what the test wants.

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use keymaker_core::directory_file::{DirectoryBuilder, Header, NewUser, Verdict, header};
use keymaker_core::id::{IdRange, Uid};
use keymaker_core::name::UserName;
use keymaker_core::published_file::writer::replace_file;

use super::cached::Moved;
use crate::accounts::{Account, LocalAccounts};
use crate::clock::Clock;
use crate::config::Method;
use crate::credentials::directory_accounts::HostAccounts;
use crate::credentials::metrics::Metrics;
use crate::credentials::people::{Keymakerd, People};
use crate::credentials::status_socket;
use crate::credentials::{Cache, Chains, Issuance, Issue, Issuer, Names, Person, Question, Refusal};
use crate::imds::credential_source::{Credentials, Secret};

const ALICE: u32 = 1_900_000_001;
const CAROL: u32 = 1_900_000_003;

/// A host with a directory, its files in a folder of their own.
struct Host {
    folder: PathBuf,
    clock: Moved,
    /// What keymakerd answers; empty: it hangs up.
    answer: Arc<Mutex<&'static str>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Host {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("credd-judged-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("passwd"),
            "root:x:0:0::/:/bin/sh\npostgres:x:105:110::/:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(folder.join("group"), "root:x:0:\nsudo:x:27:\n").unwrap();
        let host = Self {
            folder,
            clock: Moved::default(),
            answer: Arc::new(Mutex::new("fresh")),
            asked: Arc::default(),
        };
        host.listen();
        host.publish(Verdict::Allowed, false);
        host.contact(host.clock.now());
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn listen(&self) {
        let listener = UnixListener::bind(self.path("login.sock")).unwrap();
        let (answer, asked) = (Arc::clone(&self.answer), Arc::clone(&self.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut question) = (stream.unwrap(), [0; 64]);
                let length = stream.read(&mut question).unwrap();
                asked
                    .lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&question[..length]).trim().to_owned());
                let answer = *answer.lock().unwrap();
                if !answer.is_empty() {
                    stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
                }
            }
        });
    }

    fn contact(&self, at: SystemTime) {
        let contact = std::fs::File::create(self.path("contact")).unwrap();
        contact.set_modified(at).unwrap();
    }

    /// Alice with this verdict.
    fn publish(&self, verdict: Verdict, tombstone: bool) {
        let mut ranges = [IdRange::EMPTY; header::RANGES];
        ranges[0] = IdRange::WIDE;
        let mut local_gids = [0; header::LOCAL_GIDS];
        local_gids[0] = 27;
        let mut builder = DirectoryBuilder::new(&Header {
            ranges,
            local_gids,
            whole_range_ours: true,
            settings_unread: false,
            max_stale: 86_400,
            authz_ttl: 60,
            ..Header::NOTHING
        });
        let alice = NewUser {
            name: UserName::parse(b"alice").unwrap(),
            uid: Uid::new(ALICE).unwrap(),
            answered_at: 0,
            verdict,
            tombstone,
            seen_here: true,
            gecos: "",
            home: "/home/alice",
            shell: "/bin/sh",
            iam_user_id: "AIDAALICE",
            iam_user_name: "Alice",
            groups: &[27],
        };
        builder.user(&alice).unwrap();
        replace_file(&self.path("directory"), &builder.build(1).unwrap(), 0o644).unwrap();
    }

    fn accounts(&self) -> HostAccounts {
        let local = LocalAccounts::new(self.path("passwd"), self.path("group"));
        HostAccounts::new(local, Some(self.path("directory")))
    }

    fn people(&self) -> People {
        let keymakerd = Keymakerd {
            contact: self.path("contact"),
            login_socket: self.path("login.sock"),
            authz_ttl: Duration::from_secs(60),
        };
        People::new(self.accounts(), keymakerd, Rc::new(self.clock.clone()))
    }

    fn questions(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.folder));
    }
}

fn nobody_is_named(_: &Account) -> bool {
    false
}

async fn ask(people: &People, uid: u32) -> Result<Person, Refusal> {
    people.person(uid, nobody_is_named).await
}

#[tokio::test]
async fn a_user_of_the_directory_is_known_by_name_groups_and_iam_identity() {
    let host = Host::new("known");
    let person = ask(&host.people(), ALICE).await.unwrap();
    assert_eq!(person.account.user.as_deref(), Some("alice"));
    assert_eq!(person.account.groups, ["alice", "sudo"]);
    assert_eq!(person.names, Names::Trusted);
    assert_eq!(person.iam.unwrap().user_name, "Alice");
    assert_eq!(*host.asked.lock().unwrap(), ["account alice"]);
}

// P20
#[tokio::test]
async fn whoever_the_directory_refuses_gets_nothing_at_the_very_next_request() {
    let host = Host::new("refused");
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
            matches!(ask(&people, ALICE).await, Err(Refusal::Denied(_))),
            "{verdict:?}"
        );
    }
    host.publish(Verdict::Allowed, false);
    assert!(matches!(ask(&people, CAROL).await, Err(Refusal::Denied(_))));
    host.contact(host.clock.now() - Duration::from_secs(86_401));
    assert!(matches!(ask(&people, ALICE).await, Err(Refusal::Transient(_))));
    std::fs::remove_file(host.path("contact")).unwrap();
    assert!(matches!(ask(&people, ALICE).await, Err(Refusal::Transient(_))));
}

// P20
#[tokio::test]
async fn keymakerd_is_asked_again_before_what_it_said_is_older_than_authz_ttl() {
    let host = Host::new("again");
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
    assert!(matches!(ask(&people, ALICE).await, Err(Refusal::Denied(_))));
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
    assert!(matches!(ask(&people, ALICE).await, Err(Refusal::Transient(_))));
}

// P18
#[tokio::test]
async fn a_local_account_is_nobody_in_iam_unless_a_chain_names_it() {
    let host = Host::new("local");
    let people = host.people();
    let postgres = ask(&people, 105).await.unwrap();
    assert_eq!(
        (postgres.account.user.as_deref(), postgres.names),
        (Some("postgres"), Names::NotOurs)
    );
    let question = Question {
        uid: 105,
        person: postgres,
        chain: vec![Method::UserRole],
    };
    assert_eq!(question.user(), Err(Refusal::NotApplicable));
    assert_eq!(question.iam_user_name("{username}"), Err(Refusal::NotApplicable));
    let named = people.person(105, |_| true).await.unwrap();
    assert_eq!(named.names, Names::Trusted);
    // A local person who took the name later: neither of the two is alice in IAM.
    std::fs::write(host.path("passwd"), "alice:x:1000:1000::/:/bin/sh\n").unwrap();
    assert_eq!(ask(&people, 1000).await.unwrap().names, Names::NotOurs);
    assert!(matches!(ask(&people, ALICE).await, Err(Refusal::Denied(_))));
}

// P18
#[tokio::test]
async fn without_the_directory_that_is_required_nobody_gets_anything_but_local_accounts_that_a_chain_names() {
    let host = Host::new("missing");
    let people = host.people();
    std::fs::remove_file(host.path("directory")).unwrap();
    for uid in [0, 105, 1000, ALICE, CAROL] {
        assert!(matches!(ask(&people, uid).await, Err(Refusal::Transient(_))), "{uid}");
    }
    assert!(people.person(105, |_| true).await.is_ok());
    assert!(people.person(ALICE, |_| true).await.is_err());
}

/// Issues to everybody.
struct Generous(Moved, Rc<Cell<usize>>);

impl Issue for Generous {
    async fn issue(&self, _: &Question) -> Result<Issuance, Refusal> {
        self.1.set(self.1.get() + 1);
        Ok(Issuance {
            method: Method::UserRole,
            role: "arn:aws:iam::123456789012:role/r".parse().unwrap(),
            credentials: Credentials {
                access_key_id: "ASIA".into(),
                secret_access_key: Secret::new("s".into()),
                sts_session_token: Secret::new("t".into()),
                last_updated: self.0.now(),
                expiration: self.0.now() + Duration::from_secs(3600),
            },
        })
    }
}

/// The default chain for everybody but uid 105, whose chain is empty.
struct OneChain;

impl Chains for OneChain {
    fn chain(&self, uid: u32, _: &Account) -> &[Method] {
        if uid == 105 { &[] } else { &[Method::UserRole] }
    }

    fn names(&self, uid: u32, _: &Account) -> bool {
        uid == 105
    }
}

// P20
#[tokio::test]
async fn cached_credentials_of_a_refused_user_are_not_given_out_and_are_wiped() {
    let host = Host::new("cached");
    let (metrics, calls) = (Rc::new(Metrics::default()), Rc::new(Cell::new(0)));
    let source = Generous(host.clock.clone(), Rc::clone(&calls));
    let cache = Cache::new(source, Rc::new(host.clock.clone()), Rc::clone(&metrics));
    let issuer = Issuer::new(host.people(), OneChain, cache, metrics);
    tokio::task::LocalSet::new()
        .run_until(async {
            assert!(issuer.issuance(ALICE).await.is_ok());
            assert_eq!(issuer.kept(), 1);
            host.publish(Verdict::NotInRequiredGroup, false);
            assert!(matches!(issuer.issuance(ALICE).await, Err(Refusal::Denied(_))));
            assert_eq!((issuer.kept(), calls.get()), (0, 1));
            // A doubt keeps what there is, and gives out nothing.
            host.publish(Verdict::Allowed, false);
            assert!(issuer.issuance(ALICE).await.is_ok());
            host.contact(host.clock.now() - Duration::from_secs(86_401));
            assert!(matches!(issuer.issuance(ALICE).await, Err(Refusal::Transient(_))));
            assert_eq!((issuer.kept(), calls.get()), (1, 2));
            assert!(matches!(issuer.issuance(105).await, Err(Refusal::Denied(_))));
            assert_eq!(calls.get(), 2);
        })
        .await;
}

/// What the status socket answers to one request.
async fn status(socket: &Path, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

// P19
#[tokio::test]
async fn root_is_told_who_gets_what_and_why_and_no_secret() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new("status");
    let metrics = Rc::new(Metrics::default());
    let source = Generous(host.clock.clone(), Rc::default());
    let cache = Cache::new(source, Rc::new(host.clock.clone()), Rc::clone(&metrics));
    let issuer = Issuer::new(host.people(), OneChain, cache, Rc::clone(&metrics));
    let socket = host.path("status.sock");
    tokio::task::LocalSet::new()
        .run_until(async {
            let listener = status_socket::listen(&socket).unwrap();
            assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
            tokio::task::spawn_local(status_socket::serve(listener, issuer, metrics));
            let issued = status(&socket, &format!("GET /why/{ALICE} HTTP/1.1\r\n\r\n")).await;
            assert!(
                issued.contains(r#""method":"user_role""#) && issued.contains("role/r"),
                "{issued}"
            );
            assert!(!issued.contains("ASIA") && !issued.contains(r#":"s""#), "{issued}");
            let denied = status(&socket, "GET /why/105 HTTP/1.1\r\n\r\n").await;
            assert!(denied.contains("this user's chain is empty"), "{denied}");
            let counted = status(&socket, "GET /metrics HTTP/1.1\r\n\r\n").await;
            assert!(counted.contains("\ncredd_issued_total 1\n"), "{counted}");
            assert!(
                status(&socket, "GET /x HTTP/1.1\r\n\r\n")
                    .await
                    .starts_with("HTTP/1.1 404 ")
            );
        })
        .await;
}
