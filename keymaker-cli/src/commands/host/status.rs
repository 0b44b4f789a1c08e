//! `keymaker status`: what keymakerd says of itself, and what the published files say without it.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use keymaker_core::client::AskError;
use keymaker_core::login::{last_contact, older_than, unix_time};
use keymaker_core::paths;
use keymaker_core::sys::LocalStream;
use serde_json::{Value, json};

use super::{HostError, probe};
use crate::output::Output;

/// What keymakerd last said of itself.
pub fn read() -> Result<Value, HostError> {
    let unreadable = |why: String| HostError::Unreadable(paths::STATUS.into(), why);
    let text = std::fs::read_to_string(paths::STATUS).map_err(|error| {
        unreadable(format!(
            "{error}; keymakerd has not run since boot (systemctl status keymakerd)"
        ))
    })?;
    serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))
}

/// Prints the status. Anybody may ask.
pub fn run(output: &Output) -> Result<(), HostError> {
    let mut status = read()?;
    let role_now = probe::instance_role::replaced(&status);
    let running = LocalStream::connect(Path::new(paths::LOOKUP_SOCKET)).map_err(AskError::NotListening);
    if let Some(fields) = status.as_object_mut() {
        fields.insert("running".into(), json!(running.is_ok()));
        fields.insert("role_now".into(), json!(role_now));
        // One that keymakerd wrote before it was upgraded does not say.
        if let Some(group) = fields.get("sudo_iam_group") {
            let sudo = probe::sudo::for_members_of(group.as_str());
            fields.insert("sudo".into(), json!(sudo));
        }
    }
    let mut text = String::new();
    if let Err(error) = running {
        text += &format!("keymakerd does not answer: {error}\nThis is what it last said:\n");
    }
    text += &describe(&status, last_contact(Path::new(paths::CONTACT)), SystemTime::now());
    output.print(&text, &status);
    Ok(())
}

fn describe(status: &Value, contact: Option<SystemTime>, now: SystemTime) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<16} {value}");
    };
    let word = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let number = |key: &str| status.get(key).and_then(Value::as_u64).unwrap_or_default();
    line("account", word("account"));
    let mut instance = format!("{} with role {}", word("instance_id"), word("role"));
    if let Some(role) = status.get("role_now").and_then(Value::as_str) {
        let _ = write!(instance, "; it has the role {role} by now: keymaker sync");
    }
    line("instance", instance);
    line(
        "published",
        format!(
            "users: {}, groups: {} (generation {})",
            number("users"),
            number("groups"),
            number("generation")
        ),
    );
    if let Some(left_out) = left_out(status) {
        line("left out", left_out);
    }
    line("grade", format!("{}: {}", number("grade"), word("grade_means")));
    if let Some(needs) = status.get("better_grade_needs").and_then(Value::as_str) {
        line("", format!("a better one needs {needs}"));
    }
    line(
        "IAM answered",
        contact_sentence(contact, Duration::from_secs(number("max_stale")), now),
    );
    if status.get("settings_known") == Some(&Value::Bool(false)) {
        line(
            "settings",
            "not read yet, so nobody from IAM may log in; the role needs iam:GetRole on itself".to_owned(),
        );
    }
    if let Some(problem) = status.get("settings_file_problem").and_then(Value::as_str) {
        line(
            "settings file",
            format!("not used; what it said before still holds: {problem}"),
        );
    }
    if let Some(group) = status.get("required_group").and_then(Value::as_str) {
        line("required group", group.to_owned());
    }
    if let Some(from) = status.get("issuers_from").and_then(Value::as_str) {
        by_proof(&mut line, from, status, now);
    }
    if let Some(sudo) = status.get("sudo").and_then(Value::as_str) {
        line("sudo", sudo.to_owned());
    }
    if let Some(account) = status.get("id_resolver_account").and_then(Value::as_str) {
        line("users live in", format!("account {account}"));
    }
    if let Some(failure) = status.get("last_failure").and_then(Value::as_str) {
        line("last pass failed", failure.to_owned());
    }
    let lists = [
        ("pending", "pending_settings", ""),
        ("setting ignored", "settings_problems", ""),
        ("not answering", "outages", "action"),
        ("refused", "refused_entries", "iam_name"),
        ("keeps its name", "kept_entries", "iam_name"),
        ("may not log in", "may_not_log_in", "name"),
        ("unusable key", "unusable_keys", ""),
        ("unusable tag", "unusable_tags", ""),
    ];
    for (label, key, name) in lists {
        for item in status.get(key).and_then(Value::as_array).into_iter().flatten() {
            line(label, item_sentence(item, name));
        }
    }
    for setting in status.get("settings").and_then(Value::as_array).into_iter().flatten() {
        let part = |key: &str| setting.get(key).and_then(Value::as_str).unwrap_or_default();
        line(
            "setting",
            format!("{} = {} ({})", part("key"), part("value"), part("from")),
        );
    }
    if status.get("halted") == Some(&Value::Bool(true)) {
        line(
            "idle",
            "everything was forgotten by 'keymaker reset'; systemctl restart keymakerd starts afresh".to_owned(),
        );
    }
    text
}

/// Logins by proof, which are on.
fn by_proof(line: &mut impl FnMut(&str, String), from: &str, status: &Value, now: SystemTime) {
    let issuers = status.get("issuers").and_then(Value::as_array);
    let issuers = issuers.map(Vec::as_slice).unwrap_or_default();
    for issuer in issuers {
        let kids = issuer.get("kids").and_then(Value::as_array).into_iter().flatten();
        let kids: Vec<&str> = kids.filter_map(Value::as_str).collect();
        let fetched = issuer.get("fetched_at").and_then(Value::as_u64).unwrap_or_default();
        let url = issuer.get("issuer").and_then(Value::as_str).unwrap_or_default();
        let fetched = ago(unix_time(fetched), now);
        line(
            "logins by proof",
            format!("by {url} (from {from}), keys {} fetched {fetched}", kids.join(", ")),
        );
    }
    if issuers.is_empty() {
        line(
            "logins by proof",
            format!("none opens, for no key of an issuer is known (from {from})"),
        );
    }
    if let Some(since) = status.get("proofs_from").and_then(Value::as_u64).map(unix_time) {
        // A revocation counts from the next second on.
        let from = since.duration_since(now).map_or_else(
            |_| format!("since {}", ago(since, now)),
            |left| format!("in {} seconds or later", left.as_secs().max(1)),
        );
        line(
            "",
            format!("only tokens made {from} count (login_not_before, revoke-proofs)"),
        );
    }
    if let Some(failure) = status.get("issuers_failure").and_then(Value::as_str) {
        line(
            "",
            format!("the keys could not be fetched when that was last tried: {failure}"),
        );
    }
}

/// How many IAM users have no entry since nothing says that they are people, and why; nothing where there are none.
pub fn left_out(status: &Value) -> Option<String> {
    let unasked = status
        .get("not_people_unasked")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let asked = status.get("not_people").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    (asked + unasked > 0).then(|| {
        format!(
            "IAM users without an entry here: {}. They have no SSH key, no tag of ours and no group of ours (publish = \"people\"); not checked \
             for a key yet: {unasked} ('id NAME' does that)",
            asked + unasked
        )
    })
}

fn item_sentence(item: &Value, name: &str) -> String {
    match (
        item.as_str(),
        item.get(name).and_then(Value::as_str),
        item.get("why").and_then(Value::as_str),
    ) {
        (Some(sentence), _, _) => sentence.to_owned(),
        (None, Some(name), Some(why)) => format!("{name}: {why}"),
        _ => item.to_string(),
    }
}

fn contact_sentence(contact: Option<SystemTime>, max_stale: Duration, now: SystemTime) -> String {
    let Some(contact) = contact else {
        return "not yet, so nobody from IAM may log in".to_owned();
    };
    let ago = ago(contact, now);
    if older_than(contact, max_stale, now) {
        format!("{ago}, longer than max_stale, so nobody from IAM may log in")
    } else {
        ago
    }
}

/// How long ago that was, in words.
pub fn ago(time: SystemTime, now: SystemTime) -> String {
    let age = now.duration_since(time).unwrap_or_default().as_secs();
    match age {
        1 => "1 second ago".to_owned(),
        0..=119 => format!("{age} seconds ago"),
        120..=7199 => format!("{} minutes ago", age / 60),
        _ => format!("{} hours ago", age / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_out_of_contact_is_said_to_let_nobody_in() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let day = Duration::from_secs(86_400);
        assert_eq!(
            contact_sentence(None, day, now),
            "not yet, so nobody from IAM may log in"
        );
        assert_eq!(
            contact_sentence(Some(now - Duration::from_secs(60)), day, now),
            "60 seconds ago"
        );
        assert!(contact_sentence(Some(now - day * 2), day, now).contains("nobody from IAM may log in"));
    }

    #[test]
    fn logins_by_proof_are_shown_where_they_are_on_with_the_age_of_the_keys() {
        let now = unix_time(1_800_000_000);
        let shown = |status: Value| describe(&status, None, now);
        assert!(!shown(json!({ "issuers_from": null, "issuers": [] })).contains("proof"));
        let text = shown(json!({
            "issuers_from": "IAM", "issuers_failure": "federation is off in this account", "proofs_from": 1_799_999_940,
            "issuers": [{ "issuer": "https://1.example", "kids": ["EC384_0", "EC384_1"], "fetched_at": 1_799_999_400 }],
        }));
        for part in [
            "logins by proof  by https://1.example (from IAM), keys EC384_0, EC384_1 fetched 10 minutes ago",
            "only tokens made since 60 seconds ago count",
            "federation is off in this account",
        ] {
            assert!(text.contains(part), "{part} is missing from\n{text}");
        }
        let later = shown(json!({ "issuers_from": "IAM", "proofs_from": 1_800_000_060 }));
        assert!(
            later.contains("only tokens made in 60 seconds or later count"),
            "{later}"
        );
        let none = shown(json!({ "issuers_from": "/etc/keys", "issuers": [] }));
        assert!(
            none.contains("none opens, for no key of an issuer is known (from /etc/keys)"),
            "{none}"
        );
    }

    #[test]
    fn everything_that_needs_an_administrator_is_named() {
        let status = json!({
            "account": "123456789012", "grade": 3, "grade_means": "the members", "better_grade_needs": "iam:ListUsers",
            "settings_known": false, "last_failure": "iam:GetRole was denied",
            "pending_settings": ["no group would be required"],
            "outages": [{ "action": "iam:GetUser", "why": "timeout" }],
            "refused_entries": [{ "iam_name": "root", "why": "reserved" }],
            "kept_entries": [{ "iam_name": "puppet", "why": "wanted" }], "settings_file_problem": "line 3",
            "may_not_log_in": [{ "name": "carol", "why": "not in the required IAM group" }],
            "settings": [{ "key": "linux_user_suffix", "value": "\"@x\"", "from": "the role's description" }],
        });
        let text = describe(&status, None, SystemTime::now());
        for part in [
            "iam:ListUsers",
            "iam:GetRole",
            "no group would be",
            "iam:GetUser: timeout",
            "root: reserved",
            "puppet: wanted",
            "holds: line 3",
            "carol: not in",
            "linux_user_suffix = \"@x\" (the role's description)",
        ] {
            assert!(text.contains(part), "{part} is missing from\n{text}");
        }
    }
}
