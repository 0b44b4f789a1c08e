//! Ends what runs as users who have lost their access, whatever started it, where keymakerd.toml says `end_sessions`.
//!
//! systemd runs it as root when keymakerd has published something (keymaker-end-sessions.path); keymakerd itself has no
//! right to end anybody. Whom it concerns stands in the directory, and is never who is merely out of date (P3). A
//! number that /etc/passwd has by now is a local account's, and is left alone (P1).

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::id::Uid;
use keymaker_core::processes::{self, Process};
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::sys::{HeldProcess, SIGKILL, SIGTERM};
use keymaker_core::{local_files, paths};

/// Where systemd has the slices of users: on hosts with one hierarchy of control groups, and on older ones.
const SLICES: [&str; 2] = ["/sys/fs/cgroup/user.slice", "/sys/fs/cgroup/systemd/user.slice"];
/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// How long the kernel may take to end what is killed, and what starts meanwhile.
const KILLING: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(50);
/// `EX_TEMPFAIL` of sysexits(3), at which keymaker-end-sessions.service starts it again.
const TRY_AGAIN: u8 = 75;

fn main() -> ExitCode {
    let places = Places {
        directory: Path::new(paths::DIRECTORY),
        passwd: Path::new(paths::PASSWD),
        proc: Path::new("/proc"),
        slices: SLICES.map(Path::new),
    };
    let mut looked_at = None;
    loop {
        match places.lost() {
            // What is published meanwhile starts this no second time.
            Ok(lost) if looked_at == Some(lost.generation) => return ExitCode::SUCCESS,
            Ok(lost) if lost.people.is_empty() || places.end(&lost.people) => looked_at = Some(lost.generation),
            Ok(_) => return ExitCode::from(TRY_AGAIN),
            Err(why) => {
                say(&why);
                return ExitCode::FAILURE;
            }
        }
    }
}

/// Where this looks.
struct Places<'a> {
    directory: &'a Path,
    passwd: &'a Path,
    proc: &'a Path,
    slices: [&'a Path; 2],
}

/// Who is to go.
struct Lost {
    /// Of the directory that says so.
    generation: u64,
    people: Vec<Leaver>,
}

/// Somebody who is to go.
struct Leaver {
    uid: Uid,
    /// Name, uid and `UserId`, for the journal.
    who: String,
    /// Whether systemd has a slice of theirs: sessions, the user manager.
    has_slice: bool,
}

impl Places<'_> {
    /// Who is here, and has lost their access.
    fn lost(&self) -> Result<Lost, String> {
        let unreadable = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let mut lost = Lost {
            generation: 0,
            people: Vec::new(),
        };
        let directory = match Directory::open(self.directory) {
            Ok(directory) => directory,
            // Nobody has had any access here yet.
            Err(ReadError::Missing) => return Ok(lost),
            Err(why) => return Err(unreadable(self.directory, &why)),
        };
        lost.generation = directory.generation();
        if !directory.header().end_sessions {
            return Ok(lost);
        }
        let slices = self.slices();
        // The slices are systemd's, and end all the same.
        let processes = processes::all(self.proc).unwrap_or_else(|why| {
            say(&format!("what runs outside the slices of users goes on: {why}"));
            Vec::new()
        });
        let owners = processes.iter().flat_map(Process::owners);
        let here: BTreeSet<u32> = owners.chain(slices.iter().copied()).collect();
        for uid in here {
            let mut buffer = [0; MAX_USER_RECORD];
            let user = directory.user_by_uid(uid, &mut buffer);
            let user = user.map_err(|why| unreadable(self.directory, &why))?;
            let Some(user) = user.filter(|user| user.ended) else {
                continue;
            };
            if local_files::has_id(self.passwd, uid).map_err(|why| unreadable(self.passwd, &why))? {
                continue;
            }
            lost.people.push(Leaver {
                uid: user.uid,
                who: format!("{} (uid {uid}, {})", user.name, user.iam_user_id),
                has_slice: slices.contains(&uid),
            });
        }
        Ok(lost)
    }

    /// The users of whom systemd has a slice, whatever runs in it under another number.
    fn slices(&self) -> BTreeSet<u32> {
        let folders = self.slices.iter().filter_map(|slices| std::fs::read_dir(slices).ok());
        let names = folders.flatten().flatten().map(|entry| entry.file_name());
        let uid = |name: std::ffi::OsString| {
            name.to_str()?
                .strip_prefix("user-")?
                .strip_suffix(".slice")?
                .parse()
                .ok()
        };
        names.filter_map(uid).collect()
    }

    /// Asks their processes to end, has systemd stop their slices, and kills what is left. Whether nothing is.
    fn end(&self, people: &[Leaver]) -> bool {
        let slices = people.iter().filter(|person| person.has_slice);
        let stopping = stop(slices.map(|person| person.uid));
        let mut reached: BTreeSet<(u32, i32)> = BTreeSet::new();
        let mut signal = |signal| {
            for person in people {
                let uid = person.uid.get();
                let reach = |pid: &i32| signal_if_of(self.proc, *pid, uid, signal);
                reached.extend(self.pids(uid).into_iter().filter(reach).map(|pid| (uid, pid)));
            }
        };
        let begun = Instant::now();
        let anything_runs = || people.iter().any(|person| !self.pids(person.uid.get()).is_empty());
        signal(SIGTERM);
        while anything_runs() && begun.elapsed() < GRACE {
            std::thread::sleep(MOMENT);
        }
        // What starts while others are killed is killed with the next.
        while anything_runs() && begun.elapsed() < GRACE + KILLING {
            signal(SIGKILL);
            std::thread::sleep(MOMENT);
        }
        let failure = stopping.and_then(|stopping| stopped(stopping).err());
        // Where nobody can see what runs, nobody can say that it has ended.
        let failure = failure.or_else(|| processes::all(self.proc).err().map(|why| why.to_string()));
        let mut all_ended = failure.is_none();
        for Leaver { uid, who, .. } in people {
            let count = reached.iter().filter(|(of, _)| *of == uid.get()).count();
            let left = self.pids(uid.get()).len();
            all_ended &= left == 0;
            say(&match &failure {
                None if left == 0 => format!("ended the sessions of {who}: {count} processes"),
                None => format!(
                    "could not end {left} processes of {who}, which hang in the kernel, or it is older than Linux 5.3; \
                     the next try is in ten seconds"
                ),
                Some(why) => {
                    format!("could not end the sessions of {who}; the next try is in ten seconds: {why}")
                }
            });
        }
        all_ended
    }

    /// The processes of this user.
    fn pids(&self, uid: u32) -> Vec<i32> {
        let all = processes::all(self.proc).unwrap_or_default();
        let theirs = all.into_iter().filter(|process| process.is_of(uid));
        theirs.map(|process| process.pid).collect()
    }
}

/// Signals the process that has this number, if it is the user's: asked once it is held, since the number may be
/// another's by now. Whether it was reached.
fn signal_if_of(proc: &Path, pid: i32, uid: u32, signal: c_int) -> bool {
    let Ok(held) = HeldProcess::of(pid) else {
        return false;
    };
    Process::read(proc, pid).is_some_and(|process| process.is_of(uid)) && held.signal(signal).is_ok()
}

/// Has systemd stop these users' slices: all sessions, the user manager, and what ran on when a session was closed, such
/// as tmux, which logind's `TerminateUser` passes over; also under other numbers, as containers of the user's. By
/// number, since loginctl looks users up, and anybody who was deleted has no name any more.
fn stop(uids: impl Iterator<Item = Uid>) -> Option<io::Result<Child>> {
    let slices: Vec<String> = uids.map(|uid| format!("user-{uid}.slice")).collect();
    (!slices.is_empty()).then(|| {
        Command::new("/usr/bin/systemctl")
            .args(["stop", "--"])
            .args(slices)
            .spawn()
    })
}

fn stopped(stopping: io::Result<Child>) -> Result<(), String> {
    match stopping.and_then(|mut systemctl| systemctl.wait()) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("systemctl ended with {status}")),
        Err(error) => Err(format!("systemctl cannot be run: {error}")),
    }
}

/// To the journal, where systemd sends standard error.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use keymaker_core::directory_file::{DirectoryBuilder, Header, NewUser, Verdict};
    use keymaker_core::id::IdRange;
    use keymaker_core::name::UserName;
    use keymaker_core::published_file::writer::replace_file;
    use std::fs;
    use test_folder::TestFolder;

    const FIRST: u32 = IdRange::WIDE.first;

    /// Four users of IAM, each with a process, and a local account with another.
    struct TestHost(TestFolder);

    impl TestHost {
        fn new(end_sessions: bool) -> Self {
            let host = Self(TestFolder::new());
            let mut header = Header {
                end_sessions,
                ..Header::NOTHING
            };
            header.ranges[0] = IdRange::WIDE;
            let mut builder = DirectoryBuilder::new(&header);
            let users = [
                ("bob", Verdict::NotInRequiredGroup, true),
                ("alice", Verdict::Allowed, false),
                ("doubted", Verdict::Deleted, false),
                ("local", Verdict::Deleted, true),
            ];
            for (number, (name, verdict, ended)) in (0..).zip(users) {
                let user = NewUser {
                    name: UserName::parse(name.as_bytes()).unwrap(),
                    uid: Uid::new(FIRST + number).unwrap(),
                    // Long out of date.
                    answered_at: 1,
                    verdict,
                    tombstone: false,
                    seen_here: true,
                    ended,
                    gecos: "",
                    home: "/",
                    shell: "/bin/sh",
                    iam_user_id: "AIDA",
                    iam_user_name: name,
                    proofs_from: None,
                    groups: &[],
                    former_names: &[],
                };
                builder.user(&user).unwrap();
                host.process(10 + number as i32, FIRST + number);
            }
            host.process(1, 0);
            host.process(20, 1000);
            let passwd = format!("root:x:0:0::/root:/bin/sh\nnew:x:{}:100::/:/bin/sh\n", FIRST + 3);
            fs::write(host.0.join("passwd"), passwd).unwrap();
            replace_file(&host.0.join("directory"), &builder.build(1).unwrap(), 0o644).unwrap();
            host
        }

        fn process(&self, pid: i32, uid: u32) {
            let folder = self.0.join("proc").join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let status = format!("Name:\tx\nState:\tS (sleeping)\nPPid:\t1\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n");
            fs::write(folder.join("status"), status).unwrap();
        }

        fn lost(&self) -> Result<Vec<(u32, bool)>, String> {
            let places = Places {
                directory: &self.0.join("directory"),
                passwd: &self.0.join("passwd"),
                proc: &self.0.join("proc"),
                slices: [&self.0.join("slices"), Path::new("/no/such/folder")],
            };
            let lost = places.lost()?;
            Ok(lost
                .people
                .iter()
                .map(|person| (person.uid.get(), person.has_slice))
                .collect())
        }
    }

    // P9
    #[test]
    fn only_who_lost_their_access_is_ended_and_only_where_the_settings_say_so() {
        assert_eq!(TestHost::new(true).lost(), Ok(vec![(FIRST, false)]));
        assert_eq!(TestHost::new(false).lost(), Ok(vec![]));
    }

    // P9
    #[test]
    fn a_slice_without_a_process_of_its_users_own_number_is_ended_too() {
        let host = TestHost::new(true);
        fs::remove_dir_all(host.0.join("proc/10")).unwrap();
        assert_eq!(host.lost(), Ok(vec![]));
        for slice in [FIRST, FIRST + 1].map(|uid| format!("user-{uid}.slice")) {
            fs::create_dir_all(host.0.join("slices").join(slice)).unwrap();
        }
        assert_eq!(host.lost(), Ok(vec![(FIRST, true)]));
    }

    #[test]
    fn before_anything_is_published_nobody_is_ended_and_nothing_is_wrong() {
        let host = TestHost::new(true);
        fs::remove_file(host.0.join("directory")).unwrap();
        assert_eq!(host.lost(), Ok(vec![]));
        fs::write(host.0.join("directory"), "noise").unwrap();
        assert!(host.lost().is_err());
    }

    // P9
    #[test]
    fn nobody_counts_as_ended_while_proc_cannot_be_read() {
        let ended = |proc: &Path| {
            let nowhere = Path::new("/no/such/folder");
            let places = Places {
                directory: nowhere,
                passwd: nowhere,
                proc,
                slices: [nowhere; 2],
            };
            places.end(&[Leaver {
                uid: Uid::new(FIRST).unwrap(),
                who: "bob".to_owned(),
                has_slice: false,
            }])
        };
        let host = TestHost::new(true);
        fs::remove_dir_all(host.0.join("proc/10")).unwrap();
        assert!(ended(&host.0.join("proc")));
        assert!(!ended(Path::new("/no/such/folder")));
    }

    // P1
    #[test]
    fn while_etc_passwd_cannot_be_read_nobody_is_ended() {
        let host = TestHost::new(true);
        fs::remove_file(host.0.join("passwd")).unwrap();
        assert!(host.lost().unwrap_err().contains("passwd"));
    }

    // P1
    #[test]
    fn a_number_that_is_another_users_process_by_now_is_not_signalled() {
        let host = TestHost::new(true);
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let reach = || signal_if_of(&host.0.join("proc"), pid, FIRST, SIGKILL);
        // Listed as bob's a moment ago.
        host.process(pid, 1000);
        assert!(!reach() && child.try_wait().unwrap().is_none());
        fs::remove_dir_all(host.0.join("proc").join(pid.to_string())).unwrap();
        assert!(!reach() && child.try_wait().unwrap().is_none());
        host.process(pid, FIRST);
        assert!(reach());
        assert!(!child.wait().unwrap().success());
        // Its number is nobody's now.
        assert!(!reach());
    }
}
