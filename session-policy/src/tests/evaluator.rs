//! Decides requests as AWS documents it, by brute force over a small universe. Written from the IAM User Guide ("Policy
//! evaluation logic", "Resource", "Variables and tags") and from nothing in `policy/`: it reads the JSON text itself.

use std::collections::HashMap;

use serde_json::Value;

pub const ACTIONS: [&str; 12] = [
    "s3:GetObject",
    "s3:GetObjectAcl",
    "s3:PutObject",
    "s3:ListBucket",
    "s3:DeleteObject",
    "iam:GetUser",
    "iam:GetRole",
    "iam:CreateUser",
    "sts:AssumeRole",
    "ec2:StartInstances",
    "logs:GetLogEvents",
    "dynamodb:GetItem",
];

pub const RESOURCES: [&str; 16] = [
    "*",
    "arn:aws:s3:::a",
    "arn:aws:s3:::A",
    "arn:aws:s3:::a/x",
    "arn:aws:s3:::a/y:x",
    "arn:aws:s3:::b",
    "arn:aws:s3:::b/x",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::[ab]",
    "arn:aws:s3:::ab",
    "arn:aws:s3:::${s3:prefix}",
    "arn:aws:iam::1:user/a",
    "arn:aws:iam::1:role/x/a",
    "arn:aws:logs:eu:1:log-group:a:log-stream:x",
    "arn:aws:logs:us:1:log-group:b",
    "arn:aws:dynamodb:eu:1:table/a",
];

/// What a request says besides action and resource: `s3:prefix` and whether TLS is used.
pub const CONTEXTS: [(&str, bool); 4] = [("a", true), ("b", false), ("b", true), ("*", false)];

/// How far a wildcard in a resource reaches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reading {
    /// Over any characters.
    Wide,
    /// In the first five parts of an ARN within the part, except a `*` that ends it.
    WithinParts,
}

/// Resources, one bit each, by context and action.
pub type Requests = [[u16; ACTIONS.len()]; CONTEXTS.len()];

/// What one document says.
#[derive(Clone, Copy, Default)]
pub struct Verdict {
    pub allowed: Requests,
    pub denied: Requests,
}

/// What documents allow together: some statement allows it and none denies it.
pub fn granted(verdicts: impl IntoIterator<Item = Verdict>) -> Requests {
    let mut all = Verdict::default();
    for verdict in verdicts {
        for (mine, theirs) in all.allowed.iter_mut().flatten().zip(verdict.allowed.iter().flatten()) {
            *mine |= theirs;
        }
        for (mine, theirs) in all.denied.iter_mut().flatten().zip(verdict.denied.iter().flatten()) {
            *mine |= theirs;
        }
    }
    for (allowed, denied) in all.allowed.iter_mut().flatten().zip(all.denied.iter().flatten()) {
        *allowed &= !denied;
    }
    all.allowed
}

pub struct Evaluator {
    reading: Reading,
    actions: HashMap<String, u16>,
    resources: HashMap<(String, bool, usize), u16>,
}

impl Evaluator {
    pub fn new(reading: Reading) -> Self {
        let (actions, resources) = (HashMap::new(), HashMap::new());
        Self {
            reading,
            actions,
            resources,
        }
    }

    pub fn judge(&mut self, text: &str) -> Verdict {
        let document: Value = serde_json::from_str(text).unwrap();
        let variables = document["Version"] == "2012-10-17";
        let mut verdict = Verdict::default();
        for statement in list(&document["Statement"]) {
            let reached = match statement["Effect"].as_str() {
                Some("Allow") => &mut verdict.allowed,
                Some("Deny") => &mut verdict.denied,
                other => panic!("effect {other:?}"),
            };
            let actions: Vec<bool> = (0..ACTIONS.len())
                .map(|index| self.matches_action(statement, index))
                .collect();
            for (context, by_action) in reached.iter_mut().enumerate() {
                if !condition_holds(&statement["Condition"], variables, CONTEXTS[context]) {
                    continue;
                }
                let resources = self.matched_resources(statement, variables, context);
                for (action, matched) in by_action.iter_mut().zip(&actions) {
                    *action |= if *matched { resources } else { 0 };
                }
            }
        }
        verdict
    }

    fn matches_action(&mut self, statement: &Value, index: usize) -> bool {
        let mut named = |element: &str| {
            let patterns = list(&statement[element]);
            patterns
                .iter()
                .any(|pattern| self.actions_matching(pattern.as_str().unwrap()) & (1 << index) != 0)
        };
        match statement.get("NotAction") {
            Some(_) => !named("NotAction"),
            None => named("Action"),
        }
    }

    fn actions_matching(&mut self, pattern: &str) -> u16 {
        *self.actions.entry(pattern.to_owned()).or_insert_with(|| {
            let pattern: Vec<Part> = pattern.to_lowercase().chars().map(|c| part(c, true)).collect();
            bits(&ACTIONS, |action| matches(&pattern, &action.to_lowercase()))
        })
    }

    fn matched_resources(&mut self, statement: &Value, variables: bool, context: usize) -> u16 {
        let (element, inverted) = match statement.get("NotResource") {
            Some(_) => ("NotResource", true),
            None => ("Resource", false),
        };
        let mut matched = 0;
        for pattern in list(&statement[element]) {
            let key = (pattern.as_str().unwrap().to_owned(), variables, context);
            let reading = self.reading;
            matched |= *self
                .resources
                .entry(key)
                .or_insert_with_key(|(pattern, variables, context)| {
                    let pattern = resource_parts(pattern, *variables, CONTEXTS[*context].0, reading);
                    bits(&RESOURCES, |resource| matches(&pattern, resource))
                });
        }
        if inverted { !matched } else { matched }
    }
}

/// `{"StringEquals": {"s3:prefix": …}}` and `{"Bool": {"aws:SecureTransport": …}}`, all of which must hold.
fn condition_holds(condition: &Value, variables: bool, (prefix, secure): (&str, bool)) -> bool {
    let mut all = true;
    for (operator, keys) in condition.as_object().into_iter().flatten() {
        for (key, values) in keys.as_object().unwrap() {
            let is = match (operator.as_str(), key.as_str()) {
                ("StringEquals", "s3:prefix") => prefix.to_owned(),
                ("Bool", "aws:SecureTransport") => secure.to_string(),
                other => panic!("condition {other:?}"),
            };
            all &= list(values).iter().any(|value| match value {
                Value::String(text) if variables => text.replace("${*}", "*").replace("${$}", "$") == is,
                Value::String(text) => *text == is,
                other => *other == Value::Bool(is == "true"),
            });
        }
    }
    all
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(list) => list,
        one => std::slice::from_ref(one),
    }
}

fn bits(universe: &[&str], matched: impl Fn(&str) -> bool) -> u16 {
    universe
        .iter()
        .enumerate()
        .map(|(index, text)| u16::from(matched(text)) << index)
        .sum()
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Is(char),
    One { colon_too: bool },
    Run { colon_too: bool },
}

fn part(character: char, colon_too: bool) -> Part {
    match character {
        '*' => Part::Run { colon_too },
        '?' => Part::One { colon_too },
        other => Part::Is(other),
    }
}

fn resource_parts(pattern: &str, variables: bool, prefix: &str, reading: Reading) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut colons = 0;
    let mut at = 0;
    while let Some(character) = pattern[at..].chars().next() {
        let rest = &pattern[at..];
        let special = ["${*}", "${?}", "${$}"]
            .into_iter()
            .find(|special| rest.starts_with(special));
        if variables && let Some(special) = special {
            parts.push(Part::Is(special.chars().nth(2).unwrap()));
            at += special.len();
        } else if variables && rest.starts_with("${s3:prefix}") {
            parts.extend(prefix.chars().map(Part::Is));
            at += "${s3:prefix}".len();
        } else {
            at += 1;
            let ends_part = pattern[at..].is_empty() || (character == '*' && pattern[at..].starts_with(':'));
            parts.push(part(character, reading == Reading::Wide || colons >= 5 || ends_part));
            colons += usize::from(character == ':');
        }
    }
    parts
}

fn matches(pattern: &[Part], text: &str) -> bool {
    let taken = |colon_too: &bool, c: char| *colon_too || c != ':';
    match pattern.split_first() {
        None => text.is_empty(),
        Some((Part::Run { colon_too }, rest)) => {
            let mut after = text.char_indices();
            matches(rest, text)
                || after
                    .by_ref()
                    .take_while(|(_, c)| taken(colon_too, *c))
                    .any(|(at, c)| matches(rest, &text[at + c.len_utf8()..]))
        }
        Some((one, rest)) => match (one, text.chars().next()) {
            (Part::Is(wanted), Some(c)) if *wanted == c => matches(rest, &text[c.len_utf8()..]),
            (Part::One { colon_too }, Some(c)) if taken(colon_too, c) => matches(rest, &text[c.len_utf8()..]),
            _ => false,
        },
    }
}

#[test]
fn the_evaluator_itself_decides_documented_examples() {
    let mut evaluator = Evaluator::new(Reading::WithinParts);
    let mut allowed = |document: &str, action: &str, resource: &str| {
        let action = ACTIONS.iter().position(|known| *known == action).unwrap();
        let resource = RESOURCES.iter().position(|known| *known == resource).unwrap();
        granted([evaluator.judge(document)]).map(|by_action| by_action[action] & (1 << resource) != 0)
    };
    let all_but_s3 = r#"{"Statement":{"Effect":"Allow","NotAction":"S3:*","Resource":"*"}}"#;
    assert_eq!(allowed(all_but_s3, "s3:GetObject", "arn:aws:s3:::a"), [false; 4]);
    assert_eq!(allowed(all_but_s3, "iam:GetUser", "arn:aws:iam::1:user/a"), [true; 4]);
    let denied = r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
        {"Effect":"Deny","Action":"s3:Get*","Resource":"arn:aws:s3:::?/*"}]}"#;
    assert_eq!(allowed(denied, "s3:GetObject", "arn:aws:s3:::a/x"), [false; 4]);
    assert_eq!(allowed(denied, "s3:GetObject", "arn:aws:s3:::a"), [true; 4]);
    let own = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${s3:prefix}",
        "Condition":{"Bool":{"aws:SecureTransport":true}}}}"#;
    assert_eq!(
        allowed(own, "s3:GetObject", "arn:aws:s3:::a"),
        [true, false, false, false]
    );
    assert_eq!(
        allowed(own, "s3:GetObject", "arn:aws:s3:::b"),
        [false, false, true, false]
    );
    let within = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:*s:eu:1:*x"}}"#;
    assert_eq!(
        allowed(within, "s3:GetObject", "arn:aws:logs:eu:1:log-group:a:log-stream:x"),
        [true; 4]
    );
    let across = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:l*g:a:log-stream:x"}}"#;
    assert_eq!(
        allowed(across, "s3:GetObject", "arn:aws:logs:eu:1:log-group:a:log-stream:x"),
        [false; 4]
    );
}
