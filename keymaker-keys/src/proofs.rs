//! A login by proof: the line that sshd is shown for a certificate, where AWS says that its key is the user's for some minutes.
//!
//! Called by `main` for the two types of certificate that may carry a proof, and only where the drop-in gives them (`login_by`). The
//! program `proof` reads the certificate, in a process of its own: whatever it makes of one, this one ends with 0, since sshd would
//! discard a match and log the certificate otherwise. What it says is compared with the directory here, before and after keymakerd
//! has looked whether the user may still log in; PAM looks once more, by the ticket.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use keymaker_core::client;
use keymaker_core::directory_file::MAX_USER_RECORD;
use keymaker_core::login::{self, LoginDecision};
use keymaker_core::name::UserName;
use keymaker_core::paths;
use keymaker_core::proof::{MAX_CERTIFICATE, PRINCIPAL, Proof, ProofGate, is_token_id};
use keymaker_core::protocol::{Answer, KEYS_BUDGET, MAX_ANSWER, Question};
use keymaker_core::ticket::Ticket;

use crate::authorized_keys::{self, KeysAfterNudge, KeysHost, NoKeys, ShownKeys};

/// What belongs to proofs on this host.
pub struct ProofPlaces<'a> {
    /// the program that verifies one
    pub verifier: &'a Path,
    /// the folder of the tickets
    pub tickets: &'a Path,
}

impl ProofPlaces<'static> {
    /// Those of the host that this process runs on.
    pub fn this() -> Self {
        Self {
            verifier: Path::new(paths::PROOF),
            tickets: Path::new(paths::TICKETS),
        }
    }
}

/// The certificate that a client offers, as sshd says it, and as whom they would log in.
pub struct Offered<'a> {
    /// `%t`
    pub key_type: &'a str,
    /// `%k`
    pub base64: &'a OsStr,
    /// the name, and the uid as which sshd would start the session
    pub login: (UserName, u32),
}

/// The line for this certificate.
pub fn lines(
    offered: &Offered<'_>,
    host: &KeysHost<'_>,
    places: &ProofPlaces<'_>,
    now: SystemTime,
) -> Result<ShownKeys, NoKeys> {
    let (mut proof, mut left) = (verified(offered, places.verifier), KEYS_BUDGET);
    if let Err(NoKeys::NotProven(ProofGate::Key, _)) = proof {
        let began = Instant::now();
        if a_new_key_came(offered, host) {
            proof = verified(offered, places.verifier);
        }
        // Both questions together wait no longer than one (P5).
        left = left.saturating_sub(began.elapsed());
    }
    let proof = proof?;
    let token_id = proof.token_id.clone();
    lines_for(proof, left, offered, host, places, now).map_err(|why| NoKeys::OfToken(token_id, Box::new(why)))
}

/// The same of what AWS says, where keymakerd may be waited for that long.
fn lines_for(
    proof: Proof,
    left: Duration,
    offered: &Offered<'_>,
    host: &KeysHost<'_>,
    places: &ProofPlaces<'_>,
    now: SystemTime,
) -> Result<ShownKeys, NoKeys> {
    let (name, sshds_uid) = offered.login;
    let mut buffer = [0; MAX_USER_RECORD];
    // Nobody is asked on behalf of somebody else's token.
    let user = authorized_keys::user(name, sshds_uid, host, &authorized_keys::directory(host)?, &mut buffer)?;
    if user.iam_user_name != proof.iam_user_name {
        return Err(NoKeys::NoProof("it is another user's".to_owned()));
    }
    if let Ok(KeysAfterNudge::DoesNotStand) = authorized_keys::nudge_within(left, name, host) {
        return Err(NoKeys::NotPublished);
    }
    let directory = authorized_keys::directory(host)?;
    let user = authorized_keys::user(name, sshds_uid, host, &directory, &mut buffer)?;
    if !proof.is_of(&user) {
        let why = "proofs are off for this user, or the name was another's when it was made, or it was revoked";
        return Err(NoKeys::NoProof(why.to_owned()));
    }
    let contact = login::last_contact(host.contact);
    let decision = LoginDecision::about(&user, &directory.header(), contact, now).and_home(&user);
    let line = spell(&proof.key, decision);
    let token_id = Some(proof.token_id.clone());
    if decision == LoginDecision::Allowed {
        let ticket = Ticket {
            certificate: format!("{} {}", offered.key_type, offered.base64.to_string_lossy()),
            name,
            uid: user.uid,
            iam_user_id: user.iam_user_id.to_owned(),
            issued_at: proof.issued_at,
            ends_at: proof.ends_at,
            token_id: proof.token_id,
            fingerprint: proof.fingerprint,
        };
        ticket
            .write(places.tickets, now)
            .map_err(|error| NoKeys::NoProof(error.to_string()))?;
    }
    Ok(ShownKeys {
        lines: line,
        decision,
        iam_user_id: user.iam_user_id.to_owned(),
        token_id,
        beside_instance_connect: None,
    })
}

/// What the verifier says; nothing where it ends in any other way than with its one line.
fn verified(offered: &Offered<'_>, verifier: &Path) -> Result<Proof, NoKeys> {
    if offered.base64.len() > MAX_CERTIFICATE {
        let why = "the certificate is too long".to_owned();
        return Err(NoKeys::NotProven(ProofGate::Certificate, why));
    }
    let run = Command::new(verifier)
        .args([OsStr::new(offered.key_type), offered.base64])
        .env_clear()
        .stdin(Stdio::null())
        .output();
    let run = run.map_err(|error| NoKeys::NoProof(format!("{} cannot be run: {error}", verifier.display())))?;
    let line = str::from_utf8(&run.stdout)
        .ok()
        .and_then(|line| line.strip_suffix('\n'));
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        let said: String = said
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(LONGEST_REASON)
            .collect();
        return Err(match run.status.code().and_then(ProofGate::of_status) {
            Some(gate) => {
                let signed = line.filter(|id| gate == ProofGate::Claims && is_token_id(id));
                let why = NoKeys::NotProven(gate, said);
                match signed {
                    Some(id) => NoKeys::OfToken(id.to_owned(), Box::new(why)),
                    None => why,
                }
            }
            None if said.is_empty() => NoKeys::NoProof(format!("the verifier failed: {}", run.status)),
            None => NoKeys::NoProof(said),
        });
    }
    line.and_then(Proof::parse)
        .ok_or_else(|| NoKeys::NoProof("the verifier's answer cannot be read".to_owned()))
}

/// Has keymakerd look whether the issuer has a new key. Anybody can make a token that names an unknown one: keymakerd asks few times,
/// whoever wants it, and nobody is asked but for a user who may log in by proof.
fn a_new_key_came(offered: &Offered<'_>, host: &KeysHost<'_>) -> bool {
    let (name, sshds_uid) = offered.login;
    let mut record = [0; MAX_USER_RECORD];
    let may_have_proofs = authorized_keys::directory(host)
        .and_then(|directory| authorized_keys::user(name, sshds_uid, host, &directory, &mut record))
        .is_ok_and(|user| user.proofs_from.is_some());
    let mut answer = [0; MAX_ANSWER];
    may_have_proofs
        && matches!(
            client::ask(host.login_socket, &Question::IssuerKeys, KEYS_BUDGET, &mut answer),
            Ok(Answer::Fresh)
        )
}

/// The key as the authority of its own certificate; a user who may not log in reads why.
fn spell(key: &str, decision: LoginDecision) -> String {
    let refusal = match decision {
        LoginDecision::Allowed => String::new(),
        LoginDecision::Refused(_) | LoginDecision::CannotTell(_) => {
            format!("restrict,command=\"{}\",", paths::REFUSAL)
        }
    };
    format!("{refusal}cert-authority,principals=\"{PRINCIPAL}\" {key}\n")
}

const LONGEST_REASON: usize = 200;

#[cfg(test)]
mod tests;
