//! Which keys open a login: those that IAM has for a user, whatever else lies on the host or stands on sshd's command
//! line.

use std::time::Duration;

use e2e::{Host, describe_role, iam, journal, run, sh, ssh, ssh_with_key, until};

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
    let why = sh("keymaker why bob");
    assert!(
        why.contains("~/.ssh/authorized_keys counts for nothing here: keymaker upload-key"),
        "{why}"
    );
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

// P7 P10
#[test]
fn sudo_opens_to_a_forwarded_key_that_iam_has_for_somebody_who_may_log_in_and_to_no_other() {
    let host = Host::fresh();
    sh("sandbox-key intruder");
    let pam = "/etc/pam.d/sudo";
    // As keymaker-keys(8) says it.
    sh(&format!(
        "cp {pam} /run/pam-sudo
         sed -i '1i auth sufficient pam_ssh_agent_auth.so authorized_keys_command=/usr/libexec/keymaker/keymaker-keys-of authorized_keys_command_user=keymaker-keys' {pam}
         printf 'Defaults env_keep += SSH_AUTH_SOCK\\n%%devs ALL=(ALL) ALL\\n' > /etc/sudoers.d/e2e-agent"
    ));
    let becomes = |user: &str, key: &str| {
        let line = format!("ssh-add -q {key}; ssh -A {user}@localhost 'sudo -S id -un < /dev/null'");
        run(&format!("ssh-agent bash -c \"{line}\""))
    };
    assert_eq!(becomes("bob", "/sandbox/keys/bob").ok(), "root");
    becomes("bob", INTRUDER).refused();
    becomes("bob", "/sandbox/keys/alice").refused();
    iam(&format!(
        "update-ssh-public-key --user-name bob --ssh-public-key-id {} --status Inactive",
        e2e::key_id("bob")
    ));
    host.sync();
    let printed = |name: &str| {
        run(&format!(
            "runuser -u keymaker-keys -- /usr/libexec/keymaker/keymaker-keys-of {name}"
        ))
    };
    assert_eq!(printed("bob").stdout, "");
    assert_eq!(printed("alice").ok(), sh("cut -d' ' -f1,2 /sandbox/keys/alice.pub"));
    // Whoever is refused has a key that reads the refusal at sshd, and none here.
    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.sync();
    for (name, why) in [
        ("carol", "carol may not log in here (keymaker why carol)"),
        ("root", "local account"),
        (
            "nobody-at-all",
            "resolves to another account than the IAM user, or to none",
        ),
        ("alice bob", "usage: keymaker-keys-of NAME"),
    ] {
        let refused = printed(name).refused();
        assert_eq!(refused.stdout, "", "{name}");
        assert!(refused.stderr.contains(why), "{refused}");
    }
    sh(&format!("mv /run/pam-sudo {pam}; rm /etc/sudoers.d/e2e-agent"));
}

fn plant(user: &str) {
    sh(&format!(
        "cd ~{user} && mkdir -p -m 700 .ssh && cp /sandbox/keys/intruder.pub .ssh/authorized_keys
         cp .ssh/authorized_keys .ssh/authorized_keys2; chown -R {user}: .ssh; chmod 600 .ssh/*"
    ));
}
