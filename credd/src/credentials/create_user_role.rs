//! The method `create_user_role`: a session of a role that `keymaker sync-roles` made for the user. The role is looked at
//! first: one that others may assume, or that lacks the user's permissions boundary, is not what sync-roles left there.

use keymaker_aws::{AwsCallError, RoleArn};
use serde_json::Value;

use super::cache::Issuance;
use super::chain::Chain;
use super::iam;
use super::question::Question;
use super::refusal::Refusal;
use crate::config::Method;
use crate::policy::percent_decoded;

impl Chain {
    pub(super) async fn create_user_role(&self, question: &Question) -> Result<Issuance, Refusal> {
        let role = self.role_of(question).await?;
        let client = self.aws.iam().await?;
        let found = match iam::role(&client, role.name()).await {
            Err(AwsCallError::NoSuchEntity { .. }) => return Err(Refusal::NotApplicable),
            answer => answer?,
        };
        if found.arn != role {
            return Err(Refusal::denied(format!(
                "the role is {}, not {role}; see role_path",
                found.arn
            )));
        }
        let user = match self.iam_user(question).await {
            Err(Refusal::NotApplicable) => {
                return Err(Refusal::denied(format!("IAM has no user whose role {role} would be")));
            }
            answer => answer?,
        };
        if user.permissions_boundary.is_some() && user.permissions_boundary != found.permissions_boundary {
            return Err(Refusal::denied(format!(
                "the role {role} lacks the permissions boundary of the user {}; run keymaker sync-roles",
                user.name
            )));
        }
        let own = self.aws.own_role().await?;
        if !trusts_only(&found.trust, &own) {
            return Err(Refusal::denied(format!(
                "the role {role} does not trust {own}, or its account, and nobody else"
            )));
        }
        Ok(self.session(Method::CreateUserRole, role, question, None).await?)
    }
}

/// Whether every Allow of this trust policy names the role `own` or its account and nobody else. Conditions only narrow.
fn trusts_only(trust: &str, own: &RoleArn) -> bool {
    let decoded = percent_decoded(trust).unwrap_or_default();
    let Ok(document) = serde_json::from_str::<Value>(&decoded) else {
        return false;
    };
    let account = own.account().as_str();
    let trusted = [
        own.to_string(),
        format!("arn:{}:iam::{account}:root", own.partition()),
        account.to_owned(),
    ];
    let mut allows =
        listed(document.get("Statement")).filter(|statement| statement.get("Effect") != Some(&"Deny".into()));
    let mut any = false;
    let all = allows.all(|statement| {
        any = true;
        let principal = statement.get("Principal").and_then(Value::as_object);
        principal.is_some_and(|principal| {
            let mut named = listed(principal.get("AWS"));
            principal.len() == 1
                && principal.contains_key("AWS")
                && named.all(|name| name.as_str().is_some_and(|name| trusted.iter().any(|it| it == name)))
        })
    });
    any && all
}

/// One value stands for a list of one.
fn listed(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    let many = value.and_then(Value::as_array);
    let one = value.filter(|value| !value.is_array());
    many.into_iter().flatten().chain(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(trust: &str) -> bool {
        trusts_only(trust, &"arn:aws:iam::123456789012:role/p/own".parse().unwrap())
    }

    fn allowing(principal: &str) -> String {
        format!(r#"{{"Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{principal}}}]}}"#)
    }

    // P18
    #[test]
    fn a_role_that_anybody_else_may_assume_is_not_taken_for_the_users() {
        for principal in [
            r#"{"AWS":"arn:aws:iam::123456789012:role/p/own"}"#,
            r#"{"AWS":["arn:aws:iam::123456789012:root"]}"#,
            r#"{"AWS":"123456789012"}"#,
        ] {
            assert!(judged(&allowing(principal)), "{principal}");
            assert!(judged(&allowing(principal).replace('"', "%22")), "{principal}");
        }
        for principal in [
            r#""*""#,
            r#"{"AWS":"*"}"#,
            r#"{"AWS":["arn:aws:iam::123456789012:root","arn:aws:iam::999999999999:root"]}"#,
            r#"{"AWS":"arn:aws:iam::123456789012:role/own"}"#,
            r#"{"AWS":"AROAEXAMPLE"}"#,
            r#"{"AWS":"arn:aws:iam::123456789012:root","Service":"ec2.amazonaws.com"}"#,
            r#"{"Service":"ec2.amazonaws.com"}"#,
            "{}",
            "null",
        ] {
            assert!(!judged(&allowing(principal)), "{principal}");
        }
        for trust in [
            "",
            "{}",
            r#"{"Statement":[]}"#,
            "%zz",
            r#"{"Statement":{"Effect":"Deny","Principal":"*"}}"#,
        ] {
            assert!(!judged(trust), "{trust}");
        }
    }
}
