//! The 60 rows of docs/metadata-protocol.md, asked of the installed credd by users of the host, at the metadata
//! address, on both families. They are the tests of credd/tests/conformance, as far as each goes without a server of
//! its own.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use e2e::metadata::put_everything_up;
use e2e::{Host, sh};

const SEED: &str = r#"{"users": [{"name": "alice"}, {"name": "bob"}],
    "roles": [{"name": "user-alice", "path": "/people/"}, {"name": "user-bob", "path": "/people/"}]}"#;

// P13 P14 P15 P16
#[test]
fn the_installed_credd_answers_row_by_row_as_the_table_says() {
    let host = Host::with_seed(SEED);
    put_everything_up();
    sh("useradd --system ec2-instance-connect; keymaker sync");
    // The instance's role may assume role/user-*; these have a path.
    sh(
        r#"sandbox-admin aws iam put-role-policy --role-name sandbox-instance --policy-name people --policy-document \
           '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/people/*"}]}'"#,
    );
    let settings = fs::read_to_string("/etc/keymaker/credd.toml").expect("credd has settings");
    fs::write(
        "/etc/keymaker/credd.toml",
        format!("role_path = \"/people/\"\n{settings}"),
    )
    .expect("root may write them");
    let rows = Command::new("/sandbox/e2e/conformance")
        .args(["--test-threads=1", "--show-output"])
        .env("CREDD_INSTALLED", "1")
        .output()
        .expect("the rows run");
    fs::write("/etc/keymaker/credd.toml", settings).expect("root may write them");
    sh("systemctl restart credd");
    let text = String::from_utf8_lossy(&rows.stdout).into_owned();
    let verdicts = text.lines().filter(|line| line.starts_with("test "));
    let passed = verdicts
        .filter(|line| line.contains("::row_") && line.ends_with("... ok"))
        .count();
    let in_part: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("in part: ")).collect();
    let rows_in_part = in_part.iter().filter(|name| name.contains("::row_")).count();
    println!(
        "{passed} rows passed, {} whole, these in part: {in_part:#?}",
        passed - rows_in_part
    );
    assert!(rows.status.success(), "{text}{}", String::from_utf8_lossy(&rows.stderr));
    assert_eq!(passed, 60);
    drop(host);
}
