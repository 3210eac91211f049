//! Enforced properties: writes to them are heard of, telemetry beside them is not.
use serde_json::{Value, json};

use super::{DEVICE, Desk, NO_RESYNC, SOON, ditto};
use crate::support::wait_for;

pub fn heard(desk: &Desk, properties: u64) {
    let what = format!("{properties} properties to be listened for, in:\n{}", desk.operator.child.log());
    wait_for(&what, SOON, || {
        (desk.operator.metric("twinops_kept_properties{state=\"heard\"}") == properties).then_some(())
    });
    // The resync that follows is not what is tested.
    let whole = || desk.operator.metric("twinops_resyncs_total{result=\"whole\"}");
    wait_for("the resync after it", SOON, || (whole() > 0).then_some(()));
    std::thread::sleep(std::time::Duration::from_secs(1));
}

fn with_unit(desk: &Desk, name: &str, mode: &str) -> Value {
    let mut twin = desk.twin(name);
    let path = "/features/temperature/properties/unit";
    twin["spec"]["management"] = json!({"fields": [{"path": path, "mode": mode}]});
    twin
}

#[test]
fn a_write_to_an_enforced_property_is_repaired_at_once_however_it_was_written() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    desk.apply(&with_unit(&desk, "pump", "Enforce")).ok();
    desk.wait_ready("dt", "pump");
    heard(&desk, 2);
    let resyncs = || desk.operator.metric("twinops_resyncs_total{result=\"whole\"}");
    let before = resyncs();
    let writes = [
        ("PUT", "/features/temperature/properties/unit", json!("kelvin")),
        ("PUT", "/features/temperature/properties", json!({"value": 1})),
        ("PATCH", "/features", json!({"temperature": {"properties": {"unit": "kelvin", "value": 2}}})),
        ("DELETE", "/features/temperature/properties/unit", Value::Null),
    ];
    for (method, path, value) in writes {
        let target = format!("/things/{}{path}", desk.id("pump"));
        let body = (!value.is_null()).then_some(&value);
        let (status, answer) = ditto().call(DEVICE, method, &target, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        let what = format!("the repair of {method} {path}, in:\n{}", desk.operator.child.log());
        wait_for(&what, SOON, || {
            (desk.thing("pump")?["features"]["temperature"]["properties"]["unit"] == "celsius").then_some(())
        });
    }
    assert_eq!(resyncs(), before, "no resync has found it");
    desk.wait("dt", "pump", "told who it was", |twin| {
        (twin["status"]["drift"]["originator"] == DEVICE).then_some(())
    });
}

#[test]
fn telemetry_beside_an_enforced_property_wakes_nobody() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    desk.apply(&with_unit(&desk, "pump", "Enforce")).ok();
    desk.wait_ready("dt", "pump");
    heard(&desk, 2);
    let changes = || desk.operator.metric("twinops_changes_total{result=\"of_twins\"}");
    let (told, passes) = (changes(), desk.operator.passes());
    let features = format!("/things/{}/features", desk.id("pump"));
    for value in 0..20 {
        // As the bridge writes, and with the unit that is declared.
        let merge = json!({"temperature": {"properties": {"value": value, "unit": "celsius"}}});
        assert_eq!(ditto().call(DEVICE, "PATCH", &features, Some(&merge)).0, 204);
        let path = format!("{features}/temperature/properties/value");
        assert_eq!(ditto().call(DEVICE, "PUT", &path, Some(&json!(value))).0, 204);
    }
    let unit = format!("{features}/temperature/properties/unit");
    assert_eq!(ditto().call(DEVICE, "PUT", &unit, Some(&json!("kelvin"))).0, 204);
    wait_for("the one that matters", SOON, || (changes() > told).then_some(()));
    wait_for("the repair", SOON, || (desk.operator.passes() > passes).then_some(()));
    assert_eq!((changes(), desk.operator.passes()), (told + 1, passes + 1));
}

/// Two twins with values of their own, so that Ditto is told none; each repeats its own with every message.
#[test]
fn telemetry_that_repeats_an_enforced_property_starts_no_pass_for_each_message() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    for name in ["pump", "valve"] {
        let mut twin = with_unit(&desk, name, "Enforce");
        twin["spec"]["features"]["temperature"]["properties"]["unit"] = json!(name);
        desk.apply(&twin).ok();
        desk.wait_ready("dt", name);
    }
    heard(&desk, 2);
    let told = |result: &str| desk.operator.metric(&format!("twinops_changes_total{{result=\"{result}\"}}"));
    let (woken, passes) = (told("of_twins"), desk.operator.passes());
    let features = format!("/things/{}/features", desk.id("pump"));
    let write = |unit: &str, value: i32| {
        let merge = json!({"temperature": {"properties": {"value": value, "unit": unit}}});
        assert_eq!(ditto().call(DEVICE, "PATCH", &features, Some(&merge)).0, 204);
    };
    (0..20).for_each(|value| write("pump", value));
    wait_for("the messages to be put together", SOON, || (told("put_together") >= 15).then_some(()));
    // The last of a flood is not lost with the others.
    write("kelvin", 20);
    wait_for("the repair", SOON, || {
        (desk.thing("pump")?["features"]["temperature"]["properties"]["unit"] == "pump").then_some(())
    });
    let (woken, passes) = (told("of_twins") - woken, desk.operator.passes() - passes);
    assert!(woken <= 3 && passes <= 3, "{woken} wakes and {passes} passes for 21 messages");
}

#[test]
fn desired_properties_that_are_written_with_all_features_are_repaired_at_once() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    let mut twin = desk.twin("pump");
    twin["spec"]["features"]["temperature"]["definition"] = json!(["org.example:temperature:1"]);
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "pump");
    heard(&desk, 2);
    let resyncs = || desk.operator.metric("twinops_resyncs_total{result=\"whole\"}");
    let before = resyncs();
    let target = format!("/things/{}/features", desk.id("pump"));
    let declared = &desk.thing("pump").unwrap()["features"]["temperature"];
    let writes = [
        ("PATCH", json!({"temperature": {"desiredProperties": {"reportingInterval": 5}}})),
        ("PATCH", json!({"temperature": {"definition": ["org.example:other:1"]}})),
        ("PUT", json!({"temperature": {"properties": {"value": 1}}})),
    ];
    for (method, value) in writes {
        let (status, answer) = ditto().call(DEVICE, method, &target, Some(&value));
        assert!(status < 300, "{method} {value}: {status} {answer}");
        let what = format!("the repair of {method} {value}, in:\n{}", desk.operator.child.log());
        wait_for(&what, SOON, || {
            let now = &desk.thing("pump")?["features"]["temperature"];
            ["desiredProperties", "definition"].iter().all(|part| now[part] == declared[part]).then_some(())
        });
    }
    assert_eq!(resyncs(), before, "no resync has found it");
}

#[test]
fn the_streams_follow_what_is_declared() {
    let desk = Desk::new(NO_RESYNC);
    desk.apply(&desk.policy("sensors")).ok();
    for (name, mode) in [("pump", "Seed"), ("valve", "Enforce")] {
        desk.apply(&with_unit(&desk, name, mode)).ok();
        desk.wait_ready("dt", name);
    }
    heard(&desk, 2);
    let mut pump = with_unit(&desk, "pump", "Enforce");
    let both = "/features/temperature/properties";
    pump["spec"]["management"]["fields"] = json!([{"path": both, "mode": "Enforce"}]);
    desk.apply(&pump).ok();
    heard(&desk, 3);
    let path = format!("/things/{}/features/temperature/properties/value", desk.id("pump"));
    assert_eq!(ditto().call(DEVICE, "PUT", &path, Some(&json!(7))).0, 204);
    wait_for("the repair", SOON, || {
        (desk.thing("pump")?["features"]["temperature"]["properties"]["value"] == 22.5).then_some(())
    });
    desk.delete("dt", "pump");
    desk.wait_gone("dt", "pump");
    heard(&desk, 2);
}
