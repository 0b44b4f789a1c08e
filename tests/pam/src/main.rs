//! Calls the built PAM module through the real libpam, in one scenario a process, on a host of its own; tests/module.rs
//! starts it.
//!
//! usage: pam-harness PAM-MODULE NSS-MODULE SCENARIO        as root
//!
//! The process puts itself into a private mount namespace in which /var/lib, /run, /dev, /home, nsswitch.conf, passwd,
//! group, pam.d and skel are its own, and starts itself again inside, so that glibc finds the NSS module by its name.
//! Nothing of the machine is touched. A scenario that does not hold panics.

mod conversation;
mod published;
mod scenarios;
mod stage;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pam_module, nss_module, scenario] = arguments.as_slice() else {
        eprintln!("usage: pam-harness PAM-MODULE NSS-MODULE SCENARIO");
        std::process::exit(2);
    };
    if !stage::is_entered() {
        stage::enter(pam_module, nss_module, &arguments);
    }
    scenarios::run(scenario);
}
