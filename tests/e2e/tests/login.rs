//! The way in: the first login, sudo, the home, the keys, and the hosts on which something about that is unusual.

use std::time::{Duration, Instant};

use e2e::{Host, groups, journal, make_user, run, sh, ssh, ssh_at_a_terminal, ssh_with_key, uid, until};

/// IAM shows a user at once in the sandbox; a negative answer is kept for 5 s.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);

// P6
#[test]
fn the_first_login_ever_makes_a_home_with_skel_in_it_and_gives_the_groups() {
    let _host = Host::fresh();
    sh("echo hello > /etc/skel/welcome && chmod 640 /etc/skel/welcome");
    let uid = uid("alice");
    let seen = ssh(
        "alice",
        "pwd; id -u; id -Gn; stat -c '%a %u %g' . .bashrc welcome; cat welcome",
    )
    .ok();
    sh("rm /etc/skel/welcome");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "/home/alice");
    assert_eq!(lines[1], uid.to_string());
    let mut groups: Vec<&str> = lines[2].split(' ').collect();
    groups.sort();
    assert_eq!(groups, ["alice", "devs", "keymaker-users", "sudo"]);
    assert_eq!(
        lines[3..],
        [
            format!("700 {uid} {uid}"),
            format!("644 {uid} {uid}"),
            format!("640 {uid} {uid}"),
            "hello".to_owned()
        ]
    );
}

#[test]
fn who_is_in_the_sudo_group_of_iam_becomes_root_without_a_password_and_nobody_else() {
    let _host = Host::with_settings("sudo_iam_group = \"keymaker_sudo\"");
    assert_eq!(ssh("alice", "sudo -n id -u").ok(), "0");
    let bob = ssh("bob", "sudo -n id -u").refused();
    assert!(bob.stdout.is_empty(), "{bob}");
    assert!(!groups("bob").contains(&"keymaker-sudo".to_owned()));
}

#[test]
fn without_a_sudo_group_the_local_group_sudo_alone_makes_nobody_root_without_a_password() {
    let _host = Host::fresh();
    assert!(groups("alice").contains(&"sudo".to_owned()));
    let alice = ssh("alice", "sudo -n id -u").refused();
    assert!(alice.stdout.is_empty(), "{alice}");
}

// P6
#[test]
fn one_ssh_suffices_for_a_user_made_a_moment_ago() {
    let _host = Host::fresh();
    make_user("dave", &["keymaker_devs", "prod_ssh_users"]);
    assert_eq!(ssh("dave", "id -Gn; pwd").ok(), "dave keymaker-users devs\n/home/dave");
}

// P6
#[test]
fn one_ssh_suffices_six_seconds_after_an_attempt_that_came_too_early() {
    let _host = Host::fresh();
    ssh("dave", "true").refused();
    let attempt = Instant::now();
    make_user("dave", &["prod_ssh_users"]);
    until("the negative answer may be forgotten", NEGATIVE_TTL * 2, || {
        attempt.elapsed() > NEGATIVE_TTL + Duration::from_secs(1)
    });
    ssh("dave", "true").ok();
}

// P8
#[test]
fn a_key_planted_in_a_users_home_opens_nothing_and_a_local_users_own_does() {
    let _host = Host::fresh();
    sh("sandbox-key intruder");
    ssh("bob", "true").ok();
    plant("bob");
    ssh_with_key(INTRUDER, "bob", "true").refused();
    ssh("bob", "true").ok();
    sh("useradd -m -s /bin/bash lola && mkdir -m 700 /home/lola/.ssh && chown lola: /home/lola/.ssh");
    plant("lola");
    assert_eq!(ssh_with_key(INTRUDER, "lola", "id -un").ok(), "lola");
}

const INTRUDER: &str = "/sandbox/keys/intruder";

fn plant(user: &str) {
    sh(&format!(
        "cd ~{user} && mkdir -p -m 700 .ssh && cp /sandbox/keys/intruder.pub .ssh/authorized_keys
         cp .ssh/authorized_keys .ssh/authorized_keys2; chown -R {user}: .ssh; chmod 600 .ssh/*"
    ));
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
    ssh_with_key("/root/ca/guest", "alice", "true").refused();
    ssh("alice", "true").ok();
}

// P6
#[test]
fn a_login_in_the_first_second_of_a_first_boot_works_or_is_refused_cleanly_and_works_a_second_later() {
    let _host = Host::unstarted();
    sh("systemctl stop ssh; systemctl start --no-block keymakerd ssh");
    until("sshd listens", Duration::from_secs(10), || {
        run("nc -z localhost 22").status == 0
    });
    let listening = Instant::now();
    let first = ssh("alice", "true");
    assert!(first.took < Duration::from_secs(5), "{first}");
    if first.status != 0 {
        let text = first.reads();
        assert!(
            text.contains("Permission denied") || text.contains("keymaker:"),
            "{first}"
        );
        until("a second has passed", Duration::from_secs(2), || {
            listening.elapsed() > Duration::from_secs(1)
        });
        ssh("alice", "true").ok();
    }
}

// P11
#[test]
fn a_full_disk_under_home_lets_the_login_go_on_and_leaves_no_half_home() {
    let _host = Host::fresh();
    sh(
        "mount -t tmpfs -o size=64k,mode=755 tmpfs /home && { head -c 100k /dev/zero > /home/ballast; true; } 2>/dev/null",
    );
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
    let alice = ssh_at_a_terminal("alice", "id -un").ok();
    assert!(
        alice.contains("your home directory /home/alice could not be made"),
        "{alice}"
    );
    assert_eq!(sh("ls -A /home"), "ballast");
    assert!(journal("-t sshd").contains("could not make the home /home/alice"));
    sh("rm /home/ballast");
    assert_eq!(ssh("alice", "stat -c %a ~").ok(), "700");
}

// P11
#[test]
fn a_home_folder_in_which_root_may_not_write_lets_the_login_go_on() {
    let _host = Host::fresh();
    sh("mount -t tmpfs -o mode=755 tmpfs /home && mount -o remount,ro /home");
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
    let alice = ssh_at_a_terminal("alice", "id -un").ok();
    assert!(
        alice.contains("your home directory /home/alice could not be made"),
        "{alice}"
    );
    assert_eq!(sh("ls -A /home"), "");
}

// P3
#[test]
fn a_full_disk_under_keymakerds_files_lets_known_users_in_and_keymakerd_start() {
    let host = Host::unstarted();
    sh("mount -t tmpfs -o size=256k,mode=755 tmpfs /var/lib/keymaker && chown keymakerd: /var/lib/keymaker");
    host.add_settings("authz_ttl = 1");
    host.start();
    ssh("alice", "true").ok();
    sh("{ head -c 1M /dev/zero > /var/lib/keymaker/ballast; true; } 2>/dev/null");
    make_user("dave", &[]);
    ssh("alice", "true").ok();
    sh("systemctl restart keymakerd");
    ssh("alice", "true").ok();
    ssh("dave", "true").refused();
    sh("rm /var/lib/keymaker/ballast");
    until("dave gets in when there is space again", NEGATIVE_TTL * 2, || {
        ssh("dave", "true").status == 0
    });
}
