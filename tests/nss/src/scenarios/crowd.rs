//! P4 at scale: threads and forked children ask without pause, while the directory is replaced all the time and the
//! daemon dies again and again.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keymaker_core::paths;
use keymaker_core::published_file::writer::replace_published;

use super::answers;
use super::open_descriptors;
use crate::ask::{Answer, Judged};
use crate::published::{self, KnownUser};

const THREADS: u32 = 4;
/// How many answers a forked child asks for.
const PER_CHILD: u64 = 60;
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
    deaths: AtomicU64,
}

/// How much of it suffices.
#[derive(Clone, Copy)]
struct Enough {
    answers: u64,
    deaths: u64,
}

impl Tally {
    fn is(&self, enough: Enough) -> bool {
        let reached = |count: &AtomicU64, wanted| count.load(Ordering::Relaxed) >= wanted;
        reached(&self.answers, enough.answers) && reached(&self.deaths, enough.deaths)
    }

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
    let enough = Enough {
        answers: wanted,
        deaths: wanted / 50_000,
    };
    let publications = ask_all(&KnownUser::all(), enough, publisher, |tally, done| {
        keep_daemon(module, tally, done);
    });
    assert!(publications > wanted / 5000);
}

/// The same of a host with packages installed, whose users the file lists. The command `disturb` has its keymakerd
/// publish something else, and kills it twice.
pub fn asks_on_host(users: &Path) {
    let users = std::fs::read_to_string(users).unwrap();
    let users: Vec<KnownUser> = users.lines().map(KnownUser::of_line).collect();
    let is_long = std::env::var("KEYMAKER_LONG").is_ok_and(|long| !long.is_empty());
    let enough = Enough {
        answers: if is_long { 1_000_000 } else { 150_000 },
        deaths: if is_long { 20 } else { 6 },
    };
    let publications = ask_all(&users, enough, watch_publications, disturb);
    assert!(publications >= if is_long { 5 } else { 3 });
}

/// None of the answers may be wrong, and none lost. Returns what the publisher counted.
fn ask_all(
    users: &[KnownUser],
    enough: Enough,
    publisher: impl Fn(&AtomicBool) -> u64 + Sync,
    killer: impl Fn(&Tally, &AtomicBool) + Sync,
) -> u64 {
    let mut answer = Answer::new();
    assert_eq!(answer.user_by_name(&users[0]), Judged::Right);
    let descriptors = open_descriptors();
    let (tally, done) = (Tally::default(), AtomicBool::new(false));
    let mut publications = 0;
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publisher(&done));
        let killer = scope.spawn(|| killer(&tally, &done));
        let forker = scope.spawn(|| fork_without_pause(users, &tally, enough));
        let askers: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn({
                    let tally = &tally;
                    move || ask_without_pause(users, tally, enough, number)
                })
            })
            .collect();
        for asker in askers {
            asker.join().unwrap();
        }
        forker.join().unwrap();
        done.store(true, Ordering::Relaxed);
        // The last daemon dies of its questions, too.
        while !killer.is_finished() {
            ask_for_nobody(&mut answer, &tally);
        }
        killer.join().unwrap();
        publications = publisher.join().unwrap();
    });
    let counts = [
        &tally.answers,
        &tally.wrong,
        &tally.lost,
        &tally.forks,
        &tally.misses,
        &tally.deaths,
    ];
    let [answers, wrong, lost, forks, misses, deaths] = counts.map(|count| count.load(Ordering::Relaxed));
    println!(
        "{answers} answers, {wrong} wrong, {lost} lost; {forks} forks, {misses} unknown names, {publications} publications, {deaths} deaths of the daemon"
    );
    assert_eq!((wrong, lost), (0, 0));
    // That all of this happened meanwhile, and often.
    assert!(forks > enough.answers / 5000 && misses > enough.answers / 5000);
    assert_eq!(open_descriptors(), descriptors);
    publications
}

fn ask_without_pause(users: &[KnownUser], tally: &Tally, enough: Enough, seed: u32) {
    let mut answer = Answer::new();
    for (round, user) in users.iter().cycle().skip(seed as usize * 97).enumerate() {
        if tally.is(enough) {
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
fn fork_without_pause(users: &[KnownUser], tally: &Tally, enough: Enough) {
    for user in users.iter().cycle() {
        if tally.is(enough) {
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
        replace_published(paths::DIRECTORY.as_ref(), variant, 0o644).unwrap();
        publications += 1;
    }
    publications
}

/// Starts the daemon again whenever it has died.
fn keep_daemon(module: &str, tally: &Tally, done: &AtomicBool) {
    for life in 0_u64.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        Command::new(std::env::current_exe().unwrap())
            .args([module, "crowd-daemon", &life.to_string()])
            .status()
            .unwrap();
        tally.deaths.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often another directory was in its place.
fn watch_publications(done: &AtomicBool) -> u64 {
    let inode = || std::fs::metadata(paths::DIRECTORY).unwrap().ino();
    let (mut last, mut publications) = (inode(), 0);
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
        let now = inode();
        publications += u64::from(now != last);
        last = now;
    }
    publications
}

fn disturb(tally: &Tally, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        assert!(Command::new("disturb").status().unwrap().success());
        tally.deaths.fetch_add(2, Ordering::Relaxed);
    }
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
