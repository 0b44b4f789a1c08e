//! P4 at scale: threads and forked children ask without pause, while the directory is replaced all the time and the daemon dies
//! again and again.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keymaker_core::paths;
use keymaker_core::published_file::writer::replace_file;

use super::answers;
use super::open_descriptors;
use crate::ask::{Answer, Judged};
use crate::published::{self, KnownUser};

const THREADS: u32 = 4;
/// How many answers a forked child asks for.
const PER_CHILD: u64 = 60;
/// How many answers about the users of a real host.
const ON_HOST: u64 = 1_000_000;
/// How long a question may take that needs the daemon: the budget, and what a busy machine adds.
const SLOWEST: Duration = Duration::from_secs(6);

/// What the crowd has seen.
#[derive(Default)]
struct Tally {
    answers: AtomicU64,
    wrong: AtomicU64,
    lost: AtomicU64,
    forks: AtomicU64,
    misses: AtomicU64,
}

impl Tally {
    fn count(&self, judged: &[Judged]) {
        for judged in judged {
            match judged {
                Judged::Right => {}
                Judged::Wrong => _ = self.wrong.fetch_add(1, Ordering::Relaxed),
                Judged::Lost(_) => _ = self.lost.fetch_add(1, Ordering::Relaxed),
            }
        }
        self.answers.fetch_add(judged.len() as u64, Ordering::Relaxed);
    }
}

/// Asks until `wanted` answers about known users have come, of a directory and a daemon that the harness makes.
pub fn asks(module: &str, wanted: u64) {
    let variants: Vec<Vec<u8>> = (0..8).map(published::directory).collect();
    let publisher = |done: &AtomicBool| publish_without_pause(&variants, done);
    let keeper = |done: &AtomicBool| keep_daemon(module, done);
    let [publications, deaths] = ask_all(&KnownUser::all(), wanted, publisher, keeper);
    // That all of this happened meanwhile, and often.
    assert!(publications > wanted / 5000 && deaths > wanted / 50_000);
}

/// The same of a host with packages installed, whose users the file lists. Its keymakerd is killed, and started by systemd, again and again;
/// the command `publish` has it publish something else.
pub fn asks_on_host(users: &Path) {
    let users: Vec<KnownUser> = std::fs::read_to_string(users)
        .unwrap()
        .lines()
        .map(KnownUser::of_line)
        .collect();
    let [publications, deaths] = ask_all(
        &users,
        ON_HOST,
        |done| repeat("publish", done),
        |done| repeat("kill-keymakerd", done),
    );
    assert!(publications >= 10 && deaths >= 10);
}

/// None of the answers may be wrong, and none lost. Returns what publisher and keeper counted.
fn ask_all(
    users: &[KnownUser],
    wanted: u64,
    publisher: impl Fn(&AtomicBool) -> u64 + Sync,
    keeper: impl Fn(&AtomicBool) -> u64 + Sync,
) -> [u64; 2] {
    let mut answer = Answer::new();
    assert_eq!(answer.user_by_name(&users[0]), Judged::Right);
    let descriptors = open_descriptors();
    let tally = Tally::default();
    let done = AtomicBool::new(false);
    let (mut deaths, mut publications) = (0, 0);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publisher(&done));
        let keeper = scope.spawn(|| keeper(&done));
        let forker = scope.spawn(|| fork_without_pause(users, &tally, wanted));
        let askers: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn({
                    let tally = &tally;
                    move || ask_without_pause(users, tally, wanted, number)
                })
            })
            .collect();
        for asker in askers {
            asker.join().unwrap();
        }
        forker.join().unwrap();
        done.store(true, Ordering::Relaxed);
        // The last daemon dies of its questions, too.
        while !keeper.is_finished() {
            ask_for_nobody(&mut answer, &tally);
        }
        deaths = keeper.join().unwrap();
        publications = publisher.join().unwrap();
    });
    let [answers, wrong, lost, forks, misses] =
        [&tally.answers, &tally.wrong, &tally.lost, &tally.forks, &tally.misses]
            .map(|count| count.load(Ordering::Relaxed));
    println!(
        "{answers} answers, {wrong} wrong, {lost} lost; {forks} forks, {misses} unknown names, {publications} publications, {deaths} deaths of the daemon"
    );
    assert_eq!((wrong, lost), (0, 0));
    assert!(answers >= wanted);
    assert!(forks > wanted / 5000 && misses > wanted / 5000);
    assert_eq!(open_descriptors(), descriptors);
    [publications, deaths]
}

fn ask_without_pause(users: &[KnownUser], tally: &Tally, wanted: u64, seed: u32) {
    let mut answer = Answer::new();
    for (round, user) in users.iter().cycle().skip(seed as usize * 97).enumerate() {
        if tally.answers.load(Ordering::Relaxed) >= wanted {
            return;
        }
        tally.count(&answers::all_judged(&mut answer, user));
        if round % 100 == 0 {
            ask_for_nobody(&mut answer, tally);
        }
    }
}

/// The daemon says "no such user", or dies before it has: never an entry, and never a long wait.
fn ask_for_nobody(answer: &mut Answer, tally: &Tally) {
    let started = Instant::now();
    let outcome = answer.is_user(c"nobody-knows");
    assert!(matches!(outcome, Ok(false) | Err(libc::ENOENT)), "{outcome:?}");
    assert!(started.elapsed() < SLOWEST, "{:?}", started.elapsed());
    tally.misses.fetch_add(1, Ordering::Relaxed);
}

/// Forks while the other threads are in the middle of their lookups.
fn fork_without_pause(users: &[KnownUser], tally: &Tally, wanted: u64) {
    for user in users.iter().cycle() {
        if tally.answers.load(Ordering::Relaxed) >= wanted {
            return;
        }
        // SAFETY: the child calls only what may be called after a fork of threads: glibc's lookups, and _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = in_child(user);
            // SAFETY: takes a number and does not come back.
            unsafe { libc::_exit(code) };
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: our own child, and a live number.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        let judged = match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
            (true, 0) => Judged::Right,
            (true, 1) => Judged::Wrong,
            _ => Judged::Lost(status),
        };
        tally.count(&[judged; PER_CHILD as usize]);
        tally.forks.fetch_add(1, Ordering::Relaxed);
    }
}

fn in_child(user: &KnownUser) -> i32 {
    // A lookup that hangs is a lost one.
    // SAFETY: takes a number.
    unsafe { libc::alarm(60) };
    let mut answer = Answer::new();
    for _ in 0..PER_CHILD / 6 {
        for judged in answers::all_judged(&mut answer, user) {
            match judged {
                Judged::Right => {}
                Judged::Wrong => return 1,
                Judged::Lost(_) => return 2,
            }
        }
    }
    0
}

/// Replaces the directory without pause, each time by one of another layout; how often.
fn publish_without_pause(variants: &[Vec<u8>], done: &AtomicBool) -> u64 {
    let mut publications = 0;
    for variant in variants.iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        replace_file(paths::DIRECTORY.as_ref(), variant, 0o644).unwrap();
        publications += 1;
    }
    publications
}

/// Starts the daemon anew whenever it has died; how often it did.
fn keep_daemon(module: &str, done: &AtomicBool) -> u64 {
    let mut deaths = 0;
    while !done.load(Ordering::Relaxed) {
        Command::new(std::env::current_exe().unwrap())
            .args([module, "crowd-daemon", &deaths.to_string()])
            .status()
            .unwrap();
        deaths += 1;
    }
    deaths
}

/// Runs a command of the test's again and again; how often it succeeded, which it must.
fn repeat(command: &str, done: &AtomicBool) -> u64 {
    let mut times = 0;
    while !done.load(Ordering::Relaxed) {
        assert!(Command::new(command).status().unwrap().success(), "{command}");
        times += 1;
    }
    times
}

fn die_with_parent() {
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }, 0);
}

/// Answers a few questions, then is killed: before the answer, in the middle of it, or after it.
pub fn answer_and_die(life: u64) {
    die_with_parent();
    let _ = std::fs::remove_file(paths::LOOKUP_SOCKET);
    let listener = UnixListener::bind(paths::LOOKUP_SOCKET).unwrap();
    for question in 0.. {
        let (stream, _) = listener.accept().unwrap();
        let mut name = String::new();
        BufReader::new(&stream).read_line(&mut name).unwrap();
        let dies = question == 5 + life % 7;
        let answer = match life % 3 {
            0 if dies => "",
            1 if dies => "no-such",
            _ => "no-such-user\n",
        };
        (&stream).write_all(answer.as_bytes()).unwrap();
        if dies {
            // SAFETY: takes two numbers.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    }
}
