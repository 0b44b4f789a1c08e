//! Puts capture up, watches it, and puts right what others change.
//!
//! credd-capture runs it. Each part goes up even if another fails, and nothing is taken down when the program ends: a
//! host without its keeper stays closed. Where settings or accounts cannot be read at the start, the narrowest plan
//! goes up before anybody is told; while the keeper runs, the plan in force stays.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use credd_core::accounts::LocalNames;
use credd_core::capture_state::{CaptureState, StateFile};
use credd_core::config::{CaptureMode, Config, ConfigError};
use credd_core::plan::{Family, Plan};
use credd_core::time_text::iso8601;
use keymaker_core::audit::{AuditDecision, AuditEvent, AuditField, AuditLine};
use keymaker_core::journal;
use keymaker_daemon::account_files::AccountFilesError;

use super::commands::ToolError;
use super::egress;
use super::last_plan::LastPlanFile;
use super::mark::Mark;
use super::repair::Repair;
use super::watch::Changes;
use super::{guard, routing};

/// Why capture cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("{0}")]
    Config(ConfigError),
    #[error("{0}")]
    Accounts(AccountFilesError),
    #[error("changes cannot be watched: {0}; may this program use AF_NETLINK?")]
    Watch(std::io::Error),
}

/// What was done, or could not be, in one comparison.
#[derive(Debug, Default)]
pub struct Report {
    /// What was put right, as commands.
    pub repaired: Vec<String>,
    /// What could not be.
    pub failed: Vec<String>,
    /// Whether more than the filters is missing.
    pub is_broken: bool,
}

/// Keeps one host's capture as planned.
pub struct Keeper {
    config: PathBuf,
    accounts: LocalNames,
    plan: Plan,
    last: LastPlanFile,
    /// Why `plan` is the narrowest one and no good one.
    no_good_plan: Option<String>,
    /// What could not be read when the settings were read last.
    unreadable: Option<String>,
    /// What the guard marks, and the filters let through.
    mark: Mark,
    /// What the guard looked like when it was loaded last; None: not by this process.
    loaded: Option<String>,
    reported: Vec<u32>,
    /// What could not be put right last, and has been written down.
    failed: Vec<String>,
    state: Option<StateFile>,
}

impl Keeper {
    /// Reads the settings at `config`. Where they, or the accounts, cannot be read, the plan is the narrowest that the
    /// one kept at `last` leaves.
    pub fn new(config: PathBuf, last: PathBuf) -> Self {
        let (accounts, last) = (LocalNames::host(), LastPlanFile::new(last));
        let (plan, no_good_plan) = match read_plan(&config, &accounts) {
            Ok(plan) => (plan, None),
            Err(error) => (last.narrowest(&accounts), Some(error.to_string())),
        };
        Self {
            config,
            accounts,
            plan,
            last,
            unreadable: no_good_plan.clone(),
            no_good_plan,
            mark: Mark::in_force(),
            loaded: None,
            reported: vec![],
            failed: vec![],
            state: None,
        }
    }

    /// Why there is no good plan, if there is none.
    pub fn no_good_plan(&self) -> Option<&str> {
        self.no_good_plan.as_deref()
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Tells credd what is found from now on.
    pub fn tell(self, state: StateFile) -> Self {
        Self {
            state: Some(state),
            ..self
        }
    }

    /// Compares once and puts right. Without a good plan that is a failure, too, once the narrowest is up.
    pub fn settle(&mut self) -> Report {
        let mut report = Report::default();
        let guard = self.settle_guard(&mut report);
        let has_guard = guard.is_ok();
        report.failed.extend(guard.err().map(|error| error.to_string()));
        let without_routing = report.failed.len();
        for family in Family::here() {
            match routing::drift(&self.plan, family) {
                Ok(repairs) => {
                    if repairs.iter().any(Repair::is_of_all) {
                        self.say(CaptureState::Drifted);
                    }
                    apply(&repairs, &mut report);
                }
                Err(error) => report.failed.push(error.to_string()),
            }
        }
        let has_routing = report.failed.len() == without_routing;
        report.failed.extend(self.no_good_plan.clone());
        let before = report.failed.len();
        report.is_broken = before > 0;
        let has_filters = self.settle_filters(has_guard || !has_routing, &mut report);
        self.say(match (before, has_filters) {
            (0, true) => CaptureState::Planned,
            // Where this part cannot be had, the two before it are no worse.
            (0, false) => CaptureState::Degraded,
            _ => CaptureState::Broken,
        });
        report
    }

    fn say(&mut self, state: CaptureState) {
        if let Some(file) = &mut self.state {
            file.say(state);
        }
    }

    /// Settles, says that it is ready, and goes on watching; returns the plan within a second of `stop`.
    pub fn keep(mut self, ready: impl FnOnce(), stop: &AtomicBool) -> Result<Plan, KeeperError> {
        // Subscribed before the first comparison, so that no change falls between the two.
        let changes = Changes::subscribe().map_err(KeeperError::Watch)?;
        let report = self.settle();
        self.record("up", report);
        self.keep_plan();
        ready();
        let mut compared = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let changed = changes.wait(TICK).map_err(KeeperError::Watch)?;
            if self.plan_again() || changed || compared.elapsed() > COMPARE_ANYWAY {
                let report = self.settle();
                self.record("repair", report);
                compared = Instant::now();
                // Where routes change all the time, a comparison every tenth of a second is enough. No notice is thrown
                // away unread: one that looks like that of our own repair may be somebody else's.
                std::thread::sleep(BREATH);
            }
            self.report_observed();
        }
        Ok(self.plan)
    }

    /// A name of `exempt_uids` that exempts nobody is a line in the journal.
    pub fn tell_of_unknown_names(&self) {
        for sentence in self.plan.unknown() {
            tracing::warn!("{sentence}");
        }
    }

    /// Reads settings and accounts again; whether the plan is another one now. What cannot be read changes nothing.
    fn plan_again(&mut self) -> bool {
        match read_plan(&self.config, &self.accounts) {
            Ok(plan) => {
                let is_another = plan != self.plan || self.no_good_plan.is_some();
                (self.unreadable, self.no_good_plan) = (None, None);
                if is_another {
                    self.plan = plan;
                    self.loaded = None;
                    self.tell_of_unknown_names();
                }
                self.keep_plan();
                is_another
            }
            Err(error) => {
                let error = error.to_string();
                if self.unreadable.as_ref() != Some(&error) {
                    tracing::error!("capture stays as it is: {error}");
                    self.unreadable = Some(error);
                }
                false
            }
        }
    }

    /// For the next start. Anybody who only tries capture out leaves nothing.
    fn keep_plan(&mut self) {
        if self.state.is_some() && self.no_good_plan.is_none() {
            self.last.keep(&self.plan);
        }
    }

    fn settle_guard(&mut self, report: &mut Report) -> Result<(), ToolError> {
        let present = guard::fingerprint()?;
        if self.loaded.is_some() && present == self.loaded {
            return Ok(());
        }
        // What a former keeper left whole is loaded again, and was no hole.
        let left_whole = present.is_some_and(|present| guard::is_whole(&self.plan, &present));
        if self.loaded.is_some() || !left_whole {
            self.say(CaptureState::Drifted);
        }
        guard::load(&self.plan, self.mark)?;
        // Somebody may have changed it in between: only a whole one is what later ones are compared with.
        self.loaded = guard::fingerprint()?.filter(|present| guard::is_whole(&self.plan, present));
        report.repaired.push("nft -f (the table keymaker_credd)".to_owned());
        Ok(())
    }

    /// Puts the filters up, but for one case: without a guard, whose mark they let through, they would stop our daemons
    /// and root as well, so they wait for it while routing holds users back. Where some are up already, or routing is
    /// missing as well, they go up whatever became of the guard.
    fn settle_filters(&self, at_once: bool, report: &mut Report) -> bool {
        let are_wanted = self.plan.mode == CaptureMode::Enforce;
        if !at_once && are_wanted && guard::mark().is_none() && !egress::is_up() {
            report.failed.push(egress::NO_GUARD.to_owned());
            return false;
        }
        let before = report.failed.len();
        match egress::drift(&self.plan, self.mark) {
            Ok(repairs) => apply(&repairs, report),
            Err(error) => report.failed.push(error.to_string()),
        }
        let has_filters = report.failed.len() == before;
        if !has_filters {
            report.failed.push(egress::MISSING.to_owned());
        }
        has_filters
    }

    /// What cannot be put right, for a device without a place for our filter for one, is written down once.
    pub fn record(&mut self, what: &str, report: Report) {
        if !report.repaired.is_empty() || report.failed != self.failed {
            record(what, &report);
        }
        self.failed = report.failed;
    }

    /// One audit line for each uid that is seen for the first time.
    fn report_observed(&mut self) {
        if self.plan.mode != CaptureMode::Observe {
            return;
        }
        for uid in guard::seen().unwrap_or_default() {
            if !self.reported.contains(&uid) {
                self.reported.push(uid);
                let event = serde_json::json!({"time": now(), "asked": "capture", "outcome": "observed", "uid": uid});
                audit(AuditDecision::Observed, "", Some(uid), &event);
            }
        }
    }
}

/// Whether nothing of capture is up. A part whose program cannot be run counts as none: it could not be taken down either.
pub fn nothing_is_up(plan: &Plan) -> bool {
    let nothing = without_capture(plan);
    let is_there = |found: Result<Vec<Repair>, ToolError>| found.is_ok_and(|repairs| !repairs.is_empty());
    let has_routing = Family::here().any(|family| is_there(routing::drift(&nothing, family)));
    !has_routing && !egress::is_up() && !matches!(guard::fingerprint(), Ok(Some(_)))
}

fn without_capture(plan: &Plan) -> Plan {
    Plan {
        mode: CaptureMode::Observe,
        ..plan.clone()
    }
}

/// Takes everything down that `up` put up.
pub fn take_down(plan: &Plan) -> Report {
    let mut report = Report::default();
    let plan = without_capture(plan);
    for family in Family::here() {
        match routing::drift(&plan, family) {
            Ok(repairs) => apply(&repairs, &mut report),
            Err(error) => report.failed.push(error.to_string()),
        }
    }
    match egress::drift(&plan, Mark::in_force()) {
        Ok(repairs) => apply(&repairs, &mut report),
        Err(error) => report.failed.push(error.to_string()),
    }
    match guard::unload() {
        Ok(()) => report.repaired.push("nft delete table inet keymaker_credd".to_owned()),
        Err(error) => report.failed.push(error.to_string()),
    }
    report
}

fn apply(repairs: &[Repair], report: &mut Report) {
    let mut is_done = true;
    for repair in repairs {
        if !is_done && repair.needs_the_one_before() {
            continue;
        }
        let done = repair.apply();
        is_done = done.is_ok();
        match done {
            Ok(()) => report.repaired.push(repair.line()),
            Err(error) => report.failed.push(error.to_string()),
        }
    }
}

fn read_plan(config: &std::path::Path, accounts: &LocalNames) -> Result<Plan, KeeperError> {
    let config = Config::read(config).map_err(KeeperError::Config)?;
    Plan::new(&config, accounts).map_err(KeeperError::Accounts)
}

fn record(what: &str, report: &Report) {
    if report.repaired.is_empty() && report.failed.is_empty() {
        return;
    }
    let (decision, outcome, told) = match what {
        _ if !report.failed.is_empty() => (AuditDecision::Failed, "failed", &report.failed),
        "up" => (AuditDecision::Up, what, &report.repaired),
        _ => (AuditDecision::Repaired, what, &report.repaired),
    };
    let event = serde_json::json!({
        "time": now(), "asked": "capture", "outcome": outcome, "repaired": report.repaired, "failed": report.failed,
    });
    audit(decision, &told.join("; "), None, &event);
    for failed in &report.failed {
        tracing::error!("{failed}");
    }
}

/// Writes down what root has ordered, which is no service: its log is the terminal.
pub fn tell_of_order(done: AuditDecision, report: &Report) {
    let (decision, told) = if report.failed.is_empty() {
        (done, &report.repaired)
    } else {
        (AuditDecision::Failed, &report.failed)
    };
    let line = AuditLine::new(AuditEvent::Capture, decision)
        .with(AuditField::Reason, told.join("; "))
        .saying("credd-capture", format!("capture by order: {decision}"));
    // Where there is no journal, root sees at the terminal what was done.
    let _ = journal::send(&line.entry(), journal::SOCKET.as_ref());
}

/// As docs/audit.md has it: the log makes a field of each value.
fn audit(decision: AuditDecision, reason: &str, uid: Option<u32>, event: &serde_json::Value) {
    let reason = Some(reason).filter(|reason| !reason.is_empty());
    tracing::info!(
        target: "credd::audit", audit = %event, event = AuditEvent::Capture.word(), decision = decision.word(), reason,
        uid, "{event}"
    );
}

fn now() -> String {
    iso8601(SystemTime::now())
}

/// How long a change of the settings or of /etc/passwd can go unnoticed.
const TICK: Duration = Duration::from_secs(1);
const BREATH: Duration = Duration::from_millis(100);
const COMPARE_ANYWAY: Duration = Duration::from_secs(30);
