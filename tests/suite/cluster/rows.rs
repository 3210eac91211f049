//! Faults and attacks of the cluster's side, each by its row.
use serde_json::{Value, json};

use super::{Desk, NO_RESYNC, QUICK_RESYNC, SOON, USER, account, cluster, ditto};
use crate::support::ditto::Engine;
use crate::support::gate::Gate;
use crate::support::wait_for;

fn has_event(desk: &Desk, reason: &str, text: &str) -> bool {
    let events: Value =
        serde_json::from_str(&desk.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).ok()).unwrap();
    let mut all = events["items"].as_array().into_iter().flatten();
    all.any(|event| event["reason"] == reason && event["note"].as_str().unwrap_or_default().contains(text))
}

#[test]
fn f3_a_crash_after_the_create_and_a_deletion_meanwhile_leave_no_orphan() {
    let gate = Gate::before(cluster().url());
    let kubeconfig = cluster().kubeconfig_through(&account(cluster()), &gate.url);
    let mut desk = Desk::through(&kubeconfig, ditto(), NO_RESYNC, &["--lease-duration", "2s"]);
    desk.apply(&desk.policy("sensors")).ok();
    desk.wait_ready("tp", "sensors");
    gate.refuse(|line| line.contains("/digitaltwins/pump/status"), (503, vec![], ""));
    desk.apply(&desk.twin("pump")).ok();
    wait_for("the thing", SOON, || desk.thing("pump"));
    desk.operator.child.kill();
    assert!(desk.get("dt", "pump").unwrap()["status"].is_null(), "nothing was reported");
    desk.delete("dt", "pump");
    desk.operator = desk.another(&["--resync", NO_RESYNC]);
    desk.operator.wait_ready();
    desk.wait_gone("dt", "pump");
    assert_eq!(desk.thing("pump"), None, "the id in the spec was enough");
}

#[test]
fn f8_an_api_server_that_is_away_is_waited_for() {
    let gate = Gate::before(cluster().url());
    let kubeconfig = cluster().kubeconfig_through(&account(cluster()), &gate.url);
    let desk = Desk::through(&kubeconfig, ditto(), NO_RESYNC, &["--lease-duration", "2s"]);
    let mut twin = desk.sensor("pump");
    gate.refuse(|_| true, (503, vec![], "etcd is away"));
    wait_for("the lease to be lost", SOON, || (!desk.operator.leads()).then_some(()));
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&twin).ok();
    assert_eq!(desk.operator.get("/livez").0, 200);
    let (status, text) = desk.operator.get("/readyz");
    assert!(status == 503 && text.contains("kubernetes: "), "{status} {text}");
    gate.let_through();
    desk.wait_ready("dt", "pump");
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "warehouse-2");
}

#[test]
fn f9_an_api_server_that_asks_for_patience_gets_it() {
    let gate = Gate::before(cluster().url());
    let kubeconfig = cluster().kubeconfig_through(&account(cluster()), &gate.url);
    let desk = Desk::through(&kubeconfig, ditto(), QUICK_RESYNC, &[]);
    let mut twin = desk.sensor("pump");
    let is_status = |line: &str| line.contains("/digitaltwins/pump/status");
    let later = r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "TooManyRequests", "code": 429,
        "message": "too many requests", "details": {"retryAfterSeconds": 3600}}"#;
    gate.refuse(is_status, (429, vec![("content-type", "application/json")], later));
    gate.forget();
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&twin).ok();
    let tries = || gate.passed().iter().filter(|line| is_status(line)).count();
    wait_for("the first try", SOON, || (tries() > 0).then_some(()));
    desk.operator.wait_resyncs();
    assert_eq!(tries(), 1, "not again within the hour that was asked for");
    gate.let_through();
    // An edit does not wait for it.
    desk.kubectl(&["annotate", "dt", "pump", "twinops.dev/sync=now"]).ok();
    desk.wait_ready("dt", "pump");
}

#[test]
fn f15_a_deletion_that_ditto_never_answers_says_why_and_can_be_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = Engine::start(folder.path(), None);
    let desk = Desk::beside(&engine.ditto, NO_RESYNC, &["--ditto-timeout", "1s"]);
    let mut twin = desk.sensor("pump");
    engine.child.kill();
    desk.delete("dt", "pump");
    let message = desk.wait_reason("dt", "pump", "DeletionFailed");
    assert!(message.contains("--ditto-url"), "{message}");
    wait_for("an Event that says so", SOON, || {
        has_event(&desk, "DeletionFailed", "--ditto-url").then_some(())
    });
    twin["spec"]["suspend"] = json!(true);
    desk.apply(&twin).ok();
    desk.wait_gone("dt", "pump");
    wait_for("an Event about what stays", SOON, || {
        has_event(&desk, "LeftInDitto", "suspended").then_some(())
    });
}

#[test]
fn f16_a_namespace_that_goes_takes_its_things_with_it() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    desk.kubectl(&["delete", "namespace", &desk.namespace, "--wait=false"]).ok();
    let refused = desk.kubectl(&["create", "configmap", "late"]).refused();
    assert!(refused.contains("because it is being terminated"), "{refused}");
    // What the namespace controller does: it deletes what is in it, kind by kind.
    desk.kubectl(&["delete", "dt", "--all", "--wait=false"]).ok();
    desk.kubectl(&["delete", "tp", "--all", "--wait=false"]).ok();
    desk.wait_gone("dt", "pump");
    desk.wait_gone("tp", "sensors");
    assert_eq!(desk.thing("pump"), None);
    let path = format!("/policies/{}", desk.id("sensors"));
    assert_eq!(ditto().call(USER, "GET", &path, None).0, 404);
    assert_eq!(desk.operator.get("/livez").0, 200, "an Event that may not be made ends nobody");

    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": desk.namespace}, "spec": {"finalizers": []},
    });
    let finalize = format!("/api/v1/namespaces/{}/finalize", desk.namespace);
    let path = crate::support::ditto::write(desk.folder.path(), "namespace.json", &namespace.to_string());
    desk.cluster.kubectl("admin", &["replace", "--raw", &finalize, "-f", path.to_str().unwrap()]).ok();
    wait_for("the namespace to go", SOON, || {
        let found =
            desk.cluster.kubectl("admin", &["get", "namespace", &desk.namespace, "--ignore-not-found"]);
        found.ok().is_empty().then_some(())
    });
}

#[test]
fn s35_a_policy_of_another_namespace_cannot_be_named() {
    let desk = Desk::new(NO_RESYNC);
    let other = desk.cluster.namespace();
    let mut policy = desk.policy("sensors");
    policy["metadata"]["namespace"] = json!(other);
    desk.cluster.apply_stdin("admin", &policy.to_string(), true).ok();
    let mut twin = desk.twin("pump");
    twin["spec"]["policyRef"]["namespace"] = json!(other);
    // Whether the API server refuses or prunes the field is its own affair.
    let applied = desk.apply(&twin);
    if applied.success {
        let message = desk.wait_reason("dt", "pump", "PolicyNotFound");
        assert!(message.contains(&desk.namespace), "{message}");
    } else {
        assert!(applied.stderr.contains("namespace"), "{}", applied.stderr);
    }
    assert_eq!(desk.thing("pump"), None);
}

#[test]
fn s38_what_looks_like_a_template_is_a_text() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    let mut twin = desk.twin("pump");
    let odd =
        json!({"a": "{{ thing:id }}", "b": "${HOME} $(id) `id`", "c": "x\r\ny: z", "d": "std.extVar('x')"});
    twin["spec"]["attributes"]["odd"] = odd.clone();
    twin["metadata"]["annotations"] = json!({"example.com/note": "{{ .Values }}\r\nx: y"});
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "pump");
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["odd"], odd);
}

#[test]
fn s41_a_policy_of_a_namespace_that_was_not_granted_cannot_be_used() {
    let desk = Desk::with(NO_RESYNC, &["--ditto-namespaces", "org.*"]);
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let policy = json!({"entries": {"all": {
        "subjects": {USER: {"type": "user"}, super::OPERATOR: {"type": "operator"}},
        "resources": {"thing:/": all, "policy:/": all},
    }}});
    let shared = format!("com.{}:shared", desk.namespace.replace('-', ""));
    assert_eq!(ditto().call(USER, "PUT", &format!("/policies/{shared}"), Some(&policy)).0, 201);
    let mut twin = desk.twin("pump");
    twin["spec"].as_object_mut().unwrap().remove("policyRef");
    twin["spec"]["policyId"] = json!(shared);
    desk.apply(&twin).ok();
    let message = desk.wait_reason("dt", "pump", "NamespaceNotAllowed");
    assert!(message.contains(&format!("com.{}", desk.namespace.replace('-', ""))), "{message}");
    assert_eq!(desk.thing("pump"), None);
}

#[test]
fn s42_a_status_edited_by_hand_deletes_nothing() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    desk.wait_ready("tp", "sensors");
    let foreign = json!({"policyId": desk.id("sensors"), "attributes": {"location": "warehouse-1"}});
    for name in ["pump", "victim"] {
        let path = format!("/things/{}", desk.id(name));
        assert_eq!(ditto().call(USER, "PUT", &path, Some(&foreign)).0, 201);
    }
    desk.apply(&desk.twin("pump")).ok();
    assert_eq!(desk.wait_ready("dt", "pump")["status"]["origin"], "Adopted");
    let forged = json!({"status": {"origin": "Created", "thingId": desk.id("victim"), "revision": 1}});
    desk.kubectl(&["patch", "dt", "pump", "--subresource=status", "--type=merge", "-p", &forged.to_string()])
        .ok();
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    assert!(desk.thing("victim").is_some(), "status names it, and nobody believes status");
    let kept = desk.thing("pump").expect("it was adopted, whatever status says");
    assert!(kept["_metadata"]["twinops"].is_null(), "{kept}");
}

/// Its own writes, of which it hears by the same watch, are no such thing.
#[test]
fn s42_a_status_that_somebody_else_wrote_is_put_right_without_an_edit() {
    let desk = Desk::new(NO_RESYNC);
    let twin = desk.sensor("pump");
    for location in ["hall-1", "hall-2", "hall-3"] {
        let mut twin = twin.clone();
        twin["spec"]["attributes"]["location"] = json!(location);
        desk.apply(&twin).ok();
        desk.wait_ready("dt", "pump");
    }
    let foreign = || {
        let kinds = ["DigitalTwin", "TwinPolicy"];
        kinds.map(|kind| desk.operator.metric(&format!("twinops_foreign_statuses_total{{kind=\"{kind}\"}}")))
    };
    assert_eq!(foreign(), [0, 0], "{}", desk.operator.child.log());
    let revision = desk.thing("pump").expect("the thing")["_revision"].clone();
    let cases = [("dt", "pump", [1, 0]), ("tp", "sensors", [1, 1])];
    for (kind, name, counts) in cases {
        let forged = json!({"status": {"conditions": [{
            "type": "Ready", "status": "False", "reason": "Forbidden", "message": "forged",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        }]}});
        let patch = ["patch", kind, name, "--subresource=status", "--type=merge", "-p", &forged.to_string()];
        desk.kubectl(&patch).ok();
        wait_for("the operator to notice", SOON, || (foreign() == counts).then_some(()));
        desk.wait_ready(kind, name);
    }
    desk.wait_ready("dt", "pump");
    assert_eq!(desk.thing("pump").expect("the thing")["_revision"], revision);
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "pump");
    assert_eq!(foreign(), [1, 1], "what it put right is its own write again");
}
