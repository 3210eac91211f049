//! Who may talk to whom, by the rules of `NetworkPolicy`. No network plugin that enforces them runs here, so
//! the rendered policies are evaluated, and every flow there could be is compared with those that are needed.
use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{RELEASE, pod_of, render};

/// Somebody who may send or be sent to.
#[derive(Clone, Debug)]
enum Party {
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
    fn pod(name: &str, namespace: &'static str, labels: &Value) -> Self {
        Self::Pod {
            name: name.to_owned(),
            labels: labels.as_object().cloned().unwrap_or_default(),
            namespace,
        }
    }

    fn name(&self) -> &str {
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
type Door = (u16, &'static str);

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

fn may(policies: &[Value], from: &Party, to: &Party, door: Door) -> bool {
    passes(policies, "egress", from, to, door) && passes(policies, "ingress", to, from, door)
}

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

/// `a,b>c,d:1,2` is each of the first with each of the second and each of the third.
fn flows(lines: &[&str]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for line in lines {
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

const EVERYBODY: &str = "neighbour,stranger,prometheus,dns,kubernetes,provider,outside,world";
const KUBERNETES: &str = "networkPolicies.apiServer.cidrs={10.96.0.1/32}";
const SERVICES: &str = "policies,things,things-search,connectivity,gateway";

/// The peers of a value: the pods of one namespace.
fn namespace(value: &str, name: &str) -> String {
    format!("networkPolicies.{value}[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name={name}")
}

#[test]
fn with_ditto_exactly_the_needed_flows_are_open() {
    let clients = format!("{EVERYBODY}>facade:8000");
    let devices = format!("{EVERYBODY}>mosquitto:1883");
    assert_open(
        &["networkPolicies.apiServer.cidrs={10.96.0.1/32}"],
        &[
            &clients,
            &devices,
            "operator,facade,bridge>gateway:8080",
            "facade,bridge>mosquitto:1883",
            "policies,things,things-search,connectivity,gateway>policies,things,things-search,connectivity,gateway:2551,7626",
            "policies,things,things-search,connectivity,mongodb>mongodb:27017",
            "operator,facade,bridge,policies,things,things-search,connectivity,gateway,mongodb,test>dns:53,53/UDP",
            "operator,policies,things,things-search,connectivity,gateway>kubernetes:443,6443,8443,16443",
            "test>facade:8000",
        ],
    );
}

#[test]
fn with_the_engine_exactly_the_needed_flows_are_open() {
    let clients = format!("{EVERYBODY}>facade:8000");
    let devices = format!("{EVERYBODY}>mosquitto:8883");
    assert_open(
        &[
            "backend=engine",
            "mosquitto.tls.enabled=true",
            "mosquitto.tls.secret=broker-tls",
            "networkPolicies.apiServer.cidrs={10.96.0.1/32}",
        ],
        &[
            &clients,
            &devices,
            "operator,facade,bridge>engine:8080",
            "facade,bridge>mosquitto:8883",
            "operator,facade,bridge,test>dns:53,53/UDP",
            "operator>kubernetes:443,6443,8443,16443",
            "test>facade:8000",
        ],
    );
}

#[test]
fn what_is_let_in_is_let_in_by_name() {
    let values = [
        namespace("facadeFrom", "elsewhere"),
        namespace("brokerFrom", "elsewhere"),
        namespace("metricsFrom", "monitoring"),
        namespace("gatewayFrom", "elsewhere"),
        "backend=engine".to_owned(),
        "networkPolicies.apiServer.cidrs={10.96.0.1/32}".to_owned(),
    ];
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    assert_open(
        &values,
        &[
            "stranger>facade:8000",
            "stranger>mosquitto:1883",
            "stranger>engine:8080",
            "prometheus>operator,facade,bridge:9090",
            "operator,facade,bridge>engine:8080",
            "facade,bridge>mosquitto:1883",
            "operator,facade,bridge,test>dns:53,53/UDP",
            "operator>kubernetes:443,6443,8443,16443",
            "test>facade:8000",
        ],
    );
}

/// Ditto's own metrics, the way to the provider of tokens, and the UI.
#[test]
fn metrics_tokens_and_the_ui_open_their_own_flows_and_no_others() {
    let (metrics, ui) = (namespace("metricsFrom", "monitoring"), namespace("uiFrom", "elsewhere"));
    let base = [
        KUBERNETES,
        "networkPolicies.oidc.cidrs={198.51.100.7/32}",
        "ditto.oidc.issuers.main.issuer=login.example/realms/iot",
        "ditto.oidc.issuers.main.authSubjects[0]=user-{{ jwt:sub }}",
        "facade.auth.mode=oidc",
        "facade.auth.oidc.issuer=https://login.example/realms/iot",
        "facade.auth.oidc.audience=twins",
        "ditto.ui.enabled=true",
    ];
    let (clients, devices) = (format!("{EVERYBODY}>facade:8000"), format!("{EVERYBODY}>mosquitto:1883"));
    let (members, measured) =
        (format!("{SERVICES}>{SERVICES}:2551,7626"), format!("prometheus>{SERVICES}:9095"));
    let resolving = format!("operator,facade,bridge,{SERVICES},mongodb,test>dns:53,53/UDP");
    let found = format!("operator,{SERVICES}>kubernetes:443,6443,8443,16443");
    let always = [
        clients.as_str(),
        &devices,
        &members,
        &resolving,
        &found,
        "operator,facade,bridge>gateway:8080",
        "facade,bridge>mosquitto:1883",
        "policies,things,things-search,connectivity,mongodb>mongodb:27017",
        "test>facade:8000",
        // Who verifies tokens fetches the provider's keys, and nobody else leaves for it.
        "facade,gateway>provider:443",
    ];
    let everybody = format!("{EVERYBODY}>ui:8080");
    assert_open(&base, &[&always[..], &[&everybody]].concat());
    let named = [&base[..], &[&metrics, &ui]].concat();
    let more = ["prometheus>operator,facade,bridge:9090", &measured, "stranger>ui:8080"];
    assert_open(&named, &[&always[..], &more].concat());
    // Without tokens there is no way out to the provider: the tables above hold it, too.
}

#[test]
fn what_is_outside_is_reached_where_it_is_and_nowhere_else() {
    let at = |value: &str| format!("networkPolicies.{value}.to[0].ipBlock.cidr=198.51.100.8/32");
    let (ditto, broker, database) = (at("externalDitto"), at("externalBroker"), at("externalMongodb"));
    let clients = format!("{EVERYBODY}>facade:8000");
    assert_open(
        &[
            "backend=external",
            "externalDitto.url=https://ditto.example",
            "externalDitto.login.secret=ditto-login",
            "mosquitto.enabled=false",
            "externalBroker.url=mqtts://broker.example:8883",
            KUBERNETES,
            &ditto,
            &broker,
        ],
        &[
            &clients,
            "operator,facade,bridge>outside:443",
            "facade,bridge>outside:8883",
            "operator,facade,bridge,test>dns:53,53/UDP",
            "operator>kubernetes:443,6443,8443,16443",
            "test>facade:8000",
        ],
    );
    let devices = format!("{EVERYBODY}>mosquitto:1883");
    let members = format!("{SERVICES}>{SERVICES}:2551,7626");
    let resolving = format!("operator,facade,bridge,{SERVICES},test>dns:53,53/UDP");
    let found = format!("operator,{SERVICES}>kubernetes:443,6443,8443,16443");
    assert_open(
        &[
            "mongodb.mode=external",
            "mongodb.external.secret=mongodb-uris",
            KUBERNETES,
            &database,
            "networkPolicies.connectivityTo[0].to[0].ipBlock.cidr=198.51.100.8/32",
            "networkPolicies.connectivityTo[0].ports[0].port=9092",
            "networkPolicies.thingModelsTo[0].to[0].ipBlock.cidr=203.0.113.7/32",
            "networkPolicies.thingModelsTo[0].ports[0].port=443",
        ],
        &[
            &clients,
            &devices,
            &members,
            &resolving,
            &found,
            "operator,facade,bridge>gateway:8080",
            "facade,bridge>mosquitto:1883",
            "policies,things,things-search,connectivity>outside:27017",
            "connectivity>outside:9092",
            "things>world:443",
            "test>facade:8000",
        ],
    );
}

/// Nobody has named where the Kubernetes API is: then it may be anywhere, by its own ports, and nothing else is.
#[test]
fn by_default_the_kubernetes_api_may_be_anywhere_outside() {
    let (clients, devices) = (format!("{EVERYBODY}>facade:8000"), format!("{EVERYBODY}>mosquitto:1883"));
    assert_open(
        &["backend=engine"],
        &[
            &clients,
            &devices,
            "operator,facade,bridge>engine:8080",
            "facade,bridge>mosquitto:1883",
            "operator,facade,bridge,test>dns:53,53/UDP",
            "operator>kubernetes,provider,outside,world:443,6443,8443,16443",
            "test>facade:8000",
        ],
    );
}

/// What leaves for the outside of this address.
fn leaves(values: &[&str], to: &str) -> BTreeSet<String> {
    open(values).into_iter().filter(|flow| flow.contains(&format!(">{to}:"))).collect()
}

/// The port in a URL is the one that is opened; a value for the ports counts instead.
#[test]
fn ports_follow_the_urls() {
    let external = |url| {
        ["backend=external", "externalDitto.login.secret=login", "mosquitto.enabled=false", KUBERNETES, url]
    };
    let broker = "externalBroker.url=mqtts://broker.example:8884";
    let to_ditto = |port: &str| format!("operator,facade,bridge>outside:{port}");
    for (url, more, ports) in [
        ("externalDitto.url=https://ditto.example:9443/api/2", "", "9443"),
        ("externalDitto.url=http://ditto.example", "", "80"),
        ("externalDitto.url=https://[2001:db8::1]", "", "443"),
        (
            "externalDitto.url=https://ditto.example",
            "externalDitto.wsUrl=wss://ditto.example:9443/ws/2",
            "443,9443",
        ),
        (
            "externalDitto.url=https://ditto.example:9443",
            "networkPolicies.externalDitto.ports={8080}",
            "8080",
        ),
    ] {
        let mut values = external(url).to_vec();
        values.extend([broker, more].into_iter().filter(|value| !value.is_empty()));
        let needed = flows(&[&to_ditto(ports), "facade,bridge>outside:8884"]);
        assert_eq!(leaves(&values, "outside"), needed, "{values:?}");
    }
    // Providers of tokens, of the facade and of the gateway, which knows how their documents are fetched.
    let provider = [
        KUBERNETES,
        "networkPolicies.oidc.cidrs={198.51.100.7/32}",
        "ditto.oidc.protocol=http",
        "ditto.oidc.issuers.main.issuer=login.example/realms/iot",
        "ditto.oidc.issuers.main.authSubjects[0]=user-{{ jwt:sub }}",
        "facade.auth.mode=oidc",
        "facade.auth.oidc.issuer=https://login.example:8443/realms/iot",
        "facade.auth.oidc.audience=twins",
    ];
    assert_eq!(leaves(&provider, "provider"), flows(&["facade>provider:8443", "gateway>provider:80"]));
    let named = [&provider[..], &["networkPolicies.oidc.ports={443}"]].concat();
    assert_eq!(leaves(&named, "provider"), flows(&["facade,gateway>provider:443"]));
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
