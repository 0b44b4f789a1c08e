//! Counts of what happened. The cache and the issuer count, and every decision on its way to the audit log, refusals
//! without a line included; the status socket shows.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use credd_core::config::Method;
use keymaker_aws::AwsCalls;
use keymaker_daemon::audit::{AuditLog, NotTaken, Share};
use keymaker_daemon::metrics::{Counts, MetricsText};

use crate::audit::{AuditEvent, Decision};

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
    /// By what was asked, what was decided, and by which method.
    decisions: Counts<3>,
    /// What AWS was asked.
    pub aws: AwsCalls,
}

/// The audit log, counted.
pub struct CountedAudit<L> {
    /// Where the lines go.
    pub log: L,
    /// Where they are counted.
    pub metrics: Rc<Metrics>,
}

impl<L: AuditLog<AuditEvent>> AuditLog<AuditEvent> for CountedAudit<L> {
    fn record(&self, share: Share, event: &AuditEvent) -> Result<(), NotTaken> {
        tracing::debug!(
            uid = event.uid,
            asked = event.asked,
            outcome = %event.outcome,
            status = event.status,
            "uid {} asked for {}: {}, HTTP {}",
            event.uid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string()),
            event.asked,
            event.outcome,
            event.status
        );
        let recorded = self.log.record(share, event);
        // An issuance without a line is none, and is recorded again or refused.
        if recorded.is_ok() || event.outcome != Decision::Issued {
            let method = event.method.map_or("", Method::word);
            self.metrics
                .decisions
                .count([event.asked, event.outcome.word(), method]);
        }
        recorded
    }
}

/// Adds one.
pub fn count(counter: &Cell<u64>) {
    counter.set(counter.get().saturating_add(1));
}

impl Metrics {
    /// Everything, as Prometheus reads it. `kept` is how many answers the cache holds now; `started`, since 1970.
    pub fn text(&self, kept: usize, capture_as_planned: bool, started: Duration) -> String {
        let mut text = MetricsText::default();
        text.add_each(&BUILD_INFO, [([env!("CARGO_PKG_VERSION")], 1.0)]);
        text.add(&START_TIME, started.as_secs_f64().floor());
        for (metric, counter) in [
            (&CACHE_HITS, &self.hits),
            (&FLIGHTS, &self.flights),
            (&ISSUED, &self.issued),
            (&NOT_APPLICABLE, &self.not_applicable),
            (&DENIED, &self.denied),
            (&TRANSIENT, &self.transient),
            (&HELD_BACK, &self.held_back),
            (&REFUSED_PEOPLE, &self.refused_people),
            (&RELOADS, &self.reloads),
            (&FAILED_RELOADS, &self.failed_reloads),
        ] {
            text.add(metric, counter.get() as f64);
        }
        text.add_counts(&DECISIONS, &self.decisions);
        text.add(&CAPTURE_AS_PLANNED, f64::from(u8::from(capture_as_planned)));
        text.add(&CACHE_ENTRIES, kept as f64);
        let requests = self.aws.requests().into_iter();
        text.add_each(&AWS_REQUESTS, requests.map(|(action, count)| ([action], count as f64)));
        let answers = self.aws.answers().into_iter();
        let answers = answers.map(|answer| ([answer.action, answer.outcome.to_owned()], answer.count as f64));
        text.add_each(&AWS_ANSWERS, answers);
        text.finish()
    }
}

keymaker_daemon::metrics! {
    BUILD_INFO Gauge "credd_build_info" ["version"] "1, with the version that runs.",
    START_TIME Gauge "credd_start_time_seconds" [] "When the daemon started, in seconds since 1970.",
    CACHE_HITS Counter "credd_cache_hits_total" [] "Answers given from the cache.",
    FLIGHTS Counter "credd_flights_total" [] "Times that a chain of methods was asked.",
    ISSUED Counter "credd_issued_total" [] "Chains that ended with credentials.",
    NOT_APPLICABLE Counter "credd_not_applicable_total" [] "Chains without a method that applies.",
    DENIED Counter "credd_denied_total" [] "Chains that ended with a refusal.",
    TRANSIENT Counter "credd_transient_total" [] "Chains that could not find out.",
    HELD_BACK Counter "credd_held_back_total" [] "Questions held back by the token buckets.",
    REFUSED_PEOPLE Counter "credd_refused_people_total" [] "Callers whom the directory refuses.",
    RELOADS Counter "credd_reloads_total" [] "Times that the settings have been reloaded.",
    FAILED_RELOADS Counter "credd_failed_reloads_total" [] "Times that the settings could not be reloaded.",
    DECISIONS Counter "credd_decisions_total" ["asked", "outcome", "method"] "Issuances and refusals.",
    CAPTURE_AS_PLANNED Gauge "credd_capture_as_planned" [] "0 while credd-capture says that capture is not as planned.",
    CACHE_ENTRIES Gauge "credd_cache_entries" [] "Answers in the cache.",
    AWS_REQUESTS Counter "credd_aws_requests_total" ["action"] "Requests sent to AWS, second tries and pages too.",
    AWS_ANSWERS Counter "credd_aws_answers_total" ["action", "outcome"] "Answers of AWS; the other requests got none.",
}
