//! `keymaker doctor` on a host that somebody has broken, one thing at a time: named by one finding, corrected by its own
//! remedy, healthy again.

use std::time::{Duration, Instant};

use e2e::{Host, Outcome, at_a_terminal, run, sh, ssh, until};

/// What breaks a healthy host, and what the finding says.
struct Fault {
    breaks: &'static str,
    finding: &'static str,
    /// What corrects it, where that is not a command of this host's: an editor, AWS.
    by_hand: Option<&'static str>,
}

const fn fault(breaks: &'static str, finding: &'static str) -> Fault {
    Fault {
        breaks,
        finding,
        by_hand: None,
    }
}

const fn by_hand(breaks: &'static str, finding: &'static str, mends: &'static str) -> Fault {
    Fault {
        breaks,
        finding,
        by_hand: Some(mends),
    }
}

const NAMES: [Fault; 10] = [
    // Of two lines glibc goes by the last.
    fault(
        "echo 'passwd: files' >> /etc/nsswitch.conf",
        "the line passwd of /etc/nsswitch.conf does not name keymaker",
    ),
    fault(
        "sed -i '/^group:/s/ keymaker//' /etc/nsswitch.conf",
        "the line group of /etc/nsswitch.conf does not name keymaker",
    ),
    fault(
        "sed -i -E '/^passwd:/s/files keymaker/keymaker files/' /etc/nsswitch.conf",
        "keymaker is in the wrong place in the line passwd",
    ),
    fault(
        "sed -i -E '/^passwd:/s/files keymaker/files [NOTFOUND=return] keymaker/' /etc/nsswitch.conf",
        "keymaker is in the wrong place in the line passwd",
    ),
    fault(
        "sed -i -E '/^group:/s/keymaker/keymaker sss/' /etc/nsswitch.conf",
        "keymaker is in the wrong place in the line group",
    ),
    fault(
        "sed -i -E 's|^passwd:.*|  passwd files # O\\x27Neill \\& Co, /etc/x|' /etc/nsswitch.conf",
        "the line passwd of /etc/nsswitch.conf does not name keymaker",
    ),
    fault(
        "sed -i '/^group:/d' /etc/nsswitch.conf; truncate -s -1 /etc/nsswitch.conf",
        "/etc/nsswitch.conf has no line group",
    ),
    fault("echo 'initgroups: files' >> /etc/nsswitch.conf", "the line initgroups"),
    fault(
        "mkdir -p /run/nscd; touch /run/nscd/socket",
        "nscd answers in Keymaker's place",
    ),
    fault(
        "rm /usr/lib/*/libnss_keymaker.so.2",
        "libnss_keymaker.so.2 is in no folder",
    ),
];

const LOGINS: [Fault; 24] = [
    fault("sed -i /pam_keymaker/d /etc/pam.d/common-account", "the account stack"),
    fault("sed -i /pam_keymaker/d /etc/pam.d/common-session", "the session stack"),
    fault(
        "sed -i -E 's/\\[.*pam_keymaker.so/optional pam_keymaker.so/' /etc/pam.d/common-account",
        "its control is optional",
    ),
    fault(
        "sed -i '1i account sufficient pam_localuser.so' /etc/pam.d/sshd",
        "can end the stack",
    ),
    fault(
        "rm /usr/lib/*/security/pam_keymaker.so",
        "pam_keymaker.so is in no folder",
    ),
    fault(
        "echo 'Nonsense yes' > /etc/ssh/sshd_config.d/00-x.conf",
        "sshd does not accept",
    ),
    fault(
        "rm /etc/ssh/sshd_config.d/50-keymaker.conf; systemctl reload ssh",
        "authorizedkeyscommand",
    ),
    fault(
        "sed -i '/^Include/d' /etc/ssh/sshd_config; systemctl reload ssh",
        "authorizedkeyscommand",
    ),
    // For this host's own addresses, and for nobody who comes from elsewhere; and for one user alone.
    fault(
        "sed -i '/^Include/d' /etc/ssh/sshd_config; printf 'Match Address 127.0.0.0/8\\n  Include /etc/ssh/sshd_config.d/*.conf\\n' \
         >> /etc/ssh/sshd_config; systemctl reload ssh",
        "below a Match, and so for some logins only",
    ),
    fault(
        "sed -i '/^Include/d' /etc/ssh/sshd_config; printf 'Match User nobody\\n  Include /etc/ssh/sshd_config.d/*.conf\\n' \
         >> /etc/ssh/sshd_config; systemctl reload ssh",
        "authorizedkeyscommand",
    ),
    fault(
        "sed -i 's/AuthorizedKeysFile none/AuthorizedKeysFile .ssh\\/authorized_keys/' /etc/ssh/sshd_config.d/50-keymaker.conf",
        "authorizedkeysfile",
    ),
    // Another package's rule for everybody, before ours.
    fault(
        "printf 'Match all\\n  AuthorizedKeysCommand /usr/bin/false\\n  AuthorizedKeysCommandUser nobody\\n' > \
         /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh",
        "authorizedkeyscommand /usr/bin/false",
    ),
    fault(
        "echo 'UsePAM no' > /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh",
        "usepam no",
    ),
    fault(
        "echo 'UsePAM=no' > /etc/ssh/sshd_config.d/00-x.conf; d=$(/usr/libexec/keymaker/sshd-drop-in); \
         echo \"$d\" > /etc/ssh/sshd_config.d/50-keymaker.conf; systemctl reload ssh",
        "usepam no",
    ),
    fault(
        "sed -i '/^UsePAM/d' /etc/ssh/sshd_config; systemctl reload ssh",
        "usepam no",
    ),
    fault(
        "echo 'PubkeyAuthentication no' > /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh",
        "pubkeyauthentication no",
    ),
    fault(
        "mkdir -p /run/systemd/system/ssh.service.d; printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/sshd -D -o UsePAM=no\\n' \
         > /run/systemd/system/ssh.service.d/x.conf; systemctl daemon-reload; systemctl restart ssh",
        "usepam no",
    ),
    fault("systemctl stop ssh", "sshd does not run"),
    fault(
        "printf 'AllowUsers ubuntu\\nAllowUsers root@10.0.0.1\\n' > /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh",
        "AllowUsers ubuntu root@10.0.0.1 does not name alice",
    ),
    fault(
        "echo 'AllowGroups adm wheel' > /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh",
        "AllowGroups adm wheel does not name alice",
    ),
    by_hand(
        "echo 'DenyGroups keymaker-*' > /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh",
        "DenyGroups keymaker-* shuts alice",
        "sed -i 's/keymaker-[*]/wheel/' /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh",
    ),
    fault("echo closed > /etc/nologin", "/etc/nologin is there"),
    // As on Enterprise Linux, where no such program puts the stacks together.
    fault(
        "mv /usr/sbin/pam-auth-update /root/; sed -i /pam_keymaker/d /etc/pam.d/common-account",
        "the account stack",
    ),
    fault(
        "echo '*/5 * * * * root keymaker sync_groups' > /etc/cron.d/keymaker-group-sync",
        "the Python keymaker",
    ),
];

const SUDO: [Fault; 7] = [
    fault(
        "sed -i '/includedir/d' /etc/sudoers; echo 'sudo_iam_group = \"keymaker_sudo\"' >> /etc/keymaker/keymakerd.toml
         systemctl reload keymakerd; keymaker sync",
        "/etc/sudoers does not include",
    ),
    fault(
        "echo 'sudo_iam_group = \"keymaker_sudo\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync
         rm /etc/sudoers.d/keymaker",
        "/etc/sudoers.d/keymaker is not there",
    ),
    fault(
        "echo 'sudo_iam_group = \"keymaker_sudo\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync
         sed -i 's/NOPASSWD://' /etc/sudoers.d/keymaker",
        "/etc/sudoers.d/keymaker was edited here",
    ),
    fault(
        "echo 'sudo_iam_group = \"keymaker_sudo\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync
         echo nonsense > /etc/sudoers.d/keymaker",
        "sudo does not accept /etc/sudoers.d/keymaker",
    ),
    // Also where nobody of IAM is meant to use it.
    fault("echo nonsense > /etc/sudoers.d/keymaker", "sudo does not accept /etc/sudoers.d/keymaker"),
    // As a former release left it on every host.
    fault(
        "install -m 0440 /sandbox/project/dist/sudoers.d/keymaker /etc/sudoers.d/keymaker",
        "/etc/sudoers.d/keymaker is there, and sudo_iam_group is not set",
    ),
    by_hand(
        "echo 'sudo_iam_group = \"keymaker_sudo\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync
         mv /usr/sbin/visudo /root/",
        "sudo_iam_group is set, and sudo is not installed",
        "mv /root/visudo /usr/sbin/",
    ),
];

const DAEMON_AND_IAM: [Fault; 29] = [
    fault("systemctl stop keymakerd", "keymakerd does not run"),
    fault(
        "kill -STOP $(systemctl show -P MainPID keymakerd); touch -d '1 minute ago' /run/keymaker/alive",
        "keymakerd hangs",
    ),
    fault("systemctl disable keymakerd", "not enabled"),
    fault(
        "systemctl stop keymakerd; mv /etc/systemd/system/keymakerd.service /tmp/ 2>/dev/null; systemctl mask keymakerd",
        "masked",
    ),
    // keymakerd shows that it lives each second, so a moment later it is not yet silent.
    fault("kill -STOP $(systemctl show -P MainPID keymakerd)", "keymakerd hangs"),
    fault(
        "echo 'nonsense = 1' >> /etc/keymaker/keymakerd.toml",
        "does not accept its settings",
    ),
    fault(
        "chmod 600 /etc/keymaker/keymakerd.toml; systemctl restart keymakerd",
        "/etc/keymaker/keymakerd.toml has mode 0600",
    ),
    fault(
        "chmod 700 /etc/keymaker; systemctl restart keymakerd",
        "/etc/keymaker has mode 0700",
    ),
    fault("rm /run/keymaker/lookup.sock", "lookup.sock"),
    fault("chmod 600 /run/keymaker/lookup.sock", "/run/keymaker/lookup.sock has mode 0600"),
    // The first day of everybody: a fresh host whose role has no rights yet.
    fault(
        "systemctl stop keymakerd; rm -r /var/lib/keymaker/*; i='sandbox-admin aws iam'
         for p in $($i list-role-policies --role-name sandbox-instance --query 'PolicyNames[]' --output text); do
           $i delete-role-policy --role-name sandbox-instance --policy-name $p; done; systemctl start keymakerd",
        "AWS denies this host",
    ),
    fault(
        "i='sandbox-admin aws iam'; p=$($i list-role-policies --role-name sandbox-instance --query 'PolicyNames[0]' --output text)
         d=$($i get-role-policy --role-name sandbox-instance --policy-name $p --query PolicyDocument --output json)
         $i put-role-policy --role-name sandbox-instance --policy-name $p --policy-document \"${d//iam:GetUser\\\"/iam:GetUserX\\\"}\"",
        "AWS denies this host iam:GetUser:",
    ),
    by_hand(
        "sandbox-imds set role nosuch; systemctl restart keymakerd; keymaker sync",
        "has no role",
        "sandbox-imds set role sandbox-instance; systemctl restart keymakerd",
    ),
    by_hand(
        "sandbox-fault throttle",
        "AWS throttles this account",
        "sandbox-fault none; keymaker sync",
    ),
    by_hand(
        "sed -i 's|^sts_endpoint.*|sts_endpoint = \"http://10.77.0.1:1\"|' /etc/keymaker/keymakerd.toml; systemctl restart keymakerd",
        "no connection (Connection refused",
        "sed -i 's|^sts_endpoint.*|sts_endpoint = \"http://10.77.0.1:5000\"|' /etc/keymaker/keymakerd.toml; systemctl restart keymakerd; keymaker sync",
    ),
    fault(
        "echo 'default_shell = \"/bin/nosuch\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync",
        "/bin/nosuch is not there",
    ),
    fault(
        "echo 'home_base = \"/srv/homes\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync",
        "/srv/homes is not there",
    ),
    fault(
        "echo 'sudo_iam_group = \"admins\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync",
        "none is in the IAM group admins",
    ),
    fault(
        "sandbox-admin aws iam create-group --group-name admins
         echo 'sudo_iam_group = \"admins\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync",
        "none is in the IAM group admins",
    ),
    fault("keymaker reset --yes", "keymakerd is idle"),
    by_hand(
        "sandbox-fault deny:ListUsers deny:GetUser deny:GetRole",
        "denied",
        "sandbox-fault none; keymaker sync",
    ),
    by_hand(
        "sandbox-fault down",
        "the last pass failed",
        "sandbox-fault none; keymaker sync",
    ),
    by_hand(
        "sandbox-fault down; touch -d '25 hours ago' /var/lib/keymaker/public/contact",
        "longer than max_stale ago",
        "sandbox-fault none; keymaker sync",
    ),
    fault(
        "d='sandbox-admin aws iam update-role --role-name sandbox-instance --description'; $d keymaker_require_iam_group=prod_ssh_users; \
         keymaker sync; $d ''; keymaker sync",
        "a change of settings is held back",
    ),
    by_hand(
        "sandbox-imds set clock-ahead 600",
        "seconds behind the metadata service's",
        "sandbox-imds set clock-ahead 0",
    ),
    by_hand(
        "sandbox-imds set clock-ahead -600",
        "seconds ahead of the metadata service's",
        "sandbox-imds set clock-ahead 0",
    ),
    by_hand(
        "sed -i 's|^iam_endpoint.*|iam_endpoint = \"http://10.77.0.1:1\"|' /etc/keymaker/keymakerd.toml; systemctl restart keymakerd; keymaker sync",
        "no connection (Connection refused",
        "sed -i 's|^iam_endpoint.*|iam_endpoint = \"http://10.77.0.1:5000\"|' /etc/keymaker/keymakerd.toml; systemctl restart keymakerd; keymaker sync",
    ),
    fault(
        "echo 'require_iam_group = \"nosuch\"' >> /etc/keymaker/keymakerd.toml; systemctl restart keymakerd; keymaker sync",
        "because the required IAM group nosuch does not have them",
    ),
    // Two whose ids the formula makes one number of.
    by_hand(
        "jq '.users += [{name: \"first\", id: \"AIDAESTKAAAAAAAAAAAAA\", keys: []}, \
         {name: \"second\", id: \"AIDAELCYAAAAAAAAAAAAA\", created: \"2025-01-01T00:00:00Z\", keys: []}]' \
         /sandbox/seed.start.json > /tmp/clash.json; sandbox-reset /tmp/clash.json; keymaker sync",
        "IAM user second is refused: the id 1933750192 belongs to AIDAESTKAAAAAAAAAAAAA",
        "sandbox-reset; keymaker sync",
    ),
];

const CREDENTIALS: [Fault; 17] = [
    fault("systemctl stop credd-capture", "credd-capture.service does not run"),
    fault(
        "systemctl stop credd-capture; ip rule del pref 100; nft delete table inet keymaker_credd",
        "credd-capture.service does not run",
    ),
    fault("systemctl stop credd.socket credd.service", "credd.socket does not run"),
    fault(
        "systemctl disable credd-capture",
        "credd-capture.service is not enabled (disabled)",
    ),
    fault(
        "systemctl mask --now credd.service",
        "credd.service is not enabled (masked)",
    ),
    fault("kill -STOP $(systemctl show -P MainPID credd)", "credd does not answer"),
    fault(
        "echo 'nonsense = 1' >> /etc/keymaker/credd.toml",
        "credd does not accept its settings",
    ),
    fault(
        "chmod 600 /etc/keymaker/credd.toml; systemctl restart credd credd-capture",
        "/etc/keymaker/credd.toml has mode 0600",
    ),
    fault(
        "echo 'exempt_uids = [\"root\", \"nosuch\"]' >> /etc/keymaker/credd.toml; systemctl restart credd credd-capture",
        "names nosuch",
    ),
    fault(
        "sandbox-admin keymaker configure --instance-iam-role sandbox-instance --method instance-role --method user-role
         printf '%s\\n' 'deny_actions = []' 'user_chains = { postgres = [\"instance_role\"] }' >> /etc/keymaker/credd.toml; systemctl restart credd",
        "deny_actions is empty",
    ),
    by_hand(
        "sed -i 's|^sts_endpoint.*|sts_endpoint = \"http://10.77.0.1:1\"|' /etc/keymaker/credd.toml; systemctl restart credd",
        "credd gets no answer that it could use",
        "sed -i 's|^sts_endpoint.*|sts_endpoint = \"http://10.77.0.1:5000\"|' /etc/keymaker/credd.toml; systemctl restart credd",
    ),
    // Of two who were here, one has a role that trusts another account.
    fault(
        "ssh alice@localhost true; ssh bob@localhost true; keymaker sync; sandbox-admin aws iam update-assume-role-policy --role-name user-alice \
         --policy-document '{\"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRole\", \
         \"Principal\": {\"AWS\": \"arn:aws:iam::210987654321:root\"}}]}'; systemctl restart credd",
        "alice gets no credentials",
    ),
    // This host may not assume any.
    fault(
        "ssh alice@localhost true; ssh bob@localhost true; keymaker sync; i='sandbox-admin aws iam'
         for r in user-alice user-bob; do $i update-assume-role-policy --role-name $r --policy-document '{\"Version\": \"2012-10-17\", \"Statement\": \
           [{\"Effect\": \"Allow\", \"Action\": [\"sts:AssumeRole\", \"sts:TagSession\", \"sts:SetSourceIdentity\"], \
           \"Principal\": {\"AWS\": \"arn:aws:iam::123456789012:root\"}}]}'; done
         p=$($i list-role-policies --role-name sandbox-instance --query 'PolicyNames[0]' --output text)
         d=$($i get-role-policy --role-name sandbox-instance --policy-name $p --query PolicyDocument --output json)
         $i put-role-policy --role-name sandbox-instance --policy-name $p --policy-document \"${d//sts:AssumeRole/sts:AssumeRoleX}\"; systemctl restart credd",
        "nobody who was here gets credentials",
    ),
    fault(
        "chmod 666 /etc/keymaker/credd.toml",
        "/etc/keymaker/credd.toml has mode 0666",
    ),
    fault("chmod 755 /run/keymaker-credd", "/run/keymaker-credd has mode 0755"),
    // A qdisc in the filter's place.
    by_hand(
        "tc qdisc del dev host0 clsact; tc qdisc add dev host0 ingress; systemctl restart credd-capture
         timeout 30 bash -c 'until grep -q degraded /run/keymaker-credd-capture/state; do sleep 0.1; done'",
        "the third part of capture is missing",
        "tc qdisc del dev host0 ingress; systemctl restart credd-capture
         timeout 30 bash -c 'until grep -q planned /run/keymaker-credd-capture/state; do sleep 0.1; done'",
    ),
    fault(
        "sysctl -q net.ipv4.ip_unprivileged_port_start=80",
        "any user may listen at port 80, where credd does",
    ),
];

const FILES: [Fault; 11] = [
    fault(
        "chmod 666 /etc/keymaker/keymakerd.toml",
        "/etc/keymaker/keymakerd.toml has mode 0666",
    ),
    fault(
        "chmod 777 /var/lib/keymaker/public",
        "/var/lib/keymaker/public has mode 0777",
    ),
    fault(
        "chown root /var/lib/keymaker/public",
        "/var/lib/keymaker/public belongs to uid 0",
    ),
    fault(
        "chmod 755 /var/lib/keymaker/private",
        "/var/lib/keymaker/private has mode 0755",
    ),
    fault(
        "truncate -s 100 /var/lib/keymaker/public/directory",
        "public/directory cannot be used",
    ),
    fault("rm /var/lib/keymaker/public/keys", "public/keys cannot be used"),
    fault(
        "chmod 775 /usr/libexec/keymaker/keymaker-keys",
        "keymaker-keys has mode 0775",
    ),
    fault("rm /usr/libexec/keymaker/keymaker-keys", "keymaker-keys is not there"),
    fault("groupdel keymaker-users", "/etc/group has no keymaker-users"),
    fault(
        "useradd -N local1; gpasswd -a local1 keymaker-users",
        "local1 is in keymaker-users",
    ),
    fault("mount -t tmpfs -o ro tmpfs /home", "/home is mounted read-only"),
];

/// On a host on which people log in by proof.
macro_rules! with_proofs {
    ($breaks:expr) => {
        concat!(
            "i='sandbox-admin aws iam'; $i enable-outbound-web-identity-federation
             $i put-role-policy --role-name sandbox-instance --policy-name issuer --policy-document \
             '{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"iam:GetOutboundWebIdentityFederationInfo\",\"Resource\":\"*\"}]}'
             install -m 644 /sandbox/issuer-ca.pem /etc/keymaker/issuer-ca.pem
             printf '%s\\n' 'ca_bundle = \"/etc/keymaker/issuer-ca.pem\"' 'login_by = [\"iam-keys\", \"proof\"]' >> /etc/keymaker/keymakerd.toml
             systemctl reload keymakerd; d=$(/usr/libexec/keymaker/sshd-drop-in); echo \"$d\" > /etc/ssh/sshd_config.d/50-keymaker.conf
             systemctl reload ssh; timeout 20 bash -c 'until keymaker sync && grep -q EC384_0 /var/lib/keymaker/public/issuers; do sleep 0.5; done'
             ",
            $breaks
        )
    };
}

const PROOFS: [Fault; 13] = [
    fault(
        with_proofs!("$i disable-outbound-web-identity-federation; keymaker sync"),
        "federation is off in this account",
    ),
    fault(
        with_proofs!(
            "$i disable-outbound-web-identity-federation; systemctl stop keymakerd
             sed -i -E 's/\"fetched_at\":[0-9]+/\"fetched_at\":1700000000/' /var/lib/keymaker/private/issuers.json; systemctl start keymakerd; keymaker sync"
        ),
        "longer than max_stale",
    ),
    by_hand(
        with_proofs!("$i delete-role-policy --role-name sandbox-instance --policy-name issuer; keymaker sync"),
        "iam:GetOutboundWebIdentityFederationInfo was denied",
        "sandbox-admin aws iam put-role-policy --role-name sandbox-instance --policy-name issuer --policy-document \
         '{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"iam:GetOutboundWebIdentityFederationInfo\",\"Resource\":\"*\"}]}'; keymaker sync",
    ),
    by_hand(
        with_proofs!("echo > /sandbox/issuer-keys; keymaker sync"),
        "none of the issuer's keys is one of ES384",
        "rm /sandbox/issuer-keys; keymaker sync",
    ),
    fault(
        concat!(
            "cp -a /usr/sbin/sshd /usr/sbin/sshd-as-it-was; sed -E 's/OpenSSH_9\\.[0-9]/OpenSSH_8.0/g' /usr/sbin/sshd-as-it-was > /usr/sbin/sshd.new
             chmod 755 /usr/sbin/sshd.new; mv /usr/sbin/sshd.new /usr/sbin/sshd
             ",
            with_proofs!("")
        ),
        "sshd is OpenSSH 8.0, too old for logins by proof",
    ),
    fault(
        with_proofs!(
            "echo 'PubkeyAcceptedAlgorithms ssh-ed25519,rsa-sha2-512,ecdsa-sha2-nistp256' > /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh"
        ),
        "pubkeyacceptedalgorithms of sshd is ssh-ed25519,rsa-sha2-512,ecdsa-sha2-nistp256",
    ),
    fault(
        with_proofs!("echo 'CASignatureAlgorithms rsa-sha2-512' > /etc/ssh/sshd_config.d/00-x.conf; systemctl reload ssh"),
        "casignaturealgorithms of sshd is rsa-sha2-512",
    ),
    fault(with_proofs!("rm -r /run/keymaker-keys"), "/run/keymaker-keys is not there"),
    fault("chmod 755 /run/keymaker-keys", "/run/keymaker-keys has mode 0755"),
    fault(
        with_proofs!("sed -i 's/ %t %k$//' /etc/ssh/sshd_config.d/50-keymaker.conf; systemctl reload ssh"),
        "sshd does not give the keys command the certificate",
    ),
    fault(
        with_proofs!("sed -i '/^login_by/d' /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync"),
        "sshd still gives the keys command whole keys",
    ),
    fault("rm /usr/libexec/keymaker/proof", "/usr/libexec/keymaker/proof is not there"),
    by_hand(
        "echo 'login_by = [\"iam-keys\", \"instance-connect\"]' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync",
        "eic_run_authorized_keys is not installed",
        "install -D -m 755 /sandbox/project/tests/sandbox/eic_run_authorized_keys /usr/share/ec2-instance-connect/eic_run_authorized_keys",
    ),
];

fn doctor() -> Outcome {
    run("keymaker doctor --json")
}

/// What each finding says with what it explains, and what corrects it.
fn findings(seen: &Outcome) -> Vec<(String, String)> {
    let pairs = run(&format!(
        "jq -r '.findings[] | ([.what] + .consequences | join(\"; \")), .remedy' <<'JSON'\n{}\nJSON",
        seen.stdout
    ))
    .ok();
    let lines: Vec<&str> = pairs.lines().collect();
    lines
        .chunks(2)
        .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
        .collect()
}

/// There is no network in the box: what apt would fetch lies in /sandbox/packages. An administrator of the account, who
/// is here, too, puts in the name of somebody.
fn applied(remedy: &str) -> String {
    match remedy.strip_prefix("apt-get install -y --reinstall ") {
        Some(package) => format!("DEBIAN_FRONTEND=noninteractive dpkg -i /sandbox/packages/{package}_*.deb"),
        None => remedy
            .replace("aws iam", "sandbox-admin aws iam")
            .replace("keymaker configure", "sandbox-admin keymaker configure")
            .replace("keymaker migrate", "keymaker migrate --yes")
            .replace(" NAME ", " alice "),
    }
}

/// What a fault may have left behind that the next one must not find.
fn put_back() {
    sh("umount -l /home 2>/dev/null; sandbox-fault none; sandbox-imds set role sandbox-instance; rm -rf /run/nscd /etc/nologin /srv/homes /etc/ssh/sshd_config.d/00-x.conf /etc/cron.d/keymaker-group-sync
        sed -i -E '/^initgroups:/d; s/ sss//; s/^ +passwd files( keymaker)? #.*/passwd: files\\1/' /etc/nsswitch.conf
        sed -i -e '1{/^UsePAM/d}' -e '/^Match/,$d' /etc/ssh/sshd_config; grep -q '^UsePAM' /etc/ssh/sshd_config || echo 'UsePAM yes' >> /etc/ssh/sshd_config
        [ ! -e /root/pam-auth-update ] || mv /root/pam-auth-update /usr/sbin/
        cp -a /run/e2e-pam.d/. /etc/pam.d/
        [ ! -e /usr/sbin/sshd-as-it-was ] || mv /usr/sbin/sshd-as-it-was /usr/sbin/sshd
        rm -rf /usr/share/ec2-instance-connect /sandbox/issuer-keys; sed -i '/^login_by\\|^ca_bundle/d' /etc/keymaker/keymakerd.toml
        ! grep -q '%t %k' /etc/ssh/sshd_config.d/50-keymaker.conf || { d=$(/usr/libexec/keymaker/sshd-drop-in); echo \"$d\" > /etc/ssh/sshd_config.d/50-keymaker.conf; }
        [ ! -e /root/visudo ] || mv /root/visudo /usr/sbin/; rm -f /etc/sudoers.d/keymaker
        chmod 755 /etc/keymaker; chmod 644 /etc/keymaker/*.toml; cp -a /run/e2e-credd.toml /etc/keymaker/credd.toml
        userdel -f local1 2>/dev/null; systemctl reset-failed; systemctl start ssh; systemctl reload ssh
        systemctl unmask credd.service; systemctl start credd-capture credd.socket credd.service; systemctl reload credd; true");
}

/// Breaks the host, looks, corrects it by the finding's own remedy, looks again. Returns what did not go as it should.
fn tried(fault: &Fault) -> Result<(), String> {
    let _host = Host::fresh();
    let before = doctor();
    if before.status != 0 {
        return Err(format!("not healthy before: {before}"));
    }
    run(fault.breaks);
    let broken = doctor();
    // One cause, one finding.
    let found = findings(&broken);
    let Some((_, remedy)) = found
        .iter()
        .find(|(what, _)| what.contains(fault.finding) && found.len() == 1)
    else {
        return Err(format!("not named, or not alone: {broken}"));
    };
    if broken.status != 1 {
        return Err(format!("a finding, and status {}", broken.status));
    }
    let mended = run(&fault.by_hand.map_or_else(|| applied(remedy), str::to_owned));
    // A daemon that was started a moment ago has not asked the metadata service yet, and of two answers of IAM's within five
    // seconds the more refusing one counts. Each look asks, so the next one is later than that.
    let began = Instant::now();
    let mut after = doctor();
    while after.status != 0 && began.elapsed() < Duration::from_secs(20) {
        sh("sleep 5.5");
        after = doctor();
    }
    match after.status {
        0 => Ok(()),
        _ => Err(format!("not mended by: {mended}\n{after}")),
    }
}

fn try_all(faults: &[Fault]) {
    sh("cp -a /etc/keymaker/credd.toml /run/e2e-credd.toml; cp -aT /etc/pam.d /run/e2e-pam.d");
    let mut wrong = Vec::new();
    for fault in faults {
        wrong.extend(tried(fault).err().map(|why| format!("{}\n{why}", fault.breaks)));
        put_back();
    }
    assert!(
        wrong.is_empty(),
        "{} of {} faults:\n{}",
        wrong.len(),
        faults.len(),
        wrong.join("\n\n")
    );
}

#[test]
fn a_healthy_host_has_no_finding() {
    let _host = Host::fresh();
    let seen = doctor();
    assert_eq!((seen.status, findings(&seen).len()), (0, 0), "{seen}");
    let ids = sh("id -u alice; id -u bob; id -u carol");
    assert!(
        ids.lines().any(|id| id.parse::<u32>().is_ok_and(|id| id > 0o777_7777)),
        "{ids}"
    );
    assert!(seen.stdout.contains("IAM users have numbers above 2097151"), "{seen}");
    sh("systemctl is-active keymakerd.service credd.service credd.socket credd-capture.service");
    // What stopped alone is started, too.
    sh("systemctl stop credd-capture; keymaker capture up; systemctl is-active credd-capture credd.socket credd");
    // Without credd, that is worth a note.
    sh("keymaker capture down --yes");
    let seen = doctor();
    sh("keymaker capture up");
    assert!(
        seen.status == 0 && seen.stdout.contains("credd is installed but not turned on"),
        "{seen}"
    );
}

/// The agent, and a worker of its whose child is a user's session.
#[test]
fn a_session_that_run_as_gives_a_refused_user_is_found_and_the_agent_is_worth_a_note() {
    let host = Host::fresh();
    sh("mkdir -p /run/e2e-ssm; cp /bin/sleep /run/e2e-ssm/amazon-ssm-agent; cp /bin/bash /run/e2e-ssm/ssm-session-worker
        systemd-run -q --collect --unit=e2e-scan /run/e2e-ssm/amazon-ssm-agent 600");
    let agent = doctor();
    assert!(
        agent.status == 0 && agent.stdout.contains("AWS-StartSSHSession"),
        "{agent}"
    );
    sh(
        "systemd-run -q --collect --unit=e2e-worker /run/e2e-ssm/ssm-session-worker -c \
        'setpriv --reuid=carol --regid=carol --init-groups sleep 618 & wait'",
    );
    until("the session runs", Duration::from_secs(10), || {
        run("pgrep -u carol sleep").status == 0
    });
    let allowed = doctor();
    assert!(
        allowed.status == 0 && allowed.stdout.contains("runs a session as carol"),
        "{allowed}"
    );
    host.add_settings("require_iam_group = \"prod_ssh_users\"");
    host.reload();
    let refused = doctor();
    let found = findings(&refused);
    let [(what, remedy)] = found.as_slice() else {
        panic!("{refused}");
    };
    assert!(what.contains("Session Manager runs a session as carol"), "{what}");
    sh(remedy);
    let mended = doctor();
    sh("systemctl stop e2e-scan; rm -r /run/e2e-ssm");
    assert_eq!(mended.status, 0, "{mended}");
}

#[test]
fn a_users_process_that_calls_itself_sshd_holds_up_neither_doctor_nor_why() {
    let _host = Host::fresh();
    sh("mkfifo -m 666 /tmp/fifo; useradd eve
        systemd-run -q --collect --unit=e2e-scan --uid=eve bash -c \
          'exec -a \"sshd: /usr/sbin/sshd -f /tmp/fifo [listener] 0 of 10-100 startups\" sleep 60'; systemctl restart ssh");
    let doctor = run("timeout 30 keymaker doctor");
    let why = run("timeout 30 keymaker why alice");
    sh("systemctl stop e2e-scan; rm /tmp/fifo; userdel eve");
    assert_eq!(doctor.status, 0, "{doctor}");
    assert_eq!(why.status, 0, "{why}");
}

#[test]
fn whatever_hangs_doctor_answers_within_ten_seconds_and_says_what_it_did_not_see() {
    let _host = Host::fresh();
    ssh("alice", "true").ok();
    let hung: [(&str, &str, i32, &str); 4] = [
        (
            "sandbox-fault hang",
            "sandbox-fault none; keymaker sync",
            1,
            "credd gets no answer",
        ),
        (
            "echo 'sudo_iam_group = \"keymaker_sudo\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync
             mv /usr/sbin/visudo /root/; printf '#!/bin/sh\\nsleep 60\\n' > /usr/sbin/visudo; chmod 755 /usr/sbin/visudo",
            "mv /root/visudo /usr/sbin/; sed -i /sudo_iam_group/d /etc/keymaker/keymakerd.toml; systemctl reload keymakerd",
            2,
            "sudo: not seen",
        ),
        (
            "mv /usr/bin/getent /root/; printf '#!/bin/sh\\nsleep 60\\n' > /usr/bin/getent; chmod 755 /usr/bin/getent",
            "mv /root/getent /usr/bin/",
            2,
            "names: not seen",
        ),
        (
            "kill -STOP $(systemctl show -P MainPID keymakerd credd)",
            "kill -CONT $(systemctl show -P MainPID keymakerd credd)",
            1,
            "keymakerd hangs",
        ),
    ];
    let mut wrong = Vec::new();
    for (breaks, mends, status, says) in hung {
        sh(breaks);
        let seen = run("keymaker doctor");
        sh(mends);
        if seen.status != status || seen.took > Duration::from_secs(10) || !seen.stdout.contains(says) {
            wrong.push(format!("{breaks}: {seen}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // Nor has it looked who may not.
    assert_eq!(run("runuser -u alice -- keymaker doctor").status, 2);
}

#[test]
fn a_remedy_is_run_after_a_yes_and_one_that_deletes_is_left_to_the_reader() {
    let _host = Host::fresh();
    sh("systemctl disable keymakerd");
    let is_enabled = || run("systemctl is-enabled keymakerd").stdout.trim() == "enabled";
    // A script is asked nothing, and nothing is done.
    assert_eq!(run("keymaker doctor --fix < /dev/null").status, 2);
    let declined = at_a_terminal("keymaker doctor --fix", "no");
    assert!(
        declined.status == 1 && declined.stdout.contains("Run this?"),
        "{declined}"
    );
    assert!(!is_enabled());
    let agreed = at_a_terminal("keymaker doctor --fix", "yes");
    assert!(agreed.status == 0 && agreed.stdout.contains("No finding"), "{agreed}");
    assert!(is_enabled());
    sh("echo closed > /etc/nologin");
    let left = at_a_terminal("keymaker doctor --fix", "yes");
    let stays = run("rm /etc/nologin").status == 0;
    assert!(
        left.status == 1 && left.stdout.contains("By hand: /etc/nologin is there") && stays,
        "{left}"
    );
}

#[test]
fn every_fault_of_names_is_named_and_mended_by_its_remedy() {
    try_all(&NAMES);
}

#[test]
fn every_fault_of_logins_is_named_and_mended_by_its_remedy() {
    try_all(&LOGINS);
}

#[test]
fn every_fault_of_logins_by_proof_is_named_and_mended_by_its_remedy() {
    try_all(&PROOFS);
}

#[test]
fn every_fault_of_sudo_is_named_and_mended_by_its_remedy() {
    try_all(&SUDO);
    // Three of them were written by hand, and are kept where sudo does not read them.
    assert_eq!(
        sh("ls /etc/sudoers.d/*.edited* | wc -l; rm /etc/sudoers.d/*.edited*"),
        "3"
    );
}

#[test]
fn every_fault_of_the_daemon_and_of_iam_is_named_and_mended_by_its_remedy() {
    try_all(&DAEMON_AND_IAM);
}

#[test]
fn every_fault_of_credd_is_named_and_mended_by_its_remedy() {
    try_all(&CREDENTIALS);
}

#[test]
fn every_fault_of_files_is_named_and_mended_by_its_remedy() {
    try_all(&FILES);
}
