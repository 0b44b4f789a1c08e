//! `keymaker capture`: turns each user's own credentials on and off, and says what that would change or how it stands.
//!
//! credd-capture does the work and is the one that knows the rules; this starts and stops it with credd, in an order in
//! which no user reaches the instance's own credentials in between.

mod agents;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use agents::Agent;
use clap::Subcommand;
use credd_core::config::{CaptureMode, Config};
use serde_json::{Value, json};

use super::probe::{self, credd, run as command};
use super::{HostError, order};
use crate::consent::Consent;
use crate::output::{Output, Paint, Progress};

/// What is to be done about metadata requests.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum CaptureCommand {
    /// Show the rules that 'up' would put up, who uses the metadata service, and whom to exempt. (root)
    Plan,
    /// Bring metadata requests to credd, at once and at each boot. (root)
    Up,
    /// Give the metadata service back: from then on every user reaches the instance's own credentials. (root)
    Down {
        #[command(flatten)]
        consent: Consent,
    },
    /// Show whether metadata requests reach credd, and whether it answers. (root)
    ///
    /// Exit status: 0 if all is up, 1 if not.
    Status,
}

/// Does it; returns whether all is as it should be.
pub fn run(what: CaptureCommand, output: &Output) -> Result<bool, HostError> {
    if !probe::is_root() {
        return Err(HostError::NotRoot);
    }
    if !Path::new(credd::CAPTURE).exists() {
        return Err(HostError::Refused(
            "credd is not installed here: apt-get install ./keymaker-credd_*.deb".to_owned(),
        ));
    }
    match what {
        CaptureCommand::Plan => plan(output).map(|()| true),
        CaptureCommand::Up => up(output).map(|()| true),
        CaptureCommand::Down { consent } => down(consent, output).map(|()| true),
        CaptureCommand::Status => Ok(status(output)),
    }
}

fn plan(output: &Output) -> Result<(), HostError> {
    let text = command(credd::CAPTURE, &["plan"]).map_err(HostError::Refused)?;
    let (rules, last) = text.rsplit_once('\n').unwrap_or((&text, ""));
    let uids = last.rsplit(' ').map_while(|word| word.parse::<u32>().ok());
    let users: BTreeMap<u32, String> = uids.map(|uid| (uid, name_of(uid))).collect();
    // credd-capture has read them a moment ago.
    let config = Config::read(Path::new(credd::SETTINGS)).unwrap_or_default();
    let since = observed_since(&config);
    let agents = agents::not_exempt(&config);
    let software = agents.iter().map(|agent| agent.user.as_str()).chain(
        users
            .iter()
            .filter(|(uid, _)| **uid < credd::FIRST_PERSON)
            .map(|(_, name)| name.as_str()),
    );
    let to_exempt: BTreeSet<&str> = software.collect();
    let said = [
        used(&users, since.as_deref()),
        known(&agents),
        advice(&config, &to_exempt, since.is_some()),
    ];
    let users: Vec<Value> = users
        .iter()
        .map(|(uid, name)| json!({ "uid": uid, "name": name }))
        .collect();
    let value = json!({
        "rules": rules.lines().collect::<Vec<_>>(),
        "users_now": users,
        "observed_since": since,
        "agents": agents.iter().map(|agent| json!({"user": agent.user, "unit": agent.unit})).collect::<Vec<_>>(),
        "to_exempt": to_exempt,
    });
    output.print(&format!("{rules}\n\n{}", said.concat().trim_end()), &value);
    Ok(())
}

/// Whether the settings say so. Where they cannot be read, the other commands say why.
fn looks_on() -> bool {
    Config::read(Path::new(credd::SETTINGS)).is_ok_and(|config| config.mode == CaptureMode::Observe)
}

/// Since when capture looks on, if it does.
fn observed_since(config: &Config) -> Option<String> {
    let shown = || {
        command(
            "systemctl",
            &["show", "-P", "ActiveEnterTimestamp", credd::CAPTURE_UNIT],
        )
        .ok()
    };
    (config.mode == CaptureMode::Observe)
        .then(shown)
        .flatten()
        .filter(|time| !time.is_empty())
}

fn used(users: &BTreeMap<u32, String>, since: Option<&str>) -> String {
    let when = match since {
        Some(time) => format!("since {time}"),
        None => "at the moment".to_owned(),
    };
    if users.is_empty() {
        return format!("Nobody who would be captured has used the metadata service {when}.\n");
    }
    let users: String = users.iter().map(|(uid, name)| format!("  {name} ({uid})\n")).collect();
    format!("These used the metadata service {when}, and would get their own credentials from credd, or none:\n{users}")
}

fn known(agents: &[Agent]) -> String {
    if agents.is_empty() {
        return String::new();
    }
    let listed: String = agents
        .iter()
        .map(|agent| match &agent.unit {
            Some(unit) => format!("  {} ({unit})\n", agent.user),
            None => format!("  {}\n", agent.user),
        })
        .collect();
    format!("This software is known to use it, and would get none:\n{listed}")
}

/// What to do before 'up'.
fn advice(config: &Config, to_exempt: &BTreeSet<&str>, looks_on: bool) -> String {
    let mut advice = String::new();
    if !to_exempt.is_empty() {
        advice += &format!(
            "Exempt what needs the instance's own credentials, in {}:\n  {}\n",
            credd::SETTINGS,
            credd::exempt_line(config, to_exempt.iter().copied())
        );
    }
    if !looks_on {
        advice += &format!(
            "To see who else uses it: mode = \"observe\" in {}, 'keymaker capture up', and 'keymaker capture plan' again \
             after a day.\n",
            credd::SETTINGS
        );
    }
    advice
}

fn name_of(uid: u32) -> String {
    let line = command("getent", &["passwd", &uid.to_string()]).unwrap_or_default();
    line.split(':').next().unwrap_or_default().to_owned()
}

fn up(output: &Output) -> Result<(), HostError> {
    command(credd::PROGRAM, &["--check"]).map_err(HostError::Refused)?;
    let _progress = Progress::begin("starting credd");
    // Their order is systemd's: rules before the listener, the listener before credd. All are named, since one that
    // runs brings none of the others with it.
    let mut arguments = vec!["enable", "--now"];
    arguments.extend(credd::UNITS);
    command("systemctl", &arguments).map_err(|why| HostError::NotRun("systemctl", why))?;
    command(credd::CAPTURE, &["check"]).map_err(HostError::Refused)?;
    let done = if looks_on() {
        "Nothing is captured (mode = \"observe\"): who uses the metadata service is written down from now on, and 'keymaker capture plan' \
         lists it."
    } else {
        "Metadata requests reach credd from now on, also after a reboot; 'keymaker why USER' says what somebody gets."
    };
    order::done(done, output);
    Ok(())
}

fn down(consent: Consent, output: &Output) -> Result<(), HostError> {
    consent.ask(
        "keymaker capture down",
        "Nobody has AWS credentials of their own here any more: each process of each user reaches the instance's own, and may \
         do what its role may. ('keymaker capture up' takes them away again; what was done by them stays done.)",
    )?;
    let mut arguments = vec!["disable", "--now"];
    arguments.extend(credd::UNITS);
    // What would put the rules up again goes first; until they are down, nobody who is captured reaches anything.
    command("systemctl", &arguments).map_err(|why| HostError::NotRun("systemctl", why))?;
    command(credd::CAPTURE, &["down"]).map_err(HostError::Refused)?;
    order::done(
        "Everybody reaches the metadata service again, and with it the instance's own credentials.",
        output,
    );
    Ok(())
}

fn status(output: &Output) -> bool {
    let units: Vec<(&str, String)> = credd::UNITS
        .iter()
        .map(|&unit| {
            (
                unit,
                command("systemctl", &["is-active", unit]).unwrap_or_else(|why| why),
            )
        })
        .collect();
    let rules = command(credd::CAPTURE, &["check"]).map_err(|why| why.replace("credd-capture: ", ""));
    // Its socket takes the requests, and the first one starts it: until then it has no need to run.
    let waits = |unit: &str, state: &str| unit == credd::SERVICE && state == "inactive";
    let awaits_the_first = units.iter().any(|(unit, state)| waits(unit, state));
    let health = credd::ask("/health");
    let mut text = String::new();
    let mut line = |label: &str, said: &Result<String, String>| {
        let (paint, said) = match said {
            Ok(said) => (Paint::Good, said),
            Err(said) => (Paint::Bad, said),
        };
        text += &format!("{label:<22} {}\n", output.paint(paint, said));
    };
    let mut good = true;
    for (unit, state) in &units {
        let state = match state.as_str() {
            "active" => Ok(state.clone()),
            _ if waits(unit, state) => Ok("waits for the first request".to_owned()),
            _ => Err(state.clone()),
        };
        good &= state.is_ok();
        line(unit, &state);
    }
    line("rules", &rules);
    if !awaits_the_first {
        line("credd answers", &health);
    }
    good &= rules.is_ok() && (awaits_the_first || health.is_ok());
    text += if good && looks_on() {
        "Nothing is captured (mode = \"observe\"): everybody gets what the metadata service gives."
    } else if good {
        "Each captured user gets what credd gives them."
    } else {
        "Not everything is up: 'keymaker capture up' starts it; 'keymaker doctor' says what is wrong."
    };
    let units: serde_json::Map<String, Value> = units
        .into_iter()
        .map(|(unit, state)| (unit.to_owned(), json!(state)))
        .collect();
    let value = json!({
        "up": good,
        "units": units,
        "rules": { "as_planned": rules.is_ok(), "said": rules.unwrap_or_else(|why| why) },
        "credd_answers": health.is_ok(),
    });
    output.print(&text, &value);
    good
}
