//! What the chart tells Ditto, against what Ditto 3.8.12 reads. Its images cannot be run here; its configuration says
//! which variables count (`tests/data/ditto/variables.json`).
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{NAME, pod_of, render};

const SERVICES: [&str; 5] = ["policies", "things", "things-search", "gateway", "connectivity"];
/// Read by Ditto's Java code, not by its configuration: `HostNameSupplier`, `InstanceIdentifierSupplier`.
const BY_CODE: [&str; 2] = ["HOSTNAME", "INSTANCE_INDEX"];
/// Read by Java itself, and what stands in that.
const BY_JAVA: [&str; 2] = ["JAVA_TOOL_OPTIONS", "TRUST_STORE_PASSWORD"];

fn read_by(service: &str) -> BTreeSet<String> {
    let known: Value = serde_json::from_str(include_str!("../../data/ditto/variables.json")).unwrap();
    let lists = [&known["every service"], &known[service]].into_iter().filter_map(Value::as_array).flatten();
    let code = BY_CODE.iter().chain(&BY_JAVA).map(ToString::to_string);
    lists.filter_map(Value::as_str).map(str::to_owned).chain(code).collect()
}

#[test]
fn every_variable_is_one_that_ditto_reads() {
    let variants = [
        vec![],
        vec![
            "mongodb.mode=external",
            "mongodb.external.secret=uris",
            "mongodb.external.trustStoreSecret=trust",
        ],
    ];
    let mut seen = 0;
    for object in variants.iter().flat_map(|values| render(values, &[])) {
        let Some(pod) = pod_of(&object) else { continue };
        let service = pod["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap();
        if !SERVICES.contains(&service) {
            continue;
        }
        let known = read_by(service);
        for variable in pod["spec"]["containers"][0]["env"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            assert!(known.contains(name), "{service} does not read {name}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
    assert!(
        !read_by("gateway").contains("POD_LABEL_SELECTOR")
            && !read_by("gateway").contains("MONGO_DB_CA_FILE")
    );
}

/// Ditto's gateway takes `x-ditto-pre-authenticated` only with this variable. Source: gateway.conf.
#[test]
fn a_gateway_that_believes_nobodys_word_is_told_so() {
    for (value, told) in [("true", "true"), ("false", "false")] {
        let objects = render(&[&format!("ditto.preAuthentication={value}")], &[]);
        let mut told_to = 0;
        for pod in objects.iter().filter_map(pod_of) {
            let env = pod["spec"]["containers"][0]["env"].as_array().into_iter().flatten();
            for variable in env.filter(|one| one["name"] == "ENABLE_PRE_AUTHENTICATION") {
                assert_eq!(variable["value"], told);
                told_to += 1;
            }
        }
        assert_eq!(told_to, 1, "the gateway alone");
    }
}

/// `kubectl port-forward` asks at the loopback of the pod. Source: gateway.conf, where `BIND_HOSTNAME` counts more than `HOSTNAME`.
#[test]
fn the_gateway_listens_where_port_forward_asks() {
    let gateway = render(&[], &[])
        .into_iter()
        .find(|one| one["kind"] == "Deployment" && one["metadata"]["name"] == format!("{NAME}-gateway"));
    let env = pod_of(&gateway.expect("a gateway")).unwrap()["spec"]["containers"][0]["env"].clone();
    let bound = env.as_array().unwrap().iter().find(|one| one["name"] == "BIND_HOSTNAME");
    assert_eq!(bound.expect("it is told")["value"], "0.0.0.0");
}

/// Without a selector of its own Ditto asks for `actorSystemName=<service name>`. Source: ditto-pekko-config.conf.
#[test]
fn members_are_found_by_the_label_ditto_asks_for() {
    for object in render(&[], &[]) {
        let Some(pod) = pod_of(&object) else { continue };
        let labels = &pod["metadata"]["labels"];
        if !SERVICES.contains(&labels["app.kubernetes.io/component"].as_str().unwrap()) {
            assert!(labels.get("actorSystemName").is_none());
            continue;
        }
        let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
        let name = env.iter().find(|one| one["name"] == "CLUSTER_BS_SERVICE_NAME").unwrap();
        assert_eq!(labels["actorSystemName"], name["value"]);
        let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
        assert!(ports.contains(&json!({"name": "management", "containerPort": 7626})));
        assert!(ports.contains(&json!({"name": "remoting", "containerPort": 2551})));
        let java =
            env.iter().find(|one| one["name"] == "JAVA_TOOL_OPTIONS").unwrap()["value"].as_str().unwrap();
        assert!(java.contains("contact-point-discovery.port-name=management"), "{java}");
        assert!(!java.contains('\n') && java.split(' ').all(|option| option.starts_with('-')), "{java}");
    }
}
