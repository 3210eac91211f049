//! The life of one twin: created, edited, changed behind our back, told apart from its telemetry.
use serde_json::json;

use super::{DEVICE, Desk, NO_RESYNC, QUICK_RESYNC, SOON, USER, condition, ditto};
use crate::support::wait_for;

#[test]
fn a_twin_becomes_a_thing_and_says_so_in_columns() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    let thing = desk.thing("pump").expect("the user sees the thing");
    assert_eq!(thing["attributes"], json!({"location": "warehouse-1"}));
    let temperature = &thing["features"]["temperature"];
    assert_eq!(temperature["properties"], json!({"value": 22.5, "unit": "celsius"}));
    assert_eq!(thing["policyId"], json!(desk.id("sensors")));
    let mark = &thing["_metadata"]["twinops"];
    let twin = desk.get("dt", "pump").unwrap();
    assert_eq!(
        (&mark["uid"], &mark["namespace"], &mark["name"], &mark["origin"]),
        (&twin["metadata"]["uid"], &json!(desk.namespace), &json!("pump"), &json!("Created"))
    );

    let table = desk.kubectl(&["get", "dt", "pump"]).ok();
    let columns: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(columns[0], ["NAME", "THING", "POLICY", "READY", "REASON", "DRIFT", "AGE"], "{table}");
    let [thing_id, policy_id] = [desk.id("pump"), desk.id("sensors")];
    assert_eq!(columns[1][..5], ["pump", &thing_id, &policy_id, "True", "Applied"], "{table}");

    let status = &twin["status"];
    assert_eq!((&status["origin"], &status["revision"]), (&json!("Created"), &json!(1)));
    for kind in ["Ready", "Synced", "ReferencesResolved", "Drifted", "ReconciliationPaused"] {
        assert_eq!(condition(&twin, kind)["observedGeneration"], 1, "{kind} is set on the first pass");
    }
    wait_for("an Event that says Applied", SOON, || {
        let events = desk.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).ok();
        (events.contains("\"reason\": \"Applied\"") && events.contains("DigitalTwin")).then_some(())
    });
}

#[test]
fn an_edit_is_one_patch_of_what_was_edited() {
    let desk = Desk::new(NO_RESYNC);
    let mut twin = desk.sensor("pump");
    desk.patch_thing(DEVICE, "pump", &json!({"features": {"temperature": {"properties": {"value": 80}}}}));
    let before = desk.thing("pump").unwrap();
    twin["spec"]["attributes"] = json!({"site": "north"});
    twin["spec"]["features"]["temperature"]["desiredProperties"]["reportingInterval"] = json!(60);
    desk.apply(&twin).ok();
    let seen = desk.wait_ready("dt", "pump");

    let after = desk.thing("pump").unwrap();
    let revision = before["_revision"].as_u64().unwrap() + 1;
    assert_eq!(after["_revision"], revision, "one patch");
    assert_eq!(seen["status"]["revision"], revision);
    assert_eq!(after["attributes"], json!({"site": "north"}), "what left the spec left the thing");
    let temperature = &after["features"]["temperature"];
    assert_eq!(temperature["desiredProperties"]["reportingInterval"], 60);
    assert_eq!(temperature["properties"]["value"], 80, "the device's value stays");
}

#[test]
fn an_owned_field_changed_behind_our_back_is_repaired_at_resync() {
    let desk = Desk::new(QUICK_RESYNC);
    desk.sensor("pump");
    let foreign = json!({"attributes": {"location": "stolen", "note": "by hand"}});
    desk.patch_thing(USER, "pump", &foreign);
    wait_for("the repair", SOON, || {
        let thing = desk.thing("pump")?;
        (thing["attributes"] == json!({"location": "warehouse-1", "note": "by hand"})).then_some(())
    });
    let twin = desk.wait("dt", "pump", "told its drift", |twin| {
        (twin["status"]["drift"]["count"] == 1).then(|| twin.clone())
    });
    assert_eq!(twin["status"]["drift"]["paths"], json!(["/attributes/location"]));
    assert_eq!(condition(&twin, "Drifted")["reason"], "NoDrift");
    assert_eq!(condition(&twin, "Ready")["status"], "True");
}

#[test]
fn reported_drift_is_left_and_told_once() {
    let desk = Desk::new(QUICK_RESYNC);
    let mut twin = desk.twin("pump");
    twin["spec"]["management"] = json!({"drift": "Report"});
    desk.apply(&desk.policy("sensors")).ok();
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "pump");
    desk.patch_thing(USER, "pump", &json!({"attributes": {"location": "elsewhere"}}));
    let told = desk.wait("dt", "pump", "reported", |twin| {
        (condition(twin, "Drifted")["reason"] == "DriftReported").then(|| twin.clone())
    });
    assert_eq!(condition(&told, "Ready")["status"], "True");
    for value in 0..3 {
        let patch = json!({"features": {"temperature": {"properties": {"value": value}}}});
        desk.patch_thing(DEVICE, "pump", &patch);
    }
    desk.operator.wait_resyncs();
    let later = desk.get("dt", "pump").unwrap();
    assert_eq!(later["metadata"]["resourceVersion"], told["metadata"]["resourceVersion"], "{later:#}");
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "elsewhere");
}

#[test]
fn telemetry_is_neither_overwritten_nor_written_to_status() {
    let desk = Desk::new(QUICK_RESYNC);
    desk.sensor("pump");
    let before = desk.get("dt", "pump").unwrap();
    for value in 0..5 {
        let patch = json!({"features": {"temperature": {"properties": {"value": value, "unit": null}}}});
        desk.patch_thing(DEVICE, "pump", &patch);
    }
    let thing = desk.thing("pump").unwrap();
    desk.operator.wait_resyncs();
    assert_eq!(desk.thing("pump").unwrap(), thing, "not even the seed the device took away comes back");
    let after = desk.get("dt", "pump").unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
}

#[test]
fn a_suspended_twin_is_left_alone_until_it_goes_on() {
    let desk = Desk::new(QUICK_RESYNC);
    let mut twin = desk.sensor("pump");
    twin["spec"]["suspend"] = json!(true);
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&twin).ok();
    let paused = desk.wait("dt", "pump", "paused", |twin| {
        (condition(twin, "ReconciliationPaused")["status"] == "True").then(|| twin.clone())
    });
    assert_eq!(condition(&paused, "Ready")["status"], "True", "it keeps what it said before");
    desk.patch_thing(USER, "pump", &json!({"attributes": {"location": "anywhere"}}));
    desk.operator.wait_resyncs();
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "anywhere");

    twin["spec"]["suspend"] = json!(false);
    desk.apply(&twin).ok();
    wait_for("the edit to arrive", SOON, || {
        (desk.thing("pump")?["attributes"]["location"] == "warehouse-2").then_some(())
    });
    let seen = desk.wait_ready("dt", "pump");
    assert_eq!(condition(&seen, "ReconciliationPaused")["reason"], "Running");
}

#[test]
fn annotations_pause_and_start_a_pass() {
    let desk = Desk::new(NO_RESYNC);
    let mut twin = desk.sensor("pump");
    desk.kubectl(&["annotate", "dt", "pump", "twinops.dev/paused=true"]).ok();
    desk.wait("dt", "pump", "paused", |twin| {
        (condition(twin, "ReconciliationPaused")["status"] == "True").then_some(())
    });
    desk.patch_thing(USER, "pump", &json!({"attributes": {"location": "anywhere"}}));
    let heard = || desk.operator.metric("twinops_change_delay_seconds_count") > 0;
    wait_for("a pass that heard of it", SOON, || heard().then_some(()));
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "anywhere");
    desk.kubectl(&["annotate", "--overwrite", "dt", "pump", "twinops.dev/paused=false"]).ok();
    let location = || desk.thing("pump").unwrap()["attributes"]["location"].clone();
    wait_for("the repair after the pause", SOON, || (location() == "warehouse-1").then_some(()));

    // A property looks like telemetry: nobody hears of it, although this one is enforced.
    let unit = "/features/temperature/properties/unit";
    twin["spec"]["management"] = json!({"fields": [{"path": unit, "mode": "Enforce"}]});
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "pump");
    let path = format!("/things/{}{unit}", desk.id("pump"));
    assert_eq!(ditto().call(USER, "PUT", &path, Some(&json!("fahrenheit"))).0, 204);
    desk.kubectl(&["annotate", "dt", "pump", "twinops.dev/sync=now"]).ok();
    wait_for("the repair that was asked for", SOON, || {
        (ditto().call(USER, "GET", &path, None).1 == "celsius").then_some(())
    });
}

#[test]
fn f10_a_finalizer_that_somebody_took_off_comes_back_beside_those_of_others() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    let patch = r#"{"metadata": {"finalizers": ["example.com/theirs"]}}"#;
    desk.kubectl(&["patch", "dt", "pump", "--type=merge", "-p", patch]).ok();
    desk.wait("dt", "pump", "had both finalizers", |twin| {
        (twin["metadata"]["finalizers"] == json!(["example.com/theirs", "twinops.dev/ditto"])).then_some(())
    });
    let foreign = r#"{"metadata": {"finalizers": ["twinops.dev/ditto"]}}"#;
    desk.kubectl(&["patch", "dt", "pump", "--type=merge", "-p", foreign]).ok();
}

#[test]
fn metrics_and_health_tell_what_was_done() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    wait_for("metrics of both kinds", SOON, || {
        let (_, metrics) = desk.operator.get("/metrics");
        let lines = [
            r#"twinops_passes_total{kind="DigitalTwin",result="ready",reason="Applied"}"#,
            r#"twinops_passes_total{kind="TwinPolicy",result="ready",reason="Applied"}"#,
            r#"twinops_twins{state="ready"} 1"#,
            r#"twinops_events_total{reason="Applied"}"#,
        ];
        lines.iter().all(|line| metrics.contains(line)).then_some(())
    });
    let (status, health) = desk.operator.get("/health");
    assert_eq!(status, 200, "{health}");
    assert!(health.contains("\"kubernetes\":{\"status\":\"UP\"}"), "{health}");
}
