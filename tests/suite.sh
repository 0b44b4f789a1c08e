#!/bin/bash
# What every supported system has to do, as the short list for those that the whole of ./check does not run on: packages, capture, one login with
# credentials, sudo, upgrade, removal. Ends with the system's row.
#
# usage: tests/suite.sh [--keep]     as root in a sandbox: ./sandbox --suite bullseye --no-install -- /sandbox/project/tests/suite.sh
#   --keep     neither upgrades nor removes
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=$(dirname "$(realpath "$0")")
debs=/sandbox/packages
. "$here/packaging/host.sh"
. "$here/packaging/table.sh"
. "$here/packaging/debs.sh"

main() {
    . /etc/os-release
    echo "$PRETTY_NAME, $(uname -m), $(nft --version 2>&1 | head -n 1), $(ssh -V 2>&1), glibc $(getconf GNU_LIBC_VERSION | cut -d' ' -f2)"
    row="${NAME%% *} $VERSION_ID, packages alone" rows=("$row")
    make_local_user
    before=$(configuration)
    settings
    cell install installed
    cell login alice_logs_in
    is_emulated || cell credentials credentials
    if [ "${1:-}" != --keep ]; then
        cell upgrade upgraded_by_apt
        cell erase purged_by_apt
        table
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

installed() {
    local packages=("$debs"/*.deb) deb
    if is_emulated; then
        for deb in "${!packages[@]}"; do [[ ${packages[deb]} != */keymaker-credd_* ]] || unset "packages[$deb]"; done
        rm /etc/keymaker/credd.toml
    fi
    check "apt installs the packages" apt-get install -q -y "${packages[@]}"
    check "an IAM user exists" within "getent passwd alice"
}

credentials() {
    users_have_credentials
    check "capture is as planned" within "/usr/libexec/keymaker/credd-capture check"
    check "root has the instance's credentials" grep assumed-role/sandbox-instance <<<"$(aws sts get-caller-identity --query Arn --output text)"
    check "keymakerd, restarted under capture, reaches AWS" within "systemctl restart keymakerd && keymaker sync"
    echo 'capture = "nft"' >"$work/nft.toml"; echo 'mode = "observe"' >"$work/observe.toml"
    check "the redirecting way of capture loads as well" loads "$work/nft.toml"
    check "and so does the one that only looks" loads "$work/observe.toml"
}

within() { timeout 30 sh -c "until $1; do sleep 0.1; done"; }
loads() { /usr/libexec/keymaker/credd-capture --config "$1" plan | sed -n '/^table/,/^}/p' | nft --check -f -; }

main "$@"
