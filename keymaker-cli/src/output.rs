//! How results reach the terminal or a program: text for people, JSON with `--json`, complaints on standard error.

use std::io::Write;

use serde_json::{Value, json};

/// Whom the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// People.
    Text,
    /// Programs.
    Json,
}

/// Where results go.
#[derive(Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    /// Output in this format.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints a result: the text for people, the value for programs.
    pub fn print(&self, text: &str, value: &Value) {
        let mut stdout = std::io::stdout().lock();
        // A reader that has gone (`| head`) wants no more.
        let _ = match self.format {
            Format::Text => writeln!(stdout, "{}", text.trim_end()),
            Format::Json => writeln!(stdout, "{value:#}"),
        };
    }

    /// Says on standard error what could not be done.
    pub fn complain(&self, error: &dyn std::fmt::Display) {
        let mut stderr = std::io::stderr().lock();
        let _ = match self.format {
            Format::Text => writeln!(stderr, "keymaker: {error}"),
            Format::Json => writeln!(stderr, "{:#}", json!({ "error": error.to_string() })),
        };
    }
}
