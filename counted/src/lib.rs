//! What work costs, counted and not timed, so that a busy machine changes nothing: instructions and system calls by
//! valgrind, against tests/budgets.txt. For tests; no product code depends on it.

#![expect(clippy::unwrap_used, reason = "a test that cannot count fails")]
#![expect(clippy::panic, reason = "so does one that is over its budget")]
#![expect(clippy::print_stdout, reason = "the figures, which tests show")]

use std::process::Command;

/// Runs a program, whose name follows, and says on stderr how many instructions were executed.
pub const INSTRUCTIONS: &str = "valgrind --tool=callgrind --callgrind-out-file=/dev/null";
/// The same; it says each system call.
pub const SYSTEM_CALLS: &str = "valgrind --tool=none --trace-syscalls=yes";

/// A build of another compiler, and another glibc's memcpy, make this much of a difference.
const TOLERANCE: f64 = 0.02;
const BUDGETS: &str = include_str!("../../tests/budgets.txt");
/// `SIZE TIMES`, for a test that runs once more under valgrind.
const WANTED: &str = "KEYMAKER_COUNTED";

/// What was over its budget so far.
#[derive(Debug, Default)]
pub struct Budgets(Vec<String>);

impl Budgets {
    /// The cost of this kind of work, in `what`, is its budget. One that is no longer near is off, too, unless the
    /// budget says `<`.
    pub fn judge(&mut self, kind: &str, what: &str, cost: f64) {
        let Some(budget) = budget(kind, what) else {
            println!("{kind}: {cost:.1} {what}, no budget");
            self.0.push(format!("{kind}: {cost:.1} {what}, no budget"));
            return;
        };
        let (most, is_bound) = (budget.trim_start_matches('<'), budget.starts_with('<'));
        let most: f64 = most.parse().unwrap();
        let over = (cost - most) / most;
        println!("{kind}: {cost:.1} {what}, budget {budget}");
        let is_off = if is_bound { over > 0.0 } else { over.abs() > TOLERANCE };
        if is_off {
            let percent = over * 100.0;
            self.0.push(format!(
                "{kind}: {cost:.1} {what} are {percent:+.1} % of the budget, {budget}"
            ));
        }
    }

    /// Panics, and says by how much, where anything was off.
    pub fn are_kept(self) {
        let off = self.0.join("\n");
        assert!(
            off.is_empty(),
            "spend less, or write the new figure into tests/budgets.txt:\n{off}"
        );
    }
}

fn budget(kind: &str, what: &str) -> Option<&'static str> {
    let mut lines = BUDGETS.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find_map(|words| match words.as_slice() {
        [of, counted, budget] if *of == kind && *counted == what => Some(*budget),
        _ => None,
    })
}

/// Of which size the work of a test is to be, and how many times it is to be done: what [`this_test`] asks for, or a
/// little where nobody counts.
pub fn wanted() -> (u64, u64) {
    let Ok(wanted) = std::env::var(WANTED) else {
        return (10, 1);
    };
    let (size, times) = wanted.split_once(' ').unwrap();
    (size.parse().unwrap(), times.parse().unwrap())
}

/// Whether this process was started to be counted.
pub fn is_counted() -> bool {
    std::env::var_os(WANTED).is_some()
}

/// The test that calls it, alone in a process of its own, under one of the programs above, with this to do.
pub fn this_test(under: &str, size: u64, times: u64) -> Command {
    let mut words = under.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let thread = std::thread::current();
    command
        .args(words)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", thread.name().unwrap(), "--test-threads=1"])
        .env(WANTED, format!("{size} {times}"));
    command
}

/// What one costs: the difference between many and few, so that what begins and ends a process counts for nothing.
pub fn each(few: u64, many: u64, count: impl Fn(u64) -> u64) -> f64 {
    (count(many) - count(few)) as f64 / (many - few) as f64
}

/// The instructions of a command that runs under [`INSTRUCTIONS`].
pub fn instructions(command: &mut Command) -> u64 {
    let report = report(command);
    let collected = report.lines().rev().find_map(|line| line.split("Collected :").nth(1));
    collected
        .unwrap_or_else(|| panic!("no report of callgrind: {report}"))
        .trim()
        .parse()
        .unwrap()
}

/// The system calls of a command that runs under [`SYSTEM_CALLS`].
pub fn system_calls(command: &mut Command) -> u64 {
    // One that may wait has a second line, for its end.
    let is_call = |line: &&str| line.starts_with("SYSCALL[") && !line.contains(") ... [");
    report(command).lines().filter(is_call).count() as u64
}

fn report(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("is valgrind there? {command:?}: {error}"));
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {report}");
    report
}
