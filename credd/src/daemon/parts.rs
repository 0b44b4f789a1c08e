//! Makes the parts of the daemon out of the settings: at the start, and again at each reload.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use credd_core::accounts::{Account, AccountDoubt, LocalNames};
use credd_core::capture_state;
use credd_core::config::{CONTAINER_PORT, Capture, Config, KEYMAKERD_TRACES, Method};
use credd_core::metadata::rules::Rules;
use credd_core::plan::Plan;
use keymaker_aws::{AwsCalls, AwsSettings, Route};
use keymaker_core::paths;
use keymaker_daemon::log::Log;

use super::error::DaemonError;
use crate::audit::AuditEvent;
use crate::clock::{Clock, HostClock};
use crate::credentials::directory_accounts::HostAccounts;
use crate::credentials::metrics::{CountedAudit, Metrics};
use crate::credentials::people::{Keymakerd, People};
use crate::credentials::{Aws, Cache, Chain, Chains, Issuer, MethodSettings};
use crate::imds::answer::{TokenPolicy, UserMetadataService};
use crate::imds::caller::{Arrival, Captured, IdentifyCaller, KernelCallers};
use crate::imds::container_door::ContainerDoor;
use crate::imds::metadata_token::MetadataTokens;
use crate::imds::token_files::TokenFiles;
use crate::imds::upstream::Upstream;
use keymaker_daemon::audit::FewRefusals;

/// What a reload does not change.
pub struct DaemonParts {
    /// Where the key of the metadata tokens lies.
    pub token_key: PathBuf,
    /// Where credd-capture says whether capture is as planned.
    pub capture_state: PathBuf,
    /// Where the token files of the container door lie.
    pub token_files: PathBuf,
    /// How requests came here at the start: the sockets are of that kind.
    pub capture: Capture,
    /// The counters.
    pub metrics: Rc<Metrics>,
    /// Where they are written, if anywhere.
    pub metrics_file: Rc<RefCell<Option<PathBuf>>>,
    /// Where audit lines go.
    pub audit: Rc<FewRefusals<Log, AuditEvent>>,
}

/// The source of credentials of a host.
pub type HostIssuer = Issuer<Chain, Config>;

impl DaemonParts {
    /// The metadata service by these settings.
    pub fn service(&self, config: &Config, source: HostIssuer) -> Result<UserMetadataService<HostIssuer>, DaemonError> {
        let arrival = match self.capture {
            Capture::Route => Arrival::Transparent,
            Capture::Nft => Arrival::Redirected,
        };
        let token_policy = if config.require_imds_v2 {
            TokenPolicy::Required
        } else {
            TokenPolicy::Optional
        };
        Ok(UserMetadataService {
            source,
            callers: captured(config, arrival),
            container: config.container_endpoint.then(|| self.container(config)).transpose()?,
            container_port: CONTAINER_PORT,
            accounts: Box::new(host_accounts(config)),
            tokens: MetadataTokens::load(&self.token_key).map_err(DaemonError::TokenKey)?,
            rules: Rules::new(config.rules()),
            upstream: Upstream::new(config.metadata_endpoints()),
            capture_problem: self.capture_problem(),
            audit: Box::new(CountedAudit {
                log: Rc::clone(&self.audit),
                metrics: Rc::clone(&self.metrics),
            }),
            clock: Box::new(HostClock),
            token_policy,
            token_hop_limit: config.token_hop_limit,
        })
    }

    /// Asks what stands against capture.
    pub fn capture_problem(&self) -> Box<dyn Fn() -> Option<&'static str>> {
        let path = self.capture_state.clone();
        Box::new(move || capture_state::problem(&path))
    }

    fn container(&self, config: &Config) -> Result<ContainerDoor, DaemonError> {
        Ok(ContainerDoor {
            callers: captured(config, Arrival::Transparent),
            files: TokenFiles::open(self.token_files.clone())
                .map_err(|why| DaemonError::TokenFiles(self.token_files.clone(), why))?,
        })
    }

    /// Where credentials come from by these settings. With `kept`, answers that were issued before go on to count.
    pub fn issuer(&self, config: &Config, kept: Option<Rc<Cache<Chain>>>) -> Result<HostIssuer, DaemonError> {
        let clock: Rc<dyn Clock> = Rc::new(HostClock);
        let cache = match kept {
            Some(cache) => cache,
            None => Cache::new(
                chain(config, &clock, self.metrics.aws.clone())?,
                Rc::clone(&clock),
                Rc::clone(&self.metrics),
            ),
        };
        let keymakerd = Keymakerd {
            contact: paths::CONTACT.into(),
            login_socket: paths::LOGIN_SOCKET.into(),
            authz_ttl: Duration::from_secs(config.authz_ttl.into()),
        };
        let people = People::new(host_accounts(config), keymakerd, clock);
        Ok(Issuer::new(people, config.clone(), cache, Rc::clone(&self.metrics)))
    }
}

/// Whether credentials can be made by these settings: URLs, proxy, certificate authorities, policies. Opens no connection.
pub fn check_settings(config: &Config) -> Result<(), DaemonError> {
    let clock: Rc<dyn Clock> = Rc::new(HostClock);
    chain(config, &clock, AwsCalls::default()).map(drop)
}

/// The methods of this host by these settings.
pub fn chain(config: &Config, clock: &Rc<dyn Clock>, calls: AwsCalls) -> Result<Chain, DaemonError> {
    let route = Route::new(&aws_settings(config))
        .map_err(DaemonError::Aws)?
        .counting(calls);
    let settings = MethodSettings::new(config).map_err(DaemonError::Policy)?;
    // It was checked when the file was read.
    let id_resolver = config.id_resolver().map_err(DaemonError::IdResolver)?;
    let aws = Aws::new(route, Rc::clone(clock)).resolving(id_resolver);
    Ok(Chain::new(settings, aws, Rc::clone(clock)))
}

impl Chains for Config {
    fn chain(&self, uid: u32, account: &Account) -> Result<&[Method], AccountDoubt> {
        self.chain(uid, account)
    }

    fn names(&self, uid: u32, account: &Account) -> bool {
        self.names(uid, account)
    }
}

/// Anybody who comes here but those whom capture spares, by the same reading of the settings.
fn captured(config: &Config, arrival: Arrival) -> Box<dyn IdentifyCaller> {
    let (config, accounts) = (config.clone(), LocalNames::host());
    Box::new(Captured {
        callers: KernelCallers::new(arrival),
        is_exempt: move |uid| Ok(Plan::new(&config, &accounts)?.exempt.contains(&uid)),
    })
}

fn host_accounts(config: &Config) -> HostAccounts {
    let wanted = config.directory.is_required(&KEYMAKERD_TRACES);
    HostAccounts::new(LocalNames::host(), wanted.then(|| paths::DIRECTORY.into()))
}

fn aws_settings(config: &Config) -> AwsSettings {
    AwsSettings {
        region: config.region.clone(),
        iam_endpoint: config.iam_endpoint.clone(),
        sts_endpoint: config.sts_endpoint.clone(),
        metadata_endpoint: config.metadata_endpoint.clone(),
        https_proxy: config.https_proxy.clone(),
        ca_bundle: config.ca_bundle.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    #[test]
    fn the_service_is_made_as_the_file_says() {
        let folder = TestFolder::new();
        let parts = DaemonParts {
            token_key: folder.join("key"),
            capture_state: folder.join("state"),
            token_files: folder.to_owned(),
            capture: Capture::Route,
            metrics: Rc::default(),
            metrics_file: Rc::default(),
            audit: Rc::new(FewRefusals::new(Log::StandardError, || HostClock.since_boot())),
        };
        let made = |text: &str| {
            let config = Config::parse(text, "credd.toml".as_ref()).unwrap();
            let service = parts.service(&config, parts.issuer(&config, None).unwrap()).unwrap();
            let needs_token = matches!(service.token_policy, TokenPolicy::Required);
            (needs_token, service.token_hop_limit, service.container.is_some())
        };
        assert_eq!(made(""), (true, 1, false));
        let text = "require_imds_v2 = false\ntoken_hop_limit = 7\ncontainer_endpoint = true";
        assert_eq!(made(text), (false, 7, true));
    }
}
