//! What users get of credd: whether it has what its methods need, by its own table, and whether those who were here get
//! what their chain says.

use std::time::{Duration, Instant};

use keymaker_core::directory_file::Verdict;
use keymaker_core::paths;
use serde_json::{Value, json};

use super::super::probe::{credd, run_for, text_setting};
use super::super::published::of_each_published;
use super::finding::FaultCause;
use super::{Findings, configure, daemon_status};

/// What credd says that it lacks. It asks AWS, and is given the time that a person has.
pub fn lacks(found: &mut Findings) {
    let table = match run_for("4", credd::PROGRAM, &["--check"]) {
        Ok(table) => table.replace('\n', "; "),
        Err(table) => table,
    };
    for name in table.split("; ").filter_map(exempts_nobody) {
        found.fault(
            format!("exempt_uids in credd.toml names {name}, and /etc/passwd has no {name}"),
            "nobody is exempt by it: what was to reach the instance's own credentials does not",
            format!(
                "sed -i -E '/^exempt_uids/{{s/\"{name}\", *//;s/(, *)?\"{name}\"//}}' {}; systemctl reload credd; systemctl restart credd-capture",
                credd::SETTINGS
            ),
        );
    }
    told(missing(&table), found);
}

/// What is missing, by what is to be done about it.
fn told(missing: Vec<LackingRow>, found: &mut Findings) {
    const WHY: &str = "users who depend on it get no credentials";
    let (denied, others): (Vec<_>, Vec<_>) = missing
        .into_iter()
        .partition(|missing| missing.what.contains("was denied"));
    let (unanswered, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|missing| {
        let signs = [
            "got no usable answer",
            "was throttled",
            "could not be asked",
            "did not end in time",
        ];
        signs.iter().any(|sign| missing.what.contains(sign))
    });
    let all = |of: &[LackingRow]| {
        of.iter()
            .map(|missing| missing.what.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    };
    if !denied.is_empty() {
        let remedy = configure::command(&daemon_status::read().unwrap_or_default());
        let what = format!("credd lacks something: {}", all(&denied));
        found.fault(what, WHY, remedy).of(NO_WAY);
    }
    if !unanswered.is_empty() {
        let what = format!("credd gets no answer that it could use: {}", all(&unanswered));
        found.fault(what.clone(), WHY, way_of_credd(&what)).of(NO_WAY);
    }
    for LackingRow { what, remedy } in others {
        let what = format!("credd lacks something: {what}");
        found.fault(what, WHY, format!("credd --check  # {remedy}")).of(NO_WAY);
    }
}

/// Whether those who were here get what their chain says: no other check asks STS for a role of a user's.
pub fn of_users(found: &mut Findings) {
    let here = of_each_published(|user| {
        let asks = user.seen_here && user.verdict == Verdict::Allowed;
        asks.then(|| (user.name.to_string(), user.uid.get()))
    });
    let here = here.into_iter().flatten().flatten().take(MOST_ASKED);
    let began = Instant::now();
    let (mut asked, mut denied) = (0_usize, Vec::new());
    for (name, uid) in here.take_while(|_| began.elapsed() < FOR_USERS) {
        let Ok(answer) = credd::ask(&format!("/why/{uid}")) else {
            return;
        };
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let word = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let reason = word("reason");
        asked += 1;
        // A chain that is empty, a guard of credd's: that somebody gets nothing is meant there.
        if word("outcome") == "denied" && reason.contains("AssumeRole was denied") {
            denied.push((name, reason, word("method")));
        }
    }
    // AWS does not say whether this host may not, or the role does not trust it. Where it is everybody, it is this host.
    if let Some((_, reason, _)) = denied.first().filter(|_| denied.len() > 1 && denied.len() == asked) {
        let what = format!("nobody who was here gets credentials: {reason}");
        let why = "all users of this host are without";
        let remedy = configure::command(&daemon_status::read().unwrap_or_default());
        found.fault(what, why, remedy).of(NO_WAY);
        return;
    }
    for (name, reason, method) in denied {
        let what = format!("{name} gets no credentials: {reason}");
        let why = "a user whose role does not trust this host's has none";
        found.fault(what, why, trusting(&reason, &name, &method)).of(NO_WAY);
    }
}

/// How many are asked about, and for how long: each may be a call to STS.
const MOST_ASKED: usize = 10;
const FOR_USERS: Duration = Duration::from_secs(2);

/// What makes a user's role trust this host's. AWS's sentence names both: `User: arn:aws:sts::ACCOUNT:assumed-role/ROLE/…
/// is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::ACCOUNT:role/NAME`.
fn trusting(reason: &str, user: &str, method: &str) -> String {
    let after = |mark: &str| {
        let rest = reason.split_once(mark)?.1;
        rest.split([' ', ')', ',', ';']).next()
    };
    let own = after("User: ").and_then(|session| {
        let (account, rest) = session.strip_prefix("arn:")?.split_once(":assumed-role/")?;
        let (partition, account) = account.split_once(":sts::")?;
        Some((partition, account, rest.split('/').next()?))
    });
    let role = after("on resource: ").and_then(|arn| arn.rsplit('/').next());
    let (Some((partition, account, own)), Some(role)) = (own, role) else {
        return "credd --check".to_owned();
    };
    if method == "create_user_role" {
        return format!(
            "keymaker sync-roles --instance-iam-role {own} --user {user}  # with an administrator's AWS credentials"
        );
    }
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": { "AWS": format!("arn:{partition}:iam::{account}:role/{own}") },
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
    }]});
    format!(
        "aws iam update-assume-role-policy --role-name {role} --policy-document '{trust}'  # with an administrator's AWS credentials, in \
         place of the trust policy that it has"
    )
}

/// Why credd may get nothing from AWS or keymakerd.
const NO_WAY: &[FaultCause] = &[
    FaultCause::Accounts,
    FaultCause::Folders,
    FaultCause::Ports,
    FaultCause::Clock,
    FaultCause::KeymakerdToml,
    FaultCause::CreddToml,
    FaultCause::Keymakerd,
    FaultCause::Aws,
    FaultCause::Published,
    FaultCause::Credd,
];

/// Of credd's table, the name in a note that `exempt_uids` exempts nobody by it.
fn exempts_nobody(line: &str) -> Option<&str> {
    let rest = line
        .trim_start_matches("note")
        .trim_start()
        .strip_prefix("exempt_uids in credd.toml names ")?;
    rest.split_once(", which exempts nobody").map(|(name, _)| name)
}

/// An endpoint that credd.toml alone names may be a wrong one: without it, AWS's own is taken. Where keymakerd.toml names
/// the same, AWS is to blame, or the way there.
fn way_of_credd(unanswered: &str) -> String {
    let key = if unanswered.contains("sts:") {
        "sts_endpoint"
    } else {
        "iam_endpoint"
    };
    match text_setting(credd::SETTINGS, key) {
        Some(url) if text_setting(paths::KEYMAKERD_TOML, key).as_ref() != Some(&url) => format!(
            "curl -sSI {url}; sed -i '/^{key}/d' {}; systemctl restart credd  # if AWS's own endpoint is meant, or correct the URL",
            credd::SETTINGS
        ),
        _ => "credd --check  # once AWS answers again, nothing is missing".to_owned(),
    }
}

/// A row of credd's table: what is not there, and what credd would do about it.
#[derive(Debug, Default, PartialEq, Eq)]
struct LackingRow {
    what: String,
    remedy: String,
}

/// Of the table that credd prints, what is not there.
fn missing(table: &str) -> Vec<LackingRow> {
    let mut rows: Vec<LackingRow> = Vec::new();
    let mut open = false;
    for line in table.split("; ").map(str::trim) {
        if line.starts_with("MISSING") || line.contains("did not end in time") {
            let what = line.trim_start_matches("MISSING").trim().to_owned();
            rows.push(LackingRow {
                what,
                ..LackingRow::default()
            });
            open = true;
        } else if ["ok ", "note "].iter().any(|word| line.starts_with(word)) {
            open = false;
        } else if let Some(row) = rows.last_mut().filter(|_| open) {
            match line.strip_prefix("->") {
                Some(remedy) => remedy.trim().clone_into(&mut row.remedy),
                None if row.remedy.is_empty() => row.what += &format!(": {line}"),
                None => row.remedy += &format!("; {line}"),
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_credds_table_what_is_missing_is_told_and_what_exempts_nobody() {
        let table = "ok       credd.toml is right; ok       capture; MISSING  user_role: iam:GetRole;          it was denied;          -> allow it; \
                     MISSING  AWS is reached;          sts:GetCallerIdentity was throttled; or so;          -> wait; a while; note     exempt_uids in \
                     credd.toml names eve, which exempts nobody: /etc/passwd has no such account; so";
        let row = |what: &str, remedy: &str| LackingRow {
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        };
        assert_eq!(
            missing(table),
            [
                row("user_role: iam:GetRole: it was denied", "allow it"),
                row(
                    "AWS is reached: sts:GetCallerIdentity was throttled: or so",
                    "wait; a while"
                )
            ]
        );
        assert_eq!(
            table.split("; ").filter_map(exempts_nobody).collect::<Vec<_>>(),
            ["eve"]
        );
        assert_eq!(missing("/usr/sbin/credd did not end in time").len(), 1);
        assert_eq!(missing("ok       capture"), []);
    }
}
