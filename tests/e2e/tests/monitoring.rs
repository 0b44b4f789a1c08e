//! What somebody who watches hosts gets of one. `tests/metrics.py` has Prometheus itself judge the metrics.

use std::fs;
use std::time::Duration;

use e2e::{Host, run, sh, ssh, until};

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
