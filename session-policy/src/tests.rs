//! The promises about session policies, kept against an evaluator that shares no code with what it judges.

mod compression_table;
#[cfg(not(debug_assertions))]
mod cost;
mod evaluator;
mod expressible;
mod grammar;
mod random_policies;
mod sizes;
mod who_asks;

use super::{ManagedPolicy, PolicyDocument, UserPolicies};

const ACCOUNT: &str = "123456789012";
/// The last statement of every session policy.
const NO_OTHER_ROLE: &str = r#"{"Action":"sts:AssumeRole*","Effect":"Deny","Resource":"*"}"#;

fn role() -> keymaker_syntax::RoleArn {
    format!("arn:aws:iam::{ACCOUNT}:role/web").parse().unwrap()
}

fn document(text: &str) -> PolicyDocument {
    PolicyDocument::parse("the policy", text).unwrap()
}

fn user(inline: &[&str]) -> UserPolicies {
    UserPolicies {
        account: ACCOUNT.parse().unwrap(),
        permissions_boundary: None,
        inline: inline.iter().map(|text| document(text)).collect(),
        managed: Vec::new(),
    }
}

fn managed(arn: &str, text: &str) -> ManagedPolicy {
    ManagedPolicy {
        arn: arn.parse().unwrap(),
        document: document(text),
    }
}

/// A document of version 2012-10-17 with these statements.
fn policy(statements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)
}
