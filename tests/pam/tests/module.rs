//! The built module with the real libpam: each test starts pam-harness with one scenario, as root.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// Builds a library as a package would have it, and says where it lies.
fn build(manifest: &str, package: &str, file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A target folder of its own: that of the surrounding cargo may be locked.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("built");
    let cargo = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            package,
            "--manifest-path",
        ])
        .arg(root.join(manifest))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .unwrap();
    assert!(cargo.success());
    target.join("release").join(file)
}

fn built(variable: &str, package: &str, file: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| build("Cargo.toml", package, file), PathBuf::from)
}

static PAM_MODULE: LazyLock<PathBuf> =
    LazyLock::new(|| built("KEYMAKER_PAM_MODULE", "pam_keymaker", "libpam_keymaker.so"));
static NSS_MODULE: LazyLock<PathBuf> =
    LazyLock::new(|| built("KEYMAKER_NSS_MODULE", "nss_keymaker", "libnss_keymaker.so"));

fn run(pam_module: &Path, scenario: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pam-harness"))
        .args([pam_module, &NSS_MODULE])
        .arg(scenario)
        .output()
        .unwrap()
}

fn holds(scenario: &str) {
    let output = run(&PAM_MODULE, scenario);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario}: {}\n{errors}", output.status);
    // Code that lives in sshd prints nothing.
    assert_eq!(errors, "", "{scenario}");
}

// P7 P8
#[test]
fn who_is_refused_or_stale_is_denied_by_the_whole_stack_and_reads_why() {
    holds("decisions");
}

// P12
#[test]
fn root_and_local_users_pass_whatever_state_everything_is_in() {
    holds("locals");
}

// P5
#[test]
fn a_hung_daemon_costs_a_login_five_seconds_and_cron_none() {
    holds("hung");
}

#[test]
fn a_silent_program_shows_the_user_nothing() {
    holds("silence");
}

// P8
#[test]
fn a_foreign_key_starts_nothing_and_a_known_one_is_written_down() {
    holds("keys");
}

// P11
#[test]
fn a_home_is_made_as_the_line_says_and_anothers_is_left_alone() {
    holds("homes");
}

// P11
#[test]
fn a_home_that_cannot_be_made_is_not_left_half_made() {
    holds("no-home");
}

/// Of PAM's part: what sshd itself does, and the question to keymakerd, are not in it.
#[test]
fn a_login_costs_what_its_budget_says() {
    let logins = |under: &str, times: u64| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pam-harness"));
        command
            .env("KEYMAKER_HARNESS_UNDER", under)
            .env("KEYMAKER_COUNTED", format!("1 {times}"));
        command.args([&*PAM_MODULE, &*NSS_MODULE]).arg("cost");
        command
    };
    let mut budgets = counted::Budgets::default();
    let calls = |times| counted::system_calls(&mut logins(counted::SYSTEM_CALLS, times));
    budgets.judge("login-pam", "calls", counted::each(5, 15, calls));
    budgets.are_kept();
}

// P12
#[test]
fn a_panic_ignores_local_users_denies_others_and_prints_nothing() {
    let module = build("tests/Cargo.toml", "panicking-pam-module", "libpanicking_pam_module.so");
    let output = run(&module, "panic");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{}\n{errors}",
        output.status
    );
}

#[test]
fn the_file_needs_glibc_and_libpam_alone_and_is_never_unloaded() {
    let output = Command::new("readelf")
        .args(["--dynamic", "--wide"])
        .arg(&*PAM_MODULE)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut needed: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .map(|line| line.split(['[', ']']).nth(1).unwrap())
        // The dynamic loader is glibc's own.
        .filter(|name| !name.starts_with("ld-linux"))
        .collect();
    needed.sort_unstable();
    assert_eq!(needed, ["libc.so.6", "libpam.so.0"]);
    assert!(
        text.lines()
            .any(|line| line.contains("(FLAGS_1)") && line.contains("NODELETE")),
        "{text}"
    );
}

#[test]
fn nothing_but_the_hooks_of_libpam_is_exported() {
    let output = Command::new("nm")
        .args(["--dynamic", "--defined-only", "--format=just-symbols"])
        .arg(&*PAM_MODULE)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    let hooks = [
        "acct_mgmt",
        "authenticate",
        "chauthtok",
        "close_session",
        "open_session",
        "setcred",
    ];
    assert_eq!(names, hooks.map(|hook| format!("pam_sm_{hook}")));
}
