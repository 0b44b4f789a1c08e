#!/bin/bash
# What AWS's web identity tokens are like in a real account: six probes for whoever has one. docs/unverified.md says what hangs on them.
#
#   web-identity.sh prepare              as an administrator: makes the IAM user /keymaker/probes/keymaker-probe, whose access key lies in ~/.keymaker-probe
#   web-identity.sh key                  1: a token of that user, by the access key
#   web-identity.sh session SERIAL CODE  2: by GetSessionToken, with a second factor (aws iam enable-mfa-device; the console has it, too)
#   web-identity.sh login PROFILE        3: of an IAM user, by 'aws login'
#   web-identity.sh sso PROFILE          4: of somebody of Identity Center, by 'aws sso login'
#   web-identity.sh denied               5: as an administrator: what AWS says where a permission lacks, each in turn
#   web-identity.sh keys                 6: as an administrator: the issuer's published keys. Once more a week later
#   web-identity.sh clean                as an administrator: takes the user away again
#
# Federation must be on (aws iam enable-outbound-web-identity-federation). It needs the AWS CLI 2.32 or later, curl, and jq for nicer output. What is printed
# opens nothing: signatures are cut off, account numbers and ids replaced. Read it, and send it to the maintainers, as an issue of the repository.
set -euo pipefail

USER_NAME=keymaker-probe
KEPT=${KEYMAKER_PROBE:-$HOME/.keymaker-probe}
# IAM takes some seconds until a policy counts everywhere.
WAIT=${KEYMAKER_PROBE_WAIT:-15}

main() {
  case ${1:-} in
    prepare) prepare ;;
    key) heading 1 "an IAM user with a path, by an access key"; as_user token ;;
    session) heading 2 "the same, by GetSessionToken with a second factor"; session "${2:?SERIAL}" "${3:?CODE}" ;;
    login) heading 3 "by 'aws login'"; token --profile "${2:?PROFILE}" ;;
    sso) heading 4 "by Identity Center"; token --profile "${2:?PROFILE}" ;;
    denied) heading 5 "without a permission"; denied ;;
    keys) heading 6 "the issuer's keys"; keys ;;
    clean) clean ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
}

heading() {
  echo "## Probe $1: $2, $(date -u +%F), $(aws --version 2>&1 | cut -d' ' -f1)"
}

prepare() {
  aws iam create-user --user-name $USER_NAME --path /keymaker/probes/ --tags Key=probe,Value=yes > /dev/null
  may sts:GetWebIdentityToken sts:TagGetWebIdentityToken
  (umask 077; aws iam create-access-key --user-name $USER_NAME --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text > "$KEPT")
  echo "made: user $USER_NAME, its access key in $KEPT"
}

# The user's one policy.
may() {
  local actions; actions=$(printf '"%s",' "$@")
  aws iam put-user-policy --user-name $USER_NAME --policy-name probe --policy-document \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[${actions%,}],\"Resource\":\"*\"}]}"
}

as_user() {
  local id secret; read -r id secret < "$KEPT"
  env -u AWS_PROFILE -u AWS_SESSION_TOKEN AWS_ACCESS_KEY_ID="$id" AWS_SECRET_ACCESS_KEY="$secret" "$0" --again "$@"
}

session() {
  local id secret token
  read -r id secret token < <(as_user aws sts get-session-token --serial-number "$1" --token-code "$2" --duration-seconds 900 \
    --query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' --output text)
  env -u AWS_PROFILE AWS_ACCESS_KEY_ID="$id" AWS_SECRET_ACCESS_KEY="$secret" AWS_SESSION_TOKEN="$token" "$0" --again token
}

# Header and claims of a token of a minute.
token() {
  local made; made=$(aws sts get-web-identity-token --audience keymaker-probe --signing-algorithm ES384 --duration-seconds 60 \
    --tags Key=keymaker-key,Value=SHA256:probe --query WebIdentityToken --output text "$@")
  for part in 1 2; do cut -d. -f$part <<< "$made" | decoded | masked; done
  echo "(${#made} characters, a signature of $(cut -d. -f3 <<< "$made" | wc -m))"
}

decoded() {
  local text; text=$(tr '_-' '/+')
  while [ $((${#text} % 4)) -ne 0 ]; do text+==; done
  base64 -d <<< "$text" | if command -v jq > /dev/null; then jq .; else cat; echo; fi
}

masked() {
  sed -E 's/[0-9]{12}/123456789012/g; s/\b(o|r|ou)-[a-z0-9-]+/\1-example/g; s/(AKIA|ASIA)[A-Z0-9]{16}/\1EXAMPLE/g
    s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/00000000-0000-0000-0000-000000000000/g'
}

denied() {
  for has in none sts:GetWebIdentityToken sts:TagGetWebIdentityToken; do
    may "${has/none/sts:GetCallerIdentity}"
    sleep "$WAIT"
    echo "allowed: $has; asked for a token with a tag:"
    as_user token 2>&1 | masked || true
  done
  may sts:GetWebIdentityToken sts:TagGetWebIdentityToken
}

keys() {
  local issuer; issuer=$(aws iam get-outbound-web-identity-federation-info --query IssuerIdentifier --output text)
  for document in openid-configuration jwks.json; do
    echo "$document:"
    curl -sS --fail -D - "$issuer/.well-known/$document" | tr -d '\r' | masked
    echo
  done
}

clean() {
  for id in $(aws iam list-access-keys --user-name $USER_NAME --query 'AccessKeyMetadata[].AccessKeyId' --output text); do
    aws iam delete-access-key --user-name $USER_NAME --access-key-id "$id"
  done
  for serial in $(aws iam list-mfa-devices --user-name $USER_NAME --query 'MFADevices[].SerialNumber' --output text); do
    aws iam deactivate-mfa-device --user-name $USER_NAME --serial-number "$serial"
    aws iam delete-virtual-mfa-device --serial-number "$serial"
  done
  aws iam delete-user-policy --user-name $USER_NAME --policy-name probe
  aws iam delete-user --user-name $USER_NAME
  rm -f "$KEPT"
  echo "taken away: user $USER_NAME"
}

# As another user, by the environment: a function, or aws.
if [ "${1:-}" = --again ]; then shift; "$@"; else main "$@"; fi
