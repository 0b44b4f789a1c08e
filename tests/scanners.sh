#!/bin/bash
# What lintian, rpmlint and a look at the modes say of the packages that were built.
#
# usage: tests/scanners.sh DIRECTORY    with .deb and .rpm files anywhere in it
set -u
here=$(dirname "$(realpath "$0")")
failed=0
check() { # SENTENCE COMMAND…: the command prints what is wrong, or nothing
    local sentence=$1 said; shift
    said=$("$@" 2>&1)
    if [ -z "$said" ]; then echo "ok: $sentence"; else failed=$((failed + 1)); printf 'FAILED: %s\n%s\n' "$sentence" "$said"; fi
}
mapfile -t debs < <(find "$1" -name '*.deb' ! -name '*-dbgsym_*' | sort)
mapfile -t rpms < <(find "$1" -name '*.rpm' ! -name '*-debug*' | sort)
[ ${#debs[@]} -ge 5 ] && [ ${#rpms[@]} -ge 6 ] || { echo "scanners.sh: $1 has ${#debs[@]} .deb and ${#rpms[@]} .rpm files: 'tests/repository.sh make' makes them" >&2; exit 2; }

# Of lintian warnings too: an override that overrides nothing is one.
lintian_says() { lintian --no-cfg --allow-root --tag-display-limit 0 --display-level '>=warning' "${debs[@]}" | grep -v '^N: '; }
rpmlint_says() { rpmlint --config "$here/../rpm/rpmlint.toml" "${rpms[@]}" | grep ': E: '; }
# MODE OWNER FILE: neither a bit that lends rights nor a file that others may write; a link's mode says nothing.
with_wrong_modes() { awk '$1 !~ /^l/ && ($1 ~ /[sStT]/ || substr($1, 6, 1) == "w" || substr($1, 9, 1) == "w" || $2 != "root/root") { print }'; }
in_debs() { local deb; for deb in "${debs[@]}"; do dpkg-deb -c "$deb" | awk '{ print $1, $2, $NF }'; done; }
in_rpms() { rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]' "${rpms[@]}" 2>/dev/null; }
wrong_in_debs() { in_debs | with_wrong_modes; }
wrong_in_rpms() { in_rpms | with_wrong_modes; }
few() { [ "$("$1" | wc -l)" -ge 50 ] || "$1"; }

check "lintian has nothing to say of ${#debs[@]} packages" lintian_says
check "rpmlint finds no error in ${#rpms[@]} packages" rpmlint_says
check "the files of the .debs are seen" few in_debs
check "none of them lends rights, and root alone may write them" wrong_in_debs
check "the files of the .rpms are seen" few in_rpms
check "none of them lends rights, and root alone may write them" wrong_in_rpms
[ $failed = 0 ]
