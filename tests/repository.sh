#!/bin/bash
# A stranger's host: nothing of ours on it but what a web server gives, in place of which somebody may stand. The commands are README's, word
# for word, and after them alice logs in.
#
# usage: tests/repository.sh make BUILT OUTDIR    on the machine of the checkout: packages of what dist/build printed, dist/sign's
#                                                 repositories by a key made for it, and by another, OUTDIR/right and OUTDIR/another
#        tests/repository.sh try OUTDIR           as root in a sandbox: KEYMAKER_SANDBOX_BIND=OUTDIR:/sandbox/repository ./sandbox
#                                                 [--suite el] --no-packages -- /sandbox/project/tests/repository.sh try /sandbox/repository
set -u
here=$(dirname "$(realpath "$0")")
URL=https://packages.example.com
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}" keymaker-repository.XXXXXX)
trap 'rm -rf "$work"; [ -z "${server:-}" ] || kill "$server"' EXIT
. "$here/packaging/host.sh"
. "$here/packaging/el-system.sh"
. "$here/packaging/table.sh"
. "$here/packaging/debs.sh"

main() {
  case ${1:-} in
    make) make_repositories "$2" "$3" ;;
    try) try_on_a_host "$2" ;;
    *) sed -n '5,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}

# --- make ---

make_repositories() {
  local built=$1 out=$2 key another
  export GNUPGHOME=$work/gpg; mkdir -m 700 "$GNUPGHOME"
  rm -rf "$out"; mkdir -p "$work/packages"
  check "debian/make-debs packs" env BUILT="$built" LEVEL=1 "$here/../debian/make-debs" "$work/packages"
  check "rpm/make-rpms packs" env BUILT="$built" PAYLOAD=w1.gzdio "$here/../rpm/make-rpms" "$work/packages"
  key=$(make_key right rsa3072) another=$(make_key another rsa3072)
  check "no repository is made with a key that rpm of Enterprise Linux 8 cannot read" refused "is no RSA key" "$(make_key short rsa2048)" $URL
  check "nor with an elliptic one" refused "is no RSA key" "$(make_key elliptic ed25519)" $URL
  check "nor with one that is not there" refused "gpg has no secret key" 0123456789ABCDEF0123456789ABCDEF01234567 $URL
  check "nor for a server without TLS" refused "does not begin with https" "$key" http://packages.example.com
  check "repositories are made and signed" sign "$key" "$out/right"
  check "over what is there nothing is made" refused_into "$out/right" "is there already" "$key" $URL
  check "and by somebody else, with a key of their own" sign "$another" "$out/another"
  check "the sums are signed" gpg --batch --verify "$out/right/SHA256SUMS.asc" "$out/right/SHA256SUMS"
  check "and are those of the files" sums_are_right "$out/right"
  check "each package is among them" same_text 11 "$(grep -cE '\.(deb|rpm)$' "$out/right/SHA256SUMS")"
  check "README's way to see the fingerprint shows it" same_text "$key" "$(readmes_way_to_see_it "$out/right/keymaker.sources")"
  check "and so do the notes" grep -qF "$key" "$out/right/NOTES.md"
  check "a signed rpm holds what was packed" same_text "$(in_rpms "$work/packages")" "$(in_rpms "$out/right/rpm")"
  chmod -R a+rX "$out"
  gpgconf --kill all
}

make_key() {
  gpg --batch --quiet --passphrase '' --quick-generate-key "$1 <$1@example.com>" "$2" sign never 2>/dev/null &&
    gpg --batch --with-colons --list-secret-keys "$1@example.com" | awk -F: '$1 == "fpr" { print $10; exit }'
}
sign() { "$here/../dist/sign" "$1" "$URL" "$work/packages" "$2"; }
refused() { refused_into "$work/refused" "$@"; }
refused_into() {
  if "$here/../dist/sign" "$3" "$4" "$work/packages" "$1" >"$work/said" 2>&1; then return 1; fi
  cat "$work/said"; grep -qF -- "$2" "$work/said"
}
sums_are_right() { (cd "$1" && sha256sum --quiet -c SHA256SUMS); }
readmes_way_to_see_it() {
  local line
  line=$(sed -nE 's/.*`(sed .* \| gpg --show-keys)`.*/\1/p' "$here/../README.md") && [ -n "$line" ] || return
  bash -c "${line//\/etc\/apt\/sources.list.d\/keymaker.sources/"$1"}" | grep -oE '[0-9A-F]{40}'
}
in_rpms() { rpm -qp --qf '%{name} %{sha256header} %{payloaddigest}\n' "$1"/*.rpm; }

# --- try ---

try_on_a_host() {
  repository=$1
  [ -d /run/systemd/system ] && ! getent passwd keymakerd >/dev/null || { echo "repository.sh: runs in a sandbox without our packages" >&2; exit 2; }
  # The sandbox brings a configuration of its own.
  rm -rf /etc/keymaker
  make_local_user
  before=$(configuration)
  settings
  check "a web server begins" serve
  row=$(. /etc/os-release && echo "${NAME%% *} ${VERSION_ID:-}, signed repository") rows=("$row")
  if command -v apt-get >/dev/null && ! command -v dnf >/dev/null; then
    debs=$repository/right/apt/pool/main
    cell install installed by_apt
    cell login alice_logs_in
    cell credentials credentials
    cell upgrade upgraded_by_apt
    cell erase purged_by_apt
    table
  else
    installed by_dnf
    check "alice logs in" logs_in alice
    check "doctor finds nothing" keymaker doctor
  fi
}

installed() {
  "$1"
  check "an IAM user exists" within "getent passwd alice"
  host_works "then"
  check "what is linked is said beside each package" says_what_is_linked
}

# packages.example.com is this host; what it gives is what the link $work/www leads to.
serve() {
  chmod 755 "$work"
  openssl req -quiet -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=packages.example.com \
    -addext subjectAltName=DNS:packages.example.com -keyout "$work/tls.key" -out "$work/tls.crt" 2>&1 ||
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=packages.example.com \
      -addext subjectAltName=DNS:packages.example.com -keyout "$work/tls.key" -out "$work/tls.crt" || return
  cp "$work/tls.crt" /usr/local/share/ca-certificates/packages.crt && update-ca-certificates || return
  echo "127.0.0.1 packages.example.com" >>/etc/hosts
  give right
  cat >"$work/server.py" <<'PYTHON'
import functools, http.server, ssl, sys
# As real servers do: a client need not take the end of the connection for that of the file.
http.server.SimpleHTTPRequestHandler.protocol_version = "HTTP/1.1"
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1] + "/www")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/tls.crt", sys.argv[1] + "/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
PYTHON
  python3 "$work/server.py" "$work" >"$work/server.log" 2>&1 & server=$!
  within "curl -fsS -o /dev/null $URL/keymaker.asc"
}
give() { ln -sfn "$repository/$1" "$work/www"; }
# A copy of the right one, in which a command changes something.
give_changed() {
  rm -rf "$work/changed" && cp -r "$repository/right" "$work/changed" && (cd "$work/changed" && "$@") && ln -sfn "$work/changed" "$work/www"
}

# Of the same length.
last_bytes() { local file; for file in "$1"/*."$2"; do truncate -s -1 "$file" && printf x >>"$file" || return; done; }

by_apt() {
  # Only what README says, and no question: apt would ask whether more packages are welcome.
  rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
  echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/90yes
  export DEBIAN_FRONTEND=noninteractive
  readme keymaker.sources apt
  local wrong='Hash Sum mismatch|unexpected size|Hashes of'
  check "README's first command" bash -euc "${commands[0]}"
  check "nothing is installed from somebody with another key" nothing_from 'NO_PUBKEY|Missing key|is not signed' give another
  check "nor by lists that somebody has changed" nothing_from "$wrong" give_changed sh -c 'sed -i "s/^Version: .*/Version: 99/" apt/dists/stable/main/*/Packages && gzip -9nkf apt/dists/stable/main/*/Packages'
  check "nor a package that somebody has changed" nothing_from "$wrong" give_changed last_bytes apt/pool/main deb
  give right
  check "README's second command" bash -euc "${commands[1]}"
}

credentials() {
  check "keymaker-credd comes from there, too" apt-get install -q keymaker-credd
  users_have_credentials
}

by_dnf() {
  mkdir -p /etc/yum.repos.d /etc/dnf/vars
  echo 9 >/etc/dnf/vars/releasever
  printf '[main]\nassumeyes=True\nmodule_platform_id=platform:el9\n' >/etc/dnf/dnf.conf
  make_system 2.99 && check "the system of this host is installed" rpm -i "$work"/system-2.99/*/*.rpm
  readme keymaker.repo dnf
  local wrong='[Cc]hecksum'
  check "README's first command" bash -euc "${commands[0]}"
  check "nothing is installed from somebody with another key" nothing_from 'GPG signature verification error|Signing key not found' as_right_but_the_rest another
  check "nor by lists that somebody has changed" nothing_from "$wrong" give_changed sh -c 'for list in rpm/repodata/*primary.xml.gz; do echo >>"$list"; done'
  check "nor a package that somebody has changed" nothing_from "$wrong" give_changed last_bytes rpm rpm
  give right
  check "README's second command" bash -euc "${commands[1]}"
  check "authselect's one step, which dnf names" keymaker install
}

# The key that was asked for is the right one: somebody stands in the server's place from now on.
as_right_but_the_rest() { give_changed sh -c 'rm -rf rpm && cp -r "$1/rpm" .' _ "$repository/$1"; }

# Sets commands to the two that README prints for root: the one that fetches this file, and the one of this program.
readme() {
  mapfile -t commands < <(sed -n '/^## Install/,/^## /p' "$here/../README.md" | sed -nE "s/^# ((curl .*$1|$2 )[^#]*)$/\1/p")
  check "README has two commands" same_text 2 "${#commands[@]}"
}

# nothing_from WORDS COMMAND…: README's second command fails after this, saying one of the words, and nothing is there.
nothing_from() {
  local words=$1 status=0; shift
  "$@" || { echo "cannot give that"; return 1; }
  bash -euc "${commands[1]}" >"$work/refusal" 2>&1 || status=$?
  cat "$work/refusal"
  [ $status != 0 ] && grep -qE "$words" "$work/refusal" || return
  command -v dnf >/dev/null && dnf clean all
  ! command -v keymaker keymakerd
}

within() { timeout 20 sh -c "until $1; do sleep 0.1; done"; }

says_what_is_linked() {
  local package found
  for package in libnss-keymaker libpam-keymaker keymaker keymaker-cli; do
    found=$(find /usr/share/doc/$package /usr/share/licenses/$package -name 'THIRD-PARTY*' -o -name 'sbom.cdx.json*' 2>/dev/null | wc -l)
    [ "$found" = 2 ] || { echo "$package: $found files"; return 1; }
  done
}

main "$@"
