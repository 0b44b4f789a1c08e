//! The keymaker command, as users of SSH keys in IAM meet it: ordinary output, and errors that name the remedy.

use e2e::{Host, at_a_terminal, iam, run, sh, until};
use std::time::Duration;

/// As the account's administrator.
fn keymaker(arguments: &str) -> e2e::Outcome {
    run(&format!("sandbox-admin keymaker {arguments}"))
}

fn makes_key(name: &str, options: &str) {
    sh(&format!(
        "rm -f /tmp/{name} /tmp/{name}.pub; ssh-keygen -q -N '' -f /tmp/{name} {options}"
    ));
}

#[test]
fn a_key_is_uploaded_listed_disabled_enabled_and_deleted() {
    let _host = Host::fresh();
    makes_key("dave", "-t rsa -b 2048");
    let uploaded = keymaker("--json upload_key --identity /tmp/dave --user carol").ok();
    let fingerprint = sh("ssh-keygen -lf /tmp/dave.pub | cut -d' ' -f2");
    assert!(uploaded.contains(&fingerprint), "{uploaded}");
    let id = sh(
        "sandbox-admin keymaker list-keys --user carol --json | jq -r '.keys[] | select(.body | endswith(\"carol\") | not) | .id'",
    );
    for (command, status) in [("disable-key", "Inactive"), ("enable_key", "Active")] {
        keymaker(&format!("{command} {id} --user carol")).ok();
        let listed = keymaker("list_keys --user carol").ok();
        let line = listed
            .lines()
            .find(|line| line.starts_with(&id))
            .expect("the key is listed");
        assert!(line.ends_with(&format!(" {status}")), "{listed}");
    }
    keymaker(&format!("delete-key {id} --user carol --yes")).ok();
    assert!(!keymaker("list-keys --user carol").ok().contains(&id));
}

#[test]
fn an_uploaded_key_opens_a_login() {
    let _host = Host::fresh();
    makes_key("mine", "-t rsa -b 2048");
    keymaker("upload-key -i /tmp/mine.pub --user alice").ok();
    sh("keymaker invalidate alice");
    until("alice logs in with the new key", Duration::from_secs(10), || {
        e2e::ssh_with_key("/tmp/mine", "alice", "true").status == 0
    });
}

// P9
#[test]
fn a_key_that_iams_store_does_not_take_goes_into_a_tag_and_is_then_a_key_like_any_other() {
    let host = Host::fresh();
    host.add_settings("tags = [\"keys\"]");
    sh("systemctl reload keymakerd; keymaker sync");
    for (number, kind) in [(1, "ed25519"), (2, "ecdsa -b 521")] {
        makes_key("tagged", &format!("-t {kind}"));
        let tag = format!("keymaker:ssh-key-{number}");
        let upload = "sandbox-admin keymaker upload-key /tmp/tagged.pub --user alice";
        let logs_in = || {
            sh("keymaker invalidate alice");
            e2e::ssh_with_key("/tmp/tagged", "alice", "true").status == 0
        };
        let declined = at_a_terminal(upload, "no");
        assert!(
            declined.status == 1 && declined.stdout.contains(&format!("the tag {tag} of alice")),
            "{declined}"
        );
        assert!(
            declined.stdout.contains("tags = [\"keys\"]") && !logs_in(),
            "{declined}"
        );
        let agreed = at_a_terminal(upload, "yes");
        println!("$ {upload}\n{}", agreed.stdout);
        assert!(agreed.status == 0 && agreed.stdout.contains(&tag), "{agreed}");
        // Of two answers within five seconds the more refusing one counts.
        until("the new key opens a login", Duration::from_secs(20), logs_in);
        let twice = keymaker("upload-key /tmp/tagged --user alice --as-tag").refused();
        assert!(twice.stderr.contains("keymaker list-keys"), "{twice}");
        let fingerprint = sh("ssh-keygen -lf /tmp/tagged.pub | cut -d' ' -f2");
        for (command, status, opens) in [("disable-key", "Inactive", false), ("enable-key", "Active", true)] {
            keymaker(&format!("{command} {tag} --user alice")).ok();
            let listed = keymaker("list-keys --user alice").ok();
            let line = listed
                .lines()
                .find(|line| line.starts_with(&tag))
                .expect("it is listed");
            assert!(line.ends_with(status) && line.contains(&fingerprint), "{listed}");
            if opens {
                until("the enabled key opens a login", Duration::from_secs(20), logs_in);
            } else {
                assert!(!logs_in(), "{kind} {command}");
            }
        }
    }
    keymaker("delete-key keymaker:ssh-key-2 --user alice --yes").ok();
    sh("keymaker invalidate alice");
    e2e::ssh_with_key("/tmp/tagged", "alice", "true").refused();
    let gone = keymaker("delete-key keymaker:ssh-key-2 --user alice --yes").refused();
    assert!(gone.stderr.contains("keymaker list-keys"), "{gone}");
    // Those in IAM's store are shown beside them.
    let stores =
        sh("sandbox-admin keymaker list-keys --user alice --json | jq -r '.keys[].store' | sort | uniq | xargs");
    assert_eq!(stores, "iam tag");
    keymaker("delete-key keymaker:ssh-key-1 --user alice --yes").ok();
}

/// The command with credentials of carol's own, who may do what this policy allows, and it alone.
fn as_carol(policy: &str, command: &str) -> e2e::Outcome {
    let policy = policy.replace('\'', r"'\''");
    iam(&format!(
        "put-user-policy --user-name carol --policy-name own --policy-document '{policy}'"
    ));
    run(&format!(
        "set -- $(sandbox-admin aws iam create-access-key --user-name carol --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text)
         AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=$2 {command}; status=$?
         sandbox-admin aws iam delete-access-key --user-name carol --access-key-id $1; exit $status"
    ))
}

#[test]
fn who_may_manage_their_own_keys_sets_no_other_tag_and_nobody_elses() {
    let _host = Host::fresh();
    makes_key("mine", "-t ed25519");
    let policy = sh("keymaker configure --self-service-policy | jq -c .");
    as_carol(&policy, "keymaker upload-key /tmp/mine.pub --as-tag").ok();
    let tags = iam("list-user-tags --user-name carol --query 'Tags[].Key' --output text");
    assert_eq!(tags, "keymaker:ssh-key-1");
    for command in [
        "disable-key keymaker:ssh-key-1",
        "list-keys",
        "delete-key keymaker:ssh-key-1 --yes",
    ] {
        as_carol(&policy, &format!("keymaker {command}")).ok();
    }
    let tag = |user: &str, key: &str| format!("aws iam tag-user --user-name {user} --tags Key={key},Value=0");
    for (user, key) in [
        ("carol", "uid"),
        ("carol", "home"),
        ("carol", "expires"),
        ("alice", "keymaker:ssh-key-1"),
    ] {
        let refused = as_carol(&policy, &tag(user, key)).refused();
        assert!(refused.stderr.contains("AccessDenied"), "{refused}");
    }
    // One that is allowed carries no other along.
    let both = "aws iam tag-user --user-name carol --tags Key=keymaker:ssh-key-1,Value=x Key=uid,Value=0";
    as_carol(&policy, both).refused();

    // Whoever may do anything in IAM is stopped by the guard, but for their own keys.
    let guarded = sh(
        "keymaker configure --guard-policy | jq -c '.Statement += [{\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}]'",
    );
    as_carol(&guarded, &tag("carol", "keymaker:ssh-key-1")).ok();
    as_carol(&guarded, &tag("alice", "team")).ok();
    for (user, key) in [
        ("alice", "keymaker:ssh-key-1"),
        ("alice", "Keymaker:SSH-key-1"),
        ("alice", "expires"),
        ("carol", "uid"),
        ("carol", "keymaker:uid"),
        ("carol", "Home"),
    ] {
        let refused = as_carol(&guarded, &tag(user, key)).refused();
        assert!(refused.stderr.contains("explicit deny"), "{refused}");
    }
    makes_key("rsa", "-t rsa -b 2048");
    as_carol(&guarded, "keymaker upload-key /tmp/rsa.pub --user alice").refused();
    as_carol(&guarded, "keymaker upload-key /tmp/rsa.pub").ok();
}

#[test]
fn each_refusal_names_the_remedy() {
    let _host = Host::fresh();
    makes_key("ed", "-t ed25519");
    makes_key("short", "-t rsa -b 1024");
    sh("sandbox-admin aws iam list-ssh-public-keys --user-name carol > /dev/null");
    for number in 0..4 {
        makes_key(&format!("more{number}"), "-t rsa -b 2048");
        keymaker(&format!("upload-key -i /tmp/more{number} --user carol")).ok();
    }
    makes_key("sixth", "-t rsa -b 2048");
    let as_role = |arguments: &str| run(&format!("keymaker {arguments}"));
    let none = |arguments: &str| run(&format!("AWS_EC2_METADATA_DISABLED=true keymaker {arguments}"));
    for (refused, remedy) in [
        (keymaker("upload-key -i /tmp/ed --user carol"), "ssh-keygen -t rsa"),
        (keymaker("upload-key /tmp/ed --user carol"), "--as-tag"),
        (
            keymaker("upload-key /tmp/more0 --as-tag --user carol"),
            "leave --as-tag out",
        ),
        (
            keymaker("disable-key keymaker:ssh-key-9 --user carol"),
            "keymaker list-keys",
        ),
        (keymaker("upload-key -i /tmp/short --user carol"), "ssh-keygen -t rsa"),
        (keymaker("upload-key -i /etc/hostname --user carol"), ".pub"),
        (keymaker("upload-key -i /tmp/sixth --user carol"), "keymaker delete-key"),
        (keymaker("upload-key -i /tmp/more0 --user carol"), "keymaker list-keys"),
        (keymaker("list-keys --user nosuch"), "check the spelling"),
        (
            keymaker("delete-key APKANOSUCHKEY12345678 --user carol --yes"),
            "keymaker list-keys",
        ),
        (keymaker("--profile nosuch list-keys"), "there is no AWS profile nosuch"),
        // The chain would go on to the instance's role.
        (
            as_role("list-keys --user carol --profile nosuch"),
            "aws configure --profile nosuch",
        ),
        (
            run("AWS_PROFILE=nosuch keymaker list-keys --user carol"),
            "there is no AWS profile nosuch",
        ),
        (as_role("upload-key -i /tmp/sixth --user bob"), "iam:UploadSSHPublicKey"),
        (as_role("list-keys"), "--user NAME"),
        (
            none("list-keys --user carol"),
            "no AWS credentials were found: run 'aws login', 'aws configure'",
        ),
        (
            run("keymaker --endpoint-url http://127.0.0.1:1 list-keys --user carol"),
            "--endpoint-url",
        ),
    ] {
        let refused = refused.refused();
        assert_eq!(refused.status, 1, "{refused}");
        assert!(refused.stderr.contains(remedy), "{remedy} is missing: {refused}");
    }
}

/// Whose credentials alice has by the metadata service: a user's, the instance's, or none.
fn credentials_of_alice() -> String {
    e2e::ssh("alice", "aws sts get-caller-identity --query Arn --output text").reads()
}

// P14
#[test]
fn capture_is_planned_taken_down_shown_and_put_up_again() {
    let _host = Host::fresh();
    sh("systemctl restart credd");
    assert!(credentials_of_alice().contains("/user-alice/"));
    let status = keymaker_status();
    assert!(
        status.status == 0 && status.stdout.contains("capture is as planned"),
        "{status}"
    );

    sh("keymaker capture down --yes");
    let instances = credentials_of_alice();
    assert!(instances.contains("/sandbox-instance/"), "{instances}");
    let status = keymaker_status().refused();
    assert!(status.stdout.contains("'keymaker capture up' starts it"), "{status}");
    assert_eq!(
        run("keymaker capture status --json | jq -c '[.up, .rules.as_planned, .credd_answers]'").ok(),
        "[false,false,false]"
    );

    // Somebody who keeps a connection to the service open is named, and who is exempt is not.
    sh("systemd-run -q --collect --unit=e2e-hold --uid=alice bash -c 'exec 3<>/dev/tcp/169.254.169.254/80; sleep 60'");
    let uid = e2e::uid("alice");
    until("alice's use is seen", Duration::from_secs(10), || {
        sh("keymaker capture plan --json | jq -c '.users_now'").contains(&format!(r#"{{"name":"alice","uid":{uid}}}"#))
    });
    assert!(sh("keymaker capture plan").contains(&format!("  alice ({uid})")));
    sh("systemctl stop e2e-hold; ip rule | grep -c 'uidrange' | grep -qx 0");

    sh("keymaker capture up");
    assert!(credentials_of_alice().contains("/user-alice/"));
    assert_eq!(keymaker_status().status, 0);
    sh("systemctl is-enabled credd.service credd.socket credd-capture.service");

    let path = "/etc/keymaker/credd.toml";
    sh(&format!("cp {path} /tmp/credd.toml; echo 'nonsense = 1' >> {path}"));
    let refused = run("keymaker capture up").refused();
    sh(&format!("cp /tmp/credd.toml {path}"));
    assert!(refused.stderr.contains("nonsense"), "{refused}");
    let refused = run("runuser -u alice -- keymaker capture down").refused();
    assert!(refused.stderr.contains("sudo"), "{refused}");
}

fn keymaker_status() -> e2e::Outcome {
    run("keymaker capture status")
}
