//! Puts the parts of the running daemon together: settings, sockets, the metadata server and where credentials come from.
//!
//! `main` calls [`run`]. The folders of this crate meet here and nowhere else.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use keymaker_aws::{AwsSettings, AwsSettingsError, Route};
use keymaker_core::paths;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accounts::{Account, LocalAccounts};
use crate::audit::TracedAudit;
use crate::clock::{Clock, HostClock};
use crate::config::{Capture, Config, Directory, Method};
use crate::credentials::directory_accounts::HostAccounts;
use crate::credentials::metrics::{CountedAudit, Metrics};
use crate::credentials::people::{Keymakerd, People};
use crate::credentials::status_socket;
use crate::credentials::{Aws, Cache, Chain, Chains, Issuer, MethodSettings};
use crate::imds::answer::{MetadataService, TokenPolicy};
use crate::imds::caller::{Arrival, KernelCallers};
use crate::imds::metadata_token::{MetadataTokens, TokenKeyError};
use crate::imds::rules::Rules;
use crate::imds::server::{Limits, Server};
use crate::imds::upstream::Upstream;
use crate::policy::PolicyRefusal;

/// Why the daemon cannot run.
#[derive(Debug)]
pub enum DaemonError {
    /// systemd passed no socket, and no --listen was given; start credd.socket, not credd itself.
    NoSocket,
    /// This address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// A socket that was passed cannot be used.
    Socket(io::Error),
    /// The key of the metadata tokens cannot be used.
    TokenKey(TokenKeyError),
    /// Signals cannot be received.
    Signals(io::Error),
    /// A setting about the way to AWS cannot be used.
    Aws(AwsSettingsError),
    /// An action of deny_actions cannot be used.
    Policy(PolicyRefusal),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket => {
                f.write_str("systemd passed no socket; start credd.socket, or name addresses with --listen")
            }
            Self::Listen(address, why) => write!(f, "{address} cannot be listened on: {why}"),
            Self::Socket(why) => write!(f, "a socket that systemd passed cannot be used: {why}"),
            Self::TokenKey(error) => token_key_problem(error, f),
            Self::Signals(why) => write!(f, "signals cannot be received: {why}"),
            Self::Aws(why) => write!(f, "{why}; see credd.toml(5)"),
            Self::Policy(why) => write!(f, "deny_actions: {why}; see credd.toml(5)"),
        }
    }
}

fn token_key_problem(error: &TokenKeyError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let cannot = |f: &mut fmt::Formatter<'_>, path: &Path, verb: &str, why: &io::Error| {
        write!(
            f,
            "{} cannot be {verb}: {why}; see the owner and mode of its folder",
            path.display()
        )
    };
    match error {
        TokenKeyError::Read(path, why) => cannot(f, path, "read", why),
        TokenKeyError::Write(path, why) => cannot(f, path, "made", why),
        TokenKeyError::NotOurs(path) => {
            let path = path.display();
            write!(
                f,
                "{path} is not a key that only this daemon's user may read; remove it and start again"
            )
        }
    }
}

/// What `main` decides.
pub struct Host {
    /// Where the key of the metadata tokens lies, over restarts.
    pub token_key: PathBuf,
    /// Where root asks how it is going.
    pub status_socket: PathBuf,
    /// Addresses to listen on besides the sockets that systemd passes.
    pub listen: Vec<SocketAddr>,
}

/// Serves until SIGTERM or SIGINT; calls `ready` when the first connection can be taken.
pub async fn run(host: Host, config: &Config, ready: impl FnOnce()) -> Result<(), DaemonError> {
    let listeners = listeners(&host.listen)?;
    let stop = stop_signal()?;
    let metrics = Rc::new(Metrics::default());
    let issuer = issuer(config, Rc::clone(&metrics))?;
    let service =
        service(&host.token_key, config, issuer.clone(), Rc::clone(&metrics)).map_err(DaemonError::TokenKey)?;
    match status_socket::listen(&host.status_socket) {
        Ok(socket) => drop(tokio::task::spawn_local(status_socket::serve(
            socket,
            issuer.clone(),
            metrics,
        ))),
        // Users are served all the same.
        Err(error) => {
            tracing::warn!(%error, socket = %host.status_socket.display(), "the status socket cannot be listened on")
        }
    }
    tokio::task::spawn_local(tidy(issuer));
    let server = Server::new(service, Limits::default());
    let mut serving = JoinSet::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(DaemonError::Socket)?;
        serving.spawn_local(Rc::clone(&server).run(listener, stopped(stop.subscribe())));
    }
    ready();
    while serving.join_next().await.is_some() {}
    Ok(())
}

fn service<S>(
    key: &Path,
    config: &Config,
    source: S,
    metrics: Rc<Metrics>,
) -> Result<MetadataService<S>, TokenKeyError> {
    let arrival = match config.capture {
        Capture::Route => Arrival::Transparent,
        Capture::Nft => Arrival::Redirected,
    };
    let token_policy = if config.require_imds_v2 {
        TokenPolicy::Required
    } else {
        TokenPolicy::Optional
    };
    Ok(MetadataService {
        source,
        callers: Box::new(KernelCallers::new(arrival)),
        accounts: Box::new(host_accounts(config)),
        tokens: MetadataTokens::load(key)?,
        rules: Rules::new(config.rules()),
        upstream: Upstream::new(config.metadata_endpoints()),
        audit: Box::new(CountedAudit {
            log: TracedAudit,
            metrics,
        }),
        clock: Box::new(HostClock),
        token_policy,
        token_hop_limit: config.token_hop_limit,
    })
}

/// Where credentials come from on this host.
fn issuer(config: &Config, metrics: Rc<Metrics>) -> Result<HostIssuer, DaemonError> {
    let clock: Rc<dyn Clock> = Rc::new(HostClock);
    let route = Route::new(&aws_settings(config)).map_err(DaemonError::Aws)?;
    let settings = MethodSettings::new(config).map_err(DaemonError::Policy)?;
    let chain = Chain::new(settings, Aws::new(route, Rc::clone(&clock)), Rc::clone(&clock));
    let keymakerd = Keymakerd {
        contact: paths::CONTACT.into(),
        login_socket: paths::LOGIN_SOCKET.into(),
        authz_ttl: Duration::from_secs(config.authz_ttl.into()),
    };
    let people = People::new(host_accounts(config), keymakerd, Rc::clone(&clock));
    let cache = Cache::new(chain, clock, Rc::clone(&metrics));
    Ok(Issuer::new(people, config.clone(), cache, metrics))
}

type HostIssuer = Issuer<Chain, Config>;

impl Chains for Config {
    fn chain(&self, uid: u32, account: &Account) -> &[Method] {
        self.chain(uid, account)
    }

    fn names(&self, uid: u32, account: &Account) -> bool {
        self.names(uid, account)
    }
}

fn host_accounts(config: &Config) -> HostAccounts {
    let wanted = match config.directory {
        Directory::Required => true,
        Directory::None => false,
        Directory::Auto => Path::new(paths::KEYMAKERD_TOML).exists(),
    };
    HostAccounts::new(LocalAccounts::host(), wanted.then(|| paths::DIRECTORY.into()))
}

fn aws_settings(config: &Config) -> AwsSettings {
    AwsSettings {
        region: config.region.clone(),
        iam_endpoint: config.iam_endpoint.clone(),
        sts_endpoint: config.sts_endpoint.clone(),
        metadata_endpoint: config.metadata_endpoint.clone(),
        https_proxy: config.https_proxy.as_ref().map(|proxy| proxy.expose().to_owned()),
        ca_bundle: config.ca_bundle.clone(),
    }
}

async fn tidy(issuer: HostIssuer) {
    let mut ticks = tokio::time::interval(BETWEEN_TIDYINGS);
    loop {
        ticks.tick().await;
        issuer.tidy();
    }
}

fn listeners(named: &[SocketAddr]) -> Result<Vec<TcpListener>, DaemonError> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut listeners = vec![];
    for index in 0..passed.len() {
        listeners.extend(passed.take_tcp_listener(index).map_err(DaemonError::Socket)?);
    }
    for address in named {
        listeners.push(TcpListener::bind(address).map_err(|why| DaemonError::Listen(*address, why))?);
    }
    for listener in &listeners {
        listener.set_nonblocking(true).map_err(DaemonError::Socket)?;
    }
    if listeners.is_empty() {
        Err(DaemonError::NoSocket)
    } else {
        Ok(listeners)
    }
}

/// A channel that closes at SIGTERM or SIGINT.
fn stop_signal() -> Result<watch::Sender<()>, DaemonError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
    let (stop, _) = watch::channel(());
    let sender = stop.clone();
    tokio::task::spawn_local(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(());
    });
    Ok(stop)
}

async fn stopped(mut stop: watch::Receiver<()>) {
    // An error means that the sender is gone, and with it the daemon's reason to run.
    let _ = stop.changed().await;
}

const BETWEEN_TIDYINGS: Duration = Duration::from_secs(10);
