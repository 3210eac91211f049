//! From `spec.telemetry` to what the bridge does: API server, operator, engine, Mosquitto and bridge.
use serde_json::{Value, json};

use super::{Desk, NO_RESYNC, SOON, USER, ditto};
use crate::support::ditto::twinops;
use crate::support::mqtt::{self, Mosquitto, publish};
use crate::support::wait_for;

const BRIDGE: &str = "nginx:twinops-bridge";

#[test]
fn rules_for_telemetry_in_the_spec_reach_the_bridge_and_act() {
    let desk = Desk::with(NO_RESYNC, &["--bridge-subject", BRIDGE]);
    let mosquitto = Mosquitto::start(desk.folder.path(), "");
    let mut command = twinops();
    command.args(["bridge", "--management-listen", "127.0.0.1:0", "--mqtt-url"]);
    command.arg(format!("mqtt://127.0.0.1:{}", mosquitto.port));
    // It has no rights but those the operator gives it.
    command.args(["--ditto-url", &ditto().url, "--ditto-pre-authenticated", BRIDGE]);
    let bridge = mqtt::Bridge::of("bridge", desk.folder.path(), &command);
    bridge.reaches(r#"mqtt_connected{what="broker"}"#, 1);

    desk.apply(&desk.policy("sensors")).ok();
    let mut twin = desk.twin("one");
    let place = |name: &str| format!("/features/climate/properties/{name}");
    twin["spec"]["telemetry"] = json!({"mapping": {"temp": place("air")}, "staleAfter": "2s"});
    desk.apply(&twin).ok();
    desk.wait_ready("dt", "one");
    let say = |value: u32| {
        let topic = format!("devices/{}/telemetry", desk.id("one"));
        publish(mosquitto.port, &topic, &json!({"temp": value}).to_string(), &[]);
    };
    let held = |name: &str| {
        let path = format!("/things/{}{}", desk.id("one"), place(name));
        ditto().call(USER, "GET", &path, None).1
    };
    say(21);
    wait_for(&format!("the mapped value:\n{}", bridge.child.log()), SOON, || {
        (held("air") == json!(21)).then_some(())
    });
    bridge.reaches(r#"mqtt_devices{state="Online"}"#, 1);
    bridge.reaches(r#"mqtt_devices{state="Stale"}"#, 1);
    let stale = &bridge.devices("?state=Stale")["items"][0];
    assert_eq!((&stale["thingId"], &stale["staleAfterSeconds"]), (&json!(desk.id("one")), &json!(2)));

    // Other rules, while it runs.
    twin["spec"]["telemetry"] = json!({"mapping": {"temp": place("water")}, "staleAfter": "1h"});
    desk.apply(&twin).ok();
    bridge.reaches(r#"mqtt_devices{state="Online"}"#, 1);
    say(22);
    wait_for(&format!("the value elsewhere:\n{}", bridge.child.log()), SOON, || {
        (held("water") == json!(22)).then_some(())
    });
    assert_eq!((held("air"), bridge.devices("")["items"].as_array().map(Vec::len)), (json!(21), Some(1)));
    // What the twin declares is as it was.
    let thing = desk.thing("one").unwrap_or(Value::Null);
    assert_eq!(thing["features"]["temperature"]["desiredProperties"], json!({"reportingInterval": 30}));
}
