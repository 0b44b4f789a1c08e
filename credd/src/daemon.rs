//! Runs the daemon: sockets, signals, the metadata server and where credentials come from.
//!
//! `main` calls [`run`]. `parts` makes the parts of the settings, `reload` makes them again. The folders of this crate meet in
//! these three files and nowhere else.

mod parts;
mod reload;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use credd_core::config::Config;
use keymaker_aws::{ArnError, AwsSettingsError};
use keymaker_daemon::log::Log;
use keymaker_daemon::systemd;
use session_policy::PolicyRefusal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::audit::FewRefusals;
use crate::clock::HostClock;
use crate::credentials::metrics::Metrics;
use crate::credentials::status_socket::{self, Status};
use crate::imds::metadata_token::TokenKeyError;
use crate::imds::server::{Limits, Server};
pub use parts::chain;
use parts::{HostIssuer, Parts};
use reload::Running;

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
    /// The folder of the container endpoint's token files cannot be used; see RuntimeDirectory= of the unit.
    TokenFiles(PathBuf, io::Error),
    /// Signals cannot be received.
    Signals(io::Error),
    /// A setting about the way to AWS cannot be used.
    Aws(AwsSettingsError),
    /// An action of deny_actions cannot be used.
    Policy(PolicyRefusal),
    /// id_resolver_account or id_resolver_iam_role cannot be used.
    IdResolver(ArnError),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket => {
                f.write_str("systemd passed no socket; start credd.socket, or name addresses with --listen")
            }
            Self::Listen(address, why) => write!(f, "cannot listen on {address}: {why}"),
            Self::Socket(why) => write!(f, "a socket passed by systemd cannot be used: {why}"),
            Self::TokenKey(error) => token_key_problem(error, f),
            Self::TokenFiles(path, why) => write!(
                f,
                "{} cannot hold token files: {why}; see RuntimeDirectory= of credd.service",
                path.display()
            ),
            Self::Signals(why) => write!(f, "cannot receive signals: {why}"),
            Self::Aws(why) => write!(f, "{why}; see credd.toml(5)"),
            Self::Policy(why) => write!(f, "deny_actions: {why}; see credd.toml(5)"),
            Self::IdResolver(why) => write!(f, "id_resolver_account, id_resolver_iam_role: {why}; see credd.toml(5)"),
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
                "{path} is not a key that only this daemon's user may read; remove the file and start again"
            )
        }
    }
}

/// What `main` decides.
pub struct Host {
    /// Where the settings stand.
    pub config: PathBuf,
    /// Where the key of the metadata tokens lies, over restarts.
    pub token_key: PathBuf,
    /// Where credd-capture says whether capture is as planned.
    pub capture_state: PathBuf,
    /// Where the token files of the container endpoint lie.
    pub token_files: PathBuf,
    /// Where root asks how it is going.
    pub status_socket: PathBuf,
    /// Addresses to listen on besides the sockets that systemd passes.
    pub listen: Vec<SocketAddr>,
    /// Where audit lines go.
    pub log: Log,
}

/// Serves until SIGTERM or SIGINT; calls `ready` when the first connection can be taken. `config` is what stands at
/// `host.config`, which is read again at SIGHUP.
pub async fn run(host: Host, config: Config, ready: impl FnOnce()) -> Result<(), DaemonError> {
    let listeners = listeners(&host.listen)?;
    let stop = stop_signal()?;
    let hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
    let metrics = Rc::new(Metrics::default());
    let parts = Parts {
        token_key: host.token_key,
        capture_state: host.capture_state,
        token_files: host.token_files,
        capture: config.capture,
        metrics: Rc::clone(&metrics),
        audit: Rc::new(FewRefusals::new(host.log, Rc::new(HostClock))),
    };
    let issuer = parts.issuer(&config, None)?;
    let server = Server::new(parts.service(&config, issuer.clone())?, Limits::default());
    let looked_at = Rc::new(Notify::new());
    match status_socket::listen(&host.status_socket) {
        Ok(socket) => drop(tokio::task::spawn_local(status_socket::serve(
            socket,
            Status {
                issuer: issuer.clone(),
                metrics,
                capture_problem: parts.capture_problem(),
                looked_at: Rc::clone(&looked_at),
            },
        ))),
        // Users are served all the same.
        Err(error) => {
            tracing::warn!(%error, socket = %host.status_socket.display(), "cannot listen on the status socket")
        }
    }
    issuer.warm(vec![]);
    tokio::task::spawn_local(tidy(issuer.clone(), Rc::clone(&server)));
    tokio::task::spawn_local(tell_of_refusals(Rc::clone(&parts.audit)));
    let mut serving = JoinSet::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(DaemonError::Socket)?;
        serving.spawn_local(Rc::clone(&server).run(listener, stopped(stop.subscribe())));
    }
    let running = Running {
        file: host.config,
        config,
        parts,
        issuer,
        server,
        looked_at,
    };
    tokio::task::spawn_local(reload::at_each(hangup, running));
    tokio::task::spawn_local(systemd::feed_watchdog(tokio::time::sleep));
    ready();
    while serving.join_next().await.is_some() {}
    systemd::stopping();
    Ok(())
}

async fn tidy(issuer: HostIssuer, server: Rc<Server<HostIssuer>>) {
    let mut ticks = tokio::time::interval(BETWEEN_TIDYINGS);
    loop {
        ticks.tick().await;
        issuer.tidy();
        server.tidy();
    }
}

async fn tell_of_refusals(audit: Rc<FewRefusals<Log>>) {
    let mut ticks = tokio::time::interval(BETWEEN_REFUSALS);
    loop {
        ticks.tick().await;
        audit.tidy();
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
/// How long the last refusal of a flood waits for its line.
const BETWEEN_REFUSALS: Duration = Duration::from_secs(1);
