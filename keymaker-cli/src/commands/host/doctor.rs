//! `keymaker doctor`: what keeps IAM users from logging in here, or lets in whom it should not, and the command that
//! corrects it.
//!
//! Each file below looks at one part of the host and changes nothing, but for a sync that root's doctor orders, so that
//! every IAM action is tried. A finding is a fault; a note is by design, and worth knowing. One cause is one finding:
//! what it explains of the others is told with it ([`finding`]).

mod aws;
mod clock;
mod configure;
mod credd;
mod credentials;
mod daemon;
mod daemon_status;
mod files;
mod finding;
mod fix;
pub mod former_names;
mod iam;
mod logins;
mod names;
mod penalties;
mod ports;
pub mod proofs;
mod session_manager;
mod sudo;
mod typed_names;
mod users;

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::finding::Findings;
use super::{HostError, probe};
use crate::output::{Output, Paint, Progress};

/// Where authselect writes nsswitch.conf and the PAM stacks, editing them lasts until its next run.
const JOIN: &str = "keymaker install";

/// A part of the host, in words, and what looks at it.
type Part = (&'static str, fn(&mut Findings));

const PARTS: [Part; 11] = [
    ("the clock", clock::look),
    ("files", files::look),
    ("keymakerd", daemon::look),
    ("ports", ports::look),
    ("IAM", iam::look),
    ("names", names::look),
    ("logins", logins::look),
    ("sudo", sudo::look),
    ("users", users::look),
    ("Session Manager", session_manager::look),
    ("credd", credd::look),
];
/// After ten seconds, whoever asked has an answer, also on a host with much to do; what hangs is said to hang.
const PATIENCE: Duration = Duration::from_secs(8);

/// Looks at everything; returns whether nothing was found, with `fix` after remedies were applied.
pub fn run(fix: bool, output: &Output) -> Result<bool, HostError> {
    if !probe::is_root() {
        return Err(HostError::NotLooked(HostError::NotRoot.to_string()));
    }
    if fix && !fix::can_ask() {
        return Err(HostError::NotLooked(
            "--fix asks before it runs anything, and there is no terminal to ask at".to_owned(),
        ));
    }
    let found = look(output)?;
    if fix && fix::apply(&found.findings) {
        return Ok(look(output)?.findings.is_empty());
    }
    Ok(found.findings.is_empty())
}

/// Looks and prints what is found.
fn look(output: &Output) -> Result<Findings, HostError> {
    let progress = Progress::begin("looking");
    let (found, unseen) = look_at(&PARTS, PATIENCE);
    drop(progress);
    print(&found, &unseen, output);
    if found.findings.is_empty() && !unseen.is_empty() {
        return Err(HostError::NotLooked(unseen.join("; ")));
    }
    Ok(found)
}

/// What the parts find, and sentences about those that are not through by then. These go on until this program ends:
/// what hangs can be waited for, and no more.
fn look_at(parts: &[Part], patience: Duration) -> (Findings, Vec<String>) {
    let until = Instant::now() + patience;
    let (tell, told) = channel();
    for (at, (_, look)) in parts.iter().copied().enumerate() {
        let tell = tell.clone();
        thread::spawn(move || {
            let mut found = Findings::default();
            look(&mut found);
            // Nobody listens once the time of all parts is over.
            let _ = tell.send((at, found));
        });
    }
    drop(tell);
    let mut seen: Vec<Option<Findings>> = parts.iter().map(|_| None).collect();
    while let Ok((at, found)) = told.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if let Some(place) = seen.get_mut(at) {
            *place = Some(found);
        }
    }
    let hangs = parts.iter().zip(&seen).filter(|(_, found)| found.is_none());
    let hangs =
        hangs.map(|((part, _), _)| format!("{part}: not seen, since that took longer than {} s", patience.as_secs()));
    let hangs = hangs.collect();
    (Findings::together(seen.into_iter().flatten()), hangs)
}

fn print(found: &Findings, unseen: &[String], output: &Output) {
    let mut text = String::new();
    for finding in &found.findings {
        text += &format!("{} {}\n", output.paint(Paint::Bad, "FINDING"), finding.what);
        for consequence in &finding.consequences {
            text += &format!("        with it:        {consequence}\n");
        }
        text += &format!(
            "        why it matters: {}\n        what to do:     {}\n",
            finding.why, finding.remedy
        );
    }
    for part in unseen {
        text += &format!("{} {part}\n", output.paint(Paint::Doubtful, "UNSEEN "));
    }
    for note in &found.notes {
        text += &format!("{}    {note}\n", output.paint(Paint::Doubtful, "note"));
    }
    text += &match found.findings.len() {
        0 if unseen.is_empty() => output.paint(Paint::Good, "No finding: this host is healthy."),
        1 => "1 finding.".to_owned(),
        count => format!("{count} findings."),
    };
    let value = |finding: &finding::Finding| {
        json!({
            "what": finding.what,
            "consequences": finding.consequences,
            "why": finding.why,
            "remedy": finding.remedy,
        })
    };
    let findings: Vec<Value> = found.findings.iter().map(value).collect();
    output.print(
        &text,
        &json!({ "findings": findings, "notes": found.notes, "not_seen": unseen }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_named_and_the_others_are_heard() {
        let parts: [Part; 3] = [
            ("one", |found| {
                found.fault("a", "", "x");
            }),
            ("hangs", |_| {
                loop {
                    thread::park();
                }
            }),
            ("two", |found| found.note("b")),
        ];
        let (found, unseen) = look_at(&parts, Duration::from_millis(500));
        assert_eq!((found.findings.len(), found.notes.len()), (1, 1));
        assert!(
            unseen.len() == 1 && unseen[0].starts_with("hangs: not seen"),
            "{unseen:?}"
        );
    }
}
