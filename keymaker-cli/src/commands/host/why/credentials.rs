//! The gates between a user who may log in and AWS credentials of their own: credd, capture, the user's chain, the
//! method that answers. Called by [`super::run`]; only root is told by credd.

use std::path::Path;

use credd_core::config::{CaptureMode, Config};
use keymaker_core::sys;
use serde_json::Value;

use super::super::probe::{self, credd};
use super::{Shut, Walk, status};

/// Walks them.
pub(super) fn walk(walk: &mut Walk, user: &str) -> Result<(), Shut> {
    let active = |unit: &str| probe::run("systemctl", &["is-active", unit]);
    if !Path::new(credd::SETTINGS).exists() {
        walk.untold(
            "credd",
            "credd is not installed: what the metadata service gives, everybody gets",
        );
        return Ok(());
    }
    if credd::UNITS.iter().all(|unit| active(unit).is_err()) {
        let why = "credd is not turned on: what the metadata service gives, everybody gets ('keymaker capture up' turns it on)";
        walk.untold("credd", why);
        return Ok(());
    }
    // A request starts credd.service.
    for unit in credd::UNITS.into_iter().filter(|unit| *unit != credd::SERVICE) {
        if let Err(state) = active(unit) {
            return walk.closed(
                "credd",
                format!("{unit} is {state}"),
                format!("systemctl restart {unit}"),
            );
        }
    }
    walk.open("credd", "credd's socket listens, and its capture runs");
    // Settings that cannot be read are doctor's; credd goes on with the former ones, or says below that it does not answer.
    let config = Config::read(Path::new(credd::SETTINGS)).unwrap_or_default();
    if config.mode == CaptureMode::Observe {
        let why = "credd only looks on (mode = \"observe\"): what the metadata service gives, everybody gets";
        walk.untold("credd", why);
        return Ok(());
    }
    let uid = sys::resolve_user(user).ok().flatten().map(|entry| entry.uid);
    let Some(uid) = uid else {
        walk.untold("chain", format!("no service of this host resolves {user}"));
        return Ok(());
    };
    if credd::is_exempt(&config, user, uid) {
        walk.untold(
            "exempt",
            format!(
                "{user} is exempt in {}: what the metadata service gives, {user} gets",
                credd::SETTINGS
            ),
        );
        return Ok(());
    }
    if !probe::is_root() {
        walk.untold("chain", "credd tells only root; run: sudo keymaker why");
        return Ok(());
    }
    match probe::run(credd::CAPTURE, &["check"]) {
        Ok(_) => walk.open("capture", "metadata requests reach credd and nothing else"),
        Err(why) => {
            return walk.closed(
                "capture",
                why,
                "systemctl restart credd-capture; keymaker capture status",
            );
        }
    }
    match credd::ask(&format!("/why/{uid}")) {
        Ok(answer) => answered(walk, user, &config, &serde_json::from_str(&answer).unwrap_or_default()),
        Err(why) => walk.closed(
            "chain",
            format!("credd does not answer: {why}"),
            "systemctl restart credd",
        ),
    }
}

/// What credd says about the user.
fn answered(walk: &mut Walk, user: &str, config: &Config, answer: &Value) -> Result<(), Shut> {
    let word = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    let chain = answer.get("chain").and_then(Value::as_array);
    let software = answer.get("uid").and_then(Value::as_u64) < Some(credd::FIRST_PERSON.into());
    let chain: Vec<&str> = chain.into_iter().flatten().filter_map(Value::as_str).collect();
    let chain = chain.join(", then ");
    if !chain.is_empty() {
        walk.open("chain", format!("{chain}, by {}", credd::SETTINGS));
    }
    match word("outcome") {
        "issued" => {
            let (method, role, until) = (word("method"), word("role_arn"), word("expiration"));
            walk.open("method", format!("{method}: a session of {role} until {until}"));
            Ok(())
        }
        "not_applicable" if software => walk.closed(
            "method",
            format!(
                "{user} is an account of software, to which no method of the chain applies; exempt it if it needs the \
                 instance's own credentials"
            ),
            credd::exempting(config, [user].into_iter()),
        ),
        "not_applicable" => walk.closed(
            "method",
            format!(
                "no method of the chain applies to {user}; IAM has no role of the name that the user's role would \
                have"
            ),
            format!(
                "create the role, for create_user_role by 'keymaker sync-roles --instance-iam-role {} --user {user}', or \
                name another method in {}",
                status().get("role").and_then(Value::as_str).unwrap_or("NAME"),
                credd::SETTINGS
            ),
        ),
        "denied" if chain.is_empty() => walk.closed(
            "chain",
            word("reason"),
            format!("see the chains in {}", credd::SETTINGS),
        ),
        "denied" => walk.closed(
            "method",
            word("reason"),
            "change what the reason names in IAM; journalctl -u credd has each refusal",
        ),
        _ => walk.closed(
            "method",
            format!("not at the moment: {}", word("reason")),
            "keymaker doctor",
        ),
    }
}
