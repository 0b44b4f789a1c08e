# What tests/packaging.sh asks of a host, and how it counts the answers. Sourced by it; it sets debs, work and drop_in.
# shellcheck shell=bash disable=SC2154

passed=0
failed=0
control='[success=ok ignore=ignore module_unknown=ignore default=die]'

# --- counting ---

step() { echo "== $*"; }

check() {
    local sentence=$1
    shift
    if "$@" >"$work/output" 2>&1; then
        passed=$((passed + 1))
        [ -z "${VERBOSE:-}" ] || echo "ok   $sentence"
    else
        failed=$((failed + 1))
        echo "FAIL $sentence"
        sed 's/^/     /' "$work/output"
    fi
}

fails() { ! "$@"; }
same_text() { [ "$1" = "$2" ] || { diff <(echo "$1") <(echo "$2"); return 1; }; }
same_file() { cmp "$1" "$2"; }

# --- what is asked of the host ---

# Root and a local user, by ssh and by su, each within five seconds; and every name still has its owner.
host_works() {
    check "$1: root is root" same_text "0" "$(getent passwd root | cut -d: -f3)"
    check "$1: sshd accepts its configuration" sshd -t
    check "$1: root logs in" ssh_as root
    check "$1: a local user logs in" ssh_as local-user
    check "$1: root becomes the user by su" timeout 5 su local-user -c true
    check "$1: sudo works" timeout 5 sudo -n -u local-user true
}

# sshd opens its port anew at a reload; in that moment a connection is refused.
ssh_as() {
    timeout 10 ssh -F none -o ConnectionAttempts=5 -i "$work/key" -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o ConnectTimeout=5 \
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$1@localhost" true
}

make_local_user() {
    ssh-keygen -q -t ed25519 -N '' -f "$work/key"
    local user home
    # No password, rather than a locked one: without PAM, sshd lets nobody in whose password is locked.
    for user in local-user member; do useradd -m -s /bin/sh -p "*" "$user"; done
    for user in root local-user member; do
        home=$(getent passwd "$user" | cut -d: -f6)
        install -d -m 0700 -o "$user" -g "$user" "$home/.ssh"
        cat "$work/key.pub" >>"$home/.ssh/authorized_keys"
        chown "$user:" "$home/.ssh/authorized_keys"
    done
    useradd -m -s /bin/sh -e 2001-01-01 expired
    cp -a /etc/nsswitch.conf "$work/nsswitch.conf"
    host_works "before anything is installed"
}

sshd_has() {
    local user=$1 key=$2 value=$3
    shift 3
    sshd -T -C "user=$user,host=localhost,addr=127.0.0.1" "$@" | grep -qxF "$key $value"
}

su_with() {
    with_answer "$1" "$2" timeout 5 su local-user -c true
}

expired_user_with() {
    with_answer account "$1" timeout 5 su expired -c true
}

with_answer() {
    local stack=$1 answer=$2 status
    shift 2
    sed -i "/pam_keymaker/s/pam_keymaker.so/pam_debug.so $answer/" "/etc/pam.d/common-$stack"
    grep -q pam_debug "/etc/pam.d/common-$stack" || return 99
    "$@"
    status=$?
    cp -a "$work/pam.d/common-$stack" "/etc/pam.d/common-$stack"
    return "$status"
}

has_pam_line() {
    [ "$(grep -F "$control" "/etc/pam.d/$1" | grep -c 'pam_keymaker\.so *$')" = 1 ]
}

nsswitch_has_keymaker() {
    [ "$(grep -cE '^(passwd|group):[[:space:]]+files keymaker( |$)' /etc/nsswitch.conf)" = 2 ]
}

# Everything in /etc that we touch.
configuration() {
    cat /etc/nsswitch.conf /etc/pam.d/common-*
    find /etc/ssh /etc/sudoers.d /etc/pam.d -type f -exec md5sum {} + | sort -k 2
    find /etc/apparmor.d/abstractions/nameservice.d /etc/keymaker -type f 2>/dev/null | sort
}

no_file_left() {
    local left
    left=$(find / -xdev \( -path /proc -o -path "$work" -o -path "$debs" -o -path /sandbox -o -path /usr/local -o -path /var/log -o -path /tmp \) -prune -o \
        -iname '*keymaker*' -print)
    # dpkg's own memory of what was purged is its business.
    left=$(echo "$left" | grep -v '^/var/cache/apt\|^/wt' | grep .)
    [ -z "$left" ] || { echo "$left"; return 1; }
}

# sshd may be reloading.
logs_in() { timeout 20 sh -c "until ssh -o BatchMode=yes $1@localhost true; do sleep 0.1; done"; }

# Alice logs in all the while, one login after another: nothing that COMMAND does may refuse one.
while_alice_logs_in() { # COMMAND…
    local loop status
    rm -f "$work"/{logins,refused,enough}
    until [ -e "$work/enough" ]; do
        if timeout 60 ssh -o BatchMode=yes -o ConnectionAttempts=5 alice@localhost true; then echo yes >>"$work/logins"; else date >>"$work/refused"; fi
    done </dev/null 2>>"$work/refused" &
    loop=$!
    "$@"
    status=$?
    sleep 2; touch "$work/enough"; wait "$loop"
    echo "$(wc -l <"$work/logins") logins"
    [ ! -s "$work/refused" ] || { cat "$work/refused"; return 1; }
    [ -s "$work/logins" ] && return $status
}
has_credentials() { timeout 20 sh -c "until ssh -o BatchMode=yes $1@localhost aws sts get-caller-identity --query Arn --output text | grep -q user-$1; do sleep 0.2; done"; }

users_have_credentials() {
    check "credd is turned on by one command" keymaker capture up
    check "alice has credentials of her own" has_credentials alice
    check "doctor finds nothing then either" keymaker doctor
}

mode_is() { same_text "$2" "$(stat -c '%a %U' "$1")"; }
in_group() { id -nG "$1" | tr ' ' '\n' | grep -qx "$2"; }
is_empty_group() { [ -z "$(getent group "$1" | cut -d: -f4)" ]; }
becomes_active() { timeout 15 sh -c "until systemctl -q is-active $1; do sleep 0.2; done"; }
systemctl_reports_cycles() { journalctl -b -q --no-pager _PID=1 | grep -i 'ordering cycle\|keymakerd.service.*Unknown\|keymakerd.service:[0-9]'; }

exposure_at_most() {
    local exposure
    exposure=$(systemd-analyze security --no-pager "$1" | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
    [ -n "$exposure" ] && awk -v e="$exposure" -v max="$2" 'BEGIN { exit !(e <= max) }'
}

apparmor_accepts_abstraction() {
    # Debian 11's abstraction reads no drop-ins.
    grep -qs 'nameservice\.d' /etc/apparmor.d/abstractions/nameservice && command -v apparmor_parser >/dev/null || return 0
    printf '#include <tunables/global>\nprofile packaging-test {\n  #include <abstractions/nameservice>\n}\n' >"$work/profile"
    apparmor_parser -QK "$work/profile" && apparmor_parser -QKp "$work/profile" | grep -q keymaker
}

newer_packages() {
    local deb
    mkdir -p "$1"
    for deb in "$debs"/{keymaker,keymaker-cli,keymaker-credd,libnss-keymaker,libpam-keymaker}_*.deb; do
        rm -rf "$work/unpacked"
        dpkg-deb -R "$deb" "$work/unpacked"
        sed -i -E '/^Version:/s/$/+newer/; /^Depends:/s/\(= ([^)]*)\)/(= \1+newer)/g' "$work/unpacked/DEBIAN/control"
        dpkg-deb -b "$work/unpacked" "$1/$(basename "$deb")" >/dev/null
    done
}
