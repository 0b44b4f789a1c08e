# What stands for the packages of Enterprise Linux on a host whose own are Debian's. Sourced by tests/rpm.sh and tests/repository.sh; they
# set work.
# shellcheck shell=bash disable=SC2154

# Makes work/system-GLIBC: one package that provides what the system's own provide, with the symbols of that glibc and older ones.
make_system() {
    local library symbol libraries="libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1 libutil.so.1 ld-linux-x86-64.so.2 ld-linux-aarch64.so.1 libgcc_s.so.1 libpam.so.0"
    {
        cat <<'END_OF_SPEC'
Name: el-system
Version: 1
Release: 1
Summary: What the packages of the system provide
License: none
AutoReqProv: no
END_OF_SPEC
        for library in $libraries; do
            find /usr/lib -name "$library" | /usr/lib/rpm/elfdeps --provides | while read -r symbol; do
                [[ $symbol =~ GLIBC_(2\.[0-9]+) ]] && [ "$(printf '%s\n' "${BASH_REMATCH[1]}" "$1" | sort -V | tail -n 1)" != "$1" ] || echo "Provides: $symbol"
            done
        done
        printf 'Provides: %s\n' "glibc = $1" 'rtld(GNU_HASH)' /bin/sh /sbin/ldconfig coreutils gawk grep sed systemd openssh-server iproute iproute-tc nftables sudo libselinux-utils policycoreutils selinux-policy-targeted
        # glibc of Enterprise Linux runs ldconfig so.
        printf '%s\n' '%description' It. %install 'cp --parents -p /etc/ssh/sshd_config /usr/share/authselect/default/local/README %{buildroot}' %files /etc/ssh/sshd_config /usr/share/authselect/default/local/README \
            '%transfiletriggerin -- /usr/lib64' ldconfig
    } >"$work/system.spec"
    rpmbuild -bb --quiet --define '_buildshell /bin/bash' --define "_topdir $work/build" --define "_rpmdir $work/system-$1" "$work/system.spec" >"$work/rpmbuild" 2>&1 ||
        { cat "$work/rpmbuild"; return 1; }
}
