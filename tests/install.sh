#!/bin/bash
# `keymaker install --from DIR` on a host without our packages, and `uninstall` after it: an IAM user logs in between the two, and what
# is left is what was there. Runs as root in a sandbox: ./sandbox --no-packages -- /sandbox/project/tests/install.sh DIR
set -u
build=$1 failed=0
keymaker=$build/keymaker

check() { # SENTENCE COMMAND…
  local sentence=$1; shift
  if "$@" > /tmp/check.log 2>&1; then echo "ok: $sentence"; else failed=$((failed + 1)); echo "FAILED: $sentence"; cat /tmp/check.log; fi
}
refuses() { ! "$@"; }
# All files where anything could have been put. What is not compared: backups that the shadow tools keep, and systemd's own.
files() {
  (cd / && find etc usr/lib usr/sbin usr/bin usr/share usr/libexec var/lib -xdev \( -path var/lib/systemd -o -path var/lib/pam \
    -o -name '*-' -o -name mtab \) -prune -o \( -type f -o -type l \) -print0 | sort -z | xargs -0 sha256sum 2> /dev/null)
}
until_in_contact() { timeout 20 sh -c 'until [ -e /var/lib/keymaker/public/contact ]; do sleep 0.1; done'; }
# A reload of sshd is a moment without one.
logs_in() { timeout 20 sh -c 'until ssh -o BatchMode=yes alice@localhost true; do sleep 0.1; done'; }
nothing_is_left() { diff /tmp/before <(files); }

# Whatever root's umask is: what the first installation makes everybody can read, and what the second makes nobody else can write.
umask 077
writable() { find $(sed 's,/[^/]*$,,' /var/lib/keymaker-install/files | sort -u) $(cat /var/lib/keymaker-install/files) /etc/ssh/sshd_config.d/50-keymaker.conf \
  /etc/nsswitch.conf -maxdepth 0 -perm /022; }
nobody_else_can_write() { [ -z "$(writable)" ] || { writable; return 1; }; }

files > /tmp/before
check "without packages and without a build there is nothing to install" refuses "$keymaker" install
check "a build is put in place" "$keymaker" install --from "$build"
check "a second time changes nothing that hurts" "$keymaker" install --from "$build"
check "the daemon reads IAM" until_in_contact
check "an IAM user resolves" getent passwd alice
check "an IAM user logs in" logs_in
check "the doctor finds nothing" "$keymaker" doctor
instance() { ssh -o BatchMode=yes alice@localhost aws sts get-caller-identity | grep -q "assumed-role/$1/"; }
becomes_root() { [ "$(ssh -o BatchMode=yes alice@localhost sudo -n id -u)" = 0 ]; }
check "nobody becomes root without a password" refuses becomes_root
check "there is no sudo rule" refuses test -e /etc/sudoers.d/keymaker
cp -a /etc/keymaker/keymakerd.toml /run/; echo 'sudo_iam_group = "keymaker_sudo"' >> /etc/keymaker/keymakerd.toml
check "with a group that may" systemctl restart keymakerd
check "its members do" becomes_root
cp -a /run/keymakerd.toml /etc/keymaker/
check "without the setting" systemctl reload keymakerd
check "the sudo rule goes" refuses test -e /etc/sudoers.d/keymaker
check "credd is not turned on by itself" instance sandbox-instance
check "it is by capture" "$keymaker" capture up
check "each user has credentials of their own" instance user-alice
check "the doctor finds nothing then either" "$keymaker" doctor
check "a script that does not say yes takes nothing back" refuses "$keymaker" uninstall
cp /tmp/check.log /tmp/said
check "and is told so" grep -q 'say --yes' /tmp/said
check "nothing is gone then" getent passwd alice
check "at a terminal there is a question" refuses script -qec "$keymaker uninstall" /dev/null <<< no
cp /tmp/check.log /tmp/said; cat /tmp/said
check "which says what goes" grep -q 'who had which uid' /tmp/said
check "nothing is gone after a no" getent passwd alice
# What cannot be removed: a file that something is mounted on.
mount --bind /usr/share/keymaker/50-keymaker.conf /usr/share/keymaker/50-keymaker.conf; mount --bind /usr/sbin/keymakerd /usr/sbin/keymakerd
check "what cannot be taken back is an error" refuses "$keymaker" uninstall --yes
cp /tmp/check.log /tmp/said
check "which names what is left" grep -q '/usr/sbin/keymakerd: .*busy' /tmp/said
check "the IAM user is gone all the same" refuses getent passwd alice
umount /usr/share/keymaker/50-keymaker.conf /usr/sbin/keymakerd
check "all of it is taken back" "$keymaker" uninstall --yes
check "the IAM user is gone" refuses getent passwd alice
check "nothing is left" nothing_is_left
check "the metadata service is open again" curl -sS -o /dev/null --max-time 2 http://169.254.169.254/
check "no rule is left" refuses grep -q 169.254.169.254 <(ip rule; nft list ruleset)
check "a second uninstall says that there is nothing" refuses "$keymaker" uninstall --yes

umask 000
check "under any umask it is put in place again" "$keymaker" install --from "$build"
check "and only root can write what was made" nobody_else_can_write
check "the daemon reads IAM again" until_in_contact
check "an IAM user logs in again" logs_in
echo 'sudo_iam_group = "keymaker_sudo"' >> /etc/keymaker/keymakerd.toml
check "with a sudo rule" systemctl reload keymakerd
check "in place" test -e /etc/sudoers.d/keymaker
cp -a /run/keymakerd.toml /etc/keymaker/
cp -a /etc/nsswitch.conf /run/nsswitch.conf; mount --bind /run/nsswitch.conf /etc/nsswitch.conf; mount -o remount,bind,ro /etc/nsswitch.conf
check "what cannot be taken apart is an error" refuses "$keymaker" uninstall --yes
umount /etc/nsswitch.conf
check "and is not forgotten" grep -q '^passwd:.*keymaker' /etc/nsswitch.conf
check "and all of it is taken back again" "$keymaker" uninstall --yes
check "with nothing left" nothing_is_left
exit $((failed > 0))
