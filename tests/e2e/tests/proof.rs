//! Who logs in by proof: with the AWS sign-in and a key that is registered nowhere, and by nothing that only looks like it.

use std::path::Path;
use std::time::Duration;

use keymaker_core::issuers_file::{self, IssuerKey, IssuersBuilder};

use e2e::proofs::{KEYS, LAPTOP, ON, as_person, have_the_policy, key, keymaker_ssh, person, ssh_by, with_proofs};
use e2e::{calls, iam, journal, run, sh, ssh, until};

// P21, P6
#[test]
fn a_user_without_any_key_in_iam_logs_in_by_proof() {
    let _host = with_proofs(ON);
    let before = calls("GetWebIdentityToken");
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    assert_eq!(keymaker_ssh("dave", "dave", "pwd").ok(), "/home/dave");
    assert_eq!(
        calls("GetWebIdentityToken") - before,
        1,
        "the second login asks STS nothing"
    );
    let id = sh(&format!(
        "ssh-keygen -L -f {}-cert.pub | sed -n 's/.*Key ID: \"\\(.*\\)\"/\\1/p'",
        key()
    ));
    until("the audit", Duration::from_secs(5), || {
        journal("KEYMAKER_EVENT=login").contains(&format!("by proof {id},"))
    });
    assert!(
        journal("-u ssh").contains(&id),
        "sshd's own line has the token's name, too"
    );
    // scp, by the lines that the command prints.
    let host = as_person(
        "dave",
        "keymaker login --ssh-config localhost > $HOME/config && echo secret > $HOME/file && \
        scp -q -F $HOME/config -o BatchMode=yes $HOME/file dave@localhost:copied && ssh -F $HOME/config -o BatchMode=yes dave@localhost cat copied",
    );
    assert_eq!(host.ok(), "secret");
}

// P21
#[test]
fn what_only_looks_like_a_proof_opens_nothing() {
    let _host = with_proofs(ON);
    person("alice");
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    // dave's proof is not alice's, and hers not his.
    ssh_by(&own, "alice").refused();
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
    let made_otherwise = |what: &str, options: &str| {
        sh(&format!(
            "rm -rf /root/forged; mkdir /root/forged; cp {own} /root/forged/key; cp {own}.pub /root/forged/key.pub"
        ));
        // The token, the times and the name that the good one has.
        sh(&format!(
            "cd /root/forged; python3 - {own}-cert.pub <<'END'
import base64, struct, sys
blob = base64.b64decode(open(sys.argv[1]).read().split()[1])
def string(at):
    length = struct.unpack('>I', blob[at:at + 4])[0]
    return blob[at + 4:at + 4 + length], at + 4 + length
at = blob.index(b'proof-v1@keymaker.github.io') + len(b'proof-v1@keymaker.github.io')
value, _ = string(at)
open('token', 'w').write(value[4:].decode())
END"
        ));
        sh(&format!("cd /root/forged; {options}"));
        let outcome = ssh_by("/root/forged/key", "dave");
        assert_ne!(outcome.status, 0, "{what}: {outcome}");
        assert!(
            !outcome.reads().contains("token") && !outcome.reads().contains("proof"),
            "{what}: {outcome}"
        );
    };
    let times = sh(&format!(
        "TZ=UTC ssh-keygen -L -f {own}-cert.pub | sed -n 's/.*Valid: from \\(.*\\) to \\(.*\\)/\\1:\\2/p' | tr -d T:- | sed 's/\\(..............\\)/\\1:/'"
    ));
    let times = times.trim_end_matches(':').to_owned();
    let id = sh(&format!(
        "ssh-keygen -L -f {own}-cert.pub | sed -n 's/.*Key ID: \"\\(.*\\)\"/\\1/p'"
    ));
    let sign = |key: &str, more: &str| {
        format!(
            "TZ=UTC ssh-keygen -q -s {key} -I {id} -n keymaker-proof -V {times} -O extension:proof-v1@keymaker.github.io=$(cat token) {more} key.pub"
        )
    };
    // The same made again opens: what is changed below is what closes.
    sh(&format!(
        "rm -rf /root/forged; mkdir /root/forged; cp {own} /root/forged/key; cp {own}.pub /root/forged/key.pub; cp {own}-cert.pub /root/forged/key-cert.pub"
    ));
    assert_eq!(ssh_by("/root/forged/key", "dave").ok(), "dave");
    made_otherwise(
        "an altered token",
        &format!("sed -i 's/\\.\\(.\\)/.A/2' token; {}", sign("key", "")),
    );
    made_otherwise("a force-command", &sign("key", "-O force-command=id"));
    made_otherwise("without a terminal", &sign("key", "-O no-pty"));
    made_otherwise(
        "another key with this token",
        &format!(
            "rm key key.pub; ssh-keygen -q -t ed25519 -N '' -f key; {}",
            sign("key", "")
        ),
    );
    made_otherwise(
        "a foreign CA",
        &format!("ssh-keygen -q -t ed25519 -N '' -f ca; {}", sign("ca", "")),
    );
    made_otherwise(
        "two principals",
        &sign("key", "").replace("-n keymaker-proof", "-n keymaker-proof,root"),
    );
    made_otherwise(
        "another time",
        &sign("key", "").replace(&format!("-V {times}"), "-V -1m:+52w"),
    );
    made_otherwise("no token", &sign("key", "").replace("=$(cat token)", "=x"));
    // A session that acts for somebody, for a role: its subject is no IAM user.
    let role = run(&format!(
        "rm -rf {LAPTOP}/.ssh; export HOME={LAPTOP}; sandbox-admin keymaker ssh -o BatchMode=yes dave@localhost true"
    ));
    assert_ne!(role.status, 0, "{role}");
    // Of another audience.
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    as_person(
        "dave",
        "keymaker ssh --audience other -o BatchMode=yes dave@localhost true",
    )
    .refused();
    // For another host.
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    as_person("dave", "keymaker login --host i-00000000000000000").ok();
    ssh_by(&key(), "dave").refused();
}

// P21, P9
#[test]
fn a_revoked_proof_and_one_of_a_former_holder_open_nothing() {
    let host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    sh("keymaker revoke-proofs dave");
    ssh_by(&own, "dave").refused();
    // One of a later second opens.
    until("a later proof", Duration::from_secs(20), || {
        sh(&format!("rm -rf {LAPTOP}/.ssh"));
        keymaker_ssh("dave", "dave", "true").status == 0
    });
    let own = key();
    // dave is made again: another person, whom the former one's token must not open.
    iam("delete-user-policy --user-name dave --policy-name proofs");
    sh(
        "sandbox-admin aws iam delete-access-key --user-name dave --access-key-id $(sed -n 's/AWS_ACCESS_KEY_ID=//p' /root/dave.env)",
    );
    e2e::delete_user("dave");
    iam("create-user --user-name dave");
    host.sync();
    ssh_by(&own, "dave").refused();
    run("keymaker release dave --yes || keymaker release dave");
    ssh_by(&own, "dave").refused();
}

// P21, P2
#[test]
fn who_may_rename_users_logs_in_as_nobody_else() {
    let _host = with_proofs(ON);
    person("bob");
    have_the_policy("bob");
    iam(
        "put-user-policy --user-name bob --policy-name more --policy-document '{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\
         \"Action\":\"iam:UpdateUser\",\"Resource\":\"*\"}]}'",
    );
    assert_eq!(keymaker_ssh("bob", "bob", "id -un").ok(), "bob");
    let renamed = |from: &str, to: &str| {
        as_person(
            "bob",
            &format!("aws iam update-user --user-name {from} --new-user-name {to}"),
        )
        .ok()
    };
    let alices = sh("sandbox-admin aws iam get-user --user-name alice --query User.UserId --output text");
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    renamed("alice", "away");
    renamed("bob", "alice");
    let asked = as_person("bob", "keymaker login");
    let lied = as_person(
        "bob",
        &format!(
            "aws sts get-web-identity-token --audience keymaker:123456789012 --signing-algorithm ES384 --duration-seconds 300 \
             --tags Key=keymaker-key,Value=SHA256:x Key=keymaker-user,Value={alices}"
        ),
    );
    renamed("alice", "bob");
    renamed("away", "alice");
    asked.ok();
    let token = sh(&format!("grep -c . {}-cert.pub", key()));
    assert_eq!(token, "1");
    // AWS's word is that the name was alice's; and that it was bob who asked.
    ssh_by(&key(), "alice").refused();
    ssh_by(&key(), "bob").refused();
    assert!(lied.reads().contains("AccessDenied"), "{lied}");
    // By the policy alone, without the comparison on the host, that would have opened.
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
}

// P22
#[test]
fn a_valid_proof_opens_with_network_aws_and_keymakerd_down() {
    let _host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    let reaches_aws = || run("timeout 3 bash -c '< /dev/tcp/10.77.0.1/5443'").status == 0;
    assert!(reaches_aws());
    sh("sandbox-fault down; systemctl stop keymakerd; ip link set host0 down");
    let (by, is_reached) = (ssh_by(&own, "dave"), reaches_aws());
    sh("sandbox-fault none; ip address flush dev host0; systemctl restart sandbox-network");
    assert!(!is_reached && reaches_aws());
    assert_eq!(by.ok(), "dave");
    // Keys or facts that are too old let nobody in, by the same proof that opens before and after.
    let (rules, keys) = issuers_file::read(Path::new(KEYS)).unwrap();
    let aged = |by: u64| {
        let mut issuers = IssuersBuilder::new(&rules).unwrap();
        for key in &keys {
            let fetched_at = key.fetched_at - by;
            issuers
                .key(&IssuerKey {
                    fetched_at,
                    ..key.clone()
                })
                .unwrap();
        }
        std::fs::write(KEYS, issuers.build_after(&[]).unwrap().unwrap().bytes).unwrap();
    };
    let opens = || assert_eq!(ssh_by(&own, "dave").ok(), "dave");
    aged(u64::from(rules.max_stale) + 600);
    ssh_by(&own, "dave").refused();
    aged(0);
    opens();
    sh("touch -d '2 days ago' /var/lib/keymaker/public/contact");
    ssh_by(&own, "dave").refused();
    sh("touch /var/lib/keymaker/public/contact");
    opens();
}

// P8
#[test]
fn with_proof_alone_iams_keys_open_nothing() {
    let _host = with_proofs("login_by = [\"proof\"]");
    ssh("alice", "true").refused();
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
}
