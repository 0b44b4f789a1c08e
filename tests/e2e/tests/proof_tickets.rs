//! Tickets: PAM opens a session for a certificate, or for a key that EC2 Instance Connect has pushed, by what the keys command wrote for it.

use std::time::Duration;

use e2e::proofs::{ON, as_person, key, keymaker_ssh, ssh_by, with_proofs};
use e2e::{Host, journal, sh, ssh, until};

// P21
#[test]
fn no_ticket_that_keymaker_keys_has_not_written_for_the_very_login_opens_a_session() {
    let _host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    // sshd that takes the certificate by itself, before the Match of the drop-in: what is left is PAM, which goes by the ticket.
    sh(&format!(
        "printf 'cert-authority,principals=\"keymaker-proof\" %s\\n' \"$(cat {own}.pub)\" > /etc/ssh/forged
         printf 'Match User dave,alice\\n  AuthorizedKeysCommand none\\n  AuthorizedKeysFile /etc/ssh/forged\\n' > /etc/ssh/sshd_config.d/00-forged.conf; systemctl restart ssh"
    ));
    let ticket = sh("ls /run/keymaker-keys/$(id -u dave).*");
    sh(&format!("cp -a {ticket} /root/ticket"));
    assert_eq!(ssh_by(&own, "dave").ok(), "dave", "with the ticket as it was written");
    // Another certificate of the same key, of a token of its own, has no ticket by that.
    let named = |what: &str| sh(&format!("ssh-keygen -Lf {own}-cert.pub | sed -n 's/^ *{what}: *//p'"));
    let (of_key, of_token) = (named("Public key"), named("Key ID"));
    sh(&format!("cp {own}-cert.pub /root/first-cert.pub"));
    as_person("dave", "keymaker login").ok();
    assert_eq!(named("Public key"), of_key);
    assert_ne!(named("Key ID"), of_token);
    ssh_by(&own, "dave").refused();
    sh(&format!("mv /root/first-cert.pub {own}-cert.pub"));
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
    let altered = |change: &str| format!("sed '{change}' /root/ticket > {ticket}");
    let crc = ticket.rsplit('.').next().unwrap().to_owned();
    for (what, make) in [
        ("none", format!("rm {ticket}")),
        ("of another user's making", format!("chown nobody {ticket}")),
        ("of the login user's own making", format!("chown dave {ticket}")),
        ("of root's making", format!("chown root {ticket}")),
        ("that others may write", format!("chmod 666 {ticket}")),
        (
            "that is a link",
            format!("mv {ticket} /run/keymaker-keys/x; ln -s x {ticket}"),
        ),
        (
            "that is a link to elsewhere",
            format!("mv {ticket} /root/x; ln -s /root/x {ticket}"),
        ),
        (
            "in a folder that others may write",
            "chmod 777 /run/keymaker-keys".to_owned(),
        ),
        ("of another name", altered("2s/.*/alice/")),
        ("of another uid", altered("3s/.*/70001/")),
        ("of another UserId", altered("4s/.*/AIDASOMEBODYELSE00000/")),
        ("that has ended", altered("5s/ .*/ 1700000000/")),
        ("older than the name's holder", altered("5s/.* /1 /")),
        ("of another certificate", altered("1s/....$/AAAA/")),
        ("with a line more", altered("$a x")),
        ("cut", format!("head -c -1 /root/ticket > {ticket}")),
        ("empty", format!(": > {ticket}")),
    ] {
        sh(&make);
        let came = ssh_by(&own, "dave");
        sh(&format!(
            "rm -rf /run/keymaker-keys/* /root/x; chmod 700 /run/keymaker-keys; cp -a /root/ticket {ticket}"
        ));
        assert_ne!(came.status, 0, "a ticket {what}: {came}");
        assert_eq!(ssh_by(&own, "dave").ok(), "dave", "after a ticket {what}");
    }
    // Copied to the number of somebody else, for whom sshd takes the certificate as well.
    sh(&format!("cp -a {ticket} /run/keymaker-keys/$(id -u alice).{crc}"));
    ssh_by(&own, "alice").refused();
    sh("rm -f /root/ticket /etc/ssh/forged /etc/ssh/sshd_config.d/00-forged.conf; systemctl restart ssh");
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
}

// P8, P24
#[test]
fn a_key_pushed_by_instance_connect_opens_where_login_by_has_that_and_no_other_key_fares_worse() {
    let host = Host::fresh();
    let aws = "/usr/share/ec2-instance-connect/eic_run_authorized_keys";
    sh(&format!(
        "install -D -m 755 /sandbox/project/tests/sandbox/eic_run_authorized_keys {aws}; rm -rf /sandbox/pushed /root/pushed*; mkdir -p /sandbox/pushed/alice /sandbox/pushed/carol
         ssh-keygen -q -t ed25519 -N '' -f /root/pushed; cp /root/pushed.pub /sandbox/pushed/alice/; cp /root/pushed.pub /sandbox/pushed/carol/; chmod -R a+rX /sandbox/pushed"
    ));
    let pushed = |user: &str| ssh_by("/root/pushed", user);
    pushed("alice").refused();
    host.add_settings("login_by = [\"iam-keys\", \"instance-connect\"]");
    host.reload();
    assert_eq!(pushed("alice").ok(), "alice");
    until("the audit", Duration::from_secs(5), || {
        journal("KEYMAKER_EVENT=login").contains(" by EC2 Instance Connect,")
    });
    assert_eq!(pushed("carol").ok(), "carol");
    pushed("bob").refused();
    // A local user's are AWS's package's, not ours.
    sh("useradd -m local1; mkdir -p /sandbox/pushed/local1; cp /root/pushed.pub /sandbox/pushed/local1/");
    pushed("local1").refused();
    sh("userdel -r local1");
    // Not without a ticket, nor once it is off; IAM's keys go on whatever the program does.
    for (broken, mended) in [
        (
            "mv /run/keymaker-keys /run/away",
            "mv /run/away /run/keymaker-keys".to_owned(),
        ),
        (
            &*format!("printf '#!/bin/sh\nsleep 60\n' > {aws}"),
            format!("install -m 755 /sandbox/project/tests/sandbox/eic_run_authorized_keys {aws}"),
        ),
        (&*format!("chmod 777 {aws}"), format!("chmod 755 {aws}")),
        (&*format!("mv {aws} /root/aws"), format!("mv /root/aws {aws}")),
    ] {
        sh(&format!("rm -f /run/keymaker-keys/*; {broken}"));
        let (by_pushed, by_key) = (pushed("alice"), ssh("alice", "id -un"));
        sh(&mended);
        assert_ne!(by_pushed.status, 0, "{broken}: {by_pushed}");
        assert_eq!(by_key.ok(), "alice", "{broken}");
    }
    host.add_settings("require_iam_group = \"prod_ssh_users\"");
    host.reload();
    assert_eq!(pushed("alice").ok(), "alice");
    pushed("carol").refused();
    sh("sed -i '/^login_by\\|^require_iam/d' /etc/keymaker/keymakerd.toml; keymaker accept-settings; true");
    host.reload();
    pushed("alice").refused();
    sh("rm -rf /sandbox/pushed /root/pushed* /usr/share/ec2-instance-connect");
}
