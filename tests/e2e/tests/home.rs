//! The home: made at the first login, whole or not at all, and never at the price of the login or of what is there
//! already.

use std::time::Duration;

use e2e::{Host, journal, run, sh, ssh, ssh_at_a_terminal, uid, until};

// P11
#[test]
fn what_is_there_already_is_never_chowned_chmodded_or_filled() {
    let _host = Host::fresh();
    let (alice, bob) = (uid("alice"), uid("bob"));
    sh(&format!(
        "mkdir -m 755 /home/alice && echo mine > /home/alice/diary && chown -R {alice}:100 /home/alice
         mkdir -m 700 /home/bob && chown 4242:0 /home/bob"
    ));
    assert_eq!(ssh("alice", "cat diary; ls -A").ok(), "mine\ndiary");
    let login = ssh("bob", "true").refused();
    assert!(
        login
            .reads()
            .contains("the home directory of bob belongs to somebody else"),
        "{login}"
    );
    assert_eq!(
        sh("stat -c '%n %a %u %g' /home/alice /home/alice/diary /home/bob; ls -A /home/bob"),
        format!("/home/alice 755 {alice} 100\n/home/alice/diary 644 {alice} 100\n/home/bob 700 4242 0")
    );
    assert_ne!(bob, 4242);
}

// P2 P6 P11
#[test]
fn a_home_is_made_in_a_folder_that_others_may_write_to_and_doctor_says_what_they_can_do() {
    for (mode, left) in [
        // Five digits, or chmod leaves the setgid bit that is there.
        ("02775", "others than root may move homes away in /home"),
        ("01777", ""),
        ("00777", "others than root may move"),
    ] {
        let _host = Host::fresh();
        sh(&format!("chgrp staff /home; chmod {mode} /home"));
        assert_eq!(
            ssh("alice", "stat -c '%a %U %G' ~; ls -A ~/.bashrc").ok(),
            "700 alice alice\n/home/alice/.bashrc",
            "{mode}"
        );
        let doctor = run("keymaker doctor --json").stdout;
        assert!(doctor.contains("others than root may"), "{mode}: {doctor}");
        assert!(doctor.contains(left), "{mode}: {doctor}");
        // What somebody of staff put there first is nobody's home.
        sh("setpriv --reuid nobody --regid staff --clear-groups ln -s /home/alice /home/bob");
        let login = ssh("bob", "true").refused();
        assert!(
            login
                .reads()
                .contains("the home directory of bob belongs to somebody else"),
            "{login}"
        );
        sh("chmod go-w /home; chmod -t /home; rm /home/bob");
        assert!(!run("keymaker doctor --json").stdout.contains("others than root may"));
        assert_eq!(ssh("bob", "pwd").ok(), "/home/bob");
    }
}

// P2
#[test]
fn a_home_that_is_roots_alone_lets_its_user_in_to_sftp_in_a_chroot() {
    let _host = Host::fresh();
    sh("install -d -m 755 /home/alice; install -d -m 777 /home/alice/incoming
        printf 'Match User alice\\n  ChrootDirectory /home/%%u\\n  ForceCommand internal-sftp\\n' > /etc/ssh/sshd_config.d/99-sftp.conf
        systemctl restart ssh; echo mine > /tmp/diary");
    let sftp = "sftp -q -b - -o StrictHostKeyChecking=no -i /sandbox/keys/alice alice@localhost";
    sh(&format!("printf 'put /tmp/diary incoming/diary\\nls -1\\n' | {sftp}"));
    assert_eq!(
        sh("stat -c '%a %u' /home/alice; cat /home/alice/incoming/diary"),
        "755 0\nmine"
    );
    assert!(sh("keymaker why alice").contains("is root's alone"));
    // The group may write: whoever is in it decides what the user's shell reads.
    sh("chmod g+w /home/alice");
    let why = run("keymaker why alice --json").stdout;
    assert!(why.contains("chmod go-w /home/alice"), "{why}");
    sh("rm /etc/ssh/sshd_config.d/99-sftp.conf; systemctl restart ssh");
    ssh("alice", "true").refused();
}

// P11
#[test]
fn a_link_in_the_place_of_a_home_is_not_followed() {
    let _host = Host::fresh();
    let look = "stat -c '%n %a %u %g' /root /srv /srv/other; ls -A /root /srv /srv/other";
    sh(
        "mkdir -m 700 /srv/other; chown 4242:4242 /srv/other; ln -s /srv/nowhere /home/alice; ln -s /srv/other /home/bob",
    );
    let before = sh(look);
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
    ssh("bob", "true").refused();
    assert_eq!(sh("readlink /home/alice /home/bob"), "/srv/nowhere\n/srv/other");
    // To what is root's alone: nobody's home, and nobody's rival.
    sh("ln -sfn /root /home/bob");
    assert_eq!(ssh("bob", "id -un").ok(), "bob");
    assert_eq!(sh(look), before);
}

// P11
#[test]
fn five_first_logins_at_once_all_get_in_and_find_one_whole_home() {
    let _host = Host::fresh();
    let logins: Vec<_> = (0..5)
        .map(|_| std::thread::spawn(|| ssh("alice", "ls -A | sort | tr '\\n' ' '")))
        .collect();
    let skel = sh("ls -A /etc/skel | sort | tr '\\n' ' '");
    for login in logins {
        assert_eq!(login.join().expect("ssh runs").ok(), skel);
    }
    assert_eq!(sh("ls -A /home"), "alice");
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
    until("the journal says so too", Duration::from_secs(5), || {
        journal("-t sshd").contains("no home at /home/alice: could not write")
    });
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
