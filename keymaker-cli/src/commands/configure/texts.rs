//! Texts as IAM keeps them: a role's description with our settings in it, a policy document in its encoding.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use keymaker_aws::role_description::{REQUIRE_IAM_GROUP, RoleDescription};
use serde_json::{Map, Value};
use session_policy::percent_decoded;

/// A role's description with these settings and no others of ours; what else stands there stays.
pub fn described(before: &str, settings: &[(&'static str, String)]) -> String {
    let is_setting = |word: &str| word.starts_with("keymaker_") && word.contains('=');
    let kept = before.split_whitespace().filter_map(|word| {
        // Hosts split at commas, too.
        let rest: Vec<&str> = word.split(',').filter(|part| !is_setting(part)).collect();
        let is_whole = rest.len() == word.split(',').count();
        (is_whole || rest.iter().any(|part| !part.is_empty())).then(|| rest.join(","))
    });
    let kept: Vec<String> = kept.collect();
    let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{} {}", kept.join(" "), settings.join(", ")).trim().to_owned()
}

/// The settings that `before` has and `after` has not; one with another value is not lost.
pub fn settings_lost(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (RoleDescription::parse(before), RoleDescription::parse(after));
    let lost = before.keys().filter(|key| after.value(key).is_none());
    let words = lost.map(|key| format!("{key}={}", before.value(key).unwrap_or_default()));
    words.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What `before` allows and `after` does not, statement by statement.
pub fn permissions_lost(before: &Value, after: &Value) -> Vec<String> {
    let kept = allowed(after);
    allowed(before).difference(&kept).cloned().collect()
}

/// `ACTION on RESOURCE` of each pair that a policy allows; any other kind of statement, whole.
fn allowed(policy: &Value) -> BTreeSet<String> {
    let list = |value: Option<&Value>| match value {
        Some(Value::Array(all)) => all.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let mut pairs = BTreeSet::new();
    for statement in list(policy.get("Statement")) {
        let mut fields = statement.as_object().into_iter().flat_map(Map::keys);
        let is_plain = fields.all(|field| ["Sid", "Effect", "Action", "Resource"].contains(&field.as_str()));
        if !is_plain || statement.get("Effect").and_then(Value::as_str) != Some("Allow") {
            pairs.insert(format!("the statement {statement}"));
            continue;
        }
        for action in list(statement.get("Action")) {
            for resource in list(statement.get("Resource")) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                pairs.insert(format!("{} on {}", text(&action), text(&resource)));
            }
        }
    }
    pairs
}

/// Whether a host that has read `before` waits for its administrator with something in `after`: any change of a setting
/// but a first required group, which narrows (keymakerd's `settings`).
pub fn settings_wait(before: &str, after: &str) -> bool {
    let settings = |text: &str| {
        let description = RoleDescription::parse(text);
        let value = |key: &str| description.value(key).unwrap_or_default().to_owned();
        let settings = description.keys().map(|key| (key.to_owned(), value(key)));
        settings.collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (settings(before), settings(after));
    let lost = before.iter().any(|(key, value)| after.get(key) != Some(value));
    let first = |key: &String| !before.contains_key(key);
    lost || after.keys().any(|key| first(key) && key != REQUIRE_IAM_GROUP)
}

/// IAM gives documents percent-encoded (RFC 3986).
pub fn decoded(text: &str) -> Value {
    let text = percent_decoded(text).map_or(Cow::Borrowed(text), Cow::Owned);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use keymaker_aws::role_description::LINUX_USER_SUFFIX;

    use super::*;
    use serde_json::json;

    #[test]
    fn a_description_keeps_what_others_wrote_there() {
        let settings = [
            (REQUIRE_IAM_GROUP, "ops".to_owned()),
            (LINUX_USER_SUFFIX, "@x".to_owned()),
        ];
        let text = described("Web servers, keymaker_require_iam_group=old, of team X", &settings);
        assert_eq!(
            text,
            "Web servers, of team X keymaker_require_iam_group=ops, keymaker_linux_user_suffix=@x"
        );
        assert_eq!(described(&text, &[]), "Web servers, of team X");
        // Whatever a host would read as a setting goes.
        let glued =
            "Web,keymaker_require_iam_group=old,servers keymaker_linux_user_suffix=@a,keymaker_linux_group_prefix=b";
        assert_eq!(described(glued, &[]), "Web,servers");
        assert_eq!(RoleDescription::parse(&described(glued, &[])).keys().count(), 0);
    }

    #[test]
    fn what_waits_on_each_host_is_any_change_but_a_first_required_group() {
        let [ops, dev, suffix] = [
            "x keymaker_require_iam_group=ops, of team X",
            "keymaker_require_iam_group='dev'",
            "keymaker_linux_user_suffix=@x",
        ];
        for (before, after, waits) in [
            ("Web servers", ops, false),
            (ops, "keymaker_require_iam_group=\"ops\"", false),
            (ops, dev, true),
            (ops, "", true),
            ("", suffix, true),
            (suffix, &format!("{suffix}, {ops}"), false),
        ] {
            assert_eq!(settings_wait(before, after), waits, "{before} -> {after}");
        }
    }

    #[test]
    fn what_would_be_lost_is_named() {
        let before = "x keymaker_require_iam_group=ops, keymaker_linux_user_suffix=@x";
        assert_eq!(
            settings_lost(before, "keymaker_require_iam_group=dev"),
            ["keymaker_linux_user_suffix=@x"]
        );
        let policy =
            |actions: Value| json!({ "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }] });
        let (wide, narrow) = (
            policy(json!(["iam:GetUser", "iam:ListUsers"])),
            policy(json!("iam:GetUser")),
        );
        assert_eq!(permissions_lost(&wide, &narrow), ["iam:ListUsers on *"]);
        assert!(permissions_lost(&narrow, &wide).is_empty());
        let by_hand = json!({ "Statement": { "Effect": "Deny", "Action": "iam:GetUser", "Resource": "*" } });
        let lost = permissions_lost(&by_hand, &wide);
        assert!(lost.len() == 1 && lost[0].contains("Deny"), "{lost:?}");
    }

    #[test]
    fn a_document_is_read_as_iam_gives_it() {
        assert_eq!(decoded("%7B%22a%22%3A%20%22b%22%7D"), json!({ "a": "b" }));
        assert_eq!(decoded("{\"a\": \"100%\"}"), json!({ "a": "100%" }));
    }
}
