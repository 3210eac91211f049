//! What would disturb other tests: definitions that come late, change and go, and an operator over all
//! namespaces. On an API server of its own.
use serde_json::{Value, json};

use super::{
    HOME, Operator, QUICK_RESYNC, SOON, chart, condition, ditto, let_operator_in, let_operator_lead,
};
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
    cluster.kubectl("admin", &["apply", "--server-side", "--force-conflicts", "-f", CRDS]).ok();
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
    f18_definitions_of_another_version_lose_nothing(&cluster, &operator);
    f21_rights_that_are_taken_away_and_given_back_lose_nothing(&cluster, &operator);
    f19_terminating_definitions_leave_things(&cluster, ditto());
    readiness(&operator, "twinops crds | kubectl apply");
    f19_definitions_that_are_installed_again_find_their_things(&cluster, &mut operator);
    assert!(operator.child.stop().success(), "{}", operator.child.log());
}

/// The definition of twins, changed at this place of its schema.
fn change(cluster: &Cluster, operation: &Value) {
    let crd = "digitaltwins.twinops.dev";
    cluster
        .kubectl("admin", &["patch", "crd", crd, "--type=json", "-p", &json!([operation]).to_string()])
        .ok();
}

fn schema(place: &str) -> String {
    format!("/spec/versions/0/schema/openAPIV3Schema/properties/{place}")
}

fn get(cluster: &Cluster, name: &str) -> Value {
    serde_json::from_str(&cluster.kubectl("admin", &["get", "dt", name, "-o", "json"]).ok()).unwrap()
}

/// Moves the twin in Kubernetes.
fn move_to(cluster: &Cluster, place: &str) {
    let patch = json!({"spec": {"attributes": {"place": place}}}).to_string();
    cluster.kubectl("admin", &["patch", "dt", "pump", "--type=merge", "-p", &patch]).ok();
}

fn is_moved(operator: &Operator, place: &str) {
    wait_for(&format!("the thing to be at {place}, in:\n{}", operator.child.log()), SOON, || {
        (ditto().thing(super::USER, "org.solo:pump")?["attributes"]["place"] == place).then_some(())
    });
}

fn is_reported(cluster: &Cluster, operator: &Operator) -> Value {
    wait_for(&format!("the report, in:\n{}", operator.child.log()), SOON, || {
        let twin = get(cluster, "pump");
        let is_new = twin["status"]["observedGeneration"] == twin["metadata"]["generation"];
        (is_new && condition(&twin, "Ready")["status"] == "True").then_some(twin)
    })
}

fn f18_definitions_of_another_version_lose_nothing(cluster: &Cluster, operator: &Operator) {
    // Newer than the operator: one field more in spec, one in status.
    for part in ["spec", "status"] {
        let path = schema(&format!("{part}/properties/novelty"));
        change(cluster, &json!({"op": "add", "path": path, "value": {"type": "string"}}));
    }
    let novelty = |part: &str| json!({part: {"novelty": "kept"}}).to_string();
    wait_for("the newer definition", SOON, || {
        cluster.kubectl("admin", &["patch", "dt", "pump", "--type=merge", "-p", &novelty("spec")]).ok();
        (get(cluster, "pump")["spec"]["novelty"] == "kept").then_some(())
    });
    let of_status = ["patch", "dt", "pump", "--subresource=status", "--type=merge", "-p"];
    cluster.kubectl("admin", &[&of_status[..], &[&novelty("status")]].concat()).ok();
    move_to(cluster, "newer");
    is_moved(operator, "newer");
    let twin = is_reported(cluster, operator);
    assert_eq!(
        (&twin["spec"]["novelty"], &twin["status"]["novelty"]),
        (&json!("kept"), &json!("kept")),
        "{twin:#}"
    );
    let finalizers = twin["metadata"]["finalizers"].as_array().unwrap();
    assert!(finalizers.contains(&json!("twinops.dev/ditto")), "{twin:#}");

    // Older than the operator: fields of its status are not known.
    for name in ["lastSyncTime", "drift", "revision"] {
        change(cluster, &json!({"op": "remove", "path": schema(&format!("status/properties/{name}"))}));
    }
    wait_for("the older definition", SOON, || {
        move_to(cluster, "older");
        get(cluster, "pump")["status"]["lastSyncTime"].is_null().then_some(())
    });
    is_moved(operator, "older");
    let twin = is_reported(cluster, operator);
    assert!(
        twin["status"]["lastSyncTime"].is_null() && twin["status"]["lastApplied"].is_object(),
        "{twin:#}"
    );
    // What can never be reported does not keep the twin from rest.
    // A status that lost fields is looked at once more within 5 s, as one that somebody else wrote.
    wait_for(&format!("rest, in:\n{}", operator.child.log()), SOON, || {
        let passes = operator.passes();
        operator.wait_resyncs();
        (operator.passes() == passes).then_some(())
    });
    install(cluster);
    move_to(cluster, "equal");
    wait_for("the whole report", SOON, || {
        get(cluster, "pump")["status"]["lastSyncTime"].is_string().then_some(())
    });
}

fn f21_rights_that_are_taken_away_and_given_back_lose_nothing(cluster: &Cluster, operator: &Operator) {
    let revision = || ditto().thing(super::USER, "org.solo:pump").unwrap()["_revision"].as_u64().unwrap();
    let refusals = || operator.child.log().matches("status was not written").count();
    let (before, told) = (revision(), refusals());
    for binding in chart(&["ClusterRoleBinding"], HOME) {
        let name = binding["metadata"]["name"].as_str().expect("a name");
        cluster.kubectl("admin", &["delete", "clusterrolebinding", name]).ok();
    }
    move_to(cluster, "unreported");
    // A watch that stands shows the edit, and its report is refused; one that has to begin anew is refused itself.
    wait_for("the loss to be told", SOON, || {
        (refusals() > told || operator.get("/readyz").0 == 503).then_some(())
    });
    assert_eq!(operator.get("/livez").0, 200, "a restart would help nobody");
    let twin = get(cluster, "pump");
    assert_ne!(twin["status"]["observedGeneration"], twin["metadata"]["generation"], "{twin:#}");
    let_operator_in(cluster);
    is_moved(operator, "unreported");
    is_reported(cluster, operator);
    assert_eq!(revision(), before + 1, "nothing is written twice");
}

fn f19_definitions_that_are_installed_again_find_their_things(cluster: &Cluster, operator: &mut Operator) {
    let before = ditto().thing(super::USER, "org.solo:pump").expect("it stayed");
    install(cluster);
    cluster.apply_stdin("admin", &twin("pump", &json!(false)).to_string(), true).ok();
    operator.wait_ready();
    let twin = is_reported(cluster, operator);
    let after = ditto().thing(super::USER, "org.solo:pump").unwrap();
    assert_eq!(after["_metadata"]["twinops"]["uid"], twin["metadata"]["uid"]);
    assert_eq!(after["policyId"], before["policyId"]);
    let (before, after) = (before["_revision"].as_u64().unwrap(), after["_revision"].as_u64().unwrap());
    assert_eq!(after, before + 1, "one patch tells whose it is now; it was never deleted");
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
