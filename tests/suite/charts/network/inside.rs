//! What the parts of an installation need of each other and of their cluster, and who may come in.
use super::{CLIENTS, DITTO, ENGINE, KUBERNETES, MONGODB, MOSQUITTO, OURS, assert_open, namespace};

#[test]
fn with_ditto_exactly_the_needed_flows_are_open() {
    assert_open(&[KUBERNETES], &[&OURS[..], &CLIENTS, &MOSQUITTO, &DITTO, &MONGODB].concat());
}

#[test]
fn with_the_engine_exactly_the_needed_flows_are_open() {
    let tls = ["mosquitto.tls.enabled=true", "mosquitto.tls.secret=broker-tls"];
    let mosquitto = ["everybody>mosquitto:8883", "facade,bridge>mosquitto:8883"];
    assert_open(
        &[&["backend=engine", KUBERNETES][..], &tls].concat(),
        &[&OURS[..], &CLIENTS, &mosquitto, &ENGINE].concat(),
    );
}

#[test]
fn what_is_let_in_is_let_in_by_name() {
    let named = [
        namespace("facadeFrom", "elsewhere"),
        namespace("brokerFrom", "elsewhere"),
        namespace("metricsFrom", "monitoring"),
        namespace("gatewayFrom", "elsewhere"),
    ];
    let named: Vec<_> = named.iter().map(String::as_str).collect();
    let let_in = [
        "stranger>facade:8000",
        "stranger>mosquitto:1883",
        "stranger>engine:8080",
        "prometheus>operator,facade,bridge:9090",
        "facade,bridge>mosquitto:1883",
    ];
    assert_open(
        &[&["backend=engine", KUBERNETES][..], &named[..]].concat(),
        &[&OURS[..], &ENGINE, &let_in].concat(),
    );
}

/// Nobody has named where the Kubernetes API is: then it may be anywhere, by its own ports, and nothing else is.
#[test]
fn by_default_the_kubernetes_api_may_be_anywhere_outside() {
    let anywhere = ["operator>provider,outside,world:443,6443,8443,16443"];
    assert_open(&["backend=engine"], &[&OURS[..], &CLIENTS, &MOSQUITTO, &ENGINE, &anywhere].concat());
}
