//! The stream of changes: drift is repaired when it happens, and telemetry wakes nobody.
use serde_json::json;

use super::{DEVICE, Desk, NO_RESYNC, SOON, USER, ditto};
use crate::support::ditto::Ditto;
use crate::support::gate::Gate;
use crate::support::wait_for;

fn listens(desk: &Desk) {
    wait_for("the stream of changes", SOON, || {
        (desk.operator.metric("twinops_listening") == 1).then_some(())
    });
}

#[track_caller]
fn wait_repaired(desk: &Desk) {
    wait_for(&format!("the repair, in:\n{}", desk.operator.child.log()), SOON, || {
        (desk.thing("pump")?["attributes"]["location"] == "warehouse-1").then_some(())
    });
}

#[test]
fn an_outside_write_is_repaired_at_once_and_says_who_it_was() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    listens(&desk);
    let path = format!("/things/{}/attributes/location", desk.id("pump"));
    assert_eq!(ditto().call(USER, "PUT", &path, Some(&json!("anywhere"))).0, 204);
    wait_repaired(&desk);
    let told = desk.wait("dt", "pump", "told its drift", |twin| {
        (twin["status"]["drift"]["count"] == 1).then(|| twin["status"]["drift"].clone())
    });
    assert_eq!(told["paths"], json!(["/attributes/location"]));
    assert_eq!(told["originator"], USER);
    assert!(desk.operator.metric("twinops_drift_total{kind=\"DigitalTwin\",result=\"repaired\"}") > 0);
}

#[test]
fn a_thing_that_somebody_deleted_comes_back_at_once() {
    let desk = Desk::new(NO_RESYNC);
    desk.sensor("pump");
    listens(&desk);
    assert_eq!(ditto().call(USER, "DELETE", &format!("/things/{}", desk.id("pump")), None).0, 204);
    wait_for("the thing", SOON, || desk.thing("pump"));
}

#[test]
fn telemetry_and_own_writes_wake_nobody() {
    let desk = Desk::new(NO_RESYNC);
    let mut twin = desk.sensor("pump");
    listens(&desk);
    super::kept::heard(&desk, 1);
    let changes = || desk.operator.metric("twinops_changes_total{result=\"of_twins\"}");
    let (heard, passes) = (changes(), desk.operator.passes());
    let path = format!("/things/{}/features/temperature/properties/value", desk.id("pump"));
    for value in 0..20 {
        assert_eq!(ditto().call(DEVICE, "PUT", &path, Some(&json!(value))).0, 204);
    }
    twin["spec"]["attributes"]["location"] = json!("warehouse-2");
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "pump");
    // What comes after them on the stream shows that they have passed, or were left out.
    let path = format!("/things/{}/attributes/note", desk.id("pump"));
    assert_eq!(ditto().call(USER, "PUT", &path, Some(&json!("by hand"))).0, 201);
    wait_for("a change that is heard of", SOON, || (changes() > heard).then_some(()));
    assert_eq!(changes(), heard + 1);
    wait_for("its pass", SOON, || {
        (desk.operator.metric("twinops_change_delay_seconds_count") > 0).then_some(())
    });
    assert_eq!(desk.operator.passes(), passes + 2, "one for the edit, one for the note");
    assert_eq!(desk.thing("pump").unwrap()["features"]["temperature"]["properties"]["value"], 19);
}

#[test]
fn f28_a_stream_that_fell_silent_is_opened_again_and_what_it_missed_is_found() {
    let gate = Gate::before(&ditto().url);
    let desk = Desk::beside(&Ditto { url: gate.url.clone() }, NO_RESYNC, &[]);
    desk.sensor("pump");
    listens(&desk);
    // The connection stays open, and nothing comes through it: as behind a router that lost its state.
    gate.hold(|line| line.contains("filter="));
    let path = format!("/things/{}/attributes/location", desk.id("pump"));
    assert_eq!(ditto().call(USER, "PUT", &path, Some(&json!("anywhere"))).0, 204);
    wait_for("the silence to be noticed", SOON, || {
        desk.operator.child.log().contains("the stream was silent").then_some(())
    });
    assert_eq!(desk.thing("pump").unwrap()["attributes"]["location"], "anywhere");
    gate.open();
    wait_repaired(&desk);
}
