//! Whether a statement of a user's policy is worth no more, and denies no less, once a role has it. What goes by who
//! asks means something else there; one such key is enough to refuse all of the user's policies, but for the little
//! that can only narrow.
//!
//! The user is taken to sign with an access key, which has no MFA. A session of a role has none either, and says so:
//! aws:MultiFactorAuthPresent is false for it and absent for the key (IAM User Guide, "AWS global condition context
//! keys"). [`Binding`] is the table of all keys.

use serde_json::{Map, Value};
use session_policy::Binding;

/// The first key of a policy that keeps it from being a role's; in lower case.
pub fn first_key(document: &Value) -> Option<String> {
    let statements = document.get("Statement");
    let list = statements.and_then(Value::as_array).into_iter().flatten();
    let one = statements.filter(|statements| !statements.is_array());
    list.chain(one).find_map(first_key_of)
}

/// What only narrows is taken out; whatever key is then left anywhere in the statement counts.
fn first_key_of(statement: &Value) -> Option<String> {
    let mut left = statement.clone();
    if let Some(statement) = left.as_object_mut() {
        let allows = statement.get("Effect") == Some(&"Allow".into());
        if let Some(resources) = statement.get_mut("Resource").filter(|_| allows) {
            without_user_name(resources);
        }
        if let Some(conditions) = statement.get_mut("Condition").and_then(Value::as_object_mut) {
            for (operator, keys) in conditions {
                if let Some(keys) = keys.as_object_mut() {
                    keep_what_widens(allows, operator, keys);
                }
            }
        }
    }
    let text = left.to_string().to_ascii_lowercase();
    let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'));
    words.find(|word| is_bound(word)).map(str::to_owned)
}

fn is_bound(key: &str) -> bool {
    // How long ago somebody proved a second factor: absent for the access key and for the session.
    key != "aws:multifactorauthage"
        && matches!(
            Binding::of(key),
            Binding::UserOnly | Binding::Principal | Binding::MultiFactor
        )
}

/// The keys of one operator without those that can only narrow.
fn keep_what_widens(allows: bool, operator: &str, keys: &mut Map<String, Value>) {
    let operator = operator.to_ascii_lowercase();
    // Of a positive operator by itself, a key that is absent or a value that is none does not match. IAM User Guide,
    // "IAM JSON policy elements: Condition operators": negated ones, …IfExists, Null and ForAllValues do.
    let positive = !operator.contains("not") && operator != "null" && !operator.starts_with("for");
    let plain = positive && !operator.ends_with("ifexists");
    keys.retain(|key, values| {
        if allows && positive {
            without_user_name(values);
        }
        let only_narrows = match Binding::of(key) {
            // Never matches.
            Binding::UserOnly => allows && plain,
            Binding::MultiFactor if key.eq_ignore_ascii_case("aws:MultiFactorAuthPresent") => match operator.as_str() {
                // False for the session, absent for the key: this matches the session at most, that the key always.
                "bool" => !allows || all_are(values, true),
                "boolifexists" => allows || all_are(values, false),
                _ => false,
            },
            _ => false,
        };
        !only_narrows
    });
}

/// Whether each value says so; in any case, quoted or not.
fn all_are(values: &Value, wanted: bool) -> bool {
    let list = values.as_array().map_or(std::slice::from_ref(values), Vec::as_slice);
    let is = |value: &Value| match value {
        Value::Bool(said) => *said == wanted,
        Value::String(said) => said.eq_ignore_ascii_case(if wanted { "true" } else { "false" }),
        _ => false,
    };
    !list.is_empty() && list.iter().all(is)
}

/// `${aws:username}` without a default stands for nothing in a session of a role: what has it matches nothing.
fn without_user_name(values: &mut Value) {
    let names_user = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.to_ascii_lowercase().contains(USER_NAME))
    };
    match values {
        Value::Array(list) => list.retain(|value| !names_user(value) || has_more_variables(value)),
        one if names_user(one) && !has_more_variables(one) => *one = Value::Null,
        _ => {}
    }
}

fn has_more_variables(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
    text.replace(USER_NAME, "").contains("${aws:")
}

const USER_NAME: &str = "${aws:username}";

#[cfg(test)]
mod tests;
