#!/bin/bash
# Prints docs/files.md: of each product file the first sentence of its `//!`. tests/rules.sh compares the two.
#
# usage: tests/index.sh > docs/files.md
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."

echo "# Files"
echo
echo "What each file is responsible for, by its own first sentence. Made by \`tests/index.sh > docs/files.md\`."
git ls-files -co --exclude-standard -- '*/src/*.rs' ':!tests' ':!fuzz' | grep -vE '(^|/)tests(/|\.rs$)' |
  sed -E 's#(.*)/([^/]*)#\1 \2#' | LC_ALL=C sort | while read -r folder name; do
  if [ "$folder" != "${before:-}" ]; then
    printf '\n## %s\n\n' "$folder"
    before=$folder
  fi
  # The leading //! lines up to an empty one, as one line, up to the end of a sentence.
  sentence=$(sed -n '/^\/\/! *[^ ]/!q;s/^\/\/! *//p' "$folder/$name" | tr '\n' ' ' | sed -E 's/([^.]{4}[.?])( .*)?$/\1/;s/ *$//')
  printf -- '- `%s`: %s\n' "$name" "$sentence"
done
