//! What root asks this daemon at its status socket: `/metrics` for Prometheus, `/health`, `/turned-away` and `/why/UID`: what would
//! this uid get, by which method, or why not? It gives out no secret.
//!
//! `curl --unix-socket /run/keymaker-credd/status.sock http://credd/why/1000`

use std::rc::Rc;
use std::time::Duration;

use credd_core::time_text::iso8601;
use keymaker_daemon::status_socket::{Method, StatusAnswer, StatusCode};
use serde_json::json;
use tokio::sync::Notify;

use super::cache::Issue;
use super::issuer::{Chains, Issuer};
use super::metrics::Metrics;
use super::refusal::CredentialRefusal;

/// What the socket tells of.
pub struct Status<I, C> {
    /// Who gets what.
    pub issuer: Issuer<I, C>,
    /// What happened.
    pub metrics: Rc<Metrics>,
    /// What stands against capture, if anything.
    pub capture_problem: Box<dyn Fn() -> Option<&'static str>>,
    /// Told whenever root asks after the daemon's health: whether this host's role is still the same is then to be
    /// found out.
    pub looked_at: Rc<Notify>,
    /// When the daemon started, since 1970.
    pub started: Duration,
}

impl<I, C> Status<I, C>
where
    I: Issue + 'static,
    C: Chains + 'static,
{
    /// What has happened, as Prometheus reads it.
    pub fn counted(&self) -> String {
        let problem = (self.capture_problem)();
        self.metrics.text(self.issuer.kept(), problem.is_none(), self.started)
    }

    /// Answers one request.
    pub async fn answer(&self, method: &Method, path: &str) -> StatusAnswer {
        let uid = path.strip_prefix("/why/").map(str::parse);
        let problem = (self.capture_problem)();
        match (path, uid) {
            _ if *method != Method::GET => StatusAnswer::plain(StatusCode::NOT_FOUND, PATHS),
            ("/metrics", _) => StatusAnswer::metrics(self.counted()),
            ("/health", _) => {
                self.looked_at.notify_one();
                match problem {
                    None => StatusAnswer::plain(StatusCode::OK, "ok\n"),
                    Some(problem) => StatusAnswer::plain(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
                }
            }
            ("/turned-away", _) => StatusAnswer::json(format!("{}\n", self.issuer.turned_away())),
            (_, Some(Ok(uid))) => StatusAnswer::json(why(uid, &self.issuer).await),
            _ => StatusAnswer::plain(StatusCode::NOT_FOUND, PATHS),
        }
    }
}

async fn why<I, C>(uid: u32, issuer: &Issuer<I, C>) -> String
where
    I: Issue + 'static,
    C: Chains + 'static,
{
    let chain: Vec<String> = issuer.chain(uid).await.iter().map(ToString::to_string).collect();
    let mut answer = match issuer.issuance(uid).await {
        Ok(issuance) => json!({
            "outcome": "issued",
            "method": issuance.method.to_string(),
            "role_arn": issuance.role.to_string(),
            "expiration": iso8601(issuance.credentials.expiration),
        }),
        Err(CredentialRefusal::NotApplicable) => json!({"outcome": "not_applicable"}),
        Err(CredentialRefusal::Denied(reason)) => {
            json!({"outcome": "denied", "method": reason.method, "reason": reason.text})
        }
        Err(CredentialRefusal::Transient(reason)) => {
            json!({"outcome": "transient", "method": reason.method, "reason": reason.text})
        }
    };
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("uid".to_owned(), json!(uid));
        fields.insert("chain".to_owned(), json!(chain));
    }
    format!("{answer}\n")
}

const PATHS: &str = "/metrics, /health, /turned-away, /why/UID\n";
