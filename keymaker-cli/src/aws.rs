//! How the command line reaches AWS: as the AWS CLI does, with every source of credentials, region and endpoint that
//! the SDK knows.
//!
//! Only this program does so. The daemons take credentials from the metadata service alone and read no environment
//! (keymaker-aws), and their packages do not contain what this file uses (aws-config).

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::profile::{self, ProfileFileCredentialsProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_sdk_iam::config::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig};
use aws_types::os_shim_internal::{Env, Fs};
use clap::Args;
use keymaker_aws::{AwsCallError, CallerIdentity, IamRegion, OutageCause, Principal, WholeAnswer, caller_identity};

use crate::output::Progress;

/// The way to AWS, as the command line says; what it leaves out comes from where the AWS CLI takes it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "AWS options")]
pub struct AwsOptions {
    /// The profile of ~/.aws to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// The region whose endpoints are used.
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
    /// Another endpoint than AWS's own, for tests and proxies.
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint_url: Option<String>,
}

/// IAM is one service for a whole partition; where no region is configured anywhere, this one leads to it.
const ANY_REGION: &str = "us-east-1";

/// Runs `work` with the way to AWS.
pub fn with_aws<T, E, F>(options: &AwsOptions, work: impl FnOnce(SdkConfig) -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: From<AwsError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AwsError::NoRuntime(error.to_string()))?;
    let _progress = Progress::begin("asking AWS");
    runtime.block_on(async { work(config(options).await?).await })
}

/// The way to AWS.
pub async fn config(options: &AwsOptions) -> Result<SdkConfig, AwsError> {
    let trust = trust_store(std::env::var_os("AWS_CA_BUNDLE"))?;
    let named = options.profile.clone().or_else(|| std::env::var("AWS_PROFILE").ok());
    if let Some(profile) = named.filter(|profile| !profile.is_empty()) {
        profile_is_there(&profile).await?;
    }
    let config = load(options, &trust, None).await;
    Ok(match config.region() {
        Some(_) => config,
        // Once more, so that profiles that assume a role have a region for that, too.
        None => load(options, &trust, Some(ANY_REGION)).await,
    })
}

/// The SDK takes a profile that is not there for an empty one, and goes on to whatever credentials come next.
async fn profile_is_there(name: &str) -> Result<(), AwsError> {
    let profiles = profile::load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), None).await;
    let profiles = profiles.map_err(|error| AwsError::Profiles(error.to_string()))?;
    if name == "default" || profiles.get_profile(name).is_some() {
        return Ok(());
    }
    let mut there: Vec<&str> = profiles.profiles().collect();
    there.sort_unstable();
    let there = if there.is_empty() {
        "has no profile".to_owned()
    } else {
        format!("has {}", there.join(", "))
    };
    Err(AwsError::NoSuchProfile(name.to_owned(), there))
}

async fn load(options: &AwsOptions, trust: &TrustStore, region: Option<&str>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client(trust.clone()))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(Duration::from_secs(10))
                .operation_timeout(Duration::from_secs(30))
                .build(),
        );
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = options.region.as_deref().or(region) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(url) = &options.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    let config = loader.load().await;
    match &options.profile {
        Some(profile) => with_profile_alone(config, profile, trust),
        None => config,
    }
}

/// A profile that was asked for is taken or is an error; the chain would go on to whatever credentials come next.
fn with_profile_alone(config: SdkConfig, profile: &str, trust: &TrustStore) -> SdkConfig {
    let provider = ProviderConfig::default()
        .with_region(config.region().cloned())
        .with_http_client(http_client(trust.clone()));
    let credentials = ProfileFileCredentialsProvider::builder()
        .configure(&provider)
        .profile_name(profile)
        .build();
    let credentials = SharedCredentialsProvider::new(credentials);
    config.into_builder().credentials_provider(credentials).build()
}

/// The system's certificate authorities, or those of the file that `AWS_CA_BUNDLE` names and no others, as for the AWS
/// CLI.
fn trust_store(bundle: Option<OsString>) -> Result<TrustStore, AwsError> {
    let Some(path) = bundle.filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return Ok(TrustStore::default());
    };
    let pem = std::fs::read(&path).map_err(|error| AwsError::CaBundle(path.clone(), error.to_string()))?;
    if !pem.windows(PEM.len()).any(|window| window == PEM) {
        return Err(AwsError::CaBundle(path, "there is no certificate in it".to_owned()));
    }
    Ok(TrustStore::empty().with_pem_certificate(pem))
}

const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The proxy is the environment's (`https_proxy`, `no_proxy`), as for the AWS CLI.
pub fn http_client(trust: TrustStore) -> aws_sdk_iam::config::SharedHttpClient {
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .unwrap_or_default();
    Builder::new().build_with_connector_fn(move |settings, _| {
        Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .proxy_config(ProxyConfig::from_env())
            .sleep_impl(TokioSleep::new())
            .connector_settings(settings.cloned().unwrap_or_default())
            .build()
    })
}

/// IAM, whose answers count only when they are whole.
pub fn iam(config: &SdkConfig) -> aws_sdk_iam::Client {
    let config = aws_sdk_iam::config::Builder::from(config)
        .interceptor(WholeAnswer)
        .endpoint_resolver(IamRegion);
    aws_sdk_iam::Client::from_conf(config.build())
}

/// The IAM user whose keys are meant: the one named, else the one whose credentials these are.
pub async fn user_meant(config: &SdkConfig, named: Option<&str>) -> Result<String, AwsError> {
    match named {
        Some(user) => Ok(user.to_owned()),
        None => match identity(config).await?.principal {
            Principal::User { iam_user_name } => Ok(iam_user_name),
            Principal::AssumedRole { role_name, .. } => Err(AwsError::NotAUser(format!("the role {role_name}"))),
            Principal::Other(what) => Err(AwsError::NotAUser(what)),
        },
    }
}

/// Whose credentials these are.
pub async fn identity(config: &SdkConfig) -> Result<CallerIdentity, AwsError> {
    Ok(caller_identity(&sts(config)).await?)
}

/// STS, likewise.
pub fn sts(config: &SdkConfig) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::config::Builder::from(config).interceptor(WholeAnswer);
    aws_sdk_sts::Client::from_conf(config.build())
}

/// Sends a request; its error names the action.
macro_rules! call {
    ($action:literal, $request:expr) => {
        $request
            .send()
            .await
            .map_err(|error| keymaker_aws::AwsCallError::from_sdk(keymaker_aws::Action::named($action), error))
    };
}
pub(crate) use call;

/// Why AWS was not reached, or said no.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    #[error("the system gives no resources for a network connection: {0}")]
    NoRuntime(String),
    #[error(fmt = describe)]
    Call(AwsCallError),
    #[error(
        "these AWS credentials are those of {0}, not of an IAM user: say whose keys you mean with --user \
         NAME, or use the user's own credentials (--profile)"
    )]
    NotAUser(String),
    #[error(
        "IAM has no user {0:?} in this account: check the spelling, and the account with 'aws sts \
         get-caller-identity'"
    )]
    NoSuchUser(String),
    #[error(
        "IAM has no user {user}, or the user has no key {id}: 'keymaker list-keys --user {user}' shows the \
         keys"
    )]
    NoSuchKey {
        /// The IAM user.
        user: String,
        /// The key's id.
        id: String,
    },
    #[error(
        "{0} has five SSH keys already, and IAM keeps no more: 'keymaker list-keys --user {0}' shows them, \
         and 'keymaker delete-key --user {0} ID' makes room"
    )]
    KeyQuota(String),
    #[error("IAM has this key of {0} already: 'keymaker list-keys --user {0}' shows it")]
    DuplicateKey(String),
    #[error(
        "{0} has 50 tags already, and IAM keeps no more: 'keymaker list-keys --user {0}' shows the SSH keys among them, \
         and 'keymaker delete-key --user {0} ID' makes room"
    )]
    TagQuota(String),
    #[error("what the tag {0} holds is too long to be disabled there, and no key: 'keymaker delete-key' takes it away")]
    TagIsFull(String),
    #[error(
        "IAM does not accept this key ({0}): it accepts RSA keys of 2048 to 16384 bits; make one: \
         ssh-keygen -t rsa -b 4096"
    )]
    KeyNotTaken(String),
    #[error(
        "AWS shows no document of the policy {0}, so what it says now cannot be told, and nothing was changed: look at it \
         by 'aws iam get-policy --policy-arn {0}' and 'aws iam get-policy-version', and run this again"
    )]
    NoDocument(String),
    #[error("~/.aws/config and ~/.aws/credentials cannot be used: {0}; correct the line, or unset AWS_PROFILE")]
    Profiles(String),
    #[error(
        "there is no AWS profile {0}: ~/.aws {1}. Correct --profile or AWS_PROFILE, or make the profile by 'aws configure --profile {0}'"
    )]
    NoSuchProfile(String, String),
    #[error("AWS_CA_BUNDLE={0}: {1}; name a PEM file of certificate authorities, or unset it")]
    CaBundle(PathBuf, String),
}

impl From<AwsCallError> for AwsError {
    fn from(error: AwsCallError) -> Self {
        Self::Call(error)
    }
}

/// The sentences of keymaker-aws speak to the administrator of a host; these to anybody who sits before the command
/// line.
fn describe(error: &AwsCallError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        AwsCallError::AccessDenied { action, message } => write!(
            f,
            "AWS denied {action} ({message}): ask for a policy that allows {action}, or use other credentials (--profile)"
        ),
        AwsCallError::Throttled { action } => {
            write!(
                f,
                "{action}: there are too many calls in this account at the moment; try again in a minute"
            )
        }
        AwsCallError::NoSuchEntity { action } => write!(f, "{action}: AWS has no such entity"),
        AwsCallError::ThisHost { .. } => write!(f, "{error}"),
        AwsCallError::Outage { action, cause } => match cause {
            OutageCause::Credentials(why) if why.starts_with(NOWHERE) => write!(
                f,
                "no AWS credentials were found: run 'aws login', 'aws configure' or 'aws sso login', choose a profile with --profile or \
                 AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ),
            OutageCause::Credentials(why) => write!(
                f,
                "no AWS credentials that AWS accepts were found ({why}): run 'aws login', 'aws configure' or 'aws sso login', or choose a \
                 profile with --profile or AWS_PROFILE"
            ),
            OutageCause::Unreachable(why) => write!(
                f,
                "{action}: no connection to AWS ({why}): check the network, --region, --endpoint-url, AWS_ENDPOINT_URL and https_proxy"
            ),
            OutageCause::Refused { code, message } => {
                write!(f, "{action}: AWS refused the request: {message} ({code})")
            }
            other => write!(f, "{action}: {other}"),
        },
    }
}

/// How the SDK begins to say that no source had any.
const NOWHERE: &str = "no credentials found in chain";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_a_certificate_is_an_error_that_names_it_and_none_is_the_systems() {
        assert!(trust_store(None).is_ok() && trust_store(Some("".into())).is_ok());
        for path in ["/nonexistent", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
            let error = trust_store(Some(path.into())).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains("AWS_CA_BUNDLE"), "{error}");
        }
    }
}
