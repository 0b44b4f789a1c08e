#!/bin/bash
# The rpms on an EL-like host: installed, upgraded and erased by dnf where authselect rules, and by rpm where it does not; IAM users log in
# between the two. Ends with a table in which each cell is what this run's commands returned.
#
# usage: tests/rpm.sh RPMS NEWER    folders of rpm/make-rpms; as root in a sandbox of the suite el, where our packages are not installed:
# KEYMAKER_SANDBOX_BIND=FOLDER:/sandbox/rpms ./sandbox --suite el -- /sandbox/project/tests/rpm.sh /sandbox/rpms/1 /sandbox/rpms/2
#
# Its glibc, OpenSSH, libpam, rpm and dnf are Debian's: docs/unverified.md says what that leaves open.
set -u

rpms=${1:?usage: tests/rpm.sh RPMS NEWER} newer=${2:?usage: tests/rpm.sh RPMS NEWER}
[ -d /run/systemd/system ] && command -v authselect rpm dnf >/dev/null || { echo "rpm.sh: runs in the sandbox, ./sandbox --suite el" >&2; exit 2; }
if rpm -q keymaker >/dev/null 2>&1; then echo "rpm.sh: our packages are installed already" >&2; exit 2; fi
export LC_ALL=C

work=$(mktemp -d)
packages="keymaker keymaker-cli keymaker-credd keymaker-selinux libnss-keymaker libpam-keymaker"
drop_in=/etc/ssh/sshd_config.d/50-keymaker.conf
stacks="/etc/pam.d/system-auth /etc/pam.d/password-auth"
. "$(dirname "$0")/packaging/host.sh"
. "$(dirname "$0")/packaging/el-system.sh"
. "$(dirname "$0")/packaging/table.sh"

rows=("glibc 2.26 (Amazon Linux 2)" "glibc 2.28 (EL 8)" "glibc 2.34 (EL 9, Amazon Linux 2023)" "glibc of this build" "EL-like, authselect, dnf" "EL-like, no authselect, rpm")

main() {
    make_local_user
    systems_by_their_glibc
    make_repositories
    mkdir "$work/aside"; mv /etc/keymaker/*.toml "$work/aside/"

    row="EL-like, authselect, dnf" before=$(configuration)
    cell install installed_where_authselect_rules
    cell login users_log_in
    cell credentials users_have_credentials
    authselects_profiles
    cell upgrade upgraded_and_back
    cell erase erased_where_authselect_rules

    row="EL-like, no authselect, rpm"
    authselect opt-out >/dev/null && rm -rf /var/lib/keymaker
    before=$(configuration)
    cell install installed_where_files_rule
    cell login users_log_in
    cell credentials users_have_credentials
    cell upgrade upgraded "rpm -U" rpm_ -U
    cell erase erased_where_files_rule

    what_cannot_be_written_stays
    table
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

# --- what the rpms need of a system ---

# A host with nothing but a package that provides what the system's own provide, with the symbols of each glibc.
systems_by_their_glibc() {
    local version want
    for version in 2.26 2.28 2.34 2.99; do
        make_system "$version" && rpm --dbpath "$work/db-$version" --initdb &&
            rpm --dbpath "$work/db-$version" -i --justdb --noscripts "$work/system-$version"/*/*.rpm
    done
    row="${rows[0]}"
    cell resolved refused_on 2.26
    check "and says which glibc is needed" says "glibc >= 2.28 is needed" test_install 2.26
    # What a system may refuse is what its binaries ask for, and nothing else.
    for version in 2.28 2.34; do
        row=$(printf '%s\n' "${rows[@]}" | grep -F "glibc $version ")
        if [ "$(printf '%s\n' "$version" "$(needed_glibc)" | sort -V | tail -n 1)" = "$version" ]; then
            cell resolved check "the rpms install on glibc $version" test_install "$version"
        else
            cell resolved refused_on "$version"
        fi
    done
    row="${rows[3]}"
    cell resolved check "the rpms ask for nothing that a new system lacks" test_install 2.99
    check "the system of this host is installed" rpm -i "$work"/system-2.99/*/*.rpm
}

# For its glibc, and for nothing else.
refused_on() {
    local former=$failed
    check "rpm refuses binaries for glibc $(needed_glibc) on $1" fails test_install "$1"
    check "and for nothing else" same_text "" "$(test_install "$1" 2>&1 | grep ' is needed by ' | grep -v 'GLIBC_2\.\|glibc >= ')"
    [ "$failed" != "$former" ] || outcome=refused
}
needed_glibc() { rpm -qp --requires "$rpms"/*.rpm | grep -oE 'GLIBC_2\.[0-9]+' | sort -Vu | tail -n 1 | cut -d_ -f2; }
test_install() { rpm --dbpath "$work/db-$1" -i --test "$rpms"/*.rpm; }
says() { local text=$1; shift; "$@" 2>&1 | tee "$work/said" | grep -qF -- "$text" || { cat "$work/said"; return 1; }; }

make_repositories() {
    local version
    for version in 1 2; do mkdir -p "$work/repo-$version"; done
    cp "$rpms"/*.rpm "$work/repo-1/"; cp "$rpms"/*.rpm "$newer"/*.rpm "$work/repo-2/"
    for version in 1 2; do createrepo_c -q "$work/repo-$version"; done
    repository=repo-1
}

dnf_() {
    # Not named, since what depends on SELinux's policy comes by itself.
    local named=$packages
    [ "$1" != install ] || named=${packages/keymaker-selinux /}
    dnf -y --repofrompath="keymaker,$work/$repository" --repo=keymaker --nogpgcheck --releasever=9 --setopt=module_platform_id=platform:el9 \
        --setopt=keepcache=0 --setopt=clean_requirements_on_remove=0 "$1" $named >"$work/transaction" 2>&1 </dev/null || { cat "$work/transaction"; return 1; }
}
rpm_() { if [ "$1" = -e ]; then set -- -e $packages; else set -- "$1" "$from"/*.rpm; fi; rpm "$@" >"$work/transaction" 2>&1 || { cat "$work/transaction"; return 1; }; }

# --- the steps ---

installed_where_authselect_rules() {
    # As cloud-init does (examples/cloud-init/rpm.yaml).
    mkdir -p /etc/keymaker; cp "$work"/aside/*.toml /etc/keymaker/
    check "dnf installs the packages" dnf_ install
    check "settings that were there before are kept" diff -r --exclude '*.rpmnew' "$work/aside" /etc/keymaker
    check "the packages' own lie beside them" test -e /etc/keymaker/keymakerd.toml.rpmnew -a -e /etc/keymaker/credd.toml.rpmnew
    rm -f /etc/keymaker/*.rpmnew
    check "the policy module comes along with SELinux's policy" rpm -q keymaker-selinux
    settings
    check "it says once which step is left" same_text 1 "$(grep -c "run 'keymaker install'" "$work/transaction")"
    check "authselect's files are as they were" authselect check
    check "and its profile is the one selected" profile_is sssd
    check "the daemons' units are as the presets say" presets_hold
    host_works "before the step"
    check "doctor says that another profile is selected, and the command" doctor_says "authselect has sssd selected" "keymaker install"
    check "the step is taken" keymaker install
    check "it is taken twice without harm" keymaker install
    joined_by_authselect sssd
    check "files are as rpm placed them" verified
    host_works "after it"
}

authselects_profiles() {
    step "profiles of authselect"
    authselect enable-feature with-faillock >/dev/null
    # Enterprise Linux 8 and 9: what authselect 1.2 says in its profile sssd.
    check "another profile is selected by somebody" authselect create-profile el9 -b sssd
    sed -i -E 's/^(passwd|group):.*/\1:     {if "with-files-domain":sss files|files sss} systemd   {exclude if "with-custom-\1"}/' /etc/authselect/custom/el9/nsswitch.conf
    for features in with-files-domain ''; do
        check "authselect 1.2's sssd is selected ($features)" authselect select custom/el9 $features
        check "then IAM users do not exist" fails getent passwd alice
        check "doctor says so" doctor_says "authselect has custom/el9 selected" "keymaker install"
        check "the same step repairs it" keymaker install
        joined_by_authselect custom/el9 $features
    done
    check "the administrator's own line for passwd is not called joined" fails with_a_line_of_ones_own
    authselect select local with-faillock >/dev/null
    check "with another profile selected, uninstall" keymaker uninstall --yes
    check "leaves that selected" profile_is local with-faillock
    check "and leaves no profile" fails test -e /etc/authselect/custom/keymaker
    check "joined again" keymaker install
    authselect enable-feature with-mkhomedir >/dev/null
    joined_by_authselect local with-faillock with-mkhomedir
    cp --remove-destination "$(readlink -f /etc/nsswitch.conf)" /etc/nsswitch.conf
    check "a file put in the place of authselect's is not overwritten" fails keymaker uninstall --yes
    ln -sf /etc/authselect/nsswitch.conf /etc/nsswitch.conf
}

with_a_line_of_ones_own() {
    authselect select custom/el9 with-custom-passwd >/dev/null || return 0
    keymaker install && return 0
    profile_is custom/el9 with-custom-passwd && return 1
    return 0
}

joined_by_authselect() {
    local base=$1; shift
    check "$base: ours is selected, with the features" profile_is custom/keymaker "$@"
    check "$base: it is known what it was made of" same_text "$base" "$(cat /var/lib/keymaker-install/authselect)"
    check "$base: authselect finds its files valid" authselect check
    check "$base: IAM users resolve" resolves alice
    check "$base: the stacks have us" grep -q pam_keymaker.so $stacks
    check "$base: doctor finds nothing" keymaker doctor
}

installed_where_files_rule() {
    from=$rpms
    check "rpm installs the packages" rpm_ -i
    settings
    check "passwd and group ask keymaker last" same_text 2 "$(grep -cE '^(passwd|group):.* keymaker$' /etc/nsswitch.conf)"
    check "IAM users resolve" resolves alice
    for stack in $stacks; do
        check "$stack has our account line first" stack_begins_with_us "$stack"
        check "$stack has two lines of ours" same_text 2 "$(grep -c pam_keymaker.so "$stack")"
    done
    check "doctor finds nothing" keymaker doctor
    check "files are as rpm placed them" verified
    host_works "after it"
}

users_log_in() {
    check "alice logs in" logs_in alice
    check "into her home" same_text /home/alice "$(ssh -o BatchMode=yes alice@localhost pwd)"
    check "a user who is not in the IAM group does not" fails ssh -o BatchMode=yes -o ConnectTimeout=5 nobody-of-iam@localhost true
    check "sudo knows her" sudo -n -u alice true
    check "and asks her for no password" same_text 0 "$(ssh -o BatchMode=yes alice@localhost sudo -n id -u)"
}

upgraded() { # SENTENCE COMMAND…
    local sentence=$1 pid; shift
    pid=$(systemctl show -p MainPID --value keymakerd)
    sed -i '1i # an administrator was here' /etc/keymaker/keymakerd.toml "$drop_in" "$(readlink -f /etc/sudoers.d/keymaker)"
    repository=repo-2 from=$newer
    check "$sentence while alice logs in" while_alice_logs_in "$@"
    check "to the new release" same_text 2 "$(rpm -q --qf '%{release}\n' keymaker)"
    check "the daemon was restarted" fails same_text "$pid" "$(systemctl show -p MainPID --value keymakerd)"
    for file in /etc/keymaker/keymakerd.toml "$drop_in" /etc/sudoers.d/keymaker; do
        check "$file keeps the change" grep -q "an administrator was here" "$file"
    done
    sed -i '/an administrator was here/d' /etc/keymaker/keymakerd.toml "$drop_in" /etc/sudoers.d/keymaker
    check "alice logs in" logs_in alice
    check "and has credentials" has_credentials alice
    check "doctor finds nothing" keymaker doctor
    host_works "after the upgrade"
    rm -rf "$drop_in" /var/lib/keymaker-rpm
    check "another package brings sshd again" rpm -U --replacepkgs "$work"/system-2.99/*/*.rpm
    check "and the drop-in comes with it" test -e "$drop_in"
}

upgraded_and_back() {
    upgraded "dnf upgrade" dnf_ upgrade
    repository=repo-1
    check "dnf goes back to the former release" dnf_ downgrade
    check "which is the one that is there" same_text 1 "$(rpm -q --qf '%{release}\n' keymaker)"
    check "alice logs in" logs_in alice
    check "and has credentials" has_credentials alice
    check "files are as rpm placed them" verified
    host_works "after the downgrade"
}

erased_where_authselect_rules() {
    check "dnf erases the packages" dnf_ remove
    check "the former profile is selected again" profile_is local with-faillock with-mkhomedir
    check "authselect finds its files valid" authselect check
    authselect select sssd >/dev/null
    is_as_found
}

erased_where_files_rule() {
    check "rpm erases the packages" rpm_ -e
    is_as_found
}

# The scriptlets of an rpm go on after an error: a filter that fails, or ends early as on a full disk, must cost nobody's lines.
what_cannot_be_written_stays() {
    local filter
    mkdir -p "$work/small/etc" "$work/small/var/lib" "$work/filters"
    cp /etc/nsswitch.conf "$work/small/etc/"
    for filter in 'exit 4' 'echo passwd: files'; do
        printf '#!/bin/sh\n%s\n' "$filter" >"$work/filters/sed"; chmod +x "$work/filters/sed"
        check "nsswitch.conf stays where sed does '$filter'" join_leaves_it
    done
}

join_leaves_it() (
    PATH=$work/filters:$PATH root=$work/small
    . "$(dirname "$0")/../dist/nsswitch/join.sh"
    ! join_nsswitch && cmp -s "$nsswitch" /etc/nsswitch.conf && [ ! -e "$edited" ] && [ ! -e "$nsswitch.keymaker-new" ]
)

is_as_found() {
    check "nobody from IAM exists" fails getent passwd alice
    check "the configuration is as before" same_text "$before" "$(configuration)"
    check "no file of ours is left but the map of uids" same_text "" "$(files_left)"
    check "the metadata service is open again" curl -sS -o /dev/null --max-time 5 http://169.254.169.254/
    check "no rule is left" fails grep -q 169.254.169.254 <(ip rule; nft list ruleset)
    host_works "after it"
}

# --- what is asked of the host ---

# The endpoints of the fake AWS, which no package knows.
settings() {
    check "no sudo rule comes with the packages" fails test -e /etc/sudoers.d/keymaker
    cp "$work"/aside/*.toml /etc/keymaker/
    echo 'sudo_iam_group = "keymaker_sudo"' >>/etc/keymaker/keymakerd.toml
    systemctl restart keymakerd.service
    check "the daemon reads IAM" timeout 20 sh -c 'until [ -e /var/lib/keymaker/public/contact ]; do sleep 0.1; done'
}
presets_hold() {
    systemctl -q is-enabled keymakerd.service keymaker-end-sessions.path keymaker-start-late.path && systemctl -q is-active keymakerd.service &&
        [ "$(systemctl is-enabled credd.socket)" = disabled ] && ! systemctl -q is-active credd.socket
}
profile_is() { same_text "$*" "$(authselect current --raw | sed 's/ *$//')"; }
doctor_says() { keymaker doctor >"$work/doctor" && return 1; local text; for text; do grep -qF -- "$text" "$work/doctor" || { cat "$work/doctor"; return 1; }; done; }
resolves() { timeout 10 sh -c "until getent passwd $1; do sleep 0.1; done"; }
stack_begins_with_us() { grep -E '^-?account' "$1" | head -n 1 | grep -F "$control" | grep -q pam_keymaker.so; }
# c: configuration; and what tmpfiles and sysusers own.
verified() { local changed; changed=$(rpm -V $packages | grep -v ' c /etc/keymaker/'); [ -z "$changed" ] || { echo "$changed"; return 1; }; }
configuration() {
    find /etc -xdev \( -path /etc/authselect/authselect.conf -o -name 'passwd*' -o -name 'group*' -o -name 'shadow*' -o -name 'gshadow*' -o -name 'ld.so.cache' \
        -o -name '.*' -o -path /etc/keymaker -o -path /etc/authselect/custom/el9 -o -path /etc/mtab \) -prune -o \( -type f -o -type l \) -exec sha256sum {} + 2>/dev/null | sort -k 2
}
files_left() {
    find / -xdev \( -path /proc -o -path /sys -o -path "$work" -o -path /sandbox -o -path /usr/local -o -path /var/log -o -path /tmp -o -path /var/lib/keymaker/private \
        -o -path /var/cache -o -path /var/lib/dnf -o -path /var/lib/rpm -o -path /var/lib/systemd -o -path /home -o -path /run/systemd \) -prune -o -iname '*keymaker*' -print -o -iname 'credd*' -print |
        grep -vxE '/var/lib/keymaker|/etc/keymaker|/etc/keymaker/.*rpmsave'
}

main
