//! Reads one identity policy document as IAM keeps it: what `GetUserPolicy`, `GetGroupPolicy`, `GetRolePolicy` and
//! `GetPolicyVersion` return. It refuses whatever it does not know, since a part that is not understood cannot be kept.
//!
//! IAM User Guide, "Grammar of the IAM JSON policy language". Single statements and single strings stand for lists of
//! one; a document without Version is one of 2008-10-17.

use std::collections::BTreeSet;

use keymaker_syntax::strict_json;
use serde_json::{Map, Value};

use super::clause::Clause;
use super::conditions::{Conditions, UnreadableConditions};
use super::pattern::{ActionPattern, Pattern, ResourcePattern};
use super::refusal::PolicyRefusal;
use super::statement::{Effect, Statement};
use super::variable::Variables;

/// A policy document, understood completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDocument {
    name: String,
    statements: Vec<Statement>,
}

impl PolicyDocument {
    /// Reads a document in the URL encoding in which IAM's calls return it ("URL-encoded compliant with RFC 3986").
    /// `name` is how refusals call it, such as "inline policy 's3' of group 'devs'".
    pub fn from_iam(name: &str, encoded: &str) -> Result<Self, PolicyRefusal> {
        let text = percent_decoded(encoded).ok_or_else(|| PolicyRefusal::NotJson {
            policy: name.to_owned(),
            detail: "its URL encoding is broken".to_owned(),
        })?;
        Self::parse(name, &text)
    }

    /// Reads a document's JSON text.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyRefusal> {
        let json = strict_json::parse(text).map_err(|error| PolicyRefusal::NotJson {
            policy: name.to_owned(),
            detail: error.to_string(),
        })?;
        let statements = Reader { policy: name }.document(json)?;
        let name = name.to_owned();
        Ok(Self { name, statements })
    }

    /// How refusals call this document.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

/// Reads the parts of one document; it knows the document's name for refusals.
struct Reader<'a> {
    policy: &'a str,
}

impl Reader<'_> {
    fn document(&self, json: Value) -> Result<Vec<Statement>, PolicyRefusal> {
        let mut document = self.object(json, "an object")?;
        let variables = self.version(document.remove("Version"))?;
        // "It must not be included in identity-based policies"; it means nothing where it is.
        document.remove("Id");
        let statements = match document.remove("Statement") {
            Some(Value::Array(list)) => list,
            Some(one) => vec![one],
            None => return Err(self.malformed("Statement")),
        };
        self.nothing_left(&document)?;
        statements
            .into_iter()
            .map(|json| self.statement(json, variables))
            .collect()
    }

    fn version(&self, version: Option<Value>) -> Result<Variables, PolicyRefusal> {
        match version.as_ref().map(Value::as_str) {
            Some(Some("2012-10-17")) => Ok(Variables::Known),
            None | Some(Some("2008-10-17")) => Ok(Variables::Literal),
            Some(other) => Err(PolicyRefusal::UnknownVersion {
                policy: self.policy.to_owned(),
                version: other.unwrap_or("of another type").to_owned(),
            }),
        }
    }

    fn statement(&self, json: Value, variables: Variables) -> Result<Statement, PolicyRefusal> {
        let mut statement = self.object(json, "an object as a statement")?;
        if statement.contains_key("Principal") || statement.contains_key("NotPrincipal") {
            let policy = self.policy.to_owned();
            return Err(PolicyRefusal::Principal { policy });
        }
        statement.remove("Sid");
        let effect = self.effect(statement.remove("Effect"))?;
        let actions = self.clause(&mut statement, ["Action", "NotAction"], |text| self.action(text))?;
        let resources = self.clause(&mut statement, ["Resource", "NotResource"], |text| {
            ResourcePattern::parse(text, variables).map_err(|_| self.unreadable_variable(text))
        })?;
        let conditions = self.conditions(statement.remove("Condition"), variables)?;
        self.nothing_left(&statement)?;
        Ok(Statement {
            effect,
            conditions,
            actions,
            resources,
        })
    }

    /// IAM takes "Allow" and "Deny" only; anything else is not a policy of IAM's, and must never count as either.
    fn effect(&self, effect: Option<Value>) -> Result<Effect, PolicyRefusal> {
        match effect.as_ref().and_then(Value::as_str) {
            Some("Allow") => Ok(Effect::Allow),
            Some("Deny") => Ok(Effect::Deny),
            Some(other) => Err(PolicyRefusal::UnknownEffect {
                policy: self.policy.to_owned(),
                effect: other.to_owned(),
            }),
            None => Err(self.malformed("Effect, Allow or Deny, in every statement")),
        }
    }

    /// One of two elements that exclude each other, as a clause.
    fn clause<P: Pattern>(
        &self,
        statement: &mut Map<String, Value>,
        [element, not_element]: [&str; 2],
        pattern: impl Fn(&str) -> Result<P, PolicyRefusal>,
    ) -> Result<Clause<P>, PolicyRefusal> {
        let patterns = |json| -> Result<BTreeSet<P>, PolicyRefusal> {
            self.strings(json)?.iter().map(|text| pattern(text)).collect()
        };
        match (statement.remove(element), statement.remove(not_element)) {
            (Some(list), None) => Ok(Clause::In(patterns(list)?)),
            (None, Some(list)) => Ok(Clause::NotIn(patterns(list)?)),
            _ => {
                Err(self
                    .malformed("one of Action and NotAction, and one of Resource and NotResource, in every statement"))
            }
        }
    }

    fn strings(&self, json: Value) -> Result<Vec<String>, PolicyRefusal> {
        let list = match json {
            Value::String(one) => return Ok(vec![one]),
            Value::Array(list) if !list.is_empty() => list,
            _ => return Err(self.malformed("a string or a list of strings that is not empty")),
        };
        let string = |json| match json {
            Value::String(text) => Ok(text),
            _ => Err(self.malformed("strings only in a list of actions or resources")),
        };
        list.into_iter().map(string).collect()
    }

    fn action(&self, text: &str) -> Result<ActionPattern, PolicyRefusal> {
        text.parse()
            .map_err(|_| self.malformed("actions such as s3:GetObject, s3:* or *"))
    }

    fn conditions(&self, block: Option<Value>, variables: Variables) -> Result<Option<Conditions>, PolicyRefusal> {
        let Some(block) = block else { return Ok(None) };
        Conditions::parse(block, variables).map_err(|unreadable| match unreadable {
            UnreadableConditions::Shape => self.malformed("Condition to be operators, keys and values"),
            UnreadableConditions::Variable(text) => self.unreadable_variable(&text),
        })
    }

    fn object(&self, json: Value, expected: &'static str) -> Result<Map<String, Value>, PolicyRefusal> {
        match json {
            Value::Object(map) => Ok(map),
            _ => Err(self.malformed(expected)),
        }
    }

    fn nothing_left(&self, object: &Map<String, Value>) -> Result<(), PolicyRefusal> {
        match object.keys().next() {
            None => Ok(()),
            Some(element) => Err(PolicyRefusal::UnknownElement {
                policy: self.policy.to_owned(),
                element: element.clone(),
            }),
        }
    }

    fn malformed(&self, expected: &'static str) -> PolicyRefusal {
        let policy = self.policy.to_owned();
        PolicyRefusal::Malformed { policy, expected }
    }

    fn unreadable_variable(&self, text: &str) -> PolicyRefusal {
        let (policy, text) = (self.policy.to_owned(), text.to_owned());
        PolicyRefusal::UnreadableVariable { policy, text }
    }
}

/// RFC 3986: `%` and two hexadecimal digits stand for a byte; the bytes are UTF-8.
pub fn percent_decoded(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}
