//! Which software of this host is known to use the metadata service under an account of its own, so that capture would
//! take the instance's credentials from it. Called by `keymaker capture plan`, which cannot see who asks once an hour.

use std::collections::BTreeMap;

use credd_core::config::Config;
use keymaker_core::local_files::{PasswdLine, lines};
use keymaker_core::paths;

use super::super::probe::{self, credd};

/// Software that would be captured.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Agent {
    /// As whom it runs.
    pub user: String,
    /// Its unit; none where only its account is here.
    pub unit: Option<String>,
}

/// What of [`KNOWN`] is on this host, and not exempt.
pub fn not_exempt(config: &Config) -> Vec<Agent> {
    let units = ["list-unit-files", "--type=service", "--plain", "--no-legend"];
    let units = probe::run("systemctl", &units).unwrap_or_default();
    let user_of = |unit: &str| probe::run("systemctl", &["show", "-P", "User", unit]).unwrap_or_default();
    let passwd = std::fs::read(paths::PASSWD).unwrap_or_default();
    let accounts = accounts_of_software(&passwd);
    let mut agents = found(&units, user_of, &accounts);
    let is_exempt = |user: &str| {
        accounts
            .get(user)
            .is_none_or(|uid| credd::is_exempt(config, user, *uid))
    };
    agents.retain(|agent| !is_exempt(&agent.user));
    agents
}

/// The accounts of /etc/passwd below [`credd::FIRST_PERSON`], by name, but root, which nobody has to exempt by hand.
fn accounts_of_software(passwd: &[u8]) -> BTreeMap<String, u32> {
    lines(passwd)
        .filter_map(PasswdLine::parse)
        .filter(|account| (1..credd::FIRST_PERSON).contains(&account.uid))
        .map(|account| (String::from_utf8_lossy(account.name).into_owned(), account.uid))
        .collect()
}

/// `units` is what `systemctl list-unit-files` prints. An instance of a template has the template's user.
fn found(units: &str, user_of: impl Fn(&str) -> String, accounts: &BTreeMap<String, u32>) -> Vec<Agent> {
    let is_known = |name: &str| KNOWN.contains(&name);
    let mut agents: Vec<Agent> = units
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|unit| unit.strip_suffix(".service").is_some_and(is_known))
        .map(|unit| Agent {
            user: user_of(unit),
            unit: Some(unit.to_owned()),
        })
        .filter(|agent| accounts.contains_key(&agent.user))
        .collect();
    for user in accounts.keys().filter(|user| is_known(user)) {
        if agents.iter().all(|agent| agent.user != *user) {
            let (user, unit) = (user.clone(), None);
            agents.push(Agent { user, unit });
        }
    }
    agents.sort();
    agents
}

/// Units and accounts, by the packages of their makers: what finds its region, its instance or its credentials in the
/// metadata service. Who runs as root is exempt from the start.
const KNOWN: [&str; 47] = [
    "alloy",
    "amazon-cloudwatch-agent",
    "artifactory",
    "aws-kinesis-agent",
    "aws-kinesis-agent-user",
    "barman",
    "buildkite-agent",
    "clickhouse",
    "clickhouse-server",
    "consul",
    "cwagent",
    "datadog-agent",
    "dd-agent",
    "elasticsearch",
    "filebeat",
    "fluent-bit",
    "fluentd",
    "_fluentd",
    "gitlab-runner",
    "grafana",
    "grafana-agent",
    "grafana-server",
    "jenkins",
    "logstash",
    "loki",
    "metricbeat",
    "mimir",
    "newrelic-infra",
    "nomad",
    "nri-agent",
    "opensearch",
    "otelcol",
    "otelcol-contrib",
    "patroni",
    "pgbackrest",
    "postgres",
    "prometheus",
    "promtail",
    "SplunkForwarder",
    "splunkfwd",
    "td-agent",
    "telegraf",
    "teleport",
    "tempo",
    "thanos",
    "vault",
    "xray",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_found_by_their_units_and_by_their_accounts() {
        let passwd = "root:x:0:0::/root:/bin/sh\ncwagent:x:998:998::/:/bin/false\npostgres:x:110:110::/:/bin/sh\n\
                      daemon:x:1:1::/:/bin/false\nvault:x:1005:1005::/home/vault:/bin/bash\n";
        let units = "amazon-cloudwatch-agent.service enabled enabled\nconsul.service enabled enabled\n\
                     cron.service enabled enabled\namazon-ssm-agent.service enabled enabled\n";
        let user_of = |unit: &str| if unit.contains("cloudwatch") { "cwagent" } else { "" }.to_owned();
        let agent = |user: &str, unit: Option<&str>| Agent {
            user: user.to_owned(),
            unit: unit.map(str::to_owned),
        };
        let expected = [
            agent("cwagent", Some("amazon-cloudwatch-agent.service")),
            agent("postgres", None),
        ];
        assert_eq!(
            found(units, user_of, &accounts_of_software(passwd.as_bytes())),
            expected
        );
    }
}
