#!/bin/bash
# Hosts that are not as Debian makes them: nsswitch.conf in many forms, PAM stacks edited by hand, roots that were built and not booted yet,
# chroots. By the packages and by `keymaker install`: afterwards IAM users exist and log in, or what is said makes it so; and what is taken
# out leaves the bytes that were there.
#
# usage: tests/variants.sh BUILD DEBDIR    as root in a sandbox without our packages, which it starts again once (exit 194):
#        KEYMAKER_SANDBOX_BIND=BUILD:/sandbox/build ./sandbox --no-install -- /sandbox/project/tests/variants.sh /sandbox/build /sandbox/packages
set -u
build=$1 debs=$2
[ -d /run/systemd/system ] && [ "$(id -u)" = 0 ] || { echo "variants.sh: runs as root in the sandbox" >&2; exit 2; }
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin
# It outlives the start of the host between the two halves.
work=/var/lib/variants; mkdir -p "$work"
nsswitch=/etc/nsswitch.conf
drop_in=/etc/ssh/sshd_config.d/50-keymaker.conf
packages="keymaker keymaker-cli libnss-keymaker libpam-keymaker"
. "$(dirname "$0")/packaging/host.sh"
. "$(dirname "$0")/packaging/nsswitch-forms.sh"

main() {
    if [ -e "$work/built" ]; then
        passed=$(cat "$work/passed") failed=$(cat "$work/failed")
        first_boot
        read_only_root
        chroots
        check "after all that every packaged file is as it was packed" same_text "" "$(dpkg --verify $packages keymaker-credd 2>&1)"
        echo "$passed passed, $failed failed"
        [ "$failed" = 0 ]; exit
    fi
    settings
    make_local_user
    cp -a /etc/pam.d "$work/pam.d"
    nsswitch_by_packages
    pam_by_packages
    nscd
    oslogin
    fips
    nsswitch_by_install
    pam_by_install
    table
    build_a_root
    echo "$passed" >"$work/passed"; echo "$failed" >"$work/failed"
    exit 194
}

settings() {
    mkdir -p /etc/keymaker
    for daemon in keymakerd credd; do
        printf 'iam_endpoint = "%s"\nsts_endpoint = "%s"\n' "$AWS_ENDPOINT_URL" "$AWS_ENDPOINT_URL" >/etc/keymaker/$daemon.toml
    done
}

# --- nsswitch.conf ---

# `keymaker install` runs the packages' script: all of them by it by night.
variants_by_install="debian merge-sss no-newline symlink"
[ -z "${KEYMAKER_LONG:-}" ] || variants_by_install=$variants

# Byte for byte; where an administrator had named us, our word alone is gone.
as_before() {
    if [ "$1" = named-before ]; then same_text "$(printf 'passwd: files\ngroup: files systemd')" "$(cat "$nsswitch")"; return; fi
    same_text "$(state "$work/was")" "$(state "$nsswitch")"
}
state() { if [ -L "$1" ]; then readlink "$1"; fi; if [ -e "$1" ]; then md5sum <"$1"; stat -L -c '%a %U' "$1"; else echo none; fi; }
keep() { rm -f "$work/was"; [ ! -e "$nsswitch" ] || cp -a "$nsswitch" "$work/was"; [ ! -L "$nsswitch" ] || cp -a /etc/nsswitch.real "$work/nsswitch.real"; }

# Names, groups and a login; root and a local user as ever.
resolves() {
    timeout 30 sh -c 'until keymaker sync; do sleep 0.2; done' && getent passwd alice && id -nG alice | grep -w keymaker-users && id -nG alice | grep -w devs &&
        getent passwd root && getent group root && id -nG local-user | grep -w local-user &&
        timeout 20 sh -c 'until ssh -o BatchMode=yes alice@localhost true; do sleep 0.2; done'
}
declare -A cells=()
check_cell() { # CELL SENTENCE COMMAND…
    local cell=$1 before=$failed; shift
    check "$@"
    if [ "$failed" = "$before" ]; then cells[$cell]=yes; else cells[$cell]=NO; fi
}

nsswitch_by_packages() {
    step "nsswitch.conf, by the packages' scripts"
    local variant script; script=/var/lib/dpkg/info/libnss-keymaker:$(dpkg --print-architecture)
    check "the packages install" install_all
    "$script.postrm" remove
    for variant in $variants; do
        write "$variant"; keep
        "$script.postinst" configure '' >"$work/said" 2>&1
        check_cell "package-in-$variant" "$variant, package: IAM users exist and log in" resolves
        cp "$nsswitch" "$work/joined"
        "$script.postinst" configure 0
        check "$variant, package: an upgrade changes nothing" same_file "$work/joined" "$nsswitch"
        "$script.postrm" remove
        check_cell "package-out-$variant" "$variant, package: removal leaves what was there" as_before "$variant"
        check "$variant, package: and nobody of IAM" fails getent passwd alice
    done
    put_nsswitch_back
    check "the packages are purged" dpkg -P $packages
    settings
}

nsswitch_by_install() {
    step "nsswitch.conf, by keymaker install"
    local variant
    check "a build is put in place" "$build/keymaker" install --from "$build"
    for variant in $variants_by_install; do
        /usr/libexec/keymaker/join part_nsswitch
        write "$variant"; keep
        check_cell "install-in-$variant" "$variant, keymaker install: IAM users exist and log in" installed_again_and_resolves
        /usr/libexec/keymaker/join part_nsswitch
        check_cell "install-out-$variant" "$variant, keymaker install: what it takes out leaves what was there" as_before "$variant"
    done
    put_nsswitch_back
    check "and all of it is taken back" "$build/keymaker" uninstall --yes
    check "with the bytes that were there" same_file "$work/nsswitch.conf" "$nsswitch"
    settings
}
installed_again_and_resolves() { keymaker install && resolves; }
put_nsswitch_back() { rm -f "$nsswitch" /etc/nsswitch.real; cp -a "$work/nsswitch.conf" "$nsswitch"; }

table() {
    echo "| nsswitch.conf | package: users log in | removed: as before | keymaker install: users log in | taken out: as before |"
    echo "|---|---|---|---|---|"
    local variant
    for variant in $variants; do
        echo "| $variant | ${cells[package-in-$variant]} | ${cells[package-out-$variant]} | ${cells[install-in-$variant]:-by night} | ${cells[install-out-$variant]:-by night} |"
    done
}

# --- PAM stacks ---

# By an administrator: pam_faillock as its man page has it, in the block that pam-auth-update writes; or stacks of their own.
edit_stacks() {
    cd /etc/pam.d || return
    case $1 in
        faillock)
            sed -i -e '/^# here are the per-package modules/i auth required pam_faillock.so preauth silent' \
                -e "/^# here's the fallback/i auth [default=die] pam_faillock.so authfail" -e 's/success=1/success=2/' common-auth
            sed -i '/^# here are the per-package modules/a account required pam_faillock.so' common-account
            sed -i '/^# here are the per-package modules/a session optional pam_umask.so' common-session common-session-noninteractive ;;
        own)
            printf 'account required pam_unix.so\naccount required pam_permit.so' >common-account
            for stack in common-session common-session-noninteractive; do printf 'session required pam_unix.so' >$stack; done ;;
    esac
    cd - >/dev/null
}
put_stacks_back() { rm -rf /etc/pam.d && cp -a "$work/pam.d" /etc/pam.d; }
stacks() { (cd /etc/pam.d && grep -r '' . | sort); }
stacks_without_us() { stacks | grep -v 'pam_keymaker\.so'; }
# The commands that were printed, as somebody would copy them.
do_what_is_said() { grep '^  sed ' "$1" | tee "$work/commands" | sh -e && [ -s "$work/commands" ]; }
nobody_says_force() { ! grep -v 'its --force would lose\|^pam-auth-update: ' "$1" | grep -e --force; }
doctor_has_no_word_on_stacks() { ! keymaker doctor --json | jq -r '.findings[].what' | grep 'stack of sshd'; }
doctors_remedies() { keymaker doctor --json | jq -r '.findings[] | select(.what | test("stack of sshd")) | .remedy'; }
remedies_are_applied() { doctors_remedies >"$work/remedies"; cat "$work/remedies"; [ -s "$work/remedies" ] && ! grep -e --force "$work/remedies" && sh -e "$work/remedies"; }
alice_logs_in() { timeout 20 sh -c 'until ssh -o BatchMode=yes alice@localhost true; do sleep 0.2; done'; }

edited_stacks_are_joined() { # WAY FILE-OF-WHAT-WAS-SAID
    check "$1: it says what to do" do_what_is_said "$2"
    check "$1: and never by force" nobody_says_force "$2"
    check "$1: after that every stack has our line" all_stacks_name_us
    check "$1: and all that was edited" same_text "$edited" "$(stacks_without_us)"
    check "$1: alice logs in" alice_logs_in
    check "$1: doctor finds no fault of the stacks" doctor_has_no_word_on_stacks
    sed -i '/pam_keymaker/d' /etc/pam.d/common-account /etc/pam.d/common-session
    check "$1: where our lines are gone, doctor's remedies bring them back" remedies_are_applied
    check "$1: with which it finds no fault" doctor_has_no_word_on_stacks
    check "$1: and which lose nothing" same_text "$edited" "$(stacks_without_us)"
}
all_stacks_name_us() { [ "$(grep -lE '^(account|session).*pam_keymaker\.so' /etc/pam.d/common-{account,session,session-noninteractive} | wc -l)" = 3 ]; }

pam_by_packages() {
    step "edited PAM stacks, by the packages"
    local edit
    for edit in faillock own; do
        edit_stacks $edit; edited=$(stacks)
        check "$edit: the packages install" install_all
        edited_stacks_are_joined "$edit, package" "$work/dpkg"
        check "$edit: they are removed" dpkg -r $packages
        check "$edit: and leave the stacks as they were" same_text "$edited" "$(stacks)"
        host_works "$edit, removed"
        dpkg -P $packages >/dev/null 2>&1; put_stacks_back; settings
    done
    # A line of the administrator's own, which without the module would keep everybody out.
    edit_stacks own; install_all
    sed -i '1i account required pam_keymaker.so' /etc/pam.d/common-account
    sed -i '1i session required pam_keymaker.so' /etc/pam.d/common-session
    check "a line with a control of somebody's own is spoken of at removal" removal_says "/etc/pam.d/common-account still names pam_keymaker.so"
    host_works "with such a line and without the module"
    dpkg -P $packages >/dev/null 2>&1; put_stacks_back; settings
}
# Google's, whose own users there are none of here.
oslogin() {
    step "beside google-compute-engine-oslogin"
    local was
    check "it is installed" dpkg -i /sandbox/tools/*.deb
    check "and activated" google_oslogin_control activate
    was=$(oslogins_files)
    check "the packages install" install_all
    check "IAM users exist and log in" resolves
    check "doctor finds nothing" keymaker doctor
    check "deactivated and activated again it takes nothing of ours away" eval 'google_oslogin_control deactivate && resolves && google_oslogin_control activate && resolves'
    check "the packages are purged" dpkg -P $packages
    check "and leave its lines as they were" same_text "$was" "$(oslogins_files)"
    check "it is deactivated and purged" eval 'google_oslogin_control deactivate && dpkg -P google-compute-engine-oslogin'
    host_works "after both"
    settings
}
# It leaves empty lines of its own each time.
oslogins_files() { grep . "$nsswitch" /etc/ssh/sshd_config /etc/pam.d/sshd /etc/pam.d/su; }

removal_says() { dpkg -r $packages >"$work/dpkg" 2>&1; cat "$work/dpkg"; grep -qF "$1" "$work/dpkg"; }

pam_by_install() {
    step "edited PAM stacks, by keymaker install"
    edit_stacks faillock; edited=$(stacks)
    check "a build is put in place" says "$build/keymaker" install --from "$build"
    edited_stacks_are_joined "faillock, keymaker install" "$work/says"
    check "all of it is taken back" "$build/keymaker" uninstall --yes
    check "and leaves the stacks as they were" same_text "$edited" "$(stacks)"
    put_stacks_back; settings
}
says() { "$@" >"$work/says" 2>&1 || { cat "$work/says"; return 1; }; }

# --- nscd ---

nscd() {
    step "beside nscd"
    mkdir -p "$work/nscd/DEBIAN"
    printf 'Package: nscd\nVersion: 2.36\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: stands for nscd\n' >"$work/nscd/DEBIAN/control"
    dpkg-deb -b "$work/nscd" "$work/nscd.deb" >/dev/null && dpkg -i "$work/nscd.deb" >/dev/null
    check "the packages are refused beside nscd, which is named" refused_beside_nscd
    dpkg -P nscd $packages >/dev/null 2>&1; settings
}
refused_beside_nscd() { if install_all; then return 1; fi; grep 'conflicts with nscd' "$work/dpkg"; }

# --- FIPS mode ---

# As far as OpenSSH says no there: to ed25519.
fips() {
    step "a host in FIPS mode"
    local keygen=/usr/bin/ssh-keygen
    mv $keygen $keygen.real
    printf '#!/bin/sh\ncase " $* " in *ed25519*) echo "ED25519 keys are not allowed in FIPS mode" >&2; exit 1 ;; esac\nexec %s.real "$@"\n' $keygen >$keygen
    chmod 755 $keygen
    check "the packages install where ssh-keygen makes no ed25519 key" install_all
    check "and sshd has our drop-in" test -e "$drop_in"
    mv $keygen.real $keygen
    dpkg -P $packages >/dev/null 2>&1; settings
}

# --- a root that is built before it boots ---

# As in a chroot, `docker build` or an image builder: no systemd runs, and policy-rc.d forbids to start anything.
build_a_root() {
    step "a root that is built"
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
    check "the packages install where no systemd runs" unshare --mount --propagation private sh -c \
        "mount -t tmpfs -o mode=755 tmpfs /run && cd $debs && dpkg -i $(for name in $packages keymaker-credd; do printf '%s_*.deb ' $name; done) && systemctl enable credd.service && test ! -d /run/systemd"
    rm /usr/sbin/policy-rc.d
    check "and are configured" all_configured
    check "the daemon is enabled" test -e /etc/systemd/system/multi-user.target.wants/keymakerd.service
    check "and was not started" fails systemctl -q is-active keymakerd.service
    check "names, PAM and sshd are joined" built_is_joined
    systemctl daemon-reload
    touch "$work/built"
}
built_is_joined() { grep -q '^passwd:.*keymaker' "$nsswitch" && all_stacks_name_us && [ -e /etc/ssh/sshd_config.d/50-keymaker.conf ] && id keymakerd && getent group keymaker-users; }

first_boot() {
    step "its first boot"
    check "keymakerd runs" becomes_active keymakerd.service
    check "the watch for sessions runs" becomes_active keymaker-end-sessions.path
    check "and the one for late starts" becomes_active keymaker-start-late.path
    check "alice logs in" alice_logs_in
    check "credd, which was enabled there, gives her credentials" credentials_of alice
    check "doctor finds nothing" keymaker doctor
    check "systemd has no word on any of our units" units_are_right
    host_works "first boot"
}
credentials_of() { timeout 20 sh -c "until ssh -o BatchMode=yes $1@localhost aws sts get-caller-identity | grep -q 'assumed-role/user-$1/'; do sleep 0.2; done"; }

units_are_right() {
    local units said
    units=$(dpkg -L $packages keymaker-credd | grep '/systemd/system/.*\.')
    said=$(systemd-analyze verify --man=no $units 2>&1)
    same_text 12 "$(wc -w <<<"$units")" && same_text "" "$said"
}

# What an image with a read-only root has that can be written: /run, /var, /home.
read_only_root() {
    step "a read-only root"
    local folder
    mount --bind /var /var
    for folder in /var/lib/keymaker /home; do mount -t tmpfs -o mode=755 tmpfs $folder; done
    # What has a file of the root open to write.
    systemctl stop keymakerd.service
    systemctl restart systemd-journald.service
    check "the root is made read-only" mount -o remount,bind,ro /
    check "and is" fails touch /etc/x
    check "keymakerd starts on an empty /var/lib/keymaker" systemctl start keymakerd.service
    check "alice logs in" alice_logs_in
    check "with credentials" credentials_of alice
    mount -o remount,bind,rw /
    systemctl stop keymakerd.service
    umount /var/lib/keymaker; umount -l /home /var
    systemctl start keymakerd.service
}

# --- a chroot beside the host that runs ---

chroots() {
    step "a purge in a chroot"
    local rules run
    check "alice has credentials before" credentials_of alice
    rules=$(rules)
    for run in "a /run of its own" "the host's /run"; do
        make_chroot "$run"
        check "$run: everything is purged in the chroot" chroot "$work/root/merged" dpkg -P keymaker-credd $packages
        check "$run: it is gone there" fails test -e "$work/root/merged/usr/sbin/keymakerd" -o -e "$work/root/merged/var/lib/keymaker"
        umount -R "$work/root/merged"; umount "$work/root"
        check "$run: the host's rules stay" same_text "$rules" "$(rules)"
        check "$run: and its units" host_units_run
        check "$run: and its sockets" test -S /run/keymaker/lookup.sock -a -S /run/keymaker/login.sock -a -d /run/keymaker-credd
        check "$run: alice logs in" alice_logs_in
        check "$run: with credentials" credentials_of alice
        check "$run: doctor finds nothing" keymaker doctor
    done
}
rules() { ip rule; ip route show table all | grep 169.254.169.254; nft -s list ruleset | grep -v 'counter packets'; }
host_units_run() { systemctl -q is-active keymakerd.service credd.service credd.socket credd-capture.service keymaker-end-sessions.path keymaker-start-late.path ssh.service; }
make_chroot() {
    local root=$work/root folder
    mkdir -p "$root"; mount -t tmpfs tmpfs "$root"; mkdir "$root/upper" "$root/work" "$root/merged"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" "$root/merged"
    for folder in proc sys dev; do mount --rbind /$folder "$root/merged/$folder"; mount --make-rslave "$root/merged/$folder"; done
    if [ "$1" = "the host's /run" ]; then mount --rbind /run "$root/merged/run"; mount --make-rslave "$root/merged/run"; fi
}

# --- what is done to it ---

install_all() { (cd "$debs" && dpkg -i keymaker_*.deb keymaker-cli_*.deb libnss-keymaker_*.deb libpam-keymaker_*.deb) >"$work/dpkg" 2>&1 </dev/null || { cat "$work/dpkg"; return 1; }; }
all_configured() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}\n' $packages keymaker-credd | grep -c '^ii')" = 5 ]; }

main
