//! What keymakerd says of itself (docs/status.md), as doctor's parts read it.

use keymaker_core::paths;
use serde_json::Value;

/// The whole; `None` where there is none, or half of one.
pub fn read() -> Option<Value> {
    let text = std::fs::read_to_string(paths::STATUS).ok()?;
    serde_json::from_str(&text).ok()
}

/// The entries of a list of the status.
pub fn list<'a>(status: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    status.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A word in it; empty where there is none.
pub fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
