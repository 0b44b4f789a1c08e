//! Histories of an IAM that changes between two calls of the daemons: names swapped, people and groups deleted and
//! created again, memberships and keys taken away at the call that a seed draws. The fake AWS makes the changes,
//! clients/histories.py asks and looks, sixty histories, and with `./check --long` a thousand in each of two ways.
//! keymakerd's own model (fuzz/histories) tries very many more of them in process.

use std::process::Command;

use e2e::{Host, is_long, journal};

const CLIENT: &str = "/sandbox/project/tests/e2e/clients/histories.py";
/// Old enough to be asked about again: each question is put to IAM.
const SETTINGS: &str = "authz_ttl = 1\nsync_interval = 3600\ntags = [\"gecos\"]\n";
/// How many of sixty histories' changes come to pass at least: on a slow machine a question may end before its
/// later calls.
const FEWEST_CHANGES: u32 = 30;

/// Tries so many histories at once, in so many rounds, and says what was tried.
#[track_caller]
fn try_histories(settings: &str, grade: &str, first: u32, further: &[&str]) {
    let (batches, histories, rounds) = if is_long() { (10, "100", "6") } else { (1, "60", "2") };
    for first in (0..batches).map(|batch| first + batch * 1000) {
        // The client starts keymakerd, once the fake AWS has its people.
        let host = Host::unstarted();
        host.add_settings(&format!("{SETTINGS}{settings}"));
        let tried = Command::new("timeout")
            .args(["3000", "python3", CLIENT])
            .args([&first.to_string(), histories, rounds, grade])
            .args(further)
            .output()
            .expect("timeout(1) runs");
        let printed = String::from_utf8_lossy(&tried.stdout);
        println!("{printed}");
        let said = String::from_utf8_lossy(&tried.stderr);
        assert!(tried.status.success(), "{printed}{said}{}", journal("-u keymakerd"));
        let changes = printed.lines().filter(|line| line.contains(" Change:"));
        let changes: u32 = changes
            .filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok())
            .sum();
        assert!(changes >= FEWEST_CHANGES, "only {changes} changes happened\n{printed}");
    }
}

// P2 P3 P9
#[test]
fn whatever_changes_between_two_calls_nobody_gets_what_is_another_ids_or_was_taken_from_them() {
    try_histories("", "2", 1, &[]);
}

// P2 P3 P9
#[test]
fn nor_where_a_group_is_required_and_one_call_tells_everything() {
    try_histories("grade = 1\nrequire_iam_group = \"required\"", "1", 101, &["required"]);
}
