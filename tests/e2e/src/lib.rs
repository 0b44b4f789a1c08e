//! The host in the box, as the end-to-end tests see it: run a command, log in, change IAM, wait for something, start
//! afresh.
//!
//! Every file in `tests/` is a program that runs as root in one sandbox (`./check` does that), one test after the
//! other. Whatever a test did to the host, the next one's [`Host::fresh`] undoes. No test sleeps: [`until`] waits for a
//! condition with a deadline.

pub mod attempts;
pub mod metadata;
pub mod proofs;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the host looked like before the first test.
const BEFORE: &str = "/run/e2e";
const KEPT: [&str; 7] = [
    "etc/nsswitch.conf",
    "etc/passwd",
    "etc/shadow",
    "etc/group",
    "etc/gshadow",
    "etc/keymaker/keymakerd.toml",
    "etc/ssh/sshd_config.d/50-keymaker.conf",
];
const SSHD_DROP_IN: &str = "/run/systemd/system/ssh.service.d";
/// The unit that looks up name after name.
const SCAN: &str = "e2e-scan.service";
/// The key exchange is not ours, and the usual one of today takes the client 80 ms of a processor.
const FAST_KEX: &str = "-o KexAlgorithms=curve25519-sha256";
/// Of answers asked closer together than this the more refusing one counts, by keymakerd's order; a second for whole
/// ones.
const TOGETHER: Duration = Duration::from_secs(5 + 1);
/// Where tests mount something small.
const MOUNT_POINTS: [&str; 3] = ["/home", "/var/lib/keymaker/public", "/var/lib/keymaker"];

/// Whether `./check --long` runs the tests: those that have a short form ask.
pub fn is_long() -> bool {
    std::env::var("KEYMAKER_LONG").is_ok_and(|long| !long.is_empty())
}

/// Whether a test is for `./check --long` only, and this is not it.
pub fn is_left_to_the_long_form() -> bool {
    if !is_long() {
        println!("left to ./check --long");
    }
    !is_long()
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub command: String,
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Outcome {
    /// What it printed; it must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "should succeed: {self}");
        self.stdout.trim_end().to_owned()
    }

    /// It must have failed, and by itself.
    #[track_caller]
    pub fn refused(self) -> Self {
        assert_ne!(self.status, 0, "should fail: {self}");
        self.ended()
    }

    /// It must have come to an end by itself.
    #[track_caller]
    pub fn ended(self) -> Self {
        assert!(self.took < A_MINUTE, "should end: {self}");
        self
    }

    /// What a person at the terminal reads.
    pub fn reads(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            command,
            status,
            stdout,
            stderr,
            took,
        } = self;
        write!(f, "`{command}` ended with {status} after {took:?}\n{stdout}{stderr}")
    }
}

/// What a busy test machine may add to what a command takes, the start of its process included.
pub const NOISE: Duration = Duration::from_millis(1500);

/// How long a line of shell may take.
const A_MINUTE: Duration = Duration::from_secs(60);

/// Runs a line of shell. What still runs after a minute has failed.
pub fn run(line: &str) -> Outcome {
    let began = Instant::now();
    let output = Command::new("timeout")
        .args(["-k", "5", &A_MINUTE.as_secs().to_string(), "bash", "-c", line])
        .stdin(Stdio::null())
        .output()
        .expect("timeout(1) runs");
    Outcome {
        command: line.to_owned(),
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: began.elapsed(),
    }
}

/// What a line of shell prints; it must succeed.
#[track_caller]
pub fn sh(line: &str) -> String {
    run(line).ok()
}

/// Logs in by ssh with the user's own key and runs a command there.
pub fn ssh(user: &str, command: &str) -> Outcome {
    ssh_with("", user, command)
}

/// Runs a command at a terminal, where somebody types one line.
pub fn at_a_terminal(command: &str, answer: &str) -> Outcome {
    run(&format!(
        "printf '%s\\n' {} | script -qec {} /dev/null",
        quoted(answer),
        quoted(command)
    ))
}

/// Logs in as at a terminal, which is where sshd shows what PAM has to say to somebody who gets in, and types a line
/// there.
pub fn ssh_at_a_terminal(user: &str, line: &str) -> Outcome {
    run(&format!(
        "printf '%s\\n' {} exit | ssh -tt {FAST_KEX} -o BatchMode=yes -o ConnectTimeout=10 {user}@localhost",
        quoted(line)
    ))
}

/// Logs in with this private key and none of the user's own.
pub fn ssh_with_key(key: &str, user: &str, command: &str) -> Outcome {
    ssh_with(&format!("-F /dev/null -o IdentitiesOnly=yes -i {key}"), user, command)
}

fn ssh_with(options: &str, user: &str, command: &str) -> Outcome {
    run(&format!(
        "ssh {FAST_KEX} -o BatchMode=yes -o ConnectTimeout=10 {options} {user}@localhost {}",
        quoted(command)
    ))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Calls the AWS command line as the account's administrator.
#[track_caller]
pub fn iam(command: &str) -> String {
    sh(&format!("sandbox-admin aws iam {command}"))
}

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < deadline, "after {deadline:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Makes an IAM user with a key pair of the same name, in these groups.
#[track_caller]
pub fn make_user(name: &str, groups: &[&str]) {
    // The key takes a processor a second, and each call half of one.
    sh(&format!(
        "i='sandbox-admin aws iam'; n='--user-name {name}'; pids=()
         sandbox-key {name} > /dev/null & key=$!
         $i create-user $n && wait $key || exit 1
         $i upload-ssh-public-key $n --ssh-public-key-body \"$(sandbox-key {name})\" & pids+=($!)
         for g in {}; do $i add-user-to-group $n --group-name $g & pids+=($!); done
         for p in ${{pids[@]}}; do wait $p || exit 1; done",
        groups.join(" ")
    ));
}

/// Uploads the public half of /sandbox/keys/NAME; returns its id.
#[track_caller]
pub fn give_key(name: &str) -> String {
    sh(&format!(
        "sandbox-admin aws iam upload-ssh-public-key --user-name {name} --ssh-public-key-body \"$(sandbox-key {name})\" \
         --query SSHPublicKey.SSHPublicKeyId --output text"
    ))
}

/// The id of a user's first key.
#[track_caller]
pub fn key_id(user: &str) -> String {
    iam(&format!(
        "list-ssh-public-keys --user-name {user} --query 'SSHPublicKeys[0].SSHPublicKeyId' --output text"
    ))
}

/// Deletes an IAM user with everything that holds the user there.
#[track_caller]
pub fn delete_user(name: &str) {
    sh(&format!(
        "set -e; n='--user-name {name}'; i='sandbox-admin aws iam'
         for k in $($i list-ssh-public-keys $n --query 'SSHPublicKeys[].SSHPublicKeyId' --output text); do
           $i delete-ssh-public-key $n --ssh-public-key-id $k; done
         for g in $($i list-groups-for-user $n --query 'Groups[].GroupName' --output text); do
           $i remove-user-from-group $n --group-name $g; done
         $i delete-user $n"
    ));
}

/// How often this call was made since the seed was put in place.
pub fn calls(action: &str) -> u32 {
    let counts = sh("sandbox-calls");
    let count = counts.lines().find(|line| line.contains(action));
    count
        .and_then(|line| line.split_whitespace().find_map(|word| word.parse().ok()))
        .unwrap_or(0)
}

/// Gives the instance's role this description, where the settings stand.
#[track_caller]
pub fn describe_role(text: &str) {
    iam(&format!(
        "update-role --role-name sandbox-instance --description {}",
        quoted(text)
    ));
}

/// Orders something of keymakerd as root; returns its answer.
#[track_caller]
pub fn order(line: &str) -> String {
    sh(&format!(
        "printf '%s\\n' {} | nc -N -U /run/keymaker/login.sock",
        quoted(line)
    ))
}

/// The numbers of a user's groups by name.
#[track_caller]
pub fn groups(user: &str) -> Vec<String> {
    let mut groups: Vec<String> = sh(&format!("id -Gn {user}"))
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    groups.sort();
    groups
}

/// The uid that a name resolves to.
#[track_caller]
pub fn uid(user: &str) -> u32 {
    sh(&format!("id -u {user}")).parse().expect("id -u prints a number")
}

/// The journal since this test began, of one unit or program.
pub fn journal(filter: &str) -> String {
    run(&format!(
        "journalctl --no-pager -o cat --since \"$(cat {BEFORE}/began)\" {filter}"
    ))
    .stdout
}

/// The host, as it was before any test, with a keymakerd that has read all of IAM. The test that holds it is the only
/// one that runs.
pub struct Host {
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Host {
    /// Undoes what other tests did.
    #[track_caller]
    pub fn fresh() -> Self {
        let host = Self::unstarted();
        host.start();
        host
    }

    /// The same with more settings in keymakerd.toml.
    #[track_caller]
    pub fn with_settings(settings: &str) -> Self {
        let host = Self::unstarted();
        host.add_settings(settings);
        host.start();
        host
    }

    /// The same with another seed in the fake AWS.
    #[track_caller]
    pub fn with_seed(seed: &str) -> Self {
        let host = Self::unstarted();
        host.reseed(seed);
        host.start();
        host
    }

    /// Replaces what the fake AWS holds.
    #[track_caller]
    pub fn reseed(&self, seed: &str) {
        fs::write("/run/e2e/seed.json", seed).expect("the seed can be written");
        sh("sandbox-reset /run/e2e/seed.json");
    }

    /// As [`Host::with_settings`], where nobody is published but people, as is the default: most tests are about users without keys.
    #[track_caller]
    pub fn of_people(settings: &str) -> Self {
        let host = Self::as_installed();
        host.add_settings(settings);
        host.start();
        host
    }

    /// The same with keymakerd stopped and nothing kept.
    #[track_caller]
    pub fn unstarted() -> Self {
        let host = Self::as_installed();
        host.add_settings("publish = \"all\"");
        host
    }

    #[track_caller]
    fn as_installed() -> Self {
        assert!(
            Path::new("/sandbox/project").exists(),
            "this takes a whole host apart, its /home included: ./check host-NAME runs it in the sandbox"
        );
        let host = Self {
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        };
        if !Path::new(BEFORE).exists() {
            sh(&format!(
                "mkdir {BEFORE} && cd / && cp -a --parents {} {BEFORE}/",
                KEPT.join(" ")
            ));
        }
        sh(&format!(
            "systemctl reset-failed; systemctl stop keymakerd; systemctl stop {SCAN} 2>&1; true"
        ));
        if Path::new(SSHD_DROP_IN).exists() {
            sh(&format!(
                "rm -r {SSHD_DROP_IN}; systemctl daemon-reload; systemctl restart ssh"
            ));
        }
        for folder in MOUNT_POINTS {
            run(&format!("while umount -l {folder}; do :; done"));
        }
        sh(&format!(
            "set -e; cp -a {BEFORE}/etc/. /etc/
             shopt -s dotglob; rm -rf /home/* /var/lib/keymaker/*
             sandbox-reset; systemctl restart ssh
             date '+%F %T' > {BEFORE}/began"
        ));
        host
    }

    /// Appends lines to keymakerd.toml; the caller starts or reloads keymakerd.
    #[track_caller]
    pub fn add_settings(&self, settings: &str) {
        let path = "/etc/keymaker/keymakerd.toml";
        let before = fs::read_to_string(path).expect("the settings are there");
        fs::write(path, format!("{before}{settings}\n")).expect("the settings can be written");
    }

    /// Starts keymakerd and waits for its first pass.
    #[track_caller]
    pub fn start(&self) {
        sh("systemctl start keymakerd");
        self.await_contact();
    }

    /// Waits until keymakerd has read all of IAM once.
    #[track_caller]
    pub fn await_contact(&self) {
        until("keymakerd has read all of IAM", Duration::from_secs(20), || {
            Path::new("/var/lib/keymaker/public/contact").exists()
        });
    }

    /// Starts sshd with more on its command line, as other packages do by a drop-in of their own.
    #[track_caller]
    pub fn start_sshd_with(&self, options: &str) {
        fs::create_dir_all(SSHD_DROP_IN).expect("/run can be written");
        let drop_in = format!(
            "[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D {}\n",
            options.replace('%', "%%")
        );
        fs::write(format!("{SSHD_DROP_IN}/e2e.conf"), drop_in).expect("/run can be written");
        sh("systemctl daemon-reload; systemctl restart ssh");
    }

    /// A local user, eve, looks up names that nobody has, and keeps all connections open that she may.
    #[track_caller]
    pub fn scan_as_local_user(&self) {
        sh("useradd -m -s /bin/bash eve");
        let hold = "for i in {1..64}; do sleep 600 | nc -U /run/keymaker/lookup.sock & done";
        let scan = "while :; do getent passwd scan$((n++)); sleep 0.02; done";
        sh(&format!(
            "systemd-run -q --collect --unit={SCAN} --uid=eve bash -c {}",
            quoted(&format!("{hold}; {scan}"))
        ));
    }

    /// What sshd asks when scanners try one name after the other.
    #[track_caller]
    pub fn scan_as_root(&self) {
        let scan = "while :; do getent passwd scan$((n++)); sleep 0.05; done";
        sh(&format!(
            "systemd-run -q --collect --unit={SCAN} bash -c {}",
            quoted(scan)
        ));
    }

    /// What sshd runs while a client without any key tries the names known0, known1… one after the other, much faster
    /// than sshd lets it.
    #[track_caller]
    pub fn offer_foreign_keys(&self, names: u32) {
        let offer = "/usr/libexec/keymaker/keymaker-keys known$i 1";
        let offers = format!("while :; do for ((i = 0; i < {names}; i++)); do {offer}; done; done");
        sh(&format!(
            "systemd-run -q --collect --unit={SCAN} --uid=keymaker-keys bash -c {}",
            quoted(&offers)
        ));
    }

    /// Has keymakerd read its settings again and waits until it has made a pass by them.
    #[track_caller]
    pub fn reload(&self) {
        sh("systemctl reload keymakerd");
        self.sync();
    }

    /// Has keymakerd read all of IAM now: so much later than whatever it heard before that the new answers count.
    #[track_caller]
    pub fn sync(&self) {
        let began = Instant::now();
        until("IAM's copies agree by keymakerd's rule", TOGETHER * 2, || {
            began.elapsed() > TOGETHER
        });
        let answer = order("sync");
        assert!(answer.starts_with("done "), "{answer}");
    }
}
