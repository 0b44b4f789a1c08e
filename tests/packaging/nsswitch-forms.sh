#!/bin/bash
# The forms of nsswitch.conf that hosts have. tests/variants.sh, which joins them on a host, sets nsswitch, the file's path, and reads this.
#
# usage: tests/packaging/nsswitch-forms.sh DIR     makes each in DIR/FORM/etc, joins it there as the packages do, and prints FORM: a unit
#        test of doctor's judges it
# shellcheck shell=bash disable=SC2154

variants="debian compat sss-first sss-return merge merge-sss initgroups initgroups-sss comments tabs crlf no-newline lines-missing empty no-file
    symlink no-colon no-space extrausers oslogin twice db named-before"

# What each of them is, put into the place of nsswitch.conf.
write() {
    rm -f "$nsswitch"
    case $1 in
        debian)         text 'passwd:         files systemd\ngroup:          files systemd\nshadow:         files\n' ;;
        compat)         text 'passwd: compat\ngroup: compat\nshadow: compat\n' ;;
        sss-first)      text 'passwd: sss files\ngroup: sss files\n' ;;
        sss-return)     text 'passwd: files sss [NOTFOUND=return] ldap\ngroup: files [!SUCCESS=return] sss\n' ;;
        merge)          text 'passwd: files systemd\ngroup: files [SUCCESS=merge] systemd\n' ;;
        merge-sss)      text 'passwd: files sss\ngroup: files [SUCCESS=merge] sss [SUCCESS=merge] systemd\n' ;;
        initgroups)     text 'passwd: files\ngroup: files\ninitgroups: files\n' ;;
        initgroups-sss) text 'passwd: files\ngroup: files\ninitgroups: files [NOTFOUND=return] sss\n' ;;
        comments)       text '# f\xfcr alle: keymaker\npasswd: files # not keymaker, f\xfcr alle\n#group: x\ngroup: files #keymaker\n' ;;
        tabs)           text '\tpasswd:\tfiles\tsystemd\t\ngroup:\t\tfiles\t\n' ;;
        crlf)           text 'passwd: files systemd\r\ngroup: files\r\ninitgroups: files\r\n' ;;
        no-newline)     text 'passwd: files\ngroup: files' ;;
        lines-missing)  text '#passwd: files\nshadow: files' ;;
        empty)          : >"$nsswitch" ;;
        no-file)        ;;
        symlink)        text 'passwd: files\ngroup: files\n'; chmod 600 "$nsswitch"; chmod 644 "$nsswitch"; mv "$nsswitch" "${nsswitch%/*}/nsswitch.real"; ln -s nsswitch.real "$nsswitch" ;;
        no-colon)       text 'passwd files systemd\n  group : files\n' ;;
        no-space)       text 'passwd:files\ngroup:files[NOTFOUND=return]sss\n' ;;
        extrausers)     text 'passwd: files extrausers\ngroup: files extrausers\n' ;;
        # As google-compute-engine-oslogin leaves it.
        oslogin)        text 'passwd: files cache_oslogin oslogin systemd\ngroup: files cache_oslogin oslogin systemd\n' ;;
        twice)          text 'passwd: files\npasswd: files systemd\ngroup: files\n' ;;
        db)             text 'passwd: db files\ngroup: db files\n' ;;
        named-before)   text 'passwd: files keymaker\ngroup: files keymaker systemd\n' ;;
    esac
}

text() { printf "$1" >"$nsswitch"; }

join_each() {
    local form join; join=$(dirname "$(realpath "$0")")/../../dist/nsswitch/join.sh
    for form in $variants; do
        root=$1/$form
        mkdir -p "$root/etc" && . "$join" && write "$form" && join_nsswitch && echo "$form" || return
    done
}

[ "${BASH_SOURCE[0]}" != "$0" ] || join_each "${1:?an absolute path}"
