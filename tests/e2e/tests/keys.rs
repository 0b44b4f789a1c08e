//! Which keys open a login: those that IAM has for a user, whatever else lies on the host or stands on sshd's command
//! line.

use std::time::Duration;

use e2e::{Host, journal, run, sh, ssh, ssh_with_key, until};

/// Somebody's key, of which IAM knows nothing.
const INTRUDER: &str = "/sandbox/keys/intruder";

// P8
#[test]
fn a_key_planted_in_a_users_home_opens_nothing_and_a_local_users_own_does() {
    let _host = Host::fresh();
    sh("sandbox-key intruder");
    ssh("bob", "true").ok();
    plant("bob");
    ssh_with_key(INTRUDER, "bob", "true").refused();
    ssh("bob", "true").ok();
    sh("useradd -m -s /bin/bash lola");
    plant("lola");
    assert_eq!(ssh_with_key(INTRUDER, "lola", "id -un").ok(), "lola");
}

// P8
#[test]
fn beside_ec2_instance_connect_its_command_serves_local_users_and_ours_serves_those_of_iam() {
    let host = Host::fresh();
    sh("sandbox-key intruder; useradd -m -s /bin/bash lola
        install -m 755 /dev/stdin /usr/local/bin/instance-connect <<< $'#!/bin/sh\\ncat /sandbox/keys/intruder.pub'
        chmod 755 /sandbox /sandbox/keys; chmod 644 /sandbox/keys/intruder.pub");
    // As the package ec2-instance-connect starts sshd.
    host.start_sshd_with(
        "-o 'AuthorizedKeysCommand /usr/local/bin/instance-connect %u %f' -o 'AuthorizedKeysCommandUser nobody'",
    );
    assert_eq!(ssh_with_key(INTRUDER, "lola", "id -un").ok(), "lola");
    ssh_with_key(INTRUDER, "alice", "true").refused();
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
}

// P8
#[test]
fn a_foreign_certification_authority_on_sshds_command_line_opens_nothing() {
    let host = Host::fresh();
    sh("rm -rf /root/ca && mkdir /root/ca && cd /root/ca && ssh-keygen -q -t ed25519 -N '' -f ca && ssh-keygen -q -t ed25519 -N '' -f guest
        ssh-keygen -q -s ca -I guest -n alice,lola guest.pub; useradd -m -s /bin/bash lola");
    host.start_sshd_with("-o TrustedUserCAKeys=/root/ca/ca.pub");
    assert_eq!(ssh_with_key("/root/ca/guest", "lola", "id -un").ok(), "lola");
    // sshd takes `AuthorizedPrincipalsFile none` of a Match block for the file of that name in the home.
    ssh("alice", "echo alice > none").ok();
    ssh_with_key("/root/ca/guest", "alice", "true").refused();
}

// P8
#[test]
fn without_the_match_block_pam_refuses_a_key_that_iam_lacks() {
    let _host = Host::fresh();
    sh("sandbox-key intruder");
    ssh("bob", "true").ok();
    plant("bob");
    sh("rm /etc/ssh/sshd_config.d/50-keymaker.conf; systemctl restart ssh");
    let login = ssh_with_key(INTRUDER, "bob", "echo I am in").refused();
    assert!(!login.stdout.contains("I am in"), "{login}");
    until("the journal says why", Duration::from_secs(5), || {
        journal("-t sshd").contains("the key that opened this connection is not one of bob's keys in IAM")
    });
}

// P10
#[test]
fn of_what_iam_holds_as_a_key_only_the_key_itself_is_shown_to_sshd() {
    let host = Host::unstarted();
    let bare = |name: &str| sh(&format!("sandbox-key {name} | cut -d' ' -f1,2"));
    let (alice, bob, carol, intruder) = (bare("alice"), bare("bob"), bare("carol"), bare("intruder"));
    host.reseed(&format!(
        r##"{{"users": [
            {{"name": "alice", "keys": ["{alice} a comment with \"quotes\""]}},
            {{"name": "bob", "keys": ["{bob}\n{intruder}", "{bob} x\r{intruder}"]}},
            {{"name": "carol", "keys": ["command=\"touch /tmp/owned\" {carol}", "cert-authority {intruder}", "# {intruder}"]}}]}}"##
    ));
    host.start();
    let shown = |name: &str| {
        sh(&format!(
            "runuser -u keymaker-keys -- /usr/libexec/keymaker/keymaker-keys {name} $(id -u {name})"
        ))
    };
    assert_eq!(shown("alice"), alice);
    assert!(["", &bob].contains(&shown("bob").as_str()), "{}", shown("bob"));
    assert_eq!(shown("carol"), "");
    assert_eq!(
        sh("runuser -u keymaker-keys -- /usr/libexec/keymaker/keymaker-keys alice 1"),
        ""
    );
    until("the log says why", Duration::from_secs(5), || {
        journal("-t keymaker-keys").contains("\"alice\": no key: the name resolves to another account")
    });
    ssh("alice", "true").ok();
    for user in ["alice", "bob", "carol"] {
        ssh_with_key(INTRUDER, user, "true").refused();
    }
    ssh("carol", "true").refused();
    run("test -e /tmp/owned").refused();
}

fn plant(user: &str) {
    sh(&format!(
        "cd ~{user} && mkdir -p -m 700 .ssh && cp /sandbox/keys/intruder.pub .ssh/authorized_keys
         cp .ssh/authorized_keys .ssh/authorized_keys2; chown -R {user}: .ssh; chmod 600 .ssh/*"
    ));
}
