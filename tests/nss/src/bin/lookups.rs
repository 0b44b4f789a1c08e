//! Times lookups through this process's own glibc and nsswitch.conf; `benches/lookups.py` runs it once for each service.
//!
//! usage: lookups name|uid|absent|groups FILE MILLISECONDS. Each line of FILE is an entry as `getent passwd` prints it, then a blank
//! and how many groups the user has. Prints nanoseconds: of the first lookup of the process, and the median of each later one.
//! A wrong answer ends it with exit status 1 and no figure.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Of so many equal parts of the time, the median is told.
const PARTS: u32 = 11;

type Look = fn(&User) -> bool;

struct User {
    line: String,
    name: CString,
    absent: CString,
    uid: u32,
    gid: u32,
    groups: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, file, milliseconds] = arguments.as_slice() else {
        eprintln!("usage: lookups name|uid|absent|groups FILE MILLISECONDS");
        return ExitCode::from(2);
    };
    let users: Vec<User> = std::fs::read_to_string(file)
        .expect("FILE can be read")
        .lines()
        .map(parse)
        .collect();
    let (right, found): (Look, Look) = match what.as_str() {
        "name" => (
            |user| passwd(Ok(&user.name), is(user)),
            |user| passwd(Ok(&user.name), |entry| entry.is_some()),
        ),
        "uid" => (
            |user| passwd(Err(user.uid), is(user)),
            |user| passwd(Err(user.uid), |entry| entry.is_some()),
        ),
        "absent" => (
            |user| passwd(Ok(&user.absent), |entry| entry.is_none()),
            |user| passwd(Ok(&user.absent), |entry| entry.is_none()),
        ),
        "groups" => (|user| groups(user) == user.groups, |user| groups(user) > 0),
        _ => panic!("{what} is none of name, uid, absent and groups"),
    };
    let began = Instant::now();
    let answered = found(&users[0]);
    let first = began.elapsed().as_nanos();
    let right = answered && users.iter().all(right);
    let part = Duration::from_millis(milliseconds.parse().expect("MILLISECONDS is a number")) / PARTS;
    let mut medians: Vec<u128> = (0..PARTS).map(|_| per_lookup(&users, found, part)).collect();
    medians.sort_unstable();
    if !right {
        eprintln!("lookups: a wrong answer to '{what}'");
        return ExitCode::FAILURE;
    }
    println!("{first} {}", medians[medians.len() / 2]);
    ExitCode::SUCCESS
}

fn parse(line: &str) -> User {
    let (line, groups) = line.rsplit_once(' ').expect("the number of groups comes last");
    let fields: Vec<&str> = line.split(':').collect();
    User {
        line: line.to_owned(),
        name: CString::new(fields[0]).expect("a name has no NUL"),
        absent: CString::new(format!("no-{}", fields[0])).expect("a name has no NUL"),
        uid: fields[2].parse().expect("the third field is a uid"),
        gid: fields[3].parse().expect("the fourth field is a gid"),
        groups: groups.parse().expect("a number of groups"),
    }
}

/// Nanoseconds of one lookup, of as many as fit into this time.
fn per_lookup(users: &[User], found: Look, time: Duration) -> u128 {
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < time {
        // In an order that is none of the file's.
        for step in 0..64 {
            std::hint::black_box(found(&users[(count + step) * 7919 % users.len()]));
        }
        count += 64;
    }
    began.elapsed().as_nanos() / count as u128
}

/// Whether an entry is the user's, in each field.
fn is(user: &User) -> impl FnOnce(Option<&libc::passwd>) -> bool {
    |entry| {
        entry.is_some_and(|entry| {
            // SAFETY: glibc filled the entry with terminated texts.
            let text = |text| unsafe { CStr::from_ptr(text) }.to_string_lossy();
            let line = format!(
                "{}:{}:{}:{}:{}:{}:{}",
                text(entry.pw_name),
                text(entry.pw_passwd),
                entry.pw_uid,
                entry.pw_gid,
                text(entry.pw_gecos),
                text(entry.pw_dir),
                text(entry.pw_shell)
            );
            line == user.line
        })
    }
}

/// What glibc has for this name or uid, as judged.
fn passwd(key: Result<&CStr, u32>, judge: impl FnOnce(Option<&libc::passwd>) -> bool) -> bool {
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut found = std::ptr::null_mut();
    let mut buffer = MaybeUninit::<[libc::c_char; 4096]>::uninit();
    let (at, len) = (buffer.as_mut_ptr().cast(), 4096);
    // SAFETY: everything passed is live through the call and ours, and the name is terminated.
    unsafe {
        match key {
            Ok(name) => libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), at, len, &raw mut found),
            Err(uid) => libc::getpwuid_r(uid, entry.as_mut_ptr(), at, len, &raw mut found),
        }
    };
    // SAFETY: a non-null result says that the entry was filled.
    judge((!found.is_null()).then(|| unsafe { entry.assume_init_ref() }))
}

/// How many groups the user has, their own among them.
fn groups(user: &User) -> usize {
    let mut list = [0; 1024];
    let mut count = i32::try_from(list.len()).expect("it is 1024");
    // SAFETY: a terminated name, a list of `count` gids, and a live count.
    unsafe { libc::getgrouplist(user.name.as_ptr(), user.gid, list.as_mut_ptr(), &raw mut count) };
    usize::try_from(count).unwrap_or(0)
}
