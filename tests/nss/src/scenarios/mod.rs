//! The scenarios by name.

mod answers;
mod benchmark;
mod cost;
mod crowd;
mod publications;
mod states;

/// Runs one; comes back only if what it shows holds.
pub fn run(scenario: &str, module: &str, argument: &str) {
    match scenario {
        "answers" => answers::are_right(),
        "statuses" => answers::have_honest_statuses(),
        "enumeration" => answers::are_enumerated(),
        "local-files-changed" => answers::follow_changed_local_files(),
        "lookups" => answers::repeat(argument.parse().unwrap()),
        "cost-layout" => cost::lay_out(argument),
        "cost-most-groups" => cost::ask_about_most_groups(argument.parse().unwrap()),
        kind if kind.starts_with("cost-") => cost::ask(&kind["cost-".len()..], argument.parse().unwrap()),
        "hung-daemon" => answers::wait_for_a_hung_daemon(),
        "benchmark" => benchmark::compare(module),
        "benchmark-one" => benchmark::measure(argument),
        "crowd" => crowd::asks(module, argument.parse().unwrap()),
        "crowd-on-host" => crowd::asks_on_host(argument.as_ref()),
        "crowd-daemon" => crowd::answer_and_die(argument.parse().unwrap()),
        "publications" => publications::are_seen_at_once(argument.parse().unwrap()),
        "small-stack" => states::small_stack(),
        "exit-handler" => states::exit_handler(),
        "no-descriptors" => states::no_descriptors(),
        "closed-descriptors" => states::closed_descriptors(),
        "chroot" => states::chroot(),
        "seccomp" => states::seccomp(),
        "panic" => states::panic(),
        _ => panic!("no such scenario: {scenario}"),
    }
}

/// How many descriptors this process has open.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Takes `files` out, which needs descriptors and memory of its own; before the first lookup.
fn ask_module_alone() {
    std::fs::write("/etc/nsswitch.conf", "passwd: keymaker\ngroup: keymaker\n").unwrap();
}
