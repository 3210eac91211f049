//! What the chart tells Ditto, against what Ditto 3.8.12 reads. Its images cannot be run here; its configuration says
//! which variables count (`tests/data/ditto/variables.json`).
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CHART, NAME, helm, pod_of, render, set};

const SERVICES: [&str; 5] = ["policies", "things", "things-search", "gateway", "connectivity"];
/// Read by Ditto's Java code, not by its configuration: `HostNameSupplier`, `InstanceIdentifierSupplier`.
const BY_CODE: [&str; 2] = ["HOSTNAME", "INSTANCE_INDEX"];
/// Read by Java itself.
const BY_JAVA: [&str; 1] = ["JAVA_TOOL_OPTIONS"];

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

/// A gateway that takes tokens alone, and what its neighbours then need.
const TOKENS: [&str; 5] = [
    "ditto.preAuthentication=false",
    "ditto.oidc.issuers.main.issuer=login.example:8443/realms/iot",
    "ditto.oidc.issuers.main.authSubjects[0]=user-{{ jwt:sub }}",
    "ditto.login.secret=our-token",
    "facade.auth.mode=passthrough",
];

/// Ditto's gateway takes `x-ditto-pre-authenticated` only with this variable. Source: gateway.conf. Then nobody of ours may
/// speak by it: operator and bridge bring a token, from the Secret that is mounted where they look for it.
#[test]
fn a_gateway_that_believes_nobodys_word_is_told_so() {
    for (values, told) in [(&[][..], "true"), (&TOKENS, "false")] {
        let (mut told_to, mut by_word, mut by_token) = (0, vec![], vec![]);
        for pod in render(values, &[]).iter().filter_map(pod_of) {
            let part = pod["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap().to_owned();
            let container = &pod["spec"]["containers"][0];
            for variable in container["env"].as_array().into_iter().flatten() {
                match variable["name"].as_str().unwrap() {
                    "ENABLE_PRE_AUTHENTICATION" => {
                        assert_eq!(variable["value"], told);
                        told_to += 1;
                    }
                    "DITTO_PRE_AUTHENTICATED" => by_word.push(part.clone()),
                    "DITTO_TOKEN_FILE" => {
                        assert_eq!(variable["value"], "/etc/twinops/ditto-login/token");
                        let mount = json!({"name": "ditto-login", "mountPath": "/etc/twinops/ditto-login", "readOnly": true});
                        assert!(container["volumeMounts"].as_array().unwrap().contains(&mount), "{part}");
                        let volumes = pod["spec"]["volumes"].as_array().unwrap();
                        let login =
                            volumes.iter().find(|one| one["name"] == "ditto-login").expect("a volume");
                        assert_eq!(login["secret"]["secretName"], "our-token");
                        by_token.push(part.clone());
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(told_to, 1, "the gateway alone");
        let (mut ours, nobody) = (vec!["bridge".to_owned(), "operator".to_owned()], Vec::<String>::new());
        ours.sort();
        by_word.sort();
        by_token.sort();
        let expected = if told == "true" { (ours, nobody) } else { (nobody, ours) };
        assert_eq!((by_word, by_token), expected);
    }
}

/// The facade lets the token's subject into the policies that it makes.
#[test]
fn the_subject_of_our_token_is_let_in() {
    let text = super::template(&[&TOKENS[..], &["ditto.login.subject=main:twinops"]].concat(), &[]);
    assert_eq!(text.matches("--operator-subject=main:twinops").count(), 1);
    assert!(!text.contains("--bridge-subject") && !text.contains("pre:twinops"), "{text}");
}

/// Without one of the three, something of the installation would get nothing but 401.
#[test]
fn a_gateway_that_believes_nobodys_word_needs_tokens_for_everybody() {
    let said = |left_out: &str, more: &[&str]| {
        let values: Vec<_> = TOKENS.into_iter().filter(|value| !value.starts_with(left_out)).collect();
        helm(&[&["template", "x", CHART][..], &set(&values), &set(more)].concat())
    };
    assert!(said("ditto.login", &[]).refused().contains("name it in ditto.login.secret"));
    assert!(said("ditto.oidc", &[]).refused().contains("name in ditto.oidc.issuers whose"));
    assert!(said("facade.auth", &[]).refused().contains("set facade.auth.mode=passthrough"));
    // Whoever is not there needs nothing.
    said("facade.auth", &["facade.enabled=false"]).ok();
    said("ditto.login", &["operator.enabled=false", "bridge.enabled=false", "secrets.ensure=false"]).ok();
}

/// Java prints `JAVA_TOOL_OPTIONS` at its start, with every variable in it.
#[test]
fn s45_what_java_prints_at_its_start_holds_no_secret() {
    let values =
        ["mongodb.mode=external", "mongodb.external.secret=uris", "mongodb.external.trustStoreSecret=trust"];
    let mut seen = 0;
    for pod in render(&values, &[]).iter().filter_map(pod_of) {
        let container = &pod["spec"]["containers"][0];
        let env = container["env"].as_array().cloned().unwrap_or_default();
        let Some(java) = env.iter().find(|one| one["name"] == "JAVA_TOOL_OPTIONS") else { continue };
        let java = java["value"].as_str().unwrap();
        assert!(!java.contains("$(") && !java.to_lowercase().contains("password"), "{java}");
        assert!(!env.iter().any(|one| one["valueFrom"]["secretKeyRef"]["name"] == "trust"));
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway" {
            continue;
        }
        // A trust store of this type needs no password to be read; PKCS #12 would be taken for an empty one.
        assert!(java.contains("-Djavax.net.ssl.trustStore=/etc/ditto/trust/truststore.jks"), "{java}");
        assert!(java.contains("-Djavax.net.ssl.trustStoreType=JKS"), "{java}");
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let trust = volumes.iter().find(|one| one["name"] == "trust").expect("a volume");
        assert_eq!(trust["secret"]["items"], json!([{"key": "truststore.jks", "path": "truststore.jks"}]));
        seen += 1;
    }
    assert_eq!(seen, 4);
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
