//! What the tests of logins by proof share: a host on which they are on, and a laptop with nothing but AWS credentials.

use std::time::Duration;

use crate::{Host, Outcome, iam, run, sh, until};

/// The home on the laptop.
pub const LAPTOP: &str = "/root/laptop";
/// What keymakerd publishes of the issuer.
pub const KEYS: &str = "/var/lib/keymaker/public/issuers";
/// Keys and proofs open logins.
pub const ON: &str = "login_by = [\"iam-keys\", \"proof\"]";

/// A host on which proofs are on, and dave in IAM, who has no key there.
pub fn with_proofs(settings: &str) -> Host {
    let host = Host::unstarted();
    run("sandbox-admin aws iam enable-outbound-web-identity-federation");
    iam(
        "put-role-policy --role-name sandbox-instance --policy-name issuer --policy-document \
         '{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"iam:GetOutboundWebIdentityFederationInfo\",\"Resource\":\"*\"}]}'",
    );
    empty_laptop();
    person("dave");
    start_with_proofs(&host, settings);
    host
}

/// Starts keymakerd with these settings, by which it has keys of an issuer, and tells sshd of them.
pub fn start_with_proofs(host: &Host, settings: &str) {
    sh(
        "install -m 644 /sandbox/issuer-ca.pem /etc/keymaker/issuer-ca.pem; rm -f /sandbox/issuer-keys /sandbox/signing-key /sandbox/issuer-ahead",
    );
    host.add_settings(&format!("ca_bundle = \"/etc/keymaker/issuer-ca.pem\"\n{settings}"));
    tell_sshd();
    host.start();
    until("the issuer's keys", Duration::from_secs(30), || {
        run(&format!("grep -q EC384_0 {KEYS}")).status == 0
    });
}

/// With nothing of a former test's.
pub fn empty_laptop() {
    sh(&format!("rm -rf {LAPTOP} /root/*.env; mkdir -m 700 {LAPTOP}"));
}

/// As doctor's remedy does. Since OpenSSH 9.8, sshd keeps away for a while from whom it has refused much: here that is who tries.
pub fn tell_sshd() {
    sh(
        "sshd -T | grep -q '^persourcepenalties ' && echo 'PerSourcePenalties no' > /etc/ssh/sshd_config.d/10-penalties.conf || true",
    );
    sh(
        "new=$(/usr/libexec/keymaker/sshd-drop-in) && printf '%s\\n' \"$new\" > /etc/ssh/sshd_config.d/50-keymaker.conf && systemctl restart ssh",
    );
}

/// Makes an IAM user who may ask for tokens, and whose access key lies in /root/NAME.env.
pub fn person(name: &str) {
    if !sh("sandbox-admin aws iam list-users --output text").contains(&format!("user/{name}")) {
        iam(&format!("create-user --user-name {name}"));
    }
    may_ask(name, "[\"sts:GetWebIdentityToken\",\"sts:TagGetWebIdentityToken\"]");
    access_key(name);
}

/// Lets somebody do this and nothing else.
pub fn may_ask(name: &str, actions: &str) {
    iam(&format!(
        "put-user-policy --user-name {name} --policy-name proofs --policy-document '{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\
         \"Action\":{actions},\"Resource\":\"*\"}}]}}'"
    ));
}

/// Lets them do what the policy of `keymaker configure --logins` allows people without a second factor.
pub fn have_the_policy(name: &str) {
    sh(&format!(
        "keymaker configure --logins --logins-without-mfa --print cloudformation | jq -c '.Resources.KeymakerLogins.Properties.PolicyDocument' > /root/policy.json
         sandbox-admin aws iam put-user-policy --user-name {name} --policy-name proofs --policy-document file:///root/policy.json"
    ));
}

/// Puts an access key of theirs into /root/NAME.env.
pub fn access_key(name: &str) {
    sh(&format!(
        "set -- $(sandbox-admin aws iam create-access-key --user-name {name} --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text)
         printf 'AWS_ACCESS_KEY_ID=%s\\nAWS_SECRET_ACCESS_KEY=%s\\n' $1 $2 > /root/{name}.env"
    ));
}

/// On a laptop of this person's: only their AWS credentials, and what the command put into their home.
pub fn as_person(name: &str, line: &str) -> Outcome {
    run(&format!(
        "set -a; . /etc/environment; . /root/{name}.env; set +a; export HOME={LAPTOP}; {line}"
    ))
}

/// Logs in by a proof, which the command sees to.
pub fn keymaker_ssh(name: &str, user: &str, command: &str) -> Outcome {
    as_person(
        name,
        &format!("keymaker ssh -o BatchMode=yes -o ConnectTimeout=10 {user}@localhost {command}"),
    )
}

/// ssh with this key, and the certificate beside it.
pub fn ssh_by(key: &str, user: &str) -> Outcome {
    run(&format!(
        "ssh -F none -i {key} -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=10 {user}@localhost id -un"
    ))
}

/// The key of the only proof on the laptop.
pub fn key() -> String {
    sh(&format!("ls {LAPTOP}/.ssh/keymaker/id-*-cert.pub")).replace("-cert.pub", "")
}
