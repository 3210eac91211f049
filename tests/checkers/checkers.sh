#!/usr/bin/env bash
# What others use to check charts, manifests and workflows, in the versions that the lock files beside this file pin.
#
#   checkers.sh path    prints the folder they are in, or will be
#   checkers.sh build   installs what is missing; instant when nothing is
#
# The folder lies outside the repository, beside that of tests/tools/tools.sh:
# ${TWINOPS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twinops/tools}/checkers-<checksum of the lock files>.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checksum=$(cat "$here/go.sum" "$here/requirements.txt" | cksum | cut -d' ' -f1)
folder=${TWINOPS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twinops/tools}/checkers-$checksum

# Each as the folder of its program in its module.
programs=(github.com/rhysd/actionlint/cmd/actionlint github.com/yannh/kubeconform/cmd/kubeconform github.com/zegl/kube-score/cmd/kube-score)

needs() {
  command -v "$1" >/dev/null || { echo "checkers: $1 is not installed: run \`apt-get install $2\`" >&2; exit 1; }
}

build() {
  [[ ! -e $folder/ready ]] || { echo "checkers: ready in $folder"; return; }
  needs go golang-go
  needs python3 python3-venv
  mkdir -p "$folder"
  # Two at once would write over one another; the second waits, then finds everything there.
  if command -v flock >/dev/null; then
    exec 9>"$folder/.lock"
    flock 9
  fi
  [[ ! -e $folder/ready ]] || return 0
  local program
  for program in "${programs[@]}"; do
    echo "checkers: building ${program##*/}"
    (cd "$here" && GOTOOLCHAIN=${GOTOOLCHAIN:-auto} CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$folder/${program##*/}" "$program")
  done
  python3 -m venv --clear "$folder/py"
  "$folder/py/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r "$here/requirements.txt"
  touch "$folder/ready"
  echo "checkers: ready in $folder"
}

case ${1:-} in
  path) echo "$folder" ;;
  build) build ;;
  *) echo "usage: $0 path|build" >&2; exit 2 ;;
esac
