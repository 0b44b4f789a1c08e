//! What cannot be undone is done only once somebody has agreed: at a terminal by an answer, in a script by `--yes`.
//!
//! Each command that takes something away has the option and says what would be lost; the question is asked here alone.

use std::io::{IsTerminal, Write, stderr, stdin};

use clap::Args;

/// The option of each command that takes something away.
#[derive(Args, Clone, Copy, Debug)]
pub struct Consent {
    /// Ask no question before something is lost; a script must say so.
    #[arg(long)]
    yes: bool,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum NoConsent {
    #[error(
        "nothing was changed: '{0}' takes away what does not come back by itself, and there is no terminal to ask at; \
         if it is meant, say --yes"
    )]
    NobodyToAsk(&'static str),
    #[error("nothing was changed")]
    Declined,
}

impl Consent {
    /// Whether `command` can go on to the question. A command that finds out only on its way whether it takes anything
    /// away looks first: its script fails at the first run, and not at the first loss.
    pub fn can_be_had(self, command: &'static str) -> Result<(), NoConsent> {
        if self.yes || is_somebody_there() {
            Ok(())
        } else {
            Err(NoConsent::NobodyToAsk(command))
        }
    }

    /// Says what `command` takes away, and waits for the answer.
    pub fn ask(self, command: &'static str, lost: &str) -> Result<(), NoConsent> {
        self.can_be_had(command)?;
        if self.yes {
            return Ok(());
        }
        question(lost)
    }
}

/// Whether there is somebody to ask.
pub fn is_somebody_there() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Says what is about to be done, and waits for the answer. Whatever is no yes is a no, also a terminal that has gone.
pub fn question(what: &str) -> Result<(), NoConsent> {
    // Locked until the answer is there, so that `Progress` writes nothing over the question; what it wrote is wiped.
    let mut terminal = stderr().lock();
    let mut answer = String::new();
    let asked = write!(terminal, "\r\u{1b}[K{what}\nGo on? [yes/no] ").and_then(|()| stdin().read_line(&mut answer));
    match asked {
        Ok(_) if is_yes(&answer) => Ok(()),
        _ => Err(NoConsent::Declined),
    }
}

/// Whether an answer is a yes.
pub fn is_yes(answer: &str) -> bool {
    let answer = answer.trim();
    ["yes", "y"].iter().any(|yes| answer.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_yes_is_a_no() {
        for yes in ["yes\n", "y\n", " YES \r\n"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "no\n", "yes please\n", "ye\n", "yy\n", "\u{4}"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
