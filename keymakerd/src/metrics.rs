//! keymakerd's metrics, in the text format of Prometheus: what it has counted, and what it knows now. The daemon shows
//! them at the status socket and writes them where the settings say; docs/metrics.md explains each.
//!
//! Labels are this program's own words, and actions of AWS: no name of a user or group, and no text of anybody's.

use std::collections::BTreeMap;

use keymaker_daemon::metrics::MetricsText;

use crate::directory::iam::Iam;
use crate::directory::publishing::rights::why_not;
use crate::directory::service::Service;

impl<I: Iam + 'static> Service<I> {
    /// Everything, as Prometheus reads it.
    pub fn metrics(&self) -> String {
        let mut text = MetricsText::default();
        text.add_each(&BUILD_INFO, [([env!("CARGO_PKG_VERSION")], 1.0)]);
        text.add(&START_TIME, self.started as f64);
        self.add_counts(&mut text);
        self.add_state(&mut text);
        text.finish()
    }

    fn add_counts(&self, text: &mut MetricsText) {
        let counts = &self.counts;
        text.add_counts(&LOGINS, &self.audit.logins);
        text.add_counts(&DECISIONS, &self.audit.decisions);
        text.add_counts(&QUESTIONS, &counts.questions);
        text.add_counts(&PASSES, &counts.passes);
        text.add(&PASS_SECONDS, counts.pass_time.get().as_secs_f64());
        text.add(&LAST_PASS, counts.last_pass.get().as_secs_f64());
        text.add_counts(&PUBLICATIONS, &counts.publications);
        text.add_counts(&RELOADS, &counts.reloads);
        let requests = counts.aws.requests().into_iter();
        text.add_each(&AWS_REQUESTS, requests.map(|(action, count)| ([action], count as f64)));
        let answers = counts.aws.answers().into_iter();
        let answers = answers.map(|answer| ([answer.action, answer.outcome.to_owned()], answer.count as f64));
        text.add_each(&AWS_ANSWERS, answers);
    }

    fn add_state(&self, text: &mut MetricsText) {
        let state = self.state();
        let published = &state.published;
        let contact = state.contact.map_or(0, |at| self.clock.on_host(at));
        text.add(&CONTACT, contact as f64);
        text.add(&MAX_STALE, state.config.max_stale.into());
        let mut outages: BTreeMap<[&str; 1], f64> = BTreeMap::new();
        for (action, _) in state.outages.list() {
            *outages.entry([action.as_str()]).or_default() += 1.0;
        }
        text.add_each(&OUTAGES, outages);
        let shown = state.issuers.shown().filter(|_| state.config.proofs_are_on());
        let oldest = shown.map(|(.., fetched_at)| self.clock.on_host(fetched_at)).min();
        text.add(&ISSUER_KEYS, oldest.unwrap_or_default() as f64);
        text.add(&ISSUERS_FAILURE, f64::from(u8::from(self.issuers_failure().is_some())));
        text.add(&USERS, published.users as f64);
        text.add(&GROUPS, published.groups as f64);
        let mut refused: BTreeMap<[&str; 1], f64> = BTreeMap::new();
        for (_, verdict) in &published.may_not_log_in {
            *refused.entry([why_not(*verdict).word()]).or_default() += 1.0;
        }
        text.add_each(&USERS_REFUSED, refused);
        let mut entries: BTreeMap<[&str; 2], f64> = BTreeMap::new();
        for entry in &published.refused {
            *entries.entry([entry.kind.word(), entry.reason.word()]).or_default() += 1.0;
        }
        text.add_each(&REFUSED_ENTRIES, entries);
        text.add(&IDS_USED, state.ids.used(state.config.id_scheme().range()) as f64);
        text.add(&IDS_IN_RANGE, state.config.id_scheme().range().len() as f64);
        text.add(&PENDING_SETTINGS, state.pending_settings().len() as f64);
        let has_problem = state.settings_file_problem.is_some();
        text.add(&SETTINGS_FILE_PROBLEM, f64::from(u8::from(has_problem)));
    }
}

keymaker_daemon::metrics! {
    BUILD_INFO Gauge "keymakerd_build_info" ["version"] "1, with the version that runs.",
    START_TIME Gauge "keymakerd_start_time_seconds" [] "When the daemon started, in seconds since 1970.",
    LOGINS Counter "keymakerd_logins_total" ["decision"] "Logins of IAM users, by any service that asks PAM.",
    DECISIONS Counter "keymakerd_decisions_total" ["event", "decision", "reason"]
        "Lines of the audit with their reasons: logins, refused keys, rights, settings. What a flood left out counts too.",
    QUESTIONS Counter "keymakerd_questions_total" ["question", "answer"] "Questions at the two request sockets.",
    PASSES Counter "keymakerd_passes_total" ["outcome"] "Passes over the whole directory.",
    PASS_SECONDS Counter "keymakerd_pass_seconds_total" [] "How long all passes took together.",
    LAST_PASS Gauge "keymakerd_last_pass_seconds" [] "How long the last pass took.",
    PUBLICATIONS Counter "keymakerd_publications_total" ["outcome"] "Publications that changed a file, or failed.",
    RELOADS Counter "keymakerd_reloads_total" ["outcome"] "Reloads of the settings.",
    AWS_REQUESTS Counter "keymakerd_aws_requests_total" ["action"] "Requests sent to AWS, second tries and pages too.",
    AWS_ANSWERS Counter "keymakerd_aws_answers_total" ["action", "outcome"] "Answers of AWS; the other requests got none.",
    CONTACT Gauge "keymakerd_contact_timestamp_seconds" []
        "When IAM last answered everything, in seconds since 1970; 0: never.",
    MAX_STALE Gauge "keymakerd_max_stale_seconds" [] "How old that may be before nobody from IAM may log in.",
    OUTAGES Gauge "keymakerd_outages" ["action"] "Actions that do not answer, or are denied, now.",
    ISSUER_KEYS Gauge "keymakerd_issuer_keys_timestamp_seconds" []
        "When the issuer's keys were last fetched, in seconds since 1970; 0: never, or no logins by proof.",
    ISSUERS_FAILURE Gauge "keymakerd_issuer_keys_failure" []
        "1 while the issuer's keys for logins by proof cannot be fetched.",
    USERS Gauge "keymakerd_users" [] "Users who resolve.",
    GROUPS Gauge "keymakerd_groups" [] "Groups from IAM, private ones not counted.",
    USERS_REFUSED Gauge "keymakerd_users_refused" ["reason"] "Users who resolve and may not log in.",
    REFUSED_ENTRIES Gauge "keymakerd_refused_entries" ["kind", "reason"]
        "IAM users and groups that get no entry: clashes of names and ids, and names that are none here.",
    IDS_USED Gauge "keymakerd_ids_used" [] "Numbers of the range that belong to somebody.",
    IDS_IN_RANGE Gauge "keymakerd_ids_in_range" [] "Numbers in the range.",
    PENDING_SETTINGS Gauge "keymakerd_pending_settings" [] "Changes that wait for 'keymaker accept-settings'.",
    SETTINGS_FILE_PROBLEM Gauge "keymakerd_settings_file_problem" []
        "1 while keymakerd.toml has a mistake, and what it said before holds.",
}

#[cfg(test)]
mod tests;
