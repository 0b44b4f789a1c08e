# A table of systems, in which each cell is what this run's commands returned. Sourced by those who try one, after host.sh, which counts
# failures; they set `rows`, and `row` to the one that is tried.
# shellcheck shell=bash disable=SC2154

declare -A result
columns="resolved install login credentials upgrade erase"

# A cell is green where no check failed in it.
cell() {
    local column=$1 former=$failed; shift
    # Where nothing was installed, nothing can be asked.
    [ "${result["$row|install"]:-}" != FAILED ] || [ "$column" = erase ] || return 0
    step "$row: $column"
    outcome=yes
    "$@"
    [ "$failed" = "$former" ] || outcome=FAILED
    result["$row|$column"]=$outcome
}

table() {
    echo; table_row system processor $columns; table_row --- --- $(printf -- '--- %.0s' $columns)
    local row column
    for row in "${rows[@]}"; do
        # Where nothing was installed, nothing ran.
        table_row "$row" "$([ -n "${result["$row|install"]:-}" ] && uname -m || echo -)" $(for column in $columns; do echo "${result["$row|$column"]:--}"; done)
    done
}
table_row() { printf '| %-36s | %-9s |' "$1" "$2"; printf ' %-11s |' "${@:3}"; echo; }
