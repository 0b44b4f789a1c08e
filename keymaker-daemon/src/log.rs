//! Where the log and the audit lines go.
//!
//! Each program calls [`begin`] once, at start. Nothing here waits: a journald that hangs costs lines of the log, and
//! anybody who needs a line to be written (an issuance) is told that it was not. tracing-journald waits, and tells
//! nobody.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keymaker_core::journal::{self, JournalEntry, Priority};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, Registry, reload};

/// Where lines go.
#[derive(Clone)]
pub enum Log {
    /// To journald.
    Journal(Journal),
    /// To standard error, by `tracing`.
    StandardError,
}

/// How much is written; it changes while the daemon runs.
#[derive(Clone, Default)]
pub struct LogLevel(Option<reload::Handle<Targets, Registry>>);

impl LogLevel {
    /// The level in force, in a word.
    pub fn word(&self) -> String {
        let level = self.0.as_ref().and_then(|handle| {
            let of_ours = |targets: &Targets| {
                targets
                    .iter()
                    .find(|(target, _)| *target == OURS[0])
                    .map(|(_, level)| level)
            };
            handle.with_current(of_ours).ok().flatten()
        });
        level.unwrap_or(LevelFilter::INFO).to_string().to_ascii_lowercase()
    }

    /// Writes what is of this level from now on: `error`, `warn`, `info` or `debug`. False where the word is none.
    pub fn set(&self, word: &str) -> bool {
        let Some(level) = LEVELS
            .into_iter()
            .find(|level| level.to_string().eq_ignore_ascii_case(word))
        else {
            return false;
        };
        self.0
            .as_ref()
            .is_some_and(|handle| handle.reload(filter(level)).is_ok())
    }
}

/// Our own lines by `level`, others' never more than their news: the SDK's debug lines hold what it signs and gets (P19).
fn filter(level: LevelFilter) -> Targets {
    let quieter = ["aws_config", "aws_smithy_runtime", "hyper"].map(|target| (target, level.min(LevelFilter::WARN)));
    Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_targets(OURS.map(|target| (target, level)))
        // An audit line at standard error is no matter of how much is written.
        .with_targets(AUDIT.map(|target| (target, LevelFilter::INFO)))
        .with_targets(quieter)
}

/// To the journal, with each value as a field `KEYMAKER_…` (`KEYMAKER_AUDIT` is the audit line), where systemd listens;
/// else to standard error.
pub fn begin() -> (Log, LogLevel) {
    let (filter, handle) = reload::Layer::new(filter(LevelFilter::INFO));
    let level = LogLevel(Some(handle));
    let is_service = std::env::var_os("JOURNAL_STREAM").is_some();
    match Journal::open(journal::SOCKET.into()).ok().filter(|_| is_service) {
        Some(journal) => {
            let lines = Lines {
                journal: journal.clone(),
                places: Mutex::default(),
            };
            tracing_subscriber::registry().with(filter).with(lines).init();
            (Log::Journal(journal), level)
        }
        None => {
            let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
            tracing_subscriber::registry().with(filter).with(lines).init();
            (Log::StandardError, level)
        }
    }
}

/// journald's socket. The kernel keeps a bounded queue of what journald has not read yet; what is in it is not lost if
/// this program ends.
#[derive(Clone)]
pub struct Journal {
    socket: Arc<UnixDatagram>,
    path: PathBuf,
}

impl Journal {
    /// Fails where nobody listens at `path`.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // An empty entry is none.
        socket.send_to(&[], &path)?;
        Ok(Self {
            socket: Arc::new(socket),
            path,
        })
    }

    /// Hands one entry over; an error where the queue is full or nobody listens.
    pub fn send(&self, entry: &JournalEntry) -> io::Result<()> {
        self.socket.send_to(entry.bytes(), &self.path).map(drop)
    }
}

/// An entry of this program, of a line of this level, from this part of it.
pub fn entry(level: Level, target: &str) -> JournalEntry {
    let priority = match level {
        Level::ERROR => Priority::Error,
        Level::WARN => Priority::Warning,
        Level::INFO => Priority::Notice,
        Level::DEBUG => Priority::Info,
        Level::TRACE => Priority::Debug,
    };
    let mut entry = JournalEntry::new(priority, &program());
    entry.put("TARGET", target);
    entry
}

/// The name of this program.
pub fn program() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// An entry that takes what `tracing` has to say.
struct LineEntry(JournalEntry);

impl Visit for LineEntry {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = cut(value);
        match field.name() {
            "message" => self.0.put("MESSAGE", &value),
            name => self.0.put(&format!("KEYMAKER_{}", name.to_ascii_uppercase()), &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The kernel takes no entry that is longer than a socket's buffer, 208 KiB (`net.core.wmem_default)`: a list of all
/// users is.
fn cut(value: &str) -> Cow<'_, str> {
    match value.get(..value.floor_char_boundary(LONGEST_VALUE)) {
        Some(beginning) if beginning.len() < value.len() => format!("{beginning}…").into(),
        _ => value.into(),
    }
}

/// What `tracing` has to say. Users cause some of it: one place in the program writes at most so many lines in a while.
struct Lines {
    journal: Journal,
    places: Mutex<HashMap<Identifier, LogPlace>>,
}

impl Lines {
    /// How many lines of this place were left out before this one; None if this one is to be left out too.
    fn turn(&self, metadata: &Metadata<'_>) -> Option<u64> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(metadata.callsite()).or_default().turn(Instant::now())
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(left_out) = self.turn(event.metadata()) else {
            return;
        };
        let mut entry = LineEntry(entry(*event.metadata().level(), event.metadata().target()));
        event.record(&mut entry);
        if left_out > 0 {
            entry.0.put("KEYMAKER_LEFT_OUT", &left_out.to_string());
        }
        // A log that waits would keep everybody waiting.
        let _ = self.journal.send(&entry.0);
    }
}

/// The lines of one place in the present while.
#[derive(Default)]
struct LogPlace {
    began: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl LogPlace {
    fn turn(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.duration_since(began) >= A_WHILE) {
            (self.began, self.written) = (Some(now), 0);
        }
        if self.written == LINES_IN_A_WHILE {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// What targets of ours begin with.
const OURS: [&str; 2] = ["keymaker", "credd"];
const AUDIT: [&str; 2] = ["audit", "credd::audit"];
const LEVELS: [LevelFilter; 4] = [
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
];
/// Ten lines a second, and so many at once as a pass has to say about as many groups or users.
const A_WHILE: Duration = Duration::from_secs(10);
const LINES_IN_A_WHILE: u32 = 100;
/// In bytes, of each field.
const LONGEST_VALUE: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// A journald that reads when the test says so.
    fn journald(name: &str) -> (UnixDatagram, Journal, PathBuf) {
        let path = std::env::temp_dir().join(format!("keymaker-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::open(path.clone()).unwrap();
        journald.recv(&mut [0]).unwrap();
        (journald, journal, path)
    }

    #[test]
    fn a_journal_that_reads_nothing_takes_a_bounded_number_of_lines_and_keeps_nobody_waiting() {
        let (journald, journal, path) = journald("hangs");
        let entry = entry(Level::INFO, "test");
        let taken = (0..1_000_000).take_while(|_| journal.send(&entry).is_ok()).count();
        assert!((1..1_000_000).contains(&taken), "{taken}");
        // It reads again, and nothing that was taken is lost.
        for _ in 0..taken {
            journald.recv(&mut [0; 4096]).unwrap();
        }
        journal.send(&entry).unwrap();
        drop(journald);
        assert!(journal.send(&entry).is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_line_is_an_entry_of_journalds_protocol_and_one_place_writes_few() {
        let (journald, journal, path) = journald("entry");
        let lines = Lines {
            journal,
            places: Mutex::default(),
        };
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..1000 {
                tracing::warn!(target: "here", %number, "two\nlines");
            }
        });
        let mut entry = [0; 4096];
        let length = journald.recv(&mut entry).unwrap();
        let text = String::from_utf8_lossy(&entry[..length]).into_owned();
        for field in [
            "PRIORITY\n\x01\0\0\0\0\0\0\x004\n",
            "TARGET\n\x04\0\0\0\0\0\0\0here\n",
            "MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n",
            "KEYMAKER_NUMBER\n\x01\0\0\0\0\0\0\x000\n",
        ] {
            assert!(text.contains(field), "{field:?} {text:?}");
        }
        std::fs::remove_file(path).unwrap();
    }

    // P19
    #[test]
    fn at_debug_our_own_lines_are_written_and_none_of_the_sdks() {
        use tracing::level_filters::LevelFilter as Filter;
        let debug = filter(Filter::DEBUG);
        for ours in ["keymakerd::sockets", "keymaker_aws::aws_calls", "credd::imds"] {
            assert!(debug.would_enable(ours, &Level::DEBUG), "{ours}");
            assert!(!filter(Filter::INFO).would_enable(ours, &Level::DEBUG), "{ours}");
        }
        for others in [
            "aws_sdk_iam",
            "aws_smithy_runtime::client",
            "aws_runtime",
            "hyper",
            "rustls",
            "h2",
        ] {
            assert!(!debug.would_enable(others, &Level::DEBUG), "{others}");
        }
        for audit in AUDIT {
            assert!(filter(Filter::ERROR).would_enable(audit, &Level::INFO), "{audit}");
        }
        assert!(!LogLevel::default().set("debug"));
    }

    #[test]
    fn the_level_is_changed_by_its_word_while_lines_are_written() {
        let (layer, handle) = reload::Layer::<Targets, Registry>::new(filter(LevelFilter::INFO));
        let level = LogLevel(Some(handle));
        let _subscriber = tracing_subscriber::registry().with(layer);
        for (word, is_one) in [("debug", true), ("trace", false), ("", false), ("WARN", true)] {
            assert_eq!(level.set(word), is_one, "{word}");
        }
        assert_eq!(level.word(), "warn");
    }

    #[test]
    fn a_place_limits_its_lines_and_says_how_many_it_left_out() {
        let mut place = LogPlace::default();
        let now = Instant::now();
        let turns: Vec<Option<u64>> = (0..1000).map(|_| place.turn(now)).collect();
        assert!(turns[..100].iter().all(|turn| *turn == Some(0)) && turns[100..].iter().all(Option::is_none));
        assert_eq!(place.turn(now + A_WHILE), Some(900));
        assert_eq!(place.turn(now + A_WHILE), Some(0));
    }

    #[test]
    fn a_list_too_long_for_an_entry_is_cut_and_not_lost() {
        let (journald, journal, path) = journald("long");
        let lines = Lines {
            journal,
            places: Mutex::default(),
        };
        let names: Vec<String> = (0..50_000).map(|number| format!("ü{number}")).collect();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!(?names, "IAM no longer has these users: {names:?}");
        });
        let mut entry = vec![0; 1024 * 1024];
        let length = journald.recv(&mut entry).unwrap();
        let text = String::from_utf8_lossy(&entry[..length]);
        for field in ["MESSAGE\n", "KEYMAKER_NAMES\n"] {
            assert!(text.contains(field), "{length}");
        }
        assert_eq!(text.matches('…').count(), 2);
        std::fs::remove_file(path).unwrap();
    }
}
