//! The two request sockets: a line in, a line out. Everything a local user can send to keymakerd passes through this
//! file.
//!
//! Each socket has its own task; each connection is one question, read within a second and answered within [`LONGEST`].
//! Anybody who has too many connections open at lookup.sock is hung up on, which a client reports at once. login.sock
//! admits none but our own programs, and how many of them run at once is for unauthenticated clients to decide: one
//! that were hung up on would go by old files (P9).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use keymaker_core::audit::{AuditLine, MAX_REPORT, is_report};
use keymaker_core::name::UserName;
use keymaker_core::paths::KEYMAKER_KEYS;
use keymaker_core::protocol::{Answer, Asker, MAX_ANSWER, Question};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tracing::debug;

use crate::directory::asking::nudge::Cause;
use crate::directory::iam::Iam;
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::Service;
use crate::local_accounts::LocalAccounts;

/// A full pass over a large account takes minutes.
const LONGEST: Duration = Duration::from_secs(600);
const READING: Duration = Duration::from_secs(1);
const MOST_PER_UID: usize = 32;
const MOST_OF_ROOT: usize = 256;
/// Of everybody but root together: anybody who has subordinate uids (subuid(5)) has thousands of uids to ask with.
const MOST_OF_OTHERS: usize = 512;
/// More than sshd ever runs at once (`MaxStartups`), and with all the others below the unit's `LimitNOFILE`.
const MOST_LOGINS: usize = 2048;

/// Which socket a connection came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestSocket {
    /// lookup.sock
    Lookup,
    /// login.sock
    Login,
}

/// Makes a socket that everybody whom `mode` allows may connect to; `group` owns it where one is given.
pub fn listen(path: &Path, mode: u32, group: Option<u32>) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::os::unix::fs::chown(path, None, group)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    Ok(listener)
}

/// Answers anybody who connects, forever.
pub async fn serve<I: Iam + 'static>(socket: RequestSocket, listener: UnixListener, service: Rc<Service<I>>) {
    let open: Rc<RefCell<Open>> = Rc::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Out of descriptors, or the client has gone: the next one may do better.
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(peer) = stream.peer_cred() else { continue };
        let Some(place) = SocketPlace::take(&open, socket, peer.uid()) else {
            continue;
        };
        let service = Rc::clone(&service);
        tokio::task::spawn_local(async move {
            // A client that is slow or gone loses its answer and nothing else.
            let _ = tokio::time::timeout(LONGEST, converse(socket, stream, place.uid, service)).await;
            drop(place);
        });
    }
}

async fn converse<I: Iam + 'static>(
    socket: RequestSocket,
    mut stream: UnixStream,
    uid: u32,
    service: Rc<Service<I>>,
) -> io::Result<()> {
    let line = tokio::time::timeout(READING, read_line(&mut stream)).await??;
    let asker = asker(socket, uid, &service.state().local);
    if socket == RequestSocket::Login && is_report(&line) {
        return match take_report(&line, asker, &service) {
            Some(answer) => stream.write_all(format!("{answer}\n").as_bytes()).await,
            None => Ok(()),
        };
    }
    let question = match socket {
        RequestSocket::Lookup => UserName::parse(&line).ok().map(Question::Lookup),
        RequestSocket::Login => Question::parse(&line),
    };
    let mut answer = match question {
        Some(question) if asker.may_ask(&question) => {
            let (asked, verb, began) = (question.to_string(), question.verb(), service.clock.instant());
            let answer = answer(&service, question, asker, uid).await;
            let took = (service.clock.instant() - began).as_millis();
            debug!(uid, %asked, %answer, took, "uid {uid} asked \"{asked}\": {answer}, after {took} ms");
            let answered = Answer::parse(&answer).map_or("", Answer::verb);
            service.counts.questions.count([verb, answered]);
            answer
        }
        Some(question) => {
            let answered = Answer::NotPermitted;
            service.counts.questions.count([question.verb(), answered.verb()]);
            answered.to_string()
        }
        // Hung up on: what speaks so is not one of ours.
        None => return Ok(()),
    };
    answer.truncate(answer.floor_char_boundary(MAX_ANSWER - 1));
    answer.push('\n');
    stream.write_all(answer.as_bytes()).await
}

/// Has a line of the audit written; `None` where it is none.
fn take_report<I: Iam + 'static>(line: &[u8], asker: Asker, service: &Service<I>) -> Option<Answer<'static>> {
    let mut line = AuditLine::parse(line)?;
    if !asker.may_report(line.event) {
        return Some(Answer::NotPermitted);
    }
    // The keys command says nothing in anybody else's name.
    if asker == Asker::KeysCommand {
        KEYMAKER_KEYS.clone_into(&mut line.identifier);
    }
    service.audit.report(line);
    Some(Answer::Done("written"))
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    // A question at lookup.sock, where anybody may ask, is much shorter, and is refused by its words.
    let mut line = [0; MAX_REPORT];
    let mut filled = 0;
    loop {
        let read = stream.read(line.get_mut(filled..).unwrap_or_default()).await?;
        // The end, or a line too long for any question.
        if read == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        filled += read;
        if let Some(said) = line.get(..filled).and_then(|said| said.strip_suffix(b"\n")) {
            return Ok(said.to_vec());
        }
    }
}

fn asker(socket: RequestSocket, uid: u32, local: &LocalAccounts) -> Asker {
    let is = |name: &str| local.user(name).and_then(|user| user.uid) == Some(uid);
    match socket {
        RequestSocket::Lookup => Asker::Anyone,
        RequestSocket::Login if uid == 0 => Asker::Root,
        RequestSocket::Login if is(KEYMAKER_KEYS) => Asker::KeysCommand,
        RequestSocket::Login if is("credd") => Asker::Credd,
        RequestSocket::Login => Asker::Anyone,
    }
}

async fn answer<I: Iam + 'static>(service: &Rc<Service<I>>, question: Question, asker: Asker, uid: u32) -> String {
    let cause = match asker {
        Asker::Root => Cause::Login,
        Asker::Credd => Cause::Credentials,
        Asker::KeysCommand | Asker::Anyone => Cause::KeyOffered,
    };
    match question {
        Question::Lookup(name) => word(service.refresh_account(name, Cause::Lookup { uid }).await),
        Question::Account(name) => word(service.refresh_account(name, cause).await),
        Question::Keys(name) => word(service.refresh_keys(name, cause).await),
        Question::IssuerKeys => word(service.nudge_issuers().await),
        Question::Contact => word(service.renew_contact().await),
        Question::GoOn(name) => word(service.go_on(name).await),
        Question::Sync => line(service.order_pass().await),
        Question::Invalidate(name) => line(service.order_invalidation(name)),
        Question::Release(name) => line(service.order_release(name).await),
        Question::RevokeProofs(name) => line(service.order_revocation(name).await),
        Question::AcceptSettings => line(service.order_acceptance().await),
        Question::Reset => line(service.order_reset().await),
    }
}

/// What the directory says, in the protocol's words.
fn word(outcome: DirectoryOutcome) -> String {
    let answer = match outcome {
        DirectoryOutcome::Fresh => Answer::Fresh,
        DirectoryOutcome::NoSuchUser => Answer::NoSuchUser,
        DirectoryOutcome::CannotTell => Answer::CannotTell,
        DirectoryOutcome::NotPublished => Answer::NotPublished,
        DirectoryOutcome::AwsSilent => Answer::AwsSilent,
    };
    answer.to_string()
}

/// What came of an administrator's order, likewise.
fn line(ordered: Result<String, String>) -> String {
    let one_line = |text: &String| text.replace(char::is_control, " ");
    match ordered.as_ref().map(one_line).map_err(one_line) {
        Ok(text) => Answer::Done(&text).to_string(),
        Err(text) => Answer::Failed(&text).to_string(),
    }
}

/// The connections that are open at one socket.
#[derive(Default)]
struct Open {
    by_uid: BTreeMap<u32, usize>,
}

impl Open {
    fn has_room(&self, socket: RequestSocket, uid: u32) -> bool {
        let all: usize = self.by_uid.values().sum();
        let own = self.by_uid.get(&uid).copied().unwrap_or_default();
        let others = all - self.by_uid.get(&0).copied().unwrap_or_default();
        match (socket, uid) {
            (RequestSocket::Login, _) => all < MOST_LOGINS,
            (RequestSocket::Lookup, 0) => own < MOST_OF_ROOT,
            (RequestSocket::Lookup, _) => own < MOST_PER_UID && others < MOST_OF_OTHERS,
        }
    }
}

/// One of the connections that a uid may have open.
struct SocketPlace {
    open: Rc<RefCell<Open>>,
    uid: u32,
}

impl SocketPlace {
    fn take(open: &Rc<RefCell<Open>>, socket: RequestSocket, uid: u32) -> Option<Self> {
        let mut counts = open.borrow_mut();
        if !counts.has_room(socket, uid) {
            return None;
        }
        *counts.by_uid.entry(uid).or_default() += 1;
        Some(Self {
            open: Rc::clone(open),
            uid,
        })
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        let counts = &mut self.open.borrow_mut().by_uid;
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(open: &Rc<RefCell<Open>>, socket: RequestSocket, uid: u32, wanted: usize) -> Vec<SocketPlace> {
        (0..wanted)
            .map_while(|_| SocketPlace::take(open, socket, uid))
            .collect()
    }

    #[test]
    fn at_the_login_socket_only_root_and_two_system_users_are_anybody() {
        use Asker::{Anyone, Credd, KeysCommand, Root};
        let passwd = "root:x:0:0::/:/bin/sh\nkeymaker-keys:x:995:995::/:/bin/false\ncredd:x:996:996::/:/bin/false\n";
        let local = LocalAccounts::parse(passwd, "", "");
        let askers = |socket| [0, 995, 996, 997, 1000].map(|uid| asker(socket, uid, &local));
        assert_eq!(askers(RequestSocket::Login), [Root, KeysCommand, Credd, Anyone, Anyone]);
        assert_eq!(askers(RequestSocket::Lookup), [Anyone; 5]);
        let without_them = LocalAccounts::parse("", "", "");
        assert_eq!(asker(RequestSocket::Login, 995, &without_them), Anyone);
    }

    // P9
    #[test]
    fn as_many_logins_at_once_as_sshd_allows_are_all_answered() {
        let open = Rc::default();
        let keys_commands = taken(&open, RequestSocket::Login, 997, 1000);
        assert_eq!(keys_commands.len(), 1000);
        assert!(SocketPlace::take(&open, RequestSocket::Login, 0).is_some());
    }

    // P9
    #[test]
    fn a_local_user_takes_nobody_elses_place_with_one_uid_and_not_roots_with_thousands() {
        let open = Rc::default();
        let one = taken(&open, RequestSocket::Lookup, 1001, 100);
        assert_eq!(one.len(), MOST_PER_UID);
        assert!(SocketPlace::take(&open, RequestSocket::Lookup, 1002).is_some());
        let many: Vec<SocketPlace> = (100_000..101_000)
            .flat_map(|uid| taken(&open, RequestSocket::Lookup, uid, 1))
            .collect();
        assert_eq!(one.len() + many.len(), MOST_OF_OTHERS);
        assert!(SocketPlace::take(&open, RequestSocket::Lookup, 0).is_some());
        drop(one);
        assert!(SocketPlace::take(&open, RequestSocket::Lookup, 1001).is_some());
    }
}
