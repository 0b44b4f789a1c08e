//! How results reach the terminal or a program: text for people, JSON with `--json`, complaints on standard error.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

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

    /// A word in a colour, where a person reads it at a terminal and has not set `NO_COLOR`.
    pub fn paint(&self, paint: Paint, word: &str) -> String {
        self.paint_on(&std::io::stdout(), paint, word)
    }

    fn paint_on(&self, stream: &impl IsTerminal, paint: Paint, word: &str) -> String {
        // no-color.org: any value but the empty one.
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if self.format == Format::Text && wanted && stream.is_terminal() {
            format!("\u{1b}[{}m{word}\u{1b}[0m", paint as u8)
        } else {
            word.to_owned()
        }
    }

    /// Says on standard error what is worth knowing about a result.
    pub fn remark(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = match self.format {
            Format::Text => writeln!(
                stderr,
                "{} {text}",
                self.paint_on(&std::io::stderr(), Paint::Doubtful, "note:")
            ),
            Format::Json => writeln!(stderr, "{:#}", json!({ "note": text })),
        };
    }

    /// Says on standard error what could not be done.
    pub fn complain(&self, error: &dyn std::fmt::Display) {
        let mut stderr = std::io::stderr().lock();
        let _ = match self.format {
            Format::Text => writeln!(
                stderr,
                "{} {error}",
                self.paint_on(&std::io::stderr(), Paint::Bad, "keymaker:")
            ),
            Format::Json => writeln!(stderr, "{:#}", json!({ "error": error.to_string() })),
        };
    }
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// As it should be.
    Good = 32,
    /// Not as it should be.
    Bad = 31,
    /// Worth a look.
    Doubtful = 33,
}

/// Rows under a heading, in columns as wide as their widest cell. The last column is not padded.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut all: Vec<Vec<String>> = vec![heading.iter().map(|&cell| cell.to_owned()).collect()];
    all.extend_from_slice(rows);
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Says at a terminal what is going on, once that has taken a second; wipes it away when it has ended.
#[derive(Debug)]
pub struct Progress {
    counting: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins to count.
    pub fn begin(what: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { counting: None };
        }
        let (ends, ended) = channel();
        let counting = std::thread::spawn(move || {
            let mut seconds = 0;
            while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                seconds += 1;
                let _ = write!(std::io::stderr(), "\r{what} … {seconds} s\u{1b}[K");
            }
            if seconds > 0 {
                let _ = write!(std::io::stderr(), "\r\u{1b}[K");
            }
        });
        Self {
            counting: Some((ends, counting)),
        }
    }
}

impl Drop for Progress {
    /// Nothing is printed before it is wiped away.
    fn drop(&mut self) {
        if let Some((ends, counting)) = self.counting.take() {
            drop(ends);
            let _ = counting.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_headings() {
        let rows = [
            vec!["a".to_owned(), "b".to_owned()],
            vec!["long".to_owned(), "c".to_owned()],
        ];
        assert_eq!(table(&["ID", "X"], &rows), "ID    X\na     b\nlong  c");
    }
}
