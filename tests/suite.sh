#!/bin/bash
# What every supported system has to do, as the short list for those that the whole of ./check does not run on: packages, capture, one login with
# credentials, sudo, removal of credd.
#
# Runs as root in a sandbox: ./sandbox --suite bullseye -- /sandbox/project/tests/suite.sh
set -u
failed=0 passed=0

check() { # SENTENCE COMMAND…
  local sentence=$1; shift
  if "$@" > /tmp/check.log 2>&1; then passed=$((passed + 1)); echo "ok: $sentence"; else failed=$((failed + 1)); echo "FAILED: $sentence"; cat /tmp/check.log; fi
}
within() { timeout 30 sh -c "until $1; do sleep 0.1; done"; }
as_alice() { ssh -o BatchMode=yes -o ConnectTimeout=10 alice@localhost "$@"; }
role() { as_alice aws sts get-caller-identity --query Arn --output text; }

. /etc/os-release
echo "$PRETTY_NAME, $(nft --version), $(ssh -V 2>&1), glibc $(getconf GNU_LIBC_VERSION | cut -d' ' -f2)"
within "getent passwd alice" > /dev/null
check "alice logs in" [ "$(as_alice id -un)" = alice ]
check "capture is as planned" within "/usr/libexec/keymaker/credd-capture check"
check "alice has credentials of her own" grep -x 'arn:aws:sts::.*:assumed-role/.*alice.*' <<< "$(role)"
check "root has the instance's" grep assumed-role/sandbox-instance <<< "$(aws sts get-caller-identity --query Arn --output text)"
check "keymakerd, restarted under capture, reaches AWS" within "systemctl restart keymakerd && keymaker sync"
check "the redirecting way of capture loads as well" bash -c 'echo "capture = \"nft\"" > /tmp/nft.toml && /usr/libexec/keymaker/credd-capture --config /tmp/nft.toml plan |
  sed -n "/^table/,/^}/p" | nft --check -f -'
check "and so does the one that only looks" bash -c 'echo "mode = \"observe\"" > /tmp/observe.toml && /usr/libexec/keymaker/credd-capture --config /tmp/observe.toml plan |
  sed -n "/^table/,/^}/p" | nft --check -f -'
check "doctor finds nothing that stops anybody" keymaker doctor
check "keymaker-credd is removed" apt-get purge -y -q keymaker-credd
check "and nothing of capture is left" bash -c '! { ip rule; ip -6 rule; nft list ruleset; } | grep -e 169.254 -e ec2 -e keymaker'
printf '\n%s passed, %s failed\n' $passed $failed
exit $((failed > 0))
