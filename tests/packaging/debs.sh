# The cells of a Debian host's row, as far as they do not depend on where the packages come from. Sourced after host.sh and table.sh, by
# those who have set `debs` to the packages' folder, and `before` to how the host was configured without them.
# shellcheck shell=bash disable=SC2154

# The endpoints of the fake AWS, which no package knows.
settings() {
  mkdir -p /etc/keymaker
  local daemon
  for daemon in keymakerd credd; do
    printf 'iam_endpoint = "%s"\nsts_endpoint = "%s"\n' "$AWS_ENDPOINT_URL" "$AWS_ENDPOINT_URL" >/etc/keymaker/$daemon.toml
  done
}

alice_logs_in() {
    check "alice logs in" logs_in alice
    check "into her home" same_text /home/alice "$(ssh -o BatchMode=yes alice@localhost pwd)"
    check "doctor finds nothing" doctor_finds_nothing
}

upgraded_by_apt() {
    newer_packages "$work/newer"
    check "apt installs a newer version while alice logs in" while_alice_logs_in apt-get install -q -y --only-upgrade "$work"/newer/*.deb
    check "which is the one that is there" fails grep -qv '+newer$' <<<"$(dpkg-query -W -f '${Version}\n' '*keymaker*')"
    check "alice logs in after the upgrade" logs_in alice
    [ -z "${result["$row|credentials"]:-}" ] || check "and has her credentials" has_credentials alice
    check "doctor finds nothing after it" doctor_finds_nothing
    host_works "after the upgrade"
}

purged_by_apt() {
    check "apt removes everything" apt-get purge -q -y $(dpkg-query -W -f '${Package} ' '*keymaker*')
    check "alice is nobody again" fails getent passwd alice
    check "the host is configured as before" same_text "$before" "$(configuration)"
    check "and nothing of capture is left" fails grep -e 169.254 -e ec2 -e keymaker <<<"$({ ip rule; ip -6 rule; nft list ruleset; } 2>&1)"
    host_works "after the removal"
}

# qemu passes nothing on between a program of another processor and the kernel's netfilter; and what runs there is called qemu, so that
# doctor sees no sshd.
is_emulated() { grep -qa qemu /proc/1/cmdline; }
doctor_finds_nothing() {
    if is_emulated; then [ "$(keymaker doctor --json | jq -c '[.findings[].what]')" = '["sshd does not run"]' ]; else keymaker doctor; fi
}
