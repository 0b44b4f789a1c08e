#!/bin/bash
# The pure parts of what is loaded into other programs, under Miri: no undefined behaviour in any of their tests. What reads real files,
# sockets or glibc is left to valgrind and AddressSanitizer (tests/nss), since Miri has no such host.
#
# Needs a nightly toolchain with Miri; exits with 78 where there is none.
set -eu
cd "$(dirname "$(realpath "$0")")/.."
cargo +nightly miri --version >/dev/null 2>&1 || { echo "install Miri: rustup toolchain install nightly --component miri --component rust-src"; exit 78; }

files=(--skip comes_back --skip come_back --skip local_files:: --skip home)
cargo +nightly miri test -q -p keymaker-core --lib -- \
  crc32c:: name:: id:: public_key:: protocol:: login:: reserved_names:: directory_file:: keys_file:: published_file::format "${files[@]}"
cargo +nightly miri test -q -p nss_keymaker --lib -- reply_buffer::
