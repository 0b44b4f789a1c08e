//! What this host lacks is not an outage of IAM's: no port, no room on the disk. Nobody whom IAM refuses gets in by it,
//! and who is allowed does get in where keymakerd has ports of its own.

use std::time::Duration;

use e2e::{Host, Outcome, iam, run, sh, until};

const PORTS: &str = include_str!("../clients/ports.py");
const FROM_PORT: &str = include_str!("../clients/from_port.py");
const HOLD: &str = "e2e-ports.service";
/// Ends well where a connection fails for want of a port, and only there.
const NO_PORT: &str =
    "import errno, socket, sys; sys.exit(socket.socket().connect_ex((\"10.77.0.1\", 5000)) != errno.EADDRNOTAVAIL)";

/// A local user, eve, holds every port that the kernel would give to somebody who connects.
fn hold_all_ports() {
    std::fs::write("/run/e2e/ports.py", PORTS).expect("/run can be written");
    sh(&format!(
        "useradd -m -s /bin/bash eve; systemd-run -q --collect --unit={HOLD} --uid=eve -p StandardOutput=file:/run/e2e/held \
         python3 /run/e2e/ports.py"
    ));
    until("eve holds all ports", Duration::from_secs(60), || {
        run(&format!("grep -q held /run/e2e/held && python3 -c '{NO_PORT}'")).status == 0
    });
}

/// People elsewhere, whose connections come from ports that only root may take here; each from another one.
struct Elsewhere {
    next_port: u16,
}

impl Elsewhere {
    fn ssh(&mut self, user: &str) -> Outcome {
        let port = self.next_port;
        self.next_port += 1;
        let login = run(&format!(
            "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ProxyUseFdpass=yes -o ProxyCommand='python3 /run/e2e/from_port.py {port}' {user}@localhost 'echo I am in'"
        ));
        println!("figure: {user} from {port}: {} after {:?}", login.status, login.took);
        login
    }
}

// P3 P9
#[test]
fn whoever_holds_all_ports_lets_nobody_in_whom_iam_refuses_and_doctor_names_them() {
    let host = Host::with_settings("authz_ttl = 1\nrequire_iam_group = \"prod_ssh_users\"");
    std::fs::write("/run/e2e/from_port.py", FROM_PORT).expect("/run can be written");
    let mut elsewhere = Elsewhere { next_port: 700 };
    elsewhere.ssh("alice").ok();
    elsewhere.ssh("bob").ok();
    iam("remove-user-from-group --user-name bob --group-name prod_ssh_users");
    iam("add-user-to-group --user-name carol --group-name prod_ssh_users");
    // So that it has its own ports, and no connection that it could go on using.
    sh("sandbox-fault down; systemctl restart keymakerd");
    hold_all_ports();
    sh("sandbox-fault none");
    until("carol, who is allowed, logs in", Duration::from_secs(60), || {
        elsewhere.ssh("carol").status == 0
    });
    let mut got_in = 0;
    for attempt in 0..12 {
        // It begins again without ports of its own.
        if attempt == 6 {
            sh("systemctl restart keymakerd");
        }
        let bob = elsewhere.ssh("bob");
        got_in += usize::from(bob.stdout.contains("I am in"));
    }
    assert_eq!(got_in, 0, "bob got in {got_in} times of 12");
    let alice = elsewhere.ssh("alice");
    println!(
        "figure: where keymakerd found no port either, alice's login ended with {}",
        alice.status
    );
    let eve = sh("id -u eve");
    let doctor = run("keymaker doctor --json");
    println!("figure: doctor took {:?}", doctor.took);
    let named = format!("this host has no free ports: eve (uid {eve}) holds");
    assert!(doctor.stdout.contains(&named), "{doctor}");
    sh(&run("keymaker doctor --json | jq -r '.findings[] | select(.what | contains(\"no free ports\")).remedy'").ok());
    until("the ports are free again", Duration::from_secs(30), || {
        !run("keymaker doctor --json").stdout.contains("no free ports")
    });
    host.sync();
    let bob = elsewhere.ssh("bob").refused();
    assert!(
        bob.reads().contains("bob is not in the IAM group prod_ssh_users"),
        "{bob}"
    );
    elsewhere.ssh("alice").ok();
}
