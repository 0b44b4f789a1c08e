#!/bin/bash
# `keymaker migrate` on a host where the real Python keymaker provisioned a user: same uid, same home, same keys, none of its lines
# left; and the same for an ec2userkeyd.conf. Runs as root in a sandbox, PYPI being a folder of `pip download keymaker==1.1.0`:
# KEYMAKER_SANDBOX_BIND=PYPI:/sandbox/pypi ./sandbox --no-install -- /sandbox/project/tests/migrate.sh
set -u
failed=0 packages=${1:-/sandbox/packages}
ours=/usr/bin/keymaker

check() { # SENTENCE COMMAND…
  local sentence=$1; shift
  if "$@" > /tmp/check.log 2>&1; then echo "ok: $sentence"; else failed=$((failed + 1)); echo "FAILED: $sentence"; cat /tmp/check.log; fi
}
refuses() { ! "$@"; }
contains() { grep -qE "$1" <<< "$2"; }
logs_in() { timeout 20 sh -c 'until ssh -o BatchMode=yes alice@localhost true; do sleep 0.1; done'; }

install_python_keymaker() {
  /opt/aws/bin/python -m venv /opt/km && /opt/km/bin/pip install -q --no-index --find-links /sandbox/pypi keymaker &&
    ln -s /opt/km/bin/keymaker* /usr/local/bin/ && keymaker install --user km || return 1
  # Its hooks run without the environment; a real host needs no endpoint.
  local home
  for home in /root /home/km; do
    mkdir -p $home/.aws
    printf '[default]\nregion = us-east-1\nendpoint_url = %s\n' "$AWS_ENDPOINT_URL" > $home/.aws/config
    chmod -R a+rX $home $home/.aws
  done
}
# What pam_exec runs at the first login, which then fails: today's sshd_config of Debian switches off the dialogue that leads to it.
provision() { PAM_USER=alice keymaker-create-account-for-iam-user; grep -q ^alice: /etc/passwd && logs_in && keymaker sync_groups; }
traces() { grep -lsE 'keymaker-(get-public-keys|create-account|group-sync)' /etc/ssh/sshd_config /etc/pam.d/sshd /etc/cron.d/* /usr/sbin/keymaker-*; }
install_packages() {
  mkdir -p /etc/keymaker
  printf 'iam_endpoint = "%s"\nsts_endpoint = "%s"\n' "$AWS_ENDPOINT_URL" "$AWS_ENDPOINT_URL" > /etc/keymaker/keymakerd.toml
  env DEBIAN_FRONTEND=noninteractive dpkg -i $(ls $packages/*.deb | grep -v dbgsym) || return 1
  [ ! -x /sandbox/build/keymaker ] || cp /sandbox/build/keymaker $ours
  timeout 20 sh -c 'until [ -e /var/lib/keymaker/public/contact ]; do sleep 0.1; done'
}

check "the Python keymaker is installed" install_python_keymaker
check "it provisions alice, with her groups" provision
echo "hers" > /home/alice/file; chown alice: /home/alice/file
uid=$(id -u alice) gid=$(getent group devs | cut -d: -f3) home=$(stat -c '%n %u %g %a' /home/alice /home/alice/file)
printf '[general]\ncredential_methods = UserRole, InstanceRole\nper_user_credential_methods = joe:UserRole,InstanceRole,jane:UserRole\n' > /etc/ec2userkeyd.conf

# Its administrators deleted the IAM user alone: the account stays, and so does what the user put into their home.
sandbox-admin aws iam create-user --user-name leaver > /dev/null
sandbox-admin aws iam upload-ssh-public-key --user-name leaver --ssh-public-key-body "$(sandbox-key leaver)" > /dev/null
PAM_USER=leaver keymaker-create-account-for-iam-user > /dev/null
mkdir -p ~leaver/.ssh; cp /sandbox/keys/leaver.pub ~leaver/.ssh/authorized_keys; chown -R leaver: ~leaver/.ssh
key=$(sandbox-admin aws iam list-ssh-public-keys --user-name leaver --query 'SSHPublicKeys[0].SSHPublicKeyId' --output text)
sandbox-admin aws iam delete-ssh-public-key --user-name leaver --ssh-public-key-id "$key"; sandbox-admin aws iam delete-user --user-name leaver

check "our packages are installed beside it" install_packages
check "the doctor names the predecessor" contains "Python keymaker" "$($ours doctor)"
check "ec2userkeyd's settings are shown as credd's" contains '^user_chains = .*joe = \["user_role", "instance_role"\]' "$($ours migrate --ec2userkeyd /etc/ec2userkeyd.conf)"
plan=$($ours migrate --dry-run)
check "what would be done is said beforehand" contains "remove the local account alice, whose uid $uid" "$plan"
check "and who has left IAM is named" contains "nobody of that name: leaver \([0-9]+\)" "$plan"
check "and nothing is done" grep -q ^alice: /etc/passwd
# The predecessor writes /etc/group again every five minutes; what follows compares what the migration itself does to it.
systemctl stop cron
# What must be as before after a migration that failed; and keymakerd runs, and alice logs in with her local account.
state() {
  sha256sum /etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/pam.d/sshd /etc/ssh/sshd_config /etc/cron.d/keymaker-group-sync \
    /usr/sbin/keymaker-get-public-keys /etc/keymaker/*.toml /etc/ec2userkeyd.conf /var/lib/keymaker/private/ids.json
  stat -c '%n %U %G %a' /etc/shadow /etc/passwd /var/lib/keymaker /var/lib/keymaker/*
}
is_as_before() { diff /tmp/state <(state) && [ ! -e /var/lib/keymaker-migrate ] && systemctl is-active keymakerd && grep ^alice: /etc/passwd && logs_in; }
state > /tmp/state
sed -i '1i id_range = [1900000000, 1900100000]' /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; state > /tmp/state
check "settings that keymakerd would not accept are an error" refuses $ours migrate --yes
cp /tmp/check.log /tmp/said
check "which names the line" grep -q 'keymakerd.toml:1: id_range' /tmp/said
check "and nothing is changed" is_as_before
sed -i '/^id_range/d' /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; state > /tmp/state
sandbox-fault down
check "a keymakerd that cannot read IAM with the new settings is an error" refuses $ours migrate --yes
sandbox-fault none
check "and everything is put back" is_as_before
mkdir /tmp/broken; printf '#!/bin/sh\nexit 10\n' > /tmp/broken/groupdel; chmod +x /tmp/broken/groupdel
check "a step that fails after the local account is gone is an error" refuses env PATH=/tmp/broken:$PATH $ours migrate --yes
cp /tmp/check.log /tmp/said
check "which names the step" grep -q 'could not remove the local group' /tmp/said
check "and everything is put back then, too" is_as_before
mkdir -p /var/lib/keymaker-migrate/before
check "what an earlier migration that was cut off has left is not built upon" refuses $ours migrate --yes
rm -r /var/lib/keymaker-migrate
check "a script that does not say yes migrates nothing" refuses $ours migrate
cp /tmp/check.log /tmp/said
check "and is told so" grep -q 'say --yes' /tmp/said
at_a_terminal() { script -qec "$ours migrate" /dev/null <<< "$1"; }
check "at a terminal there is a question" refuses at_a_terminal no
cp /tmp/check.log /tmp/said; cat /tmp/said
check "which says what goes, and where the backup is" grep -q 'remove the local account alice' /tmp/said
check "and where the backup will be" grep -q '/var/lib/keymaker-backups' /tmp/said
check "without a yes, everything is as before" is_as_before
check "after a yes it migrates" at_a_terminal yes
backup=$(echo /var/lib/keymaker-backups/migrate-*)
check "the backup is for root alone" [ "$(stat -c '%a %U' "${backup%/*}")" = "700 root" ]
# As keymaker(1) has it.
put_back() {
  systemctl stop keymakerd && rm -f /var/lib/keymaker/public/* /var/lib/keymaker/private/* && cp -a "$backup/." / && systemctl daemon-reload &&
    systemctl start keymakerd && systemctl restart ssh && [ "$(stat -c '%a %U' /)" = "755 root" ]
}
check "it puts everything back" put_back
rm -f /etc/ec2userkeyd.conf.migrated
check "as it was before" is_as_before
# As ec2userkeyd leaves them when it is killed: without the credentials that they bar, the Python keymaker has no keys.
iptables -t nat -A OUTPUT -d 169.254.169.254 -p tcp --dport 80 -m owner --uid-owner 0 -j ACCEPT
iptables -t nat -A OUTPUT -d 169.254.169.254 -p tcp --dport 80 -j DNAT --to 127.0.0.1:808
check "the doctor names ec2userkeyd's rules" contains "ec2userkeyd's rules for 169.254.169.254" "$($ours doctor)"
check "it migrates again" $ours migrate --yes
check "none of the predecessor's lines is left" refuses traces
check "nor the user that its administrator chose" refuses grep -q ^km: /etc/passwd
check "nor ec2userkeyd's rules" refuses grep -q 169.254.169.254 <(iptables -t nat -S)
leaver() { ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -i /sandbox/keys/leaver leaver@localhost true; }
check "who has left IAM still gets in" leaver
check "they are locked only when that is asked for" $ours migrate --yes --lock-departed
check "and do not get in then" refuses leaver
check "the local account is gone" refuses grep -q ^alice: /etc/passwd
check "alice has the same uid" [ "$(id -u alice)" = "$uid" ]
check "and her group the same gid" [ "$(getent group devs | cut -d: -f3)" = "$gid" ]
check "the home is untouched" [ "$(stat -c '%n %u %g %a' /home/alice /home/alice/file)" = "$home" ]
check "her key opens a login" logs_in
check "she is in her group" contains "\bdevs\b" "$(id -Gn alice)"
check "ec2userkeyd's chains are credd's" contains '^joe = \["user_role", "instance_role"\]' "$(credd --print-config)"
check "and what could not be carried over is said there" grep -q 'Not carried over' /etc/keymaker/credd.toml
check "a second time there is nothing to do" contains "nothing to do" "$($ours migrate --yes)"
check "the doctor finds nothing" $ours doctor
exit $((failed > 0))
