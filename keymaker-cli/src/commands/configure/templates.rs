//! The same as CloudFormation and Terraform, for accounts in which nobody changes IAM by hand. One template for each
//! account.

use serde_json::{Value, json};

use super::Template;
use super::logins::{LOGIN_POLICY, WantedLogins};
use super::wanted::{Side, WantedSides};

/// The template; where there are two accounts, an object of both.
pub fn print(template: Template, wanted: Option<&WantedSides>, logins: Option<&WantedLogins>) -> Value {
    let of = |side: Option<&Side>, logins: Option<&WantedLogins>| match template {
        Template::Cloudformation => cloudformation(side, logins),
        Template::Terraform => terraform(side, logins),
    };
    match wanted.map(|wanted| (&wanted.instances, &wanted.users)) {
        None => of(None, logins),
        Some((instances, None)) => of(Some(instances), logins),
        Some((instances, Some(users))) => json!({
            format!("account {}", instances.role.account().as_str()): of(Some(instances), None),
            format!("account {}", users.role.account().as_str()): of(Some(users), logins),
        }),
    }
}

/// What a template of `CloudFormation` lacks.
pub const NO_FEDERATION: &str = "CloudFormation cannot turn federation on: 'keymaker configure --logins', or 'aws iam enable-outbound-web-identity-federation', once";

/// Puts what `more` has into `resources`, kind by kind.
fn merge(resources: &mut Value, more: Value) {
    let (Some(there), Value::Object(more)) = (resources.as_object_mut(), more) else {
        return;
    };
    for (kind, named) in more {
        match there.get_mut(&kind) {
            Some(present) => merge(present, named),
            None => drop(there.insert(kind, named)),
        }
    }
}

fn description(side: &Side) -> String {
    super::texts::described("", &side.settings)
}

/// The trust in itself names the account: the role is not there yet when its own policy is checked.
fn trust(side: &Side) -> Value {
    let mut trust = side.trust.clone();
    if let (true, Some(statements)) = (
        side.trusts_itself,
        trust.get_mut("Statement").and_then(Value::as_array_mut),
    ) {
        let role = &side.role;
        let mut statement = super::wanted::trust_of(json!({
            "AWS": format!("arn:{}:iam::{}:root", role.partition(), role.account())
        }));
        if let Some(fields) = statement.as_object_mut() {
            fields.insert(
                "Condition".to_owned(),
                json!({ "ArnEquals": { "aws:PrincipalArn": role.to_string() } }),
            );
        }
        statements.push(statement);
    }
    trust
}

fn cloudformation(side: Option<&Side>, logins: Option<&WantedLogins>) -> Value {
    let mut resources = side.map_or_else(|| json!({}), role_by_cloudformation);
    if let Some(logins) = logins {
        let properties =
            json!({ "ManagedPolicyName": LOGIN_POLICY, "PolicyDocument": logins.policy, "Groups": logins.groups });
        merge(
            &mut resources,
            json!({ LOGIN_POLICY: { "Type": "AWS::IAM::ManagedPolicy", "Properties": properties } }),
        );
    }
    json!({ "AWSTemplateFormatVersion": "2010-09-09", "Resources": resources })
}

fn role_by_cloudformation(side: &Side) -> Value {
    let role = &side.role;
    let mut resources = json!({
        "KeymakerRole": { "Type": "AWS::IAM::Role", "Properties": {
            "RoleName": role.name(), "Path": role.path(), "Description": description(side),
            "AssumeRolePolicyDocument": trust(side),
        } },
        "KeymakerPolicy": { "Type": "AWS::IAM::ManagedPolicy", "Properties": {
            "ManagedPolicyName": side.policy_name, "PolicyDocument": side.policy, "Roles": [{ "Ref": "KeymakerRole" }],
        } },
    });
    if side.for_instances {
        let profile = json!({ "Type": "AWS::IAM::InstanceProfile", "Properties": {
            "InstanceProfileName": role.name(), "Roles": [{ "Ref": "KeymakerRole" }],
        } });
        merge(&mut resources, json!({ "KeymakerInstanceProfile": profile }));
    }
    resources
}

fn terraform(side: Option<&Side>, logins: Option<&WantedLogins>) -> Value {
    let mut resources = side.map_or_else(|| json!({}), role_by_terraform);
    if let Some(logins) = logins {
        let attached = logins.groups.iter().map(|group| {
            let attached = json!({ "group": group, "policy_arn": "${aws_iam_policy.keymaker_logins.arn}" });
            (format!("keymaker_logins_{}", identifier(group)), attached)
        });
        let attached: serde_json::Map<String, Value> = attached.collect();
        merge(
            &mut resources,
            json!({
                "aws_iam_outbound_web_identity_federation": { "keymaker": {} },
                "aws_iam_policy": { "keymaker_logins": { "name": LOGIN_POLICY, "policy": text(&logins.policy) } },
            }),
        );
        if !attached.is_empty() {
            merge(&mut resources, json!({ "aws_iam_group_policy_attachment": attached }));
        }
    }
    json!({ "resource": resources })
}

/// Of Terraform's: letters, digits, `_` and `-`.
fn identifier(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

/// In strings of Terraform's, `${` begins an expression; the document has none but IAM's variables.
fn text(value: &Value) -> String {
    value.to_string().replace("${", "$${")
}

fn role_by_terraform(side: &Side) -> Value {
    let role = &side.role;
    let mut resources = json!({
        "aws_iam_role": { "keymaker": {
            "name": role.name(), "path": role.path(), "description": description(side), "assume_role_policy": text(&trust(side)),
        } },
        "aws_iam_policy": { "keymaker": { "name": side.policy_name, "policy": text(&side.policy) } },
        "aws_iam_role_policy_attachment": { "keymaker": {
            "role": "${aws_iam_role.keymaker.name}", "policy_arn": "${aws_iam_policy.keymaker.arn}",
        } },
    });
    if side.for_instances {
        let profile = json!({ "keymaker": { "name": role.name(), "role": "${aws_iam_role.keymaker.name}" } });
        merge(&mut resources, json!({ "aws_iam_instance_profile": profile }));
    }
    resources
}
