//! What a flood costs, of the metadata address, of refused logins, of the journal itself: whoever makes it, and nobody
//! else. A quarter of a minute here, a minute with `./check --long`.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::metadata::{client, put_everything_up};
use e2e::{Host, is_long, journal, run, sh, ssh, uid, until};

const CLIENT: &str = include_str!("../clients/flood.py");
/// Numbers that nobody has been given: another user's subordinate ids.
const SUBORDINATE: std::ops::Range<u32> = 200_000..200_064;

fn start(words: &[String]) -> Child {
    Command::new(client("flood.py", CLIENT))
        .args(words)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs")
}

fn printed(child: Child) -> Vec<String> {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "a client of the flood failed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().map(str::to_owned).collect()
}

/// credd's resident memory in MiB.
fn memory() -> u64 {
    let kib = sh("grep VmRSS \"/proc/$(systemctl show -P MainPID credd)/status\" | tr -dc 0-9");
    kib.parse::<u64>().expect("a number") / 1024
}

/// Lines about alice's credentials since the test began.
fn lines_of_alice() -> usize {
    journal("-u credd")
        .lines()
        .filter(|line| line.contains(r#""user":"alice""#) && line.contains(r#""outcome":"issued""#))
        .count()
}

fn seconds() -> u64 {
    if is_long() { 60 } else { 7 }
}

/// Two processes at full speed, by these uids in turn, while alice asks one time after another. `lines` are those of
/// hers so far.
fn flood_by(who: &str, uids: &[u32], lines: &mut usize) {
    let seconds = seconds();
    let words = |mode: &str, uids: &[u32]| -> Vec<String> {
        let numbers = uids.iter().map(u32::to_string);
        [mode.to_owned(), seconds.to_string()]
            .into_iter()
            .chain(numbers)
            .collect()
    };
    let memory_before = memory();
    let flood: Vec<Child> = (0..2).map(|_| start(&words("flood", uids))).collect();
    let asked = printed(start(&words("ask", &[uid("alice")])));
    let made = |child| printed(child)[0].parse::<u64>().expect("a count");
    let made: u64 = flood.into_iter().map(made).sum();
    let [conversations, failed, slow] = [0, 1, 2].map(|word| asked[word].parse::<usize>().expect("a count"));
    println!(
        "{who}: {made} connections in {seconds} s; alice: {conversations} conversations, {failed} failed, p99 {slow} ms"
    );
    assert_eq!(failed, 0, "of {conversations}");
    assert!(made > 1000 && conversations > 0, "{made} {conversations}");
    // Clients give up after a second.
    assert!(!is_long() || slow < 1000, "{slow} ms");
    *lines += 2 * conversations;
    until("the journal has every line of alice's", Duration::from_secs(20), || {
        lines_of_alice() >= *lines
    });
    assert_eq!(lines_of_alice(), *lines);
    let memory_after = memory();
    println!(
        "{who}: all {} lines; memory {memory_before} MiB before, {memory_after} MiB after",
        2 * conversations
    );
    assert!(memory_after < memory_before + 32, "{memory_after} MiB");
}

// P13
#[test]
fn a_flood_costs_the_others_no_answer_no_line_and_the_host_no_memory() {
    let _host = Host::fresh();
    put_everything_up();
    let mut lines = 0;
    flood_by("one uid", &[uid("bob")], &mut lines);
    flood_by("64 subordinate uids", &SUBORDINATE.collect::<Vec<u32>>(), &mut lines);
    let refusals = journal("-u credd").matches(r#""unwritten_refusals":"#).count();
    assert!((1..1000).contains(&refusals), "{refusals}");
}

/// journald reads nothing until this is dropped.
struct Hung;

impl Hung {
    fn begin() -> Self {
        sh("kill -STOP \"$(systemctl show -P MainPID systemd-journald)\"");
        Self
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        run("kill -CONT \"$(systemctl show -P MainPID systemd-journald)\"");
    }
}

#[test]
fn while_journald_hangs_credentials_wait_and_are_refused_and_everything_else_goes_on() {
    let _host = Host::fresh();
    put_everything_up();
    let alice = uid("alice").to_string();
    let hung = Hung::begin();
    let said = printed(start(&["refused".to_owned(), alice.clone()]));
    drop(hung);
    assert_eq!(said, ["503", "200"]);
    until("alice is served again", Duration::from_secs(20), || {
        printed(start(&["ask".to_owned(), "1".to_owned(), alice.clone()]))[1] == "0"
    });
}

/// credd's own journal, as SECURITY.md says, until this is dropped.
struct OwnJournal;

impl OwnJournal {
    fn begin() -> Self {
        for (unit, text) in [
            ("credd.service", "[Service]\nLogNamespace=credd\n"),
            (
                "systemd-journald@credd.socket",
                "[Socket]\nSocketUser=credd\nSocketMode=0600\n",
            ),
        ] {
            let folder = format!("/run/systemd/system/{unit}.d");
            fs::create_dir_all(&folder).expect("root may make it");
            fs::write(format!("{folder}/50-own-journal.conf"), text).expect("root may write it");
        }
        sh("systemctl daemon-reload; systemctl restart credd");
        Self
    }
}

impl Drop for OwnJournal {
    fn drop(&mut self) {
        run("rm /run/systemd/system/{credd.service,systemd-journald@credd.socket}.d/50-own-journal.conf; systemctl daemon-reload
             systemctl restart credd; systemctl stop 'systemd-journald@credd*'");
    }
}

// P13
#[test]
fn with_a_journal_of_its_own_credd_gives_credentials_whatever_users_do_to_the_common_one() {
    let _host = Host::fresh();
    put_everything_up();
    let own = OwnJournal::begin();
    for socket in ["socket", "stdout", "dev-log"] {
        run(&format!(
            "runuser -u bob -- test -w /run/systemd/journal.credd/{socket}"
        ))
        .refused();
    }
    let alice = uid("alice").to_string();
    let hung = Hung::begin();
    let filled = printed(start(&["fill".to_owned(), uid("nobody").to_string()]));
    let asked = printed(start(&["ask".to_owned(), "2".to_owned(), alice]));
    drop(hung);
    println!(
        "after {} lines that nobody reads: {} conversations, {} failed",
        filled[0], asked[0], asked[1]
    );
    assert_eq!(asked[1], "0");
    let lines = || journal("--namespace=credd").matches(r#""outcome":"issued""#).count();
    let wanted = 2 * asked[0].parse::<usize>().expect("a count");
    until("its journal has every line", Duration::from_secs(20), || {
        lines() == wanted
    });
    drop(own);
}

// tracing-journald waits until its line is taken, on the only thread of a daemon.
#[test]
fn while_journald_hangs_and_its_queue_is_full_keymakerd_answers() {
    let host = Host::fresh();
    let keymakerd = sh("systemctl show -P MainPID keymakerd");
    let hung = Hung::begin();
    let filled = printed(start(&["fill".to_owned(), uid("nobody").to_string()]));
    host.add_settings("enumerate = true");
    sh(&format!("kill -HUP {keymakerd}"));
    // The line comes after that.
    until("the settings are read again", Duration::from_secs(20), || {
        run("getent passwd").stdout.contains("alice:")
    });
    let answer = run(r"printf 'sync\n' | timeout 30 nc -N -U /run/keymaker/login.sock");
    drop(hung);
    println!("after {} lines that nobody reads: {answer}", filled[0]);
    assert!(answer.stdout.starts_with("done "), "{answer}");
}

/// Lines of `pam_keymaker` with these words since the test began.
fn lines_of_pam(words: &str) -> usize {
    let journal = journal("");
    let of_pam = journal.lines().filter(|line| line.contains("pam_keymaker("));
    of_pam.filter(|line| line.contains(words)).count()
}

// pam_keymaker keeps nothing between two logins, so it writes a line about each that it refuses; sshd writes as many.
#[test]
fn whoever_is_refused_login_after_login_takes_no_line_of_others() {
    let _host = Host::with_settings("require_iam_group = \"prod_ssh_users\"");
    let before = lines_of_pam("login of bob");
    let again = format!(
        "while [ $SECONDS -lt {} ]; do ssh -o BatchMode=yes carol@localhost true; done",
        seconds()
    );
    let began = Instant::now();
    let flood = (0..6).map(|_| {
        let mut client = Command::new("bash");
        let client = client.args(["-c", &again]).stdin(Stdio::null()).stdout(Stdio::null());
        client.stderr(Stdio::null()).spawn().expect("bash runs")
    });
    let flood: Vec<Child> = flood.collect();
    let mut logins = 0;
    while began.elapsed() < Duration::from_secs(seconds()) {
        logins += usize::from(ssh("bob", "true").status == 0);
    }
    for mut client in flood {
        client.wait().expect("it ends");
    }
    until("the journal has lines about carol", Duration::from_secs(20), || {
        lines_of_pam("carol") > 0
    });
    let (refused, all) = (
        lines_of_pam("carol"),
        journal("_COMM=sshd + SYSLOG_IDENTIFIER=sshd").lines().count(),
    );
    println!(
        "in {:?}: bob in {logins} times; carol refused in {refused} lines of PAM's, of {all} of sshd's",
        began.elapsed()
    );
    assert!(logins > 0);
    until("the journal has every line of bob's", Duration::from_secs(20), || {
        lines_of_pam("login of bob") >= before + logins
    });
    assert!(!journal("-u systemd-journald").contains("Suppressed"));
}
