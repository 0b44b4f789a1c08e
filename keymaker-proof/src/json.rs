//! JSON as strictly as a token needs it: no name twice in one object, at any depth; whole numbers apart from others.

use keymaker_syntax::strict_json;
use serde_json::Value;

/// Reads a whole text.
pub fn parse(text: &[u8]) -> Option<Value> {
    strict_json::parse(str::from_utf8(text).ok()?).ok()
}

/// The member of this name, where it is a text.
pub fn text_of<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    object.get(name)?.as_str()
}

/// The member of this name, where it is a whole number, written without fraction, exponent and sign.
pub fn number_of(object: &Value, name: &str) -> Option<u64> {
    object.get(name)?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    // P21
    #[test]
    fn a_name_twice_at_any_depth_is_no_json() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"b":{"a":1,"a":2}}"#,
            r#"{"b":{"c":{"a":1,"x":{},"a":1}}}"#,
            r#"{"b":[{"a":1,"a":1}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert!(parse(br#"{"a":1,"A":1,"b":{"a":1}}"#).is_some());
    }

    // P21
    #[test]
    fn only_a_number_without_fraction_exponent_and_sign_is_whole() {
        let number = |text: &str| parse(format!("{{\"n\":{text}}}").as_bytes()).and_then(|json| number_of(&json, "n"));
        assert_eq!(number("1800000000"), Some(1_800_000_000));
        for text in [
            "1e9",
            "1800000000.0",
            "1.8E9",
            "-1",
            "-0",
            "\"1\"",
            "[1]",
            "true",
            "null",
            "18446744073709551616",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
        for text in ["01", "+1", "0x1", "1.", "NaN"] {
            assert_eq!(parse(format!("{{\"n\":{text}}}").as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_one_whole_text_is_none_and_depth_has_an_end() {
        for text in ["", "{", "{}x", "{} {}", "\u{feff}{}", "{\"a\":\"\\ud800\"}"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(b"{\"a\":\"\xff\"}"), None);
        assert_eq!(parse("[".repeat(100_000).as_bytes()), None);
    }
}
