//! Answers one request of one identified caller.
//!
//! The server calls [`UserMetadataService::answer`] for each. Refusals come first, then the route table decides who
//! answers. `credential_answer.rs` alone writes credentials, and only after the caller's socket was looked at again
//! (P13).

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use credd_core::accounts::{AccountDoubt, Accounts};
use credd_core::metadata::path;
use credd_core::metadata::route_table::Readers;
use credd_core::metadata::routes::{MetadataRoute, UpstreamPath, has_iam, route};
use credd_core::metadata::rules::Rules;
use credd_core::time_text::iso8601;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use rustix::net::sockopt;
use tokio::time::{Instant, sleep, timeout_at};

use super::admission::{self, Door};
use super::caller::{CallerError, IdentifyCaller};
use super::container_door::ContainerDoor;
use super::credential_source::{Caller, CredentialSource, Reason};
use super::metadata_token::{MetadataTokens, TokenTtl};
use super::reply::{self, Reply, TTL_HEADER};
use super::upstream::{Upstream, UpstreamError};
use crate::audit::{AuditEvent, Decision};
use crate::clock::Clock;
use keymaker_daemon::audit::{AuditLog, Share};

/// Everything an answer depends on.
pub struct UserMetadataService<S> {
    /// Who has which credentials.
    pub source: S,
    /// Who is at the other end.
    pub callers: Box<dyn IdentifyCaller>,
    /// The second door; None: it is closed, and anybody who comes to its port gets nothing, of the other door's
    /// protocol neither.
    pub container: Option<ContainerDoor>,
    /// The port of the second door on loopback.
    pub container_port: u16,
    /// Their names and groups.
    pub accounts: Box<dyn Accounts>,
    /// IMDSv2.
    pub tokens: MetadataTokens,
    /// Who may read which path of the real service.
    pub rules: Rules,
    /// The real service.
    pub upstream: Upstream,
    /// What stands against capture, if anything: while users may reach the real service, nobody gets credentials here
    /// that would hide it.
    pub capture_problem: Box<dyn Fn() -> Option<&'static str>>,
    /// Where decisions are written.
    pub audit: Box<dyn AuditLog<AuditEvent>>,
    /// What time it is.
    pub clock: Box<dyn Clock>,
    /// Whether a request without a token is answered.
    pub token_policy: TokenPolicy,
    /// The IP hop limit of a reply that carries a token, 1 to 64.
    pub token_hop_limit: u8,
}

/// Whether a request without a token is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPolicy {
    /// 401: IMDSv2 only.
    Required,
    /// Answered, as IMDSv1.
    Optional,
}

/// One connection with the caller it was identified as.
pub struct Client {
    /// Who.
    pub caller: Caller,
    /// Whose part of what is limited they take.
    pub share: Share,
    /// Where they came in.
    pub door: Door,
    /// The accepted socket.
    pub socket: OwnedFd,
}

impl Client {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A reply, and what the audit line says of it; plain metadata has none.
pub(super) struct AuditedReply {
    pub(super) reply: Reply,
    pub(super) event: Option<AuditEvent>,
}

impl<S: CredentialSource> UserMetadataService<S> {
    /// The door of a connection to `local`, and who names its callers.
    pub(super) fn door(&self, local: SocketAddr) -> Result<(Door, &dyn IdentifyCaller), CallerError> {
        if !(local.ip().is_loopback() && local.port() == self.container_port) {
            return Ok((Door::Metadata, &*self.callers));
        }
        match &self.container {
            Some(door) => Ok((Door::Container(self.container_port), &*door.callers)),
            None => Err(CallerError::ClosedDoor),
        }
    }

    /// The callers of a client's door.
    pub(super) fn callers_of(&self, client: &Client) -> &dyn IdentifyCaller {
        match (client.door, &self.container) {
            (Door::Container(_), Some(door)) => &*door.callers,
            _ => &*self.callers,
        }
    }

    /// The reply to `request`. The audit line of an issuance is written before this returns.
    pub async fn answer<B>(&self, client: &Client, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let deadline = Instant::now() + WHOLE_ANSWER;
        let (head, body) = request.into_parts();
        let answer = self.decide(client, &head, body).await;
        match answer.event {
            Some(event) if event.outcome == Decision::Issued => {
                let line = self.line(client, answer.reply.status(), event);
                match self.write_down(client, &line, deadline).await {
                    Ok(()) => answer.reply,
                    Err(refused) => self.refused(client, refused),
                }
            }
            _ => self.refused(client, answer),
        }
    }

    /// Nobody waits for the line of a refusal.
    fn refused(&self, client: &Client, answer: AuditedReply) -> Reply {
        if let Some(event) = answer.event {
            let line = self.line(client, answer.reply.status(), event);
            let _ = self.audit.record(client.share, &line);
        }
        answer.reply
    }

    /// No credentials without a line: while nobody takes lines, an issuance waits until its deadline and is then
    /// refused.
    async fn write_down(&self, client: &Client, line: &AuditEvent, deadline: Instant) -> Result<(), AuditedReply> {
        if self.audit.record(client.share, line).is_ok() {
            return Ok(());
        }
        let reason = |text| Reason {
            method: line.method,
            text,
        };
        let taken = async {
            while self.audit.record(client.share, line).is_err() {
                sleep(BETWEEN_TRIES).await;
            }
        };
        if timeout_at(deadline, taken).await.is_err() {
            let reply = reply::error(StatusCode::SERVICE_UNAVAILABLE);
            let reason = reason("the journal accepts no audit line".to_owned());
            return Err(decided(reply, line.asked, Decision::Transient, reason));
        }
        // What was checked before the wait may have changed.
        self.still_theirs(client).map_err(|error| {
            let reply = reply::error(StatusCode::FORBIDDEN);
            decided(reply, line.asked, Decision::Refused, reason(not_theirs(&error)))
        })
    }

    fn line(&self, client: &Client, status: StatusCode, event: AuditEvent) -> AuditEvent {
        AuditEvent {
            time: iso8601(self.clock.now()),
            uid: Some(client.caller.owner.uid),
            user: client.caller.account.user.clone(),
            cookie: Some(client.caller.owner.cookie),
            status: status.as_u16(),
            ..event
        }
    }

    async fn decide<B>(&self, client: &Client, head: &Parts, body: B) -> AuditedReply
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        if let Err(refused) = admission::check(head, client.door) {
            return refuse("request", refused.status, refused.reason);
        }
        if Limited::new(body, LARGEST_BODY).collect().await.is_err() {
            return refuse(
                "request",
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request has a body, which nothing here reads",
            );
        }
        if let (Door::Container(_), Some(door)) = (client.door, &self.container) {
            return self.container(client, head, door).await;
        }
        let Ok(segments) = path::segments(head.uri.path()) else {
            return refuse("request", StatusCode::BAD_REQUEST, "the path could be read in two ways");
        };
        let route = route(&segments);
        if route == MetadataRoute::Token {
            return self.token(client, head);
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            return plain(reply::allow(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
        }
        let remaining = match self.check_token(client, head) {
            Ok(remaining) => remaining,
            Err(reason) => return refuse("token", StatusCode::UNAUTHORIZED, reason),
        };
        let mut answer = self.read(client, route, &segments).await;
        if let Some(seconds) = remaining.filter(|_| answer.reply.status() == StatusCode::OK) {
            answer.reply.headers_mut().insert(TTL_HEADER, seconds.into());
        }
        answer
    }

    /// `PUT /latest/api/token`.
    fn token(&self, client: &Client, head: &Parts) -> AuditedReply {
        match head.method {
            Method::PUT => {}
            Method::OPTIONS => return plain(reply::allow(StatusCode::OK, "OPTIONS, PUT")),
            _ => return plain(reply::allow(StatusCode::METHOD_NOT_ALLOWED, "OPTIONS, PUT")),
        }
        let mut values = head.headers.get_all(TTL_HEADER).iter();
        let ttl = match (values.next(), values.next()) {
            (Some(value), None) => TokenTtl::parse(value.as_bytes()),
            _ => None,
        };
        let Some(ttl) = ttl else {
            return refuse(
                "token",
                StatusCode::BAD_REQUEST,
                "a token needs exactly one ttl, from 1 to 21600",
            );
        };
        // A token must not travel: anybody who relays the connection to another host receives nothing.
        if set_hop_limit(client, self.token_hop_limit).is_err() {
            return refuse(
                "token",
                StatusCode::FORBIDDEN,
                "the hop limit of the reply cannot be set",
            );
        }
        self.source.prewarm(&client.caller);
        let token = self.tokens.issue(client.caller.owner.uid, ttl, self.clock.since_boot());
        let mut reply = reply::text(token, self.clock.now());
        reply.headers_mut().insert(TTL_HEADER, ttl.seconds().into());
        plain(reply)
    }

    /// The seconds the request's token still has; None if it has none and needs none.
    fn check_token(&self, client: &Client, head: &Parts) -> Result<Option<u64>, &'static str> {
        let mut tokens = head.headers.get_all(TOKEN_HEADER).iter();
        match (tokens.next(), tokens.next()) {
            (None, _) if self.token_policy == TokenPolicy::Optional => Ok(None),
            (None, _) => Err("the request has no token, and require_imds_v2 is on"),
            (Some(token), None) => {
                let now = self.clock.since_boot();
                let left = self.tokens.remaining(token.as_bytes(), client.caller.owner.uid, now);
                left.map(Some).ok_or("the token is not this user's, or has expired")
            }
            (Some(_), Some(_)) => Err("the request has several tokens"),
        }
    }

    async fn read(&self, client: &Client, route: MetadataRoute, segments: &[String]) -> AuditedReply {
        match route {
            MetadataRoute::Listing(listing) => plain(reply::text(listing, self.clock.now())),
            MetadataRoute::RoleList => self.role_list(client).await,
            MetadataRoute::RoleCredentials(name) => self.role_credentials(client, &name).await,
            MetadataRoute::InstanceProfile => self.instance_profile(client).await,
            MetadataRoute::MetaDataListing(path) => self.meta_data_listing(client, &path, segments).await,
            MetadataRoute::Upstream(path) => self.upstream(client, &path).await,
            MetadataRoute::NotFound | MetadataRoute::Token => plain(reply::error(StatusCode::NOT_FOUND)),
        }
    }

    async fn upstream(&self, client: &Client, path: &UpstreamPath) -> AuditedReply {
        match self.may_read(client, path) {
            Ok(true) => {
                if path.entry().readers == Readers::ByRule
                    && let Err(error) = self.still_theirs(client)
                {
                    return refuse("metadata", StatusCode::FORBIDDEN, &not_theirs(&error));
                }
                self.pass_on(path).await
            }
            Ok(false) => refuse(
                "metadata",
                StatusCode::NOT_FOUND,
                "no rule opens this path to this user",
            ),
            Err(AccountDoubt) => decided(
                reply::error(StatusCode::SERVICE_UNAVAILABLE),
                "metadata",
                Decision::Transient,
                Reason::new("a rule depends on a name or group, and the files of this host do not tell this caller's"),
            ),
        }
    }

    fn may_read(&self, client: &Client, path: &UpstreamPath) -> Result<bool, AccountDoubt> {
        self.rules.allow(client.caller.owner.uid, &client.caller.account, path)
    }

    /// Fails unless the connection still belongs to its caller, and to nobody else.
    pub(super) fn still_theirs(&self, client: &Client) -> Result<(), CallerError> {
        self.callers_of(client).still(client.fd(), client.caller.owner)
    }

    async fn pass_on(&self, path: &UpstreamPath) -> AuditedReply {
        match self.upstream.get(path).await {
            Ok(found) => {
                let content_type = found.content_type.unwrap_or(reply::PLAIN);
                plain(reply::ok(found.body, content_type, self.clock.now()))
            }
            Err(error) => upstream_failed(error),
        }
    }

    /// The real listing without what this caller would get a 404 for, and with `iam/`.
    async fn meta_data_listing(&self, client: &Client, path: &UpstreamPath, segments: &[String]) -> AuditedReply {
        let found = match self.upstream.get(path).await {
            Ok(found) => found,
            Err(error) => return upstream_failed(error),
        };
        let listing = String::from_utf8_lossy(&found.body);
        let mut names: Vec<&str> = listing
            .lines()
            .filter(|name| self.is_listed(client, segments, name))
            .collect();
        if segments.first().is_some_and(|version| has_iam(version)) {
            names.push("iam/");
        }
        names.sort_unstable();
        plain(reply::text(names.join("\n"), self.clock.now()))
    }

    fn is_listed(&self, client: &Client, segments: &[String], name: &str) -> bool {
        let below: Vec<String> = segments
            .iter()
            .cloned()
            .chain([name.trim_end_matches('/').to_owned()])
            .collect();
        matches!(route(&below), MetadataRoute::Upstream(path) if self.may_read(client, &path) == Ok(true))
    }
}

/// For the audit line.
pub(super) fn not_theirs(error: &CallerError) -> String {
    format!("the connection no longer belongs to the caller: {error:?}")
}

pub(super) fn plain(reply: Reply) -> AuditedReply {
    AuditedReply { reply, event: None }
}

pub(super) fn refuse(asked: &'static str, status: StatusCode, reason: &str) -> AuditedReply {
    decided(reply::error(status), asked, Decision::Refused, Reason::new(reason))
}

pub(super) fn decided(reply: Reply, asked: &'static str, outcome: Decision, reason: Reason) -> AuditedReply {
    let event = AuditEvent {
        asked,
        outcome,
        method: reason.method,
        reason: Some(reason.text),
        ..AuditEvent::default()
    };
    AuditedReply {
        reply,
        event: Some(event),
    }
}

fn upstream_failed(error: UpstreamError) -> AuditedReply {
    match error {
        UpstreamError::NotFound => plain(reply::error(StatusCode::NOT_FOUND)),
        UpstreamError::Forbidden => plain(reply::error(StatusCode::FORBIDDEN)),
        UpstreamError::Unavailable(reason) => decided(
            reply::error(StatusCode::SERVICE_UNAVAILABLE),
            "metadata",
            Decision::Transient,
            Reason::new(reason),
        ),
    }
}

fn set_hop_limit(client: &Client, hops: u8) -> rustix::io::Result<()> {
    match sockopt::socket_domain(client.fd())? {
        rustix::net::AddressFamily::INET6 => sockopt::set_ipv6_unicast_hops(client.fd(), Some(hops)),
        _ => sockopt::set_ip_ttl(client.fd(), hops.into()),
    }
}

const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const LARGEST_BODY: usize = 1024;
/// Clients give up after a second.
pub(super) const WHOLE_ANSWER: Duration = Duration::from_millis(900);
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
