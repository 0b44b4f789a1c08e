//! Counts of what happened, in the text format of Prometheus. The cache and the issuer count, and every decision on its
//! way to the audit log, refusals without a line included; the status socket shows.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use credd_core::config::Method;

use crate::audit::{AuditEvent, Decision};
use keymaker_daemon::audit::{AuditLog, NotTaken, Share};

/// The counters of one daemon, from its start.
#[derive(Default)]
pub struct Metrics {
    /// Answers given from the cache.
    pub hits: Cell<u64>,
    /// Times that the chain was asked, which is at most one sts:AssumeRole each and method.
    pub flights: Cell<u64>,
    /// Chains that ended with credentials.
    pub issued: Cell<u64>,
    /// Chains that ended without any method that applies.
    pub not_applicable: Cell<u64>,
    /// Chains that ended with a method that says no.
    pub denied: Cell<u64>,
    /// Chains that could not find out.
    pub transient: Cell<u64>,
    /// Questions held back by the token buckets.
    pub held_back: Cell<u64>,
    /// Callers whom the directory refuses.
    pub refused_people: Cell<u64>,
    /// Times that the settings have been reloaded.
    pub reloads: Cell<u64>,
    /// Times that they could not be.
    pub failed_reloads: Cell<u64>,
    decisions: RefCell<BTreeMap<Kind, u64>>,
}

/// What an audit line was about: what was asked, what was decided, by which method.
type Kind = (&'static str, Decision, Option<Method>);

/// The audit log, counted.
pub struct CountedAudit<L> {
    /// Where the lines go.
    pub log: L,
    /// Where they are counted.
    pub metrics: Rc<Metrics>,
}

impl<L: AuditLog<AuditEvent>> AuditLog<AuditEvent> for CountedAudit<L> {
    fn record(&self, share: Share, event: &AuditEvent) -> Result<(), NotTaken> {
        let recorded = self.log.record(share, event);
        // An issuance without a line is none, and is recorded again or refused.
        if recorded.is_ok() || event.outcome != Decision::Issued {
            let mut decisions = self.metrics.decisions.borrow_mut();
            *decisions.entry((event.asked, event.outcome, event.method)).or_default() += 1;
        }
        recorded
    }
}

/// Adds one.
pub fn count(counter: &Cell<u64>) {
    counter.set(counter.get().saturating_add(1));
}

impl Metrics {
    /// Everything, as Prometheus reads it. `kept` is how many answers the cache holds now.
    pub fn text(&self, kept: usize, capture_as_planned: bool) -> String {
        let mut text = String::new();
        for (name, help, counter) in [
            ("cache_hits_total", "Answers given from the cache.", &self.hits),
            (
                "flights_total",
                "Times that a chain of methods was asked.",
                &self.flights,
            ),
            ("issued_total", "Chains that ended with credentials.", &self.issued),
            (
                "not_applicable_total",
                "Chains without a method that applies.",
                &self.not_applicable,
            ),
            ("denied_total", "Chains that ended with a refusal.", &self.denied),
            ("transient_total", "Chains that could not find out.", &self.transient),
            (
                "held_back_total",
                "Questions held back by the token buckets.",
                &self.held_back,
            ),
            (
                "refused_people_total",
                "Callers whom the directory refuses.",
                &self.refused_people,
            ),
            (
                "reloads_total",
                "Times that the settings have been reloaded.",
                &self.reloads,
            ),
            (
                "failed_reloads_total",
                "Times that the settings could not be reloaded.",
                &self.failed_reloads,
            ),
        ] {
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "# HELP credd_{name} {help}\n# TYPE credd_{name} counter\ncredd_{name} {}\n",
                counter.get()
            );
        }
        text.push_str("# HELP credd_decisions_total Issuances and refusals.\n# TYPE credd_decisions_total counter\n");
        for ((asked, outcome, method), count) in self.decisions.borrow().iter() {
            let method = method.map_or_else(String::new, |method| method.to_string());
            let _ = writeln!(
                text,
                "credd_decisions_total{{asked=\"{asked}\",outcome=\"{outcome}\",method=\"{method}\"}} {count}"
            );
        }
        let planned = u8::from(capture_as_planned);
        let _ = write!(
            text,
            "# HELP credd_capture_as_planned 0 while credd-capture says that capture is not as planned.\n\
             # TYPE credd_capture_as_planned gauge\ncredd_capture_as_planned {planned}\n"
        );
        let _ = write!(
            text,
            "# HELP credd_cache_entries Answers in the cache.\n# TYPE credd_cache_entries gauge\ncredd_cache_entries {kept}\n"
        );
        text
    }
}
