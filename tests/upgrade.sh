#!/bin/bash
# Half-upgraded hosts: each package of another version among the others of this one, and programs that began before the upgrade. Somebody
# logs in, somebody new logs in, somebody deleted does not, and each has credentials of their own, in every combination.
#
# usage: tests/upgrade.sh FORMER [NEW]    folders of .deb files; as root in a sandbox:
# KEYMAKER_SANDBOX_BIND=FORMER:/sandbox/former ./sandbox --no-install -- /sandbox/project/tests/upgrade.sh /sandbox/former
#
# FORMER comes from `debian/make-debs` in a working tree of the former version. ./check has no history to build one from, so that there
# keymaker-core/tests/version_1.rs reads with the former version's source; this script is for releases.
set -u
former=${1:?usage: tests/upgrade.sh FORMER [NEW]} new=${2:-/sandbox/packages}
names="libnss-keymaker libpam-keymaker keymaker-cli keymaker keymaker-credd"
export DEBIAN_FRONTEND=noninteractive
failed=0 passed=0

check() { # SENTENCE COMMAND…
  local sentence=$1; shift
  if "$@" > /tmp/check.log 2>&1; then passed=$((passed + 1)); echo "ok: $sentence"; else failed=$((failed + 1)); echo "FAILED: $sentence"; cat /tmp/check.log; fi
}
within() { timeout "$1" sh -c "until $2; do sleep 0.2; done"; }
# A package manager that refuses a combination is as good as one that works in it.
install() { # FOLDER PACKAGE…
  local folder=$1 package debs=(); shift
  for package in "$@"; do debs+=("$folder/${package}"_[0-9]*.deb); done
  dpkg -i "${debs[@]}" > /tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; return 1; }
}
has_credentials() { within 20 "ssh -o BatchMode=yes $1@localhost aws sts get-caller-identity --query Arn --output text | grep -q user-$1"; }
# Who was seen within five seconds before a pass is nobody whom its listing lacks: the next pass says it.
is_refused_after_a_pass() { within 20 "keymaker sync; ! ssh -o BatchMode=yes -o ConnectTimeout=10 $1@localhost true"; }
make_user() {
  sandbox-admin aws iam create-user --user-name "$1" > /dev/null &&
    sandbox-admin aws iam add-user-to-group --user-name "$1" --group-name prod_ssh_users &&
    sandbox-admin aws iam upload-ssh-public-key --user-name "$1" --ssh-public-key-body "$(sandbox-key "$1")" > /dev/null
}
delete_user() {
  local key
  key=$(sandbox-admin aws iam list-ssh-public-keys --user-name "$1" --query 'SSHPublicKeys[0].SSHPublicKeyId' --output text)
  sandbox-admin aws iam delete-ssh-public-key --user-name "$1" --ssh-public-key-id "$key" &&
    sandbox-admin aws iam remove-user-from-group --user-name "$1" --group-name prod_ssh_users &&
    sandbox-admin aws iam delete-user --user-name "$1"
}

without_filter() {
  local device
  for device in /sys/class/net/*; do tc qdisc del dev "${device##*/}" clsact 2> /dev/null; done
  ! tc filter show dev host0 egress | grep -q bpf
}

number=0
host_works() { # WHEN
  number=$((number + 1))
  local newcomer=newcomer$number
  check "$1: keymakerd runs and is in contact" within 20 "systemctl -q is-active keymakerd && [ -e /run/keymaker/login.sock ]"
  check "$1: alice logs in" within 20 "ssh -o BatchMode=yes alice@localhost true"
  check "$1: a user of this moment" make_user $newcomer
  check "$1: logs in" within 20 "ssh -o BatchMode=yes $newcomer@localhost true"
  check "$1: sudo and su know alice" sudo -n -u alice true
  check "$1: alice has credentials of her own" has_credentials alice
  check "$1: the command line reads the directory" sh -c 'keymaker status && keymaker why alice'
  check "$1: whoever is deleted" delete_user $newcomer
  check "$1: logs in no more" is_refused_after_a_pass $newcomer
  check "$1: a program that began before the upgrade still resolves" old_program_resolves alice
}

# Asks the questions in /tmp/ask, one a line, with the module that it loaded at its start, and answers in /tmp/answered.
begin_old_program() {
  cat > /tmp/old_program.py <<'PYTHON'
import grp, os, pwd, time
pwd.getpwnam("alice")
while True:
    try:
        name = open("/tmp/ask").read().strip()
        user = pwd.getpwnam(name)
        assert pwd.getpwuid(user.pw_uid).pw_name == name and len(os.getgrouplist(name, user.pw_gid)) > 1
        answer = "%s found" % name
    except KeyError:
        answer = "%s unknown" % name
    except FileNotFoundError:
        continue
    open("/tmp/answered.new", "w").write(answer)
    os.rename("/tmp/answered.new", "/tmp/answered")
    time.sleep(0.05)
PYTHON
  /opt/aws/bin/python3 /tmp/old_program.py & old_program=$!
  within 10 "grep -q libnss_keymaker /proc/$old_program/maps"
}
old_program_says() { rm -f /tmp/answered; echo "$1" > /tmp/ask; within 10 "grep -q '^$1 $2' /tmp/answered"; }
old_program_resolves() { old_program_says "$1" found; }
maps_the_old_module() { grep -q 'libnss_keymaker.*(deleted)' "/proc/$old_program/maps"; }

mkdir -p /etc/keymaker
for daemon in keymakerd credd; do
  [ -e /etc/keymaker/$daemon.toml ] ||
    printf 'iam_endpoint = "%s"\nsts_endpoint = "%s"\n' "$AWS_ENDPOINT_URL" "$AWS_ENDPOINT_URL" > /etc/keymaker/$daemon.toml
done
# shellcheck disable=SC2086
check "the former version is installed" install "$former" $names
check "and gives users their own credentials" systemctl -q enable --now credd
check "it is in contact" within 30 "[ -e /var/lib/keymaker/public/contact ]"
check "a program begins that will see the upgrade" begin_old_program
host_works "the former version"
for package in $names; do
  check "$package alone is upgraded" install "$new" "$package"
  host_works "new: $package"
  check "$package is put back" install "$former" "$package"
done
# shellcheck disable=SC2086
check "everything is upgraded" install "$new" $names
check "the program of before has the former module still" maps_the_old_module
host_works "this version"
check "a user made after the upgrade" make_user later
check "logs in" within 20 "ssh -o BatchMode=yes later@localhost true"
check "is known to the program of before" old_program_resolves later
check "and once deleted" delete_user later
check "everywhere" within 20 "keymaker sync; ! getent passwd later"
check "unknown to it" old_program_says later unknown
for package in $names; do
  check "$package alone is of the former version" install "$former" "$package"
  # One from before capture's filter does not know its mark, and gives nobody anything until the filter is gone (CHANGELOG.md).
  [ $package != keymaker-credd ] || check "capture's filter is taken away" without_filter
  host_works "former: $package"
  check "$package is upgraded" install "$new" "$package"
done
kill "$old_program"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
