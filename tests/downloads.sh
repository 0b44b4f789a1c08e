# What `check` and `bench` fetch of others' work, to try Keymaker beside it. Both source this file.

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

# The two Python predecessors, with what they need and with their sources.
predecessors_from_pypi() {
  local into=$1 source
  [ ! -d "$into" ] || return 0
  rm -rf "$into.new"
  python3 -m venv "$into.venv" &&
    "$into.venv/bin/pip" download -q --disable-pip-version-check -d "$into.new" keymaker==1.1.0 &&
    "$into.venv/bin/pip" download -q --disable-pip-version-check -d "$into.new" --no-deps --no-binary :all: keymaker==1.1.0 ec2userkeyd==0.5.0 || return
  for source in "$into.new"/{keymaker,ec2userkeyd}-*.tar.gz; do tar -xzf "$source" -C "$into.new" || return; done
  rm -rf "$into.venv"
  mv "$into.new" "$into"
}
