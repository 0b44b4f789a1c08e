//! `keymaker why` against the truth: what it says by machine of a user, in one broken situation after the other, and
//! whether a real ssh of the same user then gets in.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use e2e::{Host, run, sh};

/// What a host was before, and what a situation may change of it.
const BEFORE: &str = "/run/e2e-truth";
const KEPT: &str = "etc/ssh etc/pam.d etc/security etc/shells etc/nsswitch.conf etc/passwd etc/shadow etc/group \
    usr/libexec/keymaker usr/local/bin";

/// Something that is wrong, or looks as if it were.
struct Break {
    name: &'static str,
    /// Who logs in.
    user: &'static str,
    /// How it is made, by a line of shell; sshd is started anew afterwards.
    by: &'static str,
    /// Whether nobody could tell beforehand what comes of it.
    is_open: bool,
    /// Whether it can be told for one who comes from a known address.
    by_address: bool,
}

const fn shut_or_not(name: &'static str, by: &'static str) -> Break {
    Break {
        name,
        user: "alice",
        by,
        is_open: false,
        by_address: false,
    }
}

const fn by_address(name: &'static str, by: &'static str) -> Break {
    Break {
        by_address: true,
        ..untold(name, by)
    }
}

const fn untold(name: &'static str, by: &'static str) -> Break {
    Break {
        is_open: true,
        ..shut_or_not(name, by)
    }
}

const fn of(user: &'static str, name: &'static str) -> Break {
    Break {
        user,
        ..shut_or_not(name, "true")
    }
}

/// `sshd NAME LINE…`: a file of sshd's before ours. `unit OPTIONS`: sshd's command line.
const SHELL: &str = r#"
sshd() { printf '%s\n' "${@:2}" >> "/etc/ssh/sshd_config.d/00-$1.conf"; }
unit() { mkdir -p /run/systemd/system/ssh.service.d
    printf '[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D %s\n' "$*" > /run/systemd/system/ssh.service.d/truth.conf
    systemctl daemon-reload; }
pam() { sed -i "1i $*" /etc/pam.d/sshd; }
"#;

const BREAKS: [Break; 88] = [
    shut_or_not("nothing", "true"),
    // Which users sshd takes.
    shut_or_not("DenyUsers by pattern", "sshd lists 'DenyUsers a*e'"),
    shut_or_not(
        "DenyUsers, not the last line",
        "sshd lists 'DenyUsers alice' 'DenyUsers bob'",
    ),
    shut_or_not("DenyUsers of others", "sshd lists 'DenyUsers bob carol'"),
    shut_or_not("DenyUsers with an exclamation mark", "sshd lists 'DenyUsers !alice'"),
    shut_or_not("AllowUsers of others", "sshd lists 'AllowUsers bob carol'"),
    shut_or_not(
        "AllowUsers on the first of two lines",
        "sshd lists 'AllowUsers alice' 'AllowUsers bob'",
    ),
    shut_or_not("AllowUsers with an exclamation mark", "sshd lists 'AllowUsers !bob'"),
    shut_or_not(
        "AllowUsers and DenyUsers",
        "sshd lists 'AllowUsers alice' 'DenyUsers *'",
    ),
    by_address("AllowUsers from here", "sshd lists 'AllowUsers alice@127.0.0.1,::1'"),
    by_address("AllowUsers from elsewhere", "sshd lists 'AllowUsers alice@10.9.0.0/16'"),
    by_address("DenyUsers from here", "sshd lists 'DenyUsers alice@127.*,::1'"),
    shut_or_not("DenyUsers of others from here", "sshd lists 'DenyUsers bob@127.0.0.1'"),
    shut_or_not("DenyGroups", "sshd lists 'DenyGroups wheel keymaker-users'"),
    shut_or_not("DenyGroups by pattern", "sshd lists 'DenyGroups dev?'"),
    shut_or_not("AllowGroups of others", "sshd lists 'AllowGroups wheel adm'"),
    shut_or_not("AllowGroups", "sshd lists 'AllowGroups wheel' 'AllowGroups keymaker-*'"),
    shut_or_not(
        "a Match block for the user",
        "sshd lists 'Match User alice' 'DenyUsers *'",
    ),
    shut_or_not("a Match block for others", "sshd lists 'Match User bob' 'DenyUsers *'"),
    by_address(
        "a Match block for addresses",
        "sshd lists 'Match Address 127.0.0.1,::1' 'PubkeyAuthentication no'",
    ),
    shut_or_not(
        "a Match block for addresses, of no matter",
        "sshd lists 'Match Address 127.0.0.1,::1' 'X11Forwarding no'",
    ),
    shut_or_not("PermitRootLogin", "sshd root 'PermitRootLogin no'"),
    // Which keys.
    shut_or_not("keys too short", "sshd keys 'RequiredRSASize 8192'"),
    shut_or_not("keys long enough", "sshd keys 'RequiredRSASize 2048'"),
    shut_or_not(
        "keys of another type",
        "sshd keys 'PubkeyAcceptedAlgorithms ssh-ed25519'",
    ),
    shut_or_not("keys of this type", "sshd keys 'PubkeyAcceptedAlgorithms rsa-sha2-512'"),
    untold(
        "keys of this type, by what not every client does",
        "sshd keys 'PubkeyAcceptedAlgorithms rsa-sha2-256'",
    ),
    shut_or_not(
        "keys not of this type",
        "sshd keys 'PubkeyAcceptedAlgorithms -rsa-sha2-*'",
    ),
    Break {
        user: "edward",
        ..shut_or_not(
            "an ed25519 key where RSA is to be long",
            "sshd keys 'RequiredRSASize 8192'",
        )
    },
    Break {
        user: "edward",
        ..shut_or_not(
            "an ed25519 key where RSA is wanted",
            "sshd keys 'PubkeyAcceptedAlgorithms rsa-sha2-*'",
        )
    },
    shut_or_not("no keys", "sshd keys 'PubkeyAuthentication no'"),
    untold(
        "a second factor",
        "sshd keys 'Match all' 'AuthenticationMethods publickey,keyboard-interactive' 'KbdInteractiveAuthentication yes'",
    ),
    shut_or_not("any method", "sshd keys 'Match all' 'AuthenticationMethods any'"),
    shut_or_not("passwords", "sshd keys 'Match all' 'AuthenticationMethods password'"),
    shut_or_not("the drop-in is gone", "rm /etc/ssh/sshd_config.d/50-keymaker.conf"),
    shut_or_not(
        "another keys command",
        "sshd keys 'Match all' 'AuthorizedKeysCommand /usr/bin/false' 'AuthorizedKeysCommandUser nobody'",
    ),
    shut_or_not(
        "our keys command as another user",
        "sshd keys 'Match all' 'AuthorizedKeysCommandUser nobody'",
    ),
    shut_or_not(
        "our keys command as nobody there",
        "sshd keys 'Match all' 'AuthorizedKeysCommandUser nosuch'",
    ),
    shut_or_not(
        "keys of a home as well",
        "sshd keys 'Match all' 'AuthorizedKeysFile .ssh/authorized_keys'",
    ),
    shut_or_not("the keys command is gone", "rm /usr/libexec/keymaker/keymaker-keys"),
    shut_or_not(
        "the keys command is others' to change",
        "chmod o+w /usr/libexec/keymaker/keymaker-keys",
    ),
    untold(
        "the keys command is a group's to change",
        "chmod g+w /usr/libexec/keymaker/keymaker-keys",
    ),
    // How sshd runs.
    shut_or_not(
        "EC2 Instance Connect's command line",
        "unit '-o \"AuthorizedKeysCommand /usr/bin/true %%u %%f\" -o \"AuthorizedKeysCommandUser nobody\"'",
    ),
    shut_or_not(
        "a value that looks like options",
        "unit '-o \"AuthorizedKeysCommand /usr/bin/true -f %%u\" -o AuthorizedKeysCommandUser=nobody'",
    ),
    shut_or_not(
        "a list on the command line",
        "unit '-o \"AllowUsers bob carol\" -o DenyUsers=dora'",
    ),
    shut_or_not(
        "a list on the command line that names the user",
        "unit '-o \"AllowUsers bob alice\"'",
    ),
    shut_or_not(
        "another file",
        "cp -r /etc/ssh /usr/local/bin/ssh; echo 'DenyUsers alice' >> /usr/local/bin/ssh/sshd_config; unit -f /usr/local/bin/ssh/sshd_config",
    ),
    shut_or_not("without PAM", "sshd pam 'UsePAM no'"),
    shut_or_not("sshd is stopped", "after='systemctl stop ssh'"),
    untold("a mistake that sshd has not read", "after='sshd mistake Nonsense'"),
    untold(
        "a command in place of a shell",
        "sshd keys 'Match all' 'ForceCommand /bin/false'",
    ),
    // PAM.
    shut_or_not("nologin", "touch /etc/nologin"),
    shut_or_not("nologin while booting", "touch /run/nologin"),
    shut_or_not(
        "pam_access",
        "pam account required pam_access.so; echo '-:alice:ALL' >> /etc/security/access.conf",
    ),
    shut_or_not(
        "pam_access for a group",
        "pam account required pam_access.so; echo '-:(keymaker-users):ALL' >> /etc/security/access.conf",
    ),
    shut_or_not(
        "pam_access for others",
        "pam account required pam_access.so; echo '-:bob:ALL' >> /etc/security/access.conf",
    ),
    by_address(
        "a Match block for other addresses",
        "sshd lists 'Match Address 10.9.0.0/16' 'PubkeyAuthentication no'",
    ),
    by_address(
        "a Match block for all but some addresses",
        "sshd lists 'Match Address *,!127.0.0.1,!::1' 'DenyUsers alice'",
    ),
    by_address(
        "a Match block for a name of this host",
        "sshd lists 'Match Host localhost' 'DenyUsers alice'",
    ),
    untold(
        "a Match block for a port of this host",
        "sshd lists 'Match LocalPort 22' 'DenyUsers alice'",
    ),
    by_address(
        "pam_access by address",
        "pam account required pam_access.so; echo '-:alice:10.9.0.0/16' >> /etc/security/access.conf",
    ),
    shut_or_not(
        "pam_listfile",
        "pam account required pam_listfile.so onerr=succeed item=user sense=deny file=/etc/security/shut; echo alice > /etc/security/shut",
    ),
    shut_or_not(
        "pam_listfile for others",
        "pam account required pam_listfile.so onerr=fail item=user sense=deny file=/etc/security/shut; echo bob > /etc/security/shut",
    ),
    shut_or_not(
        "pam_time",
        "pam account required pam_time.so; echo 'sshd;*;alice;!Al0000-2400' >> /etc/security/time.conf",
    ),
    shut_or_not("pam_deny", "pam account required pam_deny.so"),
    shut_or_not(
        "pam_succeed_if",
        "pam account required pam_succeed_if.so quiet user != alice",
    ),
    shut_or_not(
        "pam_succeed_if for others",
        "pam account required pam_succeed_if.so quiet user != bob",
    ),
    shut_or_not(
        "our module is not asked",
        "sed -i /pam_keymaker/d /etc/pam.d/common-account",
    ),
    shut_or_not("the session ends", "pam session required pam_deny.so"),
    untold(
        "a program of the administrator's",
        "pam account required pam_exec.so quiet /bin/true",
    ),
    untold(
        "logins are counted",
        "echo 'alice - maxlogins 0' >> /etc/security/limits.conf",
    ),
    // The account.
    shut_or_not("the shell is gone", "rm /usr/local/bin/odd"),
    Break {
        user: "sheila",
        ..shut_or_not("the user's shell is gone", "rm /usr/local/bin/odd")
    },
    Break {
        user: "sheila",
        ..shut_or_not("the user's shell is no program", "chmod a-x /usr/local/bin/odd")
    },
    Break {
        user: "sheila",
        ..shut_or_not(
            "the user's shell is a folder",
            "rm /usr/local/bin/odd; mkdir /usr/local/bin/odd",
        )
    },
    shut_or_not(
        "NSS does not ask us for users",
        "sed -i '/^passwd:/s/ keymaker//' /etc/nsswitch.conf",
    ),
    shut_or_not(
        "NSS does not ask us for groups",
        "sed -i '/^group:/s/ keymaker//' /etc/nsswitch.conf",
    ),
    shut_or_not(
        "the directory is gone",
        "rm /var/lib/keymaker/public/directory; systemctl stop keymakerd",
    ),
    shut_or_not("keymakerd is stopped", "systemctl stop keymakerd"),
    shut_or_not("IAM is silent", "sandbox-fault down"),
    shut_or_not(
        "IAM was silent too long",
        "sandbox-fault down; touch -d '25 hours ago' /var/lib/keymaker/public/contact",
    ),
    Break {
        user: "hanna",
        ..shut_or_not("the home is another's", "mkdir -p /home/hanna; chown 23456 /home/hanna")
    },
    of("eli", "expired"),
    of("carol", "not in the required group"),
    of("nina", "no key"),
    of("ivan", "no active key"),
    of("nora", "a shell that ends every login"),
    of("nosuch", "not in IAM"),
];

#[test]
fn what_why_says_is_what_ssh_does() {
    let _host = prepared();
    let began = Instant::now();
    let alices: Vec<&Break> = BREAKS
        .iter()
        .filter(|one| one.user == "alice" && !one.by.contains("after="))
        .collect();
    // Each far from the other in the list.
    let combined = (1..=10).map(|n| vec![alices[n * 4 % alices.len()], alices[(n * 4 + 17 + n) % alices.len()]]);
    let situations: Vec<Vec<&Break>> = BREAKS.iter().map(|one| vec![one]).chain(combined).collect();
    let (mut told, mut told_by_address, mut left_open, mut wrong) = (0, 0, 0, Vec::new());
    for situation in &situations {
        let names: Vec<&str> = situation.iter().map(|one| one.name).collect();
        let name = names.join(" + ");
        let (said, said_from, gets_in) = verdict(situation);
        println!("{said:5} {said_from:5} {gets_in:5} {name}");
        let must_stay_open = matches!(situation[..], [Break { is_open: true, .. }]);
        let may_stay_open = situation.iter().any(|one| one.is_open);
        if let [Break { by_address: true, .. }] = situation[..] {
            if said_from == gets_in.to_string() {
                told_by_address += 1;
            } else {
                wrong.push(format!(
                    "{name}: --from {CLIENT} says {said_from}, and ssh gets in: {gets_in}"
                ));
            }
        }
        if said == "null" && may_stay_open {
            left_open += 1;
        } else if said == gets_in.to_string() && !must_stay_open {
            told += 1;
        } else {
            wrong.push(format!("{name}: may_log_in is {said}, and ssh gets in: {gets_in}"));
        }
    }
    println!(
        "{} situations: {told} told, {left_open} left open, of which {told_by_address} are told by an address, {:?}",
        situations.len(),
        began.elapsed()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(told >= 40, "{told}");
}

/// Where the ssh of this test comes from.
const CLIENT: &str = "127.0.0.1";

/// Makes the situation; what `why` says by machine, of whoever comes from anywhere and of who comes from [`CLIENT`], and
/// whether ssh gets in.
fn verdict(situation: &[&Break]) -> (String, String, bool) {
    let user = situation[0].user;
    let made: Vec<&str> = situation.iter().map(|one| one.by).collect();
    sh(&format!(
        "{SHELL}
         {}; systemctl reset-failed ssh; systemctl restart ssh; eval \"$after\"",
        made.join("; ")
    ));
    let why = |options: &str| run(&format!("keymaker why {user} --json {options} | jq .may_log_in")).ok();
    // All wait for others most of the time.
    let answers = thread::scope(|scope| {
        let said = scope.spawn(|| why(""));
        let said_from = scope.spawn(|| why(&format!("--from {CLIENT}")));
        let gets_in = run(&format!(
            "ssh -4 -o BatchMode=yes -o ConnectTimeout=10 {user}@localhost true"
        ))
        .status
            == 0;
        (
            said.join().expect("why ends"),
            said_from.join().expect("why ends"),
            gets_in,
        )
    });
    put_back();
    answers
}

/// A host with somebody for each situation, and with what a situation may change kept aside.
fn prepared() -> Host {
    let host = Host::unstarted();
    host.add_settings("require_iam_group = \"prod_ssh_users\"\ntags = [\"shell\", \"keys\", \"expires\"]");
    sh(
        "set -e; cp /bin/bash /usr/local/bin/odd; printf '%s\\n' /usr/local/bin/odd /usr/sbin/nologin >> /etc/shells
        systemctl stop credd.socket credd credd-capture; sandbox-key edward ed25519; sandbox-key ivan",
    );
    let public = |name: &str| {
        fs::read_to_string(format!("/sandbox/keys/{name}.pub"))
            .expect("the key was made")
            .trim()
            .to_owned()
    };
    let group = "\"groups\": [\"prod_ssh_users\"]";
    host.reseed(&format!(
        r#"{{"users": [{{"name": "alice", "groups": ["keymaker_devs", "prod_ssh_users"]}}, {{"name": "bob", {group}}}, {{"name": "carol"}},
            {{"name": "nina", {group}, "keys": []}},
            {{"name": "ivan", {group}, "keys": [{{"body": "{}", "status": "Inactive"}}]}},
            {{"name": "edward", {group}, "keys": [], "tags": {{"keymaker:ssh-key-1": "{}"}}}},
            {{"name": "hanna", {group}}}, {{"name": "eli", {group}, "tags": {{"expires": "2020-01-01"}}}},
            {{"name": "sheila", {group}, "tags": {{"shell": "/usr/local/bin/odd"}}}},
            {{"name": "nora", {group}, "tags": {{"shell": "/usr/sbin/nologin"}}}}]}}"#,
        public("ivan"),
        public("edward"),
    ));
    host.start();
    if !Path::new(BEFORE).exists() {
        sh(&format!("mkdir {BEFORE}; cd /; cp -a --parents {KEPT} {BEFORE}/"));
    }
    host
}

/// Undoes the situation.
fn put_back() {
    sh(&format!(
        "set -e; rm -f /etc/ssh/sshd_config.d/00-* /etc/nologin /run/nologin; rm -rf /usr/local/bin/ssh /usr/local/bin/odd
         cp -a {BEFORE}/. /
         if [ -e /run/systemd/system/ssh.service.d ]; then rm -r /run/systemd/system/ssh.service.d; systemctl daemon-reload; fi
         rm -rf /home/hanna; systemctl start keymakerd
         [ \"$(cat /sandbox/faults)\" = none ] || {{ sandbox-fault none; keymaker sync; }}"
    ));
}
