//! Who is at the other end: the installed credd among many clients of several users, over restarts, and with tokens
//! that were handed on. The counts are the clients'.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::metadata::{client, forget, heard_of_users, put_everything_up};
use e2e::{Host, make_user, run, sh, until};

const STEADY: &str = include_str!("../clients/steady.py");
const CROWD: &str = include_str!("../clients/crowd.py");

fn start(user: &str, clients: u32) -> Child {
    Command::new("runuser")
        .args(["-u", user, "--", &client("steady.py", STEADY), &clients.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runuser(1) runs")
}

/// Issuances in the journal since this test began.
fn issued() -> usize {
    e2e::journal("-u credd")
        .matches(r#""asked":"role_credentials","outcome":"issued""#)
        .count()
}

// P14
#[test]
fn a_restart_of_credd_fails_no_request_of_twenty_clients() {
    let _host = Host::fresh();
    put_everything_up();
    let crowd: Vec<Child> = ["alice", "bob"].map(|user| start(user, 10)).into();
    let restarts = ["systemctl restart credd"; 6];
    let all = restarts
        .iter()
        .chain(&["dpkg -i /sandbox/packages/keymaker-credd_*.deb"]);
    for line in all.clone() {
        let before = issued();
        until("clients are served", Duration::from_secs(20), || issued() > before + 40);
        sh(line);
    }
    let before = issued();
    until("clients are served", Duration::from_secs(20), || issued() > before + 40);
    let mut failures = 0;
    for client in crowd {
        let output = client.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        println!(
            "{} conversations of 3 requests over {} restarts and an upgrade, {} failed, the longest took {} s",
            words[0],
            restarts.len(),
            words[1],
            words[2]
        );
        assert!(words[0].parse::<u32>().expect("a count") > 100, "{text}");
        failures += words[1].parse::<u32>().expect("a count");
        assert_eq!(words[1], "0", "{text}");
    }
    assert_eq!(failures, 0);
    assert_eq!(sh("systemctl show -P NRestarts credd"), "0");
}

// P13
#[test]
fn of_a_hundred_thousand_random_connections_none_is_given_to_another_user() {
    let host = Host::unstarted();
    host.start();
    put_everything_up();
    make_user("dave", &[]);
    sh(
        "trust=$(sandbox-admin aws iam get-role --role-name user-alice --query Role.AssumeRolePolicyDocument)
         sandbox-admin aws iam create-role --role-name user-dave --assume-role-policy-document \"$trust\"; keymaker sync",
    );
    let settings = fs::read_to_string("/etc/keymaker/credd.toml").expect("credd has settings");
    fs::write(
        "/etc/keymaker/credd.toml",
        format!("require_imds_v2 = false\n{settings}"),
    )
    .expect("root may write them");
    sh("systemctl restart credd");
    let number = std::env::var("E2E_CONNECTIONS").unwrap_or_else(|_| "101000".to_owned());
    forget();
    let crowd = client("crowd.py", CROWD);
    let counted = Command::new(crowd)
        .args([&number, "alice", "bob", "dave"])
        .output()
        .expect("python3 runs");
    fs::write("/etc/keymaker/credd.toml", settings).expect("root may write them");
    sh("systemctl restart credd");
    assert!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stderr));
    let text = String::from_utf8_lossy(&counted.stdout).into_owned();
    let (mut right, mut all) = (0, 0);
    for entry in text.trim().trim_matches(['{', '}']).split(", \"") {
        println!("{}", entry.replace('"', ""));
        let (way, count) = entry.rsplit_once(": ").expect("a way and a count");
        let count: u64 = count.parse().expect("a count");
        all += if way.contains("not connected") { 0 } else { count };
        right += if way.trim_matches('"').ends_with(": right") {
            count
        } else {
            0
        };
    }
    let wrong = text.matches("WRONG").count();
    println!("{all} connections, {right} named rightly, {wrong} kinds of misattribution");
    assert_eq!(wrong, 0, "{text}");
    assert!(right > all / 4, "{text}");
    assert_eq!(heard_of_users(), Vec::<String>::new());
}

// P16
#[test]
fn a_metadata_token_of_alice_is_worth_nothing_to_bob() {
    let _host = Host::fresh();
    put_everything_up();
    for address in ["169.254.169.254", "[fd00:ec2::254]"] {
        let token = sh(&format!(
            "runuser -u alice -- curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://{address}/latest/api/token"
        ));
        for path in [
            "meta-data/instance-id",
            "meta-data/iam/security-credentials/",
            "meta-data/iam/security-credentials/user-bob",
        ] {
            let status = |user: &str| {
                run(&format!(
                    "runuser -u {user} -- curl -sS -o /dev/null -w '%{{http_code}}' -H 'X-aws-ec2-metadata-token: {token}' \
                     http://{address}/latest/{path}"
                ))
                .stdout
            };
            assert_eq!(status("bob"), "401", "{path}");
            let alices = if path.ends_with("user-bob") { "404" } else { "200" };
            assert_eq!(status("alice"), alices, "{path}");
        }
    }
}
