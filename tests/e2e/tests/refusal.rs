//! Who is refused at login: their key runs nothing of theirs, whatever they ask sshd for, with PAM and without it; and
//! others come in.

use std::time::Duration;

use e2e::{Host, groups, run, sh, ssh, ssh_at_a_terminal, ssh_with_key, until};

const REQUIRED: &str = "require_iam_group = \"prod_ssh_users\"";
const RULES: &str = "/etc/ssh/sshd_config.d/00-e2e.conf";
const REMAKE_DROP_IN: &str =
    "new=$(/usr/libexec/keymaker/sshd-drop-in) && printf '%s\\n' \"$new\" > /etc/ssh/sshd_config.d/50-keymaker.conf";

/// What a shell, sshd and the dynamic linker read in a home, each leaving a file in /tmp/ran.
const TRAPS: &str = "cd /home/carol; mkdir -p .ssh
    for file in .bashrc .bash_profile .bash_login .profile .bash_logout .ssh/rc; do
      echo \"touch /tmp/ran/$(basename $file)\" > $file; done
    printf 'BASH_ENV=/home/carol/.bashrc\\nENV=/home/carol/.bashrc\\nLD_DEBUG=files\\nLD_DEBUG_OUTPUT=/tmp/ran/linker\\n' > .ssh/environment
    chown -R carol: /home/carol";

/// What the attempts use: options, and a connection for a forwarded port alone, up until the port is open or the
/// connection has ended. It ends by SIGKILL: ssh 9.2 may wait for minutes for something else after a SIGTERM.
const SETTING: &str = "o='-o BatchMode=yes -o ConnectTimeout=10 -o ExitOnForwardFailure=yes'
    forward() { ssh $o -N $1 $2:localhost:22 carol@localhost & p=$!
      until nc -z localhost $2; do kill -0 $p || return; sleep 0.1; done; }";

/// What carol asks sshd for, each a line of shell on the client's side.
const ATTEMPTS: [&str; 12] = [
    "ssh $o carol@localhost",
    "ssh $o carol@localhost touch /tmp/ran/command",
    "printf 'touch /tmp/ran/terminal\\nexit\\n' | ssh -tt $o carol@localhost",
    "ssh $o carol@localhost '. ./.bashrc'",
    "ssh $o -s carol@localhost ../../bin/bash",
    "echo 'put /etc/hostname /tmp/ran/sftp' | sftp $o -b - carol@localhost",
    "scp $o /etc/hostname carol@localhost:/tmp/ran/scp",
    "scp -O $o /etc/hostname carol@localhost:/tmp/ran/scp-old",
    "forward -L 2201 && nc -w 2 localhost 2201 < /dev/null | grep -q SSH- && touch /tmp/ran/local-forwarding; kill -9 $p",
    "forward -R 2202 && touch /tmp/ran/remote-forwarding; kill -9 $p",
    "ssh $o -W localhost:22 carol@localhost < /dev/null | grep -q SSH- && touch /tmp/ran/stdio-forwarding",
    "ssh $o -A -X -o SetEnv=LD_DEBUG=files carol@localhost env > /tmp/ran/environment && [ -s /tmp/ran/environment ] || rm /tmp/ran/environment",
];

/// A host on which carol has been before, with her traps, and who may not log in any more.
fn host_with_traps(rules: &str) -> Host {
    sh(&format!("rm -f {RULES}"));
    let host = Host::fresh();
    forget();
    ssh("carol", "true").ok();
    sh(TRAPS);
    // They do work: sshd and the shell obey them while she may log in.
    rule("PermitUserEnvironment yes");
    ssh_at_a_terminal("carol", "exit").ok();
    for trap in [".bash_profile", "rc", "linker"] {
        assert!(ran().contains(trap), "the trap {trap} does not work: {}", ran());
    }
    rule(rules);
    host.add_settings(REQUIRED);
    host.reload();
    let entry = sh("getent passwd carol");
    assert!(entry.ends_with(":/usr/libexec/keymaker/refusal"), "{entry}");
    assert_eq!(groups("carol"), ["carol", "keymaker-users"]);
    forget();
    host
}

fn rule(lines: &str) {
    sh(&format!(
        "printf '%s\\n' '{lines}' > {RULES}; sshd -t && systemctl reset-failed ssh && systemctl restart ssh"
    ));
}

fn forget() {
    sh("rm -rf /tmp/ran; mkdir -m 1777 /tmp/ran");
}

fn ran() -> String {
    sh("ls -A /tmp/ran")
}

/// Tries everything; returns what was read at each try.
fn try_everything() -> Vec<String> {
    let attempts = ATTEMPTS.iter().map(|attempt| {
        let seen = run(&format!(
            "{SETTING}
{attempt}"
        ))
        .ended();
        assert_eq!(ran(), "", "{attempt}: {seen}");
        seen.reads()
    });
    attempts.collect()
}

fn local_user() {
    sh(
        "id lena || useradd -m -s /bin/bash -p '*' lena; mkdir -p ~lena/.ssh; sandbox-key lena > ~lena/.ssh/authorized_keys; chown -R lena: ~lena",
    );
}

// P7
#[test]
fn a_refused_users_key_runs_nothing_of_theirs_with_pam() {
    let _host = host_with_traps("PermitUserEnvironment yes");
    for read in try_everything().into_iter().take(4) {
        assert!(read.contains("carol is not in the IAM group"), "{read}");
    }
    // Nor does root, by what asks no PAM account.
    let seen = run("runuser -l carol -c 'touch /tmp/ran/runuser'").refused();
    assert_eq!(ran(), "", "{seen}");
    assert!(seen.reads().contains("carol is not in the IAM group"), "{seen}");
    ssh("bob", "true").ok();
}

// P7 P12
#[test]
fn without_pam_iam_users_get_no_keys_and_local_users_log_in_as_before() {
    let host = host_with_traps("PermitUserEnvironment yes\nUsePAM no");
    local_user();
    let said = run(&format!("{REMAKE_DROP_IN}; systemctl restart ssh"));
    assert!(said.stderr.contains("UsePAM no"), "{said}");
    for read in try_everything() {
        assert!(!read.contains("is not in the IAM group"), "{read}");
    }
    // Neither a user who may log in, nor one about whom nobody can tell, whose published shell is their own.
    ssh("bob", "touch /tmp/ran/bob").refused();
    sh("sandbox-fault down; touch -d '25 hours ago' /var/lib/keymaker/public/contact");
    ssh("bob", "touch /tmp/ran/bob").refused();
    assert_eq!(ran(), "");
    ssh_with_key("/sandbox/keys/lena", "lena", "true").ok();
    let doctor = run("keymaker doctor").refused();
    assert!(
        doctor.reads().contains("IAM users get no keys and cannot log in"),
        "{doctor}"
    );
    sh("sandbox-fault none");
    host.sync();
    let remedy = sh("keymaker doctor --json | jq -r '.findings[] | select(.what | contains(\"usepam\")) | .remedy'");
    sh(&remedy);
    until("bob logs in", Duration::from_secs(10), || {
        ssh("bob", "true").status == 0
    });
    ssh("carol", "true").refused();
    sh(&format!("rm {RULES}; userdel -r lena; systemctl restart ssh"));
}

// P7
#[test]
fn with_pam_switched_off_the_refusal_is_a_refused_users_shell() {
    let _host = host_with_traps("UsePAM no");
    for read in try_everything().into_iter().take(2) {
        assert!(read.contains("carol is not in the IAM group"), "{read}");
    }
    // What an administrator has everybody run goes through the shell too.
    rule("UsePAM no\nMatch User carol\nForceCommand /usr/bin/touch /tmp/ran/forced\nMatch all");
    try_everything();
    let doctor = run("keymaker doctor").refused();
    assert!(doctor.reads().contains("usepam no"), "{doctor}");
    sh(&format!("rm {RULES}; systemctl restart ssh"));
}
