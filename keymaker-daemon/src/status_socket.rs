//! What root asks a daemon: HTTP on a Unix socket that only root and the daemon's own user may connect to. Each daemon
//! says what it answers; it must give out no secret.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::log::LogLevel;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
pub use hyper::{Method, StatusCode};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

/// What is answered to one request.
pub struct StatusAnswer {
    /// The HTTP status.
    pub code: StatusCode,
    /// The media type of the text.
    pub kind: &'static str,
    /// The body.
    pub text: String,
}

impl StatusAnswer {
    /// A sentence.
    pub fn plain(code: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            code,
            kind: "text/plain",
            text,
        }
    }

    /// Metrics, in the text format of Prometheus.
    pub fn metrics(text: String) -> Self {
        Self {
            code: StatusCode::OK,
            kind: "text/plain; version=0.0.4",
            text,
        }
    }

    /// A JSON document.
    pub fn json(text: String) -> Self {
        Self {
            code: StatusCode::OK,
            kind: "application/json",
            text,
        }
    }
}

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

/// Answers until it is dropped, one connection at a time: about `level` itself, all else by `answer`.
pub async fn serve(listener: UnixListener, level: LogLevel, answer: impl AsyncFn(&Method, &str) -> StatusAnswer) {
    let answer = async |method: &Method, path: &str| match about_level(&level, method, path) {
        Some(answered) => answered,
        None => answer(method, path).await,
    };
    loop {
        match listener.accept().await {
            // Root's own connection; whatever becomes of it concerns nobody else.
            Ok((stream, _)) => drop(timeout(PATIENCE, converse(stream, &answer)).await),
            Err(error) => {
                tracing::error!(%error, "the status socket accepts no connection");
                sleep(PATIENCE).await;
            }
        }
    }
}

/// `GET /log-level` says how much is written; `PUT /log-level/debug` changes it, until the daemon ends.
fn about_level(level: &LogLevel, method: &Method, path: &str) -> Option<StatusAnswer> {
    let wanted = path.strip_prefix("/log-level")?;
    Some(match (method, wanted.strip_prefix('/')) {
        (&Method::GET, None) => StatusAnswer::plain(StatusCode::OK, level.word()),
        (&Method::PUT, Some(word)) if level.set(word) => {
            let now = level.word();
            tracing::warn!(level = %now, "root has set the log level to {now}");
            StatusAnswer::plain(StatusCode::OK, now)
        }
        _ => StatusAnswer::plain(StatusCode::BAD_REQUEST, "error, warn, info or debug\n"),
    })
}

async fn converse(stream: UnixStream, answer: &impl AsyncFn(&Method, &str) -> StatusAnswer) -> hyper::Result<()> {
    let answered = service_fn(async |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path()).await;
        let mut reply = Response::new(Full::<Bytes>::from(answer.text));
        *reply.status_mut() = answer.code;
        reply
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(answer.kind));
        Ok::<_, Infallible>(reply)
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false)
        .serve_connection(TokioIo::new(stream), answered)
        .await
}

const PATIENCE: Duration = Duration::from_secs(2);
