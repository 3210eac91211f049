#!/usr/bin/env bash
# What others use to check charts, manifests and workflows, in the versions that the lock files beside this file pin.
#
#   checkers.sh path    prints the folder they are in, or will be
#   checkers.sh build   installs what is missing; instant when nothing is
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../tools/once.sh"
folder_of checkers "$here/go.sum" "$here/requirements.txt"

# Each as the folder of its program in its module.
programs=(github.com/rhysd/actionlint/cmd/actionlint github.com/yannh/kubeconform/cmd/kubeconform github.com/zegl/kube-score/cmd/kube-score)

install() {
  needs go golang-go
  local program
  for program in "${programs[@]}"; do
    echo "checkers: building ${program##*/}"
    (cd "$here" && GOTOOLCHAIN=${GOTOOLCHAIN:-auto} CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$folder/${program##*/}" "$program")
  done
  python "$here/requirements.txt"
}

main "$@"
