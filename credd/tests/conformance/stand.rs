//! A metadata server of the real code in a thread of its own, and a client that sends exactly the bytes it is given.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use credd::accounts::{Account, Accounts};
use credd::audit::{AuditEvent, AuditLog};
use credd::clock::{Clock, HostClock};
use credd::imds::answer::{MetadataService, TokenPolicy};
use credd::imds::caller::{Arrival, CallerError, IdentifyCaller, KernelCallers, SocketOwner};
use credd::imds::credential_source::{Caller, CredentialSource, Credentials, Outcome, Reason, Secret};
use credd::imds::metadata_token::MetadataTokens;
use credd::imds::rules::Rules;
use credd::imds::server::{Limits, Server};
use credd::imds::upstream::Upstream;
use keymaker_aws::RoleArn;
use tokio::sync::oneshot;

use crate::stand_in::StandIn;

pub const ALICE: u32 = 2001;
pub const BOB: u32 = 2002;
pub const INSTANCE_CONNECT: u32 = 997;

/// What the stand's credential source says to a uid.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// Credentials that end so many seconds from now.
    Issue(i64),
    NotApplicable,
    Denied,
    /// The role is known, STS refuses it.
    RefusedByAws,
    /// The role is known, STS does not answer properly.
    AwsDown,
    Transient,
    Hang,
}

/// What a test may change while the server runs.
pub struct Shared {
    pub uid: Option<u32>,
    pub unidentified: bool,
    pub changed_before_secret: bool,
    pub root_has_a_name: bool,
    pub plans: HashMap<u32, Plan>,
    pub later: Duration,
    pub audit: Vec<AuditEvent>,
    pub prewarmed: Vec<u32>,
    /// Keeps the accepted socket, and with it the connection, open.
    pub keep_socket: bool,
    pub last_socket: Option<OwnedFd>,
}

pub struct Stand {
    pub address: SocketAddr,
    pub real: StandIn,
    pub shared: Arc<Mutex<Shared>>,
    key: PathBuf,
    running: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
    options: Options,
}

#[derive(Clone, Copy)]
pub struct Options {
    pub token_policy: TokenPolicy,
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token_policy: TokenPolicy::Required,
            limits: Limits::default(),
        }
    }
}

/// Runs `check` on a server of each family.
pub fn on_both(check: impl Fn(&mut Stand)) {
    with_options(Options::default(), check);
}

pub fn with_options(options: Options, check: impl Fn(&mut Stand)) {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        check(&mut Stand::start(address, options));
    }
}

/// As `on_both`, with IMDSv1 allowed.
pub fn with_v1(check: impl Fn(&mut Stand)) {
    with_options(
        Options {
            token_policy: TokenPolicy::Optional,
            ..Options::default()
        },
        check,
    );
}

impl Stand {
    fn start(address: &str, options: Options) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let plans = HashMap::from([(ALICE, Plan::Issue(3600)), (BOB, Plan::Issue(3600))]);
        let shared = Shared {
            uid: Some(ALICE),
            unidentified: false,
            changed_before_secret: false,
            root_has_a_name: false,
            plans,
            later: Duration::ZERO,
            audit: vec![],
            prewarmed: vec![],
            keep_socket: false,
            last_socket: None,
        };
        let mut stand = Self {
            address: address.parse().unwrap(),
            real: StandIn::start(),
            shared: Arc::new(Mutex::new(shared)),
            key: std::env::temp_dir().join(format!("credd-conformance-{}-{number}", std::process::id())),
            running: None,
            options,
        };
        stand.run();
        stand
    }

    /// Stops the daemon's part and starts it anew on the same port, as a restart does.
    pub fn restart(&mut self) {
        self.stop();
        self.run();
    }

    fn run(&mut self) {
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (real, shared, key, options) = (
            self.real.address,
            Arc::clone(&self.shared),
            self.key.clone(),
            self.options,
        );
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                let server = Server::new(service(real, &shared, &key, options), options.limits);
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                server.run(listener, async { drop(stopped.await) }).await;
            });
        });
        self.running = Some((stop, thread));
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            thread.join().unwrap();
        }
    }

    pub fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    pub fn become_uid(&self, uid: u32) {
        self.shared().uid = Some(uid);
    }

    pub fn plan(&self, uid: u32, plan: Plan) {
        self.shared().plans.insert(uid, plan);
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends `bytes` and reads until the server closes.
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect();
        stream.write_all(bytes.as_ref()).unwrap();
        Reply::read(stream)
    }

    /// One request with the ordinary Host and these header lines.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Reply {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        self.raw(format!(
            "{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{headers}\r\n"
        ))
    }

    pub fn token(&self) -> String {
        let reply = self.ask(
            "PUT",
            "/latest/api/token",
            &["X-aws-ec2-metadata-token-ttl-seconds: 21600"],
        );
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.text()
    }

    /// A GET with a fresh token.
    pub fn get(&self, path: &str) -> Reply {
        self.with_token("GET", path, &[])
    }

    pub fn with_token(&self, method: &str, path: &str, headers: &[&str]) -> Reply {
        let token = format!("X-aws-ec2-metadata-token: {}", self.token());
        let headers: Vec<&str> = headers.iter().copied().chain([token.as_str()]).collect();
        self.ask(method, path, &headers)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_file(&self.key);
    }
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// Status 0 stands for a connection that was closed without a reply.
    pub fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset ends a connection too; waiting in vain is the one thing that must not happen.
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Self {
                status: 0,
                headers: vec![],
                body: bytes,
            };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| {
            line.split_once(": ")
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        };
        Self {
            status,
            headers: lines.map(|line| pair(line).unwrap()).collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn service(
    real: SocketAddr,
    shared: &Arc<Mutex<Shared>>,
    key: &std::path::Path,
    options: Options,
) -> MetadataService<Stage> {
    let stage = Stage(Arc::clone(shared));
    MetadataService {
        source: stage.clone(),
        callers: Box::new(RenamedCallers {
            kernel: KernelCallers::new(Arrival::Transparent),
            stage: stage.clone(),
        }),
        accounts: Box::new(stage.clone()),
        tokens: MetadataTokens::load(key).unwrap(),
        rules: Rules::new(vec![]),
        upstream: Upstream::new(vec![real]),
        audit: Box::new(stage.clone()),
        clock: Box::new(stage),
        token_policy: options.token_policy,
        token_hop_limit: 1,
    }
}

/// The test's side of everything the server asks.
#[derive(Clone)]
struct Stage(Arc<Mutex<Shared>>);

struct RenamedCallers {
    kernel: KernelCallers,
    stage: Stage,
}

impl IdentifyCaller for RenamedCallers {
    fn owner(&self, accepted: BorrowedFd<'_>) -> Result<SocketOwner, CallerError> {
        let found = self.kernel.owner(accepted)?;
        let mut shared = self.stage.0.lock().unwrap();
        if shared.keep_socket {
            shared.last_socket = Some(accepted.try_clone_to_owned().unwrap());
        }
        if shared.unidentified {
            return Err(CallerError::Orphaned);
        }
        Ok(SocketOwner {
            uid: shared.uid.unwrap_or(found.uid),
            ..found
        })
    }

    fn still(&self, accepted: BorrowedFd<'_>, owner: SocketOwner) -> Result<(), CallerError> {
        if self.stage.0.lock().unwrap().changed_before_secret {
            return Err(CallerError::Changed);
        }
        if self.owner(accepted)? == owner {
            Ok(())
        } else {
            Err(CallerError::Changed)
        }
    }
}

impl Accounts for Stage {
    fn account(&self, uid: u32) -> Account {
        let name = match uid {
            0 if self.0.lock().unwrap().root_has_a_name => "root",
            ALICE => "alice",
            BOB => "bob",
            INSTANCE_CONNECT => "ec2-instance-connect",
            _ => return Account::default(),
        };
        Account {
            user: Some(name.to_owned()),
            groups: vec![name.to_owned()],
        }
    }
}

impl AuditLog for Stage {
    fn record(&self, event: &AuditEvent) {
        self.0.lock().unwrap().audit.push(event.clone());
    }
}

impl Clock for Stage {
    fn now(&self) -> SystemTime {
        HostClock.now() + self.0.lock().unwrap().later
    }

    fn since_boot(&self) -> Duration {
        HostClock.since_boot() + self.0.lock().unwrap().later
    }
}

impl Stage {
    fn plan(&self, caller: &Caller) -> Plan {
        self.0
            .lock()
            .unwrap()
            .plans
            .get(&caller.owner.uid)
            .copied()
            .unwrap_or(Plan::NotApplicable)
    }
}

impl CredentialSource for Stage {
    async fn role(&self, caller: &Caller) -> Outcome<RoleArn> {
        let reason = || Reason("the test says so".into());
        match self.plan(caller) {
            Plan::NotApplicable => Outcome::NotApplicable,
            Plan::Denied => Outcome::Denied(reason()),
            Plan::Transient => Outcome::Transient(reason()),
            Plan::Hang => std::future::pending().await,
            Plan::Issue(_) | Plan::RefusedByAws | Plan::AwsDown => {
                let user = caller.account.user.clone().unwrap();
                Outcome::Issued(
                    format!("arn:aws:iam::123456789012:role/people/user-{user}")
                        .parse()
                        .unwrap(),
                )
            }
        }
    }

    async fn credentials(&self, caller: &Caller, role: &RoleArn) -> Outcome<Credentials> {
        let now = HostClock.now();
        match self.plan(caller) {
            Plan::RefusedByAws => {
                Outcome::Denied(Reason("AccessDenied: arn:aws:sts::123456789012:secret-detail".into()))
            }
            Plan::AwsDown => Outcome::Transient(Reason("STS is down".into())),
            Plan::Issue(seconds) => Outcome::Issued(Credentials {
                access_key_id: format!("ASIA{}", role.name().to_ascii_uppercase().replace('-', "")),
                secret_access_key: Secret::new(format!("secret/of+\"{}\"", caller.owner.uid)),
                sts_session_token: Secret::new("FwoGZXIvYXdzEXAMPLE==".into()),
                last_updated: now,
                expiration: now.checked_add_signed_seconds(seconds),
            }),
            other => panic!("{other:?} has no role"),
        }
    }

    fn prewarm(&self, caller: &Caller) {
        self.0.lock().unwrap().prewarmed.push(caller.owner.uid);
    }
}

trait AddSigned {
    fn checked_add_signed_seconds(self, seconds: i64) -> Self;
}

impl AddSigned for SystemTime {
    fn checked_add_signed_seconds(self, seconds: i64) -> Self {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { self - distance } else { self + distance }
    }
}
