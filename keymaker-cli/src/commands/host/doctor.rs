//! `keymaker doctor`: what keeps IAM users from logging in here, or lets in whom it should not, and the command that
//! corrects it.
//!
//! Each file below looks at one part of the host and changes nothing, but for a sync that root's doctor orders, so that
//! every IAM action is tried. A finding is a fault; a note is by design, and worth knowing.

mod clock;
mod credd;
mod daemon;
mod files;
mod iam;
mod logins;
mod names;
mod ports;

use std::path::Path;

use serde_json::{Value, json};

use super::install::authselect;
use super::{HostError, probe};
use crate::output::{Output, Paint, Progress};

/// Where authselect writes nsswitch.conf and the PAM stacks, editing them lasts until its next run.
const JOIN: &str = "keymaker install";

/// Something that is not as it should be.
#[derive(Debug)]
pub struct Finding {
    /// What is found.
    what: String,
    /// Why it matters.
    why: &'static str,
    /// The command that corrects it.
    remedy: String,
}

/// Everything found.
#[derive(Debug, Default)]
pub struct Findings {
    findings: Vec<Finding>,
    notes: Vec<String>,
}

impl Findings {
    /// A fault.
    fn fault(&mut self, what: impl Into<String>, why: &'static str, remedy: impl Into<String>) {
        self.findings.push(Finding {
            what: what.into(),
            why,
            remedy: if Path::new("/usr/bin/dpkg-query").exists() && !authselect::rules() {
                remedy.into()
            } else {
                for_enterprise_linux(&remedy.into())
            },
        });
    }

    /// Something worth knowing.
    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// Looks at everything; returns whether nothing was found.
pub fn run(output: &Output) -> Result<bool, HostError> {
    if !probe::is_root() {
        return Err(HostError::NotRoot);
    }
    let progress = Progress::begin("looking");
    let mut found = Findings::default();
    clock::look(&mut found);
    daemon::look(&mut found);
    ports::look(&mut found);
    iam::look(&mut found);
    names::look(&mut found);
    logins::look(&mut found);
    files::look(&mut found);
    credd::look(&mut found);
    drop(progress);
    print(&found, output);
    Ok(found.findings.is_empty())
}

/// Remedies are written for Debian. Elsewhere the package manager is dnf, and sshd's unit has sshd's name.
fn for_enterprise_linux(remedy: &str) -> String {
    let mut remedy = remedy.replace("apt-get install -y --reinstall", "dnf reinstall -y");
    for verb in ["reload", "restart", "revert", "enable --now"] {
        remedy = remedy.replace(&format!("systemctl {verb} ssh"), &format!("systemctl {verb} sshd"));
    }
    remedy
}

fn print(found: &Findings, output: &Output) {
    let mut text = String::new();
    for finding in &found.findings {
        text += &format!(
            "{} {}\n        why it matters: {}\n        what to do:     {}\n",
            output.paint(Paint::Bad, "FINDING"),
            finding.what,
            finding.why,
            finding.remedy
        );
    }
    for note in &found.notes {
        text += &format!("{}    {note}\n", output.paint(Paint::Doubtful, "note"));
    }
    text += &match found.findings.len() {
        0 => output.paint(Paint::Good, "No finding: this host is healthy."),
        1 => "1 finding.".to_owned(),
        count => format!("{count} findings."),
    };
    let value = |finding: &Finding| json!({ "what": finding.what, "why": finding.why, "remedy": finding.remedy });
    let findings: Vec<Value> = found.findings.iter().map(value).collect();
    output.print(&text, &json!({ "findings": findings, "notes": found.notes }));
}

#[cfg(test)]
mod tests {
    #[test]
    fn remedies_for_enterprise_linux_name_what_is_there() {
        let remedy = super::for_enterprise_linux(
            "systemctl revert ssh; systemctl restart ssh  # the option stands on sshd's command line",
        );
        assert_eq!(
            remedy,
            "systemctl revert sshd; systemctl restart sshd  # the option stands on sshd's command line"
        );
        let remedy = super::for_enterprise_linux("apt-get install -y --reinstall libnss-keymaker");
        assert_eq!(remedy, "dnf reinstall -y libnss-keymaker");
    }
}
