//! The same as CloudFormation and Terraform, for accounts in which nobody changes IAM by hand. One template for each
//! account.

use serde_json::{Value, json};

use super::Template;
use super::wanted::{Side, WantedSides};

/// The template; where there are two accounts, an object of both.
pub fn print(template: Template, wanted: &WantedSides) -> Value {
    let of = |side: &Side| match template {
        Template::Cloudformation => cloudformation(side),
        Template::Terraform => terraform(side),
    };
    match &wanted.users {
        None => of(&wanted.instances),
        Some(users) => json!({
            format!("account {}", wanted.instances.role.account().as_str()): of(&wanted.instances),
            format!("account {}", users.role.account().as_str()): of(users),
        }),
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

fn cloudformation(side: &Side) -> Value {
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
    if let (true, Some(resources)) = (side.for_instances, resources.as_object_mut()) {
        let profile = json!({ "Type": "AWS::IAM::InstanceProfile", "Properties": {
            "InstanceProfileName": role.name(), "Roles": [{ "Ref": "KeymakerRole" }],
        } });
        resources.insert("KeymakerInstanceProfile".to_owned(), profile);
    }
    json!({ "AWSTemplateFormatVersion": "2010-09-09", "Resources": resources })
}

fn terraform(side: &Side) -> Value {
    let role = &side.role;
    // In strings of Terraform's, ${ begins an expression; the document has none but IAM's variables.
    let text = |value: &Value| value.to_string().replace("${", "$${");
    let mut resources = json!({
        "aws_iam_role": { "keymaker": {
            "name": role.name(), "path": role.path(), "description": description(side), "assume_role_policy": text(&trust(side)),
        } },
        "aws_iam_policy": { "keymaker": { "name": side.policy_name, "policy": text(&side.policy) } },
        "aws_iam_role_policy_attachment": { "keymaker": {
            "role": "${aws_iam_role.keymaker.name}", "policy_arn": "${aws_iam_policy.keymaker.arn}",
        } },
    });
    if let (true, Some(resources)) = (side.for_instances, resources.as_object_mut()) {
        let profile = json!({ "keymaker": { "name": role.name(), "role": "${aws_iam_role.keymaker.name}" } });
        resources.insert("aws_iam_instance_profile".to_owned(), profile);
    }
    json!({ "resource": resources })
}
