//! One thing that is not as planned, as the command that puts it right: `routing` and `egress` find them, the keeper
//! runs them.

use super::commands::{ToolError, run};

/// The command, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    program: &'static str,
    words: Vec<String>,
    is_of_all: bool,
    needs_the_one_before: bool,
}

impl Repair {
    /// `program` with `words`.
    pub fn new(program: &'static str, words: impl IntoIterator<Item = String>, is_of_all: bool) -> Self {
        Self {
            program,
            words: words.into_iter().collect(),
            is_of_all,
            needs_the_one_before: false,
        }
    }

    /// The same, to be left out where the one before it could not be done.
    pub fn after_the_one_before(self) -> Self {
        Self {
            needs_the_one_before: true,
            ..self
        }
    }

    /// Whether it is left out where the one before it could not be done.
    pub fn needs_the_one_before(&self) -> bool {
        self.needs_the_one_before
    }

    /// Whether it is about everybody's requests; not what concerns one device that has just come up, a container's for
    /// one, and stands behind other halves of capture.
    pub fn is_of_all(&self) -> bool {
        self.is_of_all
    }

    /// The command as an administrator would type it.
    pub fn line(&self) -> String {
        let quoted = |word: &String| {
            if word.contains(' ') {
                format!("'{word}'")
            } else {
                word.clone()
            }
        };
        let words: Vec<String> = self.words.iter().map(quoted).collect();
        format!("{} {}", self.program, words.join(" "))
    }

    /// Runs it.
    pub fn apply(&self) -> Result<(), ToolError> {
        let arguments: Vec<&str> = self.words.iter().map(String::as_str).collect();
        run(self.program, &arguments, "").map(|_| ())
    }
}
