//! Logins by proof, where `login_by` has "proof": whether keymakerd has the issuer's keys, sshd takes such certificates and gives them
//! to the keys command, and that one has a place for its tickets.
//!
//! `iam` calls it about the keys, once keymakerd has asked for them; `logins` about sshd.

use std::path::Path;
use std::time::{Duration, SystemTime};

use keymaker_core::login::{older_than, unix_time};
use keymaker_core::paths;
use keymaker_core::proof::CERTIFICATE_TYPES;
use serde_json::Value;

use super::super::probe::list_setting_has;
use super::super::probe::sshd::keys::takes_certificates;
use super::super::probe::sshd::{self, SshdSettings, configuration};
use super::super::remedy::NEW_DROP_IN;
use super::super::status::ago;
use super::Findings;
use super::configure;
use super::daemon_status::{list, word};
use super::finding::{FaultCause, NO_CONTACT};

/// Why nobody can log in by proof once the keys that are known are too old.
const NO_KEYS: &str = "nobody can log in by proof once they are older than max_stale; while federation is off, nobody gets a new token either";
const TURN_OFF: &str =
    "sed -i 's/^login_by.*/login_by = [\"iam-keys\"]/' /etc/keymaker/keymakerd.toml; systemctl reload keymakerd";
/// Before, sshd ends the whole connection over a long certificate.
pub const LEAST_SSHD: (u32, u32) = (8, 1);

fn are_on() -> bool {
    list_setting_has(paths::KEYMAKERD_TOML, "login_by", "proof")
}

/// What keymakerd says of the issuer's keys.
pub fn keys(found: &mut Findings, status: &Value) {
    if are_on() {
        keys_that_are_on(found, status, SystemTime::now());
    }
}

fn keys_that_are_on(found: &mut Findings, status: &Value, now: SystemTime) {
    let failure = word(status, "issuers_failure");
    let fetched = list(status, "issuers").filter_map(|issuer| issuer.get("fetched_at")?.as_u64());
    let fetched = fetched.max().map(unix_time);
    let max_stale = status.get("max_stale").and_then(Value::as_u64).unwrap_or_default();
    let is_stale = fetched.is_none_or(|at| older_than(at, Duration::from_secs(max_stale), now));
    if failure.is_empty() && !is_stale {
        return;
    }
    let known = match fetched {
        None => "none are known".to_owned(),
        Some(at) => format!(
            "those that are known were fetched {}{}",
            ago(at, now),
            if is_stale { ", longer than max_stale" } else { "" }
        ),
    };
    let why = if failure.is_empty() {
        "keymakerd has not fetched them yet"
    } else {
        failure
    };
    let finding = found.fault(
        format!("the keys by which AWS signs logins by proof cannot be fetched: {why}; {known}"),
        NO_KEYS,
        remedy(failure, status),
    );
    if !failure.contains(FEDERATION_IS_OFF) {
        finding.of(NO_CONTACT);
    }
}

/// In keymakerd's sentence where the account makes no tokens.
pub const FEDERATION_IS_OFF: &str = "federation is off";

/// What to do about keymakerd's not getting the keys; `keymaker why` says it, too.
pub fn remedy(failure: &str, status: &Value) -> String {
    let from = word(status, "issuers_from");
    if failure.contains(FEDERATION_IS_OFF) {
        "aws iam enable-outbound-web-identity-federation; keymaker sync  # with an administrator's AWS credentials"
            .to_owned()
    } else if failure.contains("was denied") {
        configure::command(status)
    } else if failure.is_empty() && list(status, "issuers").next().is_none() {
        "systemctl reload keymakerd && keymaker sync  # keymakerd may not have read login_by yet".to_owned()
    } else if from.starts_with('/') {
        format!(
            "keymaker sync  # after {from} is root's, and has the issuer and its keys (keymakerd.toml(5), login_keys_file)"
        )
    } else {
        "keymaker sync  # once this host reaches the issuer: https_proxy and ca_bundle in keymakerd.toml, or login_keys_file".to_owned()
    }
}

/// Whether sshd takes the certificates, and gives the keys command what it needs of them; and where they are off, nothing of that.
pub fn at_sshd(found: &mut Findings, settings: &SshdSettings, options: &[String]) {
    let command = settings.get("authorizedkeyscommand").unwrap_or_default();
    if !command.starts_with("/usr/libexec/keymaker/keymaker-keys ") {
        return;
    }
    if list_setting_has(paths::KEYMAKERD_TOML, "login_by", "instance-connect") {
        tickets(found);
        if !paths::INSTANCE_CONNECT
            .iter()
            .any(|program| Path::new(program).is_file())
        {
            found.fault(
                "login_by has \"instance-connect\", and AWS's eic_run_authorized_keys is not installed",
                "keys that are pushed by EC2 Instance Connect open nothing",
                "apt-get install -y ec2-instance-connect",
            );
        }
    }
    let gives = command.ends_with(" %t %k");
    if !are_on() {
        if gives {
            let what = "login_by has no \"proof\", and sshd still gives the keys command whole keys";
            let fault = found.fault(what, "nothing needs them", NEW_DROP_IN);
            fault.of(&[FaultCause::KeymakerdToml]);
        }
        return;
    }
    if let Some((major, minor)) = sshd::version().filter(|version| *version < LEAST_SSHD) {
        found.fault(
            format!("login_by has \"proof\", and sshd is OpenSSH {major}.{minor}, too old for logins by proof: they need 8.1"),
            "nobody can log in by proof; sshd would end the connection over a long certificate",
            format!("{TURN_OFF}  # or install a newer OpenSSH"),
        );
        return;
    }
    if !gives {
        let what = "login_by has \"proof\", and sshd does not give the keys command the certificate";
        let fault = found.fault(what, "nobody can log in by proof", NEW_DROP_IN);
        fault.of(&[FaultCause::KeymakerdToml]);
    }
    algorithms(found, settings, options);
    tickets(found);
}

/// Of the two types one is enough, as where FIPS 140 rules; that `keymaker login` begins with the other is worth knowing.
fn algorithms(found: &mut Findings, settings: &SshdSettings, options: &[String]) {
    let [ed25519, ecdsa] =
        CERTIFICATE_TYPES.map(|(certificate, plain)| takes_certificates(settings, certificate, plain));
    match (ed25519, ecdsa) {
        (Ok(()), _) => {}
        (Err((keyword, list)), Ok(())) => found.note(format!(
            "{keyword} of sshd is {list}, without Ed25519 certificates: by proof people log in with keymaker login --key-type ecdsa"
        )),
        (Err((keyword, list)), Err(_)) => {
            found.fault(
                format!("{keyword} of sshd is {list}, with none of the certificates of logins by proof"),
                "nobody can log in by proof",
                take_out(keyword, options),
            );
        }
    }
}

/// The line that says so, as a comment.
fn take_out(keyword: &str, options: &[String]) -> String {
    let lines = configuration::of(options).lines;
    match lines.iter().find(|line| line.keyword == keyword) {
        Some(line) => format!(
            "sed -i '{}s/^/#/' {}; sshd -t && systemctl reload ssh  # or have it name the certificates; as a comment it has no effect",
            line.number,
            line.file.display()
        ),
        None => format!(
            "sshd -T | grep {keyword}; sshd -t && systemctl reload ssh  # after the place that sets it names the certificates"
        ),
    }
}

/// The keys command writes a ticket before it shows a line, and PAM goes by it.
fn tickets(found: &mut Findings) {
    let is_there = std::fs::symlink_metadata(paths::TICKETS).is_ok_and(|found| found.is_dir());
    if !is_there {
        found
            .fault(
                format!("{} is not there, or no folder", paths::TICKETS),
                "nobody can log in by proof: PAM goes by the tickets there",
                "systemd-tmpfiles --create keymaker.conf",
            )
            .of(&[FaultCause::Accounts]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(status: &Value) -> Vec<(String, String)> {
        let mut found = Findings::default();
        keys_that_are_on(&mut found, status, unix_time(1_800_000_000));
        found
            .findings
            .into_iter()
            .map(|finding| (finding.what, finding.remedy))
            .collect()
    }

    fn status(fetched_at: Option<u64>, failure: Option<&str>) -> Value {
        let issuers =
            fetched_at.map(|at| json!({"issuer": "https://1.example", "kids": ["EC384_0"], "fetched_at": at}));
        json!({
            "max_stale": 86_400, "role": "web", "issuers_from": "IAM", "issuers_failure": failure,
            "issuers": Vec::from_iter(issuers),
        })
    }

    #[test]
    fn keys_that_cannot_be_fetched_or_are_too_old_are_one_finding_with_the_remedy_of_its_cause() {
        assert!(told(&status(Some(1_799_999_000), None)).is_empty());
        let off = "outbound web identity federation is off in this account; to turn it on: keymaker configure --logins";
        let denied = "iam:GetOutboundWebIdentityFederationInfo was denied (x)";
        for (fetched_at, failure, what, remedy) in [
            (
                None,
                None,
                "has not fetched them yet; none are known",
                "systemctl reload keymakerd && keymaker sync",
            ),
            (
                Some(1_799_000_000),
                None,
                "fetched 277 hours ago, longer than max_stale",
                "keymaker sync",
            ),
            (
                Some(1_799_999_000),
                Some(off),
                "fetched 16 minutes ago",
                "aws iam enable-outbound-web-identity-federation",
            ),
            (
                None,
                Some(denied),
                "was denied (x); none are known",
                "keymaker configure --instance-iam-role web",
            ),
            (
                None,
                Some("https://1.example: no connection"),
                "no connection",
                "keymaker sync  # once this host reaches",
            ),
        ] {
            let told = told(&status(fetched_at, failure));
            let [(said, does)] = told.as_slice() else {
                panic!("{told:?}")
            };
            assert!(said.contains(what) && does.starts_with(remedy), "{said}: {does}");
        }
    }
}
