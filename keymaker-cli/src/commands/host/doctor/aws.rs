//! What AWS does not answer keymakerd, or answers with no, and what helps against each.

use std::time::{Duration, SystemTime};

use keymaker_core::paths;
use serde_json::Value;

use super::super::probe::text_setting;
use super::daemon_status::{list, word};
use super::finding::FaultCause;
use super::{Findings, configure};

/// What AWS does not answer, or answers with no: one finding for each reason, however many calls meet it.
pub fn look(found: &mut Findings, status: &Value) {
    let outages = list(status, "outages").map(|outage| (word(outage, "action"), word(outage, "why")));
    // The last pass has met the same; it is told alone where no login has.
    let last = word(status, "last_failure");
    let last = Some((last.split(' ').next().unwrap_or_default(), last)).filter(|(_, why)| !why.is_empty());
    let mut reasons: Vec<(NoAnswerReason, Vec<&str>, &str)> = Vec::new();
    for (action, why) in outages.chain(last) {
        let reason = NoAnswerReason::of(why);
        match reasons.iter_mut().find(|(known, ..)| *known == reason) {
            Some((_, actions, _)) => actions.push(action),
            None => reasons.push((reason, vec![action], why)),
        }
    }
    for (reason, mut actions, why) in reasons {
        actions.retain(|action| action.contains(':'));
        actions.sort_unstable();
        actions.dedup();
        let finding = found.fault(
            reason.said(&actions, why),
            "this host cannot learn what it would say; after max_stale, logins stop",
            reason.remedy(&actions, status),
        );
        finding
            .is(FaultCause::Aws)
            .of(&[FaultCause::Ports, FaultCause::Clock, FaultCause::Keymakerd]);
    }
    if let Some(needs) = status.get("better_grade_needs").and_then(Value::as_str) {
        found.note(format!(
            "the grade is {}; a better one needs {needs}",
            status.get("grade").unwrap_or(&Value::Null)
        ));
    }
}

/// Why AWS is of no help: each has another remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoAnswerReason {
    /// the role lacks a right
    Denied,
    /// too many calls
    Throttled,
    /// the instance has no role
    NoRole,
    /// the request is signed with another time
    Clock,
    /// AWS fails
    Failing,
    /// no way there
    NotReached,
}

impl NoAnswerReason {
    /// By the sentence that keymakerd has for it.
    fn of(why: &str) -> Self {
        let says = |signs: &[&str]| signs.iter().any(|sign| why.contains(sign));
        if says(&["was denied"]) {
            Self::Denied
        } else if says(&["was throttled"]) {
            Self::Throttled
        } else if says(&["has no role"]) {
            Self::NoRole
        } else if says(&["expired", "Signature"]) {
            Self::Clock
        } else if says(&["AWS failed with"]) {
            Self::Failing
        } else {
            Self::NotReached
        }
    }

    fn said(self, actions: &[&str], why: &str) -> String {
        let calls = actions.join(", ");
        match self {
            Self::Denied => format!("AWS denies this host {calls}: {why}"),
            Self::Throttled => format!("AWS throttles this account: {why}"),
            _ if calls.is_empty() => format!("the last pass failed: {why}"),
            _ => format!("{calls} got no answer, and the last pass failed: {why}"),
        }
    }

    fn remedy(self, actions: &[&str], status: &Value) -> String {
        match self {
            Self::Denied => configure::command(status),
            Self::Throttled => {
                "sleep 60; keymaker sync  # a longer sync_interval on all hosts of the account lowers the rate"
                    .to_owned()
            }
            Self::NoRole => format!(
                "aws ec2 associate-iam-instance-profile --instance-id {} --iam-instance-profile Name=PROFILE && systemctl restart keymakerd  \
                 # with an administrator's AWS credentials",
                match word(status, "instance_id") {
                    "" => "INSTANCE",
                    id => id,
                }
            ),
            Self::Clock => "timedatectl set-ntp true; chronyc makestep; keymaker sync".to_owned(),
            Self::Failing => "sleep 60; keymaker sync  # health.aws.amazon.com says how AWS is".to_owned(),
            Self::NotReached => way_to(actions, status),
        }
    }
}

/// An endpoint that the settings name may be a wrong one, where none has answered since they were written: without it,
/// AWS's own is taken.
fn way_to(actions: &[&str], status: &Value) -> String {
    let service = |action: &&str| action.split(':').next().unwrap_or_default().to_owned();
    let key = actions.first().map_or_else(|| "iam".to_owned(), service) + "_endpoint";
    let contact = status.get("contact").and_then(Value::as_u64).unwrap_or(0);
    let written = std::fs::metadata(paths::KEYMAKERD_TOML).and_then(|file| file.modified());
    let untried = written.is_ok_and(|written| written > SystemTime::UNIX_EPOCH + Duration::from_secs(contact));
    match text_setting(paths::KEYMAKERD_TOML, &key).filter(|_| untried) {
        Some(url) => format!(
            "curl -sSI {url}; sed -i '/^{key}/d' {}; systemctl restart keymakerd; keymaker sync  # if AWS's own endpoint is meant, or correct the URL",
            paths::KEYMAKERD_TOML
        ),
        None => {
            "curl -sSI https://iam.amazonaws.com; keymaker sync  # route, proxy and region in keymakerd.toml".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use keymaker_aws::{Action, AwsCallError, MetadataError, OutageCause};

    use super::*;

    #[test]
    fn each_sentence_of_aws_has_the_reason_that_it_tells() {
        let action = Action::GET_USER;
        let outage = |cause| AwsCallError::Outage { action, cause };
        let denied = AwsCallError::AccessDenied {
            action,
            message: "User: x is not authorized".to_owned(),
        };
        for (error, reason) in [
            (denied, NoAnswerReason::Denied),
            (AwsCallError::Throttled { action }, NoAnswerReason::Throttled),
            (outage(OutageCause::ServerError(503)), NoAnswerReason::Failing),
            (outage(OutageCause::Timeout), NoAnswerReason::NotReached),
            (
                outage(OutageCause::Unreachable("x".to_owned())),
                NoAnswerReason::NotReached,
            ),
            (
                outage(OutageCause::Credentials(MetadataError::NoRole.to_string())),
                NoAnswerReason::NoRole,
            ),
            (
                outage(OutageCause::Credentials("SignatureDoesNotMatch".to_owned())),
                NoAnswerReason::Clock,
            ),
        ] {
            assert_eq!(NoAnswerReason::of(&error.to_string()), reason, "{error}");
        }
    }

    #[test]
    fn many_calls_that_meet_one_reason_are_one_finding_and_two_reasons_are_two() {
        let mut found = Findings::default();
        let denied = |action: &str| serde_json::json!({"action": action, "why": format!("{action} was denied (x)")});
        let status = serde_json::json!({
            "role": "web",
            "outages": [denied("iam:ListUsers"), denied("iam:GetUser"), {"action": "iam:GetGroup", "why": "iam:GetGroup was throttled: x"}],
            "last_failure": "iam:ListUsers was denied (x)",
        });
        look(&mut found, &status);
        let told: Vec<&str> = found.findings.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            told,
            [
                "AWS denies this host iam:GetUser, iam:ListUsers: iam:ListUsers was denied (x)",
                "AWS throttles this account: iam:GetGroup was throttled: x"
            ]
        );
        assert!(
            found.findings[0]
                .remedy
                .starts_with("keymaker configure --instance-iam-role web")
        );
    }
}
