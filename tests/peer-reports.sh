#!/bin/bash
# What users of programs like this one reported as broken, tried on this one: docs/peer-reports.md has the links, and a row for each check.
# Runs as root in a sandbox: ./sandbox -- /sandbox/project/tests/peer-reports.sh
set -u
failed=0 passed=0

check() { # SENTENCE COMMAND…
  local sentence=$1; shift
  if "$@" > /tmp/check.log 2>&1; then passed=$((passed + 1)); echo "ok: $sentence"; else failed=$((failed + 1)); echo "FAILED: $sentence"; cat /tmp/check.log; fi
}
fails() { ! "$@"; }
within() { timeout "$1" sh -c "until $2; do sleep 0.2; done"; }
login() { ssh -o BatchMode=yes -o ConnectTimeout=10 "$1@localhost" "${@:2}"; }
iam() { sandbox-admin aws iam "$@" > /dev/null; }
make_user() { # NAME GROUP…
  local name=$1 group; shift
  iam create-user --user-name "$name"
  iam upload-ssh-public-key --user-name "$name" --ssh-public-key-body "$(sandbox-key "$name")"
  for group; do iam add-user-to-group --user-name "$name" --group-name "$group"; done
}
has() { grep -qwE -- "$1" <<< "$("${@:2}")"; }
lacks() { ! has "$@"; }

within 30 "[ -e /var/lib/keymaker/public/contact ]"
echo 'sudo_iam_group = "keymaker_sudo"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd
keymaker sync > /dev/null
# Read once a minute: its lines have run by the end of the others.
make_user frank keymaker_devs
echo '* * * * * frank cd && touch ran' > /etc/cron.d/peer-reports

first_login() {
  make_user dave keymaker_devs keymaker_sudo
  check "the first login has all groups" has devs login dave id -Gn
  check "the first sudo -i of a new user works" has 0 login dave sudo -n -i id -u
}
allowed_by_group() {
  printf 'AllowGroups root keymaker-users\n' > /etc/ssh/sshd_config.d/40-peers.conf; systemctl restart ssh
  make_user erin keymaker_devs
  check "AllowGroups lets a user in at the first login" login erin true
  rm /etc/ssh/sshd_config.d/40-peers.conf; systemctl restart ssh
}
two_at_once() {
  make_user grace keymaker_devs
  login grace 'ls -A' > /tmp/one & local one=$!
  login grace 'ls -A' > /tmp/two
  check "two first logins at once both come in" wait $one
  check "and there is one home, whole and the user's" eval '[ "$(stat -c %U:%a /home/grace)" = grace:700 ] && cmp /tmp/one /tmp/two'
}
local_groups() {
  gpasswd -a alice dialout > /dev/null
  check "a user of IAM is a member of a local group that lists them" has dialout login alice id -Gn
  sandbox-fault down
  check "also while AWS cannot be reached" has dialout login alice id -Gn
  check "and by id NAME" has dialout id -Gn alice
  check "sudo without a password works offline" has 0 login alice sudo -n id -u
  sandbox-fault none
  groupadd docker
  iam create-group --group-name keymaker_docker; iam add-user-to-group --user-name bob --group-name keymaker_docker
  keymaker sync > /dev/null
  check "an IAM group with the name of a local one keeps nobody out" login bob true
  check "and gives nobody the local one" lacks docker login bob id -Gn
  useradd -m -s /bin/bash lola
  usermod -aG devs lola > /tmp/usermod 2>&1
  check "a local user is put into no group of IAM, whatever usermod says" lacks devs id -Gn lola
}
programs() {
  check "a program without shadow entries is told that there is none, and not of an error" python3 -W ignore -c '
import spwd
try: spwd.getspnam("alice"); raise SystemExit("there is one")
except KeyError: pass'
  check "a program finds its own user by number" has alice login alice "python3 -c 'import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name)'"
  check "a listing has those who were here" has dave getent passwd
  check "ten keys in turn: the keys command prints the same each time" eval '
    k() { runuser -u keymaker-keys -- /usr/libexec/keymaker/keymaker-keys alice $(id -u alice); }
    first=$(k); for i in 1 2 3 4 5 6 7 8 9 10; do login alice true && [ "$(k)" = "$first" ] || exit 1; done'
  mkdir /home/lola/.ssh; sandbox-key lola > /home/lola/.ssh/authorized_keys; chown -R lola: /home/lola/.ssh
  check "a local user logs in by their own file" login lola true
  check "and no keys command failed meanwhile" fails has "AuthorizedKeysCommand .* failed" journalctl -t sshd -o cat
  check "useradd says that a name is taken, and changes nothing" eval '! useradd -m alice && ! grep -q ^alice: /etc/passwd'
}
names() {
  iam create-user --user-name "a-name-of-more-than-thirty-two-letters"
  check "a name that is too long keeps nobody else out" eval 'keymaker sync && login alice true'
  check "and why says so" has "32" keymaker why a-name-of-more-than-thirty-two-letters
}
refused() {
  iam update-role --role-name sandbox-instance --description keymaker_require_iam_group=prod_ssh_users
  keymaker sync > /dev/null
  login carol true 2> /dev/null
  check "whoever PAM refuses has no user manager" fails systemctl -q is-active "user@$(id -u carol).service"
  iam update-role --role-name sandbox-instance --description ''; keymaker sync > /dev/null; keymaker accept-settings > /dev/null
}
hung() {
  mkdir /tmp/many; for i in $(seq 300); do touch /tmp/many/$i; chown $((1900000000 + i)) /tmp/many/$i; done
  kill -STOP "$(systemctl show -P MainPID keymakerd)"
  check "a listing of files of unknown owners does not wait for a daemon that hangs" timeout 5 ls -l /tmp/many
  kill -CONT "$(systemctl show -P MainPID keymakerd)"
}
credentials() {
  keymaker capture up > /dev/null
  sandbox-fault slow:600:AssumeRole
  check "the first credentials come within an SDK's second although STS takes 0.6 s" has user-alice runuser -u alice -- aws sts get-caller-identity
  sandbox-fault none
  check "credentials need no home and no environment" has user-bob runuser -u bob -- env -i PATH="$PATH" aws sts get-caller-identity --region us-east-1 --endpoint-url http://10.77.0.1:5000
  check "none of 600 requests by three clients at once fails" runuser -u alice -- bash -c '
    one() { for i in $(seq 100); do t=$(curl -sSf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" http://169.254.169.254/latest/api/token) &&
      curl -sSf -o /dev/null -H "X-aws-ec2-metadata-token: $t" http://169.254.169.254/latest/meta-data/iam/security-credentials/ || return 1; done; }
    one & a=$!; one & b=$!; one && wait $a && wait $b'
}
again_and_again() {
  # Settings that a script appends at each run.
  sum() { find /etc/nsswitch.conf /etc/pam.d /etc/ssh /etc/sudoers.d -type f -exec sha256sum {} + | sort; }
  local before; before=$(sum)
  for _ in 1 2 3; do dpkg-reconfigure libnss-keymaker libpam-keymaker keymaker > /dev/null 2>&1; done
  check "configured three times, no file grows" eval '[ "$(sum)" = "'"$before"'" ]'
  sed -i -E 's/^(passwd|group):(.*)/\1:\2 sss/' /etc/nsswitch.conf
  DEBIAN_FRONTEND=noninteractive apt-get -qq remove keymaker libnss-keymaker libpam-keymaker keymaker-credd > /tmp/remove 2>&1
  check "what others have in nsswitch.conf stays when the packages go" eval "[ \$(grep -cE '^(passwd|group):.* sss' /etc/nsswitch.conf) = 2 ] && ! grep -q keymaker /etc/nsswitch.conf"
}

for part in first_login allowed_by_group two_at_once local_groups programs names refused hung credentials; do $part; done
check "cron makes the home of somebody who never logged in" eval 'within 90 "[ -e /home/frank/ran ]" || { journalctl -u cron; keymaker why frank; false; }'
again_and_again
printf '\n%s passed, %s failed\n' $passed $failed
exit $((failed > 0))
