//! keymakerd as a service of the host: how systemd starts, confines and watches it, its settings file, and local users
//! who try to keep it busy.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use counted::Budgets;
use e2e::{Host, NOISE, Outcome, delete_user, journal, make_user, run, sh, ssh, uid, until};

fn show(property: &str) -> String {
    sh(&format!("systemctl show -p {property} --value keymakerd"))
}

#[test]
fn an_instance_that_was_given_another_role_is_shown_with_both_until_a_sync() {
    let host = Host::fresh();
    sh("i='sandbox-admin aws iam'
        $i create-role --role-name other --assume-role-policy-document \"$($i get-role --role-name sandbox-instance --query Role.AssumeRolePolicyDocument)\"
        p=$($i list-role-policies --role-name sandbox-instance --query 'PolicyNames[0]' --output text)
        $i put-role-policy --role-name other --policy-name $p \\
          --policy-document \"$($i get-role-policy --role-name sandbox-instance --policy-name $p --query PolicyDocument)\"");
    host.sync();
    sh("sandbox-imds set role other");
    let status = sh("keymaker status");
    assert!(
        status.contains("with role sandbox-instance; it has the role other by now: keymaker sync"),
        "{status}"
    );
    // keymakerd looks every few seconds; whoever does not wait for that has it look now.
    host.sync();
    let status = sh("keymaker status");
    assert!(status.contains("with role other\n"), "{status}");
    sh("sandbox-imds set role sandbox-instance");
}

#[test]
fn the_daemon_has_no_capability_and_is_confined_to_an_exposure_of_1_5_at_most() {
    let _host = Host::fresh();
    let analysis = sh("systemd-analyze security --no-pager keymakerd.service | tail -n1");
    let exposure = analysis
        .split_whitespace()
        .find_map(|word| word.parse::<f64>().ok())
        .expect("systemd-analyze prints a figure");
    println!("figure: exposure {exposure}");
    assert!(exposure <= 1.5, "{analysis}");
    let status = fs::read_to_string(format!("/proc/{}/status", show("MainPID"))).expect("keymakerd runs");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    assert!(
        status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"),
        "{status}"
    );
    let keymakerd = sh("id -u keymakerd");
    assert!(
        status.contains(&format!("Uid:\t{keymakerd}\t{keymakerd}\t{keymakerd}\t{keymakerd}")),
        "{status}"
    );
}

/// How often threads of a unit's program have waited so far: each time something woke them.
fn waits(unit: &str) -> u64 {
    let threads = sh(&format!(
        "cat /proc/$(systemctl show -p MainPID --value {unit})/task/*/status"
    ));
    let waits = threads
        .lines()
        .filter_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    waits.map(|waits| waits.trim().parse::<u64>().expect("a number")).sum()
}

/// What has gone over the host's cables so far.
fn bytes() -> u64 {
    sh("awk '!/lo:|[|]/ {sum += $2 + $10} END {print sum}' /proc/net/dev")
        .parse()
        .expect("a number")
}

#[test]
fn a_pass_and_an_idle_minute_cost_what_their_budgets_say() {
    let host = Host::fresh();
    host.sync();
    let mut budgets = Budgets::default();
    let before = bytes();
    host.sync();
    budgets.judge("pass", "bytes", (bytes() - before) as f64);
    // Of three spans: what happens every few minutes is in one of them at most.
    let units = ["keymakerd", "credd", "credd-capture"];
    let mut seldom = [u64::MAX; 3];
    for _ in 0..3 {
        let (before, began) = (units.map(waits), Instant::now());
        until("ten seconds have passed", Duration::from_secs(60), || {
            began.elapsed() > Duration::from_secs(10)
        });
        for ((seldom, unit), before) in seldom.iter_mut().zip(units).zip(before) {
            let a_minute = (waits(unit) - before) as f64 * 60.0 / began.elapsed().as_secs_f64();
            *seldom = (*seldom).min(a_minute.round() as u64);
        }
    }
    for (unit, seldom) in units.into_iter().zip(seldom) {
        budgets.judge(unit, "wakeups", seldom as f64);
    }
    budgets.are_kept();
}

/// Nothing that leaves the host is answered, or refused.
struct NoNetwork;

impl NoNetwork {
    fn begin() -> Self {
        sh(
            "nft 'add table inet e2e; add chain inet e2e out { type filter hook output priority 0; }; add rule inet e2e out oifname != lo drop'",
        );
        Self
    }
}

impl Drop for NoNetwork {
    fn drop(&mut self) {
        run("nft delete table inet e2e");
    }
}

// P3
#[test]
fn it_is_ready_at_once_without_a_network_and_known_users_log_in() {
    let host = Host::fresh();
    ssh("alice", "true").ok();
    let before = sh("getent passwd alice; id alice");
    sh("systemctl stop keymakerd");
    let no_network = NoNetwork::begin();
    let start = run("systemctl start keymakerd");
    println!("figure: ready without a network after {:?}", start.took);
    assert!(start.took < Duration::from_secs(2), "{start}");
    start.ok();
    assert_eq!(
        (show("ActiveState").as_str(), show("Type").as_str()),
        ("active", "notify")
    );
    assert_eq!(sh("getent passwd alice; id alice"), before);
    ssh("alice", "true").ok();
    // A first boot without a network: ready too, once a first pass could have ended, and nobody of ours gets in.
    sh("systemctl stop keymakerd; rm -rf /var/lib/keymaker/*");
    let start = run("systemctl start keymakerd");
    assert!(start.status == 0 && start.took < Duration::from_secs(7), "{start}");
    ssh("alice", "true").refused();
    drop(no_network);
    host.await_contact();
    ssh("alice", "true").ok();
}

#[test]
fn sshd_waits_for_it_at_boot_and_it_waits_for_no_network() {
    let _host = Host::fresh();
    let before = show("Before");
    for unit in ["ssh.service", "nss-user-lookup.target", "systemd-user-sessions.service"] {
        assert!(before.contains(unit), "{before}");
    }
    let after = show("After");
    assert!(!after.contains("network"), "{after}");
    assert_eq!(sh("systemctl is-enabled keymakerd"), "enabled");
}

/// A drop-in for the unit, removed again.
struct DropIn;

impl DropIn {
    fn with(settings: &str) -> Self {
        let folder = "/run/systemd/system/keymakerd.service.d";
        sh(&format!("mkdir -p {folder}"));
        fs::write(format!("{folder}/e2e.conf"), format!("[Service]\n{settings}\n")).expect("/run can be written");
        sh("systemctl daemon-reload; systemctl restart keymakerd");
        Self
    }
}

impl Drop for DropIn {
    fn drop(&mut self) {
        run("rm -r /run/systemd/system/keymakerd.service.d; systemctl daemon-reload; systemctl restart keymakerd");
    }
}

#[test]
fn a_daemon_that_hangs_is_killed_by_the_watchdog_and_started_again() {
    let _host = Host::fresh();
    assert_eq!(show("WatchdogUSec"), "30s");
    let _drop_in = DropIn::with("WatchdogSec=2\nRestartSec=100ms");
    let hung = show("MainPID");
    sh(&format!("kill -STOP {hung}"));
    until("another keymakerd runs", Duration::from_secs(20), || {
        let pid = show("MainPID");
        show("ActiveState") == "active" && pid != "0" && pid != hung
    });
    ssh("alice", "true").ok();
    // One that works is left alone.
    let pid = show("MainPID");
    let journal = || journal("-u keymakerd").matches("atchdog").count();
    let before = journal();
    let began = std::time::Instant::now();
    until("the watchdog would have struck", Duration::from_secs(8), || {
        began.elapsed() > Duration::from_secs(5)
    });
    assert_eq!((show("MainPID"), journal()), (pid, before));
}

#[test]
fn a_restart_and_a_kill_keep_ids_names_groups_and_who_was() {
    let host = Host::fresh();
    ssh("alice", "true").ok();
    let carol = uid("carol");
    delete_user("carol");
    host.sync();
    let all = || {
        sh(&format!(
            "getent passwd alice bob; getent group devs; id alice; id bob; keymaker who-was {carol}; sha256sum /var/lib/keymaker/public/*"
        ))
    };
    let before = all();
    assert!(
        before.contains(&format!("uid {carol} was, and no longer is on this host carol")),
        "{before}"
    );
    for end in [
        "systemctl restart keymakerd",
        "systemctl kill -s KILL keymakerd; systemctl restart keymakerd",
    ] {
        sh(end);
        assert_eq!(all(), before, "{end}");
        until("it reaches IAM", Duration::from_secs(10), || {
            run("keymaker sync").status == 0
        });
        assert_eq!(all(), before, "{end}, and a pass");
    }
}

// P2
#[test]
fn a_second_daemon_started_by_hand_ends_before_it_touches_anything() {
    let _host = Host::fresh();
    let seen = || sh("stat -c '%n %i %U %a' /run/keymaker/*.sock; stat -c '%n %U %a' /var/lib/keymaker/*/*");
    let before = seen();
    for (by, why) in [
        ("", "systemctl start keymakerd"),
        (
            "runuser -u keymakerd -- ",
            "another keymakerd is using /var/lib/keymaker/private",
        ),
    ] {
        let refused = run(&format!("{by}timeout 10 keymakerd")).refused();
        assert!(refused.stderr.contains(why), "{refused}");
        assert_eq!(seen(), before);
    }
    ssh("alice", "true").ok();
}

const SETTINGS: &str = "/run/e2e/keymakerd.toml";

fn check(content: &str) -> Outcome {
    fs::write(SETTINGS, content).expect("/run can be written");
    run(&format!("keymakerd --config {SETTINGS} --check"))
}

#[test]
fn an_error_in_the_settings_names_file_line_and_remedy() {
    let _host = Host::fresh();
    for (line, remedy) in [
        ("authz_tll = 60", "did you mean authz_ttl?"),
        ("frobnicate = true", "keymakerd.toml(5)"),
        ("authz_ttl = \"60\"", "it takes"),
        ("authz_ttl = 0", "it takes"),
        ("max_stale = 10", "it takes"),
        ("id_scheme = \"wild\"", "it takes"),
        ("id_range = [500, 5000]", "it takes"),
        ("id_range = [3000, 3010]", "it takes"),
        ("tags = [\"uid\"]", "tag_uid_range"),
        ("tags = [\"colour\"]", "it takes"),
        ("grade = 4", "it takes"),
        ("local_groups = [\"a:b\"]", "it takes"),
        ("group_ids = { devs = 0 }", "it takes"),
        ("require_iam_group = \"a/b\"", "it takes"),
        ("default_shell = \"bash\"", "it takes"),
        ("home_base = \"/home/\"", "it takes"),
        ("user_path_prefix = \"staff\"", "it takes"),
        ("id_resolver_account = \"12\"", "it takes"),
        ("id_resolver_account = \"210987654321\"", "id_resolver_iam_role"),
        ("iam_endpoint = \"iam.example.com\"", "https://host[:port]"),
        ("prefetch_keys = \"some\"", "it takes"),
        ("max_stale = ", "TOML"),
        ("authz_ttl = 60\nauthz_ttl = 61", "TOML"),
    ] {
        let checked = check(&format!("# what our hosts do\n\n{line}\n")).refused();
        let said = &checked.stderr;
        let number = if line.contains('\n') { 4 } else { 3 };
        assert!(said.contains(&format!("{SETTINGS}:{number}: ")), "{line}: {checked}");
        assert!(said.contains(remedy), "{line}: {checked}");
        assert_eq!(said.lines().count(), 1, "{line}: {checked}");
    }
    let unreadable = run("keymakerd --config /etc --check").refused();
    assert!(unreadable.stderr.contains("/etc cannot be read"), "{unreadable}");
    // What is printed is a settings file that says the same.
    check("max_stale = 7200\ntags = [\"gecos\"]\n").ok();
    let printed = sh(&format!("keymakerd --config {SETTINGS} --print-config"));
    assert!(
        printed.contains("max_stale = 7200") && printed.contains("authz_ttl = 60"),
        "{printed}"
    );
    check(&printed).ok();
    assert_eq!(sh(&format!("keymakerd --config {SETTINGS} --print-config")), printed);
}

#[test]
fn a_reload_takes_good_settings_and_leaves_everything_as_it_was_for_bad_ones() {
    let host = Host::fresh();
    let pid = show("MainPID");
    host.add_settings("default_shell = \"/bin/sh\"");
    host.reload();
    assert!(sh("getent passwd alice").ends_with(":/bin/sh"));
    host.add_settings("max_stale = \"a while\"");
    run("systemctl reload keymakerd").refused();
    until("the error is in the journal", Duration::from_secs(5), || {
        journal("-u keymakerd").contains("keymakerd.toml:5: max_stale:")
    });
    host.sync();
    assert!(sh("getent passwd alice").ends_with(":/bin/sh"));
    ssh("alice", "true").ok();
    assert_eq!(show("MainPID"), pid);
}

/// A local user without any right, who keeps keymakerd as busy as can be: half the threads ask for names nobody has,
/// half open connections, up to the limit on descriptors, and say nothing.
const FLOOD: &str = r"
import random, socket, string, sys, threading
def connected():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    return s
def ask():
    while True:
        try:
            s = connected()
            s.sendall((''.join(random.choices(string.ascii_lowercase, k=12)) + '\n').encode())
            s.recv(100)
            s.close()
        except OSError:
            pass
def hold():
    held = []
    while True:
        try:
            held.append(connected())
        except OSError:
            pass
        if len(held) > 400:
            held.pop(random.randrange(len(held))).close()
for work in [ask, hold] * 2:
    threading.Thread(target=work).start()
";

struct Flood(Child);

impl Flood {
    fn by(user: &str, socket: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", FLOOD, socket]).uid(uid(user)).gid(uid(user));
        Self(command.spawn().expect("python3 runs"))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// P5 P9
#[test]
fn a_local_user_who_floods_the_socket_delays_nobodys_login_and_nobodys_lookup() {
    let host = Host::with_settings("authz_ttl = 1");
    sh("useradd -m -s /bin/bash lola; useradd -m -s /bin/bash mike");
    ssh("alice", "true").ok();
    let slowest = |user: &str| {
        (0..4)
            .map(|_| {
                let login = ssh(user, "true");
                assert_eq!(login.status, 0, "{login}");
                login.took
            })
            .max()
            .unwrap_or_default()
    };
    let lookup = |user: &str, name: &str| run(&format!("setpriv --reuid {user} --clear-groups getent passwd {name}"));
    // The same program with nothing to flood: it takes its share of the processors in both cases.
    let idle = Flood::by("lola", "/run/keymaker/no-such.sock");
    let healthy = slowest("alice");
    drop(idle);
    sh("sandbox-calls --reset");
    let _flood = Flood::by("lola", "/run/keymaker/lookup.sock");
    until("the flood has come", Duration::from_secs(10), || {
        run("ss -xH src /run/keymaker/lookup.sock | wc -l").stdout.trim() > "20"
    });
    let flooded = slowest("alice");
    println!("figure: a login took {healthy:?}, in the flood {flooded:?}");
    assert!(flooded < healthy + NOISE, "{flooded:?} instead of {healthy:?}");
    // First logins of users made in the flood.
    make_user("dave", &["keymaker_devs"]);
    let dave = ssh("dave", "id -Gn");
    assert!(dave.took < healthy + Duration::from_secs(2), "{dave}");
    assert_eq!(dave.ok(), "dave keymaker-users devs");
    for n in 0..5 {
        let unknown = lookup("mike", &format!("nobody{n}")).refused();
        assert!(unknown.took < Duration::from_millis(1500) + NOISE, "{unknown}");
        let known = lookup("mike", "bob");
        assert!(known.took < NOISE, "{known}");
        known.ok();
    }
    make_user("erin", &[]);
    let erin = lookup("mike", "erin");
    assert!(erin.took < Duration::from_millis(1500) + NOISE, "{erin}");
    assert!(erin.ok().starts_with("erin:"));
    // The account's quota: six names, then one every two seconds, and one early listing a minute.
    let asked: u32 = sh("sandbox-calls | awk '/GetUser / { print $2 }'")
        .parse()
        .expect("a count");
    println!("figure: GetUser was called {asked} times");
    assert!(asked < 100, "{asked}");
    host.sync();
}
