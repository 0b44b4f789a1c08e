//! Loads the built NSS module under the real glibc, in one scenario a process, on a host of its own; tests/module.rs
//! starts it.
//!
//! usage: nss-harness MODULE SCENARIO [ARGUMENT]
//!
//! The process puts itself into a private mount namespace (as root, or by a user namespace), where /var/lib, /run,
//! nsswitch.conf, passwd and group are its own, and starts itself again inside, so that glibc finds the module by its
//! name. Nothing of the machine is touched. A scenario that does not hold panics; one that does prints what it saw.

mod ask;
mod published;
mod scenarios;
mod stage;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, scenario, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: nss-harness MODULE SCENARIO [ARGUMENT]");
        std::process::exit(2);
    };
    if !stage::is_entered() {
        stage::enter(module, &arguments);
    }
    let argument = rest.first().map_or("", String::as_str);
    scenarios::run(scenario, module, argument);
}
