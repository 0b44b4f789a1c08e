//! A right token and certificate open a login, and nothing that differs from them in one thing does: each by a real ssh, on one host.

use std::time::Duration;

use e2e::proofs::{ON, start_with_proofs};
use e2e::{Host, Outcome, iam, run, sh, ssh, until};

const CLIENT: &str = include_str!("../clients/proofs.py");
const KEYS: &str = "/etc/keymaker/issuer-keys.json";
const FOLDER: &str = "/root/proofs";
/// A busy machine takes some seconds for a login, and a token lives for 300.
const AT_ONCE: usize = 25;

/// A host that takes the tokens of an issuer of our own, by `login_keys_file`, and dave in IAM, who has no key there.
fn host() -> Host {
    std::fs::write("/root/proofs.py", CLIENT).unwrap();
    sh(&format!("rm -rf {FOLDER} {KEYS}*; mkdir -p /etc/keymaker {FOLDER}"));
    client("issuer", "");
    let host = Host::unstarted();
    iam("create-user --user-name dave");
    start_with_proofs(&host, &format!("{ON}\nlogin_keys_file = \"{KEYS}\""));
    host
}

fn client(what: &str, arguments: &str) -> String {
    sh(&format!(
        "/opt/aws/bin/python3 /root/proofs.py {what} {KEYS} {arguments}"
    ))
}

fn user_id(name: &str) -> String {
    sh(&format!(
        "sandbox-admin aws iam get-user --user-name {name} --query User.UserId --output text"
    ))
}

fn ssh_by(folder: &str, user: &str) -> Outcome {
    run(&format!(
        "ssh -F none -i {folder}/key -o CertificateFile={folder}/key-cert.pub -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=10 \
         {user}@localhost id -un"
    ))
}

// P21
#[test]
fn a_right_proof_opens_and_none_that_differs_in_one_thing_does() {
    let _host = host();
    let dave = format!("dave {}", user_id("dave"));
    // Some at a time, each while its token still lives.
    let mut from = 0;
    let rows = std::iter::from_fn(|| {
        let made = client("make", &format!("{FOLDER}/table {dave} {from} {AT_ONCE}"));
        from += AT_ONCE;
        (!made.is_empty()).then(|| made.lines().map(str::to_owned).collect::<Vec<_>>())
    });
    let (mut wrong, mut opened, mut closed) = (Vec::new(), 0, 0);
    sh("ssh-keygen -q -t ed25519 -N '' -f /root/proofs/unknown");
    let to_everybody = run(
        "ssh -F none -i /root/proofs/unknown -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=10 dave@localhost id -un",
    )
    .refused();
    assert!(to_everybody.stderr.contains("Permission denied"), "{to_everybody}");
    println!("| what | should | did |\n|---|---|---|");
    for row in rows.flatten() {
        let [number, should, what] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let outcome = ssh_by(&format!("{FOLDER}/table/{number}"), "dave");
        let did = match outcome.status {
            0 if outcome.stdout.trim() == "dave" => "opens",
            255 => "nothing",
            _ => "something else",
        };
        println!("| {what} | {should} | {did} |");
        opened += usize::from(did == "opens");
        closed += usize::from(did == "nothing");
        if did != should {
            wrong.push(format!("{what} should open {should}: {outcome}"));
        }
        // Not a byte else than of a key that nobody knows.
        if did == "nothing" && outcome.reads() != to_everybody.reads() {
            wrong.push(format!("{what} says why: {outcome}"));
        }
    }
    println!("{opened} open, {closed} do not");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(opened > 5 && closed > 80);
    // Nobody else by the right one, and a key login beside it as ever.
    client("one", &format!("{FOLDER}/right {dave}"));
    assert_eq!(ssh_by(&format!("{FOLDER}/right"), "dave").ok(), "dave");
    for other in ["alice", "root", "nobody", "nobody-of-that-name"] {
        ssh_by(&format!("{FOLDER}/right"), other).refused();
    }
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
}

// P21, P6, P2
#[test]
fn a_token_opens_for_who_was_made_just_now_and_never_for_who_was_made_after_it() {
    let host = host();
    // Of the former gail, of whom this host never heard.
    iam("create-user --user-name gail");
    client("one", &format!("{FOLDER}/before gail {}", user_id("gail")));
    e2e::delete_user("gail");
    std::thread::sleep(Duration::from_secs(2));
    iam("create-user --user-name gail");
    client("one", &format!("{FOLDER}/after gail {}", user_id("gail")));
    // Also one that lies about the UserId.
    client("one", &format!("{FOLDER}/lie gail AIDASOMEBODYELSE00000"));
    ssh_by(&format!("{FOLDER}/lie"), "gail").refused();
    ssh_by(&format!("{FOLDER}/before"), "gail").refused();
    // This host has not heard of her until then.
    assert_eq!(ssh_by(&format!("{FOLDER}/after"), "gail").ok(), "gail");
    ssh_by(&format!("{FOLDER}/before"), "gail").refused();
    // Her name is another's by now, and hers another: this host hears of it from IAM.
    iam("update-user --user-name gail --new-user-name hope");
    std::thread::sleep(Duration::from_secs(2));
    iam("create-user --user-name gail");
    host.sync();
    ssh_by(&format!("{FOLDER}/after"), "gail").refused();
    ssh_by(&format!("{FOLDER}/after"), "hope").refused();
}

/// Has PAM wait before ours decides: for whom /root/hold/USER says at which step, until that file is gone.
const HOLD: &str = "#!/bin/sh
[ \"$(cat /root/hold/$PAM_USER 2>/dev/null)\" = \"$PAM_TYPE\" ] || exit 0
touch /root/held/$PAM_USER
n=0; while [ -e /root/hold/$PAM_USER ] && [ $n -lt 500 ]; do n=$((n+1)); sleep 0.1; done
exit 0
";

// P21, P2
#[test]
fn a_name_that_changes_hands_between_the_keys_command_and_the_session_opens_nothing() {
    let host = host();
    sh("rm -rf /root/hold /root/held; mkdir /root/hold /root/held");
    std::fs::write("/root/hold.sh", HOLD).unwrap();
    sh("chmod 755 /root/hold.sh; cp -a /etc/pam.d/sshd /root/pam-sshd
        sed -i '1i account optional pam_exec.so /root/hold.sh\\nsession optional pam_exec.so /root/hold.sh' /etc/pam.d/sshd");
    let steps = ["account", "open_session"];
    let whats = ["stays", "renamed", "again", "released"];
    let all: Vec<(String, &str, &str)> = steps
        .iter()
        .flat_map(|step| whats.map(|what| (format!("{what}-{}", &step[..1]), *step, what)))
        .collect();
    let each = |what: &str, line: &str| {
        let names = all.iter().filter(|(_, _, is)| what.split('|').any(|one| one == *is));
        let names: Vec<&str> = names.map(|(name, ..)| name.as_str()).collect();
        sh(&format!(
            "set -e; i='sandbox-admin aws iam'; for n in {}; do {line}; done",
            names.join(" ")
        ))
    };
    let ids = each(
        "stays|renamed|again|released",
        "$i create-user --user-name $n --query User.UserId --output text",
    );
    for ((name, step, _), id) in all.iter().zip(ids.lines()) {
        client("one", &format!("{FOLDER}/{name} {name} {id}"));
        sh(&format!("echo {step} > /root/hold/{name}"));
    }
    let logins: Vec<_> = all
        .iter()
        .map(|(name, ..)| {
            let name = name.clone();
            std::thread::spawn(move || ssh_by(&format!("{FOLDER}/{name}"), &name))
        })
        .collect();
    // Each has its line from the keys command, and its ticket.
    until("PAM holds all", Duration::from_secs(30), || {
        sh("ls /root/held | wc -l") == all.len().to_string()
    });
    each("renamed", "$i update-user --user-name $n --new-user-name was-$n");
    each(
        "again|released",
        "$i delete-user --user-name $n; $i create-user --user-name $n > /dev/null",
    );
    host.sync();
    each("released", "keymaker release $n");
    sh("rm -rf /root/hold");
    let came: Vec<Outcome> = logins.into_iter().map(|login| login.join().unwrap()).collect();
    sh("mv /root/pam-sshd /etc/pam.d/sshd; rm -rf /root/held /root/hold.sh");
    for ((name, step, what), came) in all.iter().zip(came) {
        println!("{what} before {step}: {}", came.status);
        if *what == "stays" {
            assert_eq!(came.ok(), *name, "{step}");
        } else {
            assert_ne!(came.status, 0, "{what}, {step}: {came}");
            // PAM may have said why; nothing was run.
            assert!(!came.stdout.lines().any(|line| line == name), "{what}, {step}: {came}");
        }
    }
}
