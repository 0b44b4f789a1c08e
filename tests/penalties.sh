#!/bin/bash
# One user who is refused with a good key makes a newer sshd turn away everybody behind the same address: doctor names the address, and
# its remedy lets the others in. Then one login by proof.
#
# Runs as root in a sandbox whose sshd is 9.8 or newer: ./sandbox --suite trixie -- /sandbox/project/tests/penalties.sh
set -u
failed=0 passed=0

check() { # SENTENCE COMMAND…
  local sentence=$1; shift
  if "$@" > /tmp/check.log 2>&1; then passed=$((passed + 1)); echo "ok: $sentence"; else failed=$((failed + 1)); echo "FAILED: $sentence"; cat /tmp/check.log; fi
}
fails() { ! "$@"; }
within() { timeout 30 sh -c "until $1; do sleep 0.1; done"; }
login() { ssh -4 -o BatchMode=yes -o ConnectTimeout=10 "$1@localhost" true; }
# Four are enough by sshd's defaults.
refuse_carol() { for _ in 1 2 3 4 5 6; do login carol; done; true; }
finding() { keymaker doctor --json | jq -er '.findings[] | select(.what | startswith("sshd has turned away 127.0.0.1 in the last hour")) | .remedy'; }

within "getent passwd alice"
check "alice logs in" within "ssh -4 -o BatchMode=yes alice@localhost true"
check "doctor finds nothing" fails finding
sandbox-admin aws iam update-role --role-name sandbox-instance --description keymaker_require_iam_group=prod_ssh_users
keymaker sync > /dev/null
refuse_carol > /tmp/refused.log 2>&1
check "alice is turned away for what carol did" fails login alice
check "doctor names the address" finding
check "its remedy works" bash -c "$(finding)"
# What sshd keeps of an address goes with a restart; a reload keeps it, but asks the list first.
check "alice logs in again" within "ssh -4 -o BatchMode=yes -o ConnectTimeout=10 alice@localhost true"
refuse_carol > /tmp/refused.log 2>&1
check "and whatever carol does" login alice
check "doctor finds nothing any more" fails finding
# The one login by proof with this OpenSSH in each ./check, and by no key that IAM has.
by_proof() { (. /root/alice.env && HOME=/root/laptop keymaker ssh -4 -F none -o BatchMode=yes -o ConnectTimeout=10 alice@localhost id -un) | grep -x alice; }
check "proofs are turned on" "$(dirname "$0")/proofs-on" alice
check "alice logs in by proof" by_proof
check "the audit says so" within "journalctl -q KEYMAKER_EVENT=login | grep -q 'by proof'"
printf '\n%s passed, %s failed\n' $passed $failed
exit $((failed > 0))
