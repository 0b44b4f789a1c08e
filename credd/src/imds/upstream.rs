//! Reads allow-listed paths of the real metadata service, with a token of its own.
//!
//! The server calls it with an [`UpstreamPath`], which only the route table can make; no header, query or method of a
//! client comes this far. Equal questions at one moment are one request, and what changes rarely is kept for a minute,
//! so that users cannot spend the 1,024 packets a second that the real service gives this host.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use keymaker_aws::{MetadataError, MetadataService};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use credd_core::metadata::route_table::Freshness;
use credd_core::metadata::routes::UpstreamPath;

/// What the real service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamAnswer {
    /// The body, byte for byte.
    pub body: Bytes,
    /// Its type, as the real service named it.
    pub content_type: Option<HeaderValue>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// The real service has no such path: 404.
    NotFound,
    /// The instance's metadata service is switched off or refuses this host: 403.
    Forbidden,
    /// The real service did not answer properly in time, for this reason: 503.
    Unavailable(String),
}

/// The real metadata service.
pub struct Upstream {
    service: MetadataService,
    token: RefCell<Option<OwnToken>>,
    slots: RefCell<HashMap<String, Rc<UpstreamSlot>>>,
}

#[derive(Clone)]
struct OwnToken {
    text: Zeroizing<String>,
    end: Instant,
}

/// One question, while it is asked and as long as its answer is good.
struct UpstreamSlot {
    answer: OnceCell<Result<UpstreamAnswer, UpstreamError>>,
    asked: Instant,
}

impl Upstream {
    /// The service at the first of `endpoints` that takes a connection.
    pub fn new(endpoints: Vec<SocketAddr>) -> Self {
        Self {
            service: MetadataService::hasty(&endpoints, CONNECT),
            token: RefCell::new(None),
            slots: RefCell::new(HashMap::new()),
        }
    }

    /// What the real service has at `path`.
    pub async fn get(&self, path: &UpstreamPath) -> Result<UpstreamAnswer, UpstreamError> {
        let slot = self.slot(path);
        let answer = slot
            .answer
            .get_or_init(|| self.ask_in_time(path.as_str()))
            .await
            .clone();
        if answer.is_err() || path.entry().freshness == Freshness::Live {
            let mut slots = self.slots.borrow_mut();
            if slots.get(path.as_str()).is_some_and(|kept| Rc::ptr_eq(kept, &slot)) {
                slots.remove(path.as_str());
            }
        }
        answer
    }

    fn slot(&self, path: &UpstreamPath) -> Rc<UpstreamSlot> {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots
            .get(path.as_str())
            .filter(|slot| slot.asked.elapsed() < STEADY_FOR)
        {
            return Rc::clone(slot);
        }
        let slot = Rc::new(UpstreamSlot {
            answer: OnceCell::new(),
            asked: Instant::now(),
        });
        if slots.len() >= MOST_SLOTS {
            slots.retain(|_, slot| slot.asked.elapsed() < STEADY_FOR);
        }
        // Names in a path are the client's choice: past the limit a question is asked, but not remembered.
        if slots.len() < MOST_SLOTS {
            slots.insert(path.as_str().to_owned(), Rc::clone(&slot));
        }
        slot
    }

    async fn ask_in_time(&self, path: &str) -> Result<UpstreamAnswer, UpstreamError> {
        let late = |_| Err(unavailable("the metadata service took too long"));
        timeout(WHOLE_QUESTION, self.ask(path)).await.unwrap_or_else(late)
    }

    async fn ask(&self, path: &str) -> Result<UpstreamAnswer, UpstreamError> {
        let token = self.own_token().await?;
        match self.read(path, &token).await {
            // Our token died early, with a reboot of the service: one new one.
            Err(UpstreamReadError::TokenRefused) => {
                self.token.replace(None);
                let token = self.own_token().await?;
                self.read(path, &token).await.map_err(UpstreamError::from)
            }
            other => other.map_err(UpstreamError::from),
        }
    }

    async fn read(&self, path: &str, token: &OwnToken) -> Result<UpstreamAnswer, UpstreamReadError> {
        let answer = self
            .service
            .read(path, &token.text)
            .await
            .map_err(UpstreamError::from)?;
        match answer.status {
            StatusCode::OK => Ok(UpstreamAnswer {
                body: answer.body,
                content_type: answer.content_type,
            }),
            StatusCode::UNAUTHORIZED => Err(UpstreamReadError::TokenRefused),
            status => Err(UpstreamReadError::Final(refusal(status))),
        }
    }

    async fn own_token(&self) -> Result<OwnToken, UpstreamError> {
        let kept = self.token.borrow().clone();
        if let Some(token) = kept.filter(|token| token.end > Instant::now()) {
            return Ok(token);
        }
        let text = match self.service.metadata_token_for(TOKEN_TTL).await {
            // An endpoint without IMDSv2 is not a metadata service that we know.
            Err(MetadataError::Status(StatusCode::NOT_FOUND)) => {
                return Err(unavailable("the metadata service gives no tokens"));
            }
            Err(MetadataError::Status(status)) => return Err(refusal(status)),
            text => text?,
        };
        let token = OwnToken {
            text,
            end: Instant::now() + OWN_TOKEN_FOR,
        };
        self.token.replace(Some(token.clone()));
        Ok(token)
    }
}

enum UpstreamReadError {
    TokenRefused,
    Final(UpstreamError),
}

impl From<UpstreamError> for UpstreamReadError {
    fn from(error: UpstreamError) -> Self {
        Self::Final(error)
    }
}

impl From<UpstreamReadError> for UpstreamError {
    fn from(error: UpstreamReadError) -> Self {
        match error {
            UpstreamReadError::TokenRefused => unavailable("the metadata service refuses its own token"),
            UpstreamReadError::Final(error) => error,
        }
    }
}

fn refusal(status: StatusCode) -> UpstreamError {
    match status {
        StatusCode::NOT_FOUND => UpstreamError::NotFound,
        StatusCode::FORBIDDEN => UpstreamError::Forbidden,
        other => unavailable(&format!("the metadata service answered {other}")),
    }
}

impl From<MetadataError> for UpstreamError {
    fn from(error: MetadataError) -> Self {
        unavailable(&error.to_string())
    }
}

fn unavailable(reason: &str) -> UpstreamError {
    UpstreamError::Unavailable(reason.to_owned())
}

const MOST_SLOTS: usize = 1024;
const STEADY_FOR: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_millis(250);
/// Clients give up after a second.
const WHOLE_QUESTION: Duration = Duration::from_millis(800);
const TOKEN_TTL: Duration = Duration::from_secs(6 * 3600);
/// It is renewed before it ends.
const OWN_TOKEN_FOR: Duration = Duration::from_secs(5 * 3600);
