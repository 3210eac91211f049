//! Commands through the real Mosquitto.
use serde_json::{Value, json};

use super::{Site, USER, create};
use crate::support::mqtt::{Bridge, SOON, listening, publish, subscribe};
use crate::support::wait_for;

#[test]
fn a_command_that_no_device_answers_ends_with_its_time() {
    let site = Site::start(&["--command-subtopics"]);
    create(site.ditto(), "org.t:a");
    let all = subscribe(site.path(), "all", site.mosquitto.port, "devices/+/commands/#", &[]);
    wait_for("the subscription", SOON, || {
        let ask = "/things/org.t:a/inbox/messages/hello?timeout=0";
        assert_eq!(site.ditto().call(USER, "POST", ask, Some(&json!({"a": 1}))).0, 202);
        all.log().contains("hello").then_some(())
    });
    let (status, body) =
        site.ditto().call(USER, "POST", "/things/org.t:a/inbox/messages/ask?timeout=1", Some(&json!(1)));
    assert_eq!(status, 408, "{body}");
    wait_for("the bare payload", SOON, || {
        all.log().contains("devices/org.t:a/commands/ask 1\n").then_some(())
    });
    site.bridge.reaches(r#"mqtt_commands_total{kind="response_missing"}"#, 1);
    // An answer that comes too late, and one to nothing.
    publish(site.mosquitto.port, "devices/org.t:a/responses/nothing", "{}", &[]);
    site.bridge.reaches(r#"mqtt_commands_total{kind="response_unknown"}"#, 1);
}

#[test]
fn a_device_answers_a_message_to_one_of_its_features() {
    let site = Site::start(&[]);
    create(site.ditto(), "org.t:a");
    let all = listening(site.path(), site.mosquitto.port, "devices/org.t:a/commands", "org.t:a");
    let ditto = site.ditto().clone();
    let asked = std::thread::spawn(move || {
        let path = "/things/org.t:a/features/lamp/inbox/messages/set%2Flevel?timeout=10";
        ditto.call(USER, "POST", path, Some(&json!({"level": 5})))
    });
    let line = wait_for("the message", SOON, || {
        all.log().lines().find(|line| line.contains("\"message\"")).map(str::to_owned)
    });
    let command: Value = serde_json::from_str(line.split_once(' ').expect("a topic").1).expect("JSON");
    assert_eq!((&command["subject"], &command["feature"]), (&json!("set/level"), &json!("lamp")));
    assert_eq!(command["timeoutMs"], json!(10_000));
    let id = command["correlationId"].as_str().expect("an id");
    publish(
        site.mosquitto.port,
        &format!("devices/org.t:a/responses/{id}"),
        r#"{"status": 418, "value": {"why": "tea"}}"#,
        &[],
    );
    assert_eq!(asked.join().expect("no panic"), (418, json!({"why": "tea"})));
}

#[test]
fn what_changed_while_the_bridge_was_away_is_told_to_devices_that_speak() {
    let site = Site::start(&[]);
    create(site.ditto(), "org.t:a");
    let Site { bridge, mosquitto, engine, folder } = site;
    let all = listening(folder.path(), mosquitto.port, "devices/+/commands", "org.t:a");
    drop(bridge);
    let lamp = json!({"desiredProperties": {"on": true}});
    assert_eq!(engine.ditto.call(USER, "PUT", "/things/org.t:a/features/lamp", Some(&lamp)).0, 201);
    let _bridge = Bridge::start(folder.path(), mosquitto.port, &engine.ditto.url, &[]);
    publish(mosquitto.port, "devices/org.t:a/telemetry", r#"{"t": 1}"#, &[]);
    wait_for("the change", SOON, || all.log().contains(r#""value":{"lamp":{"on":true}}"#).then_some(()));
}

#[test]
fn what_is_written_to_all_features_at_once_is_told_too() {
    let site = Site::start(&[]);
    create(site.ditto(), "org.t:a");
    let all = listening(site.path(), site.mosquitto.port, "devices/org.t:a/commands", "org.t:a");
    let features = json!({"lamp": {"desiredProperties": {"on": true}}});
    assert_eq!(site.ditto().call(USER, "PUT", "/things/org.t:a/features", Some(&features)).0, 201);
    wait_for("the change", SOON, || all.log().contains(r#""value":{"lamp":{"on":true}}"#).then_some(()));
}
