#!/bin/bash
# What a stranger relies on before they install: the packages run where they say, name no folder of the machine that made them, are the same
# bytes whoever makes them, and say what is linked into them.
#
# usage: tests/release.sh BUILT      BUILT is what dist/build printed: `./check release` calls it. The packages are made twice of it.
#        tests/release.sh --twice    builds everything twice, in two folders, by dist/build --portable: `./check --long`
#        tests/release.sh --static   builds the keymaker command as on any Linux, and runs it where there is no library at all: likewise
set -u
cd "$(dirname "$(realpath "$0")")/.." || exit
project=$PWD passed=0 failed=0
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}" keymaker-release.XXXXXX)
trap 'rm -rf "$work"' EXIT
PROGRAMS="libnss_keymaker.so libpam_keymaker.so keymakerd keymaker-keys refusal end-sessions sudo-rule proof keymaker-keys-of start-late other-service pam-account credd credd-capture keymaker"

main() {
  case ${1:-} in
    --twice) built_twice ;;
    /*) built=$1; glibc_is_checked; a_release_is_made; one_source_of_the_version; no_folder_of_the_builder; symbols_lie_apart; everything_linked_is_named; packed_twice; for_any_computer ;;
    --static) static_build ;;
    *) sed -n '5,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}

check() { # SENTENCE COMMAND…
  local sentence=$1; shift
  if "$@" >"$work/said" 2>&1; then passed=$((passed + 1)); echo "ok: $sentence"; else failed=$((failed + 1)); echo "FAILED: $sentence"; tail -n 40 "$work/said"; fi
}
fails() { ! "$@"; }
# fails_saying TEXT COMMAND…
fails_saying() {
  local text=$1; shift
  if "$@" >"$work/refusal" 2>&1; then cat "$work/refusal"; echo "it succeeded"; return 1; fi
  grep -qF -- "$text" "$work/refusal" || { cat "$work/refusal"; return 1; }
}

# --- glibc ---

glibc_is_checked() {
  mkdir -p "$work/bin" "$work/no-readelf"
  local tool
  for tool in sh grep sed sort tail printf dirname; do ln -s "$(command -v $tool)" "$work/no-readelf/$tool"; done
  check "what sshd starts for a login loads no library but glibc" same_text libc.so.6 "$(LC_ALL=C readelf -d "$built"/{keymaker-keys,proof} | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' | grep -v '^ld-linux' | sort -u)"
  check "a program that needs no newer glibc is let through" dist/check-glibc 2.99 "$built/credd" "$built/libnss_keymaker.so"
  check "one that needs a newer one is refused" fails_saying "which is newer than 2.2" dist/check-glibc 2.2 "$built/credd"
  check "also behind one that does not" fails_saying "which is newer than 2.27" dist/check-glibc 2.27 "$(program_for 2.2.5)" "$built/credd"
  check "what is no program is refused" fails_saying "readelf cannot read" dist/check-glibc 2.99 Cargo.toml
  check "nothing is let through without readelf" fails_saying "readelf cannot read" env PATH="$work/no-readelf" dist/check-glibc 2.99 "$built/credd"
  fake readelf 'exit 1'
  check "nor where readelf fails" fails_saying "readelf cannot read" env PATH="$work/bin:$PATH" dist/check-glibc 2.99 "$built/credd"
  fake readelf 'exit 0'
  check "nor where it says nothing" fails_saying "no symbol of glibc" env PATH="$work/bin:$PATH" dist/check-glibc 2.99 "$built/credd"
  rm "$work/bin/readelf"

  fake_build 2.99
  check "dist/build --portable refuses what needs a newer glibc" fails_saying "which is newer than 2.28" with_fake_build dist/build --portable
  check "debian/make-debs --portable packs none of it" fails_saying "which is newer than 2.28" with_fake_build debian/make-debs --portable "$work/none"
  check "rpm/make-rpms --portable neither" fails_saying "which is newer than 2.28" with_fake_build rpm/make-rpms --portable "$work/none"
  check "and there is no package" same_text "" "$(find "$work/none" -type f)"
  check "dpkg-buildpackage by itself builds by dist/build" packed_by_dpkg_alone
}

fake() { printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1"; chmod +x "$work/bin/$1"; }

# A program whose newest symbol is of that glibc, and that has a build id.
program_for() {
  local file=$work/needs-$1
  printf 'void f(void); __asm__(".symver f,f@GLIBC_%s"); void g(void) { f(); }\n' "$1" >"$file.c"
  printf 'GLIBC_%s { global: f; local: *; };\n' "$1" >"$file.map"
  printf 'void f(void) {}\n' | cc -shared -nostdlib -Wl,--version-script="$file.map" -Wl,-soname,libc.so.6 -x c -o "$file.so" - &&
    cc -shared -nostdlib -Wl,--build-id=sha1 -o "$file" "$file.c" "$file.so" && echo "$file"
}

# Cargo and its commands, but what they build is always programs for this glibc. What they were told is kept.
fake_build() {
  local program; program=$(program_for "$1") || return
  fake cargo "case \"\$*\" in *build*) ;; *) exec '$(command -v cargo)' \"\$@\" ;; esac
    echo \"\$*; \$CARGO_ENCODED_RUSTFLAGS\" >>'$work/cargo-was-told'
    for folder in release $(uname -m)-unknown-linux-gnu/dist $(uname -m)-unknown-linux-musl/dist; do
      mkdir -p \"\$CARGO_TARGET_DIR/\$folder\" && for file in $PROGRAMS; do cp '$program' \"\$CARGO_TARGET_DIR/\$folder/\$file\" || exit 1; done
    done"
  fake cargo-auditable true
  fake cargo-zigbuild true
}
with_fake_build() { env PATH="$work/bin:$PATH" CARGO_TARGET_DIR="$work/target" "$@"; }

packed_by_dpkg_alone() {
  copy_sources "$work/alone/keymaker" && rm -f "$work/cargo-was-told" || return
  (cd "$work/alone/keymaker" && with_fake_build dpkg-buildpackage -b -us -uc -d) || return
  ls "$work"/alone/keymaker_*.deb && grep -q 'build .*--locked.*remap-path-prefix' "$work/cargo-was-told"
}

# --- dist/release ---

a_release_is_made() {
  local copy=$work/release/keymaker out=$work/release/out
  check "the sources are copied" copy_sources "$copy"
  fake_build 2.17
  printf '#!/bin/sh\necho %s\n' "$work/bin" >"$copy/dist/tools"
  check "they are committed" committed "$copy"
  check "no release is made of a version that CHANGELOG.md does not have" fails_saying "no section" release_of "$copy" "$out"
  sed -i "s/^## \[Unreleased\]/&\n\n## [$(dist/version)] - 2026-11-21/" "$copy/CHANGELOG.md"
  check "nor of files that are not committed" fails_saying "differ from the commit" release_of "$copy" "$out"
  check "they are" committed "$copy"
  mkdir "$out"
  check "nor over another" fails_saying "is there already" release_of "$copy" "$out"
  rmdir "$out"
  check "a release is made" release_of "$copy" "$out"
  check "of packages of both kinds, the command's archive, lists of crates, symbols and BUILDINFO" same_text "1 BUILDINFO 5 deb 1 gz 5 json 6 rpm 1 xz" \
    "$(find "$out" -type f -printf '%f\n' | sed 's/.*\.//' | sort | uniq -c | xargs)"
  check "the symbols lie where a debugger looks" same_text 1 "$(tar -tJf "$out"/keymaker-symbols-*.tar.xz | grep -cE '^usr/lib/debug/.build-id/../[0-9a-f]{38}\.debug$')"
  check "BUILDINFO names the commit" grep -qx "commit: $(git -C "$copy" rev-parse HEAD)" "$out/BUILDINFO"
  check "and Rust" grep -q '^rustc 1\.' "$out/BUILDINFO"
}

committed() { (cd "$1" && git init -q && git add -A && git -c user.name=a -c user.email=a@example.com commit -q -m a); }
release_of() { (cd "$1" && with_fake_build dist/release "$2" "$(uname -m)"); }

# --- version and date ---

one_source_of_the_version() {
  local copy=$work/version/keymaker
  check "the sources are copied" copy_sources "$copy"
  sed -i '1s/(.*)/(9.8.7)/; s/^ -- \(.*\)>  .*/ -- \1>  Mon, 05 Jan 2026 01:02:03 +0000/' "$copy/debian/changelog"
  check "a version that Cargo.toml and debian/changelog do not share is refused" fails_saying "about version '9.8.7'" "$copy/dist/version"
  check "by debian/make-debs too" fails_saying "about version '9.8.7'" env BUILT="$built" "$copy/debian/make-debs" "$work/version"
  check "and by rpm/make-rpms" fails_saying "about version '9.8.7'" env BUILT="$built" PAYLOAD=w1.gzdio "$copy/rpm/make-rpms" "$work/version"
  sed -i '/^\[workspace.package\]/,/^\[/s/^version = .*/version = "9.8.7"/' "$copy/Cargo.toml"
  check "one that they share is" same_text "9.8.7 1767574923" "$("$copy/dist/version") $("$copy/dist/version" --date)"
  check "rpms are made of it" env BUILT="$built" PAYLOAD=w1.gzdio "$copy/rpm/make-rpms" "$work/version"
  check "with that version and that date" same_text "9.8.7 1767574923 Mon Jan 05 2026" \
    "$(LC_ALL=C TZ=UTC rpm -qp --qf '%{version} %{buildtime} [%{changelogtime:day} ]' "$work"/version/keymaker-9.8.7-1.*.rpm | sed 's/ *$//')"
}

# --- what is in the files ---

# A file of ours that names a folder of the machine that it was made on tells who made it, and is another one elsewhere.
no_folder_of_the_builder() {
  local folders found
  folders=$(printf '%s\n' "$project" "${CARGO_HOME:-$HOME/.cargo}" "$(rustc --print sysroot)" "${CARGO_TARGET_DIR:-$project/target}" "$(dirname "$built")")
  # Where nothing is said of any source, nothing is shown.
  check "the programs name sources" grep -aqF /cargo/registry/src "$built/keymakerd" "$built/credd" "$built/keymaker"
  found=$(grep -raFc -f <(echo "$folders") "$built" | grep -v ':0$')
  check "and no folder of this machine" same_text "" "$found"
}

symbols_lie_apart() {
  local program id
  for program in $PROGRAMS; do
    id=$(build_id "$built/$program")
    check "$program has a build id" [ ${#id} = 40 ]
    check "its symbols lie where a debugger looks for that id" same_text "$id" "$(build_id "$built/symbols/${id:0:2}/${id:2}.debug")"
    check "with the names of our functions" grep -aqE '(nss_keymaker|pam_keymaker|keymaker_keys|keymakerd|refusal|end_sessions|sudo_rule|start_late|proof|keymaker_keys_of|other_service|pam_account|credd|credd_capture|keymaker)[0-9]' "$built/symbols/${id:0:2}/${id:2}.debug"
    check "and it has none itself" same_text "" "$(readelf -SW "$built/$program" | grep -E '\.(symtab|debug_)')"
  done
}
build_id() { LC_ALL=C readelf -n "$1" | sed -n 's/^ *Build ID: //p'; }

everything_linked_is_named() {
  check "the packages' lists of crates are what cargo says of them" tests/release.py "$built"
  cp -r "$built/third-party" "$work/third-party" && sed -i 's/"name": "tokio"/"name": "another"/' "$work/third-party/keymaker/sbom.cdx.json"
  check "a list that lacks one is found" fails_saying "lacks tokio" tests/release.py "$built" "$work/third-party"
  check "and one that names too much" fails_saying "lacks another" tests/release.py "$built" "$work/third-party"
}

# --- the same bytes ---

packed_twice() {
  check "the packages are made" packed "$work/one/keymaker" "$work/first"
  check "and again: elsewhere, 400 days earlier, by somebody with other settings" packed_otherwise "$work/two/another folder" "$work/second"
  check "they are the same, byte by byte" same_packages "$work/first" "$work/second"
}

packed() {
  copy_sources "$1" && (cd "$1" && BUILT=$built LEVEL=1 debian/make-debs "$2" && BUILT=$built PAYLOAD=w1.gzdio rpm/make-rpms "$2")
}
packed_otherwise() {
  mkdir -p "$work/copy" && cp -a "$built" "$work/copy/built" &&
    # The clock goes wrong, and not what it says of files.
    (umask 077; built=$work/copy/built; export NO_FAKE_STAT=1 SOURCE_DATE_EPOCH=1 TZ=Asia/Tokyo LC_ALL=C
      copy_sources "$1" && chmod -R go= "$1" && cd "$1" &&
        BUILT=$built LEVEL=1 faketime -f -400d debian/make-debs "$2" && BUILT=$built PAYLOAD=w1.gzdio faketime -f -400d rpm/make-rpms "$2")
}
same_packages() {
  local sums; sums=$(cd "$1" && sha256sum *.deb *.rpm) || return
  [ "$(echo "$sums" | wc -l)" = 11 ] || { echo "$sums"; return 1; }
  same_text "$sums" "$(cd "$2" && sha256sum *.deb *.rpm)"
}

# --- the keymaker command by itself ---

for_any_computer() {
  local target archive prefix=$work/prefix version
  target=$(uname -m)-unknown-linux-musl version=$(dist/version)
  check "the command is packed" dist/archive "$built/keymaker" "$target" "$work/archive"
  archive=$work/archive/keymaker-$version-$target.tar.gz
  mkdir -p "$prefix"
  check "it is unpacked as README says" tar -xzf "$archive" -C "$prefix" --strip-components=1
  check "it says its version" same_text "keymaker $version" "$("$prefix/bin/keymaker" --version)"
  check "its page is one" mandoc -T lint -W error "$prefix/share/man/man1/keymaker.1"
  check "completions, licences and the list of crates come along" same_text \
    "LICENSE THIRD-PARTY _keymaker keymaker keymaker keymaker.1 keymaker.fish sbom.cdx.json" \
    "$(find "$prefix" -type f -printf '%f\n' | LC_ALL=C sort | xargs)"
  check "packed again, elsewhere and by somebody with other settings" packed_by_another "$target"
  check "it is the same, byte by byte" cmp "$archive" "$work/archive again/${archive##*/}"
  check "README names that file" grep -qF "/${archive##*/} | tar" README.md
  check "without the licences of others nothing is packed" without_third_party "$target"
  check "cargo binstall asks for a file of that name" same_text "${archive##*/}" "$(basename "$(for_binstall pkg-url "$target")")"
  check "and finds the command in it" grep -qxF "$(for_binstall bin-dir "$target")" <(tar -tzf "$archive")
  check "Homebrew's formula is made of it" eval "dist/formula https://packages.example.com/ '$archive' >'$work/keymaker.rb'"
  check "with its address" grep -qF "url \"https://packages.example.com/${archive##*/}\"" "$work/keymaker.rb"
  check "and its hash" grep -qF "sha256 \"$(sha256sum <"$archive" | cut -d' ' -f1)\"" "$work/keymaker.rb"
  check "of anything else none is made" fails_saying "is no archive of dist/archive" dist/formula https://packages.example.com LICENSE
}
without_third_party() { mkdir -p "$work/bare" && cp "$built/keymaker" "$work/bare/" && fails_saying "dist/third-party $1" dist/archive "$work/bare/keymaker" "$1" "$work/archive"; }
for_binstall() { # FIELD TARGET
  sed -n "s/^$1 = \"\(.*\)\"/\1/p" keymaker-cli/Cargo.toml |
    sed "s/{ version }/$version/g; s/{ target }/$2/g; s/{ bin }/keymaker/; s/{ binary-ext }//"
}
packed_by_another() (umask 077; cp -r "$built" "$work/moved"; TZ=Asia/Tokyo dist/archive "$work/moved/keymaker" "$1" "$work/archive again")

static_build() {
  local tools to
  tools=$(dist/tools) || return
  check "Rust's library for musl is there" rustup target add "$(uname -m)-unknown-linux-musl"
  check "the command is built without the system's libraries" env PATH="$tools:$PATH" dist/build --static
  to=$(dist/build --where --static)
  mkdir -p "$work/empty"
  cp "$to/keymaker" "$work/empty/"
  check "it runs where there is nothing else" same_text "keymaker $(dist/version)" "$(chroot "$work/empty" /keymaker --version)"
  check "and names its crates for a scanner" eval "objdump -h '$to/keymaker' | grep -q dep-v0"
  check "it asks AWS" env KEYMAKER_SANDBOX_BIND="$to:/sandbox/static" ./sandbox --no-install -- sh -c \
    'sandbox-admin /sandbox/static/keymaker list-keys --user alice | grep -q APKA'
  check "no file of it names a folder of this machine" same_text "" "$(grep -aFc -f <(printf '%s\n' "$project" "$HOME" "${CARGO_TARGET_DIR:-$project/target}") "$to/keymaker" | grep -v '^0$')"
}

built_twice() {
  local folder
  for folder in "$work/one/keymaker" "$work/another/folder"; do check "the sources are copied" copy_sources "$folder"; done
  find "$work/another/folder" -type f -exec touch -d '400 days ago' {} +
  check "a portable build" in_folder "$work/one/keymaker" dist/build --portable
  check "and another elsewhere, of files of another date, without the caches of the first" in_folder "$work/another/folder" dist/build --portable
  built=$(in_folder "$work/one/keymaker" dist/build --where --portable)
  check "they are the same, byte by byte" diff -r "$built" "$(in_folder "$work/another/folder" dist/build --where --portable)"
  no_folder_of_the_builder; symbols_lie_apart; everything_linked_is_named; packed_twice
}
in_folder() (cd "$1" && shift && export CARGO_TARGET_DIR="$PWD/target" XDG_CACHE_HOME="$PWD/target/cache" && "$@")

# What git knows, and the changes that are not committed yet.
copy_sources() { mkdir -p "$1" && git ls-files -coz --exclude-standard | xargs -0 cp -a --parents -t "$1" 2>/dev/null; [ -e "$1/Cargo.toml" ]; }
same_text() { [ "$1" = "$2" ] || { diff <(echo "$1") <(echo "$2"); return 1; }; }

main "$@"
