//! IAM, by trying: keymakerd is ordered to ask about everybody, and says what did not answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use keymaker_aws::iam_names::is_suffix;
use keymaker_core::client::AskError;
use keymaker_core::directory_file::{Directory, Verdict};
use keymaker_core::login::{last_contact, older_than};
use keymaker_core::name::UserName;
use keymaker_core::paths;
use keymaker_core::protocol::Question;
use keymaker_core::running::CONTINUING;
use keymaker_core::sys::LocalStream;
use serde_json::Value;

use super::super::published::of_each_published;
use super::super::status::left_out;
use super::super::{HostError, order};
use super::daemon_status::{self, list, word};
use super::finding::{FaultCause, NO_CONTACT};
use super::{Findings, aws, configure, daemon, proofs};

/// How long doctor waits for the pass that it orders. What comes later stands in the status at its next run.
const PASS: Duration = Duration::from_secs(5);

/// Looks at what IAM says, and does not say.
pub fn look(found: &mut Findings) {
    if LocalStream::connect(Path::new(paths::LOGIN_SOCKET)).is_ok() && !asks(found) {
        return;
    }
    contact(found);
    let Some(status) = daemon_status::read() else {
        let why = "'keymaker status' and monitoring have nothing to show";
        found
            .fault(
                format!("{} cannot be read", paths::STATUS),
                why,
                "systemctl restart keymakerd",
            )
            .of(NO_CONTACT);
        return;
    };
    aws::look(found, &status);
    proofs::keys(found, &status);
    settings(found, &status);
    required_group(found, &status);
    refused(found, &status);
}

/// Has keymakerd ask IAM whatever it ever asks: about everybody, and then, as for a login, about one. What comes of it
/// stands in the status, by action. Returns whether keymakerd lives.
fn asks(found: &mut Findings) -> bool {
    // What IAM said a moment ago is not news: it is asked again.
    let mut orders = vec![Question::Invalidate(None), Question::Sync];
    let users = of_each_published(|user| user.name).unwrap_or_default();
    orders.extend(users.first().copied().map(Question::Keys));
    let until = Instant::now() + PASS;
    for order in orders {
        let patience = until.saturating_duration_since(Instant::now());
        if let Err(HostError::NoAnswer(AskError::TimedOut)) = order::give_within(order, patience) {
            if daemon::hangs(found) {
                return false;
            }
            found.note(format!(
                "a pass takes longer than {} s, and is still going on",
                PASS.as_secs()
            ));
            break;
        }
    }
    true
}

fn contact(found: &mut Findings) {
    let limits = Directory::open(Path::new(paths::DIRECTORY))
        .map(|directory| (directory.header().max_stale, directory.header().max_stale_running));
    let (max_stale, running) = limits.unwrap_or((86_400, 0));
    let (max_stale, running) = (
        Duration::from_secs(max_stale.into()),
        Duration::from_secs(running.into()),
    );
    let why = "nobody from IAM may log in: a revocation might have been missed";
    let remedy = "systemctl restart keymakerd; keymaker sync";
    let what = match last_contact(Path::new(paths::CONTACT)) {
        None => "this host has not reached IAM yet",
        Some(contact) if older_than(contact, max_stale, SystemTime::now()) => {
            what_goes_on(found, contact + running);
            "IAM was last reached longer than max_stale ago"
        }
        Some(_) => return,
    };
    found.fault(what, why, remedy).of(NO_CONTACT);
}

/// Whether sudo works although ssh does not, and for how long.
fn what_goes_on(found: &mut Findings, until: SystemTime) {
    let is_silent = daemon_status::read().is_some_and(|status| status.get("aws_is_silent") == Some(&Value::Bool(true)));
    let services = CONTINUING.join(", ");
    found.note(match until.duration_since(SystemTime::now()) {
        Ok(left) if is_silent => format!(
            "AWS is silent: {services} go on for another {} h (max_stale_running) for who was here and was not refused; 'keymaker why NAME' says for whom",
            left.as_secs() / 3600
        ),
        Ok(_) => format!(
            "{services} do not go on either: AWS answers and refuses, or this host cannot ask (max_stale_running counts only where AWS is silent)"
        ),
        Err(_) => format!("{services} do not go on either: max_stale_running has passed"),
    });
}

/// A required group that lets nobody in: it is misspelt, empty, or not there.
fn required_group(found: &mut Findings, status: &Value) {
    let group = word(status, "required_group");
    let verdicts = of_each_published(|user| user.verdict).unwrap_or_default();
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let outside = count(Verdict::NotInRequiredGroup);
    if outside == 0 || count(Verdict::Allowed) > 0 {
        return;
    }
    found
        .fault(
            format!(
                "none of the {} users here may log in, {outside} of them because the required IAM group {group} does not have them",
                verdicts.len()
            ),
            "everybody from IAM is locked out of this host",
            configure::somebody_in(group),
        )
        .of(&[FaultCause::Pending]);
}

fn settings(found: &mut Findings, status: &Value) {
    if status.get("settings_known") == Some(&Value::Bool(false)) {
        found
            .fault(
                "the settings in the role's description have never been read",
                "nobody from IAM may log in: a group might be required",
                "keymaker sync",
            )
            .of(NO_CONTACT);
    }
    for pending in list(status, "pending_settings") {
        let what = format!(
            "a change of settings is held back: {}",
            pending.as_str().unwrap_or_default()
        );
        let why = "otherwise anybody who may write the role's description, or a file that was cut off, would decide \
            who logs in here";
        found
            .fault(what, why, "keymaker accept-settings")
            .is(FaultCause::Pending);
    }
    if let Some(problem) = status.get("settings_file_problem").and_then(Value::as_str) {
        found
            .fault(
                format!("keymakerd.toml cannot be used, and what it said before still holds: {problem}"),
                "what was written there since then has no effect",
                daemon::mended(problem, paths::KEYMAKERD_TOML, "systemctl reload keymakerd"),
            )
            .of(&[FaultCause::KeymakerdToml]);
    }
    for problem in list(status, "settings_problems") {
        let what = format!(
            "a setting in the role's description is ignored: {}",
            problem.as_str().unwrap_or_default()
        );
        let remedy = "aws iam update-role --role-name ROLE --description … && keymaker sync  # with an administrator's AWS credentials";
        found.fault(what, "it does not say what it was meant to say", remedy);
    }
    if status.get("halted") == Some(&Value::Bool(true)) {
        let why = "after 'keymaker reset' nobody from IAM may log in";
        found
            .fault("keymakerd is idle", why, "systemctl restart keymakerd")
            .is(FaultCause::Keymakerd);
    }
}

/// A number is never given twice, so users made and deleted use a narrow range up.
fn ids(found: &mut Findings, status: &Value) {
    let number = |field| status.get(field).and_then(Value::as_u64).unwrap_or(0);
    let (used, range) = (number("ids_used"), number("ids_in_range"));
    if range > 0 && used.saturating_mul(MOST_USED) >= range {
        found.fault(
            format!("{used} of the {range} ids of this host's range have been given out, and none is given out twice"),
            "a newcomer whose id falls on one of them is refused",
            "sed -i '/^id_range/d' /etc/keymaker/keymakerd.toml; systemctl reload keymakerd  # the default is 268 million ids; everybody \
             who has an id keeps it",
        );
    }
}

/// Of ids, when one in so many has been given.
const MOST_USED: u64 = 5;

const NO_UNIX_NAME: &str = " cannot be a Unix name: ";

/// The lines of keymakerd.toml by which most of these names of IAM users would be Unix names; none where no lines do that.
fn most_need(names: &[&str]) -> Vec<String> {
    let mut endings = BTreeMap::new();
    for name in names {
        let ending = name.find('@').and_then(|at| name.get(at..)).unwrap_or_default();
        *endings.entry(ending).or_insert(0_usize) += 1;
    }
    let ending = endings
        .into_iter()
        .max_by_key(|(_, many)| *many)
        .map_or("", |(ending, _)| ending);
    if !is_suffix(ending) {
        return Vec::new();
    }
    let logins: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(ending)).collect();
    let are_names = |small: bool| {
        let is_name = |login: &&&str| {
            let login = if small {
                login.to_ascii_lowercase()
            } else {
                (**login).to_owned()
            };
            UserName::parse(login.as_bytes()).is_ok()
        };
        logins.iter().filter(is_name).count()
    };
    let small = are_names(true) > are_names(false);
    if 2 * are_names(small) <= names.len() {
        return Vec::new();
    }
    let ending = (!ending.is_empty()).then(|| format!("linux_user_suffix = \"{ending}\""));
    let small = small.then(|| "lowercase_names = true".to_owned());
    ending.into_iter().chain(small).collect()
}

/// Anybody who is refused for a local or reserved name is refused by design; two who want one name or id need an
/// administrator, and so does a line of /etc/group that waits for a person.
fn refused(found: &mut Findings, status: &Value) {
    let is_nameless = |entry: &&Value| word(entry, "kind") == "user" && word(entry, "why").contains(NO_UNIX_NAME);
    let names = list(status, "refused_entries").filter(is_nameless);
    let names: Vec<&str> = names.map(|entry| word(entry, "iam_name")).collect();
    let published = status.get("users").and_then(Value::as_u64).unwrap_or_default();
    let settings = most_need(&names);
    let is_one_finding = names.len() as u64 > published && !settings.is_empty();
    if is_one_finding {
        let lines: Vec<String> = settings.iter().map(|line| format!("'{line}'")).collect();
        found.fault(
            format!(
                "{} IAM users, more than the {published} who have an entry here, have names that cannot be Unix names, such as {:?}",
                names.len(),
                names.first().copied().unwrap_or_default()
            ),
            "they do not exist on this host",
            format!(
                "printf '%s\\n' {} >> {}; systemctl reload keymakerd; keymaker sync  # users whose names are \
                 otherwise have no entry then",
                lines.join(" "),
                paths::KEYMAKERD_TOML
            ),
        );
    }
    if let Some(left_out) = left_out(status) {
        found.note(left_out);
    }
    for entry in list(status, "refused_entries") {
        if is_one_finding && is_nameless(&entry) {
            continue;
        }
        let (kind, name, why) = (word(entry, "kind"), word(entry, "iam_name"), word(entry, "why"));
        let what = format!("IAM {kind} {name} is refused: {why}");
        let clash = ["rename one of the two", "the id ", "its tag uid"]
            .iter()
            .any(|sign| why.contains(sign));
        let anothers = why.contains("another service of this host, and");
        if why.contains("another service of this host is not known") {
            let consequence = "nobody new from IAM exists on this host until it answers";
            found.fault(what, consequence, word(entry, "remedy"));
        } else if clash && !anothers {
            found.fault(
                what,
                "the user or group does not exist on this host, and files may change hands between hosts",
                "keymaker sync  # after one of the two is renamed or deleted in IAM",
            );
        } else if why.contains("and /etc/passwd has no ") {
            found.fault(
                what,
                "the line would give the group to anybody who gets the name; if it means nobody, remove the name from \
                it",
                word(entry, "remedy"),
            );
        } else if why.contains(NO_UNIX_NAME) {
            found.note(format!("{what}; {}", word(entry, "remedy")));
        } else {
            found.note(what);
        }
    }
    for entry in list(status, "kept_entries") {
        let (kind, name, why) = (word(entry, "kind"), word(entry, "iam_name"), word(entry, "why"));
        found.fault(
            format!("IAM {kind} {name} had its name here first and keeps it: {why}"),
            "software that takes an existing account for its own would run as this user, or give this group its files",
            "keymaker sync  # after the user or group is renamed in IAM: uid and gid stay",
        );
    }
    ids(found, status);
    if status.get("fenced") == Some(&Value::Bool(false)) {
        found.note(
            "anybody who may create or rename IAM users chooses names on this host; user_path_prefix or \
             only_group_members in keymakerd.toml admits only the users that you mean",
        );
    }
    for key in list(status, "unusable_keys") {
        found.note(format!("an SSH key is not used: {}", key.as_str().unwrap_or_default()));
    }
    for tag in list(status, "unusable_tags") {
        found.note(tag.as_str().unwrap_or_default());
    }
    for user in list(status, "may_not_log_in") {
        found.note(format!("{} may not log in: {}", word(user, "name"), word(user, "why")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_by_which_most_names_are_unix_names_are_found_by_trying() {
        let needs = |names: &[&str]| most_need(names).join("; ");
        let (suffix, small) = ("linux_user_suffix = \"@example.com\"", "lowercase_names = true");
        assert_eq!(
            needs(&["alice@example.com", "bob@example.com", "carol@other.org"]),
            suffix
        );
        assert_eq!(needs(&["Alice", "Bob", "C.D"]), small);
        assert_eq!(
            needs(&["Alice@example.com", "bob@example.com"]),
            format!("{suffix}; {small}")
        );
        for nothing_helps in [&["2bob", "Zoë"][..], &["a@b'c", "d@b'c"], &[]] {
            assert_eq!(needs(nothing_helps), "", "{nothing_helps:?}");
        }
    }

    #[test]
    fn a_range_of_ids_is_a_finding_once_a_fifth_of_it_is_used() {
        let findings = |used: u64, range: u64| {
            let mut found = Findings::default();
            let status = serde_json::json!({ "ids_used": used, "ids_in_range": range });
            ids(&mut found, &status);
            found.findings.len()
        };
        assert_eq!(
            (findings(199, 1000), findings(200, 1000), findings(1000, 1000)),
            (0, 1, 1)
        );
        assert_eq!((findings(5000, 268_304_384), findings(0, 0)), (0, 0));
    }
}
