#!/usr/bin/env bash
# Writes the images that the cluster's pods run into FOLDER, as tars for `ctr images import`: images.sh FOLDER
#
#   pause:1            holds a pod's namespaces: the program below
#   mosquitto:debian   the broker of Debian's package, at the places of the official image
#   twinops:VERSION    our binary, static, of Cargo.toml's version
#
# No registry and no container engine is asked.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
folder=${1:?usage: images.sh FOLDER}
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "images: $*" >&2
  exit 1
}

# image NAME CONFIG: an image of one layer, the folder $work/root, in the layout of `docker save`.
# The same files make the same bytes.
image() {
  local name=$1 config=$2 file=$folder/${1##*/}
  file=${file%%:*}.tar
  local same=(--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner)
  tar "${same[@]}" -C "$work/root" -cf "$work/layer.tar" .
  printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$architecture" "$config" "$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)" >"$work/config.json"
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" >"$work/manifest.json"
  tar "${same[@]}" -C "$work" -cf "$file.part" manifest.json config.json layer.tar
  mv "$file.part" "$file"
  rm -r "$work/root"
  echo "images: $name in $file"
}

# copy PROGRAM…: each with the shared libraries it loads, at the same places.
copy() {
  local file
  for file in "$@" $(ldd "$@" | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
    install -D "$file" "$work/root$file"
  done
}

pause() {
  command -v cc >/dev/null || fail "no C compiler: run \`apt-get install gcc libc6-dev\`"
  mkdir "$work/root"
  # As the first process of its name space it would not hear a signal that it does not handle.
  cc -static -Os -s -x c -o "$work/root/pause" - <<'C'
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
C
  image docker.io/library/pause:1 '{"Entrypoint":["/pause"],"User":"65535:65535"}'
}

mosquitto() {
  local program
  for program in mosquitto mosquitto_passwd; do
    type -P "$program" >/dev/null || fail "$program is missing: run \`apt-get install --no-install-recommends mosquitto\`"
  done
  mkdir -p "$work/root"/mosquitto/{config,data,log} "$work/root/tmp"
  copy "$(type -P mosquitto)" "$(type -P mosquitto_passwd)"
  printf 'mosquitto:x:1883:1883::/mosquitto:/sbin/nologin\n' | install -D /dev/stdin "$work/root/etc/passwd"
  printf 'mosquitto:x:1883:\n' | install -D /dev/stdin "$work/root/etc/group"
  image docker.io/library/mosquitto:debian \
    '{"Cmd":["/usr/sbin/mosquitto","-c","/mosquitto/config/mosquitto.conf"],"Env":["PATH=/usr/sbin:/usr/bin"]}'
}

# As the Dockerfile lays it out.
twinops() {
  local version
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -n 1)
  # Under `cargo test` this sees variables of that build, for which ring would build itself and all that uses it again.
  env $(compgen -e | grep -E '^CARGO_(PKG|MANIFEST)_' | sed 's/^/-u /') make -s -C "$repository" static
  install -D "${CARGO_TARGET_DIR:-$repository/target}/$(uname -m)-unknown-linux-gnu/image/twinops" "$work/root/twinops"
  image "docker.io/library/twinops:$version" '{"Entrypoint":["/twinops"],"User":"10001:10001"}'
}

case $(uname -m) in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) fail "no image for $(uname -m)" ;;
esac
pause
mosquitto
twinops
