//! What this host lacks is no outage of IAM's: no port, no room on the disk. Nobody whom IAM refuses gets in by it.

use std::time::Duration;

use e2e::{Host, Outcome, iam, run, sh, until};

const PORTS: &str = include_str!("../clients/ports.py");
const HOLD: &str = "e2e-ports.service";

/// A local user, eve, holds every port that the kernel would give to somebody who connects.
fn hold_all_ports() {
    std::fs::write("/run/e2e/ports.py", PORTS).expect("/run can be written");
    sh(&format!(
        "useradd -m -s /bin/bash eve; systemd-run -q --collect --unit={HOLD} --uid=eve -p StandardOutput=file:/run/e2e/held \
         python3 /run/e2e/ports.py"
    ));
    until("eve holds all ports", Duration::from_secs(30), || {
        run("grep -q held /run/e2e/held && ! python3 -c 'import socket; socket.socket().connect((\"10.77.0.1\", 5000))'").status == 0
    });
}

/// As somebody from elsewhere: this end has one of the ports that only root may take.
fn ssh_from_port(port: u16, user: &str) -> Outcome {
    run(&format!(
        "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ProxyCommand='nc -p {port} 127.0.0.1 22' {user}@localhost 'echo I am in'"
    ))
}

// P3 P9
#[test]
fn whoever_holds_all_ports_lets_nobody_in_whom_iam_refuses_and_doctor_names_them() {
    let host = Host::with_settings("authz_ttl = 1\nrequire_iam_group = \"prod_ssh_users\"");
    for (port, user) in [(700, "alice"), (701, "bob")] {
        ssh_from_port(port, user).ok();
    }
    iam("remove-user-from-group --user-name bob --group-name prod_ssh_users");
    hold_all_ports();
    let mut got_in = 0;
    for port in 710..722 {
        // It begins again with no connection left.
        if port == 716 {
            sh("systemctl restart keymakerd");
        }
        let bob = ssh_from_port(port, "bob");
        got_in += usize::from(bob.stdout.contains("I am in"));
    }
    assert_eq!(got_in, 0, "bob got in {got_in} times of 12");
    let alice = ssh_from_port(722, "alice");
    println!("figure: with no port free, alice's login ended with {}", alice.status);
    let eve = sh("id -u eve");
    let found = run("keymaker doctor --json").stdout;
    assert!(
        found.contains(&format!("this host has no free ports: eve (uid {eve}) holds")),
        "{found}"
    );
    sh(&run("keymaker doctor --json | jq -r '.findings[] | select(.what | contains(\"no free ports\")).remedy'").ok());
    until("the ports are free again", Duration::from_secs(10), || {
        !run("keymaker doctor --json").stdout.contains("no free ports")
    });
    host.sync();
    let bob = ssh_from_port(730, "bob").refused();
    assert!(
        bob.reads().contains("bob is not in the IAM group prod_ssh_users"),
        "{bob}"
    );
    ssh_from_port(731, "alice").ok();
}
