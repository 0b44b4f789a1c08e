//! What a lookup costs, counted and not timed: instructions in the module and system calls of the process, against
//! budgets.txt. Over budget is red, and so is a budget that is no longer near.

use std::path::PathBuf;
use std::process::Command;

#[path = "module/build.rs"]
mod build;

/// A build of another compiler, and another glibc's memcpy, make this much of a difference.
const TOLERANCE: f64 = 0.02;
const FEW: u64 = 100;
const MANY: u64 = 300;

#[test]
fn a_lookup_costs_what_its_budget_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("budgets.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut off = vec![];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [kind, instructions, calls]: [&str; 3] = line.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
        let (few, many) = (count(kind, FEW), count(kind, MANY));
        let each = |of: fn(&Count) -> u64| (of(&many) - of(&few)) as f64 / (MANY - FEW) as f64;
        for (what, budget, cost) in [
            ("instructions", instructions, each(|count| count.instructions)),
            ("system calls", calls, each(|count| count.calls)),
        ] {
            let budget: f64 = budget.parse().unwrap();
            let over = (cost - budget) / budget;
            println!("{kind}: {cost:.1} {what}, budget {budget}");
            if over.abs() > TOLERANCE {
                off.push(format!(
                    "{kind}: {cost:.1} {what} are {:+.1} % of the budget, {budget}",
                    over * 100.0
                ));
            }
        }
    }
    assert!(
        off.is_empty(),
        "spend less, or write the new figure into {}:\n{}",
        path.display(),
        off.join("\n")
    );
}

struct Count {
    instructions: u64,
    calls: u64,
}

fn count(kind: &str, questions: u64) -> Count {
    let run = |under: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_nss-harness"))
            .env("KEYMAKER_HARNESS_UNDER", under)
            .arg(&*build::MODULE)
            .args([&format!("cost-{kind}"), &questions.to_string()])
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{report}");
        report
    };
    let collected = run("valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect=_nss_keymaker_*");
    let instructions = collected
        .lines()
        .rev()
        .find_map(|line| line.split("Collected :").nth(1));
    let traced = run("valgrind --tool=none --trace-syscalls=yes");
    Count {
        instructions: instructions
            .expect("a report: is valgrind there?")
            .trim()
            .parse()
            .unwrap(),
        // One that may wait has a second line, for its end.
        calls: traced
            .lines()
            .filter(|line| line.starts_with("SYSCALL[") && !line.contains(") ... ["))
            .count() as u64,
    }
}
