//! The audit line: one JSON object for every issuance, written before the bytes leave, and for refusals.
//!
//! The metadata server records; the daemon says where the lines go. It never holds a secret: an access key id is a
//! name. Anybody who has themselves refused all the time fills no log ([`keymaker_daemon::audit`]).

use std::fmt;

use credd_core::config::Method;
use keymaker_core::audit::{AuditDecision, AuditLine};
use keymaker_daemon::audit::{AuditLog, DecisionLine, NotTaken, Share};
use keymaker_daemon::log::{self, Log};
use serde::Serialize;
use tracing::Level;

/// One decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditEvent {
    /// When, as `2026-11-21T19:30:54Z`.
    pub time: String,
    /// Who asked; absent where the kernel named nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Their name, if the uid has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The kernel's name for their socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// What was asked: `role_list`, `role_credentials`, `token`, …; never text of the client.
    pub asked: &'static str,
    /// What was decided.
    pub outcome: Decision,
    /// The HTTP status that says so; 0: the connection was closed without an answer.
    pub status: u16,
    /// The method that issued or refused, as credd.toml(5) names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Why, for the administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The role whose credentials were issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The key that was issued, as CloudTrail will name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// When that key ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// How many refusals before this one, of the same uid or of others without a name, have no line of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub unwritten_refusals: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Credentials, or the name of their role, were given.
    Issued,
    /// No method of the caller's chain applies to them.
    NotApplicable,
    /// A method applies, and says no.
    Denied,
    /// It could not be found out now.
    Transient,
    /// The request was refused before any method was asked.
    #[default]
    Refused,
}

impl Decision {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::NotApplicable => "not_applicable",
            Self::Denied => "denied",
            Self::Transient => "transient",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl DecisionLine for AuditEvent {
    fn is_refusal(&self) -> bool {
        self.outcome != Decision::Issued
    }

    fn unwritten(&mut self) -> &mut u64 {
        &mut self.unwritten_refusals
    }
}

/// The journal: the JSON object as the message and the field `KEYMAKER_AUDIT`, and its parts as docs/audit.md has them.
impl AuditLog<AuditEvent> for Log {
    fn record(&self, _: Share, event: &AuditEvent) -> Result<(), NotTaken> {
        let json = serde_json::to_string(event).map_err(|error| {
            tracing::error!(%error, "an audit event could not be written as JSON");
            NotTaken
        })?;
        match self {
            Self::Journal(journal) => {
                let mut entry = log::entry(Level::INFO, TARGET);
                entry.put("MESSAGE", &json);
                entry.put("KEYMAKER_AUDIT", &json);
                event.line().put_fields(&mut entry);
                journal.send(&entry).map_err(|_| NotTaken)
            }
            Self::StandardError => {
                tracing::info!(target: TARGET, "{json}");
                Ok(())
            }
        }
    }
}

impl AuditEvent {
    /// In the words of the schema.
    pub fn line(&self) -> AuditLine {
        use keymaker_core::audit::AuditField as Told;
        let decision = match self.outcome {
            Decision::Issued => AuditDecision::Issued,
            Decision::NotApplicable => AuditDecision::NotApplicable,
            Decision::Denied => AuditDecision::Denied,
            Decision::Transient => AuditDecision::Transient,
            Decision::Refused => AuditDecision::Refused,
        };
        let mut line = AuditLine::new(keymaker_core::audit::AuditEvent::Credentials, decision)
            .with(Told::Asked, self.asked)
            .with(Told::Status, self.status);
        line.unwritten = self.unwritten_refusals;
        let texts = [
            (Told::User, &self.user),
            (Told::Reason, &self.reason),
            (Told::Role, &self.role_arn),
            (Told::AccessKeyId, &self.access_key_id),
            (Told::Expiration, &self.expiration),
        ];
        for (field, text) in texts {
            line.tell(field, text.as_deref().unwrap_or_default());
        }
        line.tell(Told::Uid, self.uid.map_or_else(String::new, |uid| uid.to_string()));
        line.tell(
            Told::Method,
            self.method.map_or_else(String::new, |method| method.to_string()),
        );
        line
    }
}

const TARGET: &str = "credd::audit";

#[cfg(test)]
mod tests {
    use keymaker_core::audit::AuditField as Told;

    use super::*;

    #[test]
    fn each_part_of_a_decision_is_a_field_of_its_own() {
        let event = AuditEvent {
            uid: Some(1),
            user: Some("alice".to_owned()),
            asked: "role_credentials",
            outcome: Decision::Issued,
            status: 200,
            method: Some(Method::UserRole),
            role_arn: Some("arn:aws:iam::123456789012:role/user-alice".to_owned()),
            access_key_id: Some("ASIA".to_owned()),
            expiration: Some("2026-11-21T19:30:54Z".to_owned()),
            ..AuditEvent::default()
        };
        let line = event.line();
        assert_eq!(line.decision, AuditDecision::Issued);
        for (field, value) in [
            (Told::User, Some("alice")),
            (Told::Uid, Some("1")),
            (Told::Method, Some("user_role")),
            (Told::Role, Some("arn:aws:iam::123456789012:role/user-alice")),
            (Told::AccessKeyId, Some("ASIA")),
            (Told::Expiration, Some("2026-11-21T19:30:54Z")),
            (Told::Asked, Some("role_credentials")),
            (Told::Status, Some("200")),
            (Told::Reason, None),
        ] {
            assert_eq!(line.told(field), value, "{field}");
        }
        for outcome in [
            Decision::NotApplicable,
            Decision::Denied,
            Decision::Transient,
            Decision::Refused,
        ] {
            let refused = AuditEvent {
                outcome,
                ..AuditEvent::default()
            };
            assert_eq!(refused.line().decision.word(), outcome.to_string());
        }
    }
}
