//! What cannot be said in a session policy is refused, with the sentence that says so.

use super::super::binding::{self, Origin};
use super::super::{Compression, PolicyRefusal, SessionPolicies, restricted_instance_role};
use super::{NO_OTHER_ROLE, managed, policy, role, user};

fn for_user(inline: &[&str]) -> Result<SessionPolicies, PolicyRefusal> {
    restricted_instance_role(&user(inline), &role(), Compression::Off)
}

fn with_condition(condition: &str) -> String {
    policy(&format!(
        r#"{{"Effect":"Deny","Action":"*","Resource":"*","Condition":{condition}}}"#
    ))
}

#[test]
fn conditions_on_who_asks_are_refused() {
    for key in [
        "aws:username",
        "AWS:UserName",
        "aws:userid",
        "aws:PrincipalTag/team",
        "aws:PrincipalArn",
        "aws:PrincipalType",
        "aws:TokenIssueTime",
        "aws:SourceIdentity",
        "ec2:SourceInstanceARN",
    ] {
        let refusal = for_user(&[&with_condition(&format!(r#"{{"StringLike":{{"{key}":"x"}}}}"#))]).unwrap_err();
        let key = key.to_lowercase();
        assert!(
            refusal.to_string().contains(&format!("the policy uses {key}, which")),
            "{refusal}"
        );
    }
}

// P18
#[test]
fn no_statement_of_a_session_policy_is_worth_more_to_the_session() {
    let (mut kept, mut all) = (0, 0);
    for statement in super::who_asks::statements() {
        all += 1;
        let document = super::document(&policy(&statement.to_string()));
        if binding::check(&document, Origin::SameAccount).is_ok() {
            kept += 1;
            assert!(!super::who_asks::widens(&statement), "{statement}");
        }
    }
    println!("{all} statements, {kept} kept");
    assert!(kept > 100);
}

#[test]
fn variables_for_who_asks_are_refused_wherever_they_stand() {
    let refused = |text: &str| matches!(for_user(&[text]), Err(PolicyRefusal::BoundToPrincipal { .. }));
    for variable in ["${aws:username}", "${aws:PrincipalTag/team}", "${ aws:userid , 'x'}"] {
        let arn = format!("arn:aws:s3:::home/{variable}");
        for element in ["Resource", "NotResource"] {
            assert!(refused(&policy(&format!(
                r#"{{"Effect":"Allow","Action":"s3:*","{element}":["a","{arn}"]}}"#
            ))));
        }
        assert!(refused(&with_condition(&format!(
            r#"{{"StringLike":{{"s3:prefix":["a","{variable}/*"]}}}}"#
        ))));
    }
}

#[test]
fn conditions_on_multi_factor_authentication_are_refused() {
    for condition in [
        r#"{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}"#,
        r#"{"NumericLessThan":{"aws:multifactorauthage":"300"}}"#,
    ] {
        assert!(matches!(
            for_user(&[&with_condition(condition)]),
            Err(PolicyRefusal::MultiFactor { .. })
        ));
    }
}

#[test]
fn a_policy_that_goes_by_its_arn_is_held_to_the_same() {
    let mut user = user(&[]);
    let own = policy(r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::home/${aws:username}"}"#);
    user.managed.push(managed("arn:aws:iam::aws:policy/Home", &own));
    let refusal = restricted_instance_role(&user, &role(), Compression::Off);
    assert!(matches!(refusal, Err(PolicyRefusal::BoundToPrincipal { .. })));
}

#[test]
fn a_user_with_a_permissions_boundary_is_refused() {
    let mut user = user(&[&policy(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#)]);
    user.permissions_boundary = Some("arn:aws:iam::123456789012:policy/limit".to_owned());
    let refusal = restricted_instance_role(&user, &role(), Compression::Off).unwrap_err();
    assert!(
        refusal.to_string().contains("arn:aws:iam::123456789012:policy/limit"),
        "{refusal}"
    );
}

#[test]
fn keys_of_the_account_are_refused_only_where_policies_come_from_another_one() {
    let mut user = user(&[&with_condition(
        r#"{"StringNotEquals":{"aws:ResourceOrgID":"${aws:PrincipalOrgID}"}}"#,
    )]);
    assert!(restricted_instance_role(&user, &role(), Compression::Off).is_ok());
    user.account = "210987654321".parse().unwrap();
    let refusal = restricted_instance_role(&user, &role(), Compression::Off);
    assert!(matches!(refusal, Err(PolicyRefusal::BoundToAccount { .. })));
}

#[test]
fn what_is_the_same_whoever_asks_is_carried_as_it_stands() {
    let text = policy(
        r#"{"Sid":"Own","Effect":"Allow","Action":["s3:Get*"],"Resource":["arn:aws:s3:::b/${s3:prefix}/${*}"],
            "Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8"]}}}"#,
    );
    let policies = for_user(&[&text]).unwrap();
    let statement = concat!(
        r#"{"Action":"s3:Get*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}},"#,
        r#""Effect":"Allow","Resource":"arn:aws:s3:::b/${s3:prefix}/${*}"}"#
    );
    let expected = format!(r#"{{"Statement":[{statement},{NO_OTHER_ROLE}],"Version":"2012-10-17"}}"#);
    assert_eq!(policies.policy().unwrap().as_str(), expected);
}

#[test]
fn a_variable_in_a_document_of_2008_is_text_and_stays_text() {
    let old = r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}",
        "Condition":{"StringEquals":{"s3:prefix":"${aws:username}"}}}}"#;
    let policies = for_user(&[old]).unwrap();
    let text = policies.policy().unwrap().as_str();
    assert!(
        text.contains(r#""Resource":"arn:aws:s3:::${$}{aws:username}""#),
        "{text}"
    );
    assert!(text.contains(r#""s3:prefix":"${$}{aws:username}""#), "{text}");
    // And what was made is read as no variable.
    assert!(for_user(&[text]).is_ok());
}

#[test]
fn a_user_to_whom_nothing_is_allowed_gets_deny_all() {
    let deny_all = r#"{"Statement":[{"Action":"*","Effect":"Deny","Resource":"*"}],"Version":"2012-10-17"}"#;
    let only_denies = policy(r#"{"Effect":"Deny","Action":"s3:*","Resource":"*"}"#);
    let all_denied = policy(
        r#"{"Effect":"Allow","Action":"s3:Get*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"*"}"#,
    );
    for inline in [
        vec![],
        vec![only_denies.as_str()],
        vec![all_denied.as_str()],
        vec![r#"{"Statement":[]}"#],
    ] {
        let policies = for_user(&inline).unwrap();
        assert_eq!(policies.policy().unwrap().as_str(), deny_all);
        assert!(policies.policy_arns().is_empty());
    }
}
