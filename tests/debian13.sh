#!/bin/bash
# What Debian 13 has and Debian 12 has not, beside Keymaker: sudo-rs with our rule and our PAM lines, and nsncd, by which a program sees our users
# that has no NSS of its own (static, or linked with musl).
#
# usage: tests/debian13.sh TOOLS     as root in a sandbox of the suite trixie with alice among the administrators; TOOLS: a folder with Debian's
# packages of both, and `who`, tests/packaging/who.c linked with musl
set -u
tools=${1:?usage: tests/debian13.sh TOOLS} work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$(dirname "$(realpath "$0")")/packaging/host.sh"

main() {
    echo 'sudo_iam_group = "keymaker_sudo"' >>/etc/keymaker/keymakerd.toml
    keymaker sync >/dev/null && systemctl reload keymakerd
    check "alice logs in" logs_in alice
    sudo_rs
    nsncd
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

sudo_rs() {
    check "sudo-rs is installed" dpkg -i "$tools"/sudo-rs_*.deb
    check "alice becomes root by it, without a password" same_text 0 "$(ssh -o BatchMode=yes alice@localhost sudo-rs -n id -u)"
    check "bob, who is no administrator, does not" fails ssh -o BatchMode=yes bob@localhost sudo-rs -n id -u
    sandbox-admin aws iam remove-user-from-group --user-name alice --group-name keymaker_sudo
    keymaker sync >/dev/null
    check "nor does alice any more" fails runuser -u alice -- sudo-rs -n id -u
    sandbox-admin aws iam add-user-to-group --user-name alice --group-name keymaker_sudo
    keymaker sync >/dev/null
    check "until she is one again" within "keymaker sync; runuser -u alice -- sudo-rs -n true"
    sandbox-admin aws iam update-role --role-name sandbox-instance --description keymaker_require_iam_group=prod_ssh_users
    sandbox-admin aws iam remove-user-from-group --user-name alice --group-name prod_ssh_users
    keymaker sync >/dev/null
    check "who may not log in may not go on by it either" fails runuser -u alice -- sudo-rs -n true
    sandbox-admin aws iam add-user-to-group --user-name alice --group-name prod_ssh_users
    keymaker sync >/dev/null
    check "until they may" within "keymaker sync; runuser -u alice -- sudo-rs -n true"
}

nsncd() {
    check "a program linked with musl knows nobody from IAM" same_text nobody "$("$tools/who" alice)"
    check "nsncd is installed" dpkg -i "$tools"/nsncd_*.deb
    check "and runs" systemctl restart nsncd
    # Of the groups that nsncd names, musl leaves out those that /etc/group has.
    check "by it that program knows alice, and her groups in IAM" \
        same_text "alice $(id -u alice) /home/alice $(id -g alice) $(getent group devs | cut -d: -f3)" "$("$tools/who" alice)"
    check "and nobody whom IAM does not have" same_text nobody "$("$tools/who" nobody-here)"
    check "doctor finds nothing wrong with it" keymaker doctor
    check "people still log in" logs_in bob
    systemctl stop keymakerd
    check "keymakerd stopped, that program knows root" grep -q "^root 0 /root" <<<"$("$tools/who" root)"
    check "and alice" grep -q "^alice " <<<"$("$tools/who" alice)"
    systemctl start keymakerd
    # nsncd looks up nothing on its own, so what has changed is what it says next.
    sandbox-admin aws iam create-user --user-name walter >/dev/null
    sandbox-admin aws iam add-user-to-group --user-name walter --group-name keymaker_devs
    sandbox-admin aws iam add-user-to-group --user-name walter --group-name prod_ssh_users
    check "somebody new is known" within "keymaker sync; $tools/who walter"
    systemctl stop nsncd
    check "and nobody again without it" same_text nobody "$("$tools/who" alice)"
}

within() { timeout 20 sh -c "until $1; do sleep 0.2; done"; }

main
