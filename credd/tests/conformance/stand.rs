//! A metadata server of the real code in a thread of its own, and a client that sends exactly the bytes it is given.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use credd::imds::answer::{TokenPolicy, UserMetadataService};
use credd::imds::caller::{Arrival, KernelCallers};
use credd::imds::container_door::ContainerDoor;
use credd::imds::metadata_token::MetadataTokens;
use credd::imds::server::{Limits, Server};
use credd::imds::token_files::TokenFiles;
use credd::imds::upstream::Upstream;
use credd_core::config::CONTAINER_PORT;
use credd_core::metadata::rules::Rules;
use tokio::sync::oneshot;

use crate::installed;
pub use crate::reply::Reply;
pub use crate::stage::{ALICE, BOB, INSTANCE_CONNECT, Plan, Shared};
use crate::stage::{RenamedCallers, Stage};
use crate::stand_in::StandIn;

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
    /// Whether the server's port is the container endpoint's.
    pub container: bool,
    /// Whether that is closed.
    pub container_closed: bool,
    pub token_hop_limit: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token_policy: TokenPolicy::Required,
            limits: Limits::default(),
            container: false,
            container_closed: false,
            token_hop_limit: 1,
        }
    }
}

/// Runs `check` on a server of each family.
pub fn on_both(check: impl Fn(&mut Stand)) {
    with_options(Options::default(), check);
}

pub fn with_options(options: Options, check: impl Fn(&mut Stand)) {
    if installed::is_meant() {
        for address in installed::ADDRESSES {
            installed::as_far_as_it_goes(|| {
                installed::begin(options);
                check(&mut Stand::start(address, options));
            });
        }
        return;
    }
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
            accounts_read: 0,
            changed_before_secret: false,
            root_has_a_name: false,
            plans,
            later: Duration::ZERO,
            capture_problem: None,
            audit: vec![],
            journal_hangs: false,
            gate: None,
            prewarmed: vec![],
            keep_socket: false,
            last_socket: None,
        };
        let mut stand = Self {
            address: address.parse().unwrap(),
            real: if installed::is_meant() {
                StandIn::of_the_sandbox()
            } else {
                StandIn::start()
            },
            shared: Arc::new(Mutex::new(shared)),
            key: std::env::temp_dir().join(format!("credd-conformance-{}-{number}", std::process::id())),
            running: None,
            options,
        };
        if !installed::is_meant() {
            stand.run();
        }
        stand
    }

    /// Stops the daemon's part and starts it again on the same port, as a restart does.
    pub fn restart(&mut self) {
        if installed::is_meant() {
            return installed::begin(self.options);
        }
        self.stop();
        self.run();
    }

    fn run(&mut self) {
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (real, address, shared, key, options) = (
            self.real.address,
            self.address,
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
                let server = Server::new(service(real, address, &shared, &key, options), options.limits);
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                // A task of its own, as in the daemon.
                let serving = tokio::task::spawn_local(server.run(listener, async { drop(stopped.await) }));
                serving.await.unwrap();
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

    /// What a test may change or look up in the server of this process.
    pub fn shared(&self) -> MutexGuard<'_, Shared> {
        if installed::is_meant() {
            installed::end_of_row();
        }
        self.shared.lock().unwrap()
    }

    pub fn become_uid(&self, uid: u32) {
        self.shared.lock().unwrap().uid = Some(uid);
    }

    pub fn plan(&self, uid: u32, plan: Plan) {
        if installed::is_meant() {
            return installed::plan(plan);
        }
        self.shared().plans.insert(uid, plan);
    }

    pub fn connect(&self) -> TcpStream {
        let stream = match self.shared.lock().unwrap().uid {
            Some(uid) if installed::is_meant() => installed::connect(self.address, uid),
            _ => TcpStream::connect(self.address).unwrap(),
        };
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

    /// The folder of the container endpoint's token files.
    pub fn tokens(&self) -> PathBuf {
        token_folder(&self.key)
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
        let _ = std::fs::remove_dir_all(self.key.with_extension("tokens"));
    }
}

fn token_folder(key: &Path) -> PathBuf {
    let folder = key.with_extension("tokens");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn service(
    real: SocketAddr,
    address: SocketAddr,
    shared: &Arc<Mutex<Shared>>,
    key: &Path,
    options: Options,
) -> UserMetadataService<Stage> {
    let stage = Stage(Arc::clone(shared));
    UserMetadataService {
        source: stage.clone(),
        callers: Box::new(RenamedCallers {
            kernel: KernelCallers::new(Arrival::Transparent),
            stage: stage.clone(),
        }),
        container_port: if options.container {
            address.port()
        } else {
            CONTAINER_PORT
        },
        container: (options.container && !options.container_closed).then(|| ContainerDoor {
            callers: Box::new(RenamedCallers {
                kernel: KernelCallers::new(Arrival::Transparent),
                stage: stage.clone(),
            }),
            files: TokenFiles::open(token_folder(key)).unwrap(),
        }),
        accounts: Box::new(stage.clone()),
        tokens: MetadataTokens::load(key).unwrap(),
        rules: Rules::new(vec![]),
        upstream: Upstream::new(vec![real]),
        capture_problem: {
            let shared = Arc::clone(shared);
            Box::new(move || shared.lock().unwrap().capture_problem)
        },
        audit: Box::new(stage.clone()),
        clock: Box::new(stage),
        token_policy: options.token_policy,
        token_hop_limit: options.token_hop_limit,
    }
}
