//! What a `NetworkPolicy` lets through.
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::RELEASE;

/// Somebody who may send or be sent to.
#[derive(Clone, Debug)]
pub enum Party {
    Pod {
        name: String,
        labels: Map<String, Value>,
        namespace: &'static str,
    },
    /// Outside of the cluster's pods.
    Address {
        name: &'static str,
        ip: &'static str,
    },
}

impl Party {
    pub fn pod(name: &str, namespace: &'static str, labels: &Value) -> Self {
        Self::Pod {
            name: name.to_owned(),
            labels: labels.as_object().cloned().unwrap_or_default(),
            namespace,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Pod { name, .. } => name,
            Self::Address { name, .. } => name,
        }
    }
}

/// The labels Kubernetes itself puts on a namespace.
fn namespace_labels(name: &str) -> Map<String, Value> {
    json!({"kubernetes.io/metadata.name": name}).as_object().cloned().unwrap_or_default()
}

fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    assert!(selector.get("matchExpressions").is_none(), "this evaluator knows matchLabels alone");
    let wanted = selector["matchLabels"].as_object();
    wanted.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

fn holds(cidr: &str, ip: &str) -> bool {
    let (base, bits) = cidr.split_once('/').expect("a CIDR");
    let bits: u32 = bits.parse().expect("bits");
    match (base.parse().expect("an address"), ip.parse().expect("an address")) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => {
            u64::from(u32::from(base)) >> (32 - bits) == u64::from(u32::from(ip)) >> (32 - bits)
        }
        (IpAddr::V6(_), IpAddr::V6(_)) => bits == 0,
        _ => false,
    }
}

fn is_peer(peer: &Value, party: &Party) -> bool {
    match party {
        Party::Address { ip, .. } => peer["ipBlock"]["cidr"].as_str().is_some_and(|cidr| holds(cidr, ip)),
        Party::Pod { labels, namespace, .. } => {
            if peer.get("ipBlock").is_some() {
                // Pods are never addressed by CIDR: their addresses come and go.
                return false;
            }
            let inside = match peer.get("namespaceSelector") {
                Some(selector) => selects(selector, &namespace_labels(namespace)),
                None => *namespace == RELEASE,
            };
            inside && peer.get("podSelector").is_none_or(|selector| selects(selector, labels))
        }
    }
}

/// A port and its protocol, as `NetworkPolicy` names it.
pub type Door = (u16, &'static str);

/// Whether one side of the connection lets it through. `side` is `ingress` or `egress`.
fn passes(policies: &[Value], side: &str, own: &Party, other: &Party, (port, protocol): Door) -> bool {
    let Party::Pod { labels, namespace, .. } = own else { return true };
    let (kind, peers) = if side == "ingress" { ("Ingress", "from") } else { ("Egress", "to") };
    let mine: Vec<_> = policies
        .iter()
        .filter(|policy| *namespace == RELEASE && selects(&policy["spec"]["podSelector"], labels))
        .filter(|policy| {
            policy["spec"]["policyTypes"].as_array().is_some_and(|types| types.contains(&json!(kind)))
        })
        .collect();
    if mine.is_empty() {
        return true;
    }
    let rules = mine.iter().flat_map(|policy| policy["spec"][side].as_array().into_iter().flatten());
    rules.into_iter().any(|rule| {
        let peer = rule[peers].as_array().is_none_or(|list| list.iter().any(|peer| is_peer(peer, other)));
        let ports = rule["ports"].as_array();
        let is_open =
            |one: &Value| one["port"] == json!(port) && one["protocol"].as_str().unwrap_or("TCP") == protocol;
        peer && ports.is_none_or(|list| list.iter().any(is_open))
    })
}

pub fn may(policies: &[Value], from: &Party, to: &Party, door: Door) -> bool {
    passes(policies, "egress", from, to, door) && passes(policies, "ingress", to, from, door)
}

/// The evaluator itself: what is not said is not allowed, and whoever no policy selects is free.
#[test]
fn the_evaluator_follows_the_rules() {
    let policy = json!({"spec": {
        "podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"c": "d"}}}], "ports": [{"port": 80}]}],
    }});
    let pod = |name: &str, namespace, labels: Value| Party::pod(name, namespace, &labels);
    let server = pod("server", RELEASE, json!({"a": "b"}));
    let rows = [
        (pod("friend", RELEASE, json!({"c": "d"})), (80, "TCP"), true),
        (pod("friend", RELEASE, json!({"c": "d"})), (80, "UDP"), false),
        (pod("friend", RELEASE, json!({"c": "d"})), (81, "TCP"), false),
        (pod("other", RELEASE, json!({"c": "e"})), (80, "TCP"), false),
        (pod("namesake elsewhere", "elsewhere", json!({"c": "d"})), (80, "TCP"), false),
        (Party::Address { name: "world", ip: "203.0.113.7" }, (80, "TCP"), false),
    ];
    for (from, door, expected) in rows {
        let policies = [policy.clone()];
        assert_eq!(may(&policies, &from, &server, door), expected, "{from:?}");
        assert!(may(&policies, &server, &from, door), "nothing holds its egress");
        assert!(may(&[], &from, &server, door), "no policy, no limit");
    }
    assert!(holds("10.0.0.0/8", "10.1.2.3") && !holds("10.96.0.1/32", "10.96.0.2"));
}
