//! Changes of an account as an administrator reads them before and after: what, and both documents as a diff.
//!
//! `configure` and `sync-roles` collect them. Nothing here asks AWS.

mod diff;

use serde_json::{Value, json};

use crate::output::{Output, Paint};

/// One change, made or to be made.
#[derive(Debug)]
pub struct Change {
    /// Of what.
    pub what: String,
    /// As it was; empty where it was not there.
    pub before: String,
    /// As it is now; empty where it is gone.
    pub after: String,
}

/// The changes as text and as JSON.
pub fn shown(changes: &[Change], dry_run: bool, output: &Output) -> (String, Value) {
    let mut text = String::new();
    for change in changes {
        text += &format!("{}\n", change.what);
        for line in diff::lines(&change.before, &change.after) {
            let paint = if line.starts_with('+') { Paint::Good } else { Paint::Bad };
            let changed = line.starts_with(['+', '-']);
            text += &if changed {
                format!("  {}\n", output.paint(paint, &line))
            } else {
                format!("  {line}\n")
            };
        }
    }
    text += match (changes.is_empty(), dry_run) {
        (true, _) => "Nothing to change.",
        (false, true) => "Nothing was changed (--dry-run).",
        (false, false) => "Done.",
    };
    let value = |change: &Change| json!({ "change": change.what, "before": change.before, "after": change.after });
    let values: Vec<Value> = changes.iter().map(value).collect();
    let value = json!({ "changed": !dry_run && !changes.is_empty(), "changes": values });
    (text, value)
}
