#!/bin/bash
# Run by somebody: the role that each metadata address names, and whether there are credentials of it; a line each.
for address in 169.254.169.254 '[fd00:ec2::254]'; do
  ask() { curl -sSg --noproxy '*' -f -m 5 "$@"; }
  list=http://$address/latest/meta-data/iam/security-credentials/
  token=$(ask -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "http://$address/latest/api/token") &&
    role=$(ask -H "X-aws-ec2-metadata-token: $token" "$list") &&
    ask -H "X-aws-ec2-metadata-token: $token" "$list$role" | jq -r --arg role "$role" 'if .AccessKeyId then $role else "no credentials" end' ||
    echo nothing
done 2>&1
