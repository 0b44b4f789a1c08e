//! Takes connections, names their caller, and lets hyper speak HTTP with those who have one.
//!
//! The daemon runs one [`Server::run`] per listener. Each connection serves one request and is closed, so that
//! identity, limits and framing never carry over from one request to the next; SDKs open a new one without complaint.
//!
//! A flood costs the flooder: past its places a uid's connections are closed at once, within them it waits for its
//! turn. A place is free again when the connection's task is gone, so that memory has a bound too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::Cursor;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use credd_core::time_text::iso8601;
use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keymaker_daemon::bucket::Rate;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::admission::Door;
use super::answer::{Client, UserMetadataService};
use super::caller::{CallerError, SocketOwner};
use super::credential_source::{Caller, CredentialSource};
use super::reply::raw_error;
use super::wire::{HeadError, MOST_HEADERS, read_head};
use crate::audit::{AuditEvent, Decision};
use keymaker_daemon::audit::{Buckets, Share};

/// What one client, and all together, may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From accept to the end of the request's head.
    pub head: Duration,
    /// From accept to the last byte of the reply.
    pub connection: Duration,
    /// How long a client may take to close after the reply.
    pub linger: Duration,
    /// Connections of one uid at a time; those that nobody owns, or somebody whom this host does not know, count
    /// together.
    pub connections_of_one_uid: usize,
    /// Connections of all.
    pub connections: usize,
    /// The last quarter of all is for uids that have fewer than this.
    pub few: usize,
    /// How fast one uid is served.
    pub rate: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            connection: Duration::from_secs(10),
            linger: Duration::from_millis(500),
            connections_of_one_uid: 64,
            connections: 2048,
            few: 4,
            rate: Rate {
                a_second: 1000.0,
                burst: 2000.0,
                longest_wait: Duration::from_millis(500),
            },
        }
    }
}

/// The metadata service on its sockets.
pub struct Server<S> {
    service: RefCell<Rc<UserMetadataService<S>>>,
    limits: Limits,
    open: RefCell<HashMap<Share, usize>>,
    turns: RefCell<Buckets>,
    strangers: RefCell<Strangers>,
}

impl<S: CredentialSource + 'static> Server<S> {
    /// Nothing listens yet.
    pub fn new(service: UserMetadataService<S>, limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            service: RefCell::new(Rc::new(service)),
            limits,
            open: RefCell::default(),
            turns: RefCell::default(),
            strangers: RefCell::default(),
        })
    }

    /// From the next connection on, `service` answers.
    pub fn replace(&self, service: UserMetadataService<S>) {
        self.service.replace(Rc::new(service));
    }

    /// Forgets who has had no connection for a while. To be called every few seconds.
    pub fn tidy(&self) {
        let now = self.service().clock.since_boot();
        self.turns.borrow_mut().tidy(self.limits.rate, now);
        self.strangers.borrow_mut().tidy(now);
    }

    fn service(&self) -> Rc<UserMetadataService<S>> {
        Rc::clone(&self.service.borrow())
    }

    /// Serves `listener` until `stop` is ready, then lets the open connections finish. Runs on a `LocalSet`.
    pub async fn run(self: Rc<Self>, listener: TcpListener, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            // What has ended is let go before anything new is taken in: its place counts until then.
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream, &mut connections),
                    Err(error) => {
                        // Out of descriptors, mostly: the connection stays in the queue until others have ended.
                        tracing::error!(%error, "a connection could not be accepted");
                        sleep(AFTER_ACCEPT_ERROR).await;
                    }
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    /// Names the caller before anything is read: what the kernel says now is about the process that connected.
    fn admit(self: &Rc<Self>, stream: TcpStream, connections: &mut JoinSet<ServerPlace<S>>) {
        let now = self.service().clock.since_boot();
        let (identified, seat) = match self.owner(&stream) {
            Ok(arrival) => {
                // A number that was nobody's a moment ago costs no look at the files while nobody's places are taken.
                let early = if self.strangers.borrow().has(arrival.owner.uid, now) {
                    self.seat(Share::OfNobody, now).map(Some)
                } else {
                    Some(None)
                };
                let Some(early) = early else {
                    return self.record_closed(Share::OfNobody, Some(arrival.owner.uid));
                };
                let client = self.client(arrival);
                let seat = match early {
                    Some(seat) if client.share == Share::OfNobody => Some(seat),
                    _ => self.seat(client.share, now),
                };
                if client.share == Share::OfNobody {
                    self.strangers.borrow_mut().add(client.caller.owner.uid, now);
                }
                (Ok(client), seat)
            }
            Err(error) => (Err(error), self.seat(Share::OfNobody, now)),
        };
        let Some((place, turn)) = seat else {
            return match identified {
                Ok(client) => self.record_closed(client.share, Some(client.caller.owner.uid)),
                Err(_) => self.record_closed(Share::OfNobody, None),
            };
        };
        let server = Rc::clone(self);
        connections.spawn_local(async move {
            let served = async {
                // Even for no time at all sleep waits for the timer's next tick, a millisecond later.
                if !turn.is_zero() {
                    sleep(turn).await;
                }
                match identified {
                    Ok(client) => server.serve(stream, &client).await,
                    Err(error) => server.refuse_unidentified(stream, &error).await,
                }
            };
            // A client that is too slow is cut off; nothing else happens to it.
            let _ = timeout(server.limits.connection, served).await;
            place
        });
    }

    /// A place, and how long to wait for a turn in it; None if there is neither.
    fn seat(self: &Rc<Self>, share: Share, now: Duration) -> Option<(ServerPlace<S>, Duration)> {
        let place = ServerPlace::take(self, share)?;
        let turn = self.turns.borrow_mut().turn(share, self.limits.rate, now)?;
        Some((place, turn))
    }

    fn owner(&self, stream: &TcpStream) -> Result<AcceptedConnection, CallerError> {
        let service = self.service();
        let (door, callers) = service.door(stream.local_addr().map_err(CallerError::Gone)?)?;
        let owner = callers.owner(stream.as_fd())?;
        let socket = stream.as_fd().try_clone_to_owned().map_err(CallerError::Gone)?;
        Ok(AcceptedConnection { owner, door, socket })
    }

    fn client(&self, arrival: AcceptedConnection) -> Client {
        let AcceptedConnection { owner, door, socket } = arrival;
        let service = self.service();
        let account = service.accounts.account(owner.uid);
        Client {
            share: Share::of(owner.uid, service.source.knows(owner.uid, &account)),
            caller: Caller { owner, account },
            door,
            socket,
        }
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
        if let Ok(done) = http.serve_connection(io, answer).without_shutdown().await
            && !self.linger(done.io.into_inner()).await
        {
            // Or the port stays taken for as long as the client likes, and there are 28,000 towards this address.
            let _ = set_socket_linger(&client.socket, Some(Duration::ZERO));
        }
    }

    async fn refuse_unidentified(&self, stream: TcpStream, error: &CallerError) {
        self.record(
            Share::OfNobody,
            AuditEvent {
                status: StatusCode::FORBIDDEN.as_u16(),
                ..self.refused_connection(format!("the caller is unknown: {error:?}"))
            },
        );
        self.close_with(stream, StatusCode::FORBIDDEN).await;
    }

    /// Status 0: there is no answer.
    fn record_closed(&self, share: Share, uid: Option<u32>) {
        self.record(
            share,
            AuditEvent {
                uid,
                ..self.refused_connection("there are too many connections at once".to_owned())
            },
        );
    }

    /// Nobody waits for the line of a refusal.
    fn record(&self, share: Share, event: AuditEvent) {
        let _ = self.service().audit.record(share, &event);
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

    /// Closes our side and reads what still comes, for a moment: closing with unread bytes would reset the connection,
    /// and the reset can overtake the reply. Whether the client has closed, too.
    async fn linger(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> bool {
        let drain = async {
            let mut waste = [0_u8; 4096];
            stream.shutdown().await?;
            while stream.read(&mut waste).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        timeout(self.limits.linger, drain).await.is_ok()
    }
}

/// One connection's place among those of its share; given back on drop.
struct ServerPlace<S> {
    server: Rc<Server<S>>,
    share: Share,
}

impl<S> ServerPlace<S> {
    fn take(server: &Rc<Server<S>>, share: Share) -> Option<Self> {
        let (limits, mut open) = (server.limits, server.open.borrow_mut());
        let of_all: usize = open.values().sum();
        let of_share = open.get(&share).copied().unwrap_or(0);
        let most = if of_all < limits.connections - limits.connections / 4 {
            limits.connections_of_one_uid
        } else {
            limits.few.min(limits.connections_of_one_uid)
        };
        if of_all >= limits.connections || of_share >= most {
            return None;
        }
        open.insert(share, of_share + 1);
        Some(Self {
            server: Rc::clone(server),
            share,
        })
    }
}

impl<S> Drop for ServerPlace<S> {
    fn drop(&mut self) {
        let mut open = self.server.open.borrow_mut();
        if let Some(of_share) = open.get_mut(&self.share) {
            *of_share = of_share.saturating_sub(1);
            if *of_share == 0 {
                open.remove(&self.share);
            }
        }
    }
}

/// A connection of which only the kernel has said anything.
struct AcceptedConnection {
    owner: SocketOwner,
    door: Door,
    socket: OwnedFd,
}

/// Numbers that were nobody's a moment ago, and until when that is taken for so.
#[derive(Default)]
struct Strangers(HashMap<u32, Duration>);

impl Strangers {
    fn has(&self, uid: u32, now: Duration) -> bool {
        self.0.get(&uid).is_some_and(|until| now < *until)
    }

    fn add(&mut self, uid: u32, now: Duration) {
        if self.0.len() < MOST_STRANGERS {
            self.0.insert(uid, now + STRANGE);
        }
    }

    fn tidy(&mut self, now: Duration) {
        self.0.retain(|_, until| now < *until);
    }
}

/// How long somebody who has just been given a name may still be shut out with the strangers.
const STRANGE: Duration = Duration::from_secs(10);
/// The subordinate ids of one user (subuid(5)).
const MOST_STRANGERS: usize = 65_536;
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);
