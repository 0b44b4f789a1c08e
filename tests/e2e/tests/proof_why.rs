//! What `keymaker why` and `keymaker status` say of logins by proof: each gate, what to do, and nothing of the token.

use std::time::Duration;

use e2e::proofs::{KEYS, LAPTOP, ON, as_person, key, keymaker_ssh, tell_sshd, with_proofs};
use e2e::{run, sh, until};

#[test]
fn why_lets_nobody_in_by_proof_alone_where_no_proof_can_open() {
    let host = with_proofs("login_by = [\"proof\"]");
    let gate = || {
        sh(
            "keymaker why dave --json | jq -r '.gates[-1] | select(.state == \"closed\") | \"\\(.gate): \\(.evidence)\\n\\(.remedy)\"'",
        )
    };
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    assert_eq!(gate(), "");
    let status = sh("keymaker status");
    assert!(
        status.contains("logins by proof  by https://10.77.0.1:5443/")
            && status.contains("(from IAM), keys EC384_0 fetched"),
        "{status}"
    );
    // Who is outside login_proof_group is told of the group, and to upload no key, which would open nothing.
    host.add_settings("login_proof_group = \"prod_ssh_users\"");
    host.reload();
    let said = gate();
    let (why, remedy) = said.split_once('\n').unwrap();
    assert!(
        why.starts_with("keys: no key in IAM opens a login here")
            && why.contains("prod_ssh_users")
            && !said.contains("upload"),
        "{said}"
    );
    sh(&format!("sandbox-admin {remedy}"));
    until("the remedy helps", Duration::from_secs(20), || gate().is_empty());
    sh("sed -i 's/ %t %k$//' /etc/ssh/sshd_config.d/50-keymaker.conf; systemctl reload ssh");
    let said = gate();
    assert!(
        said.starts_with("sshd: sshd does not give the keys command the certificate") && said.contains("sshd-drop-in"),
        "{said}"
    );
    tell_sshd();
    sh("sandbox-admin aws iam disable-outbound-web-identity-federation; keymaker sync");
    let said = gate();
    assert!(
        said.starts_with("issuer: ")
            && said.contains("federation is off")
            && said.contains("enable-outbound-web-identity-federation"),
        "{said}"
    );
    sh("sandbox-admin aws iam enable-outbound-web-identity-federation; keymaker sync");
    sh("keymaker revoke-proofs --yes || keymaker revoke-proofs");
    assert!(sh("keymaker status").contains("only tokens made "));
    sh(&format!("mv {KEYS} /root/issuers"));
    let said = gate();
    sh(&format!("mv /root/issuers {KEYS}"));
    assert!(
        said.starts_with("issuer: ") && said.contains("no key of an issuer"),
        "{said}"
    );
    drop(host);
}

/// What `keymaker why` says with these arguments: its exit status, each gate with what is said of it, and what it says to do.
fn why(arguments: &str) -> (bool, Vec<(String, String)>, String) {
    let seen = run(&format!("keymaker why {arguments} --json"));
    let gates = run(&format!(
        "jq -r '.gates[] | \"\\(.gate) \\(.state): \\(.evidence)\", (.remedy // \"\" | \"  \" + .)' <<'JSON'\n{}\nJSON",
        seen.stdout
    ))
    .ok();
    let (mut told, mut remedy) = (Vec::new(), String::new());
    for line in gates.lines() {
        match line.strip_prefix("  ") {
            Some(what) => remedy = what.to_owned(),
            None => told.extend(
                line.split_once(": ")
                    .map(|(gate, said)| (gate.to_owned(), said.to_owned())),
            ),
        }
    }
    (seen.status == 0, told, remedy)
}

// P21, P19
#[test]
fn why_shows_each_gate_of_a_proof_in_the_verifiers_order_and_nothing_of_the_token() {
    let host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let file = format!("{}-cert.pub", key());
    let (may, gates, _) = why(&format!("dave --proof {file}"));
    let names: Vec<&str> = gates.iter().map(|(gate, _)| gate.as_str()).collect();
    assert_eq!(
        names,
        [
            "name open",
            "certificate open",
            "token open",
            "signature open",
            "claims open",
            "directory open",
            "proof open",
            "permission open",
            "uid open",
            "groups open",
            "sshd open",
            "pam open",
            "home open",
            "shell open"
        ],
        "{gates:?}"
    );
    assert!(may);
    let token = sh(&format!(
        "base64 -d <<<$(cut -d' ' -f2 {file}) | grep -aoE 'eyJ[A-Za-z0-9_.-]+' | head -n 1"
    ));
    let all = sh(&format!(
        "keymaker why dave --proof {file}; keymaker why dave --proof {file} --json"
    ));
    assert!(token.len() > 500 && !all.contains(&token[..40]), "{token}");
    // Anybody may look at their own, without root.
    sh(&format!("install -m 644 {file} /tmp/proof.pub"));
    let own = run("runuser -u nobody -- keymaker why dave --proof /tmp/proof.pub");
    assert!(own.status == 0 && own.stdout.contains("as far as can be told"), "{own}");
    // Without one: no key, and that is no obstacle.
    let (may, gates, _) = why("dave");
    assert!(
        may && gates
            .iter()
            .any(|(gate, said)| gate == "keys open" && said.contains("--proof FILE")),
        "{gates:?}"
    );
    let closed = |arguments: &str| {
        let (may, gates, remedy) = why(arguments);
        let (gate, said) = gates.last().unwrap().clone();
        assert!(
            !may && gate.ends_with(" closed") && !remedy.is_empty(),
            "{arguments}: {gates:?}"
        );
        format!("{}: {said}; {remedy}", gate.trim_end_matches(" closed"))
    };
    let says = |said: &str, parts: &[&str]| assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    says(
        &closed(&format!("alice --proof {file}")),
        &["proof: ", "it is of IAM user dave"],
    );
    says(
        &closed("dave --proof /etc/passwd"),
        &["certificate: ", "no certificate", "keymaker login"],
    );
    sh(&format!("printf '%s' '{token}' > /tmp/token"));
    says(&closed("dave --proof /tmp/token"), &["certificate: ", "a token alone"]);
    // By a foreign authority; altered; for another audience and host; revoked.
    sh(&format!(
        "rm -rf /root/forged; mkdir /root/forged; cd /root/forged; cp {file} /root/forged/; ssh-keygen -q -t ed25519 -N '' -f ca; cp {0}.pub key.pub
         ssh-keygen -q -s ca -I x -n keymaker-proof key.pub",
        key()
    ));
    says(
        &closed("dave --proof /root/forged/key-cert.pub"),
        &["certificate: ", "keymaker login"],
    );
    for (arguments, gate, parts) in [
        ("--audience other", "claims", ["its audience", "login_audience"]),
        (
            "--host i-00000000000000000",
            "claims",
            ["another host", "--host INSTANCE"],
        ),
    ] {
        sh(&format!("rm -rf {LAPTOP}/.ssh"));
        as_person("dave", &format!("keymaker login {arguments}")).ok();
        let said = closed(&format!("dave --proof {}-cert.pub", key()));
        says(&said, &[&format!("{gate}: "), parts[0], parts[1]]);
    }
    sh("echo EC384_2 > /sandbox/signing-key");
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    as_person("dave", "keymaker login").ok();
    says(
        &closed(&format!("dave --proof {}-cert.pub", key())),
        &["signature: ", "no published key", "keymaker doctor"],
    );
    sh("rm /sandbox/signing-key; keymaker revoke-proofs dave");
    says(
        &closed("dave --proof /tmp/proof.pub"),
        &["proof: ", "revoked", "keymaker login"],
    );
    // What keeps sshd from it, by the name that OpenSSH 8.4 knows; newer ones take both.
    sh(&format!("rm -rf {LAPTOP}/.ssh"));
    as_person("dave", "sleep 4; keymaker login").ok();
    let file = format!("{}-cert.pub", key());
    sh("echo 'PubkeyAcceptedKeyTypes ssh-ed25519' > /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh");
    let said = closed(&format!("dave --proof {file}"));
    sh("rm /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh");
    says(&said, &["sshd: ", "pubkeyaccepted"]);
    sh("sed -i 's/^login_by = .*/login_by = [\"iam-keys\"]/' /etc/keymaker/keymakerd.toml");
    host.reload();
    until("no key of the issuer's is published", Duration::from_secs(10), || {
        run(&format!("grep -q EC384_0 {KEYS}")).status != 0
    });
    says(
        &closed(&format!("dave --proof {file}")),
        &["issuer: ", "login_by has no \"proof\"", "keymaker doctor"],
    );
    sh("rm -rf /root/forged /tmp/proof.pub /tmp/token");
    tell_sshd();
}
