#!/usr/bin/env bash
# The Kubernetes programs the tests run, built from the Go modules that go.mod beside this file pins,
# and the one in coredns/.
#
#   tools.sh path    prints the folder the tools are in, or will be
#   tools.sh build   builds those that are missing; instant when none is
#
# The folder lies outside the repository, so that it outlives `cargo clean` and serves every clone:
# ${TWINOPS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twinops/tools}/<versions>.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The version that go.mod, or the one of a folder beside it, pins for a module, without its `v`.
version() {
  sed -n "s|^\(require\)\{0,1\}[[:space:]]*$1 v\([^ ]*\).*|\2|p" "$here/${2:-.}/go.mod"
}

kubernetes=$(version k8s.io/kubernetes)
etcd=$(version go.etcd.io/etcd/server/v3)
helm=$(version helm.sh/helm/v4)
coredns=$(version github.com/coredns/coredns coredns)
folder=${TWINOPS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twinops/tools}/kubernetes-$kubernetes-etcd-$etcd-helm-$helm-coredns-$coredns

# Quickest first: a mistake in the set-up shows within a minute.
tools=(etcd kubectl helm kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet coredns)

# CoreDNS wants other versions of the modules that it shares with Kubernetes, so it has a go.mod of its own.
module() {
  case $1 in
    coredns) echo "$here/coredns" ;;
    *) echo "$here" ;;
  esac
}

package() {
  case $1 in
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    helm) echo helm.sh/helm/v4/cmd/helm ;;
    coredns) echo . ;;
    *) echo "k8s.io/kubernetes/cmd/$1" ;;
  esac
}

# Outside their own repositories these programs do not know their version: kubectl then refuses to
# compare itself with the server, and the server reports v0.0.0.
flags() {
  local minor=${kubernetes#*.} at
  echo -n "-s -w -X helm.sh/helm/v4/internal/version.version=v$helm"
  for at in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    echo -n " -X $at.gitVersion=v$kubernetes -X $at.gitMajor=${kubernetes%%.*} -X $at.gitMinor=${minor%%.*} -X $at.gitTreeState=clean"
  done
}

missing() {
  local tool
  for tool in "${tools[@]}"; do
    [[ -x $folder/$tool ]] || echo "$tool"
  done
}

build() {
  [[ -n $(missing) ]] || { echo "tools: ready in $folder"; return; }
  command -v go >/dev/null || {
    echo "tools: go is not installed: run \`apt-get install golang-go\`, or take it from https://go.dev/dl" >&2
    exit 1
  }
  mkdir -p "$folder"
  # Two builds at once would do the same work twice; the second waits, then finds everything built.
  if command -v flock >/dev/null; then
    exec 9>"$folder/.lock"
    flock -n 9 || { echo "tools: another build is running, waiting for it"; flock 9; }
  fi
  echo "tools: building into $folder; once per version, 10 to 20 minutes on 2 cores"
  local tool part
  for tool in $(missing); do
    echo "tools: building $tool"
    SECONDS=0
    part=$folder/.$tool.part
    # Debian's go forbids itself to fetch the toolchain that go.mod asks for; `auto` allows it.
    (cd "$(module "$tool")" && GOTOOLCHAIN=${GOTOOLCHAIN:-auto} CGO_ENABLED=0 \
      go build -trimpath -ldflags "$(flags)" -o "$part" "$(package "$tool")")
    # Renamed when whole: a build that is killed leaves no half tool.
    mv "$part" "$folder/$tool"
    echo "tools: built $tool in $SECONDS s"
  done
  echo "tools: ready in $folder"
}

case ${1:-} in
  path) echo "$folder" ;;
  build) build ;;
  *) sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
