//! Each user their own AWS credentials, by the plain AWS command line, with credd as the package has it.

use std::time::Duration;

use e2e::{Host, describe_role, iam, make_user, run, sh, ssh, until};

/// Whose credentials a user of this host has: the ARN, or what the command line says.
fn identity(user: &str) -> Result<String, String> {
    let asked = run(&format!(
        "runuser -u {user} -- aws sts get-caller-identity --query Arn --output text"
    ));
    match asked.status {
        0 => Ok(asked.stdout.trim().to_owned()),
        _ => Err(asked.reads()),
    }
}

fn fresh() -> Host {
    let host = Host::with_settings("authz_ttl = 3");
    sh("systemctl restart credd");
    host
}

// P13
#[test]
fn each_user_has_the_credentials_of_their_own_role_and_no_key_anywhere() {
    let _host = fresh();
    for user in ["alice", "bob"] {
        let arn = ssh(user, "aws sts get-caller-identity --query Arn --output text").ok();
        assert_eq!(
            arn,
            format!("arn:aws:sts::123456789012:assumed-role/user-{user}/{user}")
        );
        assert!(!ssh(user, "env; ls -A").ok().contains("AWS_SECRET"));
    }
    let carol = ssh("carol", "aws sts get-caller-identity").refused();
    assert!(carol.reads().contains("Unable to locate credentials"), "{carol}");
    let root = sh("aws sts get-caller-identity --query Arn --output text");
    assert!(root.contains(":assumed-role/sandbox-instance/"), "{root}");
}

// P18 P20
#[test]
fn a_local_account_gets_nothing_by_the_name_of_an_iam_user() {
    let host = fresh();
    sh("useradd -m postgres; useradd -m dora");
    make_user("dora", &["prod_ssh_users"]);
    let trust = sh("sandbox-admin aws iam get-role --role-name user-alice --query Role.AssumeRolePolicyDocument");
    for name in ["postgres", "dora"] {
        let role = format!("create-role --role-name user-{name} --assume-role-policy-document '{trust}'");
        sh(&format!("sandbox-admin aws iam {role}"));
    }
    host.sync();
    for name in ["postgres", "dora"] {
        let refused = identity(name).unwrap_err();
        println!("{name}: {}", refused.lines().last().unwrap_or(""));
        assert!(refused.contains("Unable to locate credentials"), "{refused}");
        let audit = sh(&format!(
            "journalctl -u credd -o cat | grep '\"user\":\"{name}\"' | tail -n 1"
        ));
        assert!(audit.contains(r#""outcome":"not_applicable""#), "{audit}");
    }
}

// P20
#[test]
fn who_is_taken_out_of_the_required_group_gets_no_more_credentials_in_an_open_shell() {
    let host = fresh();
    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.reload();
    until("bob has his credentials", Duration::from_secs(10), || {
        identity("bob").is_ok()
    });
    iam("remove-user-from-group --user-name bob --group-name prod_ssh_users");
    until("bob is refused", Duration::from_secs(12), || identity("bob").is_err());
    assert!(identity("alice").is_ok());
    let audit = sh("journalctl -u credd -o cat | grep '\"user\":\"bob\"' | tail -n 1");
    assert!(
        audit.contains(r#""outcome":"denied""#) && audit.contains("prod_ssh_users"),
        "{audit}"
    );
}

// P17
#[test]
fn an_outage_of_sts_leaves_issued_credentials_and_asks_others_to_retry() {
    let _host = fresh();
    assert!(identity("alice").is_ok());
    sh("sandbox-fault down:AssumeRole");
    assert!(identity("alice").is_ok());
    assert!(identity("bob").is_err());
    let audit = sh("journalctl -u credd -o cat | grep '\"user\":\"bob\"' | tail -n 1");
    assert!(audit.contains(r#""status":503"#), "{audit}");
    sh("sandbox-fault none");
    until("bob has his credentials", Duration::from_secs(40), || {
        identity("bob").is_ok()
    });
}

// P19
#[test]
fn root_is_told_why_and_no_secret_is_in_the_journal() {
    let _host = fresh();
    assert!(identity("alice").is_ok());
    let status = "curl -sS --unix-socket /run/keymaker-credd/status.sock http://credd";
    let why = sh(&format!("{status}/why/$(id -u alice)"));
    assert!(why.contains(r#""method":"user_role""#), "{why}");
    assert!(sh(&format!("{status}/metrics")).contains("credd_issued_total 1"));
    run(&format!("runuser -u alice -- {status}/metrics")).refused();
    let credentials = sh(
        "runuser -u alice -- bash -c 't=$(curl -sS -X PUT -H \"X-aws-ec2-metadata-token-ttl-seconds: 60\" http://169.254.169.254/latest/api/token); \
         curl -sS -H \"X-aws-ec2-metadata-token: $t\" http://169.254.169.254/latest/meta-data/iam/security-credentials/user-alice'",
    );
    let secret = credentials
        .lines()
        .find_map(|line| line.split_once("SecretAccessKey\" : \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .expect("there is a secret");
    assert!(secret.len() > 10, "{secret}");
    run(&format!("journalctl -o export | grep -aqF -e '{secret}'")).refused();
}
