//! Documents as IAM writes them are read; anything else is refused, and never counts as an Allow.

use super::super::{ActionPattern, PolicyDocument, PolicyRefusal};
use super::{document, policy};

const ALLOW: &str = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;

fn refusal(text: &str) -> PolicyRefusal {
    PolicyDocument::parse("the policy", text).unwrap_err()
}

#[test]
fn single_statements_and_strings_mean_lists_of_one() {
    let one = document(&format!(r#"{{"Version":"2012-10-17","Statement":{ALLOW}}}"#));
    let list = r#"{"Sid":"A","Effect":"Allow","Action":["s3:*"],"Resource":["*"],"Condition":{}}"#;
    assert_eq!(one, document(&policy(list)));
}

#[test]
fn both_versions_and_none_are_read_and_no_other() {
    for version in [
        r#""Version":"2008-10-17","#,
        r#""Version":"2012-10-17","#,
        "",
        r#""Id":"x","#,
    ] {
        document(&format!(r#"{{{version}"Statement":{ALLOW}}}"#));
    }
    for version in [r#""2020-01-01""#, "2012", "null"] {
        let text = format!(r#"{{"Version":{version},"Statement":{ALLOW}}}"#);
        assert!(matches!(refusal(&text), PolicyRefusal::UnknownVersion { .. }), "{text}");
    }
}

#[test]
fn an_effect_in_another_case_is_refused() {
    for effect in ["allow", "DENY", "deny", "Permit", ""] {
        let text = policy(&ALLOW.replace("Allow", effect));
        assert!(
            matches!(refusal(&text), PolicyRefusal::UnknownEffect { .. }),
            "{effect}"
        );
    }
}

#[test]
fn a_principal_is_refused() {
    for element in ["Principal", "NotPrincipal"] {
        let text = policy(&ALLOW.replace(r#""Action""#, &format!(r#""{element}":"*","Action""#)));
        assert!(matches!(refusal(&text), PolicyRefusal::Principal { .. }));
    }
}

#[test]
fn an_element_that_is_not_known_is_refused() {
    for text in [
        policy(&ALLOW.replace(r#""Action""#, r#""Conditions":{},"Action""#)),
        policy(&ALLOW.replace(r#""Action""#, r#""effect":"Deny","Action""#)),
        format!(r#"{{"statement":[],"Statement":{ALLOW}}}"#),
    ] {
        assert!(matches!(refusal(&text), PolicyRefusal::UnknownElement { .. }), "{text}");
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    for text in [
        policy(&ALLOW.replace(r#""Action""#, r#""Effect":"Deny","Action""#)),
        format!(r#"{{"Statement":[],"Statement":{ALLOW}}}"#),
        policy(&ALLOW.replace('}', r#","Condition":{"Bool":{"a:b":"true","a:b":"false"}}}"#)),
    ] {
        assert!(refusal(&text).to_string().contains("occurs twice"), "{text}");
    }
}

#[test]
fn a_number_or_a_boolean_means_the_same_without_quotation_marks() {
    let document_with = |value: &str| {
        let condition = format!(r#","Condition":{{"Bool":{{"aws:SecureTransport":{value}}}}}}}"#);
        document(&policy(&ALLOW.replace('}', &condition)))
    };
    for value in ["true", "false", "5", "-3", "0.5"] {
        assert_eq!(document_with(value), document_with(&format!("{value:?}")), "{value}");
    }
    assert_ne!(document_with("true"), document_with("false"));
}

#[test]
fn a_statement_that_lacks_or_doubles_an_element_is_refused() {
    for text in [
        r#"{"Effect":"Allow","Action":"s3:*"}"#,
        r#"{"Effect":"Allow","Resource":"*"}"#,
        r#"{"Action":"s3:*","Resource":"*"}"#,
        r#"{"Effect":"Allow","Action":"s3:*","NotAction":"s3:Get*","Resource":"*"}"#,
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","NotResource":"a"}"#,
        r#"{"Effect":"Allow","Action":[],"Resource":"*"}"#,
        r#"{"Effect":"Allow","Action":[1],"Resource":"*"}"#,
        r#"{"Effect":"Allow","Action":"s3","Resource":"*"}"#,
        r#"{"Effect":"Allow","Action":"s3:${aws:username}","Resource":"*"}"#,
        r#"{"Effect":null,"Action":"s3:*","Resource":"*"}"#,
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":[]}"#,
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":{"a:b":null}}}"#,
        r#""Allow""#,
    ] {
        assert!(
            matches!(refusal(&policy(text)), PolicyRefusal::Malformed { .. }),
            "{text}"
        );
    }
    for text in ["{}", "[]", "null", r#"{"Statement":"x"}"#] {
        assert!(matches!(refusal(text), PolicyRefusal::Malformed { .. }), "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for text in ["", "{", "{}x", "\u{feff}{}", &"[".repeat(1000)] {
        assert!(matches!(refusal(text), PolicyRefusal::NotJson { .. }), "{text}");
    }
}

#[test]
fn a_variable_that_cannot_be_read_is_refused() {
    let resource = policy(r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${"}"#);
    assert!(matches!(refusal(&resource), PolicyRefusal::UnreadableVariable { .. }));
    let value = policy(&ALLOW.replace('}', r#","Condition":{"StringLike":{"s3:prefix":"${}"}}}"#));
    assert!(matches!(refusal(&value), PolicyRefusal::UnreadableVariable { .. }));
}

#[test]
fn the_url_encoding_of_iams_answers_is_undone() {
    let encoded = "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%7d";
    let decoded = PolicyDocument::from_iam("the policy", encoded).unwrap();
    assert_eq!(decoded, document(&format!(r#"{{"Statement":{ALLOW}}}"#)));
    for broken in ["%", "%7", "%+7", "%zz", "%ff"] {
        assert!(
            matches!(
                PolicyDocument::from_iam("x", broken),
                Err(PolicyRefusal::NotJson { .. })
            ),
            "{broken}"
        );
    }
}

#[test]
fn a_refusal_names_the_policy_and_the_remedy() {
    let refusal = PolicyDocument::parse("inline policy 's3' of group 'devs'", "{")
        .unwrap_err()
        .to_string();
    assert!(
        refusal.starts_with("inline policy 's3' of group 'devs' is not a JSON document: "),
        "{refusal}"
    );
    assert!(refusal.ends_with("; correct it in IAM"), "{refusal}");
}

#[test]
fn an_action_pattern_of_the_settings_has_a_service() {
    for legal in ["*", "iam:*", "ssm:GetParameter*"] {
        legal.parse::<ActionPattern>().unwrap();
    }
    for illegal in ["", "iam", "iam: *", "**", "s3:${x}", "s3:é"] {
        assert_eq!(
            illegal.parse::<ActionPattern>(),
            Err(PolicyRefusal::NoAction(illegal.to_owned()))
        );
    }
}
