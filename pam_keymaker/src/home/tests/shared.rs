//! Homes in a folder that others may write to, beside somebody who does. Only root makes folders of others.

use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const ALICE: u32 = 1_900_000_000;
const BOB: u32 = 1_900_000_001;
const MALLORY: u32 = 4343;
const STAFF: u32 = 50;
const MODES: [u32; 3] = [0o2775, 0o1777, 0o777];

/// A host whose homes lie in a folder of this mode, of the group staff; with a folder of root's beside it that nothing may
/// touch.
fn shared(mode: u32) -> TestFolder {
    let host = host();
    let homes = host.join("home");
    // Less to copy: each step is tried with each swap.
    for file in ["run", "fifo", "dangling", ".config/large"] {
        fs::remove_file(host.join("skel").join(file)).unwrap();
    }
    chown(&homes, Some(0), Some(STAFF)).unwrap();
    fs::set_permissions(&homes, Permissions::from_mode(mode)).unwrap();
    make(&host.join("victim"), 0o755);
    fs::write(host.join("victim/secret"), "root's").unwrap();
    host
}

fn is_root() -> bool {
    if own_uid() != 0 {
        println!("not run: only root makes folders of others");
    }
    own_uid() == 0
}

fn home_of(name: &str, uid: u32, host: &Path, step: &dyn Fn()) -> Result<Home, HomeError> {
    let workshop = Workshop {
        owner: ROOT,
        dead_after: DEAD_AFTER,
        step,
    };
    workshop.provide(&NewHome {
        path: &host.join("home").join(name),
        uid,
        skel: &host.join("skel"),
        umask: 0o077,
        former_names: &["old".to_owned()],
    })
}

/// Owner and group, mode, and what is in it, of everything in a folder and of itself.
fn everything(path: &Path) -> BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut rest = vec![path.to_owned()];
    while let Some(path) = rest.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let bytes = if metadata.is_dir() {
            rest.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap_or_default()
        };
        found.insert(path, (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777, bytes));
    }
    found
}

/// Whether a home, if it is there, is whole and the user's in every part.
fn is_whole(home: &Path, uid: u32) -> bool {
    let all = everything(home);
    let theirs = all.values().all(|(owner, group, ..)| (*owner, *group) == (uid, uid));
    let below = all.into_iter().filter(|(path, _)| path != home);
    let contents: BTreeMap<_, _> = below
        .map(|(path, (_, _, mode, bytes))| (path.strip_prefix(home).unwrap().to_owned(), (mode, bytes)))
        .collect();
    let mut copied = whole();
    copied.retain(|path, _| {
        [".bashrc", ".config", ".config/empty", "link"]
            .map(Path::new)
            .contains(&path.as_path())
    });
    theirs && contents == copied && fs::symlink_metadata(home).unwrap().mode() & 0o7777 == 0o700
}

// P6 P11
#[test]
fn a_home_is_made_where_others_may_write_and_inherits_nothing() {
    if !is_root() {
        return;
    }
    for mode in MODES {
        let host = shared(mode);
        let homes = host.join("home");
        let acl = Command::new("setfacl")
            .args(["-d", "-m", "u:4343:rwx,g:50:rwx,o::rx"])
            .arg(&homes)
            .status();
        let inherits = acl.is_ok_and(|status| status.success());
        let made = home_of("alice", ALICE, &host, &|| ());
        assert!(matches!(made, Ok(Home::Made { .. })), "{mode:o}: {made:?}");
        assert!(is_whole(&homes.join("alice"), ALICE), "{mode:o}");
        assert_eq!(names_in(&homes), ["alice"]);
        assert!(matches!(home_of("alice", ALICE, &host, &|| ()), Ok(Home::Present)));
        if inherits {
            let shown = Command::new("getfacl")
                .arg("-pR")
                .arg(homes.join("alice"))
                .output()
                .unwrap();
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            assert!(!shown.contains("4343") && !shown.contains("default:"), "{shown}");
        } else {
            println!("not run: ACLs cannot be set here");
        }
    }
}

// P2 P11
#[test]
fn what_another_put_in_the_place_of_a_home_is_not_taken() {
    if !is_root() {
        return;
    }
    for mode in MODES {
        let host = shared(mode);
        let home = host.join("home/alice");
        let before = everything(&host.join("victim"));
        symlink(host.join("victim"), &home).unwrap();
        assert!(matches!(
            home_of("alice", ALICE, &host, &|| ()),
            Err(HomeError::NotTheirs)
        ));
        fs::remove_file(&home).unwrap();
        // A link to what is hers is nobody's home either, nor is one that leads nowhere.
        make(&host.join("hers"), 0o755);
        chown(host.join("hers"), Some(ALICE), None).unwrap();
        for target in ["../hers", "nowhere"] {
            symlink(target, &home).unwrap();
            assert!(matches!(
                home_of("alice", ALICE, &host, &|| ()),
                Err(HomeError::NotTheirs)
            ));
            fs::remove_file(&home).unwrap();
        }
        make(&home, 0o777);
        chown(&home, Some(MALLORY), None).unwrap();
        assert!(matches!(
            home_of("alice", ALICE, &host, &|| ()),
            Err(HomeError::NotTheirs)
        ));
        assert_eq!(everything(&host.join("victim")), before);
        assert_eq!(names_in(&host.join("home")), ["alice"]);
    }
}

/// What somebody who may move everything in the folder of homes can do there in one instant.
const SWAPS: [fn(&Path, &Path, &str); 7] = [
    // Every unfinished home away.
    |homes, _, name| fs::rename(homes.join(name), homes.join(format!("gone.{name}"))).unwrap(),
    // In its place a link to a folder of root's.
    |homes, host, name| {
        fs::rename(homes.join(name), homes.join(format!("gone.{name}"))).unwrap();
        symlink(host.join("victim"), homes.join(name)).unwrap();
    },
    // A folder of Mallory's.
    |homes, _, name| {
        fs::rename(homes.join(name), homes.join(format!("gone.{name}"))).unwrap();
        make(&homes.join(name), 0o777);
        chown(homes.join(name), Some(MALLORY), Some(MALLORY)).unwrap();
    },
    // Bob's home.
    |homes, _, name| {
        fs::rename(homes.join(name), homes.join(format!("gone.{name}"))).unwrap();
        fs::rename(homes.join("bob"), homes.join(name)).unwrap();
    },
    // A closed folder of root's, with something in it.
    |homes, _, name| {
        fs::rename(homes.join(name), homes.join(format!("gone.{name}"))).unwrap();
        fs::rename(homes.join("lost+found"), homes.join(name)).unwrap();
    },
    // Another file system.
    |homes, _, name| {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "mode=700", "tmpfs"])
            .arg(homes.join(name))
            .status();
        assert!(mounted.unwrap().success());
    },
    // In the place of the home itself: a link and a folder are there already.
    |homes, host, _| {
        let _ = symlink(host.join("victim"), homes.join("alice"));
    },
];

// P2 P11
#[test]
fn whatever_is_swapped_at_any_step_nothing_outside_is_changed_and_no_home_of_anothers_is_taken() {
    if !is_root() {
        return;
    }
    let steps = Cell::new(0);
    home_of("alice", ALICE, &shared(0o777), &|| steps.set(steps.get() + 1)).unwrap();
    for (kind, swap) in SWAPS.iter().enumerate() {
        for swap_at in 1..=steps.get() {
            let host = shared(0o777);
            let homes = host.join("home");
            home_of("bob", BOB, &host, &|| ()).unwrap();
            make(&homes.join("lost+found"), 0o700);
            fs::write(homes.join("lost+found/file"), "root's").unwrap();
            let watched = |at: &str| everything(&host.join(at)).into_values().collect::<Vec<_>>();
            let before = (watched("victim"), watched("home/bob"), watched("home/lost+found"));
            let step = Cell::new(0);
            let made = home_of("alice", ALICE, &host, &|| {
                step.set(step.get() + 1);
                if step.get() == swap_at {
                    for name in names_in(&homes) {
                        if name.as_bytes().starts_with(ASIDE) {
                            swap(&homes, &host, name.to_str().unwrap());
                        }
                    }
                }
            });
            let asides = names_in(&homes)
                .into_iter()
                .filter(|name| name.as_bytes().starts_with(ASIDE));
            for aside in asides {
                let umount = Command::new("umount")
                    .arg("-q")
                    .arg(homes.join(aside))
                    .stderr(Stdio::null())
                    .status();
                drop(umount);
            }
            // Where they are now, by who owns them: Mallory may move them, and this process may have put nothing into them.
            let now_at = |uid: u32, with: &str| {
                let found = names_in(&homes).into_iter().find(|name| {
                    let folder = homes.join(name);
                    folder.join(with).exists() && fs::symlink_metadata(&folder).unwrap().uid() == uid
                });
                format!("home/{}", found.unwrap().to_str().unwrap())
            };
            let after = (
                watched("victim"),
                watched(&now_at(BOB, ".bashrc")),
                watched(&now_at(0, "file")),
            );
            assert!(before == after, "swap {kind} at step {swap_at}: {made:?}");
            if made.is_ok() {
                assert!(is_whole(&homes.join("alice"), ALICE), "swap {kind} at step {swap_at}");
            }
        }
    }
}

// P2 P11
#[test]
fn nothing_is_made_in_a_folder_of_anothers_that_took_the_place_of_roots() {
    if !is_root() {
        return;
    }
    let host = shared(0o777);
    let homes = host.join("home");
    home_of("bob", BOB, &host, &|| ()).unwrap();
    let before: Vec<_> = everything(&homes.join("bob")).into_values().collect();
    let step = Cell::new(0);
    let made = home_of("alice", ALICE, &host, &|| {
        step.set(step.get() + 1);
        let aside = names_in(&homes)
            .into_iter()
            .find(|name| name.as_bytes().starts_with(ASIDE));
        let aside = aside.unwrap();
        // First Mallory's folder for root's, then bob's home for what root made in it.
        if step.get() == 1 {
            SWAPS[2](&homes, &host, aside.to_str().unwrap());
        } else if step.get() == 2 {
            fs::rename(homes.join(&aside).join(&aside), homes.join("made")).unwrap();
            fs::rename(homes.join("bob"), homes.join(&aside).join(&aside)).unwrap();
        }
    });
    assert!(matches!(made, Err(HomeError::Swapped(_))), "{made:?}");
    let after: Vec<_> = everything(&homes.join("bob")).into_values().collect();
    assert!(before == after, "bob's home was taken");
}

/// The home of a user whom IAM has renamed, with a file in it.
fn former(host: &Path, name: &str, uid: u32) {
    let home = host.join("home").join(name);
    make(&home, 0o750);
    fs::write(home.join("diary"), "theirs").unwrap();
    for path in [home.join("diary"), home] {
        chown(path, Some(uid), Some(uid)).unwrap();
    }
}

/// A login of alicia, who had these names before.
fn login_of_alicia(former_names: &[&str], host: &Path) -> Result<Home, HomeError> {
    let workshop = Workshop {
        owner: ROOT,
        dead_after: DEAD_AFTER,
        step: &|| (),
    };
    let former_names: Vec<String> = former_names.iter().map(|name| (*name).to_owned()).collect();
    workshop.provide(&NewHome {
        path: &host.join("home/alicia"),
        uid: ALICE,
        skel: &host.join("skel"),
        umask: 0o077,
        former_names: &former_names,
    })
}

// P2 P11
#[test]
fn a_renamed_user_keeps_their_home_and_nothing_else_of_theirs_is_taken_for_it() {
    if !is_root() {
        return;
    }
    for mode in [0o755, 0o2775, 0o1777] {
        let host = shared(mode);
        let homes = host.join("home");
        for (name, uid) in [("alice", ALICE), ("al", ALICE), ("project", ALICE), ("bob", BOB)] {
            former(&host, name, uid);
        }
        let before = everything(&homes.join("alice")).into_values().collect::<Vec<_>>();
        // Of bob's name, too: the folder is his.
        let moved = login_of_alicia(&["bob", "nobody", "alice", "al"], &host);
        assert!(
            matches!(&moved, Ok(Home::Moved(from)) if *from == homes.join("alice")),
            "{moved:?}"
        );
        assert_eq!(
            everything(&homes.join("alicia")).into_values().collect::<Vec<_>>(),
            before,
            "nothing in it is changed"
        );
        assert!(!fs::exists(homes.join("alice")).unwrap(), "and no link is left");
        for stays in ["al", "project", "bob"] {
            assert!(fs::exists(homes.join(stays).join("diary")).unwrap(), "{stays}");
        }
        assert!(matches!(login_of_alicia(&["al"], &host), Ok(Home::Present)));
    }
    // Whoever was never renamed has a new home, whatever an administrator made for them.
    let host = shared(0o755);
    former(&host, "project", ALICE);
    let made = login_of_alicia(&[], &host);
    assert!(matches!(made, Ok(Home::Made { former: None, .. })), "{made:?}");
    assert!(fs::exists(host.join("home/project/diary")).unwrap());
}

// P2
#[test]
fn a_former_home_to_which_others_may_write_stays_and_nobody_runs_what_is_in_it() {
    if !is_root() {
        return;
    }
    for mode in [0o770, 0o2775, 0o757, 0o1777] {
        let host = shared(0o755);
        former(&host, "alice", ALICE);
        fs::set_permissions(host.join("home/alice"), Permissions::from_mode(mode)).unwrap();
        let made = login_of_alicia(&["alice"], &host);
        let stays = host.join("home/alice");
        assert!(
            matches!(&made, Ok(Home::Made { former: Some(former), .. }) if *former == stays),
            "{mode:o}: {made:?}"
        );
        assert!(!fs::exists(host.join("home/alicia/diary")).unwrap());
    }
}

// P2 P11
#[test]
fn what_is_swapped_while_a_home_is_moved_goes_back_and_is_nobodys_new_home() {
    if !is_root() {
        return;
    }
    for (swap_at, other) in [(1, "bob"), (1, "lost+found"), (2, "bob"), (2, "lost+found")] {
        let host = shared(0o777);
        let homes = host.join("home");
        former(&host, "old", ALICE);
        former(&host, "bob", BOB);
        make(&homes.join("lost+found"), 0o700);
        let step = Cell::new(0);
        let moved = home_of("alice", ALICE, &host, &|| {
            step.set(step.get() + 1);
            if step.get() == swap_at {
                let place = homes.join(if swap_at == 1 { "old" } else { "alice" });
                fs::rename(&place, homes.join("gone")).unwrap();
                fs::rename(homes.join(other), place).unwrap();
            }
        });
        assert!(
            matches!(moved, Err(HomeError::Swapped(_))),
            "{other} at {swap_at}: {moved:?}"
        );
        assert!(!fs::exists(homes.join("alice")).unwrap(), "{other} at {swap_at}");
        let owner = fs::metadata(homes.join("old")).unwrap().uid();
        assert_eq!(owner, if other == "bob" { BOB } else { ROOT }, "it went back");
        assert_eq!(fs::metadata(homes.join("gone")).unwrap().uid(), ALICE);
    }
}

const HOMES: &str = "KEYMAKER_TEST_HOMES";

// P2 P11
#[test]
fn a_process_that_swaps_names_in_a_loop_keeps_people_out_and_no_more() {
    if !is_root() {
        return;
    }
    let host = shared(0o777);
    let homes = host.join("home");
    let victim = everything(&host.join("victim"));
    let hostile: Vec<Child> = (0..2).map(|_| mallory(&homes)).collect();
    let (made, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for (name, uid) in [("alice", ALICE), ("bob", BOB)] {
            let (host, homes, made, refused) = (&host, &homes, &made, &refused);
            scope.spawn(move || {
                for round in 0..100 {
                    match home_of(name, uid, host, &|| ()) {
                        Ok(_) => made.fetch_add(1, Ordering::Relaxed),
                        Err(_) => refused.fetch_add(1, Ordering::Relaxed),
                    };
                    let aside = homes.join(format!("used.{name}.{round}"));
                    let _ = fs::rename(homes.join(name), aside);
                }
            });
        }
    });
    for mut mallory in hostile {
        mallory.kill().unwrap();
        mallory.wait().unwrap();
    }
    println!("{made:?} homes were made, {refused:?} were not");
    assert_eq!(everything(&host.join("victim")), victim);
    // Nothing of Mallory's has become anybody else's, nor has a home parts of two people.
    for name in names_in(&homes) {
        let path = homes.join(&name);
        let owner = fs::symlink_metadata(&path).unwrap().uid();
        if owner == ALICE || owner == BOB {
            assert!(is_whole(&path, owner), "{name:?}");
        } else {
            let inside = everything(&path).into_values();
            let owners: std::collections::BTreeSet<u32> = inside.map(|(owner, ..)| owner).collect();
            assert!(owner == MALLORY || owner == ROOT, "{name:?} is {owner}'s");
            assert!(owner == ROOT || owners == [MALLORY].into(), "{name:?}: {owners:?}");
        }
    }
}

fn mallory(homes: &Path) -> Child {
    // A copy that Mallory may read: the build's folders may be root's alone.
    let own = homes.parent().unwrap().join("mallory");
    if !own.exists() {
        // By another process: what a test beside this one starts would hold the file open for writing, and it could not be run.
        let copied = Command::new("cp")
            .arg(std::env::current_exe().unwrap())
            .arg(&own)
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
    }
    Command::new(own)
        .args(["--exact", "home::tests::shared::swaps_in_a_loop"])
        .env(HOMES, homes)
        .current_dir("/")
        .uid(MALLORY)
        .gid(MALLORY)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The child of the test above, which alone sets its environment.
#[test]
fn swaps_in_a_loop() {
    let Ok(homes) = std::env::var(HOMES) else { return };
    let homes = Path::new(&homes);
    for round in 0_u32.. {
        for entry in fs::read_dir(homes).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let mut aside = OsString::from(format!("moved.{round}."));
            if name.as_bytes().starts_with(b"moved.") || name.as_bytes().starts_with(b"used.") {
                continue;
            }
            aside.push(&name);
            // The names of others' unfinished homes in the place of one another.
            let other = names_in(homes)
                .into_iter()
                .find(|other| other.as_bytes().starts_with(ASIDE) && *other != name);
            let _ = fs::rename(&path, homes.join(&aside));
            match (round % 4, other) {
                (0, Some(other)) => drop(fs::rename(homes.join(other), &path)),
                (1, _) => drop(symlink(homes.join("../victim"), &path)),
                (2, _) => drop(fs::create_dir(&path)),
                _ => drop(fs::rename(homes.join(&aside), &path)),
            }
            let _ = lchown(&path, Some(MALLORY), Some(MALLORY));
        }
    }
}
