//! The chart, through the real helm and a real API server.
mod argocd;
mod broker;
mod canary;
mod checkers;
mod ditto;
mod effects;
mod image;
mod lifecycle;
mod network;
mod outside;
mod rows;
mod safe;
mod secrets;
mod shape;
mod sizes;
mod token;
mod values;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::process::{Output, run};
use crate::support::tools;

pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/twinops");
pub const LAPTOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/twinops/values-laptop.yaml");
pub const PRODUCTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/twinops/values-production.yaml");
/// What the tests install it as, and where.
pub const RELEASE: &str = "shop";
pub const NAME: &str = "shop-twinops";

/// Ways to set the values that together touch every template.
pub const VARIANTS: &[(&str, &[&str])] = &[
    ("defaults", &[]),
    ("engine", &["backend=engine"]),
    ("laptop", &[LAPTOP]),
    ("laptop, engine", &[LAPTOP, "backend=engine"]),
    ("production", &[PRODUCTION]),
    (
        "everything",
        &[
            "bridge.deadLetterTopic=twinops/dead-letters/refused",
            "ditto.ui.enabled=true",
            "ditto.heapDumps=true",
            "ditto.oidc.issuers.main.issuer=login.example/realms/iot",
            "ditto.oidc.issuers.main.authSubjects[0]=user-{{ jwt:sub }}",
            "facade.auth.mode=oidc",
            "facade.auth.oidc.issuer=https://login.example/realms/iot",
            "facade.auth.oidc.audience=twins",
            "facade.autoscaling.enabled=true",
            "facade.ingress.enabled=true",
            "facade.ingress.host=twins.example",
            "facade.ingress.tlsSecret=twins-tls",
            "facade.tls.enabled=true",
            "facade.tls.secret=facade-tls",
            "mosquitto.devices[0].user=lamp",
            "mosquitto.devices[0].thingId=com.example:lamp",
            "mosquitto.tls.enabled=true",
            "mosquitto.tls.secret=broker-tls",
            "metrics.podMonitor.enabled=true",
            "metrics.podMonitor.labels.release=prometheus",
            "metrics.serviceMonitor.enabled=true",
            "metrics.serviceMonitor.labels.release=prometheus",
            "operator.replicas=2",
            "crds.templated=true",
        ],
    ),
    (
        "nothing",
        &[
            "backend=external",
            "externalDitto.url=https://ditto.example",
            "externalDitto.login.secret=ditto-login",
            "operator.enabled=false",
            "facade.enabled=false",
            "bridge.enabled=false",
            "mosquitto.enabled=false",
            "networkPolicies.enabled=false",
            "podDisruptionBudgets=false",
            "secrets.ensure=false",
        ],
    ),
    (
        "external-ditto",
        &[
            "backend=external",
            "externalDitto.url=https://ditto.example",
            "externalDitto.wsUrl=wss://ditto.example/ws/2",
            "externalDitto.caSecret=ditto-ca",
            "externalDitto.login.mode=token",
            "externalDitto.login.secret=ditto-login",
            "externalDitto.login.subject=sso:twinops",
            "facade.auth.mode=passthrough",
        ],
    ),
    (
        "external-mongodb",
        &[
            "mongodb.mode=external",
            "mongodb.external.secret=mongodb-uris",
            "mongodb.external.trustStoreSecret=mongodb-trust",
        ],
    ),
    (
        "tokens",
        &[
            "ditto.preAuthentication=false",
            "ditto.oidc.issuers.main.issuer=login.example/realms/iot",
            "ditto.oidc.issuers.main.authSubjects[0]=user-{{ jwt:sub }}",
            "ditto.login.secret=ditto-token",
            "ditto.login.subject=main:twinops",
            "facade.auth.mode=passthrough",
        ],
    ),
    (
        "external-broker",
        &[
            "mosquitto.enabled=false",
            "externalBroker.url=mqtts://broker.example:8883",
            "externalBroker.secret=broker-login",
            "externalBroker.caSecret=broker-ca",
            "externalBroker.clientSecret=broker-client",
            "facade.auth.mode=api-key",
            "facade.auth.existingSecret=facade-keys",
        ],
    ),
];

/// Runs the real helm, which keeps what it remembers in a folder of the tests.
pub fn helm(args: &[&str]) -> Output {
    helm_as(None, args)
}

pub fn helm_as(kubeconfig: Option<&Path>, args: &[&str]) -> Output {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    let mut command = Command::new(tools::bin("helm"));
    for (name, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(name, home.join(folder));
    }
    match kubeconfig {
        Some(path) => command.env("KUBECONFIG", path),
        None => command.env("KUBECONFIG", "/dev/null"),
    };
    command.args(args);
    run(command, "")
}

/// The flags for these values; one that is a path is a file of values.
pub fn set<'a>(values: &[&'a str]) -> Vec<&'a str> {
    let flag =
        |value: &&'a str| if value.contains("/values-") { ["--values", *value] } else { ["--set", *value] };
    values.iter().flat_map(flag).collect()
}

/// What `helm template` prints.
#[track_caller]
pub fn template(values: &[&str], more: &[&str]) -> String {
    let fixed = ["template", RELEASE, CHART, "--namespace", RELEASE];
    helm(&[&fixed, set(values).as_slice(), more].concat()).ok()
}

/// Every object that these values render, without the definitions in crds/.
#[track_caller]
pub fn render(values: &[&str], more: &[&str]) -> Vec<Value> {
    objects(&template(values, more))
}

/// The documents of a stream of YAML that say something.
pub fn objects(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n").map(|part| part.trim_start_matches("---\n"));
    let documents = documents
        .map(|part| serde_yaml::from_str::<Value>(part).unwrap_or_else(|error| panic!("{error} in\n{part}")));
    documents.filter(Value::is_object).collect()
}

/// Where the objects of a kind have their pods' template.
pub fn pod_of(object: &Value) -> Option<Value> {
    match object["kind"].as_str()? {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => Some(object["spec"]["template"].clone()),
        "Pod" => Some(
            serde_json::json!({"metadata": {"labels": object["metadata"]["labels"]}, "spec": object["spec"]}),
        ),
        _ => None,
    }
}

/// `Kind/name`, for messages.
pub fn title(object: &Value) -> String {
    format!(
        "{}/{}",
        object["kind"].as_str().unwrap_or("?"),
        object["metadata"]["name"].as_str().unwrap_or("?")
    )
}
