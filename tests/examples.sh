#!/bin/bash
# The examples, as far as their tools can be had: schemas, syntax, the policies against `keymaker configure`; and the Ansible role on this
# host, twice, after which alice logs in; and Ansible over ssh, by proof. Each tool is also shown a broken example, which it must refuse.
#
# usage: tests/examples.sh TOOLS DEBS    as root in a sandbox where our packages are not installed; TOOLS is what ./check examples puts
# together: KEYMAKER_SANDBOX_BIND=TOOLS:/sandbox/tools ./sandbox --no-install -- /sandbox/project/tests/examples.sh /sandbox/tools /sandbox/packages
set -u

tools=${1:?usage: tests/examples.sh TOOLS DEBS} debs=${2:?usage: tests/examples.sh TOOLS DEBS}
[ -d /run/systemd/system ] && [ "$(id -u)" = 0 ] || { echo "examples.sh: runs as root in the sandbox" >&2; exit 2; }
if dpkg -s libnss-keymaker >/dev/null 2>&1; then echo "examples.sh: our packages are installed already" >&2; exit 2; fi
here=$(dirname "$(realpath "$0")")
export PYTHONPATH=$tools/python:$tools/debian/usr/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1 ANSIBLE_NOCOLOR=1 ANSIBLE_LOCALHOST_WARNING=0
failed=0 passed=0
work=$(mktemp -d)
cp -r "$here/../examples" "$work/examples"
cd "$work/examples" || exit 1

check() { # SENTENCE COMMAND…
  local sentence=$1; shift
  if "$@" >"$work/log" 2>&1; then passed=$((passed + 1)); echo "ok: $sentence"; else failed=$((failed + 1)); echo "FAILED: $sentence"; tail -n 40 "$work/log"; fi
}

# refuses SED FILE COMMAND…: the command fails once FILE is edited so, and names something that is in the file.
refuses() {
  local edit=$1 file=$2 kept status; shift 2
  kept=$(mktemp -p "$work"); cp "$file" "$kept"
  sed -i -E "$edit" "$file"
  if cmp -s "$file" "$kept"; then echo "the edit $edit changes nothing in $file"; return 1; fi
  "$@"; status=$?
  cp "$kept" "$file"
  [ $status != 0 ]
}

schema() { python3 -m cloudinit.cmd.main schema --config-file "$1" | tee "$work/schema"; grep -q 'Valid cloud-config' "$work/schema"; }
lint() { python3 -c 'import sys; from cfnlint.runner.cli import main; sys.exit(main())' --regions us-east-1 -- cloudformation/keymaker-host.yaml; }
compare() { python3 "$here/examples.py" "$@"; }
# What a host with these roles needs, by the program that makes them.
wanted() { env -u PYTHONPATH sandbox-admin keymaker configure --instance-iam-role keymaker-host --print cloudformation >"$work/wanted.json"; }

# As apt-ftparchive would write it, which is not here.
make_repository() {
  mkdir -p "$work/repository" && cp "$debs"/*.deb "$work/repository/" && rm -f "$work"/repository/*dbgsym* && cd "$work/repository" || return
  local deb
  for deb in *.deb; do
    dpkg-deb -f "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
  done >Packages
  cd - >/dev/null && chmod -R a+rX "$work"
}

play() {
  cat >"$work/host.yml" <<END
keymaker_apt_source: "deb [trusted=yes] file:$work/repository ./"
keymaker_settings: |
  iam_endpoint = "$AWS_ENDPOINT_URL"
  sts_endpoint = "$AWS_ENDPOINT_URL"
END
  (cd ansible && python3 -m ansible playbook --connection local --inventory localhost, --extra-vars "@$work/host.yml" \
    --extra-vars ansible_python_interpreter=/usr/bin/python3 "$@" site.yml)
}
changes_something() { play | tee "$work/play"; grep -qE 'changed=[1-9].*unreachable=0 +failed=0' "$work/play"; }
changes_nothing() { play | tee "$work/play"; grep -qE 'changed=0 +unreachable=0 +failed=0' "$work/play"; }
logs_in() { timeout 30 sh -c 'until ssh -o BatchMode=yes alice@localhost true; do sleep 0.2; done'; }

for file in cloud-init/debian.yaml cloud-init/rpm.yaml; do
  check "cloud-init takes $file" schema $file
  check "cloud-init refuses $file with packages that are no list" refuses 's/^packages:/packages: 5\nsnap:/' $file schema $file
done
check "cfn-lint finds nothing in the CloudFormation template" lint
check "cfn-lint refuses a property that there is none of" refuses 's/HttpTokens:/HttpToken:/' cloudformation/keymaker-host.yaml lint
check "a repository of our packages is made" make_repository
# There is no other repository within reach, and sudo keeps no PYTHONPATH.
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
install -m 440 /dev/stdin /etc/sudoers.d/tools <<<'Defaults env_keep += "PYTHONPATH PYTHONDONTWRITEBYTECODE"'
check "the Ansible role installs Keymaker" changes_something
check "a second run of the Ansible role changes nothing" changes_nothing
check "alice logs in" logs_in
check "a third run is not idle where a setting was edited on the host" refuses 's/^/# /' /etc/keymaker/keymakerd.toml changes_nothing
check "configure prints what a host needs" wanted
check "the examples allow what configure would, and no more" compare "$work/wanted.json" .
check "a right too few in Terraform is found" refuses '/"iam:ListUsers"/d' terraform/main.tf compare "$work/wanted.json" .
check "a right too many in CloudFormation is found" refuses 's/- iam:ListUsers/- iam:ListUsers\n              - iam:ListRoles/' cloudformation/keymaker-host.yaml compare "$work/wanted.json" .
check "a wider resource is found" refuses 's/resources = \[aws_iam_role.*/resources = ["*"]/' terraform/main.tf compare "$work/wanted.json" .
check "a role that more services may take is found" refuses 's/ec2\.\$\{AWS::URLSuffix\}/lambda.amazonaws.com/' cloudformation/keymaker-host.yaml compare "$work/wanted.json" .
check "user data that differs is found" refuses 's/^( +)only_group_members = true/\1only_group_members = false/' cloudformation/keymaker-host.yaml compare "$work/wanted.json" .
check "HCL that cannot be parsed is found" refuses 's/^build \{/build {{/' packer/debian.pkr.hcl compare "$work/wanted.json" .

# Over ssh now, by the lines for ssh_config, as dave, who has no key in IAM.
proofs_are_on() (
  unset PYTHONPATH
  sandbox-admin aws iam create-user --user-name dave && sandbox-admin aws iam add-user-to-group --user-name dave --group-name keymaker_devs &&
    "$here/proofs-on" dave && keymaker sync && as_dave keymaker login --ssh-config localhost >/root/laptop/config && sandbox-calls --reset
)
as_dave() { (. /root/dave.env; HOME=/root/laptop "$@"); }
over_ssh() { # ARGUMENTS OF ansible…
  as_dave python3 -m ansible "$@" --inventory localhost, --user dave --ssh-common-args "-F /root/laptop/config" \
    --extra-vars ansible_python_interpreter=/usr/bin/python3 | tee "$work/play"
}
pings() { over_ssh adhoc all -m ping; grep -q '"ping": "pong"' "$work/play"; }
furnishes_the_home() {
  cat >"$work/home.yml" <<'END'
- hosts: all
  tasks:
    - ansible.builtin.file: {path: "{{ ansible_facts.env.HOME }}/site", state: directory, mode: "0750"}
    - ansible.builtin.copy: {content: "{{ ansible_facts.user_id }}\n", dest: "{{ ansible_facts.env.HOME }}/site/owner"}
END
  over_ssh playbook "$work/home.yml"; grep -qE "$1 +unreachable=0 +failed=0" "$work/play" && grep -qx dave /home/dave/site/owner
}
takes_one_token() { sandbox-calls | tee "$work/calls"; grep -qE 'GetWebIdentityToken 1$' "$work/calls"; }
check "logins by proof are turned on" proofs_are_on
check "Ansible reaches the host by proof" pings
check "a playbook by proof furnishes a home" furnishes_the_home changed=2
check "a second run of it changes nothing" furnishes_the_home changed=0
check "all of that takes one token" takes_one_token

echo "$passed passed, $failed failed"
[ $failed = 0 ]
