//! What somebody who runs `sync-roles` must be allowed: a policy for a role of its own, about the users' roles and no
//! others. A test runs it with this policy alone.

use keymaker_aws::RoleArn;
use serde_json::{Value, json};

use super::options::SyncRolesOptions;

/// The policy. Anybody who has it can give the users' roles any right, so the instances' role must not have it.
pub fn policy(options: &SyncRolesOptions, instances: &RoleArn) -> Value {
    let roles = format!(
        "arn:{}:iam::{}:role{}{}",
        instances.partition(),
        instances.account(),
        options.role_path,
        options.role_name_pattern.with("*")
    );
    let write = [
        "iam:CreateRole",
        "iam:TagRole",
        "iam:UpdateAssumeRolePolicy",
        "iam:PutRolePolicy",
        "iam:DeleteRolePolicy",
        "iam:AttachRolePolicy",
        "iam:DetachRolePolicy",
        "iam:PutRolePermissionsBoundary",
        "iam:DeleteRolePermissionsBoundary",
        "iam:DeleteRole",
    ];
    json!({ "Version": "2012-10-17", "Statement": [
        {
            "Sid": "KeymakerReadAccount",
            "Effect": "Allow",
            "Action": ["iam:GetAccountAuthorizationDetails", "iam:GetUser"],
            "Resource": "*",
        },
        { "Sid": "KeymakerKeepUserRoles", "Effect": "Allow", "Action": write, "Resource": roles },
    ] })
}
