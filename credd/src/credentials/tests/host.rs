//! A host with a directory, a keymakerd that says what the test wants, and an issuer that issues to everybody.

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use credd_core::accounts::{Account, AccountDoubt, LocalNames};
use credd_core::config::Method;
use keymaker_core::directory_file::{DirectoryBuilder, Header, NewUser, Verdict, header};
use keymaker_core::id::{IdRange, Uid};
use keymaker_core::name::UserName;
use keymaker_core::published_file::writer::replace_file;
use test_folder::TestFolder;

use super::cached::Moved;
use crate::clock::Clock;
use crate::credentials::directory_accounts::HostAccounts;
use crate::credentials::people::{Keymakerd, People};
use crate::credentials::{Chains, CredentialQuestion, CredentialRefusal, Issuance, Issue};
use crate::imds::credential_source::{Credentials, Secret};

pub const ALICE: u32 = 1_900_000_001;

/// A host with a directory, its files in a folder of their own.
pub struct Host {
    folder: TestFolder,
    pub clock: Moved,
    /// What keymakerd answers; empty: it hangs up.
    pub answer: Arc<Mutex<&'static str>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Host {
    pub fn new() -> Self {
        let folder = TestFolder::new();
        folder.file("passwd", "root:x:0:0::/:/bin/sh\npostgres:x:105:110::/:/bin/sh\n");
        folder.file("group", "root:x:0:\nsudo:x:27:\n");
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

    pub fn path(&self, name: &str) -> PathBuf {
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

    pub fn contact(&self, at: SystemTime) {
        let contact = std::fs::File::create(self.path("contact")).unwrap();
        contact.set_modified(at).unwrap();
    }

    /// Alice with this verdict.
    pub fn publish(&self, verdict: Verdict, tombstone: bool) {
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
            ended: false,
            gecos: "",
            home: "/home/alice",
            shell: "/bin/sh",
            iam_user_id: "AIDAALICE",
            iam_user_name: "Alice",
            proofs_from: None,
            groups: &[27],
            former_names: &[],
        };
        builder.user(&alice).unwrap();
        replace_file(&self.path("directory"), &builder.build(1).unwrap(), 0o644).unwrap();
    }

    pub fn accounts(&self) -> HostAccounts {
        let local = LocalNames::new(self.path("passwd"), self.path("group"));
        HostAccounts::new(local, Some(self.path("directory")))
    }

    pub fn people(&self) -> People {
        let keymakerd = Keymakerd {
            contact: self.path("contact"),
            login_socket: self.path("login.sock"),
            authz_ttl: Duration::from_secs(60),
        };
        People::new(self.accounts(), keymakerd, Rc::new(self.clock.clone()))
    }

    pub fn questions(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Issues to everybody.
pub struct Generous(pub Moved, pub Rc<Cell<usize>>);

impl Issue for Generous {
    async fn issue(&self, _: &CredentialQuestion) -> Result<Issuance, CredentialRefusal> {
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

    fn asks_aws(&self, _: &CredentialQuestion) -> bool {
        true
    }

    async fn warm(&self) -> Result<(), CredentialRefusal> {
        Ok(())
    }
}

/// The default chain for everybody but uid 105, whose chain is empty.
pub struct OneChain;

impl Chains for OneChain {
    fn chain(&self, uid: u32, _: &Account) -> Result<&[Method], AccountDoubt> {
        Ok(if uid == 105 { &[] } else { &[Method::UserRole] })
    }

    fn names(&self, uid: u32, _: &Account) -> bool {
        uid == 105
    }
}
