//! Real firewalls around capture, and what takes rules and routes away: while they are started, reloaded, flushed and
//! stopped no user reaches the real service, and afterwards capture is alive, with users' credentials and root's way.
//!
//! The cells are generated: each firewall, each thing that happens to it, each way of capture, with credd-capture and
//! without it. What a user tries meanwhile, by every way and both families, counts twice: what came back, and what the
//! stand-in recorded.

use std::fs;
use std::time::{Duration, Instant};

use e2e::attempts::{Cell, Running, show};
use e2e::metadata::{client, put_everything_up, take_capture_down};
use e2e::{Host, is_long, run, sh, until};

const SETTINGS: &str = "/etc/keymaker/credd.toml";

/// What an administrator has, and does with it; `$rules` is clients/dockers-rules.
struct Firewall {
    name: &'static str,
    prepare: &'static [&'static str],
    start: &'static str,
    reload: &'static str,
    flush: &'static str,
    stop: &'static str,
    /// The short form has another of its kind.
    is_for_long: bool,
}

const FIREWALLS: &[Firewall] = &[
    Firewall {
        name: "firewalld",
        prepare: &["sed -i 's/^FirewallBackend=.*/FirewallBackend=nftables/' /etc/firewalld/firewalld.conf"],
        start: "systemctl start firewalld",
        reload: "firewall-cmd -q --reload",
        flush: "nft flush ruleset",
        stop: "systemctl stop firewalld",
        is_for_long: false,
    },
    Firewall {
        name: "ufw",
        prepare: &["ufw allow ssh"],
        start: "ufw --force enable",
        reload: "ufw reload",
        flush: "$rules nft flush",
        stop: "ufw disable",
        is_for_long: false,
    },
    Firewall {
        name: "docker's rules",
        prepare: &[DOCKERS_BRIDGE],
        start: "$rules nft load",
        reload: "$rules nft load",
        flush: "nft flush ruleset",
        stop: "$rules nft flush",
        is_for_long: false,
    },
    // Two of the three parts of capture at once.
    Firewall {
        name: "nftables.service, and rules and routes taken away",
        prepare: &[NFTABLES_FILE],
        start: "systemctl start nftables",
        reload: "systemctl reload nftables",
        flush: RULES_AND_TABLES_FLUSHED,
        stop: "systemctl stop nftables",
        is_for_long: false,
    },
    Firewall {
        name: "systemd-networkd",
        prepare: &[NETWORKS_FILE],
        start: "systemctl start systemd-networkd",
        reload: "networkctl reload; networkctl reconfigure host0",
        flush: RULES_FLUSHED,
        stop: "systemctl stop systemd-networkd.socket systemd-networkd",
        is_for_long: true,
    },
    Firewall {
        name: "firewalld, complete reload",
        prepare: &["sed -i 's/^FirewallBackend=.*/FirewallBackend=nftables/' /etc/firewalld/firewalld.conf"],
        start: "systemctl start firewalld",
        reload: "firewall-cmd -q --complete-reload",
        flush: "systemctl kill -s KILL firewalld; nft flush ruleset",
        stop: "systemctl stop firewalld",
        is_for_long: true,
    },
    Firewall {
        name: "firewalld, by iptables",
        prepare: &["sed -i 's/^FirewallBackend=.*/FirewallBackend=iptables/' /etc/firewalld/firewalld.conf"],
        start: "systemctl start firewalld",
        reload: "firewall-cmd -q --reload",
        flush: "$rules nft flush",
        stop: "systemctl stop firewalld",
        is_for_long: true,
    },
    Firewall {
        name: "docker's rules, by iptables-legacy",
        prepare: &[DOCKERS_BRIDGE],
        start: "$rules legacy load",
        reload: "$rules legacy load",
        flush: "$rules legacy flush",
        stop: "$rules legacy flush",
        is_for_long: true,
    },
];

const NFTABLES_FILE: &str = "cp /usr/share/doc/nftables/examples/workstation.nft /etc/nftables.conf";
const DOCKERS_BRIDGE: &str =
    "ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up";
const NETWORKS_FILE: &str = "printf '[Match]\\nName=host0\\n[Network]\\nAddress=10.77.0.2/30\\nAddress=fd00:77::2/64\\n\
                             Gateway=10.77.0.1\\nGateway=fd00:77::1\\nIPv6AcceptRA=no\\n' > /etc/systemd/network/10-host0.network";
/// What networkd does to rules and routes that it did not make, where it is not told to leave them.
const RULES_FLUSHED: &str = "for f in -4 -6; do ip $f rule flush; ip $f rule add pref 32766 lookup main; ip $f route flush table 169; done; true";
const RULES_AND_TABLES_FLUSHED: &str = "nft flush ruleset
     for f in -4 -6; do ip $f rule flush; ip $f rule add pref 32766 lookup main; ip $f route flush table 169; done; true";
const CLEAN_UP: &str = "rm -f /etc/systemd/network/10-host0.network
     ip link del docker0; systemctl reset-failed; nft flush ruleset";

impl Firewall {
    /// What happens to it, one after the other.
    fn life(&self) -> [(&'static str, &'static str); 4] {
        [
            ("reloaded", self.reload),
            ("flushed", self.flush),
            ("stopped", self.stop),
            ("started", self.start),
        ]
    }
}

#[derive(Clone, Copy, Debug)]
enum WayOfCapture {
    Routes,
    Nft,
}

impl WayOfCapture {
    const ALL: [Self; 2] = [Self::Routes, Self::Nft];

    /// As credd.toml(5) tells an administrator; the caller starts everything.
    fn set(self, packaged: &str) {
        let drop_in = "/etc/systemd/system/credd.socket.d/way.conf";
        run(&format!("mkdir -p $(dirname {drop_in}); rm -f {drop_in}"));
        let words = match self {
            Self::Routes => "",
            Self::Nft => {
                let socket = "[Socket]\nListenStream=\nListenStream=127.0.0.1:988\nListenStream=[::1]:988\n";
                fs::write(drop_in, socket).expect("root may do that");
                "capture = \"nft\"\n"
            }
        };
        fs::write(SETTINGS, format!("{words}{packaged}")).expect("the settings can be written");
        sh("systemctl daemon-reload");
    }
}

/// All that was counted.
#[derive(Default)]
struct Tally {
    cells: u32,
    attempts: u32,
    leaks: Vec<String>,
}

// P14
#[test]
fn whatever_a_firewall_does_no_user_reaches_the_real_service_and_capture_is_alive_afterwards() {
    let _host = Host::fresh();
    sh("sandbox-imds set http-tokens optional");
    let rules = client("dockers-rules", include_str!("../clients/dockers-rules"));
    let whose = client("whose.sh", include_str!("../clients/whose.sh"));
    let packaged = fs::read_to_string(SETTINGS).expect("the settings are there");
    let do_it = |line: &str| sh(&format!("rules={rules}\n{line}"));
    let mut tally = Tally::default();
    let chosen = FIREWALLS.iter().filter(|firewall| is_long() || !firewall.is_for_long);
    for (number, firewall) in chosen.enumerate() {
        take_capture_down();
        do_it(&format!("{}\n{}", firewall.prepare.join("\n"), firewall.start));
        without_capture_each_way_leads_there(firewall);
        // The short form takes one way with each firewall, and the other with the next; and likewise for the keeper.
        let rounds = if is_long() { 4 } else { 1 };
        for round in 0..rounds {
            let way = WayOfCapture::ALL[(number + round / 2) % 2];
            take_capture_down();
            way.set(&packaged);
            put_everything_up();
            for (index, (what, line)) in firewall.life().into_iter().enumerate() {
                let is_kept = (number / 2 + index + round) % 2 == 1;
                let keeper = if is_kept { "kept" } else { "not kept" };
                let name = format!("{} {what}, {way:?}, {keeper}", firewall.name);
                if !is_kept {
                    sh("systemctl stop credd-capture");
                }
                let trying = Running::begin("alice", &name, "meanwhile");
                do_it(line);
                let cells = trying.end();
                show(&name, &cells);
                tally.cells += 1;
                tally.attempts += cells.iter().map(|cell| cell.tries).sum::<u32>();
                let leaks = cells.iter().filter(|cell| cell.is_leak());
                tally.leaks.extend(leaks.map(|cell| format!("{name}: {}", cell.way)));
                put_everything_up();
                everybody_has_their_own(&whose, &name);
            }
        }
        do_it(firewall.stop);
        run(CLEAN_UP);
    }
    take_capture_down();
    WayOfCapture::Routes.set(&packaged);
    put_everything_up();
    let Tally { cells, attempts, leaks } = tally;
    println!("{cells} cells, {attempts} attempts, {} leaks", leaks.len());
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// Or its cells would be green whatever capture did.
fn without_capture_each_way_leads_there(firewall: &Firewall) {
    let mut shut = vec![];
    until(
        &format!("{}: without capture each way leads there", firewall.name),
        Duration::from_secs(30),
        || {
            let cells = Running::begin("alice", "without capture", "meanwhile").end();
            // Where the kernel lacks a protocol nothing is shown for it.
            let is_shut = |cell: &&Cell| !cell.is_leak() && !cell.error.contains("rotocol not");
            shut = cells.iter().filter(is_shut).map(|cell| cell.way.clone()).collect();
            shut.is_empty()
        },
    );
}

/// By both families.
fn everybody_has_their_own(whose: &str, name: &str) {
    for (user, role) in [("alice", "user-alice"), ("root", "sandbox-instance")] {
        let mut said = String::new();
        let mut has = || {
            said = sh(&format!("runuser -u {user} -- {whose}"));
            said == format!("{role}\n{role}")
        };
        let began = Instant::now();
        while !has() {
            assert!(began.elapsed() < Duration::from_secs(30), "{name}: {user} has {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
