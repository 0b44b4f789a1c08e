#!/bin/bash
# Runs the fuzz targets, two at a time: what they find is written to a folder that the end names, and is a failure. Every target begins
# with what fuzz/corpus keeps and with what earlier runs found on this machine.
#
# usage: tests/fuzz.sh [--seconds N] [--executions N] [--each N] [TARGET…]      (default: every target for 5 seconds)
#   --executions N   goes on in rounds of --seconds each until all targets together have executed N times, as libFuzzer counts
#   --each N         one round, in which each target executes N times, however long that takes
#   --seed N         draws the same inputs each time, as far as the seconds reach
#   --build          builds them and runs nothing
#   --keep           puts what this machine's corpus has and fuzz/corpus lacks into fuzz/corpus, no more than reaches new code
#
# The instruments are LLVM's own and need no nightly toolchain. There is no AddressSanitizer: what is fuzzed is safe Rust (tests/rules.sh),
# and the little unsafe code that there is follows glibc's pointers, under valgrind (tests/nss).
set -uo pipefail
cd "$(dirname "$(realpath "$0")")/../fuzz"
seconds=5 executions=0 each=-1 seed=0 how=run targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --executions) executions=$2; shift 2 ;;
    --each) each=$2 seconds=0; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --build) how=build; shift ;;
    --keep) how=keep; shift ;;
    -*) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
[ ${#targets[@]} -gt 0 ] || for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
target_dir=${CARGO_TARGET_DIR:-$PWD/../target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

main() {
  build || exit
  case $how in build) exit ;; keep) keep; exit ;; esac
  TMPDIR=$(mktemp -d -p /dev/shm) && export TMPDIR || exit
  trap 'rm -rf "$TMPDIR"' EXIT
  local total=0 began=$SECONDS
  while :; do
    round || exit 1
    [ $((executions)) -gt "$total" ] || break
  done
  echo "${#targets[@]} targets, $total executions in $((SECONDS - began)) s"
}

# As cargo-fuzz has it, but for AddressSanitizer. With --target no build script gets the instruments.
build() {
  local instruments=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares)
  RUSTFLAGS="${instruments[*]}" cargo build -q --locked --profile fuzz --bins --target "$host" --target-dir "$target_dir/build"
}

# Every target once, two at a time; adds to total.
round() {
  mkdir -p "$target_dir/found" "$target_dir/logs"
  printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c "$(declare -f run); run '{}' '$seconds' '$target_dir' '$host' '$seed' '$each'" || {
    echo "something was found; the inputs are in $target_dir/found"
    return 1
  }
  local name done
  for name in "${targets[@]}"; do
    done=$(sed -n 's/^stat::number_of_executed_units: *//p' "$target_dir/logs/$name")
    total=$((total + ${done:-0}))
  done
}

run() {
  local name=$1 seconds=$2 folder=$3 host=$4 seed=$5 each=$6 own=$3/corpus/$1
  mkdir -p "$own"
  if ! "$folder/build/$host/fuzz/$name" "$own" "corpus/$name" -seed="$seed" -runs="$each" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$folder/found/$name-" $([ ! -e "dictionaries/$name" ] || echo "-dict=dictionaries/$name") >"$folder/logs/$name" 2>&1; then
    echo "$name FAILED"
    tail -n 40 "$folder/logs/$name"
    return 1
  fi
  printf '%-18s %s executions\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/logs/$name")"
}

keep() {
  local name
  for name in "${targets[@]}"; do
    mkdir -p "corpus/$name"
    "$target_dir/build/$host/fuzz/$name" -merge=1 "corpus/$name" "$target_dir/corpus/$name" >"$target_dir/logs/$name" 2>&1 || return
  done
}

main
