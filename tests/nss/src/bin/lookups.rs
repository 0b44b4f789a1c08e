//! Times lookups through this process's own glibc and nsswitch.conf; `benches/lookups.py` runs it once for each service.
//!
//! usage: lookups name|uid|absent|unknown-name|unknown-uid|groups|group FILE MILLISECONDS. A line of FILE is an entry as `getent passwd`
//! prints it, a blank, the gids of the user's groups with commas between, and after another blank those that an answer may have as well;
//! for `group` it is an entry as `getent group` prints it. `unknown-…` asks a service that knows none of them. Prints nanoseconds: of
//! the first lookup of the process, the mean of asking for each once, and the median of what follows. A wrong answer ends it with
//! exit status 1 and no figure.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Of so many equal parts of the time, the median is told.
const PARTS: u32 = 11;
/// How long the answers are judged. Whom a slow service has not been asked for by then is not asked for.
const JUDGED: Duration = Duration::from_secs(1);
/// Room for a group of 5,000.
const ROOM: usize = 1 << 20;

type Look = fn(&Entry) -> bool;

/// A line of FILE.
struct Entry {
    fields: Vec<String>,
    name: CString,
    absent: CString,
    id: u32,
    gid: u32,
    groups: BTreeSet<u32>,
    other_groups: BTreeSet<u32>,
    members: BTreeSet<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, file, milliseconds] = arguments.as_slice() else {
        eprintln!("usage: lookups name|uid|absent|unknown-name|unknown-uid|groups|group FILE MILLISECONDS");
        return ExitCode::from(2);
    };
    let file = std::fs::read_to_string(file).expect("FILE can be read");
    let parse = if what == "group" { parse_group } else { parse_user };
    let entries: Vec<Entry> = file.lines().map(parse).collect();
    let (right, found) = looks(what);
    let began = Instant::now();
    let answered = found(&entries[0]);
    let first = began.elapsed().as_nanos();
    let began = Instant::now();
    let mut judged = 0;
    let mut all_right = answered;
    for entry in entries.iter().take_while(|_| began.elapsed() < JUDGED) {
        all_right &= right(entry);
        judged += 1;
    }
    let once = began.elapsed().as_nanos() / judged;
    let part = Duration::from_millis(milliseconds.parse().expect("MILLISECONDS is a number")) / PARTS;
    let mut medians: Vec<u128> = (0..PARTS).map(|_| per_lookup(&entries, found, part)).collect();
    medians.sort_unstable();
    if !all_right {
        eprintln!("lookups: a wrong answer to '{what}'");
        return ExitCode::FAILURE;
    }
    println!("{first} {once} {}", medians[medians.len() / 2]);
    ExitCode::SUCCESS
}

/// A lookup that judges the whole answer, and one that is timed.
fn looks(what: &str) -> (Look, Look) {
    match what {
        "name" => (
            |user| passwd(Ok(&user.name), |entry| is(user, entry)),
            |user| passwd(Ok(&user.name), |entry| entry.is_some()),
        ),
        "uid" => (
            |user| passwd(Err(user.id), |entry| is(user, entry)),
            |user| passwd(Err(user.id), |entry| entry.is_some()),
        ),
        "absent" => of_nobody(|user| passwd(Ok(&user.absent), |entry| entry.is_none())),
        "unknown-name" => of_nobody(|user| passwd(Ok(&user.name), |entry| entry.is_none())),
        "unknown-uid" => of_nobody(|user| passwd(Err(user.id), |entry| entry.is_none())),
        "groups" => (has_its_groups, |user| count_groups(user) > 0),
        "group" => (
            |wanted| group(wanted, |entry| has_its_members(wanted, entry)),
            |wanted| group(wanted, |entry| entry.is_some()),
        ),
        _ => panic!("{what} is nothing that can be asked"),
    }
}

fn of_nobody(look: Look) -> (Look, Look) {
    (look, look)
}

fn parse_user(line: &str) -> Entry {
    let [line, groups, others] = line
        .split(' ')
        .collect::<Vec<_>>()
        .try_into()
        .expect("an entry, groups, and other groups");
    let mut entry = parse(line);
    entry.gid = entry.fields[3].parse().expect("the fourth field is a gid");
    entry.groups = numbers(groups);
    entry.other_groups = numbers(others);
    entry
}

fn parse_group(line: &str) -> Entry {
    let mut entry = parse(line);
    entry.members = parts(&entry.fields[3]).map(str::to_owned).collect();
    entry
}

fn parse(line: &str) -> Entry {
    let fields: Vec<String> = line.split(':').map(str::to_owned).collect();
    Entry {
        name: CString::new(fields[0].as_str()).expect("a name has no NUL"),
        absent: CString::new(format!("no-{}", fields[0])).expect("a name has no NUL"),
        id: fields[2].parse().expect("the third field is a number"),
        gid: 0,
        groups: BTreeSet::new(),
        other_groups: BTreeSet::new(),
        members: BTreeSet::new(),
        fields,
    }
}

fn numbers(list: &str) -> BTreeSet<u32> {
    parts(list)
        .map(|number| number.parse().expect("a gid is a number"))
        .collect()
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|part| !part.is_empty())
}

/// Nanoseconds of one lookup, of as many as fit into this time.
fn per_lookup(entries: &[Entry], found: Look, time: Duration) -> u128 {
    let began = Instant::now();
    let (mut count, mut batch) = (0, 1);
    while began.elapsed() < time {
        // In an order that is none of the file's.
        for step in 0..batch {
            std::hint::black_box(found(&entries[(count + step) * 7919 % entries.len()]));
        }
        count += batch;
        // A slow service would take too long for 64; of a fast one the clock would be measured as well.
        batch = 64.min(batch * 2);
    }
    began.elapsed().as_nanos() / count as u128
}

/// Whether an entry is the user's. The password field says no more than where to look for one, and OS Login leaves the comment empty.
fn is(user: &Entry, entry: Option<&libc::passwd>) -> bool {
    entry.is_some_and(|entry| {
        let fields = &user.fields;
        text(entry.pw_name) == fields[0]
            && (entry.pw_uid, entry.pw_gid) == (user.id, user.gid)
            && (text(entry.pw_dir), text(entry.pw_shell)) == (fields[5].clone(), fields[6].clone())
    })
}

fn text(text: *const libc::c_char) -> String {
    // SAFETY: glibc filled the entry with terminated texts.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
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

/// What glibc has for a group of this name, as judged.
fn group(wanted: &Entry, judge: impl FnOnce(Option<&libc::group>) -> bool) -> bool {
    thread_local!(static BUFFER: RefCell<Vec<libc::c_char>> = RefCell::new(vec![0; ROOM]));
    let mut entry = MaybeUninit::<libc::group>::uninit();
    let mut found = std::ptr::null_mut();
    BUFFER.with_borrow_mut(|buffer| {
        let (at, len) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: everything passed is live through the call and ours, and the name is terminated.
        unsafe { libc::getgrnam_r(wanted.name.as_ptr(), entry.as_mut_ptr(), at, len, &raw mut found) };
        // SAFETY: a non-null result says that the entry was filled.
        judge((!found.is_null()).then(|| unsafe { entry.assume_init_ref() }))
    })
}

fn has_its_members(wanted: &Entry, entry: Option<&libc::group>) -> bool {
    entry.is_some_and(|entry| {
        let mut members = BTreeSet::new();
        let mut next = entry.gr_mem;
        // SAFETY: glibc filled the entry with an array of texts that ends with a null pointer.
        while let member = unsafe { *next }
            && !member.is_null()
        {
            members.insert(text(member));
            // SAFETY: this was not the last.
            next = unsafe { next.add(1) };
        }
        entry.gr_gid == wanted.id && members == wanted.members
    })
}

/// In whatever order, and one that is named twice counts once.
fn has_its_groups(user: &Entry) -> bool {
    let mut list = [0; 1024];
    let count = list_groups(user, &mut list);
    let answered: BTreeSet<u32> = list[..count]
        .iter()
        .copied()
        .filter(|gid| !user.other_groups.contains(gid))
        .collect();
    answered == user.groups
}

fn count_groups(user: &Entry) -> usize {
    list_groups(user, &mut [0; 1024])
}

/// The user's groups, their own among them: how many.
fn list_groups(user: &Entry, list: &mut [libc::gid_t]) -> usize {
    let mut count = i32::try_from(list.len()).expect("it is short");
    // SAFETY: a terminated name, a list of `count` gids, and a live count.
    let all = unsafe { libc::getgrouplist(user.name.as_ptr(), user.gid, list.as_mut_ptr(), &raw mut count) };
    assert!(all >= 0, "nobody has more groups");
    usize::try_from(count).unwrap_or(0)
}
