//! /run/keymaker/status.json: what keymakerd thinks of itself, for `keymaker status`, `why`, `doctor` and monitoring.
//!
//! A report and nothing else: no program decides anything by it. docs/status.md describes each field.

use keymaker_core::directory_file::Verdict;
use serde::Serialize;

use crate::config::KeymakerdConfig;
use crate::directory::entitlement::refused::RefusedEntry;
use crate::directory::iam::Iam;
use crate::directory::service::Service;
use crate::directory::state::{Grade, State};
use crate::settings::{SettingStatus, settings_with_origins};

#[derive(Serialize)]
struct StatusFile<'a> {
    version: &'static str,
    account: Option<&'a str>,
    instance_id: Option<&'a str>,
    role: Option<&'a str>,
    grade: u8,
    grade_means: &'static str,
    better_grade_needs: Option<&'static str>,
    settings_known: bool,
    required_group: Option<&'a str>,
    sudo_iam_group: Option<&'a str>,
    id_resolver_account: Option<&'a str>,
    settings: Vec<SettingStatus>,
    pending_settings: Vec<String>,
    settings_problems: &'a [String],
    settings_file_problem: Option<&'a str>,
    contact: Option<u64>,
    max_stale: u32,
    aws_is_silent: bool,
    last_failure: Option<&'a str>,
    outages: Vec<Silence>,
    issuers: Vec<IssuerStatus<'a>>,
    issuers_from: Option<String>,
    issuers_failure: Option<String>,
    proofs_from: Option<u64>,
    generation: u64,
    users: usize,
    groups: usize,
    refused_entries: Vec<RefusedEntryStatus<'a>>,
    kept_entries: Vec<RefusedEntryStatus<'a>>,
    not_people: &'a [String],
    not_people_unasked: usize,
    fenced: bool,
    may_not_log_in: Vec<MayNotLogIn>,
    ids_used: usize,
    ids_in_range: u64,
    unusable_keys: &'a [String],
    unusable_tags: &'a [String],
    left_out: Vec<&'a str>,
    halted: bool,
}

/// An issuer whose tokens open logins by proof.
#[derive(Serialize)]
struct IssuerStatus<'a> {
    issuer: &'a str,
    kids: Vec<&'a str>,
    fetched_at: u64,
}

/// One action that does not answer.
#[derive(Serialize)]
struct Silence {
    action: &'static str,
    why: String,
}

/// An IAM user or group that gets no entry, or keeps one that a newcomer would be refused.
#[derive(Serialize)]
struct RefusedEntryStatus<'a> {
    kind: String,
    iam_id: &'a str,
    iam_name: &'a str,
    why: String,
    remedy: String,
}

/// A user who resolves and may not log in.
#[derive(Serialize)]
struct MayNotLogIn {
    name: String,
    why: &'static str,
}

impl<I: Iam + 'static> Service<I> {
    /// Writes the status again.
    pub fn write_status(&self) {
        let accounts = self.accounts();
        let role = accounts.as_ref().and_then(|accounts| accounts.host_role.as_deref());
        let state = self.state();
        let settings = state.effective();
        let published = &state.published;
        self.store.write_status(&StatusFile {
            version: env!("CARGO_PKG_VERSION"),
            account: state.facts.account.as_deref(),
            instance_id: state.instance_id.as_deref(),
            role,
            grade: state.grade.number(),
            grade_means: grade_means(state.grade),
            better_grade_needs: better_grade_needs(state.grade),
            settings_known: settings.known,
            required_group: settings.require_iam_group.as_deref(),
            sudo_iam_group: state.config.sudo_iam_group.as_deref(),
            id_resolver_account: settings
                .id_resolver
                .as_ref()
                .map(|resolver| resolver.account().as_str()),
            settings: settings_with_origins(&state.config, &state.settings),
            pending_settings: state.pending_settings(),
            settings_problems: &state.settings_problems,
            settings_file_problem: state.settings_file_problem.as_deref(),
            contact: state.contact.map(|at| self.clock.on_host(at)),
            max_stale: state.config.max_stale,
            aws_is_silent: state.aws_is_silent,
            last_failure: state.last_failure.as_deref(),
            outages: silences(&state),
            issuers: self.issuers(&state),
            issuers_from: issuers_from(&state.config),
            issuers_failure: self.issuers_failure(),
            proofs_from: proofs_from(&state),
            generation: published.generation,
            users: published.users,
            groups: published.groups,
            refused_entries: entries(&state.published.refused),
            kept_entries: entries(&state.published.kept),
            not_people: &published.not_people.without_key,
            not_people_unasked: published.not_people.unasked,
            fenced: state.config.is_fenced(),
            may_not_log_in: may_not_log_in(&state),
            ids_used: state.ids.used(state.config.id_scheme().range()),
            ids_in_range: state.config.id_scheme().range().len(),
            unusable_keys: &published.unusable_keys,
            unusable_tags: &published.unusable_tags,
            left_out: published.left_out.values().flatten().map(String::as_str).collect(),
            halted: state.halted,
        });
    }

    fn issuers<'s>(&self, state: &'s State) -> Vec<IssuerStatus<'s>> {
        let shown = state.issuers.shown().filter(|_| state.config.proofs_are_on());
        let status = shown.map(|(issuer, kids, fetched_at)| IssuerStatus {
            issuer,
            kids,
            fetched_at: self.clock.on_host(fetched_at),
        });
        status.collect()
    }
}

/// Where the issuers' keys come from; `None` where there are no logins by proof.
fn issuers_from(config: &KeymakerdConfig) -> Option<String> {
    let from = match &config.login_keys_file {
        Some(file) => file.display().to_string(),
        None if config.login_issuers.is_empty() => "IAM".to_owned(),
        None => "login_issuers".to_owned(),
    };
    config.proofs_are_on().then_some(from)
}

/// From when on a proof may open a login, for everybody; `None` where none does, or nothing says so.
fn proofs_from(state: &State) -> Option<u64> {
    let from = state.config.login_not_before.max(state.ids.proofs_revoked());
    (state.config.proofs_are_on() && from > 0).then_some(from)
}

fn grade_means(grade: Grade) -> &'static str {
    match grade {
        Grade::One => "everyone, with groups and tags, in one call",
        Grade::Two => "everyone",
        Grade::Three => "the members of our groups, and others when first asked for by name",
    }
}

/// Grade 1 is only taken where configured: asking for it uninvited would look like an attack in CloudTrail.
fn better_grade_needs(grade: Grade) -> Option<&'static str> {
    match grade {
        Grade::One => None,
        Grade::Two => Some("iam:GetAccountAuthorizationDetails, and grade = 1 in keymakerd.toml"),
        Grade::Three => Some("iam:ListUsers"),
    }
}

fn silences(state: &State) -> Vec<Silence> {
    let mut silences: Vec<Silence> = state
        .outages
        .list()
        .map(|(action, outage)| Silence {
            action: action.as_str(),
            why: outage.why.clone(),
        })
        .collect();
    silences.sort_by_key(|silence| silence.action);
    silences.dedup_by(|a, b| a.action == b.action);
    silences
}

fn entries(entries: &[RefusedEntry]) -> Vec<RefusedEntryStatus<'_>> {
    let status = entries.iter().map(|entry| RefusedEntryStatus {
        kind: entry.kind.to_string(),
        iam_id: &entry.iam_id,
        iam_name: &entry.iam_name,
        why: entry.reason.to_string(),
        remedy: entry.remedy(),
    });
    status.collect()
}

fn may_not_log_in(state: &State) -> Vec<MayNotLogIn> {
    let status = |(name, verdict): &(keymaker_core::name::UserName, Verdict)| MayNotLogIn {
        name: name.to_string(),
        why: match verdict {
            Verdict::Allowed => "may log in",
            Verdict::NotInRequiredGroup => "not in the required IAM group",
            Verdict::NoEntry => "this host gives the user no entry",
            Verdict::Deleted => "IAM no longer has the user",
            Verdict::NameHeldByAnother => "the name belonged to another IAM user here: keymaker release NAME",
            Verdict::Expired => "the expires tag has passed or cannot be read",
        },
    };
    state.published.may_not_log_in.iter().map(status).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = include_str!("../../docs/status.md");

    #[test]
    fn the_documentation_explains_every_field_and_no_other() {
        let mut written = BTreeSet::new();
        collect_fields(&serde_json::to_value(one_of_everything()).unwrap(), &mut written);
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
        let explained: BTreeSet<String> = rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect();
        assert_eq!(explained, written);
    }

    fn collect_fields(value: &serde_json::Value, into: &mut BTreeSet<String>) {
        for (field, value) in value.as_object().into_iter().flatten() {
            into.insert(field.clone());
            value
                .as_array()
                .into_iter()
                .flatten()
                .for_each(|item| collect_fields(item, into));
        }
    }

    fn one_of_everything() -> StatusFile<'static> {
        StatusFile {
            version: "",
            account: None,
            instance_id: None,
            role: None,
            grade: 2,
            grade_means: "",
            better_grade_needs: None,
            settings_known: false,
            required_group: None,
            sudo_iam_group: None,
            id_resolver_account: None,
            settings: vec![SettingStatus::default()],
            pending_settings: Vec::new(),
            settings_problems: &[],
            settings_file_problem: None,
            contact: None,
            max_stale: 0,
            aws_is_silent: false,
            last_failure: None,
            outages: vec![Silence {
                action: "",
                why: String::new(),
            }],
            issuers: vec![IssuerStatus {
                issuer: "",
                kids: Vec::new(),
                fetched_at: 0,
            }],
            issuers_from: None,
            issuers_failure: None,
            proofs_from: None,
            generation: 0,
            users: 0,
            groups: 0,
            refused_entries: vec![RefusedEntryStatus {
                kind: String::new(),
                iam_id: "",
                iam_name: "",
                why: String::new(),
                remedy: String::new(),
            }],
            kept_entries: Vec::new(),
            not_people: &[],
            not_people_unasked: 0,
            fenced: false,
            may_not_log_in: vec![MayNotLogIn {
                name: String::new(),
                why: "",
            }],
            ids_used: 0,
            ids_in_range: 0,
            unusable_keys: &[],
            unusable_tags: &[],
            left_out: Vec::new(),
            halted: false,
        }
    }
}
