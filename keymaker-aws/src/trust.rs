//! Whose a user's role is: which tag says for whom it was made, and whether it may be assumed by the instances' role
//! and by nobody else. Two programs must agree on it: `keymaker sync-roles`, which makes such roles, and credd, which
//! hands out sessions of them. It knows nothing of conditions: they only narrow.

use serde_json::Value;

use crate::RoleArn;

/// The tag of a role that says for whom it was made: the `UserId`, since a name may be another person's tomorrow.
pub const USER_ID_TAG: &str = "keymaker:user-id";

/// Whether every Allow of this trust policy (JSON) names the role `own` or its account, and nobody else. False for
/// anything else, a text that is not a policy included.
pub fn trusts_only(trust: &str, own: &RoleArn) -> bool {
    let account = own.account().as_str();
    let trusted = [
        own.to_string(),
        format!("arn:{}:iam::{account}:root", own.partition()),
        account.to_owned(),
    ];
    names_only(trust, &trusted)
}

/// The same, where the account does not count either: every session in it may be allowed to assume the role.
pub fn trusts_role_alone(trust: &str, own: &RoleArn) -> bool {
    names_only(trust, &[own.to_string()])
}

fn names_only(trust: &str, trusted: &[String]) -> bool {
    let Ok(document) = serde_json::from_str::<Value>(trust) else {
        return false;
    };
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

    #[test]
    fn the_account_is_more_than_the_role() {
        let own: RoleArn = "arn:aws:iam::123456789012:role/p/own".parse().unwrap();
        let role = allowing(r#"{"AWS":"arn:aws:iam::123456789012:role/p/own"}"#);
        let account = allowing(r#"{"AWS":"arn:aws:iam::123456789012:root"}"#);
        assert!(trusts_role_alone(&role, &own) && !trusts_role_alone(&account, &own));
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
