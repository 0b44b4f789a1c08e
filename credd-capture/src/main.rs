//! Puts up, watches and repairs what brings metadata requests to credd. Runs with `CAP_NET_ADMIN` and parses nothing
//! from users: `keeper` does the work, this file reads the command line.
//!
//! credd itself has no capability and uses none of this. It has three parts: routing brings requests here without NAT,
//! the guard stops what routing cannot see (a connection from before, another port), and a filter at the way out of
//! every device stops what the guard has not judged. Any one holds alone. Nothing here reads what users send.

#![forbid(unsafe_code)]

mod commands;
mod egress;
mod guard;
mod keeper;
mod last_plan;
mod mark;
mod observed;
mod repair;
mod routing;
mod watch;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};
use credd_core::capture_state::{self, STATE, StateFile};
use credd_core::plan::{Family, Plan};
use keymaker_core::audit::AuditDecision;
use keymaker_daemon::{log, systemd};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::commands::ToolError;
use crate::keeper::{Keeper, Report, nothing_is_up, take_down, tell_of_order};
use crate::last_plan::LAST_PLAN;
use crate::mark::Mark;
use crate::repair::Repair;

/// Brings metadata requests of this host's users to credd.
#[derive(Parser)]
#[command(version)]
struct CaptureArguments {
    /// The settings file.
    #[arg(long, value_name = "FILE", default_value = "/etc/keymaker/credd.toml")]
    config: PathBuf,
    /// Where credd reads whether capture is as planned.
    #[arg(long, value_name = "FILE", default_value = STATE)]
    state: PathBuf,
    /// Where the last good plan is kept, for a start at which the settings cannot be read.
    #[arg(long, value_name = "FILE", default_value = LAST_PLAN)]
    last_plan: PathBuf,
    #[command(subcommand)]
    command: CaptureAction,
}

#[derive(Subcommand)]
enum CaptureAction {
    /// Show what would be put up, and who uses the metadata service now; change nothing.
    Plan,
    /// Exit with 0 if routing is as planned and the guard has all its rules; else say what is missing.
    Check,
    /// Put everything up, once.
    Up,
    /// Put everything up, watch, and put right what others change. Leaves all in place when it ends.
    Run,
    /// Try it: as run, but ^C takes everything down.
    Try,
    /// Take everything down: from then on users reach the instance's own credentials.
    Down,
}

fn main() -> ExitCode {
    let arguments = CaptureArguments::parse();
    let _log = log::begin();
    let mut keeper = Keeper::new(arguments.config, arguments.last_plan);
    if let (CaptureAction::Plan | CaptureAction::Check | CaptureAction::Try, Some(why)) =
        (&arguments.command, keeper.no_good_plan())
    {
        return complain(why);
    }
    keeper.tell_of_unknown_names();
    match arguments.command {
        CaptureAction::Plan => say(&shown(keeper.plan())),
        CaptureAction::Check => check(keeper.plan(), &arguments.state),
        CaptureAction::Up => put_up(&mut keeper),
        CaptureAction::Down => end(AuditDecision::Down, &take_down(keeper.plan())),
        CaptureAction::Run => match keeper
            .tell(StateFile::new(arguments.state))
            .keep(systemd::ready, &AtomicBool::new(false))
        {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => complain(&error.to_string()),
        },
        CaptureAction::Try => match try_out(keeper) {
            Ok(report) => end(AuditDecision::Down, &report),
            Err(why) => complain(&why),
        },
    }
}

/// Puts capture up once. What is up stays up where the rest cannot be had: users reach credd or nothing.
fn put_up(keeper: &mut Keeper) -> ExitCode {
    let mut report = keeper.settle();
    if report.is_broken {
        report.failed.push(STAYS_CLOSED.to_owned());
    }
    end(AuditDecision::Up, &report)
}

/// Keeps capture until ^C or SIGTERM; then everything is taken down. Where it cannot be put up, nothing is left of it,
/// unless some of it was up before: that is not a trial's to open.
fn try_out(mut keeper: Keeper) -> Result<Report, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&stop)).map_err(|why| format!("cannot receive signals: {why}"))?;
    }
    let (first_plan, is_first) = (keeper.plan().clone(), nothing_is_up(keeper.plan()));
    let report = keeper.settle();
    let mut failed = if report.is_broken {
        report.failed
    } else {
        keeper.record("up", report);
        match keeper.keep(|| tracing::info!("capture is up; ^C takes it down"), &stop) {
            Ok(plan) => return Ok(take_down(&plan)),
            Err(error) => vec![error.to_string()],
        }
    };
    if is_first {
        take_down(&first_plan);
    }
    let is_as_before = is_first && nothing_is_up(&first_plan);
    failed.push(if is_as_before { UNDONE } else { STAYS_CLOSED }.to_owned());
    Err(failed.join("\n"))
}

fn shown(plan: &Plan) -> String {
    let (mut text, mark) = (String::new(), Mark::in_force());
    let routing = Family::ALL.iter().flat_map(|family| routing::all(plan, *family));
    for repair in routing.chain(egress::all(plan, mark)) {
        text.push_str(&repair.line());
        text.push('\n');
    }
    text.push_str(&guard::ruleset(plan, mark));
    let mut users = observed::users_now();
    users.extend(guard::seen().unwrap_or_default());
    let affected: Vec<String> = users.difference(&plan.exempt).map(u32::to_string).collect();
    let affected = if affected.is_empty() {
        "nobody".to_owned()
    } else {
        affected.join(" ")
    };
    format!("{text}# uids that use the metadata service now and are not exempt: {affected}\n")
}

fn check(plan: &Plan, state: &Path) -> ExitCode {
    let mut missing = vec![];
    let mut differing = |found: Result<Vec<Repair>, ToolError>| match found {
        Ok(repairs) => missing.extend(repairs.iter().map(|repair| format!("missing: {}", repair.line()))),
        Err(error) => missing.push(error.to_string()),
    };
    for family in Family::here() {
        differing(routing::drift(plan, family));
    }
    let filters = egress::drift(plan, Mark::in_force());
    let cannot_be_put_up =
        capture_state::is_degraded(state) && filters.as_ref().is_ok_and(|repairs| !repairs.is_empty());
    let has_no_filters = filters.is_err() || cannot_be_put_up;
    differing(filters);
    if has_no_filters {
        missing.push(egress::MISSING.to_owned());
    }
    match guard::fingerprint() {
        Ok(Some(present)) if guard::is_whole(plan, &present) => {}
        Ok(_) => missing.push("missing: rules of the nft table keymaker_credd".to_owned()),
        Err(error) => missing.push(error.to_string()),
    }
    if missing.is_empty() {
        say("capture is as planned\n")
    } else {
        complain(&missing.join("\n"))
    }
}

/// Says what was done, here and in the journal.
fn end(done: AuditDecision, report: &Report) -> ExitCode {
    tell_of_order(done, report);
    let done: String = report.repaired.iter().map(|line| format!("{line}\n")).collect();
    let said = say(&done);
    if report.failed.is_empty() {
        said
    } else {
        complain(&report.failed.join("\n"))
    }
}

fn say(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str) -> ExitCode {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "credd-capture: {text}");
    ExitCode::FAILURE
}

const STAYS_CLOSED: &str = "capture is not whole, and what is up of it keeps users from the metadata service: mend what failed and run credd-capture \
     up again, or give the service back to everybody with credd-capture down";
const UNDONE: &str =
    "capture cannot be put up here, so that nothing was left of it: everybody reaches the metadata service as before";
