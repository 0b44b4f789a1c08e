#!/bin/bash
# Rules of the project that no compiler knows. Each prints what breaks it.
set -u
cd "$(dirname "$(realpath "$0")")/.."
passed=0 failed=0

# rule SENTENCE COMMAND…: the command prints what breaks the rule, or nothing.
rule() {
  local sentence=$1 broken; shift
  broken=$("$@")
  if [ -z "$broken" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); printf 'broken: %s\n%s\n' "$sentence" "$broken"; fi
}

product() { git ls-files -co --exclude-standard -- '*.rs' ':!tests' ':!fuzz'; }

unsafe_elsewhere() {
  product | grep -vE '^(keymaker-core/src/sys|nss_keymaker/src/abi|pam_keymaker/src/abi)(\.rs|/)' |
    xargs grep -nE '(allow|expect)\((.*, *)?unsafe_code|^[^/]*\bunsafe (\{|fn|impl)' /dev/null
}
aborting_profile() { git ls-files '*Cargo.toml' | xargs grep -nE '^ *panic *= *"abort"' /dev/null; }
# A module lies beside its folder: facts.rs, facts/users.rs.
module_within_its_folder() { product | grep '/src/.*/mod\.rs$'; }
without_opening_words() { product | while read -r file; do head -n 1 "$file" | grep -q '^//!' || echo "$file"; done; }
merged_by_halves() { git ls-files -co --exclude-standard | xargs -d '\n' grep -nIE '^(<<<<<<< |>>>>>>> |=======$)' /dev/null; }
peer_reports_that_differ() {
  diff <(sed -n 's/^| \[.*| \(.*\) |$/\1/p' docs/peer-reports.md | sed 's/; /\n/g' | sort -u) \
    <(grep -oE '^ *check "[^"]*' tests/peer-reports.sh | sed 's/^ *check "//' | sort -u)
}
unfinished() { product | xargs grep -nE 'todo!\(|unimplemented!\(|FIXME|XXX|#\[ignore' /dev/null; }
# Each of these facts drifted while it had two readers, and one drift gave out credentials that an administrator had denied.
asks_aws_by_itself() {
  product | grep -v '^keymaker-aws/' | xargs grep -nE 'into_paginator|aws_sdk_(iam|sts)::Client::new\(|\.assume_role\(\)|get_caller_identity\(\)|\.uri\("/latest/' /dev/null
}
reads_the_description_by_itself() {
  product | grep -vE '^keymaker-syntax/src/role_description.rs|tests\.rs$' |
    xargs grep -nE '"keymaker_(id_resolver_account|id_resolver_iam_role|require_iam_group|linux_user_suffix|linux_group_prefix)"' /dev/null
}
# Their lines are read by keymaker-core's local_files, which has been compared with glibc.
reads_local_accounts_by_itself() {
  local file
  product | grep -vE '^keymaker-core/src/paths.rs|/tests/|tests\.rs$' | while read -r file; do
    # What stands below `mod tests` is for tests.
    sed '/^mod tests/q' "$file" | grep -nE '"/etc/(passwd|group)"' | sed "s|^|$file:|"
    ! grep -qE 'paths::(PASSWD|GROUP)' "$file" || grep -nE "split(n|_once)?\(.*':'" "$file" | sed "s|^|$file:|"
  done
}
# On Enterprise Linux sshd's unit does not look at the file before, and one with a mistake ends sshd.
reloads_sshd_untested() { product | xargs grep -nE 'systemctl reload ssh' /dev/null | grep -vE 'sshd -t &&|// '; }
# systemd before 244 (Enterprise Linux 8) does not load it.
oneshot_that_restarts() { grep -l '^Type=oneshot' dist/systemd/*.service | xargs grep -n '^Restart=' /dev/null; }
# What is handed to a shell is read a second time, by other rules (SSSD, CVE-2021-3621).
starts_a_shell() { product | grep '/src/' | xargs grep -nE '(Command::new|run)\("(/usr)?(/bin/)?(ba|da)?sh"' /dev/null; }
program_imports_program() {
  git ls-files -co --exclude-standard -- '*/Cargo.toml' ':!tests' ':!fuzz' |
    xargs grep -nE '^(nss_keymaker|pam_keymaker|keymaker-keys|keymakerd|credd|credd-capture|keymaker-cli)[ .=].*(path|workspace)' /dev/null
}
module_dependencies() {
  local crate dependency
  for crate in keymaker-core nss_keymaker pam_keymaker keymaker-keys; do
    sed -n '/^\[dependencies\]/,/^\[/p' $crate/Cargo.toml | grep -oE '^[a-z][a-z0-9_-]*' |
      grep -vxE 'keymaker-core|libc|pam-bindings' | sed "s/^/$crate depends on /"
  done
}
# What a program or a library links, from any depth, that it must not.
forbidden_dependencies() {
  linked credd-capture '^(hyper|aws-|tokio)'
  linked session-policy '^(libc|tokio|hyper|aws-)'
}
linked() {
  local tree
  tree=$(env -u CARGO_RESOLVER_FEATURE_UNIFICATION cargo tree -q --locked -p "$1" -e normal --prefix none) || echo "cargo cannot tell what $1 links"
  grep -E "$2" <<<"$tree" | sed "s/^/$1 links /" | sort -u
}
# SECURITY.md has a line «| P7 | … | `test_name`, … |» for each promise; each named test exists and carries the promise's number.
promises_without_tests() {
  local number tests test file
  for number in $(sed -n 's/^| P\([0-9]*\) |.*/\1/p' SECURITY.md); do
    tests=$(grep -E "^\| P$number \|" SECURITY.md | cut -d'|' -f4 | grep -oE '`[a-z0-9_]+_[a-z0-9_]+`' | tr -d '`')
    [ -n "$tests" ] || { echo "P$number has no test in SECURITY.md"; continue; }
    for test in $tests; do
      file=$(git ls-files -co --exclude-standard -- '*.rs' '*.sh' '*.py' | xargs grep -lE "(fn|def) $test\b|^$test\(\)" 2>/dev/null | head -n 1)
      [ -n "$file" ] || { echo "P$number names $test, which does not exist"; continue; }
      grep -B 4 -E "(fn|def) $test\b|^$test\(\)" "$file" | grep -qE "(//|#) .*\bP$number\b" || echo "$file: $test lacks its mark P$number"
    done
  done
}

# The columns "test" of these tables.
tests_that_are_not_there() {
  local table column test
  while read -r table column; do
    for test in $(cut -s -d'|' -f"$column" "$table" | grep -oE '`[a-z0-9_]+`' | tr -d '`' | sort -u); do
      git ls-files -co --exclude-standard -- '*.rs' '*.sh' '*.py' | xargs grep -qE "(fn|def) $test\b|^$test\(\)" || echo "$test is in $table and nowhere else"
    done
  done <<'END'
docs/past-vulnerabilities.md 4
docs/attacks/broken-on-purpose.md 5
docs/day-two.md 5
END
}

# tests/settings.md has a table for each settings file, «| key | … | `test`, … |»: its keys are the fields of that daemon's Config, and each
# test exists in a file that sets the key.
settings_without_tests() {
  local daemon config key keys row tests test files
  for daemon in keymakerd credd; do
    config=$(ls $daemon*/src/config.rs)
    # What is not read from the file is no key.
    keys=$(sed '/#\[serde(skip)\]/{N;d}' "$config" | sed -n '/^pub struct \(Keymakerd\)\{0,1\}Config {/,/^}/s/^    \(pub \)\{0,1\}\([a-z0-9_]*\): .*/\2/p')
    [ -n "$keys" ] || echo "$config: no keys are found in it"
    rows=$(sed -n "/^## $daemon.toml/,/^## [^$daemon]/p" tests/settings.md | grep -E '^\| [a-z0-9_]+ \|' | grep -v '^| key |')
    comm -3 <(sort <<<"$keys") <(cut -d' ' -f2 <<<"$rows" | sort) | tr -d '\t' | sed "s/^/tests\/settings.md and ${config//\//\\/} differ in /"
    while read -r row; do
      key=$(cut -d' ' -f2 <<<"$row"); tests=$(cut -d'|' -f4 <<<"$row" | grep -oE '`[a-z0-9_]+`' | tr -d '`')
      [ -n "$tests" ] || echo "tests/settings.md: $key of $daemon.toml names no test"
      for test in $tests; do
        files=$(git ls-files -co --exclude-standard -- "$daemon*/*.rs" 'tests/*.rs' | xargs grep -lE "fn $test\b")
        [ -n "$files" ] || { echo "tests/settings.md: $key of $daemon.toml names $test, which does not exist"; continue; }
        xargs grep -qE "(\b|\\\\n)$key\b" <<<"$files" || echo "tests/settings.md: $test never sets $key of $daemon.toml"
      done
    done <<<"$rows"
  done
}

# Files that only tests compile may name things as they like.
types_of_one_name() {
  local types
  types=$(product | grep -vE '/tests(/|\.rs$)|/(test_host|canned[a-z_]*|crashes|fake)\.rs$' |
    xargs grep -oE '^(pub(\([a-z ]*\))? )?(struct|enum|union|trait) [A-Za-z0-9_]+' /dev/null | sed -E 's/^([^:]*):.* ([A-Za-z0-9_]+)$/\2 is in \1/' | sort)
  join <(cut -d' ' -f1 <<<"$types" | uniq -d) <(echo "$types")
}
circles_of_imports() { python3 tests/cycles.py 2>&1; }

# A reader finds each file by its own first sentence.
stale_index() { tests/index.sh | diff docs/files.md - | grep '^[<>]' | sed 's|$|   (tests/index.sh > docs/files.md)|'; }

# So does a reader of a picture: the drawing is text, and readable in a terminal.
stale_picture() { tests/picture.py | cmp -s - docs/planes.svg || echo "docs/planes.svg   (tests/picture.py > docs/planes.svg)"; }

# Whoever knows no more than the name of the project looks for it by apropos(1), which reads the NAME of each page.
incomplete_manual_pages() {
  local folder page found
  folder=$(mktemp -d)
  for page in docs/man/*.[1-8]; do
    mkdir -p "$folder/man${page##*.}"; cp "$page" "$folder/man${page##*.}"
    grep -qE '^\.TH [A-Z_.\\-]+ [1-8] +"?20[0-9]{2}-[0-9]{2}-[0-9]{2}"? ' "$page" || echo "$page: the title in capitals, and a date, are not in .TH"
    grep -q '^\.SH EXAMPLES$' "$page" || echo "$page: no EXAMPLES"
    ! command -v lexgrog > /dev/null || lexgrog "$page" > /dev/null || echo "$page: lexgrog(1) finds no NAME"
  done
  makewhatis "$folder" 2>&1
  found=$(mapropos -M "$folder" keymaker)
  for page in docs/man/*.[1-8]; do
    page=${page##*/}
    grep -qE "(^|, )${page%.*}(, .*)?\(" <<< "$found" || echo "$page: apropos keymaker does not find it"
  done
  rm -r "$folder"
}

rule "unsafe code stands in three places only" unsafe_elsewhere
rule "no profile aborts on a panic: it would kill sshd" aborting_profile
rule "every file opens by saying what it is responsible for" without_opening_words
rule "a module lies beside the folder of its children" module_within_its_folder
rule "nothing is left unfinished in the tree" unfinished
rule "no conflict of a merge is left in the tree" merged_by_halves
rule "IAM is listed, roles are assumed, callers named and the metadata service asked by keymaker-aws only" asks_aws_by_itself
rule "the words of the role's description are read in one place" reads_the_description_by_itself
rule "the lines of /etc/passwd and /etc/group are read in one place" reads_local_accounts_by_itself
rule "no program starts a shell" starts_a_shell
rule "a remedy that reloads sshd tests its configuration before" reloads_sshd_untested
rule "no unit asks for more than the systemd of Enterprise Linux 8 has" oneshot_that_restarts
rule "no program imports a program" program_imports_program
rule "what is loaded into other programs depends on libc and a PAM binding only" module_dependencies
rule "credd-capture links no client of AWS, HTTP server or runtime, and session policies not even libc" forbidden_dependencies
rule "every promise has a test that carries its number" promises_without_tests
rule "docs/peer-reports.md names each check of tests/peer-reports.sh, and no other" peer_reports_that_differ
rule "what docs/past-vulnerabilities.md, docs/attacks/broken-on-purpose.md and docs/day-two.md name as a test is one" tests_that_are_not_there
rule "every key of both settings files has a test of what it does" settings_without_tests
rule "no two types have one name" types_of_one_name
rule "no file imports itself, by however many others" circles_of_imports
rule "docs/files.md says of each file what the file says" stale_index
rule "docs/planes.svg shows the drawing of ARCHITECTURE.md" stale_picture
rule "every manual page has a title, a date and examples, and apropos finds it" incomplete_manual_pages
echo "$passed passed, $failed failed"
[ $failed = 0 ]
