//! Proofs beside keys: where they are off nothing is otherwise than before, and where they are on, nothing of them keeps a key out.

use std::path::Path;
use std::time::Duration;

use counted::Budgets;
use e2e::proofs::{KEYS, ON, key, keymaker_ssh, ssh_by, tell_sshd, with_proofs};
use e2e::{Host, journal, run, sh, ssh, until};

const CERTIFICATES: &str = include_str!("../clients/certificates.py");

// P24
#[test]
fn where_proofs_are_off_sshd_asks_as_before_and_where_they_are_on_nothing_of_them_keeps_keys_out() {
    let host = Host::fresh();
    let asks = || sh("sshd -T -C user=alice,host=localhost,addr=127.0.0.1 | grep '^authorizedkeyscommand '");
    let off = asks();
    assert!(off.ends_with("keymaker-keys %u %U %f"), "{off}");
    assert!(!Path::new(KEYS).exists());
    drop(host);
    let host = with_proofs(ON);
    assert!(asks().ends_with("keymaker-keys %u %U %f %t %k"), "{}", asks());
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    let proofs = "/usr/libexec/keymaker/proof";
    let roots = roots_key();
    for (broken, mended) in [
        // A panic inside the verifier.
        (
            format!("mount --bind /sandbox/e2e/panicking-verifier {proofs}"),
            format!("umount {proofs}"),
        ),
        (format!("mount --bind /bin/false {proofs}"), format!("umount {proofs}")),
        (format!("chmod 0 {proofs}"), format!("chmod 755 {proofs}")),
        // As a panic ends it, and a fault in it, after a line that would open.
        (ends(proofs, &own, "exit 101"), format!("umount {proofs}")),
        (ends(proofs, &own, "kill -SEGV $$"), format!("umount {proofs}")),
        (
            "mount -t tmpfs -o size=4k,mode=0700,uid=keymaker-keys,gid=keymaker-keys full /run/keymaker-keys; \
             dd if=/dev/zero of=/run/keymaker-keys/zeros bs=4k count=2 2>/dev/null || true"
                .to_owned(),
            "umount /run/keymaker-keys".to_owned(),
        ),
        (
            "mv /run/keymaker-keys /run/away".to_owned(),
            "mv /run/away /run/keymaker-keys".to_owned(),
        ),
        (format!("mv {KEYS} /root/issuers"), format!("mv /root/issuers {KEYS}")),
    ] {
        sh(&format!("rm -f /run/keymaker-keys/*; {broken}"));
        let (by_proof, by_key, as_root) = (ssh_by(&own, "dave"), ssh("alice", "id -un"), ssh_by(&roots, "root"));
        // sshd would discard a match at any other status, and log the command with the certificate.
        let ended = sh(&format!(
            "set -- $(cat {own}-cert.pub); setpriv --reuid=keymaker-keys --regid=keymaker-keys --clear-groups /usr/libexec/keymaker/keymaker-keys \
             dave $(id -u dave) SHA256:x $1 $2 > /dev/null 2>&1; echo $?"
        ));
        sh(&mended);
        assert_eq!(ended, "0", "{broken}");
        assert_ne!(by_proof.status, 0, "{broken}: {by_proof}");
        assert_eq!(by_key.ok(), "alice", "{broken}");
        assert_eq!(as_root.ok(), "root", "{broken}");
    }
    let base64 = sh(&format!("cut -d' ' -f2 {own}-cert.pub | cut -c 1-200"));
    assert!(!journal("").contains(&base64), "the certificate is in the journal");
    sh("rm /root/.ssh/authorized_keys");
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
    // Without a ticket PAM lets nobody in whom the keys command let pass.
    sh("sed -i 's/login_by = .*/login_by = [\"iam-keys\"]/' /etc/keymaker/keymakerd.toml");
    host.reload();
    until("the keys are gone", Duration::from_secs(10), || {
        run(&format!("grep -q EC384_0 {KEYS}")).status != 0
    });
    ssh_by(&own, "dave").refused();
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
    tell_sshd();
    assert_eq!(asks(), off);
}

/// A key by which root logs in, until /root/.ssh/authorized_keys is gone.
fn roots_key() -> String {
    sh(
        "rm -f /root/roots*; ssh-keygen -q -t ed25519 -N '' -f /root/roots; mkdir -p -m 700 /root/.ssh; cat /root/roots.pub >> /root/.ssh/authorized_keys",
    );
    "/root/roots".to_owned()
}

/// Puts a program in the verifier's place that says what the verifier does, and then ends otherwise.
fn ends(verifier: &str, key: &str, how: &str) -> String {
    format!(
        "set -- $(cat {key}-cert.pub); said=$({verifier} $1 $2) && [ -n \"$said\" ] && \
         printf '#!/bin/sh\\necho \"%s\"\\necho thread main panicked >&2\\n{how}\\n' \"$said\" > /root/ends && chmod 755 /root/ends && \
         mount --bind /root/ends {verifier}"
    )
}

// P24
#[test]
fn however_many_or_broken_certificates_keep_no_key_from_working() {
    let _host = with_proofs(ON);
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    let own = key();
    let (batches, batch) = (if e2e::is_long() { 40 } else { 1 }, 250);
    let count = batches * batch;
    std::fs::write("/root/certificates.py", CERTIFICATES).unwrap();
    let roots = roots_key();
    let made = format!("/opt/aws/bin/python3 /root/certificates.py {own}-cert.pub dave $(id -u dave) {batch}");
    let flood = std::thread::spawn(move || {
        let became = (0..batches).map(|number| sh(&format!("{made} {}", number * batch)));
        became.collect::<Vec<_>>().join("\n")
    });
    let mut logins = 0;
    while !flood.is_finished() {
        assert_eq!(ssh("alice", "id -un").ok(), "alice");
        assert_eq!(ssh_by(&roots, "root").ok(), "root");
        logins += 1;
    }
    let became = flood.join().unwrap();
    sh("rm /root/.ssh/authorized_keys");
    println!("{logins} logins of alice and of root beside them; {became}");
    assert!(logins > 0);
    let line = |begins: &str| -> u32 {
        let found = became.lines().filter_map(|line| line.strip_prefix(begins));
        found.map(|count| count.trim().parse::<u32>().unwrap()).sum()
    };
    assert_eq!(line("broken: exit 0, 0 lines: "), count / 2, "{became}");
    // As many certificates of one token as may have a ticket, of which dave's own login had one.
    assert_eq!(line("another: exit 0, 1 lines: "), 3, "{became}");
    assert_eq!(line("another: exit 0, 0 lines: "), count / 2 - 3, "{became}");
    assert_eq!(sh("ls /run/keymaker-keys/$(id -u dave).* | wc -l"), "4");
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
    // Of any size, offered before a plain key, on one connection.
    for (bytes, options) in [(4_097, 1), (90_000, 3), (130_000, 3)] {
        let pad = "x".repeat(bytes / options);
        let pads = (0..options)
            .map(|number| format!("-O extension:pad{number}@x={pad}"))
            .collect::<Vec<_>>()
            .join(" ");
        std::fs::write(
            "/root/large.sh",
            format!(
                "rm -rf /root/large; mkdir /root/large; cd /root/large; ssh-keygen -q -t ed25519 -N '' -f key
                 ssh-keygen -q -s key -I 1 -n keymaker-proof -V +5m {pads} key.pub; stat -c %s key-cert.pub"
            ),
        )
        .unwrap();
        assert!(sh("sh /root/large.sh").parse::<usize>().unwrap() > bytes);
        let by_both = run(
            "ssh -v -F none -i /root/large/key -i /sandbox/keys/alice -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=10 alice@localhost id -un",
        );
        assert!(
            by_both
                .reads()
                .contains("Offering public key: /root/large/key ED25519-CERT"),
            "{by_both}"
        );
        assert_eq!(by_both.ok(), "alice", "{bytes}");
    }
}

// P24
#[test]
fn an_sshd_before_8_1_asks_as_before_and_says_that_proofs_open_nothing() {
    let _host = with_proofs(ON);
    // What sshd 8.0 answers there; a key of more than 4,096 bytes would end its whole connection.
    sh("cp /usr/sbin/sshd /root/sshd-of-this-host
        printf '#!/bin/sh\\n[ \"$1\" != -V ] || { echo unknown option -- V; echo OpenSSH_8.0p1, OpenSSL 1.1.1k; exit 1; } >&2\\nexec /root/sshd-of-this-host \"$@\"\\n' > /root/sshd-8.0
        chmod 755 /root/sshd-8.0; mount --bind /root/sshd-8.0 /usr/sbin/sshd");
    let told = run("/usr/libexec/keymaker/sshd-drop-in");
    sh("umount /usr/sbin/sshd; rm /root/sshd-8.0 /root/sshd-of-this-host");
    assert_eq!(told.status, 0, "{told}");
    assert!(
        told.reads()
            .contains("AuthorizedKeysCommand /usr/libexec/keymaker/keymaker-keys %u %U %f\n"),
        "{told}"
    );
    assert!(
        told.reads()
            .contains("sshd is older than OpenSSH 8.1 (it says: 8.0): nobody can log in by proof"),
        "{told}"
    );
}

// P24
#[test]
fn a_plain_key_costs_the_same_system_calls_whether_proofs_are_on_or_off() {
    let calls_for = |arguments: &str| {
        sh(&format!(
            "strace -o /root/strace setpriv --reuid=keymaker-keys --regid=keymaker-keys --clear-groups env -i \
             /usr/libexec/keymaker/keymaker-keys alice $(id -u alice) SHA256:x {arguments} > /root/lines && [ -s /root/lines ] && \
             sed -n '/execve.*keymaker-keys/,$s/^\\([a-z0-9_]*\\)(.*/\\1/p' /root/strace"
        ))
    };
    let host = Host::fresh();
    let off = calls_for("");
    drop(host);
    let _host = with_proofs(ON);
    let on = calls_for("$(cut -d' ' -f1,2 /sandbox/keys/alice.pub)");
    assert!(off.lines().count() > 20, "{off}");
    assert_eq!(on, off);
    let mut budgets = Budgets::default();
    budgets.judge("keys-command", "calls", off.lines().count() as f64);
    budgets.are_kept();
    // What the keys command looks at, as it was before there were proofs.
    let looked_at = sh("sed -n '/execve.*keymaker-keys/,$p' /root/strace | \
         grep -oE '^[a-z0-9]+\\(.*\"(/etc/(passwd|group)|/var/lib/keymaker/[^\"]*|/run/keymaker[^\"]*|/home[^\"]*)\"' | sed -E 's/^([a-z0-9]+)\\(.*\"([^\"]*)\"$/\\1 \\2/'");
    // At the heartbeat only where the answer is not there at once.
    let looked_at = looked_at.replace("statx /run/keymaker/alive\n", "");
    assert_eq!(looked_at, LOOKED_AT, "{looked_at}");
}

/// By a key login where proofs are off: files, and the socket at which it asks.
const LOOKED_AT: &str = "openat /etc/passwd
openat /etc/group
openat /etc/passwd
connect /run/keymaker/login.sock
statx /var/lib/keymaker/public
openat /var/lib/keymaker/public/directory
openat /etc/passwd
statx /var/lib/keymaker/public
openat /var/lib/keymaker/public/directory
statx /etc/passwd
statx /etc/group
openat /etc/passwd
openat /etc/group
statx /var/lib/keymaker/public
openat /var/lib/keymaker/public/keys
statx /var/lib/keymaker/public
openat /var/lib/keymaker/public/contact
statx /home
statx /home/alice";
