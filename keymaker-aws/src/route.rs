//! The way to AWS and who walks it: [`Route`] is the checked settings with one connection pool, [`AwsClients`] adds a
//! region and credentials and makes the SDK's clients. Called once at a daemon's start, and again when the account to
//! ask changes. Every client has explicit deadlines (the SDK's default is to wait forever), and nothing is read from
//! the environment.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_iam::config::retry::RetryConfig;
use aws_sdk_iam::config::timeout::TimeoutConfig;
use aws_sdk_iam::config::{
    BehaviorVersion, IdentityCache, Region, SharedHttpClient, SharedInterceptor, StalledStreamProtectionConfig,
};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn};
use keymaker_syntax::{CallerIdentity, RoleArn};

use crate::assume_role::caller_identity;
use crate::assumed_role::AssumedRole;
use crate::aws_calls::{AwsCalls, CountsCalls};
use crate::aws_time::AwsTime;
use crate::call_error::AwsCallError;
use crate::hears_date::HearsDate;
use crate::iam_region::IamRegion;
use crate::instance_role::{HearsRefusal, InstanceRole};
use crate::metadata::{MetadataError, MetadataService};
use crate::own_ports::OwnPorts;
use crate::own_way::{Direct, FromOwnPorts, OwnWay, Way};
use crate::refreshed_ahead::RefreshedAhead;
use crate::replaced::{Ask, Replaced};
use crate::settings::{AwsSettings, AwsSettingsError};
use crate::whole_answer::WholeAnswer;

/// How to get to AWS from this host. Clones share the connection pool.
#[derive(Clone, Debug)]
pub struct Route {
    /// For what is fetched without the SDK's clients.
    pub(crate) connector: SharedHttpConnector,
    http: SharedHttpClient,
    metadata: Arc<MetadataService>,
    region: Option<String>,
    iam_endpoint: Option<String>,
    sts_endpoint: Option<String>,
    time: AwsTime,
    calls: AwsCalls,
}

impl Route {
    /// Checks all settings and reads the CA bundle; opens no connection.
    pub fn new(settings: &AwsSettings) -> Result<Self, AwsSettingsError> {
        Self::from_ports(settings, &OwnPorts::default())
    }

    /// The same, on which calls go out from these ports where this host has no other left.
    pub fn from_ports(settings: &AwsSettings, ports: &OwnPorts) -> Result<Self, AwsSettingsError> {
        let connector = pooled_connector(settings, ports)?;
        Ok(Self {
            connector: connector.clone(),
            http: http_client_fn(move |_, _| connector.clone()),
            metadata: Arc::new(MetadataService::new(settings, ports)?),
            region: settings.checked_region()?,
            iam_endpoint: settings.iam_url()?,
            sts_endpoint: settings.sts_url()?,
            time: AwsTime::new(),
            calls: AwsCalls::default(),
        })
    }

    /// The same way, on which every answer tells `time` how late it is at AWS.
    pub fn telling(self, time: AwsTime) -> Self {
        Self { time, ..self }
    }

    /// The same way, on which every request and answer is counted there.
    pub fn counting(self, calls: AwsCalls) -> Self {
        Self { calls, ..self }
    }

    /// The metadata service, for the instance's identity.
    pub fn metadata(&self) -> &MetadataService {
        &self.metadata
    }

    /// Clients that call as the instance's role. Asks the metadata service where the settings name no region;
    /// credentials are fetched at the first call.
    pub async fn as_instance_role(&self) -> Result<AwsClients, MetadataError> {
        let region = match &self.region {
            Some(region) => region.clone(),
            None => self.metadata.region().await?,
        };
        let role = InstanceRole::new(Arc::clone(&self.metadata), SystemTime::now);
        Ok(AwsClients {
            instance_role: Some(role.clone()),
            ..self.with_credentials(region, RefreshedAhead::new(role, SystemTime::now))
        })
    }

    /// Clients that call with credentials of the caller's own choice, as the command line does.
    pub fn with_credentials(&self, region: String, credentials: impl ProvideCredentials + 'static) -> AwsClients {
        let credentials = SharedCredentialsProvider::new(credentials);
        AwsClients {
            route: self.clone(),
            region: Region::new(region),
            credentials,
            instance_role: None,
        }
    }
}

/// AWS, called by one principal in one region. Clones share credentials and connections.
#[derive(Clone)]
pub struct AwsClients {
    pub(crate) route: Route,
    region: Region,
    credentials: SharedCredentialsProvider,
    /// As which they call, also where they then assume another role.
    pub(crate) instance_role: Option<InstanceRole>,
}

impl AwsClients {
    /// The region that the clients sign for.
    pub fn region(&self) -> &str {
        self.region.as_ref()
    }

    /// IAM of the principal's account; the endpoint goes by the region's partition unless set.
    pub fn iam(&self, patience: Patience) -> aws_sdk_iam::Client {
        let mut config = aws_sdk_iam::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.route.http.clone())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .identity_cache(IdentityCache::no_cache())
            .retry_config(patience.retries())
            .timeout_config(patience.timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .sleep_impl(TokioSleep::new())
            .interceptor(HearsDate(self.route.time.clone()))
            .interceptor(CountsCalls(self.route.calls.clone()))
            .interceptor(WholeAnswer)
            .endpoint_resolver(IamRegion);
        config.set_endpoint_url(self.route.iam_endpoint.clone());
        if let Some(role) = self.instance_role.clone() {
            config.push_interceptor(SharedInterceptor::new(HearsRefusal(role)));
        }
        aws_sdk_iam::Client::from_conf(config.build())
    }

    /// STS of the region.
    pub fn sts(&self, patience: Patience) -> aws_sdk_sts::Client {
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.route.http.clone())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .identity_cache(IdentityCache::no_cache())
            .retry_config(patience.retries())
            .timeout_config(patience.timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .sleep_impl(TokioSleep::new())
            .interceptor(HearsDate(self.route.time.clone()))
            .interceptor(CountsCalls(self.route.calls.clone()))
            .interceptor(WholeAnswer);
        config.set_endpoint_url(self.route.sts_endpoint.clone());
        if let Some(role) = self.instance_role.clone() {
            config.push_interceptor(SharedInterceptor::new(HearsRefusal(role)));
        }
        aws_sdk_sts::Client::from_conf(config.build())
    }

    /// Clients that call as `role`, such as the id resolver of another account. The role is assumed at the first call.
    pub fn assuming(&self, role: RoleArn, role_session_name: &str) -> Self {
        let source = AssumedRole::new(self.sts(Patience::SYNC), role, role_session_name);
        let credentials = SharedCredentialsProvider::new(RefreshedAhead::new(source, SystemTime::now));
        Self {
            credentials,
            ..self.clone()
        }
    }

    /// Whether the metadata service says that this instance no longer has the role, or the session, as which these
    /// clients call. They are then to be dropped, with all that was made by them. `None` also where the clients have
    /// not called yet, or have credentials of the caller's own choice; an error says nothing about the role.
    pub async fn replaced(&self, ask: Ask) -> Result<Option<Replaced>, MetadataError> {
        match &self.instance_role {
            Some(role) => role.replaced(ask).await,
            None => Ok(None),
        }
    }

    /// sts:GetCallerIdentity: account, partition and principal of these credentials. Needs no permission.
    pub async fn identity(&self, patience: Patience) -> Result<CallerIdentity, AwsCallError> {
        caller_identity(&self.sts(patience)).await
    }
}

impl fmt::Debug for AwsClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsClients")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// How long a caller can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The deadline of one attempt: credentials, connection, answer read to its end.
    pub attempt: Duration,
    /// The deadline of the whole call, retries included.
    pub total: Duration,
    /// How many attempts at most.
    pub attempts: u32,
    /// The longest wait before the second attempt; later ones double it.
    pub backoff: Duration,
}

impl Patience {
    /// For a call that somebody waits for at a login.
    pub const NUDGE: Self = Self {
        attempt: Duration::from_secs(1),
        total: Duration::from_millis(1400),
        attempts: 2,
        backoff: Duration::from_millis(100),
    };

    /// For the daemon's own passes.
    pub const SYNC: Self = Self {
        attempt: Duration::from_secs(5),
        total: Duration::from_secs(15),
        attempts: 3,
        backoff: Duration::from_secs(1),
    };

    fn timeouts(self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.total)
            .build()
    }

    fn retries(self) -> RetryConfig {
        RetryConfig::standard()
            .with_max_attempts(self.attempts)
            .with_initial_backoff(self.backoff)
    }
}

/// One connector for every client, so that nudges find the connection that a sync pass left warm.
fn pooled_connector(settings: &AwsSettings, ports: &OwnPorts) -> Result<SharedHttpConnector, AwsSettingsError> {
    let ca_pem = settings.ca_pem()?;
    let trust = match &ca_pem {
        Some(pem) => TrustStore::empty().with_pem_certificate(pem.clone()),
        None => TrustStore::default(),
    };
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .unwrap_or_default();
    let first = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .proxy_config(settings.proxy()?)
        .pool_idle_timeout(IDLE_CONNECTION)
        .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT_WITHIN).build())
        .sleep_impl(TokioSleep::new())
        .build_with_resolver(ports.clone());
    let second = FromOwnPorts {
        to: Way {
            direct: Direct(ports.clone()),
            proxy: settings.proxy_matcher().map(Arc::new),
        },
        ca_pem,
        idle: IDLE_CONNECTION,
        client: OnceLock::new(),
    };
    Ok(SharedHttpConnector::new(OwnWay {
        first: SharedHttpConnector::new(first),
        second: Arc::new(second),
    }))
}

/// Attempts have deadlines of their own; this one ends what an attempt left behind.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Below the 350 s after which AWS's NAT gateways forget a connection without a word.
const IDLE_CONNECTION: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
