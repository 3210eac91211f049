#!/usr/bin/env bash
# Builds the programs that `bench/run` measures beside ours, in the versions that their lock files pin: operators, and
# what serves an API before Ditto.
#
#   peers.sh path    prints the folder they are in, or will be
#   peers.sh build   builds what is missing; instant when nothing is
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checksum=$(cat "$here"/controller-runtime/{go.sum,main.go} "$here"/{kopf,fastapi}/requirements.txt \
  "$here"/ws/package-lock.json | cksum | cut -d' ' -f1)
folder=${TWINOPS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twinops/tools}/peers-$checksum

needs() {
  command -v "$1" >/dev/null || { echo "peers: $1 is not installed: run \`apt-get install $2\`" >&2; exit 1; }
}

python() { # NAME: a virtual environment of that name, with what its requirements pin
  python3 -m venv --clear "$folder/$1"
  "$folder/$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r "$here/$1/requirements.txt"
}

build() {
  needs nginx nginx
  [[ ! -e $folder/ready ]] || { echo "peers: ready in $folder"; return; }
  needs go golang-go
  needs python3 python3-venv
  needs node nodejs
  needs npm npm
  mkdir -p "$folder"
  echo "peers: building into $folder; once per version, about 5 minutes on 2 cores"
  (cd "$here/controller-runtime" && GOTOOLCHAIN=${GOTOOLCHAIN:-auto} CGO_ENABLED=0 \
    go build -trimpath -ldflags "-s -w" -o "$folder/controller-runtime" .)
  python kopf
  python fastapi
  mkdir -p "$folder/ws"
  cp "$here"/ws/package{,-lock}.json "$folder/ws"
  npm ci --prefix "$folder/ws" --no-audit --no-fund --ignore-scripts
  # The bridge in Python runs with the packages of the tests' clients.
  "$here/../../tests/clients/clients.sh" build
  touch "$folder/ready"
  echo "peers: ready in $folder"
}

case ${1:-} in
  path) echo "$folder" ;;
  build) build ;;
  *) echo "usage: $0 path|build" >&2; exit 2 ;;
esac
