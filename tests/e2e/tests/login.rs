//! The way in: the first login, sudo, the home, the keys, and the hosts on which something about that is unusual.

use std::path::Path;
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
fn the_sudo_rule_comes_and_goes_with_the_setting_and_is_left_once_it_was_edited() {
    let host = Host::fresh();
    let rule = "/etc/sudoers.d/keymaker";
    let is_there = || Path::new(rule).exists();
    let why = || sh("keymaker why alice --json | jq -c '[.becomes_root, .sudo]'");
    let status = || sh("keymaker status --json | jq -r .sudo");
    assert!(!is_there());
    // In the group sudo by IAM, and of no use to her.
    let said = why();
    assert!(
        said.starts_with("[false,") && said.contains("in the group sudo, and sudo asks for a password"),
        "{said}"
    );
    assert!(status().contains("sudo_iam_group is not set"), "{}", status());
    host.add_settings("sudo_iam_group = \"keymaker_sudo\"");
    host.reload();
    assert_eq!(
        sh(&format!("stat -c '%a %U %G' {rule}; visudo -q -c && echo accepted")),
        "440 root root\naccepted"
    );
    assert_eq!(ssh("alice", "sudo -n id -u").ok(), "0");
    let said = why();
    assert!(
        said.starts_with("[true,") && said.contains("without a password"),
        "{said}"
    );
    assert!(
        status().contains("keymaker_sudo become root without a password"),
        "{}",
        status()
    );
    let seen_by_bob = ssh("bob", "keymaker why alice --json | jq -c .becomes_root").ok();
    assert_eq!(seen_by_bob, "null");
    // A mistake changes nothing.
    host.add_settings("nonsense = 1");
    run("systemctl reload keymakerd").refused();
    run("systemctl start keymaker-sudo").refused();
    assert!(is_there());
    sh("sed -i '/^nonsense/d; /^sudo_iam_group/d' /etc/keymaker/keymakerd.toml");
    host.reload();
    assert!(!is_there());
    ssh("alice", "sudo -n id -u").refused();
    // A restart counts like a reload; and what somebody wrote there is theirs.
    host.add_settings("sudo_iam_group = \"keymaker_sudo\"");
    sh("systemctl restart keymakerd");
    assert!(is_there());
    sh(&format!(
        "echo '# mine' >> {rule}; sed -i '/^sudo_iam_group/d' /etc/keymaker/keymakerd.toml; systemctl reload keymakerd"
    ));
    assert!(sh(&format!("cat {rule}")).ends_with("# mine"));
    // What the unit may write is sudo's folder alone, and it needs no capability for that.
    assert_eq!(
        sh("systemctl show -P ReadWritePaths -P CapabilityBoundingSet keymaker-sudo").trim(),
        "-/etc/sudoers.d"
    );
    sh(&format!("rm {rule}"));
    // Where /etc cannot be written, the daemon runs all the same.
    host.add_settings("sudo_iam_group = \"keymaker_sudo\"");
    sh(
        "mount --bind /etc/sudoers.d /etc/sudoers.d; mount -o remount,bind,ro /etc/sudoers.d; systemctl restart keymakerd",
    );
    let failed = run("systemctl is-failed keymaker-sudo");
    sh("umount /etc/sudoers.d; systemctl is-active keymakerd");
    assert!(failed.stdout.contains("failed") && !is_there(), "{failed}");
    sh("systemctl start keymaker-sudo");
    assert!(is_there());
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
