# Packages of Debian that no host has: check and bench source this.

# Unpacks packages of Debian 12, without what they depend on, into a folder.
from_debian() {
  local into=$1 deb; shift
  download_from_debian bookworm "$into.debs" "$@" || return
  for deb in "$into.debs"/*.deb; do dpkg-deb -x "$deb" "$into" || return; done
  rm -rf "$into.debs"
}

download_from_debian() {
  local release=$1 into=$2; shift 2
  mkdir -p "$into" "$into.apt"/{lists/partial,archives/partial} || return
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $release main" >"$into.apt/sources"
  local apt=(apt-get -q -o "Dir::Etc::SourceList=$into.apt/sources" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$into.apt/lists"
    -o "Dir::Cache=$into.apt")
  "${apt[@]}" update && (cd "$into" && "${apt[@]}" download "$@") && rm -rf "$into.apt"
}
