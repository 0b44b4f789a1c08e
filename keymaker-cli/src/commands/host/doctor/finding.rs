//! What doctor found, and which finding explains which: of one cause the administrator reads one finding, with one remedy.

use crate::commands::host::remedy;

/// What can explain other findings, one that explains another before it: so nothing goes round in a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum FaultCause {
    /// a system user or group is missing
    Accounts,
    /// a folder or file of keymakerd's has another owner or mode
    Folders,
    /// this host has no port left
    Ports,
    /// this host's clock is wrong
    Clock,
    /// keymakerd.toml is wrong, or keymakerd cannot read it
    KeymakerdToml,
    /// credd.toml, likewise
    CreddToml,
    /// keymakerd does not run, hangs, or was told to rest
    Keymakerd,
    /// AWS denies, or does not answer
    Aws,
    /// a change of settings waits for an administrator
    Pending,
    /// what keymakerd publishes cannot be read
    Published,
    /// glibc does not ask us
    Names,
    /// sshd does not run, or not with its settings
    Sshd,
    /// credd does not run as it should
    Credd,
}

/// Why IAM may not have been reached, so that nothing is published.
pub const NO_CONTACT: &[FaultCause] = &[
    FaultCause::Accounts,
    FaultCause::Folders,
    FaultCause::Ports,
    FaultCause::Clock,
    FaultCause::KeymakerdToml,
    FaultCause::Keymakerd,
    FaultCause::Aws,
];

/// Something that is not as it should be.
#[derive(Debug)]
pub struct Finding {
    /// What is found.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// The command that corrects it.
    pub remedy: String,
    /// What else is found, and would not be without this.
    pub consequences: Vec<String>,
    is: Option<FaultCause>,
    of: &'static [FaultCause],
}

impl Finding {
    /// It explains others.
    pub fn is(&mut self, cause: FaultCause) -> &mut Self {
        self.is = Some(cause);
        self
    }

    /// Where one of these is found, the first of them explains it.
    pub fn of(&mut self, causes: &'static [FaultCause]) -> &mut Self {
        self.of = causes;
        self
    }
}

/// Everything found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Faults.
    pub findings: Vec<Finding>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

impl Findings {
    /// A fault.
    pub fn fault(&mut self, what: impl Into<String>, why: &'static str, remedy: impl Into<String>) -> &mut Finding {
        self.findings.push_mut(Finding {
            what: what.into(),
            why,
            remedy: remedy::for_this_host(&remedy.into()),
            consequences: Vec::new(),
            is: None,
            of: &[],
        })
    }

    /// Something worth knowing.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// What several looked for, each consequence told with its cause.
    pub fn together(parts: impl Iterator<Item = Self>) -> Self {
        let (mut all, mut notes) = (Vec::new(), Vec::new());
        for part in parts {
            all.extend(part.findings);
            notes.extend(part.notes);
        }
        let roots: Vec<usize> = (0..all.len()).map(|at| root(&all, at)).collect();
        let told: Vec<String> = all.iter().map(|finding: &Finding| finding.what.clone()).collect();
        for (at, (root, what)) in roots.iter().zip(told).enumerate() {
            if let Some(root) = all.get_mut(*root).filter(|_| *root != at) {
                // Two parts may have met the same.
                if root.what != what {
                    root.consequences.push(what);
                }
            }
        }
        let mut at = 0..;
        all.retain(|_| at.next().is_some_and(|at| roots.get(at) == Some(&at)));
        Self { findings: all, notes }
    }
}

/// The finding that explains this one, or one that explains that; itself where none does. What the same command corrects
/// has one cause, too.
fn root(all: &[Finding], of: usize) -> usize {
    let explains = |at: usize| {
        let finding = all.get(at)?;
        let causes = finding
            .of
            .iter()
            .filter(|cause| finding.is.is_none_or(|own| **cause < own));
        let by_cause = causes
            .filter_map(|cause| all.iter().position(|other| other.is == Some(*cause)))
            .next();
        let same = |other: &Finding| {
            let explained = finding.is.is_some_and(|own| other.of.contains(&own));
            other.remedy == finding.remedy && !explained
        };
        by_cause.or_else(|| all.iter().take(at).position(same))
    };
    // No longer than there are findings, whoever explains whom.
    let mut at = of;
    for _ in all {
        match explains(at) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_one_finding_with_what_it_explains() {
        let mut one = Findings::default();
        one.fault("no keymakerd", "", "start")
            .is(FaultCause::Keymakerd)
            .of(&[FaultCause::Accounts]);
        one.fault("a mode", "", "chmod");
        let mut two = Findings::default();
        two.fault("no contact", "", "sync")
            .of(&[FaultCause::Aws, FaultCause::Keymakerd]);
        two.fault("no user", "", "sysusers").is(FaultCause::Accounts);
        two.fault("no group", "", "sysusers");
        let found = Findings::together([one, two].into_iter()).findings;
        let told: Vec<_> = found
            .iter()
            .map(|found| (found.what.as_str(), found.consequences.join(", ")))
            .collect();
        assert_eq!(
            told,
            [
                ("a mode", String::new()),
                ("no user", "no keymakerd, no contact, no group".to_owned())
            ]
        );
    }

    #[test]
    fn what_nothing_explains_stands_for_itself_and_no_circle_hides_both() {
        let mut found = Findings::default();
        found.fault("no contact", "", "sync").of(&[FaultCause::Aws]);
        found.fault("a", "", "x").is(FaultCause::Sshd).of(&[FaultCause::Names]);
        found.fault("b", "", "y").is(FaultCause::Names).of(&[FaultCause::Sshd]);
        let found = Findings::together([found].into_iter()).findings;
        let told: Vec<_> = found
            .iter()
            .map(|found| (found.what.as_str(), found.consequences.len()))
            .collect();
        assert_eq!(told, [("no contact", 0), ("b", 1)]);
    }
}
