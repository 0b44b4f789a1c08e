//! Homes, made by the user who runs the tests for themselves: with root's rights only whose they are would differ.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::*;
use test_folder::TestFolder;

mod shared;

const STOP_AT: &str = "KEYMAKER_TEST_STOP_AT";
const FOLDER: &str = "KEYMAKER_TEST_FOLDER";

fn own_uid() -> u32 {
    keymaker_core::sys::own_uid()
}

/// A folder with a /home and a /etc/skel.
fn host() -> TestFolder {
    let folder = TestFolder::new();
    fs::set_permissions(&*folder, Permissions::from_mode(0o755)).unwrap();
    make(&folder.join("home"), 0o755);
    let skel = folder.join("skel");
    make(&skel, 0o755);
    fs::write(skel.join(".bashrc"), "alias l=ls\n").unwrap();
    fs::set_permissions(skel.join(".bashrc"), Permissions::from_mode(0o644)).unwrap();
    fs::write(skel.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(skel.join("run"), Permissions::from_mode(0o4755)).unwrap();
    make(&skel.join(".config"), 0o700);
    fs::write(skel.join(".config/large"), vec![b'x'; 300_000]).unwrap();
    fs::set_permissions(skel.join(".config/large"), Permissions::from_mode(0o600)).unwrap();
    make(&skel.join(".config/empty"), 0o750);
    symlink("/etc/passwd", skel.join("link")).unwrap();
    symlink("nowhere", skel.join("dangling")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(skel.join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    folder
}

fn make(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn make_home(folder: &Path, dead_after: Duration, step: &dyn Fn()) -> Result<Home, HomeError> {
    make_home_at(&folder.join("home/alice"), &folder.join("skel"), dead_after, step)
}

fn make_home_at(path: &Path, skel: &Path, dead_after: Duration, step: &dyn Fn()) -> Result<Home, HomeError> {
    let workshop = Workshop {
        owner: own_uid(),
        dead_after,
        step,
    };
    workshop.provide(&NewHome {
        path,
        uid: own_uid(),
        skel,
        umask: 0o077,
        former_names: &[],
    })
}

fn made(folder: &Path) -> Result<Home, HomeError> {
    make_home(folder, DEAD_AFTER, &|| ())
}

/// Every file below `path`: its mode and what is in it.
fn contents(path: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let bytes = if metadata.is_dir() {
                folders.push(entry.path());
                Vec::new()
            } else if metadata.is_symlink() {
                fs::read_link(entry.path())
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else {
                fs::read(entry.path()).unwrap()
            };
            assert_eq!((metadata.uid(), metadata.gid()), (own_uid(), own_uid()));
            found.insert(
                entry.path().strip_prefix(path).unwrap().to_owned(),
                (metadata.mode() & 0o7777, bytes),
            );
        }
    }
    found
}

/// What a home made from the skel of `host` holds.
fn whole() -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let file = |name: &str, mode: u32, bytes: &[u8]| (PathBuf::from(name), (mode, bytes.to_vec()));
    BTreeMap::from([
        file(".bashrc", 0o644, b"alias l=ls\n"),
        file("run", 0o755, b"#!/bin/sh\n"),
        file(".config", 0o700, b""),
        file(".config/large", 0o600, &vec![b'x'; 300_000]),
        file(".config/empty", 0o750, b""),
        file("link", 0o777, b"/etc/passwd"),
        file("dangling", 0o777, b"nowhere"),
    ])
}

fn names_in(path: &Path) -> Vec<OsString> {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect()
}

// P6 P11
#[test]
fn a_new_home_is_a_copy_of_skel_for_the_user_alone() {
    let host = host();
    assert!(matches!(
        made(&host),
        Ok(Home::Made {
            unlabelled: None,
            former: None
        })
    ));
    let home = host.join("home/alice");
    assert_eq!(fs::metadata(&home).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(contents(&home), whole());
    assert_eq!(names_in(&host.join("home")), ["alice"]);
    assert!(matches!(made(&host), Ok(Home::Present)));
}

// P11
#[test]
fn a_process_killed_at_any_step_leaves_no_half_home_and_the_next_login_mends_it() {
    let steps = Cell::new(0);
    let host_of_count = host();
    make_home(&host_of_count, DEAD_AFTER, &|| steps.set(steps.get() + 1)).unwrap();
    assert!(steps.get() > 15);
    for stop_at in 1..=steps.get() {
        let host = host();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "home::tests::dies_at_a_step"])
            .env(STOP_AT, stop_at.to_string())
            .env(FOLDER, &*host)
            .output()
            .unwrap();
        assert_eq!(
            child.status.signal(),
            Some(libc::SIGKILL),
            "at step {stop_at}: {child:?}"
        );
        let (homes, home) = (host.join("home"), host.join("home/alice"));
        if home.exists() {
            assert_eq!(stop_at, steps.get(), "only the last step shows the home");
            assert_eq!(contents(&home), whole());
        }
        let finished = usize::from(home.exists());
        assert_eq!(
            names_in(&homes).len(),
            1 + finished,
            "one folder of root's at step {stop_at}"
        );
        // A living process's would be younger.
        assert!(make_home(&host, DEAD_AFTER, &|| ()).is_ok());
        assert_eq!(names_in(&homes).len(), 2);
        assert_eq!(contents(&home), whole());
        fs::remove_dir_all(&home).unwrap();
        make_home(&host, Duration::ZERO, &|| ()).unwrap();
        assert_eq!(
            (names_in(&homes), contents(&home)),
            (vec![OsString::from("alice")], whole())
        );
    }
}

/// The child of the test above, which alone sets its environment: dies without a word at the step that is named there.
#[test]
fn dies_at_a_step() {
    let Ok(stop_at) = std::env::var(STOP_AT) else { return };
    let stop_at: u32 = stop_at.parse().unwrap();
    let step = Cell::new(0);
    let die = || {
        step.set(step.get() + 1);
        if step.get() == stop_at {
            let own = std::process::id().to_string();
            Command::new("kill").args(["-KILL", &own]).status().unwrap();
        }
    };
    make_home(Path::new(&std::env::var_os(FOLDER).unwrap()), DEAD_AFTER, &die).unwrap();
}

// P11
#[test]
fn what_exists_is_never_changed() {
    let host = host();
    let home = host.join("home/alice");
    make(&home, 0o1777);
    assert!(matches!(made(&host), Ok(Home::Present)));
    assert_eq!(
        (fs::metadata(&home).unwrap().mode() & 0o7777, names_in(&home).len()),
        (0o1777, 0)
    );
    fs::remove_dir(&home).unwrap();
    fs::write(&home, "a file").unwrap();
    assert!(matches!(made(&host), Err(HomeError::NotTheirs)));
    fs::remove_file(&home).unwrap();
    symlink("/etc/passwd", &home).unwrap();
    assert!(matches!(made(&host), Err(HomeError::NotTheirs)));
    fs::remove_file(&home).unwrap();
    symlink("/no/such/folder", &home).unwrap();
    assert!(matches!(made(&host), Err(HomeError::NotTheirs | HomeError::Io(..))));
    assert_eq!(names_in(&host.join("home")), ["alice"]);
}

// P11
#[test]
fn no_home_is_made_where_home_or_skel_cannot_be_seen() {
    let host = host();
    let (home, homes) = (host.join("home/alice"), host.join("home"));
    symlink("alice", &home).unwrap();
    let unseen = made(&host);
    assert!(matches!(unseen, Err(HomeError::Io("look at", ..))), "{unseen:?}");
    fs::remove_file(&home).unwrap();
    // A folder that is missing is not a skel; one of which nobody can tell is not nothing.
    let long = host.join("x".repeat(300));
    let unseen = make_home_at(&home, &long, DEAD_AFTER, &|| ());
    assert!(matches!(unseen, Err(HomeError::Io("look at", ..))), "{unseen:?}");
    assert!(names_in(&homes).is_empty());
}

// P11
#[test]
fn what_goes_wrong_while_a_home_is_made_is_not_called_a_home_of_somebody_elses() {
    let host = host();
    let homes = host.join("home");
    let lose = || {
        for unfinished in names_in(&homes) {
            fs::remove_dir_all(homes.join(unfinished)).unwrap();
        }
    };
    let lost = make_home(&host, DEAD_AFTER, &lose);
    assert!(
        matches!(&lost, Err(HomeError::Io(_, _, error)) if error.kind() == io::ErrorKind::NotFound),
        "{lost:?}"
    );
}

// P11
#[test]
fn a_skel_is_copied_to_its_sixteenth_folder_and_not_at_all_where_there_is_another() {
    let host = host();
    let mut deepest = host.join("skel");
    for _ in 0..16 {
        deepest.push("d");
        make(&deepest, 0o755);
    }
    assert!(matches!(made(&host), Ok(Home::Made { .. })));
    let home = host.join("home/alice");
    assert!(home.join(deepest.strip_prefix(host.join("skel")).unwrap()).is_dir());
    fs::remove_dir_all(&home).unwrap();
    make(&deepest.join("d"), 0o755);
    assert!(matches!(made(&host), Err(HomeError::TooDeep)));
    assert!(names_in(&host.join("home")).is_empty());
}

// P2 P11
#[test]
fn the_folder_of_another_uid_is_not_taken() {
    let host = host();
    make(&host.join("home/alice"), 0o775);
    let workshop = Workshop {
        owner: own_uid(),
        dead_after: DEAD_AFTER,
        step: &|| (),
    };
    let home = NewHome {
        path: &host.join("home/alice"),
        uid: own_uid() + 1,
        skel: &host.join("skel"),
        umask: 0,
        former_names: &[],
    };
    assert!(matches!(workshop.provide(&home), Err(HomeError::NotTheirs)));
    assert_eq!(fs::metadata(home.path).unwrap().uid(), own_uid());
    assert!(names_in(home.path).is_empty());
}

// P11
#[test]
fn nothing_is_made_in_a_folder_whose_place_others_can_take() {
    // The folder above it could be exchanged.
    for mode in [0o777, 0o2775, 0o757] {
        let host = host();
        fs::set_permissions(&*host, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(made(&host), Err(HomeError::NotOnlyRoots(_))), "{mode:o}");
        assert!(names_in(&host.join("home")).is_empty());
    }
    // Somebody else than root owns it. (These tests trust their own user beside root.)
    let host = host();
    let root_only = Workshop {
        owner: ROOT,
        dead_after: DEAD_AFTER,
        step: &|| (),
    };
    let others = host.join("others");
    make(&others, 0o755);
    if own_uid() == 0 {
        chown(&others, Some(1234), None).unwrap();
    }
    let home = NewHome {
        path: &others.join("alice"),
        uid: own_uid(),
        skel: &host.join("skel"),
        umask: 0,
        former_names: &[],
    };
    assert!(matches!(root_only.provide(&home), Err(HomeError::NotOnlyRoots(_))));
    assert!(names_in(&others).is_empty());
}

// P11
#[test]
fn a_skel_that_others_can_change_is_not_copied() {
    let host = host();
    fs::set_permissions(host.join("skel"), Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(made(&host), Err(HomeError::NotOnlyRoots(_))));
    assert!(names_in(&host.join("home")).is_empty());
}

// P11
#[test]
fn a_link_on_the_way_is_followed_only_where_root_alone_can_have_made_it() {
    let host = host();
    let skel = host.join("skel");
    symlink(
        "../".to_owned() + host.file_name().unwrap().to_str().unwrap() + "/home",
        host.join("link"),
    )
    .unwrap();
    let through = |path: &str| make_home_at(&host.join(path), &skel, DEAD_AFTER, &|| ());
    assert!(matches!(through("link/alice"), Ok(Home::Made { .. })));
    assert_eq!(contents(&host.join("home/alice")), whole());
    // In a folder that everybody may write to, somebody else's link would be taken for root's.
    make(&host.join("shared"), 0o777);
    symlink(host.join("home"), host.join("shared/link")).unwrap();
    assert!(matches!(through("shared/link/bob"), Err(HomeError::NotOnlyRoots(_))));
    symlink("loop", host.join("loop")).unwrap();
    assert!(matches!(
        through("loop/bob"),
        Err(HomeError::Io(..) | HomeError::NotOnlyRoots(_))
    ));
    if own_uid() == 0 {
        std::os::unix::fs::lchown(host.join("link"), Some(1234), None).unwrap();
        assert!(matches!(through("link/bob"), Err(HomeError::NotOnlyRoots(_))));
    }
    assert_eq!(names_in(&host.join("home")), ["alice"]);
}

#[test]
fn a_path_that_names_no_folder_is_refused() {
    let host = host();
    for path in ["alice", ""] {
        let outcome = make_home_at(Path::new(path), &host.join("skel"), DEAD_AFTER, &|| ());
        assert!(outcome.is_err(), "{path}");
    }
}

// P11
#[test]
fn of_two_logins_at_once_one_makes_the_home_and_both_have_it() {
    let host = host();
    for _ in 0..20 {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let logins: Vec<_> = (0..4).map(|_| scope.spawn(|| made(&host))).collect();
            logins.into_iter().map(|login| login.join().unwrap()).collect()
        });
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let makers = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Ok(Home::Made { .. })))
            .count();
        assert_eq!(makers, 1);
        assert_eq!(
            (names_in(&host.join("home")), contents(&host.join("home/alice"))),
            (vec!["alice".into()], whole())
        );
        fs::remove_dir_all(host.join("home/alice")).unwrap();
    }
}

#[test]
fn a_host_without_skel_makes_empty_homes() {
    let host = host();
    let home = host.join("home/alice");
    let outcome = make_home_at(&home, &host.join("none"), DEAD_AFTER, &|| ());
    assert!(matches!(outcome, Ok(Home::Made { .. })));
    assert!(names_in(&home).is_empty());
}

#[test]
fn a_skel_within_itself_ends() {
    let host = host();
    let mut deep = host.join("skel");
    for _ in 0..20 {
        deep.push("d");
        make(&deep, 0o755);
    }
    assert!(matches!(made(&host), Err(HomeError::TooDeep)));
    assert!(names_in(&host.join("home")).is_empty());
}
