//! Who may talk to whom, by the rules of `NetworkPolicy`. No network plugin that enforces them runs here, so
//! the rendered policies are evaluated, and every flow there could be is compared with those that are needed.
mod inside;
mod outside;
mod rules;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{RELEASE, pod_of, render};
use rules::{Party, may};

/// The pods a chart renders, by component, and those who are not of it.
fn parties(objects: &[Value]) -> Vec<Party> {
    let pods = objects.iter().filter_map(|object| {
        let pod = pod_of(object)?;
        let labels = &pod["metadata"]["labels"];
        Some(Party::pod(labels["app.kubernetes.io/component"].as_str()?, RELEASE, labels))
    });
    let mut all: Vec<_> = pods.collect();
    all.push(Party::pod("neighbour", RELEASE, &json!({"app": "another"})));
    all.push(Party::pod("stranger", "elsewhere", &json!({"app.kubernetes.io/component": "operator"})));
    all.push(Party::pod("prometheus", "monitoring", &json!({"app": "prometheus"})));
    all.push(Party::pod("dns", "kube-system", &json!({"k8s-app": "kube-dns"})));
    all.push(Party::Address { name: "kubernetes", ip: "10.96.0.1" });
    all.push(Party::Address { name: "provider", ip: "198.51.100.7" });
    all.push(Party::Address { name: "outside", ip: "198.51.100.8" });
    all.push(Party::Address { name: "world", ip: "203.0.113.7" });
    all
}

const PORTS: [u16; 20] = [
    22, 53, 80, 443, 1883, 2551, 6443, 7626, 8000, 8080, 8443, 8883, 8884, 9090, 9092, 9095, 9443, 16443,
    27017, 65000,
];
/// `everybody`.
const OUTSIDE: [&str; 8] =
    ["neighbour", "stranger", "prometheus", "dns", "kubernetes", "provider", "outside", "world"];

/// Every flow that the policies let through and that touches a pod of ours, `from>to:port` by TCP, `from>to:port/UDP`.
fn open(values: &[&str]) -> BTreeSet<String> {
    let objects = render(values, &[]);
    let policies: Vec<_> =
        objects.iter().filter(|object| object["kind"] == "NetworkPolicy").cloned().collect();
    let parties = parties(&objects);
    let is_ours = |party: &Party| !OUTSIDE.contains(&party.name());
    let mut found = BTreeSet::new();
    for from in &parties {
        for to in parties.iter().filter(|to| is_ours(from) || is_ours(to)) {
            for port in PORTS {
                for (protocol, name) in [("TCP", ""), ("UDP", "/UDP")] {
                    if may(&policies, from, to, (port, protocol)) {
                        found.insert(format!("{}>{}:{port}{name}", from.name(), to.name()));
                    }
                }
            }
        }
    }
    found
}

/// `a,b>c,d:1,2` is each of the first with each of the second and each of the third. `everybody` is all who are not of
/// the installation, `services` those of Ditto.
fn flows(lines: &[&str]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for line in lines {
        let line = line.replace("everybody", &OUTSIDE.join(",")).replace("services", SERVICES);
        let (from, rest) = line.split_once('>').expect("an arrow");
        let (to, ports) = rest.split_once(':').expect("a port");
        for from in from.split(',') {
            for to in to.split(',') {
                all.extend(ports.split(',').map(|port| format!("{from}>{to}:{port}")));
            }
        }
    }
    all
}

#[track_caller]
fn assert_open(values: &[&str], needed: &[&str]) {
    let (open, needed) = (open(values), flows(needed));
    let missing: Vec<_> = needed.difference(&open).collect();
    let forbidden: Vec<_> = open.difference(&needed).collect();
    assert!(
        missing.is_empty() && forbidden.is_empty(),
        "closed but needed: {missing:?}\nopen but not needed: {forbidden:?}"
    );
}

/// `services`.
const SERVICES: &str = "policies,things,things-search,connectivity,gateway";

/// Where the Kubernetes API is.
const KUBERNETES: &str = "networkPolicies.apiServer.cidrs={10.96.0.1/32}";

/// What every installation needs, wherever its Ditto and its broker are.
const OURS: [&str; 3] = [
    "operator,facade,bridge,test>dns:53,53/UDP",
    "operator>kubernetes:443,6443,8443,16443",
    "test>facade:8000",
];
/// Who nobody has named may be anybody.
const CLIENTS: [&str; 1] = ["everybody>facade:8000"];
const MOSQUITTO: [&str; 2] = ["everybody>mosquitto:1883", "facade,bridge>mosquitto:1883"];
const ENGINE: [&str; 1] = ["operator,facade,bridge>engine:8080"];
const DITTO: [&str; 4] = [
    "operator,facade,bridge>gateway:8080",
    "services>services:2551,7626",
    "services>dns:53,53/UDP",
    "services>kubernetes:443,6443,8443,16443",
];
const MONGODB: [&str; 2] =
    ["policies,things,things-search,connectivity,mongodb>mongodb:27017", "mongodb>dns:53,53/UDP"];

/// The peers of a value: the pods of one namespace.
fn namespace(value: &str, name: &str) -> String {
    format!("networkPolicies.{value}[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name={name}")
}
