#!/bin/bash
# aarch64 by qemu: the unit tests of the crates that run in other people's processes and in sshd, linked as the packages for that processor
# are, and the programs that these tests start.
#
# usage: tests/arm64.sh      as root; Rust's library for aarch64 comes by rustup, qemu and mmdebstrap by apt, zig by dist/tools
#
# The kernel runs programs of that processor within namespaces of this script's alone, by a binfmt_misc of their own (Linux 6.7).
set -euo pipefail
self=$(realpath "$0")
cd "$(dirname "$self")/.."
TRIPLE=aarch64-unknown-linux-gnu
CRATES=(-p keymaker-syntax -p keymaker-core -p nss_keymaker -p pam_keymaker -p keymaker-keys)
OLDEST_GLIBC=$(sed -n 's/^OLDEST_GLIBC=//p' dist/build)

main() {
  [ "${1:-}" != --inside ] || { inside; return; }
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} PATH=$HOME/.cargo/bin:$PATH
  export ROOT=$CARGO_TARGET_DIR/arm64/root
  install_tools
  make_root
  local tools libraries; tools=$(dist/tools)
  export PATH=$tools:$PATH
  libraries=$(dist/build --libraries=aarch64)
  export RUSTFLAGS="-L $libraries"
  cargo-zigbuild test -q --no-run --target $TRIPLE.$OLDEST_GLIBC "${CRATES[@]}"
  in_namespaces
}

install_tools() {
  local missing=() program package
  while read -r program package; do command -v "$program" >/dev/null || missing+=("$package"); done <<<$'qemu-aarch64 qemu-user\nmmdebstrap mmdebstrap'
  [ ${#missing[@]} = 0 ] || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; }
  rustup target list --installed | grep -qx $TRIPLE || rustup target add $TRIPLE ||
    { echo "Rust's library for aarch64 cannot be had: rustup target add $TRIPLE"; exit 78; }
}

# What the programs load. Nothing of it is run to unpack it.
make_root() {
  [ ! -d "$ROOT" ] || return 0
  rm -rf "$ROOT.new"; mkdir -p "$(dirname "$ROOT")"
  mmdebstrap --quiet --arch=arm64 --variant=extract --include=libpam0g,libc6,libgcc-s1 bookworm "$ROOT.new"
  mv "$ROOT.new" "$ROOT"
}

# In which all ids are as outside, since the tests act for root and others.
in_namespaces() {
  local go=$CARGO_TARGET_DIR/arm64/go pid
  rm -f "$go"; mkfifo "$go"
  unshare --user --mount --pid --fork --kill-child sh -c 'read -r _ <"$1"; exec "$2" --inside' _ "$go" "$self" &
  pid=$!
  until [ "$(readlink /proc/$pid/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do kill -0 $pid; sleep 0.05; done
  echo "0 0 4294967295" >/proc/$pid/uid_map; echo "0 0 4294967295" >/proc/$pid/gid_map
  echo >"$go"
  wait $pid
}

inside() {
  mount -t proc proc /proc
  mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || { echo "not run: this kernel gives nobody a binfmt_misc of their own (Linux 6.7)"; exit 77; }
  # ELF, 64 bits, little-endian, e_machine 183.
  printf '%s' ':aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'"$(command -v qemu-aarch64)"':F' \
    >/proc/sys/fs/binfmt_misc/register
  # Where qemu looks for what a program loads, whatever its environment.
  mkdir -p "$ROOT.etc/qemu-binfmt" && ln -sfn "$ROOT" "$ROOT.etc/qemu-binfmt/aarch64"
  mount -t overlay -o "lowerdir=$ROOT.etc:/etc" overlay /etc
  # qemu's vfork(2) does not share memory: that a program is not there to be started comes out as one that failed.
  cargo-zigbuild test -q --no-fail-fast --target $TRIPLE.$OLDEST_GLIBC "${CRATES[@]}" -- --show-output \
    --skip what_sudo_does_not_accept_is_not_placed
}

main "$@"
