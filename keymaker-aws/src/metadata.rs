//! Our own questions to the instance metadata service (IMDSv2): credentials of the instance's role, region, identity,
//! and what credd passes on to users. Asked by the daemons, whose uids are exempt from capture. One connection per
//! request, since the real service closes each one; never through a proxy, never IMDSv1, and nothing that the service
//! answers is put into a URL unchecked.
//!
//! AWS: EC2 User Guide, "Use IMDS", "Retrieve security credentials from instance metadata". (The SDK's own client is
//! not used: it panics on a role name that ends with a newline.)

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_iam::primitives::{DateTime, DateTimeFormat};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use keymaker_syntax::{AccountId, check_role_name};
use serde::Deserialize;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::own_ports::OwnPorts;
use crate::settings::{AwsSettings, AwsSettingsError, region_name};
use crate::this_host::is_of_this_host;

/// The instance metadata service of this host.
#[derive(Debug)]
pub struct MetadataService {
    addresses: Vec<(String, u16)>,
    ports: OwnPorts,
    /// Index of the address that answered last: a host without IPv4 shall wait for the first one only once.
    answering: AtomicUsize,
    /// How long a connection may take.
    connect_within: Duration,
    /// How long an answer may take after that.
    answer_within: Duration,
}

/// What the service said to one question, whatever its status. No Debug: it may be the credentials.
pub struct MetadataAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body's type, as the service named it.
    pub content_type: Option<HeaderValue>,
    /// The body, at most 64 KiB.
    pub body: Bytes,
}

/// Which instance this is, from the instance identity document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceIdentity {
    /// `i-…`.
    pub instance_id: String,
    /// The account that runs the instance.
    pub account: AccountId,
    /// The region it runs in.
    pub region: String,
}

impl MetadataService {
    /// The service at the address of the settings, asked from these ports where this host has no other left.
    pub fn new(settings: &AwsSettings, ports: &OwnPorts) -> Result<Self, AwsSettingsError> {
        Ok(Self {
            addresses: settings.metadata_addresses()?,
            ports: ports.clone(),
            answering: AtomicUsize::new(0),
            connect_within: WITHIN,
            answer_within: WITHIN,
        })
    }

    /// The service at the first of `endpoints` that takes a connection within `connect_within`, which is shorter than
    /// the second that [`Self::new`] allows: somebody waits.
    pub fn hasty(endpoints: &[SocketAddr], connect_within: Duration) -> Self {
        let address = |endpoint: &SocketAddr| (endpoint.ip().to_string(), endpoint.port());
        Self {
            addresses: endpoints.iter().map(address).collect(),
            ports: OwnPorts::default(),
            answering: AtomicUsize::new(0),
            connect_within,
            answer_within: WITHIN,
        }
    }

    /// The region this instance runs in.
    pub async fn region(&self) -> Result<String, MetadataError> {
        let metadata_token = self.metadata_token().await?;
        let text = self.get("/latest/meta-data/placement/region", &metadata_token).await?;
        region_name(text.trim_end()).ok_or(MetadataError::Unreadable("the region is not the name of a region"))
    }

    /// Instance id, account and region.
    pub async fn instance_identity(&self) -> Result<InstanceIdentity, MetadataError> {
        let metadata_token = self.metadata_token().await?;
        let text = self
            .get("/latest/dynamic/instance-identity/document", &metadata_token)
            .await?;
        let unreadable =
            || MetadataError::Unreadable("the instance identity document lacks instance id, account or region");
        let document: IdentityDocument = serde_json::from_str(&text).map_err(|_| unreadable())?;
        let plain = |id: &str| id.starts_with("i-") && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        Ok(InstanceIdentity {
            instance_id: Some(document.instance_id)
                .filter(|id| plain(id))
                .ok_or_else(unreadable)?,
            account: document.account_id.parse().map_err(|_| unreadable())?,
            region: region_name(&document.region).ok_or_else(unreadable)?,
        })
    }

    /// The name of the role that this instance has now.
    pub async fn role_name(&self) -> Result<String, MetadataError> {
        let metadata_token = self.metadata_token().await?;
        self.listed_role(&metadata_token).await
    }

    /// The present credentials of the instance's role, and its name. Never expired ones.
    pub(crate) async fn role_credentials(&self, now: SystemTime) -> Result<(String, Credentials), MetadataError> {
        let metadata_token = self.metadata_token().await?;
        let role_name = self.listed_role(&metadata_token).await?;
        let document = self.get(&format!("{ROLES}{role_name}"), &metadata_token).await?;
        Ok((role_name, read_credentials(&document, now)?))
    }

    async fn listed_role(&self, metadata_token: &str) -> Result<String, MetadataError> {
        let listed = match self.get(ROLES, metadata_token).await {
            Err(MetadataError::Status(StatusCode::NOT_FOUND)) => return Err(MetadataError::NoRole),
            answer => answer?,
        };
        let role_name = listed.lines().next().unwrap_or_default().trim();
        if role_name.is_empty() {
            return Err(MetadataError::NoRole);
        }
        check_role_name(role_name).ok_or(MetadataError::Unreadable(
            "the role's name contains characters that no role name may",
        ))?;
        Ok(role_name.to_owned())
    }

    async fn metadata_token(&self) -> Result<Zeroizing<String>, MetadataError> {
        self.metadata_token_for(Duration::from_secs(60)).await
    }

    /// A metadata token that lives so long: a second to six hours.
    pub async fn metadata_token_for(&self, ttl: Duration) -> Result<Zeroizing<String>, MetadataError> {
        let request = Request::builder()
            .method(Method::PUT)
            .uri("/latest/api/token")
            .header("x-aws-ec2-metadata-token-ttl-seconds", ttl.as_secs())
            .header("content-length", "0");
        let token = text_of(self.exchange(request).await?)?;
        let legal = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        legal
            .then_some(token)
            .ok_or(MetadataError::Unreadable("the metadata token is not one"))
    }

    async fn get(&self, path: &str, metadata_token: &str) -> Result<Zeroizing<String>, MetadataError> {
        text_of(self.read(path, metadata_token).await?)
    }

    /// What the service has at `path`, or which status it answers.
    pub async fn read(&self, path: &str, metadata_token: &str) -> Result<MetadataAnswer, MetadataError> {
        let request = Request::builder()
            .uri(path)
            .header("x-aws-ec2-metadata-token", metadata_token);
        self.exchange(request).await
    }

    /// One request and its whole answer, on a connection of its own.
    async fn exchange(&self, request: hyper::http::request::Builder) -> Result<MetadataAnswer, MetadataError> {
        let (stream, host) = self.connect().await?;
        let request = request
            .header("host", host)
            .body(Empty::<Bytes>::new())
            .map_err(|_| MetadataError::Unreadable("it named something that fits no URL"))?;
        timeout(self.answer_within, answer_of(stream, request))
            .await
            .map_err(|_| MetadataError::Timeout)?
    }

    /// The first address that takes a connection, beginning with the one that did last.
    async fn connect(&self) -> Result<(TcpStream, String), MetadataError> {
        let first = self.answering.load(Ordering::Relaxed);
        let mut failure = MetadataError::Timeout;
        let mut lacking = None;
        for (index, (host, port)) in self
            .addresses
            .iter()
            .enumerate()
            .cycle()
            .skip(first)
            .take(self.addresses.len())
        {
            match timeout(self.connect_within, self.connect_to(host, *port)).await {
                Ok(Ok(stream)) => {
                    self.answering.store(index, Ordering::Relaxed);
                    let host = if host.contains(':') {
                        format!("[{host}]:{port}")
                    } else {
                        format!("{host}:{port}")
                    };
                    return Ok((stream, host.trim_end_matches(":80").to_owned()));
                }
                // It counts whatever becomes of the other address.
                Ok(Err(why)) if is_of_this_host(&why) => lacking = Some(MetadataError::ThisHost(why.to_string())),
                Ok(Err(why)) => failure = MetadataError::Unreachable(why.to_string()),
                Err(_) => {}
            }
        }
        Err(lacking.unwrap_or(failure))
    }

    async fn connect_to(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut failure = io::ErrorKind::NotFound.into();
        for address in lookup_host((host, port)).await? {
            match self.ports.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

impl MetadataError {
    /// Whether the service could not even be asked, for want of something on this host.
    pub fn is_of_this_host(&self) -> bool {
        matches!(self, Self::ThisHost(_))
    }
}

/// Why the metadata service gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// "The metadata service did not answer in time; …"
    #[error(
        "the metadata service did not answer in time; check that this is an EC2 instance and its metadata \
         options"
    )]
    Timeout,
    /// "The metadata service could not be asked, since this host has run out of something: …"
    #[error(
        "the metadata service could not be asked: this host has run out of a resource ({0}); find out what \
         is using it: 'ss -tuanp' shows ports, 'lsof' descriptors, 'free' memory"
    )]
    ThisHost(String),
    /// "The metadata service cannot be reached: …"
    #[error(
        "the metadata service cannot be reached ({0}); check that this is an EC2 instance and its firewall \
         rules"
    )]
    Unreachable(String),
    /// "The metadata service refused with HTTP …; …"
    #[error("the metadata service refused with HTTP {code}; check the instance's metadata options and, where \
         credentials are captured, that this daemon's user is exempt", code = .0.as_u16())]
    Status(StatusCode),
    /// "This instance has no role; attach an instance profile to it."
    #[error("this instance has no role; attach an instance profile to it")]
    NoRole,
    /// "The metadata service says that the role cannot be used: CODE; …"
    #[error(
        "the metadata service says that the role cannot be used ({0}); check that the instance profile has \
         a role and that ec2.amazonaws.com may assume it"
    )]
    RoleRefused(String),
    /// "This instance now has the role …, and no longer …; …"
    #[error(
        "this instance now has the role {present}, and no longer {former}; its credentials are used within \
         a minute"
    )]
    AnotherRole {
        /// The role as which the clients were made to call.
        former: String,
        /// The role that the instance has.
        present: String,
    },
    /// "The metadata service handed out credentials that have expired; …"
    #[error("the metadata service handed out credentials that have expired; check this host's clock")]
    Expired,
    /// "The metadata service's answer cannot be used: …"
    #[error("the metadata service's answer cannot be used: {0}")]
    Unreadable(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityDocument {
    instance_id: String,
    account_id: String,
    region: String,
}

/// No Debug: it holds the secrets.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialsDocument {
    code: String,
    access_key_id: Option<String>,
    secret_access_key: Option<Zeroizing<String>>,
    token: Option<Zeroizing<String>>,
    expiration: Option<String>,
}

fn read_credentials(document: &str, now: SystemTime) -> Result<Credentials, MetadataError> {
    let unreadable = || MetadataError::Unreadable("the credentials document lacks key, secret, token or expiration");
    let document: CredentialsDocument = serde_json::from_str(document).map_err(|_| unreadable())?;
    if document.code != "Success" {
        let code = document
            .code
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(64)
            .collect();
        return Err(MetadataError::RoleRefused(code));
    }
    let expiration = document.expiration.ok_or_else(unreadable)?;
    let expires = DateTime::from_str(&expiration, DateTimeFormat::DateTime).map_err(|_| unreadable())?;
    let expires = SystemTime::try_from(expires).map_err(|_| unreadable())?;
    if expires <= now {
        return Err(MetadataError::Expired);
    }
    let access_key_id = document.access_key_id.ok_or_else(unreadable)?;
    let secret = document.secret_access_key.ok_or_else(unreadable)?;
    let sts_session_token = document.token.ok_or_else(unreadable)?;
    // The SDK's type takes the strings over, shows none of them in Debug and wipes them when dropped.
    Ok(Credentials::new(
        access_key_id,
        &**secret,
        Some(sts_session_token.to_string()),
        Some(expires),
        "metadata service",
    ))
}

/// The text of an answer that is a good one.
fn text_of(answer: MetadataAnswer) -> Result<Zeroizing<String>, MetadataError> {
    if answer.status != StatusCode::OK {
        return Err(MetadataError::Status(answer.status));
    }
    let text = std::str::from_utf8(&answer.body).map_err(|_| MetadataError::Unreadable("it is not text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

async fn answer_of(stream: TcpStream, request: Request<Empty<Bytes>>) -> Result<MetadataAnswer, MetadataError> {
    let unreachable = |why: hyper::Error| MetadataError::Unreachable(why.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    let exchange = async move {
        let answer = sender.send_request(request).await.map_err(unreachable)?;
        let (status, content_type) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|_| MetadataError::Unreadable("it broke off or is too long"))?;
        Ok(MetadataAnswer {
            status,
            content_type,
            body: body.to_bytes(),
        })
    };
    // The connection moves only while it is polled; it ends with the exchange.
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(why) => Err(unreachable(why)),
        },
    }
}

/// The link-local address answers within milliseconds; the SDKs allow one second too.
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const WITHIN: Duration = Duration::from_secs(1);
/// Credentials documents are below 2 KiB, user-data has 16 KiB at most.
const LARGEST_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests;
