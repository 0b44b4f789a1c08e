//! The daemon: what is kept is read, the sockets are opened, and from then on each task does one thing forever.
//!
//! It is ready as soon as the kept files have been validated, whether or not there is a network: a host must boot
//! without IAM.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use keymaker_aws::{
    Ask, AwsCallError, AwsClients, AwsSettings, AwsSettingsError, MetadataError, OwnPorts, Patience, Principal, Route,
};
use keymaker_core::client::HEARTBEAT_EVERY;
use keymaker_core::paths;
use keymaker_daemon::account_files::AccountFilesError;
use keymaker_daemon::log::{Log, LogLevel};
use keymaker_daemon::metrics_file::{METRICS_EVERY, MetricsFile};
use keymaker_daemon::status_socket::{self, Method, StatusAnswer, StatusCode};
use keymaker_daemon::systemd;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::clock::AnswerClock;
use crate::config::{ConfigError, KeymakerdConfig};
use crate::directory::asking::limits::{OfferedKeys, Outages, UnknownNames};
use crate::directory::entitlement::neighbours::Neighbours;
use crate::directory::facts::Facts;
use crate::directory::iam::aws::AwsIam;
use crate::directory::publishing::published::PublishedState;
use crate::directory::publishing::store::{Store, StoreError};
use crate::directory::service::{AskedAccounts, Service};
use crate::directory::state::State;
use crate::local_accounts::{LocalAccounts, LocalFiles};
use crate::other_services::Children;
use crate::settings::{EffectiveSettings, KeptSettings, SettingsInForce};
use crate::sockets::{self, RequestSocket};
use crate::wakeups::next_second;
use crate::watch;

/// A host does not wait longer for a disk before it boots on.
const FIRST_PUBLICATION: Duration = Duration::from_secs(2);
/// A host on which nobody was ever published waits so long for the first pass: whatever starts after keymakerd, as cron,
/// looks names up once. Together with the former, less than `TimeoutStartSec=`.
const FIRST_CONTACT: Duration = Duration::from_secs(5);

/// A host does not wait longer for a disk before it stops.
const LAST_PUBLICATION: Duration = Duration::from_secs(2);

/// What `main` knows of the host.
pub struct HostPaths {
    /// Where lines of the audit go.
    pub log: Log,
    /// How much else is written.
    pub log_level: LogLevel,
    /// keymakerd.toml, for reloading.
    pub config_path: PathBuf,
    /// Where the files are kept.
    pub store: Store,
    /// Where the sockets lie.
    pub run: PathBuf,
    /// /etc/passwd, /etc/group, /etc/shells.
    pub local_files: LocalFiles,
    /// How other services of this host are asked.
    pub other_services: Children,
}

/// Why the daemon did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum KeymakerdError {
    #[error("{0}")]
    LocalAccounts(AccountFilesError),
    #[error("{0}")]
    Store(StoreError),
    #[error("{0}")]
    Settings(ConfigError),
    #[error("cannot listen on {0}: {1}; try systemd-tmpfiles --create")]
    Socket(PathBuf, std::io::Error),
}

/// Runs until told to stop.
pub async fn run(host: HostPaths) -> Result<(), KeymakerdError> {
    // Before the host takes logins: a user could hold them all.
    let ports = OwnPorts::default();
    ports.hold();
    if let Err(error) = host.store.make_folders() {
        warn!(%error, "what keymakerd learns cannot be saved: {error}");
    }
    let _alone = host.store.hold().map_err(KeymakerdError::Store)?;
    let service = open(&host)?;
    service.audit.begin(Rc::new(host.log.clone()));
    match tokio::time::timeout(FIRST_PUBLICATION, service.publish()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "could not publish at the start; the published files stay as they are: \
            {error}"),
        Err(_) => warn!("the disk is slow; until it answers, the published files stay as they are"),
    }
    // Before anybody can ask, or they would take the heartbeat of a former daemon for this one's.
    let heartbeat = host.run.join(paths::HEARTBEAT);
    // /run is empty after a boot.
    if !heartbeat.exists() {
        service.tries.begin_first(&service.clock);
    }
    beat(&heartbeat);
    service.tries.begin();
    let lookup = open_socket(&host.run.join("lookup.sock"), 0o666, None)?;
    let keys_group = service
        .state()
        .local
        .group(paths::KEYMAKER_KEYS)
        .and_then(|group| group.gid);
    let login = open_socket(&host.run.join("login.sock"), 0o660, keys_group)?;
    tokio::task::spawn_local(sockets::serve(RequestSocket::Lookup, lookup, Rc::clone(&service)));
    tokio::task::spawn_local(sockets::serve(RequestSocket::Login, login, Rc::clone(&service)));
    let connect = {
        let service = Rc::clone(&service);
        async move || connect_if_needed(&service, &ports).await
    };
    tokio::task::spawn_local(Rc::clone(&service).keep_passing(connect));
    tokio::task::spawn_local(keep_probing(Rc::clone(&service)));
    tokio::task::spawn_local(keep_publishing(Rc::clone(&service)));
    tokio::task::spawn_local(keep_publishing_logins(Rc::clone(&service)));
    tokio::task::spawn_local(keep_following_clock(Rc::clone(&service)));
    tokio::task::spawn_local(keep_settling(Rc::clone(&service)));
    tokio::task::spawn_local(watch::follow_local_accounts(
        Rc::clone(&service),
        host.local_files.clone(),
    ));
    tokio::task::spawn_local(keep_auditing(Rc::clone(&service)));
    match status_socket::listen(&host.run.join("status.sock")) {
        Ok(socket) => drop(tokio::task::spawn_local(answer_root(
            socket,
            host.log_level.clone(),
            Rc::clone(&service),
        ))),
        // Everybody else is served all the same.
        Err(error) => warn!(%error, "cannot listen on the status socket: {error}"),
    }
    tokio::task::spawn_local(keep_metrics(Rc::clone(&service)));
    tokio::task::spawn_local(keep_issuers(Rc::clone(&service)));
    tokio::task::spawn_local(systemd::feed_watchdog(tokio::time::sleep));
    tokio::task::spawn_local(keep_beating(heartbeat));
    if service.store.directory().is_none() {
        service.await_contact(FIRST_CONTACT).await;
    }
    systemd::ready();
    info!(users = service.state().published.users, "ready");
    obey_signals(&host, &service).await;
    systemd::stopping();
    if tokio::time::timeout(LAST_PUBLICATION, publish_the_last(&service))
        .await
        .is_err()
    {
        warn!("the disk is slow; what was learned last is not written down");
    }
    Ok(())
}

/// The service as it was left. What another instance left is worth its ids only: this is an image made from that host.
fn open(host: &HostPaths) -> Result<Rc<Service<AwsIam>>, KeymakerdError> {
    let store = host.store.clone();
    let local = LocalAccounts::read(&host.local_files).map_err(KeymakerdError::LocalAccounts)?;
    let left_by = store
        .directory()
        .map(|directory| directory.header().instance_id.to_owned())
        .filter(|id| !id.is_empty());
    let instance_id = own_instance_id();
    if let (Some(own), Some(former)) = (&instance_id, &left_by)
        && own != former
    {
        warn!(%own, %former, "this disk comes from another instance ({former}, this is {own}): its ids are kept, and nobody logs in before the first pass");
        store.forget_contact().map_err(KeymakerdError::Store)?;
    }
    let clock = Rc::new(AnswerClock::default());
    let contact = store.contact(clock.unix());
    // Facts can be had again; ids cannot, nor what an administrator has not accepted yet.
    let facts: Facts = store.load("facts.json").unwrap_or_else(forgotten).unwrap_or_default();
    let mut settings = store.load_settings().map_err(KeymakerdError::Store)?;
    // What holds differently from when it was last read, and not only what changes while this runs.
    let before = settings.file.last().and_then(Result::ok);
    let before = before.map(|config| SettingsInForce::of(&config, &EffectiveSettings::of(&config, &settings)));
    let (config, settings_file_problem) = first_config(&host.config_path, &mut settings)?;
    let ids = store.load_ids().map_err(KeymakerdError::Store)?;
    let held = store
        .load("neighbours.json")
        .unwrap_or_else(forgotten)
        .unwrap_or_default();
    let neighbours = Neighbours::left(held, Rc::new(host.other_services.clone()), || store.published_keys());
    let mut published = PublishedState::left_in(&store);
    published.settings = before;
    let state = State {
        published,
        unpublished: true,
        login_unpublished: false,
        facts: facts.since_contact(contact),
        issuers: store.load("issuers.json").unwrap_or_else(forgotten).unwrap_or_default(),
        settings,
        ids,
        local,
        neighbours,
        contact,
        instance_id: instance_id.or(left_by),
        config,
        grade: Default::default(),
        grade_until: None,
        outages: Outages::default(),
        unknown_names: UnknownNames::new(),
        offered_keys: OfferedKeys::default(),
        no_such_user: Default::default(),
        early_pass: None,
        iam_goes_by_case: None,
        tags_wanted: 0,
        last_failure: None,
        settings_problems: Vec::new(),
        settings_file_problem,
        throttled: false,
        aws_is_silent: false,
        halted: false,
    };
    Ok(Service::new(state, store, clock))
}

/// The settings with which this life begins, and what is wrong with the file: one that cannot be used leaves those that
/// held last.
fn first_config(path: &Path, settings: &mut KeptSettings) -> Result<(KeymakerdConfig, Option<String>), KeymakerdError> {
    let error = match KeymakerdConfig::read(path).and_then(|table| settings.file.take(table)) {
        Ok(config) => return Ok((config, None)),
        Err(error) => error,
    };
    match settings.file.last() {
        Some(Ok(config)) => {
            error!(%error, "the settings that were last read stay in force: {error}");
            Ok((config, Some(error.to_string())))
        }
        _ => Err(KeymakerdError::Settings(error)),
    }
}

fn forgotten<T>(error: StoreError) -> Option<T> {
    error!(%error, "a saved file cannot be used; IAM will be asked again: {error}");
    None
}

fn open_socket(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, KeymakerdError> {
    sockets::listen(path, mode, group).map_err(|error| KeymakerdError::Socket(path.to_owned(), error))
}

/// EC2's Nitro instances say who they are here (Amazon EC2 User Guide, "Detect whether a host is an EC2 instance").
fn own_instance_id() -> Option<String> {
    let tag = std::fs::read_to_string("/sys/class/dmi/id/board_asset_tag").ok()?;
    Some(tag.trim().to_owned()).filter(|tag| tag.starts_with("i-"))
}

async fn connect_if_needed(service: &Rc<Service<AwsIam>>, ports: &OwnPorts) -> Result<(), ()> {
    if service.state().halted || service.is_connected() {
        return Ok(());
    }
    match connect(service, ports).await {
        Ok(accounts) => {
            info!(role = accounts.host_role.as_deref().unwrap_or("none"), "connected");
            service.ask(Some(accounts));
            Ok(())
        }
        Err(error) => {
            let (why, now) = (error.to_string(), service.clock.instant());
            warn!(%why, "AWS cannot be reached yet: {why}");
            let mut state = service.state_mut();
            if error.is_of_this_host() {
                state.outages.note_lack_of_way(now);
            }
            state.last_failure = Some(why);
            state.aws_is_silent = error.is_silence();
            drop(state);
            service.write_status();
            Err(())
        }
    }
}

/// Why there is no way to AWS yet.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("{0}")]
    Metadata(MetadataError),
    #[error("{0}")]
    Aws(AwsCallError),
    #[error("{0}")]
    Settings(String),
}

impl ConnectError {
    fn is_of_this_host(&self) -> bool {
        match self {
            Self::Metadata(error) => error.is_of_this_host(),
            Self::Aws(error) => error.is_of_this_host(),
            Self::Settings(_) => false,
        }
    }

    /// Whether AWS gave no answer. The metadata service is at this host, whose firewall or users may keep it from answering.
    fn is_silence(&self) -> bool {
        matches!(self, Self::Aws(error) if error.is_silence())
    }
}

/// Finds out whose host this is, and makes clients of its account and, where the settings name one, of the people's.
async fn connect(service: &Rc<Service<AwsIam>>, ports: &OwnPorts) -> Result<AskedAccounts<AwsIam>, ConnectError> {
    // What was not free at the start may be by now.
    ports.hold();
    let aws = aws_settings(&service.state().config);
    let route = Route::from_ports(&aws, ports)
        .map_err(|error| ConnectError::Settings(error.to_string()))?
        .telling(service.clock.aws())
        .counting(service.counts.aws.clone());
    learn_instance(service, &route).await.map_err(ConnectError::Metadata)?;
    let host = route.as_instance_role().await.map_err(ConnectError::Metadata)?;
    let identity = host.identity(Patience::SYNC).await.map_err(ConnectError::Aws)?;
    let (host_role, session) = match identity.principal {
        Principal::AssumedRole {
            role_name,
            role_session_name,
        } => (Some(role_name), role_session_name),
        _ => (None, "keymakerd".to_owned()),
    };
    let id_resolver = service.effective().id_resolver;
    let people: AwsClients = match &id_resolver {
        None => host.clone(),
        Some(resolver) => {
            let role = resolver
                .role_arn(&identity.partition)
                .map_err(|error| ConnectError::Settings(error.to_string()))?;
            host.assuming(role, &session)
        }
    };
    Ok(AskedAccounts {
        id_resolver,
        host: AwsIam::new(&host, Patience::SYNC),
        host_role,
        people: AwsIam::new(&people, Patience::SYNC),
        people_nudged: AwsIam::new(&people, Patience::NUDGE),
    })
}

/// Where the hardware did not say which instance this is, the metadata service does.
async fn learn_instance(service: &Rc<Service<AwsIam>>, route: &Route) -> Result<(), MetadataError> {
    let identity = route.metadata().instance_identity().await?;
    let former = service.state().instance_id.clone();
    if former.as_ref() == Some(&identity.instance_id) {
        return Ok(());
    }
    if let Some(former) = former {
        warn!(own = %identity.instance_id, %former, "this disk comes from another instance: nobody logs in before the first pass");
        service.lose_contact().await;
    }
    service.state_mut().instance_id = Some(identity.instance_id);
    Ok(())
}

/// Whether the settings that lead to AWS can be used: URLs, proxy, certificate authorities. Opens no connection.
pub fn check_aws_settings(config: &KeymakerdConfig) -> Result<(), AwsSettingsError> {
    Route::new(&aws_settings(config)).map(drop)
}

fn aws_settings(config: &KeymakerdConfig) -> AwsSettings {
    AwsSettings {
        region: config.region.clone(),
        iam_endpoint: config.iam_endpoint.clone(),
        sts_endpoint: config.sts_endpoint.clone(),
        metadata_endpoint: config.metadata_endpoint.clone(),
        https_proxy: config.https_proxy.clone(),
        ca_bundle: config.ca_bundle.clone(),
    }
}

async fn keep_probing(service: Rc<Service<AwsIam>>) {
    loop {
        next_second().await;
        service.leave_former_role(Ask::IfDue).await;
        service.probe().await;
    }
}

/// Writes down who has logged in: not in the second in which they do, when their session is being made.
async fn keep_publishing_logins(service: Rc<Service<AwsIam>>) {
    let mut is_due = false;
    loop {
        next_second().await;
        if is_due && service.state().login_unpublished {
            publish(&service).await;
        }
        is_due = service.state().login_unpublished;
    }
}

/// Also what is being written: it would end with this process.
async fn publish_the_last(service: &Rc<Service<AwsIam>>) {
    if service.state().login_unpublished || !service.is_published() {
        publish(service).await;
    }
}

async fn publish(service: &Rc<Service<AwsIam>>) {
    if let Err(error) = service.publish().await {
        warn!(%error, "could not publish: {error}");
    }
}

/// Writes what the journal did not take at once.
async fn keep_auditing(service: Rc<Service<AwsIam>>) {
    loop {
        next_second().await;
        service.audit.tidy();
    }
}

/// What root asks at the status socket.
async fn answer_root(socket: UnixListener, level: LogLevel, service: Rc<Service<AwsIam>>) {
    status_socket::serve(socket, level, async |method, path| match (method, path) {
        (&Method::GET, "/metrics") => StatusAnswer::metrics(service.metrics()),
        _ => StatusAnswer::plain(StatusCode::NOT_FOUND, "/metrics\n"),
    })
    .await;
}

/// Writes the metrics where the settings say.
async fn keep_metrics(service: Rc<Service<AwsIam>>) {
    let file = MetricsFile::default();
    loop {
        let path = service.state().config.metrics_file.clone();
        if let Some(path) = path {
            file.write(path, service.metrics());
        }
        tokio::time::sleep(METRICS_EVERY).await;
    }
}

/// The keys by which proofs are verified.
async fn keep_issuers(service: Rc<Service<AwsIam>>) {
    loop {
        next_second().await;
        service.keep_issuers().await;
    }
}

/// Anybody who sets this host's clock makes nothing older or younger than it is.
async fn keep_following_clock(service: Rc<Service<AwsIam>>) {
    loop {
        next_second().await;
        service.follow_clock().await;
    }
}

/// What changes by the clock alone: users whose last day has ended, also while IAM is silent. And what a full disk kept
/// back.
async fn keep_publishing(service: Rc<Service<AwsIam>>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        publish(&service).await;
    }
}

/// Says by the time of a file that this thread, which answers everybody, still runs (`keymaker_core::client`).
async fn keep_beating(heartbeat: PathBuf) {
    loop {
        const { assert!(HEARTBEAT_EVERY.as_secs() == 1) };
        next_second().await;
        beat(&heartbeat);
    }
}

/// A heartbeat that cannot be written makes callers impatient, which is all that they lose.
fn beat(heartbeat: &Path) {
    let beaten = std::fs::File::create(heartbeat).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = beaten {
        warn!(%error, "{} cannot be touched: {error}", heartbeat.display());
    }
}

/// Whether anything is left here of users who are gone, and under names that their holders have no longer.
async fn keep_settling(service: Rc<Service<AwsIam>>) {
    let mut left_nothing = Default::default();
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        left_nothing = service.settle("/".into(), left_nothing).await;
    }
}

/// SIGHUP reads the settings again; SIGTERM and SIGINT end the daemon.
async fn obey_signals(host: &HostPaths, service: &Rc<Service<AwsIam>>) {
    let signals = [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)] = signals else {
        error!("cannot receive signals");
        return;
    };
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(host, service),
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
        }
    }
}

/// A file that cannot be read whole changes nothing, and a line that is gone opens nothing.
fn reload(host: &HostPaths, service: &Rc<Service<AwsIam>>) {
    systemd::reloading();
    let taken =
        KeymakerdConfig::read(&host.config_path).and_then(|table| service.state_mut().settings.file.take(table));
    match taken {
        Ok(config) => {
            let mut state = service.state_mut();
            state.config = config;
            state.grade_until = None;
            state.settings_file_problem = None;
            for gone in state.settings.file.gone() {
                warn!(%gone, "{gone}");
            }
            drop(state);
            service.reconnect();
            service.counts.reloads.count(["ok"]);
            info!("the settings have been reloaded");
        }
        Err(error) => {
            error!(%error, "the settings stay as they were: {error}");
            service.counts.reloads.count(["failed"]);
            service.state_mut().settings_file_problem = Some(error.to_string());
            service.write_status();
        }
    }
    systemd::ready();
}

#[cfg(test)]
mod tests;
