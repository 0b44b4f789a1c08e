//! Whether a statement is worth more, or denies less, to a session of a role than to the user it was written for: by
//! brute force over what a request can say of who asks, from the IAM User Guide ("Condition operators", "Multivalued
//! context keys", "Variables and tags") and from nothing that makes policies. The tests of `keymaker sync-roles`
//! include this file too.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Keys and their values; a key that is not there is absent.
type Context = BTreeMap<&'static str, Vec<&'static str>>;

/// Statements of one condition: all operators, with and without `IfExists` and the two quantifiers, on keys that are
/// absent, single or multivalued for the user, the session or both; and of one resource with a variable.
pub fn statements() -> impl Iterator<Item = Value> {
    let conditions = operators().into_iter().flat_map(|(operator, kind)| {
        let keys = KEYS.iter().filter(move |(_, of)| *of == kind);
        keys.flat_map(move |(key, _)| {
            let operator = operator.clone();
            values(kind)
                .into_iter()
                .map(move |values| json!({ &operator: { *key: values } }))
        })
    });
    let conditional = conditions.flat_map(|condition| {
        let statement = json!({ "Action": "*", "Resource": "*", "Condition": condition });
        ["Allow", "Deny"].map(|effect| with_effect(&statement, effect))
    });
    let variables = [
        "${aws:username}",
        "${aws:username, 'd'}",
        "${aws:userid}",
        "${aws:PrincipalTag/team}",
        "${s3:prefix}",
    ];
    let resources = ["Resource", "NotResource"].into_iter().flat_map(move |element| {
        variables.into_iter().flat_map(move |variable| {
            let of = format!("home/{variable}");
            [json!([&of]), json!(of), json!(["home/alice", of])].map(|list| json!({ "Action": "*", element: list }))
        })
    });
    conditional.chain(resources.flat_map(|statement| ["Allow", "Deny"].map(|effect| with_effect(&statement, effect))))
}

/// Whether a session of a role may do something by this statement, or escapes it, where the user does not.
pub fn widens(statement: &Value) -> bool {
    let allows = statement["Effect"] == "Allow";
    let everything = statement["Resource"] == "*";
    let resources = RESOURCES.iter().take(if everything { 1 } else { RESOURCES.len() });
    let requests = [vec![], vec!["a"], vec!["alice"], vec!["a", "b"]];
    requests.into_iter().any(|prefix| {
        let with = |mut context: Context| {
            if !prefix.is_empty() {
                context.insert("s3:prefix", prefix.clone());
            }
            context
        };
        users().into_iter().map(&with).any(|user| {
            sessions().into_iter().map(&with).any(|session| {
                resources.clone().any(|resource| {
                    let (user, session) = (
                        reaches(statement, &user, resource),
                        reaches(statement, &session, resource),
                    );
                    if allows { session && !user } else { user && !session }
                })
            })
        })
    })
}

fn with_effect(statement: &Value, effect: &str) -> Value {
    let mut statement = statement.clone();
    statement["Effect"] = effect.into();
    statement
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Arn,
    Number,
    Date,
    Boolean,
    Address,
}

const KEYS: [(&str, Kind); 13] = [
    ("aws:username", Kind::Text),
    ("AWS:UserName", Kind::Text),
    ("aws:userid", Kind::Text),
    ("aws:PrincipalType", Kind::Text),
    ("aws:PrincipalTag/team", Kind::Text),
    ("aws:SourceIdentity", Kind::Text),
    ("aws:PrincipalAccount", Kind::Text),
    ("s3:prefix", Kind::Text),
    ("aws:PrincipalArn", Kind::Arn),
    ("aws:MultiFactorAuthAge", Kind::Number),
    ("aws:TokenIssueTime", Kind::Date),
    ("aws:MultiFactorAuthPresent", Kind::Boolean),
    ("aws:SourceIp", Kind::Address),
];

const RESOURCES: [&str; 6] = [
    "home/alice",
    "home/d",
    "home/AROA:alice",
    "home/AIDA",
    "home/x",
    "home/y",
];

/// By an access key of her own; with and without a tag.
fn users() -> Vec<Context> {
    let user = Context::from([
        ("aws:username", vec!["alice"]),
        ("aws:userid", vec!["AIDA"]),
        ("aws:principaltype", vec!["User"]),
        ("aws:principalarn", vec!["arn:aws:iam::1:user/alice"]),
        ("aws:principalaccount", vec!["1"]),
        ("aws:sourceip", vec!["10.0.0.1"]),
    ]);
    let mut tagged = user.clone();
    tagged.insert("aws:principaltag/team", vec!["x"]);
    vec![user, tagged]
}

/// Of a role that was made for her; with and without tags and `SourceIdentity`.
fn sessions() -> Vec<Context> {
    let session = Context::from([
        ("aws:userid", vec!["AROA:alice"]),
        ("aws:principaltype", vec!["AssumedRole"]),
        ("aws:principalarn", vec!["arn:aws:iam::1:role/user-alice"]),
        ("aws:principalaccount", vec!["1"]),
        ("aws:sourceip", vec!["10.0.0.1"]),
        ("aws:tokenissuetime", vec!["2026-06-01T00:00:00Z"]),
        ("aws:multifactorauthpresent", vec!["false"]),
    ]);
    let mut tagged = session.clone();
    tagged.insert("aws:principaltag/team", vec!["y"]);
    tagged.insert("aws:sourceidentity", vec!["alice"]);
    vec![session, tagged]
}

fn operators() -> Vec<(String, Kind)> {
    let by_kind: [(&[&str], Kind); 6] = [
        (
            &[
                "StringEquals",
                "StringNotEquals",
                "StringEqualsIgnoreCase",
                "StringNotEqualsIgnoreCase",
                "StringLike",
                "StringNotLike",
                "BinaryEquals",
            ],
            Kind::Text,
        ),
        (&["ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"], Kind::Arn),
        (
            &[
                "NumericEquals",
                "NumericNotEquals",
                "NumericLessThan",
                "NumericLessThanEquals",
                "NumericGreaterThan",
                "NumericGreaterThanEquals",
            ],
            Kind::Number,
        ),
        (
            &[
                "DateEquals",
                "DateNotEquals",
                "DateLessThan",
                "DateLessThanEquals",
                "DateGreaterThan",
                "DateGreaterThanEquals",
            ],
            Kind::Date,
        ),
        (&["Bool"], Kind::Boolean),
        (&["IpAddress", "NotIpAddress"], Kind::Address),
    ];
    let mut all = Vec::new();
    for (operators, kind) in by_kind {
        all.push(("Null".to_owned(), kind));
        for operator in operators {
            for quantifier in ["", "ForAllValues:", "ForAnyValue:"] {
                for end in ["", "IfExists"] {
                    all.push((format!("{quantifier}{operator}{end}"), kind));
                }
            }
        }
    }
    all
}

fn values(kind: Kind) -> Vec<Value> {
    // The first three are for Null.
    let mut values = vec![json!("true"), json!("false"), json!(["true", "false"])];
    values.extend(match kind {
        Kind::Text => vec![
            json!("alice"),
            json!(["bob", "a"]),
            json!("*"),
            json!("AROA:*"),
            json!("User"),
            json!(["x", "1"]),
            json!("y"),
            json!("${aws:username}"),
            json!(["${aws:username}", "b"]),
            json!("${aws:username, 'a'}"),
            json!("${aws:userid}"),
        ],
        Kind::Arn => vec![
            json!("arn:aws:iam::1:user/*"),
            json!("arn:aws:iam::1:role/*"),
            json!("*"),
        ],
        Kind::Number => vec![json!("300"), json!(0)],
        Kind::Date => vec![json!("2026-01-01T00:00:00Z"), json!("2027-01-01T00:00:00Z")],
        Kind::Boolean => vec![json!(true), json!(false)],
        Kind::Address => vec![json!("10.0.0.1"), json!("10.0.0.2")],
    });
    values
}

fn reaches(statement: &Value, context: &Context, resource: &str) -> bool {
    let any = |list: &Value| {
        texts(list)
            .iter()
            .any(|pattern| like(&resolved(pattern, context), resource))
    };
    let resources = match statement.get("NotResource") {
        Some(not) => !any(not),
        None => any(&statement["Resource"]),
    };
    let conditions = statement["Condition"].as_object().into_iter().flatten();
    let mut tests = conditions.flat_map(|(operator, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.map(move |(key, values)| holds(operator, key, &texts(values), context))
    });
    resources && tests.all(|holds| holds)
}

fn holds(operator: &str, key: &str, values: &[String], context: &Context) -> bool {
    let present = context.get(key.to_lowercase().as_str());
    if operator == "Null" {
        return values.iter().any(|value| (value == "true") == present.is_none());
    }
    let (quantifier, operator) = operator.split_once(':').unwrap_or(("", operator));
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let negated = operator.contains("Not");
    let Some(present) = present else {
        return match (if_exists, quantifier) {
            (true, _) | (_, "ForAllValues") => true,
            (_, "ForAnyValue") => false,
            _ => negated,
        };
    };
    let matches = |is: &&str| {
        let mut wanted = values.iter().map(|value| resolved(value, context));
        wanted.any(|value| value.is_some_and(|value| compared(operator, is, &value))) != negated
    };
    match quantifier {
        "ForAllValues" => present.iter().all(&matches),
        _ => present.iter().any(matches),
    }
}

fn compared(operator: &str, is: &str, value: &str) -> bool {
    match operator.replace("Not", "").as_str() {
        "StringEquals" | "BinaryEquals" | "IpAddress" => is == value,
        "StringEqualsIgnoreCase" | "Bool" => is.eq_ignore_ascii_case(value),
        "StringLike" | "ArnEquals" | "ArnLike" => like(&Some(value.to_owned()), is),
        "NumericEquals" | "DateEquals" => is == value,
        "NumericLessThan" | "DateLessThan" => before(is, value),
        "NumericLessThanEquals" | "DateLessThanEquals" => !before(value, is),
        "NumericGreaterThan" | "DateGreaterThan" => before(value, is),
        "NumericGreaterThanEquals" | "DateGreaterThanEquals" => !before(is, value),
        other => panic!("{other}"),
    }
}

fn before(one: &str, other: &str) -> bool {
    match (one.parse::<u32>(), other.parse::<u32>()) {
        (Ok(one), Ok(other)) => one < other,
        _ => one < other,
    }
}

/// One variable at most; `None`: it stands for nothing, and matches nothing.
fn resolved(text: &str, context: &Context) -> Option<String> {
    let Some((start, rest)) = text.split_once("${") else {
        return Some(text.to_owned());
    };
    let (variable, end) = rest.split_once('}').unwrap();
    let (key, default) = match variable.split_once(',') {
        Some((key, default)) => (key, Some(default.trim().trim_matches('\''))),
        None => (variable, None),
    };
    let value = context
        .get(key.to_lowercase().as_str())
        .and_then(|values| values.first().copied());
    value.or(default).map(|value| format!("{start}{value}{end}"))
}

/// A pattern with one `*`, at its end.
fn like(pattern: &Option<String>, text: &str) -> bool {
    match pattern.as_deref().map(|pattern| (pattern, pattern.strip_suffix('*'))) {
        None => false,
        Some((_, Some(start))) => text.starts_with(start),
        Some((whole, None)) => whole == text,
    }
}

fn texts(values: &Value) -> Vec<String> {
    let list = values.as_array().map_or(std::slice::from_ref(values), Vec::as_slice);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    list.iter().map(text).collect()
}

#[test]
fn the_documents_examples_are_judged_as_documented() {
    let widening = |effect: &str, condition: Value| {
        widens(&json!({ "Effect": effect, "Action": "*", "Resource": "*", "Condition": condition }))
    };
    assert!(!widening(
        "Allow",
        json!({ "StringEquals": { "aws:username": "alice" } })
    ));
    assert!(widening(
        "Allow",
        json!({ "StringNotEquals": { "aws:username": "alice" } })
    ));
    assert!(widening(
        "Allow",
        json!({ "StringEqualsIfExists": { "aws:username": "bob" } })
    ));
    assert!(widening("Allow", json!({ "Null": { "aws:username": "true" } })));
    assert!(widening(
        "Allow",
        json!({ "ForAllValues:StringEquals": { "aws:username": "bob" } })
    ));
    assert!(widening("Deny", json!({ "StringEquals": { "aws:username": "alice" } })));
    assert!(!widening(
        "Deny",
        json!({ "BoolIfExists": { "aws:MultiFactorAuthPresent": "false" } })
    ));
    assert!(widening(
        "Allow",
        json!({ "Bool": { "aws:MultiFactorAuthPresent": "false" } })
    ));
    assert!(!widening("Allow", json!({ "StringNotEquals": { "s3:prefix": "a" } })));
}
