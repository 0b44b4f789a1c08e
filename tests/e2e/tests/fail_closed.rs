//! Fail closed: whatever is stopped, killed, flushed or deleted, no user gets a byte from the instance's own metadata
//! service.
//!
//! Every cell of the matrix comes from two counts that know nothing of each other: what the user's client got, and what
//! the stand-in recorded. The row without capture shows that each way would lead there.

use e2e::attempts::{Cell, Running, cells, client, show};
use e2e::metadata::{again_and_again, forget, heard_of_users, put_everything_up, take_capture_down};
use e2e::{Host, run, sh};

/// What is done to the host, once or all the time, and whether capture is there to put it right.
struct State {
    name: &'static str,
    once: &'static str,
    again: &'static str,
    stopped: bool,
}

impl State {
    fn bring_about(&self, also: &str) {
        if self.stopped {
            sh("systemctl stop credd-capture");
        }
        sh(&format!("{}\ntrue", self.once));
        if !self.again.is_empty() {
            again_and_again(&format!("{}; {also}", self.again));
        }
    }
}

const fn once(name: &'static str, once: &'static str) -> State {
    State {
        name,
        once,
        again: "",
        stopped: false,
    }
}

const fn again(name: &'static str, again: &'static str) -> State {
    State {
        name,
        once: "",
        again,
        stopped: false,
    }
}

/// Two faults at a time: one half is gone, and nobody puts it right.
const fn both(name: &'static str, once: &'static str) -> State {
    State {
        name,
        once,
        again: "",
        stopped: true,
    }
}

const STATES: &[State] = &[
    once("as installed", ""),
    again("kill -9 of credd", "systemctl kill -s KILL credd"),
    once("credd and its socket stopped", "systemctl stop credd.socket credd"),
    again("restart of credd", "systemctl restart credd"),
    again(
        "upgrade of the package",
        "dpkg -i /sandbox/packages/keymaker-credd_*.deb",
    ),
    once("capture stopped", "systemctl stop credd-capture"),
    again("kill -9 of capture", "systemctl kill -s KILL credd-capture"),
    once("everything stopped", "systemctl stop credd.socket credd credd-capture"),
    again("nft flush ruleset", "nft flush ruleset"),
    again("ip rules deleted", DELETE_RULES),
    again("ip routes deleted", DELETE_ROUTES),
    State {
        name: "networkd reloaded",
        once: "printf '[Match]\\nName=host0\\n[Network]\\nAddress=10.77.0.2/30\\nAddress=fd00:77::2/64\\nGateway=10.77.0.1\\n\
               Gateway=fd00:77::1\\nIPv6AcceptRA=no\\n' > /etc/systemd/network/10-host0.network; systemctl start systemd-networkd",
        again: "networkctl reload; networkctl reconfigure host0; systemctl restart systemd-networkd; sleep 0.3",
        stopped: false,
    },
    both("ip rules deleted, capture stopped", DELETE_RULES),
    both("ip routes deleted, capture stopped", DELETE_ROUTES),
    both("nft flushed, capture stopped", "nft flush ruleset"),
    both("nft flushed, ip rules deleted, capture stopped", NEITHER),
    again(
        "a firewall that begins with a flush, reloaded",
        "printf '#!/usr/sbin/nft -f\nflush ruleset\n' > /etc/nftables.conf; systemctl reload-or-restart nftables",
    ),
];
const NEITHER: &str =
    "nft flush ruleset; for f in -4 -6; do ip $f rule flush; ip $f rule add pref 32766 lookup main; done";
const DELETE_RULES: &str =
    "for f in -4 -6; do for p in {97..101}; do while ip $f rule del pref $p 2>&1; do :; done; done; done";
const DELETE_ROUTES: &str = "for f in -4 -6; do ip $f route flush table 169; done";

fn attempts_of(user: &str, name: &str) -> Vec<Cell> {
    let attempts = client();
    forget();
    cells(&sh(&format!("runuser -u {user} -- {attempts} '{name}' 2.5")))
}

/// A host whose real service gives everything to anybody who asks, with or without a token.
fn tempting() -> Host {
    let host = Host::fresh();
    put_everything_up();
    sh("sandbox-imds set http-tokens optional");
    host
}

// P14
#[test]
fn in_no_state_of_the_host_does_any_way_lead_a_user_to_the_real_service() {
    let _host = tempting();
    take_capture_down();
    let control = attempts_of("alice", "without capture");
    show("without capture", &control);
    for cell in &control {
        // Where the kernel lacks a protocol nothing is shown for it.
        let lacking = cell.error.contains("rotocol not");
        assert!(
            lacking || cell.reached > 0 && cell.recorded > 0,
            "{} is no way",
            cell.way
        );
    }
    put_everything_up();
    let (mut leaks, mut tries) = (vec![], 0);
    for state in STATES {
        state.bring_about("true");
        let cells = attempts_of("alice", state.name);
        let others = heard_of_users().len();
        show(state.name, &cells);
        tries += cells.iter().map(|cell| cell.tries).sum::<u32>();
        leaks.extend(
            cells
                .iter()
                .filter(|cell| cell.is_leak())
                .map(|cell| format!("{}: {}", state.name, cell.way)),
        );
        assert!(
            others == 0 || !leaks.is_empty(),
            "{others} requests of nobody: {:?}",
            heard_of_users()
        );
        run("systemctl stop systemd-networkd.socket systemd-networkd; rm -f /etc/systemd/network/10-host0.network");
        put_everything_up();
    }
    println!(
        "{} states, {} ways, {tries} attempts, {} leaks",
        STATES.len(),
        control.len(),
        leaks.len()
    );
    assert!(leaks.is_empty(), "{leaks:#?}");
}

// P14
#[test]
fn a_connection_from_before_capture_is_dead_when_capture_is_up() {
    let _host = tempting();
    for (name, up) in [("without capture", false), ("with capture", true)] {
        take_capture_down();
        let kept = Running::begin("alice", name, "hold");
        if up {
            sh("systemctl start credd-capture");
        }
        let cells = kept.end();
        show(name, &cells);
        assert_eq!(cells.len(), 2);
        for cell in &cells {
            assert_eq!(cell.is_leak(), !up, "{}: {}", cell.way, cell.words());
        }
    }
    put_everything_up();
}

/// What comes back through a forwarding of sshd, which speaks as the user who logged in.
fn through_ssh(name: &str) -> Vec<(&'static str, String)> {
    let request = format!(
        r"GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\nHost: 169.254.169.254\r\nX-Attempt: {name}\r\n\r\n"
    );
    let direct = run(&format!(
        "printf '{request}' | timeout 5 ssh -o BatchMode=yes -W 169.254.169.254:80 alice@localhost"
    ));
    let direct6 = run(&format!(
        "printf '{request}' | timeout 5 ssh -o BatchMode=yes -W '[fd00:ec2::254]:80' alice@localhost"
    ));
    let listening = run(&format!(
        "ssh -N -o BatchMode=yes -o ExitOnForwardFailure=yes -L 127.0.0.1:8169:169.254.169.254:80 alice@localhost & ssh=$!
         for i in {{1..50}}; do nc -z 127.0.0.1 8169 && break; sleep 0.1; done
         printf '{request}' | timeout 5 nc -N 127.0.0.1 8169; kill $ssh; wait"
    ));
    vec![
        ("-W, IPv4", direct.reads()),
        ("-W, IPv6", direct6.reads()),
        ("-L", listening.reads()),
    ]
}

// P14
#[test]
fn forwarding_by_ssh_leads_to_credd_or_nowhere() {
    let _host = tempting();
    take_capture_down();
    for (way, got) in through_ssh("without capture") {
        assert!(got.contains("sandbox-instance"), "{way} is no way: {got}");
    }
    put_everything_up();
    for (name, line) in [
        ("as installed", ""),
        ("everything stopped", "systemctl stop credd.socket credd credd-capture"),
        (
            "nft flushed, capture stopped",
            "systemctl stop credd-capture; nft flush ruleset",
        ),
    ] {
        sh(&format!("{line}\ntrue"));
        forget();
        for (way, got) in through_ssh(name) {
            let first = got.lines().next().unwrap_or("nothing");
            println!("{name}, {way}: {first}");
            assert!(!got.contains("sandbox-instance"), "{name}, {way}: {got}");
        }
        assert_eq!(heard_of_users(), Vec::<String>::new(), "{name}");
        put_everything_up();
    }
}

/// A network namespace behind a bridge, as containers have it, whose packets leave with the host's address.
const CONTAINER: &str =
    "set -e; ip netns add box; ip link add br0 type bridge; ip link add veth0 type veth peer name eth0 netns box
     ip link set veth0 master br0; ip link set br0 up; ip link set veth0 up
     ip address add 172.17.0.1/16 dev br0; ip address add fd00:17::1/64 dev br0 nodad
     ip -n box address add 172.17.0.2/16 dev eth0; ip -n box address add fd00:17::2/64 dev eth0 nodad
     ip -n box link set lo up; ip -n box link set eth0 up
     ip -n box route add default via 172.17.0.1; ip -n box route add default via fd00:17::1
     sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
const MASQUERADE: &str =
    "nft 'table inet nat { chain out { type nat hook postrouting priority 100; oifname host0 masquerade; }; }'";

// P14
#[test]
fn a_bridged_container_reaches_nothing_as_root_or_as_anybody() {
    let _host = tempting();
    sh(CONTAINER);
    sh(MASQUERADE);
    take_capture_down();
    let attempts = client();
    let in_container = |name: &str, user: &str| {
        forget();
        let printed = sh(&format!(
            "ip netns exec box setpriv --reuid={user} --regid=nogroup --clear-groups {attempts} '{name}' 2 eth0"
        ));
        // A source address of the host is none of the container's.
        let cells: Vec<Cell> = cells(&printed)
            .into_iter()
            .filter(|cell| !cell.way.starts_with("source"))
            .collect();
        show(&format!("{name}, {user}"), &cells);
        cells
    };
    let control = in_container("without capture", "root");
    let is_way = |way: &str| control.iter().any(|cell| cell.way == way && cell.is_leak());
    assert!(is_way("IPv4") && is_way("IPv6"), "the container has no way there");
    put_everything_up();
    let mut leaks = vec![];
    let states = [
        once("as installed", ""),
        once("everything stopped", "systemctl stop credd.socket credd credd-capture"),
        again("ip rules deleted", DELETE_RULES),
        again("nft flush ruleset", "nft flush ruleset"),
        both("ip rules deleted, capture stopped", DELETE_RULES),
        both("nft flushed, capture stopped", "nft flush ruleset"),
    ];
    for state in &states {
        let name = state.name;
        // What masquerades the container's packets is not a guard of ours: it is put back, or they would not leave.
        state.bring_about(MASQUERADE);
        if state.stopped {
            sh(MASQUERADE);
        }
        for user in ["root", "nobody"] {
            let cells = in_container(name, user);
            leaks.extend(
                cells
                    .iter()
                    .filter(|cell| cell.is_leak())
                    .map(|cell| format!("{name}, {user}: {}", cell.way)),
            );
        }
        put_everything_up();
    }
    run(
        "ip netns del box; ip link del br0; nft delete table inet nat; sysctl -q net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0",
    );
    assert!(leaks.is_empty(), "{leaks:#?}");
}
