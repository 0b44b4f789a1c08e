//! The audit line: one JSON object for every issuance and every refusal, written before the bytes leave.
//!
//! The metadata server records; the daemon says where the lines go. It never holds a secret: an access key id is a name.

use std::fmt;

use serde::Serialize;

use crate::config::Method;

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

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issued => "issued",
            Self::NotApplicable => "not_applicable",
            Self::Denied => "denied",
            Self::Transient => "transient",
            Self::Refused => "refused",
        })
    }
}

/// Where audit lines go.
pub trait AuditLog {
    /// Takes one event; returns when it is handed over.
    fn record(&self, event: &AuditEvent);
}

/// The journal, as the field `AUDIT` of a line with the target `credd::audit`.
pub struct TracedAudit;

impl AuditLog for TracedAudit {
    fn record(&self, event: &AuditEvent) {
        match serde_json::to_string(event) {
            Ok(line) => tracing::info!(target: "credd::audit", audit = line, "{line}"),
            Err(error) => tracing::error!(%error, ?event, "an audit event could not be written as JSON"),
        }
    }
}
