# What pam-auth-update(8) leaves to others in the PAM stacks of $root (empty: this host): stacks that an administrator edited by hand. Part of
# the scripts of the package libpam-keymaker, which set $root before, and of what `keymaker install` puts in place.

# After pam-auth-update: what is missing where it left a stack alone, and the command that puts it in. Its own --force would lose what was
# edited: lines of pam_faillock, for example.
say_what_stacks_lack() {
    for stack in common-account common-session common-session-noninteractive; do
        [ -e "$root/etc/pam.d/$stack" ] && ! names_us "$root/etc/pam.d/$stack" || continue
        case $stack in
            *-account) kind=account at=1i without="no IAM user is refused at a login" ;;
            *) kind=session at='$a' without="no IAM user gets a home" ;;
        esac
        echo "libpam-keymaker: /etc/pam.d/$stack does not have pam_keymaker.so, so $without: pam-auth-update leaves" >&2
        echo "libpam-keymaker: stacks alone that were edited by hand, and its --force would lose what was edited. This puts the line in:" >&2
        echo "  sed -i --follow-symlinks '$at $kind $(our_line)' /etc/pam.d/$stack" >&2
    done
}

# After pam-auth-update --remove: our line, where it stands by hand. One with another control stays, since a line before it may count it; but
# without the module its control would keep everybody out, root too.
part_stacks() {
    for file in "$root"/etc/pam.d/*; do
        [ -f "$file" ] && names_us "$file" || continue
        sed -i --follow-symlinks -E "/^-?(account|session)[ \t]+$(our_line | sed 's/[].[]/\\&/g; s/ /[ \\t]+/g')[ \t]*\$/d" "$file"
        names_us "$file" || continue
        sed -i --follow-symlinks -E "s/^([^#]*(account|session)[ \t]+)(\[[^]]*\]|[a-z]+)[ \t]+([^ \t]*pam_keymaker\.so)/\1$(our_line | sed 's/ pam_keymaker.*//') \4/" "$file"
        echo "libpam-keymaker: $file still names pam_keymaker.so, in a line of yours; without the module it is passed over: take it out" >&2
    done
}

names_us() { grep -q '^[^#]*pam_keymaker\.so' "$1"; }

# Control and module, as pam-auth-update puts them into stacks.
our_line() { sed -n '/pam_keymaker\.so/{s/^\s*//; s/\s\+/ /g; p; q}' "$root/usr/share/pam-configs/keymaker"; }
