#!/usr/bin/env bash
# Clients of Ditto written by others, in the versions that the lock files beside this file pin.
#
#   clients.sh path    prints the folder they are in, or will be
#   clients.sh build   installs what is missing; instant when nothing is
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../tools/once.sh"
folder_of clients "$here/js/package-lock.json" "$here/py/requirements.txt"

install() {
  needs node nodejs
  needs npm npm
  mkdir -p "$folder/js"
  cp "$here/js/package.json" "$here/js/package-lock.json" "$folder/js"
  npm ci --prefix "$folder/js" --no-audit --no-fund --ignore-scripts
  python "$here/py/requirements.txt"
}

main "$@"
