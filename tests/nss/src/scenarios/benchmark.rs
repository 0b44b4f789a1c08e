//! What a lookup costs through glibc, against `files`; run by hand (docs/benchmarks.md).

use std::ffi::CString;
use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use keymaker_core::paths;
use keymaker_core::published_file::writer::replace_published;

use crate::ask::{Answer, Judged};
use crate::published::{self, KnownUser};

const SIZES: [u32; 3] = [10, 5_000, 50_000];
const SERVICES: [&str; 3] = ["files", "keymaker", "files keymaker"];

/// Measures each service at each size, in a process of its own, since glibc before 2.33 reads nsswitch.conf once.
pub fn compare(module: &str) {
    println!(
        "{:>15} {:>9} {:>12} {:>12} {:>17}",
        "service", "users", "hit, ns", "missing, ns", "hit against files"
    );
    for users in SIZES {
        let mut files = 0;
        for service in SERVICES {
            let measured = Command::new(std::env::current_exe().unwrap())
                .args([module, "benchmark-one", &format!("{users} {service}")])
                .output()
                .unwrap();
            assert!(
                measured.status.success(),
                "{}",
                String::from_utf8_lossy(&measured.stderr)
            );
            let text = String::from_utf8(measured.stdout).unwrap();
            let [hit, miss] = [0, 1].map(|at| text.split_whitespace().nth(at).unwrap().parse::<u128>().unwrap());
            files = if service == "files" { hit } else { files };
            println!(
                "{service:>15} {users:>9} {hit:>12} {miss:>12} {:>17.3}",
                hit as f64 / files as f64
            );
        }
    }
}

/// Prints the nanoseconds of a hit by name (the last line of /etc/passwd, or any user of the directory: all cost the
/// same), and of a miss by uid, which asks no daemon. /etc/passwd has two lines where it is not the one measured.
pub fn measure(argument: &str) {
    let (users, service) = argument.split_once(' ').unwrap();
    let users: u32 = users.parse().unwrap();
    let local = if service == "files" { users } else { 2 };
    let mut passwd = String::new();
    for number in 0..local {
        let id = 1000 + number;
        writeln!(
            passwd,
            "local{number}:x:{id}:{id}:The user number {number}:/home/local{number}:/bin/bash"
        )
        .unwrap();
    }
    fs::write(paths::PASSWD, passwd).unwrap();
    fs::write("/etc/nsswitch.conf", format!("passwd: {service}\n")).unwrap();
    replace_published(paths::DIRECTORY.as_ref(), &published::directory_of(users), 0o644).unwrap();
    let kind = if service == "files" { "local" } else { "user" };
    let last = CString::new(format!("{kind}{}", users - 1)).unwrap();
    let absent = KnownUser::new(users);
    let mut answer = Answer::new();
    let hit = best(|| assert_eq!(answer.is_user(&last), Ok(true)));
    let miss = best(|| assert_eq!(answer.user_by_uid(&absent), Judged::Lost(0)));
    println!("{hit} {miss}");
}

/// The fastest of five runs of a tenth of a second: what else the machine does only slows.
fn best(mut ask: impl FnMut()) -> u128 {
    let run = || {
        let started = Instant::now();
        let mut asked = 0;
        while started.elapsed() < Duration::from_millis(100) {
            for _ in 0..10 {
                ask();
            }
            asked += 10;
        }
        started.elapsed().as_nanos() / asked
    };
    std::iter::repeat_with(run).take(5).min().unwrap()
}
