//! Texts as IAM keeps them: a role's description with our settings in it, a policy document in its encoding.

use serde_json::Value;

/// A role's description with these settings and no others of ours; what else stands there stays.
pub fn described(before: &str, settings: &[(&'static str, String)]) -> String {
    let is_setting = |word: &&str| word.starts_with("keymaker_") && word.contains('=');
    let kept: Vec<&str> = before.split_whitespace().filter(|word| !is_setting(word)).collect();
    let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{} {}", kept.join(" "), settings.join(", ")).trim().to_owned()
}

/// IAM gives documents percent-encoded (RFC 3986).
pub fn decoded(text: &str) -> Value {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_description_keeps_what_others_wrote_there() {
        let settings = [
            ("keymaker_require_iam_group", "ops".to_owned()),
            ("keymaker_linux_user_suffix", "@x".to_owned()),
        ];
        let text = described("Web servers, keymaker_require_iam_group=old, of team X", &settings);
        assert_eq!(
            text,
            "Web servers, of team X keymaker_require_iam_group=ops, keymaker_linux_user_suffix=@x"
        );
        assert_eq!(described(&text, &[]), "Web servers, of team X");
    }

    #[test]
    fn a_document_is_read_as_iam_gives_it() {
        assert_eq!(decoded("%7B%22a%22%3A%20%22b%22%7D"), json!({ "a": "b" }));
        assert_eq!(decoded("{\"a\": \"100%\"}"), json!({ "a": "100%" }));
    }
}
