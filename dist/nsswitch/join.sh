# Puts the service keymaker into the nsswitch.conf of $root (empty: this host), and takes it out again. Part of the scripts of the packages
# libnss-keymaker, which set $root before.

nsswitch=$root/etc/nsswitch.conf
# Is there from the edit until the package is removed. Its content says what was added besides the service.
edited=$root/var/lib/libnss-keymaker/nsswitch-edited

# Once: an administrator who takes it out again is not overruled by an upgrade. Where it stands, it is moved behind every other service:
# accounts that resolve without us win, whatever was installed meanwhile.
join_nsswitch() {
    which='^[a-z]'
    [ ! -e "$edited" ] || which='^[a-z]+:([^#]*\s)?keymaker(\s|#|$)'
    # Written aside and renamed: nobody ever reads half of it, and a full disk leaves the old one.
    target=$(readlink -f "$nsswitch")
    cp -p "$target" "$target.keymaker-new" && with_keymaker "$target" "$which" >"$target.keymaker-new" && is_whole && mkdir -p "${edited%/*}" || {
        leave_it
        return 1
    }
    if grep -qs initgroups-continue "$edited" || {
        grep -Eq '^initgroups:.*\[SUCCESS=continue\]' "$target.keymaker-new" &&
            ! grep -Eq '^initgroups:.*\[SUCCESS=continue\]' "$target"
    }; then
        echo initgroups-continue >"$edited.new"
    else
        : >"$edited.new"
    fi
    if cmp -s "$target" "$target.keymaker-new"; then
        rm "$target.keymaker-new"
    else
        mv "$target.keymaker-new" "$target" || return 1
    fi
    mv "$edited.new" "$edited"
}

# Whatever went wrong while it was written (a full disk, a filter that ended early), it has fewer lines. The scripts of an rpm go on
# after an error.
is_whole() { [ "$(grep -c '' "$target.keymaker-new")" = "$(grep -c '' "$target")" ]; }

leave_it() {
    rm -f "$target.keymaker-new"
    echo "libnss-keymaker: $target was left as it was, because a new one could not be written; make room there and install the package again" >&2
}

part_nsswitch() {
    if [ -e "$nsswitch" ] && grep -Eq '^(passwd|group|initgroups):.*\skeymaker' "$nsswitch"; then
        target=$(readlink -f "$nsswitch")
        cp -p "$target" "$target.keymaker-new" && without_keymaker "$target" >"$target.keymaker-new" && is_whole || {
            leave_it
            return 1
        }
        mv "$target.keymaker-new" "$target" || return 1
    fi
    rm -rf "${edited%/*}"
}

# Puts " keymaker" at the end of the lines passwd, group and initgroups, whatever spaces, actions and comments stand there; but
# before an action that ends the search where a name was not found, or we would never be asked. A line initgroups decides
# alone and ends at the first service that knows the user, so files has to go on: it knows every user whom an
# administrator added to a local group. $2: only lines that match it. keymaker-core's nsswitch.rs does the same.
with_keymaker() {
    sed -E '
        /^(passwd|group|initgroups):/!b
        /'"$2"'/!b
        s/^([a-z]+:([^#]*[^#[:space:]])?)\s+keymaker(\s|#|$)/\1\3/
        /^[^#]*\[([^]#]*\s)?(NOTFOUND|!\s*(SUCCESS|UNAVAIL|TRYAGAIN))\s*=\s*RETURN[^]#]*\]/I{
            s/\s*\[([^]#]*\s)?(NOTFOUND|!\s*(SUCCESS|UNAVAIL|TRYAGAIN))\s*=\s*RETURN[^]#]*\]/ keymaker&/I
            b placed
        }
        s/^([a-z]+:[^#]*[^#[:space:]])/\1 keymaker/
        :placed
        /^initgroups:/s/^(initgroups:([^#]*\s)?(files|compat))((\s+[a-z][^#]*)?\s+keymaker(\s|#|$))/\1 [SUCCESS=continue]\4/
    ' "$1"
}

without_keymaker() {
    # The action after files goes too, where it was ours.
    if grep -qs initgroups-continue "$edited"; then
        sed -E 's/^(initgroups:([^#]*\s)?(files|compat))\s\[SUCCESS=continue\]/\1/' "$1"
    else
        cat "$1"
    fi | sed -E 's/^((passwd|group|initgroups):([^#]*[^#[:space:]])?)\s+keymaker(\s|#|$)/\1\4/'
}
