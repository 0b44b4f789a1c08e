//! What may never depend on Keymaker: root and local users log in, whatever has become of its parts.

use std::time::Duration;

use e2e::{Host, NOISE, Outcome, run, sh, ssh, ssh_with_key, until};

const KEY: &str = "/sandbox/keys/break-glass";
const PUBLIC: &str = "/var/lib/keymaker/public";

/// A host on which root and the local user lola have a key of their own in `authorized_keys`, as before there was
/// Keymaker.
struct LocalUsers {
    healthy: Duration,
    _host: Host,
}

impl LocalUsers {
    #[track_caller]
    fn on_a_fresh_host() -> Self {
        let host = Host::fresh();
        sh("sandbox-key break-glass ed25519; useradd -m -s /bin/bash lola
            for h in /root /home/lola; do install -d -m 700 -o $(stat -c %u $h) $h/.ssh
              install -m 600 -o $(stat -c %u $h) /sandbox/keys/break-glass.pub $h/.ssh/authorized_keys; done");
        ssh("alice", "true").ok();
        let healthy = ["root", "lola"].map(|user| login(user).took).into_iter().max();
        Self {
            healthy: healthy.unwrap_or_default(),
            _host: host,
        }
    }

    /// Root and lola log in, become each other, and resolve; each as fast as on the sound host.
    #[track_caller]
    fn get_in(&self, state: &str) {
        for user in ["root", "lola"] {
            let login = login(user);
            assert_eq!(login.status, 0, "{state}: {login}");
            assert!(
                login.took < self.healthy + NOISE,
                "{state}: {login} where {:?} was usual",
                self.healthy
            );
        }
        let elsewhere = run("su - lola -c 'id -un' && sudo -n -u lola id -un && getent passwd root lola && id lola");
        assert_eq!(elsewhere.status, 0, "{state}: {elsewhere}");
        assert!(elsewhere.took < Duration::from_secs(2) + NOISE, "{state}: {elsewhere}");
    }
}

fn login(user: &str) -> Outcome {
    ssh_with_key(KEY, user, "id -un")
}

/// Nobody of ours gets further than a refusal while what decides about them is not there.
#[track_caller]
fn alice_is_kept_out(state: &str) {
    let login = ssh("alice", "echo I am in");
    assert!(
        login.status != 0 && !login.stdout.contains("I am in"),
        "{state}: {login}"
    );
    assert!(login.took < Duration::from_secs(12), "{state}: {login}");
}

// P12
#[test]
fn root_and_local_users_log_in_with_keymakerd_stopped_killed_or_hung() {
    let local = LocalUsers::on_a_fresh_host();
    for (state, line) in [
        ("keymakerd stopped", "systemctl stop keymakerd"),
        (
            "keymakerd killed, its sockets left behind",
            "systemctl start keymakerd; systemctl kill -s KILL keymakerd; systemctl stop keymakerd",
        ),
        ("sockets gone", "systemctl start keymakerd; rm -f /run/keymaker/*.sock"),
        (
            "something else in the sockets' place",
            "systemctl stop keymakerd; rm -rf /run/keymaker/*.sock; mkfifo -m 666 /run/keymaker/lookup.sock; touch /run/keymaker/login.sock",
        ),
        (
            "a settings file that nobody can read",
            "echo 'max_stale = tomorrow' >> /etc/keymaker/keymakerd.toml; systemctl restart --no-block keymakerd",
        ),
    ] {
        sh(line);
        local.get_in(state);
        // What is published stands.
        ssh("alice", "true").ok();
    }
    sh(
        "systemctl stop keymakerd; sed -i '$d' /etc/keymaker/keymakerd.toml; rm -f /run/keymaker/*.sock; systemctl start keymakerd",
    );
    sh("kill -STOP $(systemctl show -p MainPID --value keymakerd)");
    local.get_in("keymakerd hung");
    ssh("alice", "true").ok();
    local.get_in("keymakerd hung, with a queue of questions");
    sh("systemctl kill -s KILL keymakerd");
}

// P12
#[test]
fn root_and_local_users_log_in_with_keymakerds_files_deleted_truncated_or_full_of_noise() {
    let local = LocalUsers::on_a_fresh_host();
    sh(&format!("systemctl stop keymakerd; cp -a {PUBLIC} /run/e2e/public"));
    let each = |change: &str| format!("cd {PUBLIC}; for f in directory keys; do {change}; chown keymakerd: $f; done");
    let states = [
        ("empty", each(": > $f")),
        ("cut to one byte", each("truncate -s 1 $f")),
        ("cut to half", each("truncate -s $(($(stat -c %s $f) / 2)) $f")),
        ("one byte short", each("truncate -s -1 $f")),
        (
            "noise",
            each("head -c $(stat -c %s $f) /dev/urandom > n; cat n > $f; rm n"),
        ),
        (
            "noise behind an intact head",
            each("s=$(stat -c %s $f); { head -c 64 $f; head -c $((s - 64)) /dev/urandom; } > n; cat n > $f; rm n"),
        ),
        (
            "zeros",
            each("head -c $(stat -c %s $f) /dev/zero > n; cat n > $f; rm n"),
        ),
        ("a hundred megabytes long", each("truncate -s 100M $f")),
        ("folders", each("rm $f; mkdir $f")),
        ("pipes without a writer", each("rm $f; mkfifo -m 644 $f")),
        ("links to /dev/zero", each("ln -sf /dev/zero $f")),
        ("terminals", each("rm $f; mknod $f c 5 2")),
        ("writable by everybody", each("chmod 666 $f")),
        ("another user's", format!("chown lola {PUBLIC}/directory {PUBLIC}/keys")),
        ("gone", format!("rm {PUBLIC}/*")),
        ("without a folder", format!("rm -r {PUBLIC}")),
        ("unreachable", "chmod 0 /var/lib/keymaker".to_owned()),
        ("without any trace", "rm -rf /var/lib/keymaker".to_owned()),
    ];
    for (state, change) in states {
        sh(&change);
        local.get_in(&format!("the files are {state}"));
        if state != "unreachable" {
            // Root reads what it likes; but the keys command is not root.
            alice_is_kept_out(&format!("the files are {state}"));
        }
        sh(&format!(
            "install -d -m 755 -o keymakerd -g keymakerd /var/lib/keymaker; rm -rf {PUBLIC}; cp -a /run/e2e/public {PUBLIC}"
        ));
        ssh("alice", "true").ok();
    }
}

#[test]
fn a_keymakerd_started_over_damaged_files_makes_new_ones_and_alice_gets_in() {
    let _local = LocalUsers::on_a_fresh_host();
    for damage in [
        format!("rm {PUBLIC}/*"),
        format!("for f in directory keys; do head -c 5000 /dev/urandom > {PUBLIC}/$f; done"),
        format!("for f in directory keys; do truncate -s 100 {PUBLIC}/$f; done"),
        "echo nonsense > /var/lib/keymaker/private/facts.json".to_owned(),
        "rm -rf /var/lib/keymaker/*".to_owned(),
    ] {
        sh(&format!(
            "systemctl stop keymakerd; {damage}; systemctl start keymakerd"
        ));
        until(
            &format!("alice gets in after: {damage}"),
            Duration::from_secs(15),
            || ssh("alice", "true").status == 0,
        );
    }
}

// P3
#[test]
fn a_keymakerd_whose_kept_settings_are_damaged_guesses_none_and_names_the_remedy() {
    let _local = LocalUsers::on_a_fresh_host();
    let kept = "/var/lib/keymaker/private/settings.json";
    sh(&format!("systemctl stop keymakerd; echo nonsense > {kept}"));
    run("systemctl start keymakerd").refused();
    let said = sh("journalctl -u keymakerd -o cat -n 20");
    assert!(said.contains(&format!("{kept} is damaged")), "{said}");
    assert!(said.contains("or remove it and public/directory"), "{said}");
    // What is published stands meanwhile.
    ssh("alice", "true").ok();
    sh(&format!(
        "systemctl reset-failed keymakerd; rm {kept} {PUBLIC}/directory; systemctl start keymakerd"
    ));
    until("alice gets in", Duration::from_secs(15), || {
        ssh("alice", "true").status == 0
    });
}

/// Puts files away and back again, also when a check between fails.
struct Missing(Vec<(String, String)>);

impl Missing {
    #[track_caller]
    fn files(pattern: &str) -> Self {
        let found = sh(&format!("ls -d {pattern}"));
        let moved = found
            .lines()
            .map(|path| (path.to_owned(), format!("{path}.e2e")))
            .collect::<Vec<_>>();
        assert!(!moved.is_empty(), "nothing is called {pattern}");
        for (path, aside) in &moved {
            sh(&format!("cp -a {path} {aside} && rm {path}"));
        }
        Self(moved)
    }

    /// What lies there instead.
    #[track_caller]
    fn replaced_by(&self, content: &str) {
        for (path, _) in &self.0 {
            sh(&format!("{content} > {path}; chmod 755 {path}"));
        }
    }
}

impl Drop for Missing {
    fn drop(&mut self) {
        for (path, aside) in &self.0 {
            run(&format!("mv -f {aside} {path}"));
        }
    }
}

// P12
#[test]
fn root_and_local_users_log_in_with_a_program_or_module_of_ours_gone_or_damaged() {
    let local = LocalUsers::on_a_fresh_host();
    for pattern in [
        "/lib/*/security/pam_keymaker.so",
        "/lib/*/libnss_keymaker.so.2",
        "/usr/libexec/keymaker/keymaker-keys",
        "/usr/libexec/keymaker/refusal",
        "/usr/sbin/keymakerd",
    ] {
        let missing = Missing::files(pattern);
        local.get_in(&format!("{pattern} is gone"));
        missing.replaced_by(":");
        local.get_in(&format!("{pattern} is empty"));
        missing.replaced_by("head -c 100000 /dev/urandom");
        local.get_in(&format!("{pattern} is noise"));
        // Not cut later: no program survives loading a library whose end is missing (the linker maps what is not
        // there). dpkg renames whole files into place.
        missing.replaced_by(&format!("head -c 500 {pattern}.e2e"));
        local.get_in(&format!("{pattern} is cut off in its head"));
        if !pattern.ends_with("refusal") && !pattern.ends_with("keymakerd") {
            // The keys command judges as PAM does, so that a host without the PAM module does not let in whom it
            // refuses.
            drop(missing);
            ssh("alice", "true").ok();
        }
    }
}

// P7 P12
#[test]
fn with_the_pam_module_gone_who_is_refused_stays_refused_and_local_users_get_in() {
    let local = LocalUsers::on_a_fresh_host();
    let _missing = Missing::files("/lib/*/security/pam_keymaker.so");
    local.get_in("the PAM module is gone");
    sh("systemctl stop keymakerd; touch -d '25 hours ago' /var/lib/keymaker/public/contact");
    alice_is_kept_out("the PAM module is gone and the facts are stale");
}

// P12
#[test]
fn root_and_local_users_log_in_without_the_group_and_the_users_that_the_package_made() {
    let local = LocalUsers::on_a_fresh_host();
    sh("sed -i '/^keymaker-users:/d' /etc/group");
    local.get_in("the group keymaker-users is gone");
    alice_is_kept_out("the group keymaker-users is gone");
    sh("sed -i '/^keymaker-keys:/d' /etc/passwd");
    local.get_in("the user keymaker-keys is gone too");
    sh("sed -i '/^keymakerd:/d' /etc/passwd; systemctl restart --no-block keymakerd");
    local.get_in("the user keymakerd is gone too");
}

// P12
#[test]
fn root_and_local_users_log_in_with_the_packages_half_removed_and_half_installed() {
    let local = LocalUsers::on_a_fresh_host();
    let mut packages = vec!["libpam-keymaker", "libnss-keymaker", "keymaker", "keymaker-cli"];
    if !e2e::is_long() {
        // What is loaded into sshd.
        packages.truncate(2);
    }
    let reinstall = || {
        // A second package of the same name in another architecture is not there; every .deb is one of ours.
        sh("DEBIAN_FRONTEND=noninteractive dpkg -i $(ls /sandbox/packages/*.deb | grep -vE 'dbgsym|credd') 2>&1");
    };
    for package in &packages {
        sh(&format!("dpkg --force-depends -r {package} 2>&1"));
        local.get_in(&format!("{package} alone is removed"));
        reinstall();
        local.get_in(&format!("{package} is there again"));
    }
    for package in &packages {
        // A removal that stops in the middle: the files are gone, and what the last script takes back is not.
        let script = sh(&format!(
            "ls /var/lib/dpkg/info/{package}{{,:*}}.p*rm 2>/dev/null | tail -n1"
        ));
        if script.is_empty() {
            continue;
        }
        sh(&format!(
            "cp -a {script} /run/e2e/postrm; printf '#!/bin/sh\\nexit 1\\n' > {script}"
        ));
        run(&format!("dpkg --force-depends -r {package}")).refused();
        local.get_in(&format!("{package} is half removed"));
        sh(&format!("cp -a /run/e2e/postrm {script}"));
        reinstall();
    }
    for package in &packages {
        sh(&format!(
            "dpkg --force-depends -r {package} 2>&1; dpkg --unpack $(ls /sandbox/packages/{package}_*.deb) 2>&1"
        ));
        local.get_in(&format!("{package} is unpacked and not configured"));
        sh("DEBIAN_FRONTEND=noninteractive dpkg --configure -a 2>&1");
    }
    sh("systemctl restart keymakerd");
    until("alice gets in again", Duration::from_secs(15), || {
        ssh("alice", "true").status == 0
    });
    sh("dpkg --purge keymaker libpam-keymaker libnss-keymaker 2>&1");
    local.get_in("everything is purged");
    alice_is_kept_out("everything is purged");
    sh("mkdir -p /etc/keymaker; cp -a /run/e2e/etc/keymaker/keymakerd.toml /etc/keymaker/");
    reinstall();
}
