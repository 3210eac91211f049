//! `twinops dev`: the broker inside, with the clients of others.
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{USER, becomes};
use crate::engine::clients::installed;
use crate::folder::dev::Dev;
use crate::support::ditto::{folder, get, last_after};
use crate::support::mqtt::{SOON, listening, publish};
use crate::support::wait_for;

const SENSOR: &str = "com.example:temperature-sensor-01";

fn dev(logs: &Path) -> (Dev, u16) {
    let dev = Dev::start("dev", Path::new("manifests/samples"), logs, &["--ephemeral"]);
    dev.says("saved files are followed");
    let broker = last_after(&dev.child.log(), "mqtt://").expect("in the first line");
    let port = broker.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    (dev, port)
}

#[test]
fn the_command_of_the_readme_updates_the_twin() {
    let logs = folder(&[]);
    let (dev, port) = dev(logs.path());
    publish(port, &format!("devices/{SENSOR}/telemetry"), r#"{"temperature": 25.5, "humidity": 60}"#, &[]);
    becomes(&dev.ditto, SENSOR, "temperature", &json!(25.5));
    becomes(&dev.ditto, SENSOR, "humidity", &json!(60));
    // What the twin declares beside it stays.
    let (_, unit) =
        dev.ditto.call(USER, "GET", &format!("/things/{SENSOR}/features/temperature/properties/unit"), None);
    assert_eq!(unit, json!("celsius"));
    let management = last_after(&dev.child.log(), "management ").expect("in the first line");
    let (status, devices) = get(&format!("{management}/devices?state=Online"));
    let devices: Value = serde_json::from_str(&devices).expect("JSON");
    assert_eq!((status, &devices["items"][0]["thingId"]), (200, &json!(SENSOR)), "{devices}");
}

#[test]
fn a_device_hears_what_is_desired_and_answers_a_command() {
    let logs = folder(&[]);
    let (dev, port) = dev(logs.path());
    let mut all = listening(logs.path(), port, "devices/+/commands", SENSOR);
    let told = |text: &str| {
        let what = format!("a command with {text}; dev says:\n{}", dev.child.log());
        wait_for(&what, SOON, || all_log(logs.path()).contains(text).then_some(()));
    };
    assert!(all_log(logs.path()).contains(&format!("devices/{SENSOR}/commands {{\"type\":\"desired\"")));
    assert!(all_log(logs.path()).contains(r#""value":{"temperature":{"reportingInterval":30}}"#));
    let desired = format!("/things/{SENSOR}/features/temperature/desiredProperties/mode");
    assert_eq!(dev.ditto.call(USER, "PUT", &desired, Some(&json!("eco"))).0, 201);
    told(r#""mode":"eco""#);

    // An application sends a command through the facade; the device answers.
    let facade = last_after(&dev.child.log(), "facade ").expect("in the first line");
    let asked = std::thread::spawn(move || post(&format!("{facade}/things/{SENSOR}/commands?timeout=10")));
    told(r#""subject":"blink""#);
    let log = all_log(logs.path());
    let line = log.lines().find(|line| line.contains(r#""subject":"blink""#)).expect("just seen");
    let command: Value = serde_json::from_str(line.split_once(' ').expect("a topic").1).expect("JSON");
    assert_eq!((&command["type"], &command["value"]), (&json!("message"), &json!({"times": 3})));
    let id = command["correlationId"].as_str().expect("an id");
    publish(
        port,
        &format!("devices/{SENSOR}/responses/{id}"),
        r#"{"status": 200, "value": {"blinked": 3}}"#,
        &[],
    );
    assert_eq!(asked.join().expect("no panic"), (200, json!({"blinked": 3})));
    assert!(all.ended().is_none());
}

fn all_log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("all.log")).unwrap_or_default()
}

fn post(url: &str) -> (u16, Value) {
    crate::support::ditto::RUNTIME.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let body = json!({"subject": "blink", "value": {"times": 3}}).to_string();
        let request = client.post(url).header("content-type", "application/json").body(body);
        let response = request.send().await.expect("the facade answers");
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.expect("a body")).unwrap_or_default())
    })
}

#[test]
fn the_python_client_of_mqtt_finds_everything_it_expects() {
    let logs = folder(&[]);
    let (dev, port) = dev(logs.path());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/py/over_mqtt.py");
    let mut command = Command::new(installed().join("py/bin/python"));
    let ended =
        command.args([script, &port.to_string(), &dev.ditto.url, SENSOR]).output().expect("Python runs");
    let [out, err] = [&ended.stdout, &ended.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(
        ended.status.success() && out.trim_end().ends_with("all well"),
        "{out}\n{err}\n{}",
        dev.child.log()
    );
}
