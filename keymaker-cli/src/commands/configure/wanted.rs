//! What an account should hold, from the options alone: roles, their settings, one managed policy each. Nothing here
//! asks AWS.

use clap::ValueEnum;
use keymaker_aws::RoleArn;
use keymaker_aws::UID_TAG;
use keymaker_aws::role_description::{
    ID_RESOLVER_ACCOUNT, ID_RESOLVER_IAM_ROLE, LINUX_GROUP_PREFIX, LINUX_USER_SUFFIX, REQUIRE_IAM_GROUP,
};
use keymaker_aws::ssh_key_tags::NAME_BEGINS;
use serde_json::{Value, json};

/// A way of credd's to make credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(clippy::enum_variant_names, reason = "they are the names of credd.toml")]
pub enum WantedMethod {
    /// A role for each user; create-user-role, where sync-roles makes them.
    #[value(alias = "create-user-role")]
    UserRole,
    /// The instance's role, cut down to the user's own policies.
    RestrictedInstanceRole,
    /// The instance's role, without what could become more.
    InstanceRole,
    /// One role for everybody, with session tags.
    SharedRole,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The instances' role.
    pub role: RoleArn,
    /// The role in the users' account that hosts assume, where that is another account.
    pub id_resolver: Option<RoleArn>,
    /// 1, 2 or 3.
    pub grade: u8,
    /// Whether hosts let people in by proof.
    pub logins: bool,
    /// credd's methods.
    pub methods: Vec<WantedMethod>,
    /// The role of [`WantedMethod::SharedRole`].
    pub shared_role: Option<String>,
    /// The roles of [`WantedMethod::UserRole`].
    pub user_role_pattern: String,
    /// The settings for the role's description.
    pub require_iam_group: Option<String>,
    /// Likewise.
    pub username_suffix: Option<String>,
    /// Likewise.
    pub group_prefix: Option<String>,
    /// The name of the policies; `None`: [`POLICY`] and the name of the instances' role.
    pub policy_name: Option<String>,
}

/// What the names of our policies begin with. Alone, it was the name of the one policy that all roles of an account had:
/// whoever configured a second role took the first one's rights away.
pub const POLICY: &str = "KeymakerInstanceIAMReadAccess";

/// What one account should hold.
#[derive(Clone, Debug)]
pub struct Side {
    /// The role.
    pub role: RoleArn,
    /// Whom a new role trusts.
    pub trust: Value,
    /// Whether instances have the role, by an instance profile of its name.
    pub for_instances: bool,
    /// Whether the role must also trust itself.
    pub trusts_itself: bool,
    /// The one statement of `trust`, which a role that is there already gets beside those of others.
    pub trusts: Option<Value>,
    /// The settings in its description.
    pub settings: Vec<(&'static str, String)>,
    /// The managed policy attached to it.
    pub policy_name: String,
    /// Its document.
    pub policy: Value,
}

/// What both accounts should hold; one where users and instances live in the same.
#[derive(Clone, Debug)]
pub struct WantedSides {
    /// The instances'.
    pub instances: Side,
    /// The users', where it is another one.
    pub users: Option<Side>,
}

/// Puts together what should be.
pub fn of(request: &Request) -> WantedSides {
    let role = &request.role;
    let resolver = request.id_resolver.as_ref();
    let mut statements = vec![own_role(request)];
    match resolver {
        None => statements.push(read_iam(request)),
        Some(resolver) => statements.push(allow(
            "KeymakerAssumeIdResolver",
            &["sts:AssumeRole"],
            json!(resolver.to_string()),
        )),
    }
    statements.extend(methods(request, resolver.is_some()));
    let mut settings = Vec::new();
    if let Some(resolver) = resolver {
        settings.push((ID_RESOLVER_ACCOUNT, resolver.account().as_str().to_owned()));
        settings.push((ID_RESOLVER_IAM_ROLE, resolver.name().to_owned()));
    }
    settings.extend(
        request
            .require_iam_group
            .iter()
            .map(|group| (REQUIRE_IAM_GROUP, group.clone())),
    );
    settings.extend(
        request
            .username_suffix
            .iter()
            .map(|suffix| (LINUX_USER_SUFFIX, suffix.clone())),
    );
    settings.extend(
        request
            .group_prefix
            .iter()
            .map(|prefix| (LINUX_GROUP_PREFIX, prefix.clone())),
    );
    // In the users' account, too: the resolver of two roles has a policy for each.
    let policy_name = request.policy_name.clone();
    let policy_name = policy_name.unwrap_or_else(|| format!("{POLICY}-{}", role.name()));
    let by_instances = trust_of(json!({ "AWS": role.to_string() }));
    let itself = [WantedMethod::RestrictedInstanceRole, WantedMethod::InstanceRole];
    WantedSides {
        instances: Side {
            role: role.clone(),
            trust: document(vec![trust_of(json!({ "Service": service(role) }))]),
            for_instances: true,
            trusts_itself: itself.iter().any(|method| request.methods.contains(method)),
            trusts: None,
            settings,
            policy_name: policy_name.clone(),
            policy: document(statements),
        },
        users: resolver.map(|resolver| Side {
            role: resolver.clone(),
            trust: document(vec![by_instances.clone()]),
            for_instances: false,
            trusts_itself: false,
            trusts: Some(by_instances),
            settings: Vec::new(),
            policy_name,
            policy: document([vec![read_iam(request)], policies_of_users(request)].concat()),
        }),
    }
}

fn service(role: &RoleArn) -> &'static str {
    match role.partition().to_string().as_str() {
        "aws-cn" => "ec2.amazonaws.com.cn",
        _ => "ec2.amazonaws.com",
    }
}

pub fn document(statements: Vec<Value>) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

pub fn allow(sid: &str, actions: &[&str], resource: Value) -> Value {
    json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource })
}

/// A statement of a trust policy.
pub fn trust_of(principal: Value) -> Value {
    json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" })
}

fn own_role(request: &Request) -> Value {
    let mut roles = vec![request.role.to_string()];
    if request.methods.contains(&WantedMethod::UserRole) {
        roles.push(role_in(request, &request.user_role_pattern));
    }
    allow("KeymakerReadRoles", &["iam:GetRole"], json!(roles))
}

fn role_in(request: &Request, name: &str) -> String {
    let role = &request.role;
    format!("arn:{}:iam::{}:role/{name}", role.partition(), role.account())
}

/// What each grade asks: the tables in README and keymakerd(8).
fn read_iam(request: &Request) -> Value {
    let mut actions = vec![
        "iam:GetUser",
        "iam:ListGroupsForUser",
        "iam:ListSSHPublicKeys",
        "iam:GetSSHPublicKey",
    ];
    actions.extend(["iam:ListGroups", "iam:GetGroup"]);
    if request.grade <= 2 {
        actions.push("iam:ListUsers");
    }
    if request.grade == 1 {
        actions.push("iam:GetAccountAuthorizationDetails");
    }
    if request.logins {
        actions.push("iam:GetOutboundWebIdentityFederationInfo");
    }
    allow("KeymakerReadUsers", &actions, json!("*"))
}

fn methods(request: &Request, cross_account: bool) -> Vec<Value> {
    let mut statements = Vec::new();
    let has = |method| request.methods.contains(&method);
    let sessions = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"];
    if has(WantedMethod::UserRole) {
        let roles = role_in(request, &request.user_role_pattern);
        statements.push(allow("KeymakerUserRoles", &sessions, json!(roles)));
    }
    if has(WantedMethod::RestrictedInstanceRole) || has(WantedMethod::InstanceRole) {
        statements.push(allow(
            "KeymakerOwnRole",
            &["sts:AssumeRole"],
            json!(request.role.to_string()),
        ));
    }
    if !cross_account {
        statements.extend(policies_of_users(request));
    }
    if let (true, Some(role)) = (has(WantedMethod::SharedRole), &request.shared_role) {
        statements.push(allow("KeymakerSharedRole", &sessions, json!(role)));
    }
    statements
}

fn policies_of_users(request: &Request) -> Vec<Value> {
    let actions = [
        "iam:ListUserPolicies",
        "iam:GetUserPolicy",
        "iam:ListAttachedUserPolicies",
        "iam:ListGroupPolicies",
        "iam:GetGroupPolicy",
        "iam:ListAttachedGroupPolicies",
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
    ];
    if request.methods.contains(&WantedMethod::RestrictedInstanceRole) {
        vec![allow("KeymakerReadPolicies", &actions, json!("*"))]
    } else {
        Vec::new()
    }
}

/// For an SCP, a permissions boundary or a group of everybody: nobody changes the SSH keys of others, nor by a tag what
/// else hosts may go by, their own uid, home or last day included. `${aws:username}` is the caller's own name; a role has
/// none, so every key is another's to it (IAM User Guide, policy variables and their defaults).
pub fn guard_policy(allowed: &[String]) -> Value {
    let own = ["user/", "user/*/"].map(|path| format!("arn:*:iam::*:{path}${{aws:username, 'no-user'}}"));
    let denies = |sid: &str, actions: &[&str], (whom, users): (&str, Value), mut condition: Value| {
        if let (false, Some(fields)) = (allowed.is_empty(), condition.as_object_mut()) {
            fields.insert("ArnNotLike".to_owned(), json!({ "aws:PrincipalArn": allowed }));
        }
        let mut statement = json!({ "Sid": sid, "Effect": "Deny", "Action": actions, whom: users });
        if let (true, Some(fields)) = (condition != json!({}), statement.as_object_mut()) {
            fields.insert("Condition".to_owned(), condition);
        }
        statement
    };
    let others = || ("NotResource", json!(own));
    // A tag's key has any case in IAM, and StringLike tells cases apart.
    let ssh_keys = [format!("{NAME_BEGINS}*"), "????????:???-???-*".to_owned()];
    document(vec![
        denies(
            "KeymakerGuardSSHKeys",
            &["iam:UploadSSHPublicKey", "iam:UpdateSSHPublicKey"],
            others(),
            json!({}),
        ),
        denies(
            "KeymakerGuardSSHKeysInTags",
            &TAGGING,
            others(),
            json!({ "ForAnyValue:StringLike": { "aws:TagKeys": ssh_keys } }),
        ),
        denies(
            "KeymakerGuardIdentity",
            &TAGGING,
            ("Resource", json!("arn:*:iam::*:user/*")),
            json!({ "ForAnyValue:StringEqualsIgnoreCase": { "aws:TagKeys": [UID_TAG, "uid", "home", "shell", "gecos", "expires"] } }),
        ),
    ])
}

const TAGGING: [&str; 2] = ["iam:TagUser", "iam:UntagUser"];

/// For a group of everybody: all that `upload-key`, `list-keys` and the three that change a key ask for one's own user,
/// and no other tag than those with keys, since hosts may go by uid, home, expires and the like.
pub fn self_service_policy() -> Value {
    let own = ["user/", "user/*/"].map(|path| format!("arn:*:iam::*:{path}${{aws:username}}"));
    let keys = [
        "iam:UploadSSHPublicKey",
        "iam:UpdateSSHPublicKey",
        "iam:DeleteSSHPublicKey",
        "iam:ListSSHPublicKeys",
        "iam:GetSSHPublicKey",
        "iam:ListUserTags",
    ];
    let mut tags = allow("KeymakerOwnSSHKeysInTags", &TAGGING, json!(own));
    if let Some(fields) = tags.as_object_mut() {
        // ForAllValues is true of a request that names no tag at all.
        let condition = json!({
            "ForAllValues:StringLike": { "aws:TagKeys": format!("{NAME_BEGINS}*") }, "Null": { "aws:TagKeys": "false" },
        });
        fields.insert("Condition".to_owned(), condition);
    }
    document(vec![allow("KeymakerOwnSSHKeys", &keys, json!(own)), tags])
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLVER: &str = "arn:aws:iam::210987654321:role/KeymakerIdResolver";

    fn request(grade: u8, methods: &[WantedMethod], id_resolver: Option<&str>) -> Request {
        Request {
            role: "arn:aws:iam::123456789012:role/web".parse().unwrap(),
            id_resolver: id_resolver.map(|role| role.parse().unwrap()),
            grade,
            logins: false,
            methods: methods.to_vec(),
            shared_role: None,
            user_role_pattern: "user-*".to_owned(),
            require_iam_group: None,
            username_suffix: None,
            group_prefix: None,
            policy_name: None,
        }
    }

    #[test]
    fn a_grade_allows_what_it_asks_and_no_more() {
        for (grade, all, details) in [(3, false, false), (2, true, false), (1, true, true)] {
            let policy = of(&request(grade, &[], None)).instances.policy.to_string();
            assert_eq!(policy.contains("iam:ListUsers"), all, "{grade}");
            assert_eq!(
                policy.contains("iam:GetAccountAuthorizationDetails"),
                details,
                "{grade}"
            );
            assert!(!policy.contains("sts:AssumeRole"));
        }
    }

    #[test]
    fn hosts_with_logins_by_proof_may_read_in_the_users_account_who_the_issuer_is_and_others_may_not() {
        const INFO: &str = "iam:GetOutboundWebIdentityFederationInfo";
        for (logins, resolver) in [(true, None), (true, Some(RESOLVER)), (false, None)] {
            let wanted = of(&Request {
                logins,
                ..request(3, &[], resolver)
            });
            let users = wanted.users.as_ref().unwrap_or(&wanted.instances);
            assert_eq!(users.policy.to_string().contains(INFO), logins);
            assert!(resolver.is_none() || !wanted.instances.policy.to_string().contains(INFO));
        }
    }

    #[test]
    fn the_role_trusts_itself_only_where_a_method_needs_it() {
        assert!(!of(&request(2, &[WantedMethod::UserRole], None)).instances.trusts_itself);
        assert!(
            of(&request(2, &[WantedMethod::InstanceRole], None))
                .instances
                .trusts_itself
        );
    }

    #[test]
    fn across_accounts_the_instances_read_no_users_but_assume_the_resolver() {
        let wanted = of(&request(2, &[], Some(RESOLVER)));
        let policy = wanted.instances.policy.to_string();
        assert!(
            !policy.contains("iam:ListUsers") && policy.contains("role/KeymakerIdResolver"),
            "{policy}"
        );
        let users = wanted.users.unwrap();
        assert!(users.policy.to_string().contains("iam:ListUsers"));
        assert!(users.trust.to_string().contains("arn:aws:iam::123456789012:role/web"));
    }

    #[test]
    fn no_two_roles_have_a_policy_in_common() {
        let named = |role: &str, users: Option<&str>| {
            let role = role.parse().unwrap();
            of(&Request {
                role,
                ..request(2, &[], users)
            })
        };
        let [web, db] = [
            "arn:aws:iam::123456789012:role/web",
            "arn:aws:iam::123456789012:role/db",
        ]
        .map(|role| named(role, Some(RESOLVER)));
        assert_ne!(web.instances.policy_name, db.instances.policy_name);
        let (web, db) = (web.users.unwrap(), db.users.unwrap());
        assert!(web.role == db.role && web.policy_name != db.policy_name);
    }

    #[test]
    fn the_guard_denies_all_but_ones_own_user_and_the_named() {
        let policy = guard_policy(&["arn:aws:iam::1:role/admin".to_owned()]).to_string();
        assert!(
            policy.contains("NotResource") && policy.contains("ArnNotLike"),
            "{policy}"
        );
        assert!(!guard_policy(&[]).to_string().contains("ArnNotLike"));
    }

    #[test]
    fn the_guard_reaches_the_tags_that_hosts_go_by_and_every_statement_spares_the_named() {
        let policy = guard_policy(&["arn:aws:iam::1:role/admin".to_owned()]);
        let statements = policy["Statement"].as_array().unwrap();
        assert_eq!(statements.len(), 3);
        assert!(statements.iter().all(|one| one["Condition"]["ArnNotLike"].is_object()));
        let tags = |at: usize, how: &str| statements[at]["Condition"][how]["aws:TagKeys"].to_string();
        assert!(tags(1, "ForAnyValue:StringLike").contains("keymaker:ssh-key-*"));
        for tag in [UID_TAG, "uid", "home", "shell", "gecos", "expires"] {
            assert!(tags(2, "ForAnyValue:StringEqualsIgnoreCase").contains(&format!("\"{tag}\"")));
        }
    }

    #[test]
    fn who_may_tag_themselves_may_by_this_set_keys_alone() {
        let policy = self_service_policy();
        let tags = &policy["Statement"][1];
        assert_eq!(tags["Action"], json!(TAGGING));
        assert_eq!(
            tags["Condition"],
            json!({ "ForAllValues:StringLike": { "aws:TagKeys": "keymaker:ssh-key-*" }, "Null": { "aws:TagKeys": "false" } })
        );
        let keys = policy["Statement"][0]["Action"].to_string();
        assert!(!keys.contains("iam:Tag") && !keys.contains('*'), "{keys}");
        assert!(
            policy["Statement"]
                .as_array()
                .unwrap()
                .iter()
                .all(|one| one["Resource"].to_string().contains("${aws:username}"))
        );
    }
}
