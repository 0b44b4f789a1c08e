//! Answers the paths below `iam/`: the caller's role, its credentials, its profile.
//!
//! `answer` calls it. This is the only file that puts a secret into a reply.

use std::time::Duration;

use credd_core::time_text::iso8601;
use hyper::StatusCode;
use tokio::time::timeout;

use super::admission::Door;
use super::answer::{AuditedReply, Client, UserMetadataService, WHOLE_ANSWER, decided, not_theirs};
use super::container;
use super::credential_source::{CredentialSource, Credentials, Grant, Outcome, Reason};
use super::reply;
use crate::audit::{AuditEvent, Decision};

impl<S: CredentialSource> UserMetadataService<S> {
    /// `iam/security-credentials/`: one name, no newline, since SDKs use the body as it is.
    pub(super) async fn role_list(&self, client: &Client) -> AuditedReply {
        match self.role_of(client).await {
            Outcome::Issued(grant) => AuditedReply {
                reply: reply::text(grant.role.name().to_owned(), self.clock.now()),
                event: Some(issued(ROLE_LIST, &grant)),
            },
            other => not_issued(ROLE_LIST, other),
        }
    }

    /// `iam/info`, of the role that the caller has here.
    pub(super) async fn instance_profile(&self, client: &Client) -> AuditedReply {
        let now = self.clock.now();
        match self.role_of(client).await {
            Outcome::Issued(grant) => AuditedReply {
                reply: reply::text(reply::profile_document(&grant.role, now), now),
                event: Some(issued(INSTANCE_PROFILE, &grant)),
            },
            other => not_issued(INSTANCE_PROFILE, other),
        }
    }

    /// `iam/security-credentials/ROLE`.
    pub(super) async fn role_credentials(&self, client: &Client, asked_role: &str) -> AuditedReply {
        match timeout(WHOLE_ANSWER, self.credentials_of(client, asked_role)).await {
            Ok(Outcome::Issued((grant, credentials))) => self.hand_out(client, ROLE_CREDENTIALS, &grant, &credentials),
            Ok(Outcome::Denied(reason)) => {
                // SDKs tell this code from a network error; a 403 would make some of them fall back to IMDSv1.
                let now = self.clock.now();
                let reply = reply::text(reply::refused_document(now), now);
                decided(reply, ROLE_CREDENTIALS, Decision::Denied, reason)
            }
            Ok(other) => not_issued(ROLE_CREDENTIALS, other),
            Err(_) => not_issued::<()>(ROLE_CREDENTIALS, Outcome::Transient(too_slow())),
        }
    }

    /// `/credentials` at the container door.
    pub(super) async fn container_credentials(&self, client: &Client) -> AuditedReply {
        let answer = async {
            let grant = match self.role_of(client).await {
                Outcome::Issued(grant) => grant,
                other => return other.without_value(),
            };
            self.credentials_by(client, grant).await
        };
        match timeout(WHOLE_ANSWER, answer).await {
            Ok(Outcome::Issued((grant, credentials))) => self.hand_out(client, container::ASKED, &grant, &credentials),
            Ok(other) => not_issued(container::ASKED, other),
            Err(_) => not_issued::<()>(container::ASKED, Outcome::Transient(too_slow())),
        }
    }

    async fn role_of(&self, client: &Client) -> Outcome<Grant> {
        if let Some(problem) = (self.capture_problem)() {
            return Outcome::Transient(Reason::new(problem));
        }
        let asked = timeout(WHOLE_ANSWER, self.source.role(&client.caller)).await;
        asked.unwrap_or_else(|_| Outcome::Transient(too_slow()))
    }

    async fn credentials_of(&self, client: &Client, asked_role: &str) -> Outcome<(Grant, Credentials)> {
        let grant = match self.role_of(client).await {
            Outcome::Issued(grant) => grant,
            other => return other.without_value(),
        };
        // Another user's role, another spelling, a name that begins like ours: not there.
        if grant.role.name() != asked_role {
            return Outcome::NotApplicable;
        }
        self.credentials_by(client, grant).await
    }

    async fn credentials_by(&self, client: &Client, grant: Grant) -> Outcome<(Grant, Credentials)> {
        match self.source.credentials(&client.caller, &grant.role).await {
            Outcome::Issued(credentials) => Outcome::Issued((grant, credentials)),
            other => other.without_value(),
        }
    }

    fn hand_out(&self, client: &Client, asked: &'static str, grant: &Grant, credentials: &Credentials) -> AuditedReply {
        let now = self.clock.now();
        let by_method = |text: String| Reason {
            method: Some(grant.method),
            text,
        };
        // SDKs prolong credentials that have ended, and go on using them for a quarter of an hour.
        if credentials.expiration < now + SHORTEST_LIFE {
            let reason = by_method("the credentials at hand are about to expire".to_owned());
            return not_issued::<()>(asked, Outcome::Transient(reason));
        }
        if let Err(error) = self.still_theirs(client) {
            let reason = by_method(not_theirs(&error));
            let reply = reply::error(StatusCode::FORBIDDEN);
            return decided(reply, asked, Decision::Refused, reason);
        }
        let event = AuditEvent {
            access_key_id: Some(credentials.access_key_id.clone()),
            expiration: Some(iso8601(credentials.expiration)),
            ..issued(asked, grant)
        };
        AuditedReply {
            reply: match client.door {
                Door::Metadata => reply::text(reply::credentials_document(credentials), now),
                Door::Container(_) => reply::json(reply::container_document(&grant.role, credentials), now),
            },
            event: Some(event),
        }
    }
}

fn issued(asked: &'static str, grant: &Grant) -> AuditEvent {
    AuditEvent {
        asked,
        outcome: Decision::Issued,
        method: Some(grant.method),
        role_arn: Some(grant.role.to_string()),
        ..AuditEvent::default()
    }
}

/// 404 ends an SDK's search without an error; 503 makes it try again. Never 403 or 429, which some take for good.
fn not_issued<T>(asked: &'static str, outcome: Outcome<T>) -> AuditedReply {
    let (status, decision, reason) = match outcome {
        Outcome::Denied(reason) => (StatusCode::NOT_FOUND, Decision::Denied, reason),
        Outcome::Transient(reason) => (StatusCode::SERVICE_UNAVAILABLE, Decision::Transient, reason),
        Outcome::NotApplicable | Outcome::Issued(_) => {
            let reason = Reason::new("no method gives this user credentials under that name");
            (StatusCode::NOT_FOUND, Decision::NotApplicable, reason)
        }
    };
    decided(reply::error(status), asked, decision, reason)
}

fn too_slow() -> Reason {
    Reason::new("no answer in time")
}

const ROLE_LIST: &str = "role_list";
const ROLE_CREDENTIALS: &str = "role_credentials";
const INSTANCE_PROFILE: &str = "instance_profile";
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
