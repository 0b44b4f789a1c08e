//! The gates of a certificate with a token of AWS's, in the order of the program `proof` and by its very code. Called by [`super::run`]
//! where one is given.
//!
//! What is printed of a token is what the audit has of it too: its name, its key, whose it is, its times.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use keymaker_core::client::ask;
use keymaker_core::directory_file::User;
use keymaker_core::issuers_file::{self, IssuerKey, ProofRules};
use keymaker_core::login::{older_than, unix_time};
use keymaker_core::paths;
use keymaker_core::proof::{Proof, ProofGate, is_certificate, is_young_enough};
use keymaker_core::protocol::{KEYS_BUDGET, MAX_ANSWER, Question};
use keymaker_proof::{RightSoFar, verify_telling};
use rustix::fs::OFlags;
use serde_json::Value;

use super::super::doctor::proofs::{FEDERATION_IS_OFF, remedy};
use super::super::probe::{self, list_setting_has, text_setting};
use super::super::status::ago;
use super::{Shut, Walk};

/// A certificate that proves something, and what.
pub(super) struct ProvenCertificate {
    pub(super) key_type: String,
    pub(super) base64: String,
    pub(super) proof: Proof,
}

/// Walks the gates of the verifier, by the certificate in this file.
pub(super) fn proves(walk: &mut Walk, file: &Path) -> Result<ProvenCertificate, Shut> {
    let (key_type, base64) = match certificate_in(file) {
        Ok(certificate) => certificate,
        Err(why) => {
            let remedy = "keymaker login  # names the file that it writes: …-cert.pub";
            return walk.closed("certificate", format!("{file:?}: {why}"), remedy);
        }
    };
    let published = || issuers_file::read(Path::new(paths::ISSUERS));
    let (mut rules, mut keys) = match published() {
        Ok(published) => published,
        Err(error) => {
            let why = format!("no key of an issuer is known here: {}: {error}", paths::ISSUERS);
            let remedy = "keymaker doctor  # and login_by in keymakerd.toml must have \"proof\"";
            return walk.closed("issuer", why, remedy);
        }
    };
    if keys.is_empty() {
        let why = "no key of an issuer is published here: login_by has no \"proof\", or none could be fetched yet";
        let remedy = format!("grep ^login_by {}; keymaker doctor", paths::KEYMAKERD_TOML);
        return walk.closed("issuer", why, remedy);
    }
    let now = SystemTime::now();
    let unix_now = now_unix();
    let verified = |rules: &ProofRules, keys: &[IssuerKey], tell: &mut dyn FnMut(RightSoFar<'_>)| {
        verify_telling(&key_type, &base64, rules, keys, unix_now, tell)
    };
    // As a login has keymakerd look for a new key of the issuer's.
    if verified(&rules, &keys, &mut |_| ()).is_err_and(|none| none.gate() == ProofGate::Key) && probe::is_root() {
        let mut buffer = [0; MAX_ANSWER];
        let _ = ask(
            Path::new(paths::LOGIN_SOCKET),
            &Question::IssuerKeys,
            KEYS_BUDGET,
            &mut buffer,
        );
        if let Ok(again) = published() {
            (rules, keys) = again;
        }
    }
    let mut open = |step: RightSoFar<'_>| match step {
        RightSoFar::Certificate(certificate) => walk.open(
            "certificate",
            format!(
                "as keymaker login makes them; its key {}, its token {}",
                certificate.fingerprint, certificate.key_id
            ),
        ),
        RightSoFar::Token(token) => walk.open("token", format!("ES384, by a key named {:?}", token.kid)),
        RightSoFar::Signature(key) => walk.open(
            "signature",
            format!(
                "by {} of {}, which showed it {}",
                key.kid,
                key.issuer,
                ago(unix_time(key.fetched_at), now)
            ),
        ),
    };
    match verified(&rules, &keys, &mut open) {
        Ok(proof) => {
            let left = proof.ends_at.saturating_sub(unix_now);
            let who = format!(
                "for {}: IAM user {}, for another {left} s",
                rules.audience, proof.iam_user_name
            );
            walk.open("claims", who);
            Ok(ProvenCertificate {
                key_type,
                base64,
                proof,
            })
        }
        Err(none) => {
            let gate = match none.gate() {
                ProofGate::Certificate => "certificate",
                ProofGate::Token => "token",
                ProofGate::Key | ProofGate::Signature => "signature",
                ProofGate::Claims => "claims",
            };
            walk.closed(gate, none.to_string(), none.remedy())
        }
    }
}

/// The gate of a user who has nothing but proofs, where none is given: whether the issuer's keys are here, and whether AWS gives tokens.
pub(super) fn has_an_issuer(walk: &mut Walk) -> Result<(), Shut> {
    const GATE: &str = "issuer";
    let status = super::status();
    let failure = status
        .get("issuers_failure")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let remedy = || remedy(failure, &status);
    if failure.contains(FEDERATION_IS_OFF) {
        let why = format!("the user logs in by proof alone, and AWS makes nobody a token: {failure}");
        return walk.closed(GATE, why, remedy());
    }
    let (rules, keys) = issuers_file::read(Path::new(paths::ISSUERS)).unwrap_or_default();
    let latest = keys.iter().max_by_key(|key| key.fetched_at);
    let known = latest.map_or("none is known here".to_owned(), |key| {
        let shown = ago(unix_time(key.fetched_at), SystemTime::now());
        format!("{} showed its last one, {}, {shown}", key.issuer, key.kid)
    });
    let max_stale = Duration::from_secs(rules.max_stale.into());
    let is_fresh = latest.is_some_and(|key| !older_than(unix_time(key.fetched_at), max_stale, SystemTime::now()));
    if !is_fresh {
        let why = format!(
            "the user logs in by proof alone, and no key of an issuer is here that is not older than max_stale: {known}"
        );
        return walk.closed(GATE, why, remedy());
    }
    walk.open(GATE, known);
    Ok(())
}

/// Whether it is this user's, as the keys command sees it.
pub(super) fn is_of(walk: &mut Walk, user: &User<'_>, proof: &Proof) -> Result<(), Shut> {
    const GATE: &str = "proof";
    if proof.iam_user_name != user.iam_user_name {
        let why = format!(
            "it is of IAM user {}, and {} is IAM user {} here",
            proof.iam_user_name, user.name, user.iam_user_name
        );
        return walk.closed(GATE, why, "keymaker ssh  # as the user whose token it is");
    }
    if proof.iam_user_id != user.iam_user_id {
        let why = format!(
            "it was made for {}, who had the name {} then, and not for {}, who has it here",
            proof.iam_user_id, proof.iam_user_name, user.iam_user_id
        );
        return walk.closed(GATE, why, "keymaker login  # makes a new one, for who has the name now");
    }
    let made = ago(unix_time(proof.issued_at), SystemTime::now());
    match user.proofs_from {
        None => {
            let (why, remedy) = no_proof_counts(user);
            walk.closed(GATE, why, remedy)
        }
        Some(_) if is_young_enough(proof.issued_at, user) => {
            walk.open(GATE, format!("made {made}, while the user had the name here"));
            Ok(())
        }
        Some(from) => {
            let from = match from.checked_sub(now_unix()) {
                Some(left @ 1..) => format!("{left} s from now on"),
                _ => ago(unix_time(from), SystemTime::now()),
            };
            let why = format!(
                "it was made {made}, and only those count that are made since {from}: it was revoked, or is older than the user's having the name"
            );
            walk.closed(
                GATE,
                why,
                "sleep 3; keymaker login  # on the user's computer: makes a new one",
            )
        }
    }
}

/// Why no proof opens a login of a user whom the directory gives no time from which on one does, and what to do.
pub(super) fn no_proof_counts(user: &User<'_>) -> (String, String) {
    let group = text_setting(paths::KEYMAKERD_TOML, "login_proof_group");
    match group.filter(|_| list_setting_has(paths::KEYMAKERD_TOML, "login_by", "proof")) {
        Some(group) => (
            format!("the user logs in by no proof here: they are not in the IAM group {group} (login_proof_group)"),
            format!(
                "aws iam add-user-to-group --user-name {} --group-name {group}; keymaker sync",
                user.iam_user_name
            ),
        ),
        None => (
            "the user logs in by no proof here: login_by has no \"proof\"".to_owned(),
            format!("grep ^login_ {}; keymaker doctor", paths::KEYMAKERD_TOML),
        ),
    }
}

fn now_unix() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// The type and the base64 of the certificate in a file, as sshd's `%t` and `%k`.
fn certificate_in(file: &Path) -> Result<(String, String), String> {
    let mut text = String::new();
    // Somebody else's file: a FIFO would be waited for.
    let opened = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(file);
    let opened = opened.and_then(|file| Ok((file.metadata()?.is_file(), file)));
    let (is_file, file) = opened.map_err(|error| error.to_string())?;
    if !is_file {
        return Err("no regular file".to_owned());
    }
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(key_type), Some(base64)) if is_certificate(key_type) => Ok((key_type.to_owned(), base64.to_owned())),
        (Some(token), None) if token.split('.').count() == 3 => {
            Err("a token alone; a host is shown it in a certificate, and that is what can be looked at".to_owned())
        }
        _ => Err("no certificate for an Ed25519 or ECDSA P-256 key, as OpenSSH writes them".to_owned()),
    }
}

const LONGEST: u64 = 64 * 1024;
