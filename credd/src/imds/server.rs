//! Takes connections, names their caller, and lets hyper speak HTTP with those who have one.
//!
//! The daemon runs one [`Server::run`] per listener. Each connection serves one request and is closed, so that identity,
//! limits and framing never carry over from one request to the next; SDKs open a new one without complaint.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::Cursor;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::{Client, MetadataService};
use super::caller::CallerError;
use super::credential_source::{Caller, CredentialSource};
use super::reply::raw_error;
use super::wire::{HeadError, MOST_HEADERS, read_head};
use crate::audit::{AuditEvent, Decision};
use crate::time_text::iso8601;

/// What one client, and all together, may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From accept to the end of the request's head.
    pub head: Duration,
    /// From accept to the last byte of the reply.
    pub connection: Duration,
    /// How long a client may take to close after the reply.
    pub linger: Duration,
    /// Connections of one uid at a time; those that nobody owns count together.
    pub connections_of_one_uid: usize,
    /// Connections of all.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            connection: Duration::from_secs(10),
            linger: Duration::from_millis(500),
            connections_of_one_uid: 64,
            connections: 2048,
        }
    }
}

/// The metadata service on its sockets.
pub struct Server<S> {
    service: RefCell<Rc<MetadataService<S>>>,
    limits: Limits,
    open: RefCell<HashMap<Option<u32>, usize>>,
}

impl<S: CredentialSource + 'static> Server<S> {
    /// Nothing listens yet.
    pub fn new(service: MetadataService<S>, limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            service: RefCell::new(Rc::new(service)),
            limits,
            open: RefCell::new(HashMap::new()),
        })
    }

    /// From the next connection on, `service` answers.
    pub fn replace(&self, service: MetadataService<S>) {
        self.service.replace(Rc::new(service));
    }

    fn service(&self) -> Rc<MetadataService<S>> {
        Rc::clone(&self.service.borrow())
    }

    /// Serves `listener` until `stop` is ready, then lets the open connections finish. Runs on a `LocalSet`.
    pub async fn run(self: Rc<Self>, listener: TcpListener, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream, &mut connections),
                    Err(error) => {
                        // Out of descriptors, mostly: the connection stays in the queue until others have ended.
                        tracing::error!(%error, "a connection could not be accepted");
                        sleep(AFTER_ACCEPT_ERROR).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    /// Names the caller before anything is read: what the kernel says now is about the process that connected.
    fn admit(self: &Rc<Self>, stream: TcpStream, connections: &mut JoinSet<()>) {
        let identified = self.identify(&stream);
        let uid = identified.as_ref().ok().map(|client| client.caller.owner.uid);
        let Some(place) = Place::take(self, uid) else {
            return self.record_closed(uid);
        };
        let server = Rc::clone(self);
        connections.spawn_local(async move {
            let served = async {
                match identified {
                    Ok(client) => server.serve(stream, &client).await,
                    Err(error) => server.refuse_unidentified(stream, &error).await,
                }
            };
            // A client that is too slow is cut off; nothing else happens to it.
            let _ = timeout(server.limits.connection, served).await;
            drop(place);
        });
    }

    fn identify(&self, stream: &TcpStream) -> Result<Client, CallerError> {
        let service = self.service();
        let (door, callers) = service.door(stream.local_addr().map_err(CallerError::Gone)?);
        let owner = callers.owner(stream.as_fd())?;
        let socket = stream.as_fd().try_clone_to_owned().map_err(CallerError::Gone)?;
        Ok(Client {
            caller: Caller {
                owner,
                account: service.accounts.account(owner.uid),
            },
            door,
            socket,
        })
    }

    async fn serve(&self, mut stream: TcpStream, client: &Client) {
        let head = match timeout(self.limits.head, read_head(&mut stream)).await {
            Ok(Ok(head)) => head,
            Ok(Err(HeadError::Malformed)) => return self.close_with(stream, StatusCode::BAD_REQUEST).await,
            Ok(Err(HeadError::TooLarge)) => {
                return self
                    .close_with(stream, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
                    .await;
            }
            Ok(Err(HeadError::Closed)) | Err(_) => return,
        };
        let service = self.service();
        let (read, write) = stream.into_split();
        let io = TokioIo::new(join(Cursor::new(head).chain(read), write));
        let answer = service_fn(async |request| Ok::<_, Infallible>(service.answer(client, request).await));
        let mut http = http1::Builder::new();
        http.keep_alive(false)
            .half_close(true)
            .max_headers(MOST_HEADERS)
            .title_case_headers(true);
        if let Ok(done) = http.serve_connection(io, answer).without_shutdown().await {
            self.linger(done.io.into_inner()).await;
        }
    }

    async fn refuse_unidentified(&self, stream: TcpStream, error: &CallerError) {
        self.service().audit.record(&AuditEvent {
            status: StatusCode::FORBIDDEN.as_u16(),
            ..self.refused_connection(format!("the caller is unknown: {error:?}"))
        });
        self.close_with(stream, StatusCode::FORBIDDEN).await;
    }

    /// Status 0: there is no answer.
    fn record_closed(&self, uid: Option<u32>) {
        self.service().audit.record(&AuditEvent {
            uid,
            ..self.refused_connection("too many connections at a time".to_owned())
        });
    }

    fn refused_connection(&self, reason: String) -> AuditEvent {
        AuditEvent {
            time: iso8601(self.service().clock.now()),
            asked: "connection",
            outcome: Decision::Refused,
            reason: Some(reason),
            ..AuditEvent::default()
        }
    }

    async fn close_with(&self, mut stream: TcpStream, status: StatusCode) {
        if stream.write_all(&raw_error(status)).await.is_ok() {
            self.linger(stream).await;
        }
    }

    /// Closes our side and reads what still comes, for a moment: closing with unread bytes would reset the connection, and
    /// the reset can overtake the reply.
    async fn linger(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let drain = async {
            let mut waste = [0_u8; 4096];
            stream.shutdown().await?;
            while stream.read(&mut waste).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        let _ = timeout(self.limits.linger, drain).await;
    }
}

/// One connection's place among those of its uid; given back on drop.
struct Place<S> {
    server: Rc<Server<S>>,
    uid: Option<u32>,
}

impl<S> Place<S> {
    fn take(server: &Rc<Server<S>>, uid: Option<u32>) -> Option<Self> {
        let mut open = server.open.borrow_mut();
        if open.values().sum::<usize>() >= server.limits.connections {
            return None;
        }
        let of_uid = open.entry(uid).or_insert(0);
        if *of_uid >= server.limits.connections_of_one_uid {
            return None;
        }
        *of_uid += 1;
        Some(Self {
            server: Rc::clone(server),
            uid,
        })
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        let mut open = self.server.open.borrow_mut();
        if let Some(of_uid) = open.get_mut(&self.uid) {
            *of_uid = of_uid.saturating_sub(1);
            if *of_uid == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);
