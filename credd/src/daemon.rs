//! Runs the daemon: sockets, signals, the metadata server and where credentials come from.
//!
//! `main` calls [`run`]. `parts` makes the parts of the settings, `reload` makes them again. The folders of this crate
//! meet in these three files and nowhere else.

mod error;
mod parts;
mod reload;

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use credd_core::config::Config;
use keymaker_daemon::log::{Log, LogLevel};
use keymaker_daemon::metrics_file::{METRICS_EVERY, MetricsFile};
use keymaker_daemon::{status_socket, systemd};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::audit::AuditEvent;
use crate::clock::{Clock, HostClock};
use crate::credentials::Chain;
use crate::credentials::metrics::Metrics;
use crate::credentials::status_socket::Status;
use crate::imds::server::{Limits, Server};
pub use error::DaemonError;
use keymaker_daemon::audit::FewRefusals;
use parts::{DaemonParts, HostIssuer};
pub use parts::{chain, check_settings};
use reload::Running;

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
    /// How much else is written.
    pub log_level: LogLevel,
}

/// Serves until SIGTERM or SIGINT; calls `ready` when the first connection can be taken. `config` is what stands at
/// `host.config`, which is read again at SIGHUP.
pub async fn run(host: Host, config: Config, ready: impl FnOnce()) -> Result<(), DaemonError> {
    let listeners = listeners(&host.listen)?;
    let stop = stop_signal()?;
    let hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
    let metrics = Rc::new(Metrics::default());
    let parts = DaemonParts {
        token_key: host.token_key,
        capture_state: host.capture_state,
        token_files: host.token_files,
        capture: config.capture,
        metrics: Rc::clone(&metrics),
        metrics_file: Rc::new(RefCell::new(config.metrics_file.clone())),
        audit: Rc::new(FewRefusals::new(host.log, || HostClock.since_boot())),
    };
    let issuer = parts.issuer(&config, None)?;
    let server = Server::new(parts.service(&config, issuer.clone())?, Limits::default());
    let looked_at = Rc::new(Notify::new());
    let status = Rc::new(Status {
        issuer: issuer.clone(),
        metrics,
        capture_problem: parts.capture_problem(),
        looked_at: Rc::clone(&looked_at),
        started: HostClock.now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    });
    tokio::task::spawn_local(keep_metrics(Rc::clone(&status), Rc::clone(&parts.metrics_file)));
    match status_socket::listen(&host.status_socket) {
        Ok(socket) => {
            tokio::task::spawn_local(status_socket::serve(
                socket,
                host.log_level,
                async move |method, path| status.answer(method, path).await,
            ));
        }
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

/// Writes the metrics where the settings say.
async fn keep_metrics(status: Rc<Status<Chain, Config>>, path: Rc<RefCell<Option<PathBuf>>>) {
    let file = MetricsFile::default();
    let mut ticks = tokio::time::interval(METRICS_EVERY);
    loop {
        ticks.tick().await;
        let path = path.borrow().clone();
        if let Some(path) = path {
            file.write(path, status.counted());
        }
    }
}

async fn tell_of_refusals(audit: Rc<FewRefusals<Log, AuditEvent>>) {
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
