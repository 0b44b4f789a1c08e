//! What a lookup, a directory and sshd's lines cost, against tests/budgets.txt: optimized, as they are shipped.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use counted::{Budgets, INSTRUCTIONS, SYSTEM_CALLS, each};
use keymaker_core::directory_file::{DirectoryBuilder, Header, NewUser, Verdict};
use keymaker_core::id::{IdRange, Uid};
use keymaker_core::keys_file::{KeysBuilder, PublishedKey, UserKeys};
use keymaker_core::name::UserName;
use keymaker_core::published_file::writer::replace_published;
use keymaker_core::sys::ResolvedUser;
use keymaker_keys::authorized_keys::{self, KeysHost};
use test_folder::TestFolder;

#[path = "module/build.rs"]
mod build;

const LOOKUPS: [&str; 10] = [
    "name",
    "name-again",
    "uid",
    "uid-again",
    "nobody",
    "group",
    "group-again",
    "team",
    "groups",
    "most-groups",
];

#[test]
fn a_lookup_costs_what_its_budget_says() {
    let mut budgets = Budgets::default();
    for kind in LOOKUPS {
        let ask = |under: &str, questions: u64| harness(under, &format!("cost-{kind}"), &questions.to_string());
        let module_alone = format!("{INSTRUCTIONS} --toggle-collect=_nss_keymaker_*");
        let instructions = |questions| counted::instructions(&mut ask(&module_alone, questions));
        budgets.judge(kind, "instructions", each(100, 300, instructions));
        let calls = |questions| counted::system_calls(&mut ask(SYSTEM_CALLS, questions));
        budgets.judge(kind, "calls", each(100, 300, calls));
    }
    budgets.are_kept();
}

#[test]
fn a_directory_of_five_thousand_costs_what_its_budget_says() {
    let mut budgets = Budgets::default();
    let lay_out =
        |times: u64| counted::instructions(&mut harness(INSTRUCTIONS, "cost-layout", &format!("{times} 5000")));
    budgets.judge("layout-5000", "instructions", each(1, 3, lay_out));
    budgets.are_kept();
}

fn harness(under: &str, scenario: &str, argument: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nss-harness"));
    command
        .env("KEYMAKER_HARNESS_UNDER", under)
        .arg(&*build::MODULE)
        .args([scenario, argument]);
    command
}

/// From the files as keymakerd leaves them to the lines that sshd reads; without the question to keymakerd.
#[test]
fn the_lines_for_sshd_cost_what_their_budget_says() {
    if counted::is_counted() {
        return show_keys(counted::wanted().1);
    }
    let mut budgets = Budgets::default();
    let instructions = |times| counted::instructions(&mut counted::this_test(INSTRUCTIONS, 1, times));
    budgets.judge("keys-line", "instructions", each(100, 300, instructions));
    let calls = |times| counted::system_calls(&mut counted::this_test(SYSTEM_CALLS, 1, times));
    budgets.judge("keys-line", "calls", each(100, 300, calls));
    budgets.are_kept();
}

const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";
const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";

fn show_keys(times: u64) {
    let (folder, name, uid) = (
        TestFolder::new(),
        UserName::parse(b"alice").unwrap(),
        Uid::new(1_900_000_001).unwrap(),
    );
    publish_alice(&folder, name, uid);
    let [passwd, group] = [("passwd", "root:x:0:0::/root:/bin/sh\n"), ("group", "root:x:0:\n")]
        .map(|(file, text)| folder.file(file, text));
    let host = KeysHost {
        passwd: &passwd,
        group: &group,
        directory: &folder.join("directory"),
        keys: &folder.join("keys"),
        contact: &folder.file("contact", ""),
        login_socket: Path::new("/nowhere"),
        resolve: &|_| {
            Ok(Some(ResolvedUser {
                uid: uid.get(),
                gid: uid.get(),
            }))
        },
    };
    let now = SystemTime::now();
    for _ in 0..times {
        let shown = authorized_keys::lines(name, uid.get(), &host, now).unwrap();
        assert_eq!(shown.lines.trim_end(), LINE);
    }
}

fn publish_alice(folder: &Path, name: UserName, uid: Uid) {
    let mut header = Header {
        account: "123456789012",
        max_stale: 86_400,
        settings_unread: false,
        ..Header::NOTHING
    };
    header.ranges[0] = IdRange::WIDE;
    let mut directory = DirectoryBuilder::new(&header);
    let alice = NewUser {
        name,
        uid,
        answered_at: 0,
        verdict: Verdict::Allowed,
        tombstone: false,
        seen_here: true,
        ended: false,
        gecos: "",
        home: "/nowhere/alice",
        shell: "/bin/bash",
        iam_user_id: "AIDAALICE",
        iam_user_name: "alice",
        proofs_from: None,
        groups: &[],
        former_names: &[],
    };
    directory.user(&alice).unwrap();
    let mut keys = KeysBuilder::new("123456789012", "");
    let seconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    keys.user(&UserKeys {
        name,
        uid,
        iam_user_id: "AIDAALICE".to_owned(),
        answered_at: seconds,
        keys: vec![PublishedKey {
            id: "APKA1".to_owned(),
            line: LINE.to_owned(),
            fingerprint: FINGERPRINT.to_owned(),
        }],
    })
    .unwrap();
    replace_published(&folder.join("directory"), &directory.build(1).unwrap(), 0o644).unwrap();
    replace_published(&folder.join("keys"), &keys.build(1).unwrap(), 0o644).unwrap();
}
