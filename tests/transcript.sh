#!/bin/bash
# Every command of `keymaker` with its ordinary output, and again as JSON through jq, in one transcript; each exit status is checked, and a
# command that is left out is a failure. Runs as root in a sandbox: ./sandbox -- /sandbox/project/tests/transcript.sh
set -u
failed=0 ran=""
tmp=$(mktemp -d); cd "$tmp"
admin="sandbox-admin keymaker"

wrong() { failed=$((failed + 1)); echo "!!! $*"; }

# shown STATUS COMMAND: a line of shell, as somebody would type it.
shown() {
  local expected=$1 status; shift
  printf '\n$ %s\n' "$*"
  bash -c "$*" 2>&1; status=$?
  [ $status = 0 ] || echo "(exit $status)"
  [ $status = "$expected" ] || wrong "exit $status, not $expected"
  ran+=" $*"
}

# both STATUS COMMAND: the same, and with --json.
both() {
  local expected=$1 out status; shift
  shown "$expected" "$@"
  printf '\n$ %s --json | jq -c .\n' "$*"
  out=$(bash -c "$* --json" 2>&1); status=$?
  [ $status = "$expected" ] || wrong "exit $status, not $expected"
  jq -c . <<< "$out" | cut -c1-2000 || wrong "jq cannot read that"
  jq -e . <<< "$out" > /dev/null || wrong "jq cannot read that: $out"
}

# asked STATUS COMMAND: at a terminal, where its question is answered with no.
asked() {
  local expected=$1 out status; shift
  printf '\n$ %s    # at a terminal\n' "$*"
  out=$(printf 'no\n' | script -qec "$*" /dev/null 2>&1); status=$?
  tr -d '\r' <<< "$out" | sed 's/\x1b\[K//g'
  [ $status = 0 ] || echo "(exit $status)"
  [ $status = "$expected" ] || wrong "exit $status, not $expected"
  [[ $out == *"Go on? [yes/no]"* ]] || wrong "there was no question"
}

ready() { timeout 30 sh -c 'until [ -e /var/lib/keymaker/public/contact ]; do sleep 0.1; done'; }
key() { sandbox-admin keymaker list-keys --user carol --json | jq -r '.keys[-1].id'; }

ready
echo "# For users, on any computer (here with an administrator's credentials)"
ssh-keygen -q -t rsa -b 2048 -N '' -f mine; ssh-keygen -q -t rsa -b 2048 -N '' -f second; ssh-keygen -q -t ed25519 -N '' -f ed
shown 0 keymaker --version
shown 0 "$admin upload-key --identity mine --user carol"
shown 0 "$admin upload_key -i second.pub --user carol --json | jq -c ."
both 0 "$admin list-keys --user carol"
for command in disable-key enable-key; do both 0 "$admin $command $(key) --user carol"; done
shown 0 "$admin delete-key $(key) --user carol --yes"
shown 0 "$admin delete-key $(key) --user carol --yes --json | jq -c ."

echo; echo "# What may go wrong, and the remedy"
both 1 "$admin list-keys --user nosuch"
both 1 "keymaker upload-key -i mine --user bob"
both 1 "AWS_EC2_METADATA_DISABLED=true keymaker list-keys"
both 1 "$admin upload-key ed --user carol"
asked 1 "$admin upload-key ed --user carol"
shown 0 "$admin upload-key ed --user carol --as-tag"
both 0 "$admin list-keys --user carol"
asked 1 "$admin delete-key keymaker:ssh-key-1 --user carol"
shown 0 "$admin delete-key keymaker:ssh-key-1 --user carol --yes"
for n in 1 2 3 4; do ssh-keygen -q -t rsa -b 2048 -N '' -f more$n; $admin upload-key -i more$n --user carol > /dev/null; done
both 1 "$admin upload-key -i mine --user carol"
mkdir -p of-admin/.ssh; cp second.pub of-admin/.ssh/id_rsa.pub
both 1 "HOME=$PWD/of-admin $admin upload-key --user carol"
both 1 "keymaker list-keys"
both 1 "AWS_CA_BUNDLE=/nonexistent $admin list-keys --user carol"
shown 2 "keymaker delete-key alice"

echo; echo "# Logins without keys"
both 1 "$admin login --audience x"
shown 0 "$admin login --ssh-config '*.example.com'"
both 1 "$admin login --ssh-config 'a b'"
shown 1 "$admin ssh -o BatchMode=yes alice@localhost true"
sandbox-admin aws iam enable-outbound-web-identity-federation > /dev/null
shown 0 "$admin login"
both 0 "$admin login --if-needed"

echo; echo "# For administrators of an account"
both 0 "$admin configure --instance-iam-role web --require-iam-group prod_ssh_users --dry-run"
shown 0 "$admin configure --instance-iam-role web --require-iam-group prod_ssh_users | tail -n 3"
both 0 "$admin configure --instance-iam-role web --require-iam-group prod_ssh_users"
asked 1 "$admin configure --instance-iam-role web --undo"
shown 0 "$admin configure --instance-iam-role web --undo --yes | tail -n 3"
both 0 "$admin configure --instance-iam-role web --undo --yes"
shown 0 "$admin configure --instance-iam-role web --print terraform | jq -c 'keys'"
shown 0 "$admin configure --instance-iam-role web --print cloudformation | jq -c '.Resources | keys'"
both 0 "keymaker configure --guard-policy --allow 'arn:aws:iam::*:role/admin'"
both 0 "keymaker configure --self-service-policy"
sandbox-admin aws iam disable-outbound-web-identity-federation 2> /dev/null
both 0 "$admin configure --logins --logins-group prod_ssh_users --dry-run"
shown 0 "$admin configure --logins --logins-group prod_ssh_users | tail -n 6"
both 0 "$admin configure --logins"
asked 1 "$admin configure --logins --undo"
shown 0 "$admin configure --logins --undo --yes | tail -n 3"
both 0 "$admin configure --logins --undo --yes"
shown 0 "$admin configure --instance-iam-role web --logins --print terraform | jq -c '.resource | keys'"
both 0 "keymaker configure --logins-guard-policy"
for user in alice bob; do
  sandbox-admin aws iam delete-role-policy --role-name user-$user --policy-name own-keys; sandbox-admin aws iam delete-role --role-name user-$user
done
both 0 "$admin sync-roles --instance-iam-role sandbox-instance --user alice --user bob --dry-run"
shown 0 "$admin sync-roles --instance-iam-role sandbox-instance --user alice --user bob"
both 0 "$admin sync-roles --instance-iam-role sandbox-instance --user alice"
sandbox-admin aws iam create-user --user-name erin > /dev/null; $admin sync-roles --instance-iam-role sandbox-instance --user erin > /dev/null
sandbox-admin aws iam delete-user --user-name erin
asked 1 "$admin sync-roles --instance-iam-role sandbox-instance --prune"
shown 0 "$admin sync-roles --instance-iam-role sandbox-instance --print-policy | jq -c '.Statement[]'"
both 0 "$admin assign-uids --range 200000-200999 --dry-run"
shown 0 "$admin assign-uids --range 200000-200999"
both 0 "$admin assign-uids --range 200000-200999"
shown 2 "$admin assign-uids --range 500000-600000"

echo; echo "# For a host"
both 0 "keymaker status"
both 0 "keymaker status --check"
both 0 "keymaker log-level debug"
both 0 "keymaker log-level info"
shown 0 "keymaker debug-bundle --output bundle.tar.gz"
shown 0 "keymaker debug-bundle --output other.tar.gz --json | jq -c ."
both 1 "keymaker debug-bundle --output bundle.tar.gz"
both 0 "keymaker sync"
both 0 "keymaker invalidate alice"
both 0 "keymaker invalidate"
both 0 "keymaker revoke-proofs alice"
both 0 "keymaker revoke-proofs"
both 1 "keymaker revoke-proofs nosuch"
both 0 "keymaker get-uid alice"
both 0 "keymaker get-groups alice"
both 0 "keymaker get-authorized-keys alice"
both 0 "keymaker who-was $(id -u alice)"
both 0 "keymaker why alice"
both 0 "keymaker why alice --from 192.0.2.7"
both 1 "keymaker why Alice"
both 0 "keymaker why carol"
both 1 "keymaker why root"
both 1 "keymaker why nosuch"
both 0 "keymaker doctor"
chmod 666 /etc/keymaker/keymakerd.toml
both 1 "keymaker doctor"
chmod 644 /etc/keymaker/keymakerd.toml
both 0 "keymaker capture status"
both 0 "keymaker capture plan"
asked 1 "keymaker capture down"
both 0 "keymaker capture down --yes"
both 1 "keymaker capture status"
both 0 "keymaker capture up"
sandbox-admin aws iam update-role --role-name sandbox-instance --description keymaker_require_iam_group=prod_ssh_users; keymaker sync > /dev/null
both 1 "keymaker why carol"
sandbox-admin aws iam update-role --role-name sandbox-instance --description ''; keymaker sync > /dev/null
shown 0 "keymaker accept-settings"
both 1 "keymaker accept-settings"
both 1 "keymaker release alice"
both 1 "keymaker link-home alice"
dave() { sandbox-admin aws iam "$1" --user-name dave "${@:2}" > /dev/null; }
# Of two answers within five seconds the more refusing one counts, also about who is in a group.
until_why_says() { timeout 30 sh -c "until keymaker sync > /dev/null; keymaker why dave | grep -q '$1'; do sleep 1; done" || wrong "why does not say: $1"; }
dave create-user; dave add-user-to-group --group-name keymaker_devs; until_why_says 'IAM user dave'
dave remove-user-from-group --group-name keymaker_devs; dave delete-user; dave create-user; dave add-user-to-group --group-name keymaker_devs
until_why_says 'belonged to another IAM user'
both 1 "keymaker why dave"
shown 0 "keymaker release dave"
both 0 "keymaker install"
both 1 "keymaker uninstall"
both 0 "keymaker migrate --dry-run"
# Its question comes where there is something: tests/migrate.sh.
both 0 "keymaker migrate --yes"
both 1 "runuser -u alice -- keymaker sync"
asked 1 "keymaker reset"
both 0 "keymaker reset --yes"

# Whatever the help names was shown.
for command in $(keymaker --help | sed -n '/^Usage:/,/^Options:/s/^  \([a-z][a-z-]*\) .*/\1/p'); do
  [[ $ran =~ (keymaker|$admin)\ $command ]] || wrong "$command is not in this transcript"
done
printf '\n%s failed\n' $failed
exit $((failed > 0))
