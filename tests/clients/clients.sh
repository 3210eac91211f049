#!/usr/bin/env bash
# Clients of Ditto written by others, in the versions that the lock files beside this file pin.
#
#   clients.sh path    prints the folder they are in, or will be
#   clients.sh build   installs what is missing; instant when nothing is
#
# The folder lies outside the repository, beside that of tests/tools/tools.sh:
# ${TWINOPS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twinops/tools}/clients-<checksum of the lock files>.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checksum=$(cat "$here/js/package-lock.json" "$here/py/requirements.txt" | cksum | cut -d' ' -f1)
folder=${TWINOPS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twinops/tools}/clients-$checksum

needs() {
  command -v "$1" >/dev/null || { echo "clients: $1 is not installed: run \`apt-get install $2\`" >&2; exit 1; }
}

build() {
  [[ ! -e $folder/ready ]] || { echo "clients: ready in $folder"; return; }
  needs node nodejs
  needs npm npm
  needs python3 python3-venv
  mkdir -p "$folder"
  # Two at once would write over one another; the second waits, then finds everything there.
  if command -v flock >/dev/null; then
    exec 9>"$folder/.lock"
    flock 9
  fi
  [[ ! -e $folder/ready ]] || return 0
  mkdir -p "$folder/js"
  cp "$here/js/package.json" "$here/js/package-lock.json" "$folder/js"
  npm ci --prefix "$folder/js" --no-audit --no-fund --ignore-scripts
  python3 -m venv --clear "$folder/py"
  "$folder/py/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r "$here/py/requirements.txt"
  touch "$folder/ready"
  echo "clients: ready in $folder"
}

case ${1:-} in
  path) echo "$folder" ;;
  build) build ;;
  *) echo "usage: $0 path|build" >&2; exit 2 ;;
esac
