//! An operator whose view of the cluster is late.
use serde_json::json;

use super::{Desk, NO_RESYNC, SOON, USER, account, cluster, condition, ditto};
use crate::support::gate::Gate;
use crate::support::wait_for;

fn is_watch_of_twins(line: &str) -> bool {
    line.contains("/digitaltwins?") && line.contains("watch=true")
}

#[test]
fn f5_a_late_view_is_not_taken_for_a_restored_cluster() {
    let gate = Gate::before(cluster().url());
    let desk =
        Desk::through(&cluster().kubeconfig_through(&account(cluster()), &gate.url), ditto(), NO_RESYNC, &[]);
    let mut twin = desk.sensor("pump");
    let mark = desk.thing("pump").unwrap()["_metadata"]["twinops"].clone();

    gate.hold(is_watch_of_twins);
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&twin).ok();
    // Another operator was faster: the mark says so, and our watch does not yet.
    let mut newer = mark;
    newer["generation"] = json!(2);
    let header = json!([{"key": "/twinops", "value": newer}]).to_string();
    let path = format!("/things/{}", desk.id("pump"));
    let patch = json!({"attributes": {"location": "warehouse-2"}});
    let (status, answer) =
        ditto().call_with(USER, "PATCH", &path, Some(&patch), &[("put-metadata", &header)]);
    assert_eq!(status, 204, "{answer}");
    // What a namespace may name wakes its twins, through a watch of its own.
    let grants = format!("twinops.dev/ditto-namespaces=org.other,{}", desk.ditto_namespace);
    desk.kubectl(&["annotate", "namespace", &desk.namespace, &grants]).ok();
    wait_for("a pass that asks the API server itself", SOON, || {
        let log = desk.operator.child.log();
        assert!(!log.contains("StaleResource"), "{log}");
        log.contains("the watch is behind").then_some(())
    });
    let seen = desk.get("dt", "pump").unwrap();
    assert_eq!(condition(&seen, "Ready")["status"], "True", "{seen:#}");

    gate.open();
    let seen = desk.wait_ready("dt", "pump");
    assert_eq!(seen["status"]["observedGeneration"], 2);
}

#[test]
fn f5_a_mark_ahead_of_its_resource_stops_it_until_somebody_takes_over() {
    let desk = Desk::new(NO_RESYNC);
    let mut twin = desk.sensor("pump");
    let mut mark = desk.thing("pump").unwrap()["_metadata"]["twinops"].clone();
    mark["generation"] = json!(7);
    let header = json!([{"key": "/twinops", "value": mark}]).to_string();
    let path = format!("/things/{}", desk.id("pump"));
    let patch = json!({"attributes": {"location": "restored"}});
    let (status, answer) =
        ditto().call_with(USER, "PATCH", &path, Some(&patch), &[("put-metadata", &header)]);
    assert_eq!(status, 204, "{answer}");
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&twin).ok();
    let message = desk.wait_reason("dt", "pump", "StaleResource");
    assert!(message.contains("twinops.dev/takeover: \"7\""), "{message}");
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "restored");
    desk.kubectl(&["annotate", "dt", "pump", "twinops.dev/takeover=7"]).ok();
    desk.wait_ready("dt", "pump");
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "warehouse-2");
}
