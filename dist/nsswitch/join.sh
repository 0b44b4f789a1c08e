# Puts the service keymaker into the nsswitch.conf of $root (empty: this host), and takes it out again. Part of the scripts of the packages
# libnss-keymaker, which set $root before, and of what `keymaker install` puts in place.

nsswitch=$root/etc/nsswitch.conf
# Is there from the edit until the package is removed. It says what was added besides the service.
edited=$root/var/lib/libnss-keymaker/nsswitch-edited

# Once: an administrator who takes it out again is not overruled by an upgrade, but by `join_nsswitch again`. Where it stands, it is moved
# behind every other service: accounts that resolve without us win, whatever was installed meanwhile.
join_nsswitch() {
    which='^' lines=""
    [ "${1:-}" = again ] || [ ! -e "$edited" ] || which='^[^#]*\skeymaker(\s|#|\[|$)'
    find_target || return 1
    added=$(cat "$edited" 2>/dev/null || :)
    if [ "$which" = '^' ]; then
        [ -e "$target" ] || { touch "$target" && chmod 644 "$target" && added="$added file"; } || { leave_it; return 1; }
        for database in passwd group; do
            grep -Eq "^\s*$database[:[:space:]]" "$target" || { lines="$lines $database" added="$added line-$database"; }
        done
    fi
    write_aside with_keymaker "$(echo $lines | wc -w)" || return 1
    # glibc 2.36 does not see the last service of a file that ends with it: tried.
    if [ "$which" = '^' ] && [ -n "$(tail -c 1 "$target")" ]; then echo >>"$target.keymaker-new" && added="$added end"; fi
    if grep -Eq "$continues" "$target.keymaker-new" && ! grep -Eq "$continues" "$target"; then added="$added initgroups-continue"; fi
    mkdir -p "${edited%/*}" && echo $added >"$edited.new" && put_in_place && mv "$edited.new" "$edited" || { leave_it; return 1; }
    [ "$which" != '^' ] || for database in passwd group; do
        grep -Eq "^\s*$database[:[:space:]]([^#]*\s)?keymaker(\s|\[|$)" "$target" ||
            echo "libnss-keymaker: the line $database of $target does not name keymaker, so no IAM user exists here: put it behind the line's other services" >&2
    done
}

part_nsswitch() {
    if [ -e "$nsswitch" ]; then
        find_target || return 1
        lines=""
        for database in passwd group; do
            ! was_added "line-$database" || ! grep -qFx "$database: files keymaker" "$target" || lines="$lines $database"
        done
        write_aside without_keymaker "-$(echo $lines | wc -w)" || return 1
        ! was_added end || [ -n "$(tail -c 1 "$target.keymaker-new")" ] || truncate -s -1 "$target.keymaker-new"
        put_in_place || { leave_it; return 1; }
        [ -s "$target" ] || ! was_added file || rm "$target"
    fi
    rm -rf "${edited%/*}"
}

was_added() { grep -qsw -- "$1" "$edited"; }

continues='^\s*initgroups[:[:space:]][^#]*\[SUCCESS=continue\]'

# Where a link leads; one that does not lead out of $root, which may be another host's.
find_target() {
    target=$(readlink -f "$nsswitch") && [ -n "$target" ] || { target=$nsswitch; leave_it; return 1; }
    case $target in "$root"/*) ;; *) target=$root$target ;; esac
}

# Aside and renamed: nobody ever reads half of it, and a full disk leaves the old one. Whatever goes wrong while it is written (a full
# disk, a filter that ends early), it has fewer lines than it is to have: $2 more than before. The scripts of an rpm go on after an error.
write_aside() {
    cp -p "$target" "$target.keymaker-new" && "$1" "$target" >"$target.keymaker-new" &&
        [ "$(grep -c '' "$target.keymaker-new")" = $(($(grep -c '' "$target") + $2)) ] || { leave_it; return 1; }
}

put_in_place() { if cmp -s "$target" "$target.keymaker-new"; then rm "$target.keymaker-new"; else mv "$target.keymaker-new" "$target"; fi; }

leave_it() {
    rm -f "$target.keymaker-new"
    echo "libnss-keymaker: $target was left as it was, because a new one could not be written; make room there and install the package again" >&2
}

# Puts " keymaker" at the end of the lines passwd, group and initgroups, whatever spaces, actions and comments stand there; but
# before an action that ends the search where a name was not found, or we would never be asked. A line initgroups decides
# alone and ends at the first service that knows the user, so files has to go on: it knows every user whom an
# administrator added to a local group. keymaker-core's nsswitch.rs does the same. Of $lines, which are missing, glibc's default is "files";
# they come first, so that the last line stays as it is, with or without an end. glibc wants no colon (nss_database.c).
with_keymaker() {
    for database in $lines; do echo "$database: files keymaker"; done
    LC_ALL=C sed -E '
        /^\s*(passwd|group|initgroups)[:[:space:]]/!b
        /'"$which"'/!b
        s/^(\s*[a-z]+[:[:space:]]+([^#]*[^#[:space:]])?)\s+keymaker(\s|#|\[|$)/\1\3/
        /^[^#]*\[([^]#]*\s)?(NOTFOUND|!\s*(SUCCESS|UNAVAIL|TRYAGAIN))\s*=\s*RETURN[^]#]*\]/I{
            s/\s*\[([^]#]*\s)?(NOTFOUND|!\s*(SUCCESS|UNAVAIL|TRYAGAIN))\s*=\s*RETURN[^]#]*\]/ keymaker&/I
            b placed
        }
        s/^(\s*[a-z]+[:[:space:]]+[^#]*[^#[:space:]])/\1 keymaker/
        :placed
        /^\s*initgroups/s/^(\s*initgroups[:[:space:]]([^#]*\s)?(files|compat))(\s+[a-z][^#]*)?(\s+keymaker(\s|#|\[|$))/\1 [SUCCESS=continue]\4\5/
    ' "$1"
}

# The action after files goes too, where it was ours.
without_keymaker() {
    ours='s/^(\s*(passwd|group|initgroups)[:[:space:]]([^#]*[^#[:space:]])?)\s+keymaker(\s|#|\[|$)/\1\4/'
    for database in $lines; do ours="$ours;0,/^$database: files\$/{//d}"; done
    ! was_added initgroups-continue || ours="$ours;"'s/^(\s*initgroups[:[:space:]]([^#]*\s)?(files|compat))\s\[SUCCESS=continue\]/\1/'
    LC_ALL=C sed -E "$ours" "$1"
}
