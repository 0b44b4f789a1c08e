//! No statement that is kept gives a role's session more than the user, or denies it less.

use serde_json::json;

use super::*;

#[path = "../../../../../session-policy/src/tests/who_asks.rs"]
mod who_asks;
use who_asks::{statements, widens};

fn refused(statement: &Value) -> bool {
    first_key(&json!({ "Version": "2012-10-17", "Statement": [statement] })).is_some()
}

// P18
#[test]
fn no_statement_of_a_role_is_worth_more_than_to_the_user() {
    let (mut kept, mut all, mut widening) = (0, 0, 0);
    for statement in statements() {
        all += 1;
        widening += usize::from(widens(&statement));
        if !refused(&statement) {
            kept += 1;
            assert!(!widens(&statement), "{statement}");
        }
    }
    println!("{all} statements, {widening} would widen, {kept} kept");
    assert!(widening > 300 && kept > 300);
}

#[test]
fn what_only_narrows_and_what_everybody_writes_is_kept() {
    for statement in [
        json!({ "Effect": "Allow", "Action": "iam:*AccessKey*", "Resource": "arn:aws:iam::*:user/${aws:username}" }),
        json!({ "Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::c"] }),
        json!({ "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*",
            "Condition": { "StringLike": { "s3:prefix": ["", "home/${aws:username}/*"] } } }),
        json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": { "StringEquals": { "aws:username": "alice" } } }),
        json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": { "Bool": { "aws:MultiFactorAuthPresent": "true" } } }),
        json!({ "Effect": "Deny", "NotAction": "iam:*", "Resource": "*",
            "Condition": { "BoolIfExists": { "aws:MultiFactorAuthPresent": "false" } } }),
        json!({ "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": { "StringNotEquals": { "aws:PrincipalOrgID": "o-1" } } }),
        json!({ "Effect": "Deny", "Action": "iam:*", "Resource": "*" }),
    ] {
        assert!(!refused(&statement), "{statement}");
    }
}

#[test]
fn a_key_that_goes_by_who_asks_is_found_wherever_it_stands() {
    for statement in [
        json!({ "Effect": "Deny", "Action": "*", "Resource": "arn:aws:s3:::home/${aws:username}/*" }),
        json!({ "Effect": "deny", "Action": "*", "Condition": { "StringNotEquals": { "aws:PrincipalTag/team": "x" } } }),
        json!({ "Effect": "Deny", "Action": "*", "Condition": { "ArnNotLike": { "AWS:PrincipalArn": "x" } } }),
        json!({ "Effect": "Allow", "Action": "*", "Condition": { "StringNotEquals": { "aws:username": "bob" } } }),
        json!({ "Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::home/${aws:username}/*" }),
        json!({ "Effect": "Allow", "Action": "*", "Resource": "home/${aws:username, 'shared'}" }),
        json!({ "Effect": "allow", "Action": "*", "Resource": "home/${aws:username}" }),
    ] {
        assert!(
            first_key(&json!({ "Statement": statement.clone() })).is_some(),
            "{statement}"
        );
        assert!(
            first_key(&json!({ "Statement": [{}, statement.clone()] })).is_some(),
            "{statement}"
        );
    }
}
