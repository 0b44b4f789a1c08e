//! A statement's Condition block, read and given back. It is carried, never judged: two statements are merged only if
//! their conditions are equal, and which keys may stand there is `binding.rs`'s question.
//!
//! IAM User Guide, "Grammar": operator → key → value or list; a value is a string, number or Boolean, and "quotation
//! marks are optional for numeric and Boolean values", so all are kept as text. A list means "any of them": its order
//! is nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::variable::{Piece, Variables, pieces};

/// Operator → key → values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Conditions(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

/// Why a Condition block could not be read.
pub(super) enum UnreadableConditions {
    /// It has another shape than the grammar's.
    Shape,
    /// This value has an unreadable `${…}`.
    Variable(String),
}

impl Conditions {
    /// None if the block is empty, which is not a condition at all.
    pub(super) fn parse(block: Value, variables: Variables) -> Result<Option<Self>, UnreadableConditions> {
        let mut operators = BTreeMap::new();
        for (operator, keys) in object(block)? {
            let mut by_key = BTreeMap::new();
            for (key, values) in object(keys)? {
                let values = match values {
                    Value::Array(list) => list,
                    one => vec![one],
                };
                let values = values.into_iter().map(|value| text_of(value, variables));
                by_key.insert(key, values.collect::<Result<_, _>>()?);
            }
            operators.insert(operator, by_key);
        }
        Ok((!operators.is_empty()).then_some(Self(operators)))
    }

    /// Every condition key, as written.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.values().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Every variable in a value, as between `${` and `}`.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        let values = self.0.values().flat_map(BTreeMap::values).flatten();
        let pieces = values.flat_map(|value| pieces(value, Variables::Known).unwrap_or_default());
        pieces.filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name),
            _ => None,
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let keys_json = |keys: &BTreeMap<String, BTreeSet<String>>| -> Value {
            keys.iter()
                .map(|(key, values)| (key.clone(), values_json(values)))
                .collect()
        };
        self.0
            .iter()
            .map(|(operator, keys)| (operator.clone(), keys_json(keys)))
            .collect()
    }
}

fn object(value: Value) -> Result<Map<String, Value>, UnreadableConditions> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(UnreadableConditions::Shape),
    }
}

/// A value as a document of version 2012-10-17 says it, its variables checked.
fn text_of(value: Value, variables: Variables) -> Result<String, UnreadableConditions> {
    let text = match value {
        Value::String(text) => text,
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        _ => return Err(UnreadableConditions::Shape),
    };
    match variables {
        Variables::Literal => Ok(text.replace("${", "${$}{")),
        Variables::Known => match pieces(&text, variables) {
            Ok(_) => Ok(text),
            Err(_) => Err(UnreadableConditions::Variable(text)),
        },
    }
}

fn values_json(values: &BTreeSet<String>) -> Value {
    match (values.first(), values.len()) {
        (Some(only), 1) => Value::from(only.as_str()),
        _ => values.iter().map(String::as_str).collect(),
    }
}
