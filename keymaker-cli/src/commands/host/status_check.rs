//! `keymaker status --check`: one line and an exit status, as the Monitoring Plugins' guidelines have them, from what
//! keymakerd and the published files say. Anybody may ask.

use std::path::Path;
use std::time::{Duration, SystemTime};

use keymaker_core::client::{HUNG_AFTER, silence};
use keymaker_core::login::last_contact;
use keymaker_core::paths;
use keymaker_core::sys::LocalStream;
use serde_json::{Value, json};

use super::status;
use crate::output::Output;

/// As long as KeymakerNoContact of dist/monitoring/alerts.yml waits, four passes by default.
const CONTACT_IS_OLD: Duration = Duration::from_secs(1200);

/// How a host is, as monitoring has it; the number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

impl Health {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Prints the line; returns the exit status.
pub fn run(output: &Output) -> u8 {
    let socket = Path::new(paths::LOOKUP_SOCKET);
    let (health, line) = match status::read() {
        Ok(status) => {
            let seen = Seen {
                beating: LocalStream::connect(socket).is_ok() && silence(socket).is_none_or(|age| age < HUNG_AFTER),
                contact: last_contact(Path::new(paths::CONTACT)),
                now: SystemTime::now(),
            };
            judge(&status, &seen)
        }
        Err(error) => (Health::Unknown, error.to_string()),
    };
    let line = format!("KEYMAKER {} - {line}", health.word());
    output.print(&line, &json!({ "health": health.word(), "line": line }));
    health as u8
}

/// What does not stand in the status.
struct Seen {
    beating: bool,
    contact: Option<SystemTime>,
    now: SystemTime,
}

/// The worst of all that is so comes first; the rest of its kind is counted.
fn judge(status: &Value, seen: &Seen) -> (Health, String) {
    let number = |key: &str| status.get(key).and_then(Value::as_u64).unwrap_or_default();
    let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
    let count = |key: &str| status.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    let max_stale = Duration::from_secs(number("max_stale"));
    let age = seen.contact.map(|at| seen.now.duration_since(at).unwrap_or_default());
    let mut found: Vec<(Health, String)> = Vec::new();
    let mut find = |health, is_so: bool, what: &str| {
        if is_so {
            found.push((health, what.to_owned()));
        }
    };
    let halted = status.get("halted") == Some(&Value::Bool(true));
    find(
        Health::Critical,
        !seen.beating,
        "keymakerd does not answer: systemctl status keymakerd",
    );
    find(
        Health::Critical,
        halted,
        "everything was forgotten by 'keymaker reset': systemctl restart keymakerd",
    );
    let unread = status.get("settings_known") == Some(&Value::Bool(false));
    find(
        Health::Critical,
        unread,
        "the settings were never read, and nobody from IAM may log in: keymaker doctor",
    );
    match age {
        None => find(
            Health::Critical,
            true,
            "IAM was never reached, and nobody from IAM may log in: keymaker doctor",
        ),
        Some(age) => {
            let ago = format!("IAM answered everything {} s ago", age.as_secs());
            let ended = format!("{ago}, and nobody from IAM may log in: keymaker doctor");
            let soon = format!("{ago}, more than half of max_stale: keymaker doctor");
            find(Health::Critical, age >= max_stale, &ended);
            find(Health::Critical, age < max_stale && age > max_stale / 2, &soon);
            let old = age <= max_stale / 2 && age > CONTACT_IS_OLD;
            find(Health::Warning, old, &format!("{ago}: keymaker doctor"));
        }
    }
    let (users, kept_out) = (number("users"), count("may_not_log_in") as u64);
    find(
        Health::Critical,
        users > 0 && kept_out >= users,
        &format!("none of the users here may log in, of {users}: keymaker doctor"),
    );
    let nobody = status.get("users") == Some(&json!(0));
    find(
        Health::Warning,
        nobody,
        "no user from IAM is known here: keymaker status",
    );
    let mistake = text("settings_file_problem");
    let problem = format!("keymakerd.toml has a mistake: {}", mistake.clone().unwrap_or_default());
    find(Health::Warning, mistake.is_some(), &problem);
    let outages = count("outages");
    find(
        Health::Warning,
        outages > 0,
        &format!("actions denied or without an answer: {outages}; keymaker doctor"),
    );
    let pending = count("pending_settings");
    find(
        Health::Warning,
        pending > 0,
        &format!("settings that wait for 'keymaker accept-settings': {pending}"),
    );
    let health = found.iter().map(|(health, _)| *health).max().unwrap_or(Health::Ok);
    found.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
    let said = match found.first() {
        Some((_, first)) if found.len() > 1 => format!("{first} (and {} more)", found.len() - 1),
        Some((_, first)) => first.clone(),
        None => format!("users: {}", number("users")),
    };
    let figures = format!(
        "contact_age={}s;{};{} users={} groups={} refused_entries={}",
        age.map_or_else(|| "U".to_owned(), |age| age.as_secs().to_string()),
        CONTACT_IS_OLD.as_secs(),
        max_stale.as_secs() / 2,
        number("users"),
        number("groups"),
        count("refused_entries")
    );
    // A bar would begin the figures.
    (health, format!("{} | {figures}", said.replace(['|', '\n'], " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: &Value, beating: bool, age: Option<u64>) -> (Health, String) {
        let mut status = json!({
            "max_stale": 86_400, "users": 5, "groups": 2, "settings_known": true, "halted": false, "outages": [],
            "pending_settings": [], "settings_file_problem": null, "refused_entries": [],
        });
        for (key, value) in change.as_object().unwrap() {
            status[key] = value.clone();
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let contact = age.map(|age| now - Duration::from_secs(age));
        judge(&status, &Seen { beating, contact, now })
    }

    #[test]
    fn each_state_of_a_host_has_its_exit_status_and_one_line() {
        use Health::{Critical, Ok, Warning};
        for (change, beating, age, health, said) in [
            (
                json!({}),
                true,
                Some(10),
                Ok,
                "users: 5 | contact_age=10s;1200;43200 users=5",
            ),
            (json!({}), true, Some(1300), Warning, "1300 s ago"),
            (json!({}), true, Some(50_000), Critical, "more than half of max_stale"),
            (json!({}), true, Some(90_000), Critical, "nobody from IAM may log in"),
            (json!({}), true, None, Critical, "contact_age=Us"),
            (json!({}), false, Some(10), Critical, "does not answer"),
            (
                json!({"users": 1, "may_not_log_in": [{}]}),
                true,
                Some(10),
                Critical,
                "none of the users here may log in",
            ),
            (json!({"may_not_log_in": [{}]}), true, Some(10), Ok, "users: 5"),
            (
                json!({"users": 0}),
                true,
                Some(10),
                Warning,
                "no user from IAM is known",
            ),
            (json!({"halted": true}), true, Some(10), Critical, "reset"),
            (json!({"settings_known": false}), true, Some(10), Critical, "never read"),
            (
                json!({"settings_file_problem": "a|b\nc"}),
                true,
                Some(10),
                Warning,
                "a b c |",
            ),
            (
                json!({"outages": [{}]}),
                true,
                Some(10),
                Warning,
                "without an answer: 1",
            ),
            (
                json!({"pending_settings": ["x"]}),
                false,
                Some(10),
                Critical,
                "(and 1 more)",
            ),
        ] {
            let (judged, line) = judged(&change, beating, age);
            assert!(
                judged == health && line.contains(said),
                "{change} {age:?}: {judged:?} {line}"
            );
            assert_eq!((line.matches('|').count(), line.lines().count()), (1, 1), "{line}");
        }
    }
}
