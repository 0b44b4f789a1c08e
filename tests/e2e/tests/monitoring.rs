//! What somebody who watches hosts, or helps with one, gets of it: metrics, one line for monitoring, the trace of a
//! request, a bundle without secrets. `tests/metrics.py` has Prometheus itself judge the metrics.

use std::fs;
use std::time::Duration;

use e2e::{Host, journal, run, sh, ssh, until};

const METRICS: [(&str, &str); 2] = [
    ("keymakerd", "/run/keymaker/keymakerd.prom"),
    ("credd", "/run/keymaker-credd/credd.prom"),
];

/// A file of the host, put back as it was.
struct Kept(&'static str, Option<Vec<u8>>);

impl Kept {
    fn of(path: &'static str) -> Self {
        Self(path, fs::read(path).ok())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        match &self.1 {
            Some(before) => drop(fs::write(self.0, before)),
            None => drop(fs::remove_file(self.0)),
        }
    }
}

fn at_socket(daemon: &str, path: &str) -> String {
    let folder = if daemon == "credd" {
        "keymaker-credd"
    } else {
        "keymaker"
    };
    sh(&format!(
        "curl -sS --fail --unix-socket /run/{folder}/status.sock http://{daemon}{path}"
    ))
}

/// The value of a series, by its whole name.
fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

#[test]
fn both_daemons_write_their_metrics_where_the_settings_say_and_nowhere_by_default() {
    let host = Host::fresh();
    let _credd = Kept::of("/etc/keymaker/credd.toml");
    sh("systemctl restart credd");
    let before = at_socket("keymakerd", "/metrics");
    for (daemon, path) in METRICS {
        assert!(!fs::exists(path).expect("/run can be read"), "{path}");
        run(&format!(
            "runuser -u nobody -- curl -sS --unix-socket $(dirname {path})/status.sock http://{daemon}/metrics"
        ))
        .refused();
    }
    let credd = fs::read_to_string("/etc/keymaker/credd.toml").expect("credd has settings");
    let line = |at: usize| format!("metrics_file = \"{}\"\n", METRICS[at].1);
    fs::write("/etc/keymaker/credd.toml", line(1) + &credd).expect("the settings can be written");
    host.add_settings(line(0).trim());
    sh("systemctl reload keymakerd credd");
    ssh("alice", "aws sts get-caller-identity").ok();
    iam_refuses("bob");
    for (daemon, path) in METRICS {
        until(&format!("{path} is there"), Duration::from_secs(40), || {
            fs::exists(path).unwrap_or_default()
        });
        // Everybody can read it, by a link too, and nothing else in the folder of credd.
        let read = run(&format!(
            "ln -sf {path} /tmp/{daemon}.prom; runuser -u nobody -- cat /tmp/{daemon}.prom"
        ))
        .ok();
        assert!(read.contains(&format!("{daemon}_build_info{{version=")), "{read}");
        run(&format!(
            "runuser -u nobody -- ls $(dirname {path})/token-key && test {daemon} = keymakerd"
        ))
        .refused();
    }
    let after = at_socket("keymakerd", "/metrics");
    let grown = |series: &str| value(&after, series) - value(&before, series);
    assert!(grown("keymakerd_logins_total{decision=\"allowed\"}") >= 1.0, "{after}");
    assert!(grown("keymakerd_logins_total{decision=\"refused\"}") >= 1.0, "{after}");
    let refused = "keymakerd_decisions_total{event=\"login\",decision=\"refused\",reason=\"not_in_required_group\"}";
    assert!(grown(refused) >= 1.0, "{after}");
    assert!(value(&after, "keymakerd_users") >= 3.0 && value(&after, "keymakerd_contact_timestamp_seconds") > 1e9);
    assert!(
        value(
            &after,
            "keymakerd_aws_answers_total{action=\"iam:ListUsers\",outcome=\"ok\"}"
        ) >= 1.0,
        "{after}"
    );
    for name in ["alice", "bob", "carol", "prod_ssh_users"] {
        assert!(!after.contains(name), "{name}: {after}");
    }
}

/// bob leaves the required group, and his next login is refused.
fn iam_refuses(user: &str) {
    e2e::iam(&format!(
        "remove-user-from-group --group-name prod_ssh_users --user-name {user}"
    ));
    e2e::order(&format!("invalidate {user}"));
    fs::write("/etc/keymaker/keymakerd.toml", {
        let settings = fs::read_to_string("/etc/keymaker/keymakerd.toml").expect("there are settings");
        settings + "require_iam_group = \"prod_ssh_users\"\n"
    })
    .expect("the settings can be written");
    sh("systemctl reload keymakerd");
    e2e::order("sync");
    ssh(user, "true").refused();
}

// P19
#[test]
fn at_debug_one_request_can_be_followed_and_no_secret_is_written() {
    let _host = Host::fresh();
    sh("systemctl restart credd");
    run("runuser -u nobody -- keymaker log-level debug").refused();
    assert_eq!(
        sh("keymaker log-level").split_whitespace().collect::<Vec<_>>(),
        ["keymakerd", "info", "credd", "info"]
    );
    let traced = || journal("-u keymakerd -u credd");
    e2e::order("invalidate alice");
    ssh("alice", "true").ok();
    assert!(!traced().contains("asked \"keys alice\""));
    sh("keymaker log-level debug");
    e2e::order("invalidate alice");
    ssh("alice", "aws sts get-caller-identity").ok();
    until("the request is in the journal", Duration::from_secs(10), || {
        let traced = traced();
        [
            "asked \"keys alice\": fresh, after ",
            "AWS answered iam:GetUser: ok",
            "the method user_role: issued",
            "asked for role_credentials: issued, HTTP 200",
        ]
        .iter()
        .all(|said| traced.contains(said))
    });
    let secrets = sh(
        "journalctl -u keymakerd -u credd -o export | grep -aciE 'SecretAccessKey|X-Amz-|Signature=|SessionToken' || true",
    );
    assert_eq!(secrets, "0");
    sh("keymaker log-level info");
    let before = traced().matches(" asked \"").count();
    ssh("alice", "true").ok();
    assert_eq!(traced().matches(" asked \"").count(), before);
}

// P19
#[test]
fn a_debug_bundle_holds_what_helps_and_none_of_the_secrets_that_lie_about() {
    let host = Host::fresh();
    let secrets = [
        "hunter2",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYab",
        "AKIAIOSFODNN7EXAMPLE",
        "FwoGZXIvYXdzEJr1FwoGZXIvYXdzEJr1FwoGZXIvYXdzEJr1FwoGZXIvYXdzEJr1FwoGZXIv",
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ",
    ];
    let [password, key, id, token, private] = secrets;
    let planted = format!(
        "# password={password} {key} {id} {token} http://bob:{password}@proxy:1/ \
         -----BEGIN OPENSSH PRIVATE KEY----- {private} -----END OPENSSH PRIVATE KEY-----\n"
    );
    let _kept: Vec<Kept> = [
        "/etc/keymaker/credd.toml",
        "/etc/nsswitch.conf",
        "/etc/pam.d/su",
        "/etc/ssh/sshd_config",
        "/etc/ssh/sshd_config.d/50-keymaker.conf",
        "/etc/os-release",
    ]
    .into_iter()
    .map(|path| {
        let kept = Kept::of(path);
        let text = String::from_utf8(kept.1.clone().expect("it is there")).expect("it is text");
        // In lines that are taken, too.
        let marked = format!("{text}\n{planted}# passwd: pam_keymaker UsePAM {}", &planted[1..]);
        fs::write(path, marked).expect("/etc can be written");
        kept
    })
    .collect();
    host.add_settings(&format!(
        "https_proxy = \"http://bob:{password}@127.0.0.1:1\"\n{}",
        planted.trim()
    ));
    let drop_in = "/run/systemd/system/keymakerd.service.d";
    sh(&format!("mkdir -p {drop_in}"));
    fs::write(
        format!("{drop_in}/e2e.conf"),
        format!("[Service]\nEnvironment=AWS_SECRET_ACCESS_KEY={key} PROXY=http://bob:{password}@x TOKEN={token}\n"),
    )
    .expect("/run can be written");
    fs::write(
        "/tmp/planted",
        format!("MESSAGE={planted}OBJECT_SYSTEMD_UNIT=keymakerd.service\n"),
    )
    .expect("/tmp can be written");
    sh("logger --journald < /tmp/planted; systemctl daemon-reload; systemctl reload keymakerd");
    until("it is in the journal", Duration::from_secs(5), || {
        journal("-u keymakerd").contains(password)
    });
    run("cd /tmp && runuser -u nobody -- keymaker debug-bundle").refused();
    sh("rm -rf /tmp/b /tmp/bundle.tar.gz; keymaker debug-bundle --output /tmp/bundle.tar.gz");
    assert_eq!(sh("stat -c '%a %U' /tmp/bundle.tar.gz"), "600 root");
    run("keymaker debug-bundle --output /tmp/bundle.tar.gz").refused();
    assert_eq!(sh("ls /run | grep -c keymaker-debug || true"), "0");
    sh("mkdir /tmp/b && tar -xzf /tmp/bundle.tar.gz -C /tmp/b --strip-components=1");
    for secret in secrets {
        let found = run(&format!("grep -rnF -- {secret} /tmp/b"));
        assert_eq!(found.status, 1, "{found}");
    }
    for (file, holds) in [
        ("status.txt", "IAM answered"),
        ("doctor.txt", "finding"),
        (
            "settings-keymakerd.txt",
            "https_proxy = \"http://[removed]@127.0.0.1:1\"",
        ),
        ("units.txt", "keymakerd.service"),
        ("unit-files.txt", "[Service]"),
        ("journal.txt", "ready"),
        ("metrics-keymakerd.txt", "keymakerd_users"),
        ("metrics-credd.txt", "credd_build_info"),
        ("sshd.txt", "authorizedkeyscommand"),
        ("lines-of-ours.txt", "/etc/nsswitch.conf:"),
        ("versions-debian.txt", "keymaker"),
        ("etc-os-release", "bookworm"),
        ("files.txt", "/var/lib/keymaker"),
    ] {
        let text = fs::read_to_string(format!("/tmp/b/{file}")).expect("the bundle has it");
        assert!(text.contains(holds), "{file}: {text}");
    }
    // By sudo it is the caller's.
    sh(
        "useradd -m op 2>/dev/null; cd /tmp && rm -f op.tar.gz; SUDO_UID=$(id -u op) SUDO_GID=$(id -g op) keymaker debug-bundle --output op.tar.gz",
    );
    assert_eq!(sh("stat -c '%a %U' /tmp/op.tar.gz"), "600 op");
    run(&format!(
        "userdel -r op; rm -r {drop_in} /tmp/b /tmp/*.tar.gz /tmp/planted; systemctl daemon-reload"
    ));
}

#[test]
fn monitoring_is_told_by_one_line_and_an_exit_status_how_the_host_is() {
    let host = Host::fresh();
    let check = || run("runuser -u nobody -- keymaker status --check");
    let is = |status: i32, said: &str| {
        until(&format!("{status}: {said}"), Duration::from_secs(20), || {
            let check = check();
            check.status == status && check.stdout.contains(said) && check.stdout.lines().count() == 1
        });
    };
    is(0, "KEYMAKER OK - users: ");
    assert!(check().stdout.contains(" | contact_age="));
    assert!(sh("keymaker --json status --check").contains("\"health\": \"OK\""));
    host.add_settings("max_stale = \"a while\"");
    run("systemctl reload keymakerd");
    is(1, "KEYMAKER WARNING - keymakerd.toml has a mistake: ");
    sh("touch -d '13 hours ago' /var/lib/keymaker/public/contact");
    is(2, "more than half of max_stale");
    sh("systemctl kill -s STOP keymakerd");
    is(2, "KEYMAKER CRITICAL - keymakerd does not answer");
    sh("systemctl kill -s CONT keymakerd; systemctl stop keymakerd; rm -rf /run/keymaker/*");
    is(3, "KEYMAKER UNKNOWN - ");
    sh("systemctl start keymakerd");
}
