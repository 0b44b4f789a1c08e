//! The built module, under the real glibc: each test starts nss-harness with one scenario.

use std::path::Path;
use std::process::{Command, Output};

#[path = "module/build.rs"]
mod build;
use build::{MODULE, build, cargo_build};

fn run(module: &Path, scenario: &str, argument: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nss-harness"))
        .arg(module)
        .args([scenario, argument])
        .output()
        .unwrap()
}

/// The scenario's output, once it has held.
fn holds(scenario: &str, argument: &str) -> String {
    let output = run(&MODULE, scenario, argument);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{scenario}: {}\n{text}", output.status);
    println!("{text}");
    text
}

#[test]
fn glibc_gets_every_entry_group_and_group_list_right() {
    holds("answers", "");
}

// P4
#[test]
fn no_answer_is_an_earlier_publications() {
    let said = holds("publications", "4000");
    assert!(said.contains("4000 publications"), "{said}");
}

// P5
#[test]
fn every_status_is_honest_and_errno_is_kept() {
    holds("statuses", "");
}

#[test]
fn an_enumeration_begins_by_itself_and_shows_who_was_here() {
    holds("enumeration", "");
}

// P5
#[test]
fn a_hung_daemon_costs_an_unknown_name_the_budget_and_a_known_one_nothing() {
    holds("hung-daemon", "");
}

// P1
#[test]
fn a_local_user_added_later_has_none_of_a_namesakes_groups_with_no_daemon() {
    holds("local-files-changed", "");
}

// P4
#[test]
fn a_million_answers_are_right_under_threads_forks_publications_and_dying_daemons() {
    holds("crowd", "1000000");
}

// P4
#[test]
fn a_lookup_works_in_the_smallest_stack() {
    holds("small-stack", "");
}

// P4
#[test]
fn a_lookup_works_in_an_exit_handler() {
    holds("exit-handler", "");
}

// P4
#[test]
fn a_process_without_descriptors_gets_an_honest_error() {
    holds("no-descriptors", "");
}

// P4
#[test]
fn a_process_that_closes_everything_gets_right_answers_and_no_descriptor() {
    holds("closed-descriptors", "");
}

// P4
#[test]
fn a_process_in_a_jail_gets_an_honest_error_at_once() {
    holds("chroot", "");
}

// P4
#[test]
fn a_process_that_may_not_open_sockets_gets_right_answers() {
    holds("seccomp", "");
}

// P4
#[test]
fn a_panic_is_an_honest_error_and_prints_nothing() {
    let module = build("tests/Cargo.toml", "panicking-nss-module", "libpanicking_nss_module.so");
    let output = run(&module, "panic", "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(
        !errors.contains("a lookup") && !errors.contains("a group") && !errors.contains("an enumeration"),
        "{errors}"
    );
    assert!(
        errors.contains("Box<dyn Any>"),
        "the host's own hook was silenced: {errors}"
    );
}

// P4
#[test]
fn a_hit_allocates_nothing_and_valgrind_finds_nothing() {
    let allocations = |times: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_nss-harness"))
            .env(
                "KEYMAKER_HARNESS_UNDER",
                "valgrind --error-exitcode=9 --leak-check=full",
            )
            .arg(&*MODULE)
            .args(["lookups", times])
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{report}");
        let line = report
            .lines()
            .rfind(|line| line.contains("total heap usage"))
            .expect("a report: is valgrind there?");
        line.split("usage: ")
            .nth(1)
            .unwrap()
            .split(" allocs")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(allocations("1"), allocations("200"));
}

// P4
#[test]
fn address_sanitizer_finds_nothing() {
    // The runtime lies in the executable, which must show it to the module.
    let flags = "-Zsanitizer=address -Clink-arg=-rdynamic";
    let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/asan");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    for (manifest, package) in [("Cargo.toml", "nss_keymaker"), ("tests/Cargo.toml", "nss-harness")] {
        let cargo = cargo_build(manifest, package)
            .args(["--target", &triple, "--target-dir", target])
            // A stable compiler has the sanitizer, too, and takes its flag only so.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", flags)
            .status();
        assert!(cargo.unwrap().success());
    }
    let built = Path::new(target).join(triple).join("release");
    for (scenario, argument) in [
        ("answers", ""),
        ("statuses", ""),
        ("enumeration", ""),
        ("local-files-changed", ""),
        ("crowd", "50000"),
    ] {
        let output = Command::new(built.join("nss-harness"))
            .arg(built.join("libnss_keymaker.so"))
            .args([scenario, argument])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{scenario}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_file_needs_glibc_alone_has_its_name_and_is_never_unloaded() {
    let output = Command::new("readelf")
        .args(["--dynamic", "--wide"])
        .arg(&*MODULE)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let bracketed = |tag: &str| -> Vec<&str> {
        text.lines()
            .filter(|line| line.contains(tag))
            .map(|line| line.split(['[', ']']).nth(1).unwrap())
            .collect()
    };
    // The dynamic loader is glibc's own, and in every process already.
    assert!(
        bracketed("(NEEDED)")
            .iter()
            .all(|name| *name == "libc.so.6" || name.starts_with("ld-linux")),
        "{text}"
    );
    assert_eq!(bracketed("(SONAME)"), ["libnss_keymaker.so.2"]);
    assert!(
        text.lines()
            .any(|line| line.contains("(FLAGS_1)") && line.contains("NODELETE")),
        "{text}"
    );
}

#[test]
fn nothing_but_the_functions_that_glibc_looks_for_is_exported() {
    let output = Command::new("nm")
        .args(["--dynamic", "--defined-only", "--format=just-symbols"])
        .arg(&*MODULE)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    let expected = [
        "endgrent",
        "endpwent",
        "getgrent_r",
        "getgrgid_r",
        "getgrnam_r",
        "getpwent_r",
        "getpwnam_r",
        "getpwuid_r",
        "initgroups_dyn",
        "setgrent",
        "setpwent",
    ];
    assert_eq!(names, expected.map(|name| format!("_nss_keymaker_{name}")));
}
