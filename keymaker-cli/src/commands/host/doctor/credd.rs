//! credd, where it is turned on: its settings, its units, the rules that bring requests to it, its answers.

use std::fs;
use std::path::Path;

use credd_core::config::Config;

use super::super::probe::credd::AccountTurnedAway;
use super::super::probe::{credd, run};
use super::finding::FaultCause;
use super::{Findings, credentials, daemon};

/// Looks at it.
pub fn look(found: &mut Findings) {
    if !Path::new(credd::CAPTURE).exists() {
        return;
    }
    if credd::UNITS.iter().all(|unit| *unit == credd::SERVICE || is_off(unit)) {
        return found.note(
            "credd is installed but not turned on: everybody gets what the metadata service gives \
            ('keymaker capture up' turns it on)",
        );
    }
    let config = match run(credd::PROGRAM, &["--print-config"]) {
        Ok(config) => config,
        Err(why) => {
            found
                .fault(
                    format!("credd does not accept its settings: {why}"),
                    "it goes on with the settings from before, or does not start: then nobody gets credentials",
                    daemon::mended(&why, credd::SETTINGS, "systemctl restart credd"),
                )
                .is(FaultCause::CreddToml);
            return;
        }
    };
    settings(&config, found);
    units(found);
    match run(credd::CAPTURE, &["check"]) {
        Err(why) => capture_is_not_as_planned(&why, found),
        // Where the guard is gone, AWS cannot be reached either.
        Ok(_) => credentials::lacks(found),
    }
    if state("is-active", credd::SERVICE) == "active"
        && let Err(why) = credd::ask("/health")
    {
        found
            .fault(
                format!("credd does not answer: {why}"),
                "no user gets credentials",
                "systemctl restart credd.service",
            )
            .is(FaultCause::Credd)
            .of(&[FaultCause::CreddToml]);
        return;
    }
    software_without_credentials(found);
    credentials::of_users(found);
}

/// Agents that ran before capture was turned on, most of all: they asked the metadata service with success, and fail since.
fn software_without_credentials(found: &mut Findings) {
    // What is wrong with the settings is found above.
    let Ok(config) = Config::read(Path::new(credd::SETTINGS)) else {
        return;
    };
    let accounts: Vec<AccountTurnedAway> = credd::turned_away(&config)
        .unwrap_or_default()
        .into_iter()
        .filter(|account| account.uid < credd::FIRST_PERSON)
        .collect();
    if accounts.is_empty() {
        return;
    }
    let told: Vec<String> = accounts
        .iter()
        .map(|account| {
            format!(
                "{} ({} times, last at {})",
                account.user, account.requests, account.last
            )
        })
        .collect();
    found.fault(
        format!("software asked for AWS credentials and was given none: {}", told.join(", ")),
        "an agent that needs the instance's own credentials does not work without them; one that needs none is left out here once \
         credd.toml says so: user_chains = { NAME = [] }",
        credd::exempting(&config, accounts.iter().map(|account| account.user.as_str())),
    );
}

fn state(what: &str, unit: &str) -> String {
    run("systemctl", &[what, unit]).unwrap_or_else(|why| why)
}

/// credd.service is started by its socket; systemd calls that indirect.
fn is_off(unit: &str) -> bool {
    !["enabled", "indirect"].contains(&state("is-enabled", unit).as_str())
}

/// What the settings say, and what that asks of others.
fn settings(config: &str, found: &mut Findings) {
    if config.contains("\"create_user_role\"") {
        found.note(
            "create_user_role gives out a role only with the tag keymaker:user-id; run 'keymaker sync-roles', also before an upgrade from \
             a version that did not ask for it",
        );
    }
    ports_that_anybody_may_take(config, found);
}

fn units(found: &mut Findings) {
    for unit in credd::UNITS.into_iter().filter(|unit| is_off(unit)) {
        found
            .fault(
                format!("{unit} is not enabled ({})", state("is-enabled", unit)),
                "at the next boot users get no credentials, or those of the instance",
                format!("systemctl unmask {unit}; systemctl enable --now {unit}"),
            )
            .is(FaultCause::Credd);
    }
    for unit in credd::UNITS {
        let now = state("is-active", unit);
        // A request starts credd.service.
        if now == "active" || (unit == credd::SERVICE && now == "inactive") {
            continue;
        }
        let why = match unit {
            "credd-capture.service" => "nothing restores the rules that others remove",
            _ => "no user gets credentials",
        };
        let remedy = format!("systemctl reset-failed {unit}; systemctl restart {unit}");
        found
            .fault(format!("{unit} does not run ({now})"), why, remedy)
            .is(FaultCause::Credd)
            .of(&[FaultCause::Accounts, FaultCause::CreddToml]);
    }
}

/// While credd.socket is down for a moment, as in an upgrade, anybody who may listen there answers other people's
/// requests.
fn ports_that_anybody_may_take(config: &str, found: &mut Findings) {
    let Some(first) = fs::read_to_string(FIRST_FREE_PORT)
        .ok()
        .and_then(|text| text.trim().parse().ok())
    else {
        return;
    };
    let taken: Vec<String> = ports(config)
        .into_iter()
        .filter(|port| *port >= first)
        .map(|port| port.to_string())
        .collect();
    if !taken.is_empty() {
        found.fault(
            format!(
                "any user may listen at port {}, where credd does: net.ipv4.ip_unprivileged_port_start is {first}",
                taken.join(" and ")
            ),
            "while credd.socket is down for a moment they can answer other users' requests in its place",
            "echo net.ipv4.ip_unprivileged_port_start=1024 > /etc/sysctl.d/99-keymaker-credd.conf; \
             sysctl -p /etc/sysctl.d/99-keymaker-credd.conf",
        );
    }
}

/// Where credd listens by the settings that it printed.
fn ports(config: &str) -> Vec<u32> {
    let value = |key: &str| {
        let mut lines = config.lines().filter_map(|line| line.split_once(" = "));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    let metadata = match value("capture") {
        Some("\"nft\"") => value("nft_port").and_then(|port| port.parse().ok()),
        _ => Some(80),
    };
    let container = (value("container_endpoint") == Some("true")).then_some(989);
    metadata.into_iter().chain(container).collect()
}

const FIRST_FREE_PORT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

fn capture_is_not_as_planned(why: &str, found: &mut Findings) {
    let is_degraded = fs::read_to_string(credd::CAPTURE_STATE).is_ok_and(|word| word == "degraded\n");
    let finding = found.fault(
        format!("capture is not as planned: {}", why.replace("credd-capture: ", "")),
        if is_degraded {
            "users get their credentials, but one part less keeps them, and containers, from the instance's own"
        } else {
            "users may reach the instance's own credentials, or none"
        },
        "systemctl restart credd-capture.service; /usr/libexec/keymaker/credd-capture check",
    );
    finding.of(&[FaultCause::Accounts, FaultCause::CreddToml, FaultCause::Credd]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credds_ports_are_those_of_its_settings() {
        let config = |capture: &str, container: bool| {
            format!("capture = \"{capture}\"\nnft_port = 77\ncontainer_endpoint = {container}\n[chains]\n")
        };
        assert_eq!(ports(&config("route", false)), [80]);
        assert_eq!(ports(&config("nft", false)), [77]);
        assert_eq!(ports(&config("route", true)), [80, 989]);
        assert_eq!(ports(""), [80]);
    }
}
