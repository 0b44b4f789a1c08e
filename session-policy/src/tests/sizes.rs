//! What is passed to STS fits its limits, and is as short as its meaning lets it be.

use super::super::{
    ActionPattern, Compression, DEFAULT_DENY_ACTIONS, PolicyArn, PolicyRefusal, SessionPolicies, instance_role,
    restricted_instance_role,
};
use super::{ACCOUNT, NO_OTHER_ROLE, managed, policy, role, user};

fn for_inline(inline: &[&str]) -> Result<SessionPolicies, PolicyRefusal> {
    restricted_instance_role(&user(inline), &role(), Compression::Off)
}

fn allow(action: &str, resource: &str) -> String {
    policy(&format!(
        r#"{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}"#
    ))
}

/// What is passed for these statements.
fn document_of(statements: &[&str]) -> String {
    let statements = [statements, &[NO_OTHER_ROLE]].concat().join(",");
    format!(r#"{{"Statement":[{statements}],"Version":"2012-10-17"}}"#)
}

// P18
#[test]
fn no_session_policy_lets_its_session_assume_a_role_that_lacks_it() {
    let everything = allow("*", "*");
    let mut by_arn = user(&[]);
    by_arn.managed = vec![managed("arn:aws:iam::aws:policy/PowerUserAccess", &everything)];
    let iam_denied: Vec<ActionPattern> = vec!["iam:*".parse().unwrap()];
    for policies in [
        for_inline(&[&everything]),
        restricted_instance_role(&by_arn, &role(), Compression::Off),
        instance_role(&iam_denied),
    ] {
        let policies = policies.unwrap();
        assert!(policies.policy().unwrap().as_str().contains(NO_OTHER_ROLE));
    }
}

#[test]
fn statements_that_differ_in_one_list_become_one() {
    let read = allow("s3:GetObject", "arn:aws:s3:::a/*");
    let texts = [
        &read,
        &allow("s3:PutObject", "arn:aws:s3:::a/*"),
        &allow("s3:*Object", "arn:aws:s3:::b/*"),
        &read,
    ];
    let texts: Vec<&str> = texts.into_iter().map(String::as_str).collect();
    let expected = document_of(&[
        r#"{"Action":["s3:GetObject","s3:PutObject"],"Effect":"Allow","Resource":"arn:aws:s3:::a/*"}"#,
        r#"{"Action":"s3:*Object","Effect":"Allow","Resource":"arn:aws:s3:::b/*"}"#,
    ]);
    assert_eq!(for_inline(&texts).unwrap().policy().unwrap().as_str(), expected);
}

#[test]
fn what_another_statement_says_already_is_left_out() {
    let narrow = policy(
        r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::a/x",
            "Condition":{"Bool":{"aws:SecureTransport":"true"}}}"#,
    );
    let policies = for_inline(&[&narrow, &allow("s3:get*", "arn:aws:s3:::a/*")]).unwrap();
    let expected = document_of(&[r#"{"Action":"s3:get*","Effect":"Allow","Resource":"arn:aws:s3:::a/*"}"#]);
    assert_eq!(policies.policy().unwrap().as_str(), expected);
}

// P18
#[test]
fn a_deny_is_left_out_for_a_wider_one_only_if_that_has_the_same_condition() {
    let deny = |action: &str, resource: &str, address: &str| {
        policy(&format!(
            r#"{{"Effect":"Deny","Action":"{action}","Resource":"{resource}",
                "Condition":{{"IpAddress":{{"aws:SourceIp":"{address}"}}}}}}"#
        ))
    };
    let everything = allow("*", "*");
    let wide = deny("s3:Get*", "*", "10.0.0.0/8");
    for (address, is_kept) in [("10.0.0.0/8", false), ("192.168.0.0/16", true)] {
        let narrow = deny("s3:GetObject", "arn:aws:s3:::a/*", address);
        let policies = for_inline(&[&everything, &wide, &narrow]).unwrap();
        let text = policies.policy().unwrap().as_str();
        assert!(text.contains("s3:Get*"), "{text}");
        assert_eq!(text.contains("s3:GetObject"), is_kept, "{text}");
    }
}

#[test]
fn the_order_of_policies_does_not_change_the_text() {
    let (one, two) = (allow("s3:*", "arn:aws:s3:::a/*"), allow("iam:GetUser", "*"));
    assert_eq!(for_inline(&[&one, &two]), for_inline(&[&two, &one]));
}

#[test]
fn exactly_2048_characters_are_passed_and_one_more_is_refused() {
    let wrapping = for_inline(&[&allow("s3:*", "")])
        .unwrap()
        .policy()
        .unwrap()
        .as_str()
        .len();
    let fitting = "é".repeat(2048 - wrapping);
    let policies = for_inline(&[&allow("s3:*", &fitting)]).unwrap();
    assert_eq!(policies.policy().unwrap().as_str().chars().count(), 2048);
    let refusal = for_inline(&[&allow("s3:*", &format!("{fitting}x"))]).unwrap_err();
    assert_eq!(refusal, PolicyRefusal::TooLong { characters: 2049 });
    assert!(
        refusal.to_string().contains("2049 characters; STS takes 2048"),
        "{refusal}"
    );
}

#[test]
fn the_characters_of_the_arns_count_too() {
    let mut user = user(&[&allow("s3:*", &"x".repeat(1900))]);
    assert!(restricted_instance_role(&user, &role(), Compression::Off).is_ok());
    user.managed.push(managed(
        &format!("arn:aws:iam::{ACCOUNT}:policy/{}", "p".repeat(100)),
        &allow("*", "*"),
    ));
    let refusal = restricted_instance_role(&user, &role(), Compression::Off);
    assert!(matches!(refusal, Err(PolicyRefusal::TooLong { .. })));
}

#[test]
fn an_endless_policy_is_refused_without_comparing_everything_with_everything() {
    let statement = |number| format!(r#"{{"Effect":"Allow","Action":"s3:a{number}*","Resource":"b{number}*"}}"#);
    let statements: Vec<String> = (0..20_000).map(statement).collect();
    let refusal = for_inline(&[&policy(&statements.join(","))]).unwrap_err();
    assert!(matches!(refusal, PolicyRefusal::TooLong { characters } if characters > 1_000_000));
}

#[test]
fn a_policy_that_is_too_long_only_as_it_was_written_is_passed() {
    let actions: Vec<String> = (0..300).map(|number| format!("s3:GetObject{number}")).collect();
    let long = policy(&format!(
        r#"{{"Effect":"Allow","Action":["{}"],"Resource":"*"}}"#,
        actions.join("\",\"")
    ));
    let policies = for_inline(&[&long, &allow("s3:Get*", "*")]).unwrap();
    let expected = document_of(&[r#"{"Action":"s3:Get*","Effect":"Allow","Resource":"*"}"#]);
    assert_eq!(policies.policy().unwrap().as_str(), expected);
}

#[test]
fn a_character_that_sts_does_not_take_is_refused() {
    let refusal = for_inline(&[&allow("s3:*", "arn:aws:s3:::\u{20ac}")]).unwrap_err();
    assert_eq!(refusal, PolicyRefusal::ForbiddenCharacter { character: '\u{20ac}' });
}

#[test]
fn managed_policies_of_the_account_and_of_aws_go_by_arn_each_once() {
    let mut user = user(&[]);
    let arns = [
        "arn:aws:iam::123456789012:policy/team/s3",
        "arn:aws:iam::aws:policy/ReadOnlyAccess",
    ];
    user.managed = [arns[0], arns[1], arns[0]]
        .map(|arn| managed(arn, &allow("s3:*", "*")))
        .into();
    let policies = restricted_instance_role(&user, &role(), Compression::Off).unwrap();
    assert_eq!(policies.policy().unwrap().as_str(), document_of(&[]));
    assert_eq!(policies.policy_arns(), arns);
}

#[test]
fn managed_policies_of_another_account_or_partition_are_spelled_out() {
    for arn in ["arn:aws:iam::210987654321:policy/s3", "arn:aws-cn:iam::aws:policy/s3"] {
        let mut user = user(&[]);
        user.managed.push(managed(arn, &allow("s3:*", "*")));
        let policies = restricted_instance_role(&user, &role(), Compression::Off).unwrap();
        assert!(policies.policy_arns().is_empty());
        assert!(policies.policy().unwrap().as_str().contains("s3:*"));
    }
}

#[test]
fn beyond_ten_managed_policies_the_shortest_are_spelled_out() {
    let mut user = user(&[]);
    for number in 0..12 {
        let arn = format!("arn:aws:iam::{ACCOUNT}:policy/p{number:02}");
        let action = format!("s3:Get{}", "x".repeat(number));
        user.managed
            .push(managed(&arn, &allow(&action, &format!("arn:aws:s3:::{number}"))));
    }
    let policies = restricted_instance_role(&user, &role(), Compression::Off).unwrap();
    assert_eq!(policies.policy_arns().len(), 10);
    let text = policies.policy().unwrap().as_str();
    assert!(
        text.contains(r#""s3:Get""#) && text.contains(r#""s3:Getx""#) && !text.contains("s3:Getxx"),
        "{text}"
    );
}

#[test]
fn what_is_not_the_arn_of_a_managed_policy_is_refused() {
    for text in [
        "",
        "arn:aws:iam::123456789012:role/x",
        "arn:aws:iam::123456789012:policy/",
        "arn:aws:iam::12345:policy/x",
        "arn:AWS:iam::aws:policy/x",
        "arn:aws:s3::aws:policy/x",
        "arn:aws:iam::aws:policy/a b",
    ] {
        assert_eq!(
            text.parse::<PolicyArn>(),
            Err(PolicyRefusal::NoPolicyArn(text.to_owned()))
        );
    }
}

#[test]
fn the_instance_role_is_handed_out_with_an_allow_and_without_the_denied_actions() {
    let denied: Vec<ActionPattern> = DEFAULT_DENY_ACTIONS.map(|action| action.parse().unwrap()).into();
    let policies = instance_role(&denied).unwrap();
    let expected = document_of(&[
        r#"{"Action":"*","Effect":"Allow","Resource":"*"}"#,
        r#"{"Action":["iam:*","kms:Decrypt","secretsmanager:*","ssm:GetParameter*","sts:*"],"Effect":"Deny","Resource":"*"}"#,
    ]);
    assert_eq!(policies.policy().unwrap().as_str(), expected);
    assert!(policies.policy_arns().is_empty());
}

#[test]
fn the_instance_role_is_never_handed_out_whole() {
    assert_eq!(instance_role(&[]), Err(PolicyRefusal::NoDenyActions));
}
