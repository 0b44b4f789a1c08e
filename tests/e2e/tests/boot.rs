//! A service that starts before everything else, the network included, and asks for credentials from then on. The host
//! is started four times: the program exits with the status by which ./sandbox starts the host, and the program, again.

use std::fs;
use std::path::Path;
use std::process::exit;
use std::time::Duration;

use e2e::metadata::{forget, heard_of_users};
use e2e::{run, sh, until};

const AGAIN: i32 = 194;
const STATE: &str = "/run/keymaker-credd-capture/state";
const PHASE: &str = "/var/lib/e2e-boot";
const UNIT: &str = "/etc/systemd/system/e2e-early.service";
const CLIENT: &str = "/usr/local/lib/e2e-attempts";
const ATTEMPTS: &str = include_str!("../clients/attempts.py");
const EARLY: &str = "[Unit]\nDefaultDependencies=no\nBefore=credd-capture.service network-pre.target sysinit.target\n\
    [Service]\nUser=nobody\nExecStart=/usr/local/lib/e2e-attempts boot 8\nStandardOutput=file:/run/e2e-early\n\
    [Install]\nWantedBy=sysinit.target\n";

// P14
#[test]
fn a_service_that_starts_before_the_network_reaches_credd_or_nothing() {
    match fs::read_to_string(PHASE).as_deref() {
        Err(_) => {
            fs::write(CLIENT, ATTEMPTS).expect("root may write there");
            fs::write(UNIT, EARLY).expect("root may write there");
            sh(&format!(
                "chmod 755 {CLIENT}; systemctl enable e2e-early; systemctl disable credd; sandbox-imds set http-tokens optional"
            ));
            start_again("without capture");
        }
        Ok("without capture") => {
            let reached = attempts("without capture");
            assert!(reached > 0, "a service that starts early has no way there");
            sh("systemctl enable credd");
            start_again("with capture");
        }
        Ok("with capture") => {
            nothing_was_reached("with capture");
            until("capture is as planned", Duration::from_secs(20), || {
                run(&format!("cat {STATE}")).stdout == "planned\n"
            });
            // A typo, so that no plan can be made at the next start.
            fs::write("/etc/keymaker/credd.toml", "exempt_uids = [\"root\"\n").expect("root may write there");
            start_again("with a typo");
        }
        Ok(_) => {
            nothing_was_reached("with a typo");
            until("credd is told", Duration::from_secs(20), || {
                run(&format!("cat {STATE}")).stdout == "broken\n"
            });
            // root, exempt, is not locked out.
            sh("curl -sS -m 5 -o /dev/null http://169.254.169.254/");
            // It was there before capture was, or nothing is shown.
            let began = |unit: &str| -> u64 {
                let text = sh(&format!("systemctl show -P ExecMainStartTimestampMonotonic {unit}"));
                text.parse().expect("microseconds")
            };
            assert!(began("e2e-early") < began("credd-capture"));
        }
    }
}

fn nothing_was_reached(phase: &str) {
    assert_eq!(attempts(phase), 0);
    assert_eq!(heard_of_users(), Vec::<String>::new());
}

fn start_again(phase: &str) {
    fs::write(PHASE, phase).expect("root may write there");
    forget();
    exit(AGAIN);
}

/// How often the service reached the real service.
fn attempts(phase: &str) -> usize {
    until("the early service has ended", Duration::from_secs(30), || {
        Path::new("/run/e2e-early").exists() && run("systemctl is-active e2e-early").stdout != "active\n"
    });
    let printed = sh("cat /run/e2e-early");
    println!("{phase}: way, tries, answered, reached, the last error\n{printed}");
    let counts = |column: usize| -> usize {
        let of_line = |line: &str| line.split('\t').nth(column).and_then(|text| text.parse::<usize>().ok());
        printed.lines().filter_map(of_line).sum()
    };
    assert!(counts(1) > 20, "it did not try: {printed}");
    counts(3) + heard_of_users().len()
}
