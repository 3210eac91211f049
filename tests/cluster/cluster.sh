#!/usr/bin/env bash
# A real Kubernetes of one node on this machine, without a container engine: for tests and for a look.
#
#   cluster.sh run [COMMAND…]     starts it, runs COMMAND in it (a shell unless told), ends it
#   cluster.sh enter [COMMAND…]   runs COMMAND in a cluster that runs
#
# The cluster lives in network, mount, process and host name spaces of its own: its addresses, bridges, packet
# rules and mounts are unseen outside, two clusters do not meet, and the kernel ends all of it with its
# first process, however that ends. Files and control groups outlive a kill; the next run removes them.
#
# The images TWINOPS_CLUSTER_IMAGES (a folder of tars, see images.sh) are imported.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${CARGO_TARGET_DIR:-$here/../../target}
mkdir -p "$root/tmp"
root=$(cd "$root/tmp" && pwd)

fail() {
  echo "cluster: $*" >&2
  exit 1
}

# Every program that is needed and not built by `make tools`, with the Debian package that has it.
needs=(unshare:util-linux nsenter:util-linux setpriv:util-linux pgrep:procps mount:mount ip:iproute2 nft:nftables containerd:containerd
  ctr:containerd runc:runc curl:curl)

check() {
  local need packages=()
  [[ $(id -u) == 0 ]] || fail "only root may start a node: run it with sudo"
  for need in "${needs[@]}"; do
    command -v "${need%%:*}" >/dev/null || packages+=("${need##*:}")
  done
  [[ -n $(plugins) ]] || packages+=(containernetworking-plugins)
  [[ ${#packages[@]} == 0 ]] || fail "run \`apt-get install --no-install-recommends ${packages[*]}\`"
  for need in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet coredns kubectl; do
    [[ -x $tools/$need ]] || fail "$need is not built: run \`make tools\` (looked in $tools)"
  done
  for need in "$root" "$tools"; do
    case $need in
      /var/lib/* | /var/log/* | /run/*) fail "$need lies where the node has folders of its own: use another place" ;;
    esac
  done
}

# Where the CNI plugins are: Debian's place, then everybody else's.
plugins() {
  local folder
  for folder in /usr/lib/cni /opt/cni/bin; do
    [[ -x $folder/ptp && -x $folder/host-local ]] || continue
    echo "$folder"
    return
  done
}

# The folders that are one control group: one for each controller under version 1, one for all under version 2.
groups_named() {
  find /sys/fs/cgroup -maxdepth 2 -type d -name "$1"
}

remove_groups() {
  local group
  # A process that was killed leaves its group a moment later.
  for _ in {1..50}; do
    for group in $(groups_named "$1"); do
      find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    [[ -n $(groups_named "$1") ]] || return 0
    sleep 0.1
  done
  echo "cluster: the control group $1 is still in use" >&2
}

# What runs that were killed have left.
sweep() {
  local left id
  for left in "$root"/node-*; do
    id=${left##*-}
    [[ -d $left && ! -d /proc/$id ]] || continue
    remove_groups "twinops-$id"
    rm -rf "$left"
  done
}

run() {
  check
  sweep
  local folder=$root/node-$$ group=twinops-$$ at status=0
  mkdir -p "$folder"
  for at in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    # A controller's own folder, and no folder of a group.
    [[ $(stat -f -c %T "$at") == cgroup* && ( $at == /sys/fs/cgroup || $(stat -f -c %T /sys/fs/cgroup) != cgroup2fs ) ]] || continue
    mkdir -p "${at%/}/$group" || fail "control groups cannot be made in $at"
  done
  # The namespaces end with `unshare`, and that with this shell.
  local inside=(setpriv --pdeathsig KILL -- unshare --mount --net --pid --uts --ipc --fork --kill-child --mount-proc --
    "$here/node.sh" "$folder" "$group" "$@")
  export TWINOPS_CLUSTER_TOOLS=$tools TWINOPS_CLUSTER_PLUGINS
  TWINOPS_CLUSTER_PLUGINS=$(plugins)
  if [[ -t 0 ]]; then
    # In the foreground, so that the terminal is the shell's inside.
    "${inside[@]}" || status=$?
  else
    "${inside[@]}" <&0 &
    # shellcheck disable=SC2064
    trap "kill -KILL $!" INT TERM HUP
    wait $! || status=$?
  fi
  remove_groups "$group"
  # The logs stay for a look, until the next run.
  rm -rf "${folder:?}/lib"
  return "$status"
}

enter() {
  local left folder first=
  for left in "$root"/node-*; do
    first=$(pgrep -P "${left##*-}" -x unshare) || continue
    folder=$left
    break
  done
  [[ -n $first ]] || fail "no cluster runs: start one with \`make cluster\`"
  [[ $# -gt 0 ]] || set -- "${SHELL:-bash}"
  exec env KUBECONFIG="$folder/kubeconfig" PATH="$tools:$PATH" \
    nsenter --target "$first" --mount --net --uts --ipc --pid="/proc/$first/ns/pid_for_children" --wd="$PWD" "$@"
}

tools=${TWINOPS_TOOLS_BIN:-$("$here/../tools/tools.sh" path)}
case ${1:-} in
  run) shift; run "$@" ;;
  enter) shift; enter "$@" ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
