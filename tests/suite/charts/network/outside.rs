//! What is outside of the installation: those who measure it, providers of tokens, and a Ditto, a broker or a MongoDB that is
//! there already.
use std::collections::BTreeSet;

use super::{CLIENTS, DITTO, KUBERNETES, MONGODB, MOSQUITTO, OURS, assert_open, flows, namespace, open};

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
    // Who verifies tokens fetches the provider's keys, and nobody else leaves for it; without tokens nobody does, which
    // the tables of the other tests hold.
    let tokens = ["facade,gateway>provider:443"];
    let always = [&OURS[..], &CLIENTS, &MOSQUITTO, &DITTO, &MONGODB, &tokens].concat();
    assert_open(&base, &[&always[..], &["everybody>ui:8080"]].concat());
    let named = [&base[..], &[&metrics, &ui]].concat();
    let more = ["prometheus>operator,facade,bridge:9090", "prometheus>services:9095", "stranger>ui:8080"];
    assert_open(&named, &[&always[..], &more].concat());
}

#[test]
fn what_is_outside_is_reached_where_it_is_and_nowhere_else() {
    let at = |value: &str| format!("networkPolicies.{value}.to[0].ipBlock.cidr=198.51.100.8/32");
    let (ditto, broker, database) = (at("externalDitto"), at("externalBroker"), at("externalMongodb"));
    let there = ["operator,facade,bridge>outside:443", "facade,bridge>outside:8883"];
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
        &[&OURS[..], &CLIENTS, &there].concat(),
    );
    let there = [
        "policies,things,things-search,connectivity>outside:27017",
        "connectivity>outside:9092",
        "things>world:443",
    ];
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
        &[&OURS[..], &CLIENTS, &MOSQUITTO, &DITTO, &there].concat(),
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
