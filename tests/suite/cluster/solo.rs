//! What would disturb other tests: definitions that come late, change and go, and an operator over all
//! namespaces. On an API server of its own.
use serde_json::{Value, json};

use super::{Operator, QUICK_RESYNC, SOON, condition, ditto, let_operator_in, let_operator_lead};
use crate::support::apiserver::Cluster;
use crate::support::ditto::Ditto;
use crate::support::wait_for;

const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");

fn twin(name: &str, suspend: &Value) -> Value {
    json!({
        "apiVersion": "twinops.dev/v1alpha1", "kind": "DigitalTwin",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"thingId": format!("org.solo:{name}"), "policyRef": {"name": "all"}, "suspend": suspend},
    })
}

fn policy() -> Value {
    let all = json!({"grant": ["READ", "WRITE"]});
    json!({
        "apiVersion": "twinops.dev/v1alpha1", "kind": "TwinPolicy",
        "metadata": {"name": "all", "namespace": "default"},
        "spec": {"policyId": "org.solo:all", "entries": {"people": {
            "subjects": {super::USER: {"type": "user"}}, "resources": {"thing:/": all, "policy:/": all},
        }}},
    })
}

fn is_ready(cluster: &Cluster, name: &str) -> Option<()> {
    let output = cluster.kubectl("admin", &["get", "dt", name, "-o", "json", "--ignore-not-found"]).ok();
    let twin: Value = serde_json::from_str(&output).ok()?;
    (condition(&twin, "Ready")["status"] == "True").then_some(())
}

fn install(cluster: &Cluster) {
    cluster.kubectl("admin", &["apply", "--server-side", "-f", CRDS]).ok();
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
    cluster.kubectl("admin", &wait).ok();
}

/// Lets anything stand in `spec.suspend`, as a definition of another version may.
fn loosen(cluster: &Cluster) {
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend";
    let any =
        json!([{"op": "replace", "path": path, "value": {"x-kubernetes-preserve-unknown-fields": true}}]);
    let crd = "digitaltwins.twinops.dev";
    cluster.kubectl("admin", &["patch", "crd", crd, "--type=json", "-p", &any.to_string()]).ok();
}

#[test]
fn definitions_come_late_one_resource_is_unreadable_and_definitions_go() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start().unwrap();
    let mut operator = Operator::start(&cluster, ditto(), folder.path(), &["--resync", QUICK_RESYNC]);
    let readiness = |operator: &Operator, text: &str| {
        let what = format!("{text:?} from readiness, in:\n{}", operator.child.log());
        wait_for(&what, SOON, || operator.get("/readyz").1.contains(text).then_some(()));
    };
    readiness(&operator, "cannot get resource \"namespaces\"");
    readiness(&operator, "manifests/operator-rbac.yaml");
    let_operator_in(&cluster);
    readiness(&operator, "twinops crds | kubectl apply");
    install(&cluster);
    readiness(&operator, "the lease: Kubernetes does not allow it");
    let_operator_lead(&cluster, "default");
    operator.wait_ready();

    f20_one_unreadable_object_stops_nobody(&cluster, &operator);
    f19_terminating_definitions_leave_things(&cluster, ditto());
    assert!(operator.child.stop().success(), "{}", operator.child.log());
}

fn f20_one_unreadable_object_stops_nobody(cluster: &Cluster, operator: &Operator) {
    loosen(cluster);
    wait_for("the looser definition", SOON, || {
        cluster
            .apply_stdin("admin", &twin("broken", &json!({"not": "a word"})).to_string(), true)
            .success
            .then_some(())
    });
    cluster.apply_stdin("admin", &policy().to_string(), true).ok();
    cluster.apply_stdin("admin", &twin("pump", &json!(false)).to_string(), true).ok();
    wait_for("the other twin to be Ready", SOON, || is_ready(cluster, "pump"));
    wait_for("an Event about the one that cannot be read", SOON, || {
        let events = cluster.kubectl("admin", &["get", "events.events.k8s.io", "-o", "json"]).ok();
        (events.contains("Unreadable") && events.contains("broken")).then_some(())
    });
    assert!(operator.get("/metrics").1.contains("twinops_dropped_total{what=\"unreadable_resources\"}"));

    cluster.apply_stdin("admin", &twin("broken", &json!(false)).to_string(), true).ok();
    wait_for("the repaired one to be Ready", SOON, || is_ready(cluster, "broken"));
}

fn f19_terminating_definitions_leave_things(cluster: &Cluster, ditto: &Ditto) {
    let before = ditto.thing(super::USER, "org.solo:pump").expect("the thing is there");
    cluster.kubectl("admin", &["delete", "crd", "digitaltwins.twinops.dev", "--timeout=60s"]).ok();
    let crds = cluster.kubectl("admin", &["get", "crd", "-o", "name"]).ok();
    assert!(!crds.contains("digitaltwins"), "finalizers are off and the definition went: {crds}");
    let after = ditto.thing(super::USER, "org.solo:pump").expect("nobody meant to delete the thing");
    assert_eq!(after, before);
}
