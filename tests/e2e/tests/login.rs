//! The way in: the first login, sudo, the home, the keys, and the hosts on which something about that is unusual.

use std::time::{Duration, Instant};

use e2e::{Host, calls, groups, journal, make_user, run, sh, ssh, uid, until};

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

// P6
#[test]
fn a_login_in_the_first_second_of_a_boot_works_or_is_refused_cleanly() {
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

// P6
#[test]
fn one_ssh_suffices_while_a_local_user_spends_all_the_questions_that_local_users_have() {
    let host = Host::fresh();
    host.scan_as_local_user();
    until("eve gets no answer any more", Duration::from_secs(10), || {
        run("runuser -u eve -- getent passwd nobody-has-this").status != 0 && calls("GetUser") >= 6
    });
    make_user("dave", &[]);
    ssh("dave", "true").ok();
    let asked = calls("GetUser");
    assert!(asked < 60, "a local user made keymakerd ask IAM {asked} times");
}

// P6
#[test]
fn a_new_user_gets_in_within_a_minute_while_scanners_try_name_after_name() {
    let host = Host::fresh();
    host.scan_as_root();
    until("the bucket is empty", Duration::from_secs(20), || {
        calls("GetUser") >= 30
    });
    make_user("dave", &[]);
    until("dave gets in", Duration::from_secs(70), || {
        ssh("dave", "true").status == 0
    });
    let asked = calls("GetUser");
    assert!(asked < 30 + 2 * 90, "scanners made keymakerd ask IAM {asked} times");
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

// P9
#[test]
fn sshd_under_another_name_is_sshd() {
    let _host = Host::fresh();
    sh(
        "cp /usr/sbin/sshd /usr/local/sbin/sshd-other; cp /etc/pam.d/sshd /etc/pam.d/sshd-other
        /usr/local/sbin/sshd-other -p 2222 -o PidFile=/run/e2e/sshd-other.pid",
    );
    let options = "-p 2222 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
    sh(&format!("ssh {options} alice@localhost true"));
    until("the login is written down as one", Duration::from_secs(5), || {
        journal("").contains("pam_keymaker(sshd-other:session): login of alice")
    });
    sh("kill $(cat /run/e2e/sshd-other.pid); rm /usr/local/sbin/sshd-other /etc/pam.d/sshd-other");
}
