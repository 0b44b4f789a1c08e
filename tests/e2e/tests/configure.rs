//! `keymaker configure` on a fake AWS that holds its callers to their policies: a host with the role lets users in, a
//! second run changes nothing, `--undo` leaves nothing behind.

use e2e::{Host, iam, run, sh, ssh};

/// As the account's administrator.
fn configure(options: &str) -> String {
    sh(&format!(
        "sandbox-admin keymaker configure --instance-iam-role sandbox-instance {options}"
    ))
}

/// All that an account has of roles and policies.
fn account(admin: &str) -> String {
    sh(&format!(
        "{admin} aws iam get-role --role-name sandbox-instance --query 'Role.[Description,AssumeRolePolicyDocument]' | jq -S .; \
         {admin} aws iam list-roles --query 'Roles[].RoleName'; {admin} aws iam list-policies --scope Local --query 'Policies[].Arn'; \
         {admin} aws iam list-instance-profiles --query 'InstanceProfiles[].InstanceProfileName'"
    ))
}

const RIGHTS_AWAY: &str = "for p in $(sandbox-admin aws iam list-role-policies --role-name sandbox-instance --query 'PolicyNames[]' --output text); do \
                           sandbox-admin aws iam delete-role-policy --role-name sandbox-instance --policy-name $p; done";

#[test]
fn a_host_whose_role_was_configured_lets_its_users_in_and_undo_leaves_nothing() {
    let host = Host::unstarted();
    sh(RIGHTS_AWAY);
    let before = account("sandbox-admin");
    let planned = configure("--require-iam-group prod_ssh_users --method instance-role --dry-run");
    assert!(
        planned.contains("+keymaker_require_iam_group=prod_ssh_users"),
        "{planned}"
    );
    assert_eq!(account("sandbox-admin"), before, "--dry-run changed something");

    for grade in [3, 2, 1] {
        configure(&format!(
            "--require-iam-group prod_ssh_users --method instance-role --grade {grade}"
        ));
    }
    configure("--require-iam-group prod_ssh_users --method instance-role --remove");
    let again = configure("--require-iam-group prod_ssh_users --method instance-role");
    assert_eq!(again, "Nothing to change.");
    host.start();
    assert!(sh("keymaker status").contains("grade            2"));
    ssh("alice", "true").ok();
    ssh("carol", "true").refused();

    configure("--undo --yes");
    assert_eq!(account("sandbox-admin"), before);
    assert_eq!(configure("--undo --yes"), "Nothing to change.");
}

/// What `options` are refused with.
fn configure_refused(options: &str) -> String {
    let refused = run(&format!(
        "sandbox-admin keymaker configure --instance-iam-role sandbox-instance {options}"
    ));
    refused.refused().stderr
}

#[test]
fn configuring_another_role_takes_nothing_from_the_first() {
    let host = Host::unstarted();
    sh(RIGHTS_AWAY);
    let before = account("sandbox-admin");
    // As the former version did it, with one policy for all.
    configure("--instance-iam-policy KeymakerInstanceIAMReadAccess");
    host.start();
    ssh("alice", "true").ok();
    let db = "sandbox-admin keymaker configure --instance-iam-role db";
    sh(&format!(
        "{db} --instance-iam-policy KeymakerInstanceIAMReadAccess --remove"
    ));
    assert!(
        run("keymaker sync")
            .refused()
            .reads()
            .contains("iam:GetRole was denied")
    );
    let policies =
        || sh("sandbox-admin aws iam list-policies --scope Local --query 'Policies[].PolicyName' --output text");
    // Which repairs it, and takes nothing from the other.
    configure("");
    host.sync();
    ssh("alice", "true").ok();
    sh(db);
    assert_eq!(
        policies().split_whitespace().collect::<std::collections::BTreeSet<_>>(),
        [
            "KeymakerInstanceIAMReadAccess-db",
            "KeymakerInstanceIAMReadAccess-sandbox-instance"
        ]
        .into()
    );
    assert_eq!(configure(""), "Nothing to change.");
    sh(&format!("{db} --undo --yes"));
    host.sync();
    ssh("alice", "true").ok();
    configure("--undo --yes");
    assert_eq!(account("sandbox-admin"), before);
}

#[test]
fn what_a_role_has_goes_only_on_demand_and_what_is_not_there_is_refused() {
    let _host = Host::unstarted();
    sh(RIGHTS_AWAY);
    let before = account("sandbox-admin");
    configure("--require-iam-group prod_ssh_users --grade 1");
    let made = account("sandbox-admin");
    for (options, why) in [
        ("--grade 1", "keymaker_require_iam_group=prod_ssh_users"),
        (
            "--require-iam-group prod_ssh_users",
            "iam:GetAccountAuthorizationDetails on *",
        ),
        ("", "say --remove"),
        ("--require-iam-group nosuch --grade 1", "IAM has no group nosuch"),
        (
            "--require-iam-group 'prod ssh_users' --grade 1",
            "IAM has names of 1 to 128",
        ),
        ("--username-suffix '@a b'", "a name ends in"),
        ("--username-suffix ''", "a name ends in"),
        ("--method shared-role --shared-role all", "write it as arn:PARTITION"),
        (
            "--method shared-role --shared-role arn:aws:iam::123456789012:role/nosuch",
            "IAM has no role arn:aws:iam::123456789012:role/nosuch: create it first",
        ),
        (
            "--method shared-role --shared-role arn:aws:iam::123456789012:role/team/user-alice",
            "the role of that name is arn:aws:iam::123456789012:role/user-alice",
        ),
        (
            "--shared-role arn:aws:iam::123456789012:role/user-alice",
            "--shared-role has no effect without --method shared-role",
        ),
        (
            "--user-role-pattern 'user-*'",
            "--user-role-pattern has no effect without --method user-role",
        ),
        ("--method user-role --user-role-pattern '*'", "one * for the user's"),
        ("--method user-role --user-role-pattern user", "one * for the user's"),
        ("--instance-iam-policy 'a b'", "IAM has names of 1 to 128"),
    ] {
        let refused = configure_refused(options);
        assert!(refused.contains(why), "{options}: {refused}");
        assert_eq!(account("sandbox-admin"), made, "{options} changed something");
    }
    assert!(configure("--dry-run").contains("-keymaker_require_iam_group=prod_ssh_users"));
    configure("--remove");
    assert_eq!(configure(""), "Nothing to change.");
    configure("--undo --yes");
    assert_eq!(account("sandbox-admin"), before);
    let refused = run("keymaker configure --guard-policy --allow alice").refused().stderr;
    assert!(refused.contains("the ARN of a user or role"), "{refused}");
    // Roles of users may come later; that there are none yet is said.
    let planned = |pattern: &str| {
        run(&format!(
            "sandbox-admin keymaker configure --instance-iam-role sandbox-instance --dry-run --method user-role --user-role-pattern '{pattern}'"
        ))
    };
    let (some, none) = (planned("user-*"), planned("people/user-*"));
    assert!((some.status, none.status) == (0, 0), "{some}\n{none}");
    assert!(
        !some.stderr.contains("no role of account") && none.stderr.contains("is called people/user-*"),
        "{some}\n{none}"
    );
}

#[test]
fn a_role_that_is_made_reaches_instances_by_a_profile_and_lets_users_in() {
    let host = Host::unstarted();
    let before = account("sandbox-admin");
    let line = "sandbox-admin keymaker configure --instance-iam-role web --require-iam-group prod_ssh_users";
    let planned = sh(&format!("{line} --dry-run"));
    assert!(planned.contains("create instance profile web"), "{planned}");
    assert_eq!(account("sandbox-admin"), before, "--dry-run changed something");
    sh(line);
    assert_eq!(
        iam("get-instance-profile --instance-profile-name web --query InstanceProfile.Roles[0].RoleName --output text"),
        "web"
    );
    assert_eq!(sh(line), "Nothing to change.");
    sh("sandbox-imds set role web");
    host.start();
    assert!(sh("keymaker status").contains("with role web"));
    ssh("alice", "true").ok();
    ssh("carol", "true").refused();
    sh(&format!("{line} --undo --yes"));
    assert_eq!(account("sandbox-admin"), before);
    assert_eq!(sh(&format!("{line} --undo --yes")), "Nothing to change.");
}

// P3
#[test]
fn a_replaced_profile_counts_from_the_next_sync_and_is_reported() {
    let host = Host::fresh();
    ssh("carol", "true").ok();
    sh("sandbox-admin keymaker configure --instance-iam-role web --require-iam-group prod_ssh_users");
    sh("sandbox-imds set role web");
    host.sync();
    assert!(sh("keymaker status").contains("with role web"));
    ssh("carol", "true").refused();
    ssh("alice", "true").ok();
    let reported = || sh("jq -r '.pending_settings[]' /run/keymaker/status.json");
    assert!(
        reported().contains("keymaker_require_iam_group=prod_ssh_users"),
        "{}",
        reported()
    );
    sh("keymaker accept-settings");
    assert_eq!(reported(), "");
    ssh("carol", "true").refused();
}

#[test]
fn users_of_another_account_log_in_once_both_are_configured() {
    let host = Host::unstarted();
    let other = "sandbox-admin --account 210987654321";
    let before = (account("sandbox-admin"), account(&format!("{other} env")));
    sh(&format!(
        "mkdir -p ~/.aws; for n in users inst; do echo \"[$n]\"; case $n in users) a='{other}';; *) a=sandbox-admin;; esac
         $a env | sed -nE 's/^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)=/aws_\\L\\1\\E=/p'; done > ~/.aws/credentials
         {other} aws iam create-user --user-name zoe
         {other} aws iam upload-ssh-public-key --user-name zoe --ssh-public-key-body \"$(sandbox-key zoe)\""
    ));
    let line = "keymaker configure --profile users --cross-account-profile inst --instance-iam-role sandbox-instance";
    let refused = run(&format!("{line} --id-resolver-iam-role 'sandbox instance'"))
        .refused()
        .stderr;
    assert!(refused.contains("--id-resolver-iam-role: "), "{refused}");
    assert_eq!((account("sandbox-admin"), account(&format!("{other} env"))), before);
    sh(line);
    assert_eq!(sh(line), "Nothing to change.");
    host.start();
    ssh("zoe", "true").ok();
    sh(&format!("{line} --undo --yes"));
    let after = (account("sandbox-admin"), account(&format!("{other} env")));
    sh("rm -r ~/.aws");
    assert_eq!(after, before);
}

#[test]
fn a_missing_permission_and_a_role_elsewhere_name_the_remedy() {
    let _host = Host::fresh();
    let refused = run("keymaker configure --instance-iam-role sandbox-instance").refused();
    assert!(
        refused.stderr.contains("ask for a policy that allows iam:GetPolicy"),
        "{refused}"
    );
    let refused =
        run("sandbox-admin keymaker configure --instance-iam-role arn:aws:iam::210987654321:role/web").refused();
    assert!(refused.stderr.contains("--cross-account-profile"), "{refused}");
}

#[test]
fn the_same_is_printed_as_templates_and_the_guard_as_a_policy() {
    let _host = Host::fresh();
    for (options, filter) in [
        (
            "--print cloudformation",
            ".Resources.KeymakerPolicy.Properties.PolicyDocument.Statement | length",
        ),
        (
            "--print terraform",
            ".resource.aws_iam_policy.keymaker.policy | fromjson | .Statement | length",
        ),
    ] {
        assert_eq!(
            sh(&format!(
                "sandbox-admin keymaker configure --instance-iam-role web {options} | jq '{filter}'"
            )),
            "2"
        );
    }
    let guard = "keymaker configure --guard-policy --allow 'arn:aws:iam::*:role/admin' | jq -r '.Statement[0] | .Effect, .Action[]'";
    assert_eq!(sh(guard), "Deny\niam:UploadSSHPublicKey\niam:UpdateSSHPublicKey");
    let nobody = run("keymaker configure --guard-policy");
    assert!(
        nobody.status == 0 && nobody.stderr.contains("lets nobody change another user's SSH keys"),
        "{nobody}"
    );
}
