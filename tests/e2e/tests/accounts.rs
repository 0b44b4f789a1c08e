//! Where users come from and which numbers they get: the two id schemes, another account by the resolver's tokens, and
//! what the role's description may and may not change.

use std::time::Duration;

use e2e::{Host, describe_role, iam, order, run, sh, ssh, ssh_with_key, uid, until};

/// The formula of the Python keymaker, written down apart from our code: compat says 2000 + u16 / 2, the u16 being the
/// last two bytes of SHA-256 of the IAM id in little-endian order.
const PYTHON: &str = r"
import hashlib, sys
def formula(iam_id):
    return 2000 + int.from_bytes(hashlib.sha256(iam_id.encode('ascii')).digest()[-2:], 'little') // 2
assert formula('AKIAIJLRCB5E7CGTDF5A') == 26594, 'the published vector'
for iam_id in sys.argv[1:]:
    print(formula(iam_id))
";

fn by_python(ids: &[String]) -> Vec<u32> {
    let numbers = sh(&format!("python3 -c \"{PYTHON}\" {}", ids.join(" ")));
    numbers
        .lines()
        .map(|line| line.parse().expect("python prints numbers"))
        .collect()
}

#[test]
fn under_the_keymaker_scheme_ids_are_those_of_the_python_keymaker_and_its_published_vector() {
    let names: Vec<String> = (0..24).map(|n| format!("user{n}")).collect();
    let mut ids: Vec<String> = (0..24).map(|n| format!("AIDAQ6KAYIGT{:09}", n * 7919)).collect();
    ids[0] = "AKIAIJLRCB5E7CGTDF5A".into();
    let group_ids: Vec<String> = (0..6).map(|n| format!("AGPAQ6KAYIGT{:09}", n * 104_729)).collect();
    let users: Vec<String> = names
        .iter()
        .zip(&ids)
        .map(|(name, id)| format!(r#"{{"name": "{name}", "id": "{id}", "keys": []}}"#))
        .collect();
    let groups: Vec<String> = group_ids
        .iter()
        .enumerate()
        .map(|(n, id)| format!(r#"{{"name": "keymaker_team{n}", "id": "{id}"}}"#))
        .collect();
    let seed = format!(
        r#"{{"users": [{}], "groups": [{}]}}"#,
        users.join(", "),
        groups.join(", ")
    );
    let expected = by_python(&ids);
    let expected_gids = by_python(&group_ids);
    let host = Host::unstarted();
    host.reseed(&seed);
    host.add_settings("id_scheme = \"keymaker\"");
    host.start();
    for (name, expected) in names.iter().zip(&expected) {
        assert_eq!(uid(name), *expected, "{name}");
        assert_eq!(
            sh(&format!("getent passwd {expected} | cut -d: -f1,4")),
            format!("{name}:{expected}")
        );
    }
    assert_eq!(uid("user0"), 26594);
    for (n, expected) in expected_gids.iter().enumerate() {
        assert_eq!(sh(&format!("getent group team{n} | cut -d: -f3")), expected.to_string());
    }
}

const OTHER: &str = "210987654321";
const THIRD: &str = "345678901234";
const TOKENS: &str = "keymaker_id_resolver_account=210987654321, keymaker_id_resolver_iam_role=KeymakerIdResolver";
const OTHER_TOKENS: &str =
    "keymaker_id_resolver_account=345678901234, keymaker_id_resolver_iam_role=KeymakerIdResolver";

/// alice at home, olga in the second account, mallory in the third; each of the two has a role that trusts the
/// instance's.
fn three_accounts(description: &str) -> String {
    let reads = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": ["iam:GetUser",
        "iam:ListGroupsForUser", "iam:ListSSHPublicKeys", "iam:GetSSHPublicKey", "iam:ListGroups", "iam:GetGroup", "iam:ListUsers"]}]}"#;
    let resolver = |account: &str, user: &str| {
        format!(
            r#""{account}": {{"users": [{{"name": "{user}", "groups": ["keymaker_devs"]}}], "groups": [{{"name": "keymaker_devs"}}],
            "roles": [{{"name": "KeymakerIdResolver", "policies": {{"read": {reads}}}, "trust": {{"Version": "2012-10-17", "Statement":
            [{{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {{"AWS": "arn:aws:iam::123456789012:role/sandbox-instance"}}}}]}}}}]}}"#
        )
    };
    format!(
        r#"{{"users": [{{"name": "alice"}}],
        "roles": [{{"name": "sandbox-instance", "description": "{description}", "policies": {{"own": {{"Version": "2012-10-17", "Statement": [
            {{"Effect": "Allow", "Resource": "*", "Action": ["iam:Get*", "iam:List*", "sts:AssumeRole"]}}]}}}},
            "trust": {{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {{"Service": "ec2.amazonaws.com"}}}}]}}}}],
        "accounts": {{{}, {}}}}}"#,
        resolver(OTHER, "olga"),
        resolver(THIRD, "mallory")
    )
}

fn status(filter: &str) -> String {
    sh(&format!("jq -r '{filter}' /run/keymaker/status.json"))
}

#[test]
fn a_host_of_another_region_than_iams_reads_iam_at_a_configured_endpoint() {
    let host = Host::unstarted();
    sh("grep -q ^iam_endpoint /etc/keymaker/keymakerd.toml; sandbox-imds set region eu-central-1");
    host.start();
    ssh("alice", "true").ok();
    let listed = sh("sandbox-admin env AWS_REGION=eu-central-1 keymaker list-keys --user alice");
    assert!(listed.contains("Active"), "{listed}");
}

#[test]
fn users_live_in_the_account_that_the_resolver_tokens_name() {
    let _host = Host::with_seed(&three_accounts(TOKENS));
    assert_eq!(ssh("olga", "id -Gn; pwd").ok(), "olga keymaker-users devs\n/home/olga");
    for stranger in ["alice", "mallory"] {
        assert_eq!(run(&format!("getent passwd {stranger}")).stdout, "");
        ssh(stranger, "true").refused();
    }
    assert_eq!(status(".account"), OTHER);
    // Made a moment ago over there.
    sh(&format!(
        "a='sandbox-admin --account {OTHER} aws iam'; $a create-user --user-name oscar && $a upload-ssh-public-key --user-name oscar \
         --ssh-public-key-body \"$(sandbox-key oscar)\""
    ));
    ssh("oscar", "true").ok();
    // They stay across an outage of STS and a restart in it.
    sh("sandbox-fault 500:AssumeRole; systemctl restart keymakerd");
    ssh("olga", "true").ok();
    sh("sandbox-fault none");
}

// P3
#[test]
fn resolver_tokens_changed_to_a_third_account_change_nothing_until_an_administrator_accepts() {
    let host = Host::with_seed(&three_accounts(TOKENS));
    ssh("olga", "true").ok();
    let olga = uid("olga");
    describe_role(OTHER_TOKENS);
    for _ in 0..2 {
        host.sync();
    }
    sh("systemctl restart keymakerd");
    until("keymakerd has seen the change", Duration::from_secs(15), || {
        order("sync").starts_with("done ") && status(".pending_settings | length") == "1"
    });
    ssh("olga", "true").ok();
    ssh("mallory", "true").refused();
    assert!(status(".pending_settings[0]").contains(THIRD));
    assert!(sh("keymaker status").contains("keymaker accept-settings"));
    run("setpriv --reuid nobody --clear-groups keymaker accept-settings").refused();
    ssh("mallory", "true").refused();
    sh("keymaker accept-settings");
    until("mallory gets in", Duration::from_secs(15), || {
        ssh("mallory", "true").status == 0
    });
    ssh("olga", "true").refused();
    assert_eq!(status(".account"), THIRD);
    assert_eq!(status(".pending_settings | length"), "0");
    // Who olga was is still known.
    assert!(sh(&format!("keymaker who-was {olga}")).contains("olga"));
    run("keymaker accept-settings").refused();
}

// P3
#[test]
fn resolver_tokens_that_appear_or_vanish_change_nothing_until_an_administrator_accepts() {
    let host = Host::with_seed(&three_accounts(""));
    ssh("alice", "true").ok();
    describe_role(TOKENS);
    host.sync();
    ssh("alice", "true").ok();
    ssh("olga", "true").refused();
    sh("keymaker accept-settings");
    until("olga gets in", Duration::from_secs(15), || {
        ssh("olga", "true").status == 0
    });
    describe_role("");
    host.sync();
    ssh("olga", "true").ok();
    ssh("alice", "true").refused();
}

// P3
#[test]
fn a_resolver_role_that_trusts_this_host_no_longer_is_an_outage_and_nobody_disappears() {
    let _host = Host::with_seed(&three_accounts(TOKENS));
    ssh("olga", "true").ok();
    let before = sh("getent passwd olga; id olga");
    sh(&format!(
        "sandbox-admin --account {OTHER} aws iam update-assume-role-policy --role-name KeymakerIdResolver --policy-document \
         '{{\"Version\": \"2012-10-17\", \"Statement\": [{{\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRole\", \
         \"Principal\": {{\"AWS\": \"arn:aws:iam::{OTHER}:root\"}}}}]}}' && systemctl restart keymakerd"
    ));
    let pass = order("sync");
    assert!(pass.starts_with("failed "), "{pass}");
    assert_eq!(sh("getent passwd olga; id olga"), before);
    ssh("olga", "true").ok();
    until("the status says what failed", Duration::from_secs(40), || {
        sh("keymaker status").contains("last pass failed")
    });
    let status = sh("keymaker status");
    assert!(status.contains("role/KeymakerIdResolver"), "{status}");
    ssh("olga", "true").ok();
    assert_eq!(sh("getent passwd olga; id olga"), before);
}

// P3 P7
#[test]
fn a_role_description_full_of_rubbish_changes_nothing() {
    let host = Host::fresh();
    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.reload();
    ssh("carol", "true").refused();
    ssh("bob", "true").ok();
    let before = sh("getent passwd alice bob carol; id alice; id bob");
    for rubbish in [
        "keymaker_require_iam_group=prod/ssh;users keymaker_linux_user_suffix=%$!",
        "keymaker_id_resolver_account=12 keymaker_id_resolver_iam_role=../../etc",
        "keymaker_id_resolver_account=210987654321",
        "keymaker_id_resolver_iam_role=KeymakerIdResolver",
        "keymaker_require_iam_group=",
        "keymaker_require_iam_group==prod_ssh_users",
        "keymaker_require_iam_group",
        "keymaker_requireiamgroup=carols_friends, keymaker_=, keymaker==, =, ,,,, keymaker_x=y",
        "<script>alert(1)</script> {\"keymaker_require_iam_group\": null} \\ / ' \" ` $(reboot) %s%n",
        "",
    ] {
        describe_role(rubbish);
        let pass = order("sync");
        assert!(pass.starts_with("done "), "{rubbish}: {pass}");
        assert_eq!(
            sh("getent passwd alice bob carol; id alice; id bob"),
            before,
            "{rubbish}"
        );
        ssh("carol", "true").refused();
        ssh("bob", "true").ok();
    }
    // What it was, said again, leaves nothing pending.
    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.sync();
    assert_eq!(status(".pending_settings | length"), "0");
}

#[test]
fn every_token_of_the_python_keymaker_is_understood() {
    let host = Host::unstarted();
    host.reseed(
        r#"{"users": [{"name": "alice@example.com", "groups": ["unix-devs", "login"]}, {"name": "bob@example.com"}, {"name": "carol"}],
            "groups": [{"name": "unix-devs"}, {"name": "keymaker_others"}, {"name": "login"}]}"#,
    );
    describe_role(
        "The role of our hosts keymaker_require_iam_group='login', keymaker_linux_user_suffix=@example.com keymaker_linux_group_prefix=\"unix-\"",
    );
    host.start();
    let login = |user: &str| ssh_with_key(&format!("/sandbox/keys/{user}@example.com"), user, "id -Gn");
    assert_eq!(login("alice").ok(), "alice keymaker-users devs");
    let bob = login("bob").refused();
    assert!(bob.reads().contains("bob is not in the IAM group login"), "{bob}");
    assert_eq!(run("getent passwd carol; getent group others").stdout, "");
}

// P2
#[test]
fn assigned_numbers_are_exact_free_of_clashes_and_the_same_at_a_second_run() {
    let host = Host::with_settings("tags = [\"uid\"]\ntag_uid_range = [200000, 200999]");
    let assign = "sandbox-admin keymaker assign-uids --range 200000-200999";
    let planned = sh(&format!("{assign} --dry-run --json | jq -c '[.changes[].change]'"));
    assert!(planned.contains("IAM user alice: tag keymaker:uid = 200"), "{planned}");
    assert!(!iam("list-user-tags --user-name alice").contains("keymaker:uid"));
    assert_eq!(sh(&format!("{assign} --json | jq -c '[.changes[].change]'")), planned);
    assert!(sh(assign).contains("Nothing to change."));
    host.sync();
    let (alice, bob) = (uid("alice"), uid("bob"));
    assert!((200_000..=200_999).contains(&alice) && (200_000..=200_999).contains(&bob) && alice != bob);
    assert_eq!(ssh("alice", "id -u").ok(), alice.to_string());
    // Two with one number: the second says so, and nothing of what is there is changed.
    iam(&format!(
        "tag-user --user-name bob --tags Key=keymaker:uid,Value={alice}"
    ));
    let clash = run(assign).refused();
    assert!(clash.stdout.contains("refused bob: the tag keymaker:uid is"), "{clash}");
    let whose = run("sandbox-admin keymaker assign-uids --range 500000-600000").refused();
    assert!(whose.stderr.contains("containers"), "{whose}");
}
