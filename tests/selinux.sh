#!/bin/bash
# The SELinux module: it compiles, and takes from the host's policy what docs/selinux.md says and nothing else, since one word that a
# policy has not keeps the whole module from being loaded there.
#
# usage: tests/selinux.sh OUTDIR     where keymaker.pp is put
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
out=${1:?usage: tests/selinux.sh OUTDIR}

dist/selinux/build "$out"
# As libsemanage reads it: each name of another module is a requirement.
/usr/libexec/selinux/hll/pp "$out/keymaker.pp" "$out/keymaker.cil" 2>/dev/null
taken=$(grep -oE 'cil_gen_require [a-z0-9_]+' "$out/keymaker.cil" | cut -d' ' -f2 | grep -vE '^keymaker|^system_r$' | sort -u)
said=$(sed -n '/^## What the module takes/,$p' docs/selinux.md | grep -oE '`[a-z0-9_]+`' | tr -d '`' | sort -u)
if ! diff <(echo "$taken") <(echo "$said" | grep -vxE 'unconfined_service_t|initrc_t|watch|staff_u'); then
  echo "selinux.sh: above, what the module takes (<) and what docs/selinux.md says (>) differ: write there which policies have it" >&2
  exit 1
fi
# Fedora looks each file of /usr/sbin up as one of /usr/bin (file_contexts.subs_dist).
while read -r file type; do
  grep -qE "^/usr/bin/${file#/usr/sbin/}[[:space:]].*:$type" dist/selinux/keymaker.fc ||
    { echo "selinux.sh: keymaker.fc has $file and not the same below /usr/bin" >&2; exit 1; }
done < <(sed -nE 's,^(/usr/sbin/[^[:space:]]+).*:([a-z_]+_exec_t).*,\1 \2,p' dist/selinux/keymaker.fc)
# A domain that may do everything, or is refused nothing, would make every other rule idle.
! grep -E '\(typepermissive|unconfined' "$out/keymaker.cil"
echo "$(grep -c '^ *(allow' "$out/keymaker.cil") rules; takes $(wc -w <<<"$taken") names from the host's policy, as docs/selinux.md says"
