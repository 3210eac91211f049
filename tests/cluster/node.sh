#!/usr/bin/env bash
# The node itself, as the first process of the namespaces that cluster.sh makes: node.sh FOLDER GROUP [COMMAND…].
# When it ends, the kernel ends all that it has started.
set -euo pipefail
trap 'exit 130' INT
trap 'exit 143' TERM

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1 group=$2
shift 2
tools=$TWINOPS_CLUSTER_TOOLS
export KUBECONFIG=$folder/kubeconfig PATH=$tools:$PATH

# Addresses of this namespace: nobody outside sees them.
readonly NODE=10.222.0.1 PODS=10.222.1.0/24 SERVICES=10.223.0.0/16 API=6443
# How long a program may take until it answers: seconds on an idle machine, many times that on one that compiles.
readonly START_WITHIN=180
# Volumes that claims can be bound to, and their size. Nothing enforces the size.
readonly VOLUMES=8 VOLUME_SIZE=16Gi

declare -A ids

start() {
  local name=$1
  shift
  # A session of its own: what a terminal sends to the shell inside does not reach it.
  setsid "$@" >"$folder/log/$name.log" 2>&1 </dev/null &
  ids[$name]=$!
}

# Waits until a command succeeds: await NAME COMMAND…. NAME is the program whose log tells why it does not.
await() {
  local name=$1 end=$((SECONDS + START_WITHIN))
  shift
  until "$@" >/dev/null 2>&1; do
    if [[ -n ${ids[$name]:-} && ! -d /proc/${ids[$name]} ]]; then
      why=ended
    elif ((SECONDS >= end)); then
      why="was not ready within $START_WITHIN s"
    else
      sleep 0.2
      continue
    fi
    echo "cluster: $name $why; its log $folder/log/$name.log ends:" >&2
    tail -n 40 "$folder/log/$name.log" >&2 || true
    exit 1
  done
}

# The places where the programs of a node expect their files are this namespace's own.
mounts() {
  mkdir -p "$folder"/{lib,log,certificates,sysctl} "$folder"/lib/{etcd,kubelet}
  mount --make-rshared /
  mount --bind "$folder/lib" /var/lib
  mount --bind "$folder/log" /var/log
  mount -t tmpfs tmpfs /run
  hostname twinops
  printf '127.0.0.1 localhost\n%s twinops\n' "$NODE" >"$folder/hosts"
  mount --bind "$folder/hosts" /etc/hosts
  : >"$folder/resolv.conf"
  # kubelet sets these for the whole machine. It finds what it wants here, and leaves the machine alone.
  local setting
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    local file=$folder/sysctl/${setting##*/}
    echo "${setting#*=}" >"${file%=*}"
    mount --bind "${file%=*}" "/proc/sys/${setting%=*}"
  done
}

network() {
  ip link set lo up
  ip link add node0 type bridge
  ip address add "$NODE/32" dev node0
  ip link set node0 up
  # A packet to a Service needs a way before its address is changed.
  ip route add "$SERVICES" dev node0
  echo 1 >/proc/sys/net/ipv4/ip_forward
}

access() {
  local token
  token=$(cat /proc/sys/kernel/random/uuid)
  echo "$token,admin,admin,\"system:masters\"" >"$folder/tokens.csv"
  cat >"$KUBECONFIG" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "https://$NODE:$API", certificate-authority: "$folder/certificates/apiserver.crt"}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: node, context: {cluster: node, user: admin}}]
current-context: node
YAML
}

control_plane() {
  local url=http://127.0.0.1:2379 key=$folder/certificates/apiserver.key
  start etcd etcd --data-dir /var/lib/etcd --listen-client-urls $url --advertise-client-urls $url \
    --listen-peer-urls http://127.0.0.1:2380 --log-level warn --unsafe-no-fsync
  start kube-apiserver kube-apiserver --advertise-address=$NODE --secure-port=$API --etcd-servers=$url \
    --service-cluster-ip-range=$SERVICES --cert-dir="$folder/certificates" --token-auth-file="$folder/tokens.csv" \
    --authorization-mode=RBAC --allow-privileged=true --service-account-issuer=https://kubernetes.default.svc \
    --service-account-signing-key-file="$key" --service-account-key-file="$key"
  await kube-apiserver kubectl get --raw=/readyz
  start kube-controller-manager kube-controller-manager --kubeconfig="$KUBECONFIG" --leader-elect=false \
    --bind-address=127.0.0.1 --service-account-private-key-file="$key" \
    --root-ca-file="$folder/certificates/apiserver.crt"
  start kube-scheduler kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false --bind-address=127.0.0.1
}

runtime() {
  mkdir -p "$folder/cni"
  # Each pod has a link of its own to the node, so everything between pods is routed and passes the rules of the
  # Services. On a bridge, answers between two of its pods would not.
  cat >"$folder/cni/pods.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp",
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
  # A score below one's own takes a right that a container or a sandbox often lacks.
  cat >"$folder/containerd.toml" <<TOML
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/library/pause:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$TWINOPS_CLUSTER_PLUGINS"
conf_dir = "$folder/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
TOML
  start containerd containerd --config "$folder/containerd.toml"
  await containerd ctr version
  local image
  for image in "${TWINOPS_CLUSTER_IMAGES:?the folder of the images}"/*.tar; do
    ctr -n k8s.io images import "$image" >>"$folder/log/images.log" 2>&1 || {
      echo "cluster: $image cannot be imported; $folder/log/images.log tells why" >&2
      exit 1
    }
  done
}

node() {
  cat >"$folder/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$group
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
# The API server has no certificate to show to it, and nobody outside the namespace reaches it.
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
clusterDNS: [$NODE]
clusterDomain: cluster.local
resolvConf: $folder/resolv.conf
# How full the machine is does not matter to the tests.
evictionHard: {memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
imageGCHighThresholdPercent: 100
YAML
  # Limits of the kernel's connection table stay the machine's.
  cat >"$folder/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $KUBECONFIG}
clusterCIDR: $PODS
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 127.0.0.1
metricsBindAddress: 127.0.0.1
YAML
  cat >"$folder/Corefile" <<COREFILE
. {
  bind $NODE
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local {
    kubeconfig $KUBECONFIG node
  }
}
COREFILE
  start kubelet kubelet --config="$folder/kubelet.yaml" --kubeconfig="$KUBECONFIG" --hostname-override=twinops
  start kube-proxy kube-proxy --config="$folder/kube-proxy.yaml" --hostname-override=twinops
  start coredns coredns -conf "$folder/Corefile"
}

# A class by default and its volumes: nothing here makes them on demand. Of the type `local`, because kubelet
# gives those to a pod's fsGroup.
volumes() {
  local number
  echo '{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: local, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}, provisioner: kubernetes.io/no-provisioner, volumeBindingMode: WaitForFirstConsumer}'
  for ((number = 1; number <= VOLUMES; number++)); do
    mkdir -p "/var/lib/volumes/$number"
    cat <<YAML
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-$number}
spec:
  capacity: {storage: $VOLUME_SIZE}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: local
  local: {path: /var/lib/volumes/$number}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [twinops]}]}]}}
YAML
  done
}

mounts
network
access
control_plane
runtime
node
await kube-controller-manager kubectl -n default get serviceaccount default
volumes | kubectl apply --server-side -f - >/dev/null
await kubelet kubectl wait --for=condition=Ready --timeout=1s node/twinops
await coredns curl -fsS http://127.0.0.1:8181/ready
await kube-proxy nft list table ip kube-proxy

if [[ $# -gt 0 ]]; then
  status=0
  "$@" || status=$?
  exit "$status"
fi
echo "cluster: the node is ready; KUBECONFIG=$KUBECONFIG"
echo "cluster: its addresses are seen inside only; from another terminal: sudo $here/cluster.sh enter"
if [[ -t 0 ]]; then
  echo "cluster: this shell is inside; leaving it ends the cluster"
  PS1='cluster # ' bash --norc -i || true
else
  sleep infinity &
  wait $!
fi
