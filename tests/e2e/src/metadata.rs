//! The metadata address as a user of the host meets it: clients that run as somebody, and the record of what reached
//! the stand-in for the real service.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::{run, sh, until};

/// Where every user may run clients.
const CLIENTS: &str = "/run/e2e-clients";
/// The unit that does something again and again.
const FAULT: &str = "e2e-fault.service";

/// Puts a client where every user may run it; its path.
pub fn client(name: &str, text: &str) -> String {
    let path = format!("{CLIENTS}/{name}");
    fs::create_dir_all(CLIENTS).expect("/run can be written");
    fs::write(&path, text).expect("/run can be written");
    for made in [CLIENTS, &path] {
        fs::set_permissions(made, fs::Permissions::from_mode(0o755)).expect("root may do that");
    }
    path
}

/// What reached the stand-in and was sent by none of our daemons, one request a line. The daemons send Host, one header
/// of the protocol and at most a length; every client that a user has sends more than that.
pub fn heard_of_users() -> Vec<String> {
    let daemons = r#"["host", "content-length", "x-aws-ec2-metadata-token", "x-aws-ec2-metadata-token-ttl-seconds"]"#;
    sh(&format!(
        "sandbox-imds log | jq -r 'select(([.headers[][0] | ascii_downcase] - {daemons}) != [])
           | [.method, .path, (.headers | map(select(.[0] == \"X-Attempt\") | .[1]) | first // \"-\")] | @tsv'"
    ))
    .lines()
    .map(str::to_owned)
    .collect()
}

/// The paths that credd had from the stand-in for others, and what the daemons asked for themselves: all that is not a
/// user's.
pub fn heard_of_daemons() -> Vec<String> {
    sh("sandbox-imds log | jq -r 'select([.headers[][0]] | index(\"X-Attempt\") | not) | .path'")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The stand-in's record begins again.
pub fn forget() {
    sh("sandbox-imds clear");
}

/// Nothing is captured: users reach the stand-in, as on a host without credd.
pub fn take_capture_down() {
    sh("systemctl stop credd.socket credd credd-capture && /usr/libexec/keymaker/credd-capture down");
}

/// Everything runs as the package has it, whatever was done to it before.
#[track_caller]
pub fn put_everything_up() {
    run("systemctl stop e2e-fault.service; systemctl reset-failed");
    sh("systemctl start credd.socket credd-capture credd");
    until("capture is up", Duration::from_secs(10), || {
        run("/usr/libexec/keymaker/credd-capture check").status == 0
    });
    until("credd answers", Duration::from_secs(10), || {
        run("runuser -u nobody -- curl -sS -m 2 http://169.254.169.254/")
            .stdout
            .contains("401")
    });
}

/// Does something again and again until [`put_everything_up`].
#[track_caller]
pub fn again_and_again(line: &str) {
    let script = client("fault", &format!("#!/bin/bash\nwhile :; do {line}\nsleep 0.05; done\n"));
    sh(&format!("systemd-run -q --collect --unit={FAULT} {script}"));
}
