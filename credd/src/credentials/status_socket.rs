//! What root asks this daemon: `/metrics` for Prometheus, `/health`, and `/why/UID`: what would this uid get, by which
//! method, or why not? HTTP on a Unix socket in a folder that only credd and root may enter; it gives out no secret.
//!
//! `curl --unix-socket /run/keymaker-credd/status.sock http://credd/why/1000`

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use credd_core::time_text::iso8601;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::cache::Issue;
use super::issuer::{Chains, Issuer};
use super::metrics::Metrics;
use super::refusal::CredentialRefusal;

/// Listens at `path`, replacing what a former run left there.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Ok(listener)
        }
    }
}

/// What the socket tells of.
pub struct Status<I, C> {
    /// Who gets what.
    pub issuer: Issuer<I, C>,
    /// What happened.
    pub metrics: Rc<Metrics>,
    /// What stands against capture, if anything.
    pub capture_problem: Box<dyn Fn() -> Option<&'static str>>,
    /// Told whenever root asks after the daemon's health: whether this host's role is still the same is then to be
    /// found out.
    pub looked_at: Rc<Notify>,
}

/// Answers until it is dropped, one connection at a time.
pub async fn serve<I, C>(listener: UnixListener, status: Status<I, C>)
where
    I: Issue + 'static,
    C: Chains + 'static,
{
    loop {
        match listener.accept().await {
            // Root's own connection; whatever becomes of it concerns nobody else.
            Ok((stream, _)) => drop(timeout(PATIENCE, converse(stream, &status)).await),
            Err(error) => {
                tracing::error!(%error, "the status socket accepts no connection");
                sleep(PATIENCE).await;
            }
        }
    }
}

async fn converse<I, C>(stream: UnixStream, status: &Status<I, C>) -> hyper::Result<()>
where
    I: Issue + 'static,
    C: Chains + 'static,
{
    let answered = service_fn(async |request: Request<Incoming>| {
        let path = match *request.method() {
            Method::GET => request.uri().path(),
            _ => "",
        };
        let (code, kind, text) = answer(path, status).await;
        let mut reply = Response::new(Full::<Bytes>::from(text));
        *reply.status_mut() = code;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok::<_, Infallible>(reply)
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false)
        .serve_connection(TokioIo::new(stream), answered)
        .await
}

async fn answer<I, C>(path: &str, status: &Status<I, C>) -> (StatusCode, &'static str, String)
where
    I: Issue + 'static,
    C: Chains + 'static,
{
    let uid = path.strip_prefix("/why/").map(str::parse);
    let problem = (status.capture_problem)();
    match (path, uid) {
        ("/metrics", _) => {
            let counted = status.metrics.text(status.issuer.kept(), problem.is_none());
            (StatusCode::OK, "text/plain; version=0.0.4", counted)
        }
        ("/health", _) => {
            status.looked_at.notify_one();
            match problem {
                None => (StatusCode::OK, PLAIN, "ok\n".to_owned()),
                Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{problem}\n")),
            }
        }
        (_, Some(Ok(uid))) => (StatusCode::OK, "application/json", why(uid, &status.issuer).await),
        _ => (StatusCode::NOT_FOUND, PLAIN, "/metrics, /health, /why/UID\n".to_owned()),
    }
}

async fn why<I, C>(uid: u32, issuer: &Issuer<I, C>) -> String
where
    I: Issue + 'static,
    C: Chains + 'static,
{
    let chain: Vec<String> = issuer.chain(uid).await.iter().map(ToString::to_string).collect();
    let mut answer = match issuer.issuance(uid).await {
        Ok(issuance) => json!({
            "outcome": "issued",
            "method": issuance.method.to_string(),
            "role_arn": issuance.role.to_string(),
            "expiration": iso8601(issuance.credentials.expiration),
        }),
        Err(CredentialRefusal::NotApplicable) => json!({"outcome": "not_applicable"}),
        Err(CredentialRefusal::Denied(reason)) => {
            json!({"outcome": "denied", "method": reason.method, "reason": reason.text})
        }
        Err(CredentialRefusal::Transient(reason)) => {
            json!({"outcome": "transient", "method": reason.method, "reason": reason.text})
        }
    };
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("uid".to_owned(), json!(uid));
        fields.insert("chain".to_owned(), json!(chain));
    }
    format!("{answer}\n")
}

const PLAIN: &str = "text/plain";
const PATIENCE: Duration = Duration::from_secs(2);
