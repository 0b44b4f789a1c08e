//! The eight pairs that the predecessor decided wrongly, each with what IAM would decide, for a user of
//! `restricted_instance_role` with `compress_user_policy` on.

use super::super::{Compression, PolicyRefusal, restricted_instance_role};
use super::evaluator::{ACTIONS, CONTEXTS, Evaluator, RESOURCES, Reading, Requests, granted};
use super::{document, policy, role, user};

/// The inline session policy for one user statement and these statements of the role.
fn compressed(user_statements: &str, role_statements: &str) -> String {
    let user = user(&[&policy(user_statements)]);
    let of_role = [document(&policy(role_statements))];
    let policies = restricted_instance_role(&user, &role(), Compression::AgainstRole(&of_role)).unwrap();
    policies.policy().unwrap().as_str().to_owned()
}

/// Whether the session may do `action` on `resource` in any context.
fn may(session_policy: &str, role_statements: &str, action: &str, resource: &str) -> bool {
    let decide = |text: &str| granted([Evaluator::new(Reading::Wide).judge(text)]);
    let action = ACTIONS.iter().position(|known| *known == action).unwrap();
    let resource = RESOURCES.iter().position(|known| *known == resource).unwrap();
    let (session, role): (Requests, Requests) = (decide(session_policy), decide(&policy(role_statements)));
    (0..CONTEXTS.len()).any(|context| session[context][action] & role[context][action] & (1 << resource) != 0)
}

const ALLOW_ALL: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
const DENY_ALL_BUT_S3: &str = r#"{"Effect":"Deny","NotAction":"s3:*","Resource":"*"}"#;

fn with_allow_all(statement: &str) -> String {
    format!("{ALLOW_ALL},{statement}")
}

#[test]
fn row_1_a_suspended_user_stays_suspended_under_a_role_that_denies_all_but_s3() {
    let role = with_allow_all(DENY_ALL_BUT_S3);
    let session = compressed(
        &with_allow_all(r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#),
        &role,
    );
    assert!(!may(&session, &role, "s3:GetObject", "arn:aws:s3:::a"));
    assert!(session.contains("Deny"), "{session}");
}

#[test]
fn row_2_a_deny_of_all_but_s3_get_is_kept_under_a_wider_one() {
    let role = with_allow_all(DENY_ALL_BUT_S3);
    let session = compressed(
        &with_allow_all(r#"{"Effect":"Deny","NotAction":"s3:Get*","Resource":"*"}"#),
        &role,
    );
    assert!(!may(&session, &role, "s3:PutObject", "arn:aws:s3:::a"));
    assert!(may(&session, &role, "s3:GetObject", "arn:aws:s3:::a"));
}

#[test]
fn row_3_a_deny_is_covered_by_an_exception_only_where_nothing_meets_it() {
    let role = with_allow_all(DENY_ALL_BUT_S3);
    let deny = r#"{"Effect":"Deny","Action":["s3:Get*","iam:GetUser"],"Resource":"*"}"#;
    let session = compressed(&with_allow_all(deny), &role);
    assert!(!may(&session, &role, "s3:GetObject", "arn:aws:s3:::a"));
    assert!(
        session.contains(r#"{"Action":"s3:Get*","Effect":"Deny","Resource":"*"}"#),
        "{session}"
    );
}

#[test]
fn row_4_an_allow_of_all_but_s3_is_not_part_of_one_of_iam() {
    let role = r#"{"Effect":"Allow","Action":"iam:*","Resource":"*"}"#;
    let session = compressed(r#"{"Effect":"Allow","NotAction":"s3:*","Resource":"*"}"#, role);
    assert!(may(&session, role, "iam:GetUser", "*"));
    assert!(!may(&session, ALLOW_ALL, "s3:GetObject", "arn:aws:s3:::a"));
}

#[test]
fn row_5_an_allow_wider_than_the_roles_gives_what_the_role_has() {
    let role = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
    let session = compressed(ALLOW_ALL, role);
    assert!(may(&session, role, "s3:GetObject", "arn:aws:s3:::a"));
    assert!(!may(&session, role, "iam:GetUser", "*"));
}

#[test]
fn row_6_an_allow_is_kept_that_the_role_grants_in_two_statements() {
    let role = r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"},
        {"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}"#;
    let session = compressed(
        r#"{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"*"}"#,
        role,
    );
    assert!(may(&session, role, "s3:GetObject", "arn:aws:s3:::a"));
    assert!(may(&session, role, "s3:PutObject", "arn:aws:s3:::a"));
}

#[test]
fn row_7_actions_are_compared_without_regard_to_case() {
    let allow = r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}"#;
    let session = compressed(r#"{"Effect":"Allow","Action":"s3:getobject","Resource":"*"}"#, allow);
    assert!(may(&session, allow, "s3:GetObject", "arn:aws:s3:::a"));
    let deny = with_allow_all(r#"{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}"#);
    let session = compressed(
        &with_allow_all(r#"{"Effect":"Deny","Action":"s3:getobject","Resource":"*"}"#),
        &deny,
    );
    assert!(
        !session.contains("s3:getobject"),
        "the role denies it already: {session}"
    );
}

#[test]
fn row_8_a_bracket_is_a_bracket_and_a_variable_is_refused() {
    let role = with_allow_all(r#"{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::[ab]"}"#);
    let session = compressed(
        &with_allow_all(r#"{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::a"}"#),
        &role,
    );
    assert!(!may(&session, &role, "s3:ListBucket", "arn:aws:s3:::a"));
    assert!(may(&session, &role, "s3:ListBucket", "arn:aws:s3:::b"));
    let own = policy(r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::home/${aws:username}"}"#);
    let of_role = [document(&policy(ALLOW_ALL))];
    let refusal = restricted_instance_role(&user(&[&own]), &super::role(), Compression::AgainstRole(&of_role));
    assert!(matches!(refusal, Err(PolicyRefusal::BoundToPrincipal { key, .. }) if key == "aws:username"));
}

#[test]
fn a_deny_is_not_left_out_for_a_deny_of_the_roles_that_has_a_condition() {
    let role = with_allow_all(
        r#"{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
    );
    let session = compressed(
        &with_allow_all(r#"{"Effect":"Deny","Action":"s3:*","Resource":"*"}"#),
        &role,
    );
    assert!(!may(&session, &role, "s3:GetObject", "arn:aws:s3:::a"));
}

#[test]
fn nothing_left_of_a_user_is_deny_all_and_never_the_whole_role() {
    let role = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
    let session = compressed(r#"{"Effect":"Allow","Action":"iam:*","Resource":"*"}"#, role);
    let deny_all = r#"{"Statement":[{"Action":"*","Effect":"Deny","Resource":"*"}],"Version":"2012-10-17"}"#;
    assert_eq!(session, deny_all);
}
