//! Asks keymakerd one question, within one deadline over connecting, sending and receiving; called by NSS, PAM, the
//! keys command and the command line.
//!
//! Nothing outlives the call: the socket is made, used and closed here. It never blocks beyond the deadline, whatever
//! the daemon does, and raises no SIGPIPE.
//!
//! One login asks several times: sshd runs the keys command once per offered key and once more, then PAM asks. Each has
//! a budget of its own for a daemon that works; a daemon that hangs is waited for once, by all of them together, until
//! its last heartbeat is [`HUNG_AFTER`] old. Only keymakerd and root can write the heartbeat, so nobody else decides
//! who goes by older files (P9).

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::audit::AuditLine;
use crate::paths::HEARTBEAT;
use crate::protocol::{Answer, MAX_ANSWER, MAX_QUESTION, Question};
use crate::sys::{LocalStream, Readiness};

/// How often keymakerd shows that it runs.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// How old the last heartbeat of a daemon may be before it counts as hung: a busy one is late, by far less than this.
pub const HUNG_AFTER: Duration = Duration::from_secs(4);
/// What a hung daemon is given all the same: it may be back, or the clock may have been set forward a moment ago.
const GRACE: Duration = Duration::from_millis(200);

/// Why there is no answer. The published files stand.
#[derive(Debug)]
pub enum AskError {
    /// nobody listens at the socket, or not for this user
    NotListening(io::Error),
    /// the deadline passed
    TimedOut,
    /// this process or host has no descriptor or memory left to ask by: no sign of the daemon's absence, since a local
    /// user can bring it about
    ThisHost(io::Error),
    /// the daemon hung up before it answered
    HungUp,
    /// the answer is not one of the protocol's
    Unintelligible,
    /// the socket failed
    Socket(io::Error),
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotListening(error) => write!(
                f,
                "keymakerd does not listen ({error}); systemctl status keymakerd says why"
            ),
            Self::TimedOut => f.write_str("keymakerd did not answer in time; journalctl -u keymakerd says why"),
            Self::ThisHost(error) => write!(
                f,
                "keymakerd could not be asked: this process or host has run out of a resource ({error}); 'ulimit -a' shows \
                 the limits, 'free' memory"
            ),
            Self::HungUp => f.write_str("keymakerd hung up before it answered; journalctl -u keymakerd says why"),
            Self::Unintelligible => f.write_str(
                "keymakerd gave an answer that this program does not know; check that both are of the \
                    same version",
            ),
            Self::Socket(error) => write!(f, "the connection to keymakerd failed: {error}"),
        }
    }
}

impl std::error::Error for AskError {}

/// Asks `question` at `socket` and reads the answer into `buffer`, all within `budget`.
pub fn ask<'b>(
    socket: &Path,
    question: &Question,
    budget: Duration,
    buffer: &'b mut [u8; MAX_ANSWER],
) -> Result<Answer<'b>, AskError> {
    let patience = AskPatience {
        socket,
        began: Instant::now(),
        budget,
        // After a resume the heartbeat is old until the next one.
        grace: match question {
            Question::Contact | Question::GoOn(_) => HEARTBEAT_EVERY + GRACE,
            _ => GRACE,
        },
    };
    let mut line = [0; MAX_QUESTION];
    let line = spell(question, &mut line)?;
    let stream = connect(socket, &patience)?;
    send(&stream, line, &patience)?;
    receive(&stream, buffer, &patience)
}

/// Hands keymakerd a line of the audit, which it then writes; an error where it has not taken it within `budget`.
pub fn report(socket: &Path, line: &AuditLine, budget: Duration) -> Result<(), AskError> {
    let patience = AskPatience {
        socket,
        began: Instant::now(),
        budget,
        grace: GRACE,
    };
    // The asker can write it, so a daemon that hangs is given no grace: the login has waited for it once (P5).
    if patience.liveliness().is_zero() {
        return Err(AskError::TimedOut);
    }
    let stream = connect(socket, &patience)?;
    let mut said = line.report();
    said.push('\n');
    send(&stream, said.as_bytes(), &patience)?;
    match receive(&stream, &mut [0; MAX_ANSWER], &patience)? {
        Answer::Done(_) => Ok(()),
        _ => Err(AskError::Unintelligible),
    }
}

/// How long one call waits.
struct AskPatience<'s> {
    socket: &'s Path,
    began: Instant,
    budget: Duration,
    grace: Duration,
}

impl AskPatience<'_> {
    /// How long to wait at most before this is asked again; an error where the budget is spent, or the daemon hangs.
    fn left(&self) -> Result<Duration, AskError> {
        let waited = self.began.elapsed();
        let of_budget = self.budget.saturating_sub(waited);
        let of_daemon = self.liveliness().max(self.grace.saturating_sub(waited));
        Some(of_budget.min(of_daemon))
            .filter(|left| !left.is_zero())
            .ok_or(AskError::TimedOut)
    }

    /// How long until the daemon counts as hung. One that shows no heartbeat, as those of earlier versions, or one in
    /// the future, never does.
    fn liveliness(&self) -> Duration {
        silence(self.socket).map_or(Duration::MAX, |age| HUNG_AFTER.saturating_sub(age))
    }
}

/// How long ago the daemon of this socket last showed that it runs, where that can be told.
pub fn silence(socket: &Path) -> Option<Duration> {
    let heartbeat = fs::metadata(socket.with_file_name(HEARTBEAT)).ok()?;
    SystemTime::now().duration_since(heartbeat.modified().ok()?).ok()
}

/// lookup.sock takes a name and nothing else.
fn spell<'l>(question: &Question, line: &'l mut [u8; MAX_QUESTION]) -> Result<&'l [u8], AskError> {
    let mut rest = &mut line[..];
    let written = match question {
        Question::Lookup(name) => writeln!(rest, "{name}"),
        question => writeln!(rest, "{question}"),
    };
    written.map_err(AskError::Socket)?;
    let unused = rest.len();
    Ok(line.get(..MAX_QUESTION - unused).unwrap_or_default())
}

/// A full backlog says EAGAIN at once (unix(7)); somebody may be flooding it, so try again while it is worth it.
fn connect(socket: &Path, patience: &AskPatience<'_>) -> Result<LocalStream, AskError> {
    loop {
        match LocalStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = patience.left()?;
                std::thread::sleep(left.min(Duration::from_millis(5)));
            }
            Err(error) => return Err(unconnected(error)),
        }
    }
}

/// Errors by which the kernel says that there is no more of something: socket(2), connect(2).
fn unconnected(error: io::Error) -> AskError {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => AskError::ThisHost(error),
        _ => AskError::NotListening(error),
    }
}

fn send(stream: &LocalStream, mut line: &[u8], patience: &AskPatience<'_>) -> Result<(), AskError> {
    while !line.is_empty() {
        match stream.send(line) {
            Ok(sent) => line = line.get(sent..).unwrap_or_default(),
            Err(error) => wait(stream, Readiness::Write, error, patience)?,
        }
    }
    Ok(())
}

fn receive<'b>(
    stream: &LocalStream,
    buffer: &'b mut [u8; MAX_ANSWER],
    patience: &AskPatience<'_>,
) -> Result<Answer<'b>, AskError> {
    let mut filled = 0;
    let end = loop {
        if let Some(end) = buffer
            .get(..filled)
            .and_then(|bytes| bytes.iter().position(|byte| *byte == b'\n'))
        {
            break end;
        }
        let space = buffer
            .get_mut(filled..)
            .filter(|space| !space.is_empty())
            .ok_or(AskError::Unintelligible)?;
        match stream.receive(space) {
            Ok(0) => return Err(AskError::HungUp),
            Ok(received) => filled += received,
            Err(error) => wait(stream, Readiness::Read, error, patience)?,
        }
    };
    let line = buffer
        .get(..end)
        .and_then(|line| str::from_utf8(line).ok())
        .ok_or(AskError::Unintelligible)?;
    Answer::parse(line).ok_or(AskError::Unintelligible)
}

fn wait(stream: &LocalStream, until: Readiness, error: io::Error, patience: &AskPatience<'_>) -> Result<(), AskError> {
    match error.kind() {
        io::ErrorKind::WouldBlock => stream.wait(until, patience.left()?).map_err(AskError::Socket),
        io::ErrorKind::Interrupted => Ok(()),
        // The daemon closed or died while we spoke.
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Err(AskError::HungUp),
        _ => Err(AskError::Socket(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;
    use crate::name::UserName;
    use test_folder::TestFolder;

    fn alice() -> UserName {
        UserName::parse(b"alice").unwrap()
    }

    fn outcome(socket: &Path, question: Question, budget: Duration) -> Result<String, AskError> {
        let mut buffer = [0; MAX_ANSWER];
        ask(socket, &question, budget, &mut buffer).map(|answer| answer.to_string())
    }

    /// A daemon that reads one question, and answers with these bytes.
    fn daemon(folder: &TestFolder, answer: &'static [u8]) -> (PathBuf, std::thread::JoinHandle<String>) {
        let path = folder.join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; MAX_QUESTION];
            let len = stream.read(&mut question).unwrap();
            for byte in answer {
                stream.write_all(&[*byte]).unwrap();
            }
            String::from_utf8(question[..len].to_vec()).unwrap()
        });
        (path, asked)
    }

    #[test]
    fn a_question_is_asked_and_its_answer_read_even_byte_by_byte() {
        let folder = TestFolder::new();
        let (socket, asked) = daemon(&folder, b"done two users\n");
        assert_eq!(
            outcome(&socket, Question::Keys(alice()), KEYS).unwrap(),
            "done two users"
        );
        assert_eq!(asked.join().unwrap(), "keys alice\n");
    }

    #[test]
    fn a_lookup_says_the_name_and_nothing_else() {
        let folder = TestFolder::new();
        let (socket, asked) = daemon(&folder, b"no-such-user\n");
        assert_eq!(
            outcome(&socket, Question::Lookup(alice()), KEYS).unwrap(),
            "no-such-user"
        );
        assert_eq!(asked.join().unwrap(), "alice\n");
    }

    // P5
    #[test]
    fn a_daemon_that_is_absent_or_dies_is_an_error_at_once() {
        let folder = TestFolder::new();
        assert!(matches!(
            outcome(&folder.join("none"), Question::Sync, KEYS),
            Err(AskError::NotListening(_))
        ));
        let (socket, _asked) = daemon(&folder, b"fre");
        assert!(matches!(
            outcome(&socket, Question::Keys(alice()), KEYS),
            Err(AskError::HungUp)
        ));
    }

    // P3
    #[test]
    fn a_process_that_has_run_out_of_something_does_not_take_the_daemon_for_absent() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            let error = unconnected(io::Error::from_raw_os_error(errno));
            assert!(matches!(error, AskError::ThisHost(_)), "{error}");
        }
        let absent = unconnected(io::Error::from_raw_os_error(libc::ECONNREFUSED));
        assert!(matches!(absent, AskError::NotListening(_)));
    }

    // P5
    #[test]
    fn a_hung_daemon_costs_the_budget_and_no_more() {
        let folder = TestFolder::new();
        let path = folder.join("sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let started = Instant::now();
        assert!(matches!(
            outcome(&path, Question::Keys(alice()), Duration::from_millis(150)),
            Err(AskError::TimedOut)
        ));
        assert!(started.elapsed() >= Duration::from_millis(150));
    }

    // P5
    #[test]
    fn all_who_ask_a_hung_daemon_wait_for_it_once_together() {
        let folder = TestFolder::new();
        let socket = folder.join("sock");
        let liveliness = || {
            let (began, budget) = (Instant::now(), KEYS);
            let socket = &socket;
            AskPatience {
                socket,
                began,
                budget,
                grace: GRACE,
            }
            .liveliness()
        };
        assert_eq!(liveliness(), Duration::MAX);
        let heartbeat = fs::File::create(folder.join(HEARTBEAT)).unwrap();
        let beaten_before = |age: Duration| heartbeat.set_modified(SystemTime::now() - age).unwrap();
        beaten_before(Duration::from_secs(3));
        assert!(liveliness() <= HUNG_AFTER - Duration::from_secs(3));
        beaten_before(HUNG_AFTER);
        assert_eq!(liveliness(), Duration::ZERO);
        // A clock that was set back makes nobody impatient.
        heartbeat
            .set_modified(SystemTime::now() + Duration::from_secs(60))
            .unwrap();
        assert_eq!(liveliness(), Duration::MAX);
        // The first spends its budget, the second what is left, the third only the grace.
        let _hung = UnixListener::bind(&socket).unwrap();
        beaten_before(HUNG_AFTER - Duration::from_millis(600));
        let began = Instant::now();
        let spent = [400, 10_000, 10_000].map(|budget| {
            let asked = Instant::now();
            let answer = outcome(&socket, Question::Keys(alice()), Duration::from_millis(budget));
            assert!(matches!(answer, Err(AskError::TimedOut)));
            asked.elapsed()
        });
        assert!(spent[0] >= Duration::from_millis(400), "{spent:?}");
        assert!(spent[1] >= GRACE && spent[2] >= GRACE, "{spent:?}");
        assert!(began.elapsed() < KEYS, "{spent:?}");
    }

    #[test]
    fn a_daemon_that_works_long_is_waited_for_as_long_as_it_shows_that_it_works() {
        let folder = TestFolder::new();
        let heartbeat = fs::File::create(folder.join(HEARTBEAT)).unwrap();
        let beat = || {
            heartbeat
                .set_modified(SystemTime::now() - HUNG_AFTER + Duration::from_millis(100))
                .unwrap();
        };
        beat();
        let path = folder.join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let began = Instant::now();
                while began.elapsed() < GRACE * 2 {
                    beat();
                    std::thread::sleep(Duration::from_millis(10));
                }
                stream.write_all(b"done long work\n").unwrap();
            });
            assert_eq!(outcome(&path, Question::Sync, KEYS * 100).unwrap(), "done long work");
        });
    }

    // P9
    #[test]
    fn a_daemon_that_has_only_just_come_back_is_heard() {
        let folder = TestFolder::new();
        let heartbeat = fs::File::create(folder.join(HEARTBEAT)).unwrap();
        heartbeat.set_modified(SystemTime::now() - HUNG_AFTER * 2).unwrap();
        let (socket, _asked) = daemon(&folder, b"not-published\n");
        assert_eq!(
            outcome(&socket, Question::Keys(alice()), KEYS).unwrap(),
            "not-published"
        );
    }

    // P5
    #[test]
    fn a_flooded_daemon_costs_the_budget_and_no_more() {
        let folder = TestFolder::new();
        let path = folder.join("sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut flood = Vec::new();
        while let Ok(stream) = LocalStream::connect(&path) {
            flood.push(stream);
        }
        assert!(matches!(
            outcome(&path, Question::Sync, Duration::from_millis(100)),
            Err(AskError::TimedOut)
        ));
    }

    #[test]
    fn an_answer_without_an_end_is_refused() {
        let folder = TestFolder::new();
        let (socket, _asked) = daemon(&folder, &[b'x'; MAX_ANSWER]);
        assert!(matches!(
            outcome(&socket, Question::Keys(alice()), KEYS),
            Err(AskError::Unintelligible)
        ));
    }

    const KEYS: Duration = crate::protocol::KEYS_BUDGET;
}
