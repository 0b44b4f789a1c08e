//! What is passed to sts:AssumeRole beside the role: one inline session policy and ARNs of managed ones, checked
//! against STS's limits before STS is asked. Made by `restricted_instance_role.rs` and `instance_role.rs` only. The
//! value can never be "no policy at all": a session without one has everything that the role has.
//!
//! The limits, IAM User Guide, "IAM and AWS STS quotas", Role session policies: "The size of the passed JSON policy
//! document and all passed managed policy ARN characters combined can't exceed 2,048 characters." "You can pass a
//! maximum of 10 managed policy ARNs when you create a session." "You can pass only one JSON policy document". Besides,
//! "an AWS conversion compresses the passed session policies and session tags into a packed binary format that has a
//! separate limit", which only STS can tell: it answers `PackedPolicyTooLarge`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::limits::MAX_CHARACTERS;
use super::policy_arn::PolicyArn;
use super::refusal::PolicyRefusal;
use super::statement::Statement;

/// The session policies of one session: what it may do is what they and the role both allow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionPolicies {
    policy: Option<SessionPolicy>,
    policy_arns: Vec<String>,
}

/// Roles trust the instance's role, not the user: a session that may assume one, the instance's own role among them,
/// would be rid of its session policies by a single call, or be another user (P18).
fn no_other_role() -> Value {
    json!({"Effect": "Deny", "Action": "sts:AssumeRole*", "Resource": "*"})
}

impl SessionPolicies {
    /// What STS takes as `Policy`.
    pub fn policy(&self) -> Option<&SessionPolicy> {
        self.policy.as_ref()
    }

    /// What STS takes as `PolicyArns`.
    pub fn policy_arns(&self) -> &[String] {
        &self.policy_arns
    }

    /// Nothing at all.
    pub fn deny_all() -> Self {
        let statement = json!({"Effect": "Deny", "Action": "*", "Resource": "*"});
        Self {
            policy: Some(SessionPolicy::of(vec![statement])),
            policy_arns: Vec::new(),
        }
    }

    /// The statements and the managed policies together, less what leads out of them; `deny_all` if there are none of
    /// either.
    pub(super) fn new(statements: &BTreeSet<Statement>, arns: &[&PolicyArn]) -> Result<Self, PolicyRefusal> {
        if statements.is_empty() && arns.is_empty() {
            return Ok(Self::deny_all());
        }
        let statements = statements.iter().map(Statement::to_json);
        let policies = Self {
            policy: Some(SessionPolicy::of(statements.chain([no_other_role()]).collect())),
            policy_arns: arns.iter().map(|arn| arn.as_str().to_owned()).collect(),
        };
        policies.check()?;
        Ok(policies)
    }

    fn check(&self) -> Result<(), PolicyRefusal> {
        let policy_text = self.policy.as_ref().map_or("", SessionPolicy::as_str);
        let texts = self.policy_arns.iter().map(String::as_str).chain([policy_text]);
        let characters = texts.map(|text| text.chars().count()).sum();
        if characters > MAX_CHARACTERS {
            return Err(PolicyRefusal::TooLong { characters });
        }
        // STS API Reference, AssumeRole, Policy: "any ASCII character from the space character to the end of the valid
        // character list (\u0020 through \u00FF)". JSON escapes everything below the space.
        match policy_text
            .chars()
            .find(|character| !('\u{20}'..='\u{ff}').contains(character))
        {
            Some(character) => Err(PolicyRefusal::ForbiddenCharacter { character }),
            None => Ok(()),
        }
    }
}

/// The text of an inline session policy: one JSON document of version 2012-10-17 without white space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionPolicy(String);

impl SessionPolicy {
    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(statements: Vec<Value>) -> Self {
        Self(json!({"Version": "2012-10-17", "Statement": statements}).to_string())
    }
}
