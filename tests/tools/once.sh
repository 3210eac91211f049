# Sourced by the scripts that install programs of others once per version; they define `install`.
#
#   folder_of NAME FILE…    where NAME goes, by the checksum of its lock files
#   needs PROGRAM PACKAGE   ends with the command that installs it when it is missing
#   python LOCK             a virtual environment in $folder/py with what LOCK pins
#   main path|build         prints $folder, or fills it with `install`; instant when nothing is missing
#
# The folder lies outside the repository, beside that of tools.sh:
# ${TWINOPS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twinops/tools}/NAME-<checksum>.
# shellcheck shell=bash

folder_of() {
  name=$1
  shift
  folder=${TWINOPS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twinops/tools}/$name-$(cat "$@" | cksum | cut -d' ' -f1)
}

needs() {
  command -v "$1" >/dev/null || { echo "$name: $1 is not installed: run \`apt-get install $2\`" >&2; exit 1; }
}

python() {
  needs python3 python3-venv
  python3 -m venv --clear "$folder/py"
  "$folder/py/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$1"
}

build() {
  [[ ! -e $folder/ready ]] || { echo "$name: ready in $folder"; return; }
  mkdir -p "$folder"
  # Two at once would write over one another; the second waits, then finds everything there.
  if command -v flock >/dev/null; then
    exec 9>"$folder/.lock"
    flock 9
  fi
  [[ ! -e $folder/ready ]] || return 0
  install
  touch "$folder/ready"
  echo "$name: ready in $folder"
}

main() {
  case ${1:-} in
    path) echo "$folder" ;;
    build) build ;;
    *) echo "usage: $0 path|build" >&2; exit 2 ;;
  esac
}
