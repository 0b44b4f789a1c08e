#!/bin/bash
# The packages on a real host: installed, reinstalled, upgraded, removed, purged, and stopped half-way. After every step root
# and a local user log in by ssh and become each other by su.
#
# usage: tests/packaging.sh DEBDIR [life|trouble]    as root, in the sandbox, where our packages are not installed
#
# life: from the first installation to the purge; trouble: what may go wrong about them; without a word, both.
# It changes the host it runs on from one end to the other: never run it on one that anybody needs.
set -u

debs=$(cd "${1:?usage: tests/packaging.sh DEBDIR [life|trouble]}" && pwd)
[ -d /run/systemd/system ] && [ "$(id -u)" = 0 ] || { echo "packaging.sh: runs as root in the sandbox" >&2; exit 2; }
if dpkg -s libnss-keymaker >/dev/null 2>&1; then echo "packaging.sh: our packages are installed already" >&2; exit 2; fi
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

work=$(mktemp -d)
packages="keymaker keymaker-cli libnss-keymaker libpam-keymaker"
drop_in=/etc/ssh/sshd_config.d/50-keymaker.conf
module_dir=$(dirname "$(find /usr/lib /lib -name pam_unix.so | head -n 1)")
library_dir=/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || basename "$(dirname "$module_dir")")

. "$(dirname "$0")/packaging/host.sh"

main() {
    # The sandbox brings a configuration of its own.
    rm -rf /etc/keymaker
    make_local_user
    before=$(configuration)

    case ${1:-both} in
        life | trouble) "$1" ;;
        both) life; trouble ;;
        *) echo "packaging.sh: $1 is neither life nor trouble" >&2; exit 2 ;;
    esac

    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

life() {
    fresh_install
    reinstall
    pam_stack
    sshd_rules
    sudo_rule
    administrators_choices_survive_an_upgrade
    remove_and_install_again
    purge
    second_architecture
}

trouble() {
    half_installed
    parts_missing
    sshd_refuses
    sshd_not_running
    nsswitch_lines
}

# --- the steps ---

fresh_install() {
    step "fresh install"
    # P12
    check "apt installs the packages" apt_install
    check "and configures every one of them" all_configured
    host_works "after a fresh install"
    check "passwd and group ask keymaker after files" nsswitch_has_keymaker
    check "a name that nobody has is nobody" fails getent passwd nobody-has-this-name
    for user in keymakerd keymaker-keys; do check "the system user $user exists" id "$user"; done
    for group in keymaker-users keymaker-sudo; do check "the group $group exists" getent group "$group"; done
    check "keymakerd may open what belongs to keymaker-keys" in_group keymakerd keymaker-keys
    check "nobody else is in keymaker-users" is_empty_group keymaker-users
    check "nobody is in keymaker-sudo" is_empty_group keymaker-sudo
    check "the published folder is readable by all" mode_is /var/lib/keymaker/public "755 keymakerd"
    check "the private folder is the daemon's alone" mode_is /var/lib/keymaker/private "700 keymakerd"
    check "the sockets' folder is there" mode_is /run/keymaker "755 keymakerd"
    check "the keys command is such as sshd accepts" mode_is /usr/libexec/keymaker/keymaker-keys "755 root"
    check "the sample configuration is in place" mode_is /etc/keymaker/keymakerd.toml "644 root"
    check "there is no sudo rule where no group is set" fails test -e /etc/sudoers.d/keymaker
    check "the daemon is enabled" systemctl -q is-enabled keymakerd.service
    check "and running" becomes_active keymakerd.service
    check "with an exposure of at most 1.5" exposure_at_most keymakerd.service 1.5
    check "the timer of sync-roles is there, and off" same_text disabled "$(systemctl is-enabled keymaker-sync-roles.timer)"
    check "systemd has no complaint about the unit" fails systemctl_reports_cycles
    check "AppArmor, where there is any, accepts the abstraction" apparmor_accepts_abstraction
}

reinstall() {
    step "reinstall"
    local first second
    first=$(configuration)
    check "dpkg -i of what is there" install_all
    second=$(configuration)
    check "changes nothing" same_text "$first" "$second"
    host_works "after a reinstall"
}

# The module is stood in for by pam_debug.so, which answers what it is told: what counts is what the stack makes of it.
pam_stack() {
    step "the PAM stack as pam-auth-update wrote it"
    for stack in common-account common-session common-session-noninteractive; do
        check "$stack has our line, once, with the control that was decided" has_pam_line "$stack"
    done
    cp -a /etc/pam.d "$work/pam.d"
    # P7
    for code in perm_denied authinfo_unavail system_err abort; do
        check "account $code of ours ends every login" fails su_with account "acct=$code"
    done
    check "session_err of ours ends every session" fails su_with session "open_session=session_err"
    # P12
    check "account ignore changes nothing" su_with account "acct=ignore"
    check "session ignore changes nothing" su_with session "open_session=ignore"
    check "account success lets in" su_with account "acct=success"
    check "an account that pam_unix refuses stays refused under our success" fails expired_user_with "acct=success"
    check "and under our ignore" fails expired_user_with "acct=ignore"
}

sshd_rules() {
    step "sshd's rules"
    gpasswd -q -a member keymaker-users >/dev/null 2>&1 || usermod -aG keymaker-users member
    # P8
    check "members of keymaker-users have our keys command" sshd_has member authorizedkeyscommand "/usr/libexec/keymaker/keymaker-keys %u %U %f"
    check "run by its own user" sshd_has member authorizedkeyscommanduser keymaker-keys
    check "no key file" sshd_has member authorizedkeysfile none
    check "keys only" sshd_has member authenticationmethods publickey
    check "no foreign certification authority" sshd_has member trustedusercakeys none
    check "also above a keys command on sshd's command line" sshd_has member authorizedkeyscommand "/usr/libexec/keymaker/keymaker-keys %u %U %f" -o "AuthorizedKeysCommand=/bin/false %u" -o AuthorizedKeysCommandUser=nobody
    check "a local user keeps the key files" sshd_has local-user authorizedkeysfile ".ssh/authorized_keys .ssh/authorized_keys2"
    check "a local user keeps that other keys command" sshd_has local-user authorizedkeyscommand "/bin/false %u" -o "AuthorizedKeysCommand=/bin/false %u" -o AuthorizedKeysCommandUser=nobody
    check "a planted key lets no member in" fails ssh_as member
    gpasswd -d member keymaker-users >/dev/null
    check "and the same key does let a local user in" ssh_as member
}

sudo_rule() {
    step "the sudo rule"
    local rule=/etc/sudoers.d/keymaker text=${0%/*}/../dist/sudoers.d/keymaker
    echo 'sudo_iam_group = "admins"' >>/etc/keymaker/keymakerd.toml
    check "a reload places it" systemctl reload keymakerd.service
    check "such as sudo accepts" mode_is "$rule" "440 root"
    check "sudo accepts all its files" visudo -q -c
    gpasswd -a member keymaker-sudo >/dev/null
    check "a member of keymaker-sudo becomes root without a password" su -s /bin/sh member -c 'test "$(sudo -n id -u)" = 0'
    gpasswd -d member keymaker-sudo >/dev/null
    check "others do not" fails su -s /bin/sh member -c 'sudo -n true'
    sed -i '/^sudo_iam_group/d' /etc/keymaker/keymakerd.toml
    check "where the setting goes" systemctl reload keymakerd.service
    check "it goes" fails test -e "$rule"
    # A former release gave it to every host by ucf.
    as_a_former_release "$text" "$rule"
    check "an upgrade from a release that shipped it" install_all
    check "takes it away where nobody needs it" fails test -e "$rule"
    check "and from ucf" fails grep -qs "$rule" /var/lib/ucf/registry /var/lib/ucf/hashfile
    as_a_former_release "$text" "$rule"
    echo '# an administrator was here' >>"$rule"
    check "an upgrade where it was edited" install_all
    check "leaves it" grep -q 'administrator was here' "$rule"
    rm "$rule"
}

as_a_former_release() { # TEXT RULE
    ucf "$1" "$2" && ucfr keymaker "$2" && chmod 0440 "$2"
}

administrators_choices_survive_an_upgrade() {
    step "upgrade"
    sed -i -E '/^(passwd|group):/s/ keymaker//' /etc/nsswitch.conf
    rm "$drop_in"
    echo 'sudo_iam_group = "admins"' >>/etc/keymaker/keymakerd.toml
    systemctl restart keymakerd.service
    echo '# an administrator was here' >>/etc/sudoers.d/keymaker
    echo 'max_stale = 3600' >/etc/keymaker/keymakerd.toml
    systemctl -q disable keymakerd.service 2>/dev/null
    newer_packages "$work/newer"
    check "a newer version installs over this one" install_from "$work/newer"
    check "and configures every one of them" all_configured
    check "keymaker is not put back into nsswitch.conf" fails nsswitch_has_keymaker
    check "the drop-in is not put back" fails test -e "$drop_in"
    check "the sudo rule keeps the change" grep -q 'administrator was here' /etc/sudoers.d/keymaker
    check "and its mode" mode_is /etc/sudoers.d/keymaker "440 root"
    check "the configuration keeps the change" grep -q 'max_stale = 3600' /etc/keymaker/keymakerd.toml
    check "the daemon stays disabled" fails systemctl -q is-enabled keymakerd.service
    has_pam_line common-account && pam-auth-update --package --remove keymaker
    check "the PAM line, too, can be taken out" fails has_pam_line common-account
    host_works "after the upgrade"
    check "back to the first version" install_all
    host_works "after the downgrade"
}

remove_and_install_again() {
    step "remove"
    dpkg -P $packages >/dev/null 2>&1
    install_all
    echo 'sudo_iam_group = "admins"' >>/etc/keymaker/keymakerd.toml
    check "with a sudo rule" systemctl reload keymakerd.service
    check "in place" test -e /etc/sudoers.d/keymaker
    check "keymaker alone is removed" dpkg -r keymaker
    check "the sudo rule, which nobody needs without it, is gone" fails test -e /etc/sudoers.d/keymaker
    host_works "with the modules and without the daemon"
    check "what sshd does for IAM users stays, so that no other key opens" test -e "$drop_in"
    check "the modules are removed" dpkg -r libpam-keymaker libnss-keymaker
    check "nsswitch.conf is as before" same_file /etc/nsswitch.conf "$work/nsswitch.conf"
    check "no PAM stack names our module" fails grep -rqs pam_keymaker /etc/pam.d
    host_works "with everything removed"
    check "the id map stays" test -d /var/lib/keymaker/private
    step "install after remove"
    check "everything installs again" install_all
    check "passwd and group ask keymaker again" nsswitch_has_keymaker
    check "the PAM line is there again" has_pam_line common-account
    check "and the sudo rule, as the settings still say" test -e /etc/sudoers.d/keymaker
    host_works "after installing again"
}

purge() {
    step "purge"
    check "everything is purged" dpkg -P $packages
    check "the configuration is what it was before" same_text "$before" "$(configuration)"
    check "no file of ours is left" no_file_left
    host_works "after the purge"
    check "a purge of a removed package" remove_then_purge
    check "leaves nothing either" no_file_left
    mkdir /etc/keymaker
    echo 'max_stale = 7200' >/etc/keymaker/keymakerd.toml
    check "with a configuration written beforehand they install without a question" install_all
    check "and keep it" same_text "max_stale = 7200" "$(cat /etc/keymaker/keymakerd.toml)"
    dpkg -P $packages >/dev/null 2>&1
}

# Both modules are Multi-Arch: same. What they set up on the host stays until the last of them goes.
second_architecture() {
    step "a second architecture"
    local foreign=i386
    [ "$(dpkg --print-architecture)" != i386 ] || foreign=armhf
    install_all
    foreign_modules "$foreign" "$work/foreign"
    dpkg --add-architecture "$foreign"
    check "modules of a second architecture install beside ours" dpkg --force-depends -i "$work/foreign"/*.deb
    check "one line in the PAM stack is enough" has_pam_line common-account
    check "they are removed" dpkg --force-depends -r "libnss-keymaker:$foreign" "libpam-keymaker:$foreign"
    check "nsswitch.conf still asks keymaker" nsswitch_has_keymaker
    check "the PAM line is still there" has_pam_line common-account
    host_works "after a second architecture came and went"
    dpkg -P "libnss-keymaker:$foreign" "libpam-keymaker:$foreign" >/dev/null 2>&1
    dpkg --remove-architecture "$foreign"
    dpkg -P $packages >/dev/null 2>&1
    check "with the last one it is taken out" same_file /etc/nsswitch.conf "$work/nsswitch.conf"
    check "of PAM too" fails grep -rqs pam_keymaker /etc/pam.d
}

# P12
half_installed() {
    step "half-installed"
    local package
    # P12: in every order that dpkg may choose or an administrator may force.
    for package in libpam-keymaker keymaker libnss-keymaker keymaker-cli; do
        dpkg --force-depends --unpack "$debs/$package"_*.deb >/dev/null 2>&1
        host_works "with $package unpacked and not configured"
    done
    for package in libpam-keymaker keymaker libnss-keymaker keymaker-cli; do
        dpkg --force-depends --configure "$package" >/dev/null 2>&1
        host_works "with $package configured"
    done
    check "all are configured in the end" all_configured
    for package in libnss-keymaker keymaker-cli libpam-keymaker keymaker; do
        dpkg --force-depends -r "$package" >/dev/null 2>&1
        host_works "with $package removed against its dependents' will"
    done
    dpkg -P $packages >/dev/null 2>&1
}

# P12
parts_missing() {
    step "parts missing or broken"
    install_all
    local file keep=$work/kept
    for file in "$module_dir/pam_keymaker.so" "$library_dir/libnss_keymaker.so.2" /usr/libexec/keymaker/keymaker-keys /usr/sbin/keymakerd; do
        mv "$file" "$keep"
        host_works "without $file"
        head -c 65536 /dev/urandom >"$file"
        host_works "with noise for $file"
        rm "$file"
        mv "$keep" "$file"
    done
    mv /var/lib/keymaker "$keep"
    host_works "without /var/lib/keymaker"
    mv "$keep" /var/lib/keymaker
    cp -a /etc/passwd /etc/group "$work/"
    sed -i /^keymaker/d /etc/passwd /etc/group
    host_works "without our system users and groups"
    cp -a "$work/passwd" "$work/group" /etc/
    dpkg -P $packages >/dev/null 2>&1
}

sshd_refuses() {
    step "sshd has its own mind"
    cp -a /etc/ssh/sshd_config "$work/sshd_config"

    echo 'NoSuchKeyword yes' >>/etc/ssh/sshd_config
    check "with a broken sshd_config the packages install all the same" install_says "sshd does not accept its present configuration"
    check "and the drop-in is not put in place" fails test -e "$drop_in"
    cp -a "$work/sshd_config" /etc/ssh/sshd_config
    check "once mended, dpkg-reconfigure puts it in place" reconfigured_with_drop_in
    host_works "after mending"

    echo '  NoSuchKeyword yes' >>/usr/share/keymaker/50-keymaker.conf
    check "a drop-in that sshd would refuse is not put in place" reconfigure_says "does not accept /usr/share/keymaker/50-keymaker.conf"
    check "and the one before stays" sshd -t
    host_works "after a refused drop-in"
    dpkg -P $packages >/dev/null 2>&1

    sed -i '/^Include/d' /etc/ssh/sshd_config
    check "an sshd_config without the Include line is spoken of" install_says "until its first line is: Include"
    host_works "without the Include line"
    dpkg -P $packages >/dev/null 2>&1

    cp -a "$work/sshd_config" /etc/ssh/sshd_config
    printf '%s\n' 'Match Address 192.0.2.0/24,127.0.0.0/8' '  Include /etc/ssh/sshd_config.d/*.conf' | cat <(sed '/^Include/d' "$work/sshd_config") - >/etc/ssh/sshd_config
    check "an Include below a Match counts as none" install_says "until its first line is: Include"
    dpkg -P $packages >/dev/null 2>&1

    cp -a "$work/sshd_config" /etc/ssh/sshd_config
    printf '%s\n' 'PasswordAuthentication yes' 'AuthenticationMethods publickey,password' >/etc/ssh/sshd_config.d/00-methods.conf
    install_all
    check "where a second factor is required, it stays required" fails grep -q AuthenticationMethods "$drop_in"
    check "of IAM users too" grep -q '^  AuthorizedKeysFile none' "$drop_in"
    dpkg -P $packages >/dev/null 2>&1
    printf '%s\n' 'PasswordAuthentication yes' 'AuthenticationMethods publickey,password password' >/etc/ssh/sshd_config.d/00-methods.conf
    install_all
    check "where a password alone would do, a key is required of IAM users" grep -q '^  AuthenticationMethods publickey$' "$drop_in"
    dpkg -P $packages >/dev/null 2>&1
    rm /etc/ssh/sshd_config.d/00-methods.conf

    # P7
    echo 'UsePAM no' >/etc/ssh/sshd_config.d/00-pam.conf
    check "where sshd does without PAM, the packages say so" install_says "sshd has UsePAM no"
    check "and IAM users get no keys" grep -qx '  AuthorizedKeysCommand none' "$drop_in"
    host_works "without PAM"
    rm /etc/ssh/sshd_config.d/00-pam.conf
    check "they get them again once PAM is asked" reconfigured_with_drop_in
    check "by our command" grep -qx '  AuthorizedKeysCommand /usr/libexec/keymaker/keymaker-keys %u %U %f' "$drop_in"
    dpkg -P $packages >/dev/null 2>&1
    systemctl reload ssh.service
    host_works "after all that"
}

sshd_not_running() {
    step "sshd not running"
    systemctl -q stop ssh.service
    check "the packages install" install_all
    check "and do not start it" fails systemctl -q is-active ssh.service
    check "the drop-in is in place" test -e "$drop_in"
    if systemctl cat ssh.socket >/dev/null 2>&1; then
        dpkg -P $packages >/dev/null 2>&1
        systemctl -q start ssh.socket
        check "the packages install where a socket starts sshd" install_all
        host_works "with sshd started by its socket"
        check "and change their mind while it serves" sh -c "dpkg -P $packages && dpkg -i $debs/*.deb"
        check "which sshd outlives" fails systemctl -q is-failed ssh.service
        host_works "with sshd started by its socket, changed while it served"
        dpkg -P $packages >/dev/null 2>&1
        systemctl -q stop ssh.socket ssh.service
    fi
    systemctl -q start ssh.service
    install_all
    check "they are purged" dpkg -P $packages
    host_works "after starting it again"
}

# The maintainer scripts on files of their own, by dpkg's DPKG_ROOT.
nsswitch_lines() {
    step "lines of nsswitch.conf"
    install_all
    nsswitch_becomes "passwd: files" "passwd: files keymaker"
    nsswitch_becomes "passwd:         files systemd" "passwd:         files systemd keymaker"
    nsswitch_becomes "group:	compat systemd # local" "group:	compat systemd keymaker # local"
    nsswitch_becomes "passwd:files" "passwd:files keymaker"
    nsswitch_becomes "group: files [SUCCESS=merge] systemd" "group: files [SUCCESS=merge] systemd keymaker"
    nsswitch_becomes "group: files [SUCCESS=merge] sss [SUCCESS=merge] systemd" "group: files [SUCCESS=merge] sss [SUCCESS=merge] systemd keymaker"
    nsswitch_becomes "passwd: files [NOTFOUND=return] sss" "passwd: files keymaker [NOTFOUND=return] sss"
    nsswitch_becomes "passwd: files [ notfound = return ] sss" "passwd: files keymaker [ notfound = return ] sss"
    nsswitch_becomes "passwd: files [!UNAVAIL=return] sss" "passwd: files keymaker [!UNAVAIL=return] sss"
    nsswitch_becomes "passwd: files sss [NOTFOUND=return] ldap" "passwd: files sss keymaker [NOTFOUND=return] ldap"
    nsswitch_becomes "passwd: files [!NOTFOUND=return] sss" "passwd: files [!NOTFOUND=return] sss keymaker"
    nsswitch_becomes "passwd: files # [NOTFOUND=return]" "passwd: files keymaker # [NOTFOUND=return]"
    nsswitch_becomes "passwd: sss files" "passwd: sss files keymaker"
    nsswitch_becomes "passwd: db" "passwd: db keymaker"
    nsswitch_becomes "passwd: db # files" "passwd: db keymaker # files"
    nsswitch_becomes "passwd: files keymaker systemd" "passwd: files systemd keymaker" kept
    nsswitch_becomes "initgroups: files" "initgroups: files [SUCCESS=continue] keymaker"
    nsswitch_becomes "initgroups: files sss" "initgroups: files [SUCCESS=continue] sss keymaker"
    nsswitch_becomes "initgroups: sss files" "initgroups: sss files [SUCCESS=continue] keymaker"
    nsswitch_becomes "initgroups: files [SUCCESS=continue] sss" "initgroups: files [SUCCESS=continue] sss keymaker"
    nsswitch_becomes "initgroups: files [NOTFOUND=return] sss" "initgroups: files [SUCCESS=continue] keymaker [NOTFOUND=return] sss"
    upgrade_moves "passwd: files keymaker sss" "passwd: files sss keymaker"
    upgrade_moves "group: files keymaker [NOTFOUND=return] sss" "group: files keymaker [NOTFOUND=return] sss"
    upgrade_moves "initgroups: files [SUCCESS=continue] keymaker sss" "initgroups: files [SUCCESS=continue] sss keymaker"
    upgrade_moves "passwd: files sss" "passwd: files sss"
    nsswitch_becomes "shadow: files" "shadow: files"
    nsswitch_becomes "hosts: files dns" "hosts: files dns"
    dpkg -P $packages >/dev/null 2>&1
}

# --- what is done to it ---

apt_install() { apt-get install -y --no-install-recommends "$debs"/{keymaker,keymaker-cli,libnss-keymaker,libpam-keymaker}_*.deb; }
install_all() { install_from "$debs"; }
install_from() { (cd "$1" && dpkg -i keymaker_*.deb keymaker-cli_*.deb libnss-keymaker_*.deb libpam-keymaker_*.deb) >"$work/dpkg" 2>&1 </dev/null || { cat "$work/dpkg"; return 1; }; }
install_says() { install_all && { grep -qF "$1" "$work/dpkg" || { cat "$work/dpkg"; return 1; }; }; }
reconfigure_says() { dpkg-reconfigure keymaker 2>&1 | grep -F "$1"; }
reconfigured_with_drop_in() { dpkg-reconfigure keymaker && test -e "$drop_in"; }
remove_then_purge() { install_all && dpkg -r $packages && dpkg -P $packages; }
all_configured() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}\n' $packages | grep -c '^ii')" = 4 ]; }

# The modules under another architecture's name; what is in them is of no importance here.
foreign_modules() {
    local name deb
    mkdir -p "$2"
    for name in libnss-keymaker libpam-keymaker; do
        deb=$(echo "$debs/$name"_*.deb)
        rm -rf "$work/unpacked"
        dpkg-deb -R "$deb" "$work/unpacked"
        sed -i "s/^Architecture:.*/Architecture: $1/" "$work/unpacked/DEBIAN/control"
        mv "$work/unpacked/usr/lib"/*-linux-gnu* "$work/unpacked/usr/lib/$1-test"
        dpkg-deb -b "$work/unpacked" "$2/$name.deb" >/dev/null
    done
}

# Line before → line after; taken out again it is the line before, unless an administrator had written it ("kept").
nsswitch_becomes() {
    local root=$work/root script=/var/lib/dpkg/info/libnss-keymaker:$(dpkg --print-architecture)
    rm -rf "$root"
    mkdir -p "$root/etc" "$root/var/lib"
    # Lines passwd and group behind it: a file without them is given them.
    printf '%s\n' "$1" "passwd: db" "group: db" >"$root/etc/nsswitch.conf"
    DPKG_ROOT=$root "$script.postinst" configure ''
    check "'$1' becomes '$2'" same_text "$2" "$(head -n 1 "$root/etc/nsswitch.conf")"
    DPKG_ROOT=$root "$script.postinst" configure 0
    check "'$1' stays so" same_text "$2" "$(head -n 1 "$root/etc/nsswitch.conf")"
    DPKG_ROOT=$root "$script.postrm" remove
    [ "${3:-}" = kept ] || check "'$1' comes back" same_text "$1" "$(head -n 1 "$root/etc/nsswitch.conf")"
}

# A line as a former version or another package left it → the line after an upgrade.
upgrade_moves() {
    local root=$work/root script=/var/lib/dpkg/info/libnss-keymaker:$(dpkg --print-architecture)
    rm -rf "$root"
    mkdir -p "$root/etc" "$root/var/lib/libnss-keymaker"
    echo "$1" >"$root/etc/nsswitch.conf"
    : >"$root/var/lib/libnss-keymaker/nsswitch-edited"
    DPKG_ROOT=$root "$script.postinst" configure 0
    check "an upgrade makes '$2' of '$1'" same_text "$2" "$(cat "$root/etc/nsswitch.conf")"
}

main "${2:-}"
