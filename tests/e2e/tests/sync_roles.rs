//! `keymaker sync-roles` on a fake AWS that holds every caller to policies and trust: what the roles that it makes are
//! worth to the users of a host whose credd goes by them, and which roles it refuses.

use std::fs;

use e2e::{Host, Outcome, iam, run, sh, ssh};

const SYNC: &str = "sandbox-admin keymaker sync-roles --instance-iam-role sandbox-instance";

fn sync(options: &str) -> Outcome {
    run(&format!("{SYNC} {options}"))
}

/// An account whose roles user-alice and user-bob are not there yet, and a credd that takes only roles that sync-roles
/// made.
fn fresh() -> Host {
    let host = Host::fresh();
    for user in ["alice", "bob"] {
        iam(&format!(
            "delete-role-policy --role-name user-{user} --policy-name own-keys"
        ));
        iam(&format!("delete-role --role-name user-{user}"));
    }
    let path = "/etc/keymaker/credd.toml";
    let settings = fs::read_to_string(path).expect("the settings are there");
    if !settings.contains("create_user_role") {
        fs::write(path, format!("{settings}default_chain = [\"create_user_role\"]\n")).expect("they can be written");
    }
    sh("systemctl restart credd");
    host
}

fn document(effect: &str, action: &str, resource: &str) -> String {
    format!(
        r#"'{{"Version": "2012-10-17", "Statement": [{{"Effect": "{effect}", "Action": "{action}", "Resource": "{resource}"}}]}}'"#
    )
}

fn make_policy(name: &str) -> String {
    let document = document("Allow", "iam:ListUsers", "*");
    iam(&format!(
        "create-policy --policy-name {name} --policy-document {document} --query Policy.Arn --output text"
    ))
}

/// What alice's role has: ARNs attached, what its inline policies allow or deny, its boundary.
fn role_of_alice() -> String {
    let details = "get-account-authorization-details --filter Role --query 'RoleDetailList[?RoleName==`user-alice`]'";
    sh(&format!(
        "sandbox-admin aws iam {details} | jq -r '.[0] | (.AttachedManagedPolicies[].PolicyArn),
         (.RolePolicyList[].PolicyDocument.Statement[] | .Effect + \" \" + .Action), (.PermissionsBoundary.PermissionsBoundaryArn // empty)' | sort"
    ))
}

fn identity(user: &str) -> Outcome {
    ssh(user, "aws sts get-caller-identity --query Arn --output text")
}

/// What credd says that a user gets, or why nothing.
fn why(user: &str) -> String {
    sh(&format!(
        "curl -sS --unix-socket /run/keymaker-credd/status.sock http://credd/why/$(id -u {user})"
    ))
}

#[test]
fn a_user_gets_the_role_that_was_made_with_the_users_own_rights() {
    let _host = fresh();
    identity("alice").refused();
    let keys = document("Allow", "iam:ListSSHPublicKeys", "arn:aws:iam::*:user/alice");
    iam(&format!(
        "put-user-policy --user-name alice --policy-name keys --policy-document {keys}"
    ));

    let planned = sync("--user alice --dry-run").ok();
    assert!(
        planned.contains("create role user-alice") && planned.contains("Nothing was changed"),
        "{planned}"
    );
    run("sandbox-admin aws iam get-role --role-name user-alice").refused();
    sync("").ok();
    sh("systemctl restart credd");
    assert_eq!(
        identity("alice").ok(),
        "arn:aws:sts::123456789012:assumed-role/user-alice/alice"
    );
    assert!(why("alice").contains(r#""method":"create_user_role""#));
    ssh("alice", "aws iam list-ssh-public-keys --user-name alice").ok();
    ssh("alice", "aws iam list-ssh-public-keys --user-name bob").refused();
    // carol has no policy: a role, and no rights.
    assert!(identity("carol").ok().contains("user-carol"));
    ssh("carol", "aws iam list-ssh-public-keys --user-name carol").refused();

    assert!(sync("").ok().starts_with("Nothing to change."));
    assert_eq!(
        sh(&format!("{SYNC} --json | jq -c '[.changed, .in_step, .refused]'")),
        "[false,4,[]]"
    );
    assert_eq!(sync("--trust account --user alice").status, 0);
    assert!(sh("sandbox-admin aws iam get-role --role-name user-alice").contains("arn:aws:iam::123456789012:root"));
    ssh("alice", "aws iam list-ssh-public-keys --user-name alice").ok();
}

#[test]
fn one_run_brings_each_change_of_policies_to_the_role() {
    let _host = fresh();
    let (own, of_group, boundary) = (make_policy("own"), make_policy("of-group"), make_policy("boundary"));
    let inline = |action: &str| document("Allow", action, "*");
    sync("").ok();
    assert_eq!(role_of_alice(), "");
    let given = [
        (
            format!("attach-user-policy --user-name alice --policy-arn {own}"),
            own.clone(),
        ),
        (
            format!("attach-group-policy --group-name keymaker_devs --policy-arn {of_group}"),
            of_group.clone(),
        ),
        (
            format!(
                "put-user-policy --user-name alice --policy-name same --policy-document {}",
                inline("s3:Get*")
            ),
            "Allow s3:Get*".to_owned(),
        ),
        // Of the same name in two groups: neither replaces the other.
        (
            format!(
                "put-group-policy --group-name keymaker_devs --policy-name same --policy-document {}",
                inline("ec2:*")
            ),
            "Allow ec2:*".to_owned(),
        ),
        (
            format!(
                "put-group-policy --group-name keymaker_sudo --policy-name same --policy-document {}",
                document("Deny", "sqs:*", "*")
            ),
            "Deny sqs:*".to_owned(),
        ),
        (
            format!("put-user-permissions-boundary --user-name alice --permissions-boundary {boundary}"),
            boundary.clone(),
        ),
    ];
    let mut expected = Vec::new();
    for (command, shown) in &given {
        iam(command);
        sync("--user alice").ok();
        expected.push(shown.clone());
        expected.sort();
        assert_eq!(role_of_alice(), expected.join("\n"), "after {command}");
    }
    // Changed in place.
    iam(&format!(
        "put-user-policy --user-name alice --policy-name same --policy-document {}",
        inline("s3:Put*")
    ));
    sync("").ok();
    assert!(role_of_alice().contains("Allow s3:Put*") && !role_of_alice().contains("s3:Get*"));

    let taken = [
        format!("detach-user-policy --user-name alice --policy-arn {own}"),
        "delete-user-policy --user-name alice --policy-name same".to_owned(),
        "remove-user-from-group --user-name alice --group-name keymaker_devs".to_owned(),
        "delete-group-policy --group-name keymaker_sudo --policy-name same".to_owned(),
        "delete-user-permissions-boundary --user-name alice".to_owned(),
    ];
    for (command, left) in taken.iter().zip([5, 4, 2, 1, 0]) {
        iam(command);
        sync("").ok();
        assert_eq!(
            role_of_alice().lines().count(),
            left,
            "after {command}: {}",
            role_of_alice()
        );
    }
}

#[test]
fn a_full_role_is_changed_without_a_moment_in_which_it_allows_more() {
    let _host = fresh();
    let policies: Vec<String> = (0..20).map(|number| make_policy(&format!("p{number}"))).collect();
    let attach = |arn: &String, how: &str| iam(&format!("{how}-user-policy --user-name alice --policy-arn {arn}"));
    for arn in &policies[..10] {
        attach(arn, "attach");
    }
    sync("").ok();
    for (old, new) in policies[..10].iter().zip(&policies[10..]) {
        attach(old, "detach");
        attach(new, "attach");
    }
    let changes = sh(&format!("{SYNC} --json | jq -r '.changes[].change'"));
    let lines: Vec<&str> = changes.lines().collect();
    assert_eq!(lines.first(), lines.last(), "{changes}");
    assert!(
        lines.first().is_some_and(|line| line.contains("keymaker-refused")),
        "{changes}"
    );
    let mut expected = policies[10..].to_vec();
    expected.sort();
    assert_eq!(role_of_alice(), expected.join("\n"));
}

#[test]
fn the_policy_that_it_prints_is_all_that_it_needs_and_reaches_no_other_role() {
    let _host = fresh();
    let policy = sync("--print-policy").ok();
    fs::write("/tmp/policy.json", policy).expect("/tmp can be written");
    let trust = r#"'{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "123456789012"}}]}'"#;
    iam(&format!(
        "create-role --role-name syncer --assume-role-policy-document {trust}"
    ));
    iam("put-role-policy --role-name syncer --policy-name own --policy-document file:///tmp/policy.json");
    let as_syncer = |line: &str| {
        run(&format!(
            "set -e; read -r AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN < <(sandbox-admin aws sts assume-role \
             --role-arn arn:aws:iam::123456789012:role/syncer --role-session-name test --output text \
             --query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]')
             export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN; {line}"
        ))
    };
    let command = "keymaker sync-roles --instance-iam-role sandbox-instance";
    let (own, edge) = (make_policy("own"), make_policy("edge"));
    let inline = document("Allow", "s3:*", "*");
    e2e::make_user("dave", &[]);
    for change in [
        format!("put-user-policy --user-name alice --policy-name inline --policy-document {inline}"),
        format!("attach-user-policy --user-name alice --policy-arn {own}"),
        format!("put-user-permissions-boundary --user-name alice --permissions-boundary {edge}"),
        "delete-user-policy --user-name alice --policy-name inline".to_owned(),
        format!("detach-user-policy --user-name alice --policy-arn {own}"),
        "delete-user-permissions-boundary --user-name alice".to_owned(),
    ] {
        iam(&change);
        let done = as_syncer(command).ok();
        assert!(done.contains("Done."), "{change}: {done}");
    }
    as_syncer(&format!("{command} --trust account")).ok();
    e2e::delete_user("dave");
    as_syncer(&format!("{command} --prune --yes")).ok();
    run("sandbox-admin aws iam get-role --role-name user-dave").refused();
    let other = as_syncer("aws iam delete-role-policy --role-name sandbox-instance --policy-name keymaker").refused();
    assert!(other.reads().contains("AccessDenied"), "{other}");
}

#[test]
fn the_timer_makes_the_roles_with_credentials_of_its_own_and_is_off_by_default() {
    let _host = fresh();
    run("systemctl is-enabled keymaker-sync-roles.timer").refused();
    run("systemctl start keymaker-sync-roles.service").refused();
    // The words of keymaker(1).
    sh(
        "set -e; install -m 0644 /dev/stdin /etc/keymaker/sync-roles.env <<END
OPTIONS=--instance-iam-role sandbox-instance --user alice
AWS_REGION=us-east-1
$(grep AWS_ENDPOINT_URL /etc/environment)
END
sandbox-admin sh -c 'printf \"[default]\\naws_access_key_id=%s\\naws_secret_access_key=%s\\n\" $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY' > /root/credentials
install -m 0600 /root/credentials /etc/keymaker/sync-roles.aws",
    );
    run("sandbox-admin aws iam get-role --role-name user-alice").refused();
    sh("systemctl enable --now keymaker-sync-roles.timer; systemctl start keymaker-sync-roles.service");
    run("sandbox-admin aws iam get-role --role-name user-alice").ok();
    run("systemctl is-active keymaker-sync-roles.timer").ok();
    sh("systemctl disable --now keymaker-sync-roles.timer; rm /etc/keymaker/sync-roles.* /root/credentials");
}

// P18
#[test]
fn an_interrupted_run_gives_nobody_what_the_rest_of_it_would_have_denied() {
    let denial = {
        let document = document("Deny", "iam:ListUsers", "*");
        move || {
            iam(&format!(
                "create-policy --policy-name no-list --policy-document {document} --query Policy.Arn --output text"
            ))
        }
    };
    // The calls of an administrator's never fail here, so this one is the instance's.
    let allowed =
        r#"'{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}]}'"#;
    let command = "keymaker sync-roles --instance-iam-role sandbox-instance --user alice";
    for (fault, how) in [
        ("hang:AttachRolePolicy", "timeout -s KILL 12"),
        ("down:AttachRolePolicy", "timeout 50"),
        ("throttle:AttachRolePolicy", "timeout 50"),
    ] {
        let _host = fresh();
        iam(&format!(
            "put-role-policy --role-name sandbox-instance --policy-name sync --policy-document {allowed}"
        ));
        sync("--user alice").ok();
        sh("systemctl restart credd");
        iam(&format!(
            "put-user-policy --user-name alice --policy-name list --policy-document {}",
            document("Allow", "iam:List*", "*")
        ));
        iam(&format!(
            "attach-user-policy --user-name alice --policy-arn {}",
            denial()
        ));
        sh(&format!("sandbox-fault {fault}"));
        let interrupted = run(&format!("{how} {command}"));
        assert_ne!(interrupted.status, 0, "{fault}: {interrupted}");
        assert!(
            fault.starts_with("hang") || e2e::calls("AttachRolePolicy") > 0,
            "{fault}: it got as far as that: {interrupted}"
        );
        sh("sandbox-fault none");
        ssh("alice", "aws iam list-users").refused();
        sync("--user alice").ok();
        ssh("alice", "aws iam list-users").refused();
        ssh("alice", "aws iam list-groups").ok();
    }
}

// P18
#[test]
fn a_role_that_others_may_assume_is_refused_by_both_programs() {
    let _host = fresh();
    sync("").ok();
    sh("systemctl restart credd");
    identity("bob").ok();
    let own = "arn:aws:iam::123456789012:role/sandbox-instance";
    let trust = format!(
        r#"'{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {{"AWS": ["{own}", "arn:aws:iam::210987654321:root"]}}}}]}}'"#
    );
    iam(&format!(
        "update-assume-role-policy --role-name user-bob --policy-document {trust}"
    ));
    iam(&format!(
        "put-user-policy --user-name bob --policy-name new --policy-document {}",
        document("Allow", "s3:*", "*")
    ));
    let refused = sync("").refused();
    assert_eq!(refused.status, 1, "{refused}");
    assert!(
        refused.stdout.contains("refused bob: ") && refused.stdout.contains("may be assumed by others"),
        "{refused}"
    );
    assert!(!sh("sandbox-admin aws iam list-role-policies --role-name user-bob").contains("new"));
    sh("systemctl restart credd");
    identity("bob").refused();
    assert!(why("bob").contains("and nobody else"), "{}", why("bob"));
    identity("alice").ok();
    // As if alice had been deleted and created again.
    iam("tag-role --role-name user-alice --tags Key=keymaker:user-id,Value=AIDAFORMER");
    sh("systemctl restart credd");
    identity("alice").refused();
    assert!(
        why("alice").contains("was made for the IAM user AIDAFORMER"),
        "{}",
        why("alice")
    );
}

#[test]
fn a_role_that_somebody_else_made_is_left_alone_until_it_is_handed_over() {
    let _host = Host::fresh();
    let refused = sync("--user alice").refused();
    assert!(refused.stdout.contains("somebody else made it"), "{refused}");
    assert_eq!(role_of_alice(), "Allow iam:ListSSHPublicKeys");
    let remedy = sh(&format!("{SYNC} --user alice --json | jq -r '.refused[0].why'"));
    let (_, remedy) = remedy.split_once("go: ").expect("the remedy is said");
    sh(&format!("sandbox-admin {remedy}"));
    sync("--user alice").ok();
    assert_eq!(role_of_alice(), "");
}

// P18
#[test]
fn a_deny_that_a_role_cannot_express_takes_everything_until_it_is_said_otherwise() {
    let _host = fresh();
    iam(&format!(
        "put-user-policy --user-name alice --policy-name all --policy-document {}",
        document("Allow", "iam:*", "*")
    ));
    sync("").ok();
    sh("systemctl restart credd");
    ssh("alice", "aws iam list-ssh-public-keys --user-name bob").ok();
    let bound = document("Deny", "iam:*", "arn:aws:iam::*:user/${aws:username}");
    iam(&format!(
        "put-group-policy --group-name keymaker_devs --policy-name bound --policy-document {bound}"
    ));
    let refused = sync("").refused();
    assert!(
        refused
            .stdout
            .contains("refused alice: the user's policies go by aws:username"),
        "{refused}"
    );
    ssh("alice", "aws iam list-ssh-public-keys --user-name bob").refused();
    iam("delete-group-policy --group-name keymaker_devs --policy-name bound");
    sync("").ok();
    ssh("alice", "aws iam list-ssh-public-keys --user-name bob").ok();
}

#[test]
fn the_role_of_somebody_who_is_gone_is_named_and_pruned() {
    let _host = fresh();
    e2e::make_user("dave", &[]);
    sync("").ok();
    e2e::delete_user("dave");
    assert!(sync("").ok().contains("gone arn:aws:iam::123456789012:role/user-dave"));
    iam("get-role --role-name user-dave");
    sync("--prune --yes").ok();
    run("sandbox-admin aws iam get-role --role-name user-dave").refused();
    // Created again under the same name, dave is somebody else.
    e2e::make_user("dave", &[]);
    sync("").ok();
    e2e::delete_user("dave");
    e2e::make_user("dave", &[]);
    let refused = sync("--user dave").refused();
    assert!(
        refused.stdout.contains("was made for another IAM user of that name"),
        "{refused}"
    );
}

#[test]
fn who_may_not_and_what_is_not_there_is_said_with_its_remedy() {
    let _host = Host::fresh();
    for (line, said) in [
        (
            "keymaker sync-roles --instance-iam-role sandbox-instance",
            "ask for a policy that allows iam:GetAccountAuthorizationDetails",
        ),
        (
            "sandbox-admin keymaker sync-roles --instance-iam-role sandbox-instance --user nosuch",
            "check the spelling",
        ),
    ] {
        let refused = run(line).refused();
        assert!(refused.status == 1 && refused.stderr.contains(said), "{refused}");
    }
}
