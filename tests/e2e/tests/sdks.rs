//! Each user their own credentials by what they use anyway: the AWS command line and the SDKs for Python, JavaScript
//! and Rust, unmodified, with no setting but endpoint and region, on IPv4 and on IPv6.
//!
//! The programs in tests/sdk are what anybody writes; `./check` puts them and node beside this test.

use std::path::Path;

use e2e::metadata::{forget, heard_of_users};
use e2e::{Host, run, sh, ssh};

const SDK: &str = "/sandbox/e2e/sdk";
const IPV6: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=IPv6";

/// The same program as alice, bob, carol and root, on both families.
fn each_user_is_who_they_are_by(sdk: &str, program: &str) {
    let _host = Host::fresh();
    sh("systemctl restart credd");
    forget();
    for (family, setting) in [("IPv4", ""), ("IPv6", IPV6)] {
        for user in ["alice", "bob"] {
            let arn = ssh(user, &format!("{setting} {program}")).ok();
            println!("{sdk}, {family}, {user}: {arn}");
            assert_eq!(
                arn,
                format!("arn:aws:sts::123456789012:assumed-role/user-{user}/{user}")
            );
        }
        // carol has no role.
        let carol = ssh("carol", &format!("{setting} {program}")).refused();
        let said = carol.reads().to_lowercase();
        let why = said.lines().find(|line| line.contains("credential")).unwrap_or("");
        println!("{sdk}, {family}, carol: {:.150}", why.trim());
        assert!(said.contains("credential") && !said.contains("arn:aws:sts"), "{carol}");
        assert_eq!(
            heard_of_users(),
            Vec::<String>::new(),
            "requests of users reached the real service"
        );
        let root = sh(&format!("{setting} {program}"));
        println!("{sdk}, {family}, root: {root}");
        assert!(root.contains(":assumed-role/sandbox-instance/"), "{root}");
        // root is exempt: it talked to the real service itself.
        assert_ne!(heard_of_users(), Vec::<String>::new());
        forget();
    }
}

// P13 P14
#[test]
fn by_the_aws_command_line_each_user_is_who_they_are() {
    each_user_is_who_they_are_by("aws", "aws sts get-caller-identity --query Arn --output text");
}

// P13 P14
#[test]
fn by_boto3_each_user_is_who_they_are() {
    each_user_is_who_they_are_by("boto3", &format!("/opt/aws/bin/python3 {SDK}/who.py"));
}

// P13 P14
#[test]
fn by_the_sdk_for_javascript_each_user_is_who_they_are() {
    each_user_is_who_they_are_by("JavaScript", &format!("{SDK}/javascript/node {SDK}/javascript/who.mjs"));
}

// P13 P14
#[test]
fn by_the_sdk_for_rust_each_user_is_who_they_are() {
    each_user_is_who_they_are_by("Rust", &format!("{SDK}/who"));
}

// P19
#[test]
fn nobodys_environment_or_home_has_a_key() {
    let _host = Host::fresh();
    for user in ["alice", "bob", "carol"] {
        let environment = ssh(user, "env | grep ^AWS_ | sort").ok();
        println!("{user}: {}", environment.replace('\n', ", "));
        let names: Vec<&str> = environment
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0))
            .collect();
        assert_eq!(names, ["AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_REGION"]);
        ssh(user, "ls -d ~/.aws").refused();
    }
    assert!(!Path::new("/root/.aws").exists());
    run("env | grep -E '^AWS_.*(KEY|TOKEN|SECRET)'").refused();
}
