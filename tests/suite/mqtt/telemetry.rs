//! Telemetry through the real Mosquitto into the engine.
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Site, USER, becomes, create, rounds, value};
use crate::support::ditto::{folder, twinops};
use crate::support::mqtt::{Bridge, Device, Mosquitto, SOON, listening, publish, subscribe};
use crate::support::process::{Signal, run};
use crate::support::{ditto::Engine, wait_for};

const T: &str = "devices/org.t:a/telemetry";

#[test]
fn both_versions_of_mqtt_bring_telemetry_into_the_twin() {
    let site = Site::start(&["--mqtt-version", "3.1.1"]);
    create(site.ditto(), "org.t:a");
    publish(
        site.mosquitto.port,
        T,
        r#"{"t": 1, "gps": {"lat": 1.5, "fix": {"kind": "3d"}}, "xyz": [1, 2]}"#,
        &[],
    );
    becomes(site.ditto(), "org.t:a", "t", &json!(1));
    let (_, gps) = site.ditto().call(USER, "GET", "/things/org.t:a/features/gps/properties", None);
    assert_eq!(gps, json!({"lat": 1.5, "fix": {"kind": "3d"}}));
    assert_eq!(value(site.ditto(), "org.t:a", "xyz"), json!([1, 2]));
    drop(site.bridge);
    // MQTT 5 takes the session over; what came meanwhile is there.
    publish(site.mosquitto.port, T, r#"{"t": 2}"#, &[]);
    let _bridge = Bridge::start(site.folder.path(), site.mosquitto.port, &site.engine.ditto.url, &[]);
    becomes(&site.engine.ditto, "org.t:a", "t", &json!(2));
}

#[test]
fn the_rules_of_a_twin_reach_the_bridge_in_its_mark() {
    let site = Site::start(&[]);
    let rules = |telemetry: Value| {
        let mark = json!([{"key": "/twinops", "value": {"telemetry": telemetry}}]).to_string();
        let body = json!({"attributes": {"a": 1}});
        let (status, body) =
            site.ditto().call_with(USER, "PUT", "/things/org.t:a", Some(&body), &[("put-metadata", &mark)]);
        assert!(status < 300, "{body}");
    };
    rules(json!({"mapping": {"temp": "/features/climate/properties/air/temperature"}, "staleAfter": "1s"}));
    publish(site.mosquitto.port, T, r#"{"temp": 21}"#, &[]);
    let place = "/things/org.t:a/features/climate/properties/air/temperature";
    wait_for("the mapped value", SOON, || {
        (site.ditto().call(USER, "GET", place, None).1 == json!(21)).then_some(())
    });
    site.bridge.reaches(r#"mqtt_devices{state="Online"}"#, 1);
    site.bridge.reaches(r#"mqtt_devices{state="Stale"}"#, 1);
    let devices = site.bridge.devices("?state=Stale");
    assert_eq!(
        (&devices["items"][0]["thingId"], &devices["items"][0]["staleAfterSeconds"]),
        (&json!("org.t:a"), &json!(1))
    );
    rules(json!({"enabled": false}));
    wait_for("the new rule", SOON, || {
        publish(site.mosquitto.port, T, r#"{"temp": 22}"#, &[]);
        (site.bridge.metric(r#"mqtt_rejected_total{reason="disabled"}"#) > 0).then_some(())
    });
}

/// Two twins; the first is written five times a second at most.
const RATED: &str = "
apiVersion: twinops.dev/v1alpha1
kind: TwinPolicy
metadata: {name: all}
spec:
  policyId: org.r:all
  entries:
    people:
      subjects:
        nginx:ditto: {type: user}
      resources:
        thing:/: {grant: [READ, WRITE]}
        policy:/: {grant: [READ, WRITE]}
        message:/: {grant: [READ, WRITE]}
---
apiVersion: twinops.dev/v1alpha1
kind: DigitalTwin
metadata: {name: rated}
spec:
  thingId: org.r:rated
  policyRef: {name: all}
  telemetry: {maxRate: 5}
---
apiVersion: twinops.dev/v1alpha1
kind: DigitalTwin
metadata: {name: free}
spec:
  thingId: org.r:free
  policyRef: {name: all}
";
const RATE: u64 = 5;

#[test]
fn a_twin_with_a_rate_is_written_no_more_often_and_has_the_last_value_in_the_end() {
    const THINGS: [&str; 2] = ["org.r:rated", "org.r:free"];
    const MESSAGES: u64 = 200;
    let site = Site::start(&[]);
    let twins = folder(&[("twins.yaml", RATED)]);
    let mut command = twinops();
    command.arg("apply").arg(twins.path());
    command.args(["--ditto-url", &site.ditto().url, "--ditto-pre-authenticated", USER]);
    run(command, "").ok();
    let revisions =
        || THINGS.map(|id| site.ditto().thing(USER, id).expect("it is made")["_revision"].as_u64().unwrap());
    let (before, started) = (revisions(), Instant::now());
    let mut device = Device::connect(site.mosquitto.port, "fast").expect("a broker");
    for number in 1..=MESSAGES {
        for id in THINGS {
            let payload = json!({"t": number}).to_string();
            device.send(&format!("devices/{id}/telemetry"), payload.as_bytes()).expect("a broker");
        }
        device.flush().expect("a broker");
        std::thread::sleep(Duration::from_millis(10));
    }
    device.settle().expect("the broker takes everything");
    for id in THINGS {
        becomes(site.ditto(), id, "t", &json!(MESSAGES));
    }
    let after = revisions();
    let [rated, free] = [0, 1].map(|at| after[at] - before[at]);
    // One at once, then one each 200 ms.
    let most = 1 + u64::try_from(started.elapsed().as_millis()).expect("some seconds") * RATE / 1_000;
    assert!((RATE..=most).contains(&rated), "{rated} writes, and {most} are allowed");
    assert!(free > 2 * rated, "the other twin has no rate: {free} writes beside {rated}");
    // Values that were overtaken are done, not refused.
    site.bridge.reaches(r#"mqtt_messages_total{result="written"}"#, 2 * MESSAGES);
    assert_eq!(site.bridge.metric(r#"mqtt_rejected_total{reason="rate_limited"}"#), 0);
    wait_for("the last acknowledgement", SOON, || {
        (site.bridge.metric(r#"mqtt_waiting{what="unacknowledged"}"#) == 0).then_some(())
    });
}

#[test]
fn a_twin_that_is_not_there_is_made_only_when_asked_for() {
    let site = Site::start(&["--dead-letter-topic", "twinops/dead-letters"]);
    let _letters = subscribe(site.path(), "letters", site.mosquitto.port, "twinops/dead-letters", &[]);
    create(site.ditto(), "org.t:template");
    wait_for("a dead letter", SOON, || {
        publish(site.mosquitto.port, T, r#"{"t": 1}"#, &[]);
        let log = std::fs::read_to_string(site.path().join("letters.log")).unwrap_or_default();
        (log.contains(r#""reason":"unknown_twin""#) && log.contains(r#""t":1"#)).then_some(())
    });
    assert_eq!(site.ditto().thing(USER, "org.t:a"), None);
    drop(site.bridge);
    let flags = ["--auto-create", "--auto-create-policy", "org.t:template"];
    let bridge = Bridge::start(site.folder.path(), site.mosquitto.port, &site.engine.ditto.url, &flags);
    publish(site.mosquitto.port, T, r#"{"t": 2}"#, &[]);
    becomes(&site.engine.ditto, "org.t:a", "t", &json!(2));
    assert_eq!(site.engine.ditto.thing(USER, "org.t:a").unwrap()["policyId"], "org.t:template");
    bridge.reaches(r#"mqtt_writes_total{result="created"}"#, 1);
}

#[test]
fn f35_a_broker_that_restarts_is_met_again_and_what_it_kept_arrives() {
    let mut site = Site::start(&[]);
    create(site.ditto(), "org.t:a");
    publish(site.mosquitto.port, T, r#"{"t": 1}"#, &[]);
    becomes(site.ditto(), "org.t:a", "t", &json!(1));
    for round in 0..rounds(2, 10) {
        // Frozen, the bridge takes nothing: the broker keeps it over its own restart.
        site.bridge.child.signal(Signal::Stop);
        publish(site.mosquitto.port, T, &json!({"t": format!("kept {round}")}).to_string(), &[]);
        site.mosquitto.child.stop();
        site.mosquitto.again();
        site.bridge.child.signal(Signal::Cont);
        becomes(site.ditto(), "org.t:a", "t", &json!(format!("kept {round}")));
        publish(site.mosquitto.port, T, &json!({"t": round}).to_string(), &[]);
        becomes(site.ditto(), "org.t:a", "t", &json!(round));
    }
    assert!(site.bridge.metric(r#"mqtt_connections_total{result="lost"}"#) >= 1);
}

#[test]
fn f38_while_ditto_is_down_telemetry_waits_and_the_last_values_arrive() {
    let data = folder(&[]);
    let logs = folder(&[]);
    let mut engine = Engine::start(logs.path(), Some(data.path()));
    let mosquitto = Mosquitto::start(logs.path(), "");
    let bridge = Bridge::start(logs.path(), mosquitto.port, &engine.ditto.url, &[]);
    for thing in 0..20 {
        create(&engine.ditto, &format!("org.t:t{thing}"));
    }
    let mut device = Device::connect(mosquitto.port, "many").expect("a broker");
    let mut say = |number: u32| {
        for thing in 0..20 {
            device
                .send(&format!("devices/org.t:t{thing}/telemetry"), format!("{{\"t\": {number}}}").as_bytes())
                .unwrap();
        }
        device.flush().unwrap();
    };
    say(0);
    becomes(&engine.ditto, "org.t:t0", "t", &json!(0));
    let before = memory(&bridge);
    engine.child.signal(Signal::Stop);
    (1..=1_500).for_each(&mut say);
    device.settle().expect("the broker takes everything");
    std::thread::sleep(Duration::from_secs(1));
    let unacknowledged = bridge.metric(r#"mqtt_waiting{what="unacknowledged"}"#);
    assert!(
        (1..=16_384).contains(&unacknowledged),
        "up to the window, then the broker keeps it: {unacknowledged}"
    );
    assert!(memory(&bridge) < before + 20, "{before} MB, then {} MB", memory(&bridge));
    engine.child.signal(Signal::Cont);
    for thing in 0..20 {
        becomes(&engine.ditto, &format!("org.t:t{thing}"), "t", &json!(1_500));
    }
    bridge.reaches(r#"mqtt_messages_total{result="written"}"#, 20 * 1_501);
    let writes = bridge.metric(r#"mqtt_writes_total{result="taken"}"#);
    assert!(writes < 10_000, "30,020 messages, and {writes} writes");
    wait_for("the last acknowledgement", SOON, || {
        (bridge.metric(r#"mqtt_waiting{what="unacknowledged"}"#) == 0).then_some(())
    });
}

#[test]
fn f38_a_merge_of_nothing_is_a_write_and_changes_nothing() {
    let folder = folder(&[]);
    let engine = Engine::start(folder.path(), None);
    let lamp = json!({"features": {"lamp": {"properties": {"on": true}}}});
    assert_eq!(engine.ditto.call(USER, "PUT", "/things/org.t:a", Some(&lamp)).0, 201);
    let before = engine.ditto.thing(USER, "org.t:a").expect("it is made");
    assert_eq!(engine.ditto.call(USER, "PATCH", "/things/org.t:a/features", Some(&json!({}))).0, 204);
    let mut expected = before.clone();
    expected["_revision"] = json!(before["_revision"].as_u64().expect("a number") + 1);
    assert_eq!(engine.ditto.thing(USER, "org.t:a"), Some(expected));
}

/// Resident memory in MB.
pub fn memory(bridge: &Bridge) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bridge.child.id())).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or_default() / 1_024
}

#[test]
fn f39_two_replicas_write_every_thing_once_and_in_order() {
    let folder = folder(&[]);
    let engine = Engine::start(folder.path(), None);
    let mosquitto = Mosquitto::start(folder.path(), "");
    let start = |index: usize| {
        let flags = ["--replica".to_owned(), format!("{index}/2")];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Bridge::named(&format!("bridge-{index}"), folder.path(), mosquitto.port, &engine.ditto.url, &flags)
    };
    let bridges = [start(0), start(1)];
    for thing in 0..20 {
        create(&engine.ditto, &format!("org.t:t{thing}"));
    }
    let mut device = Device::connect(mosquitto.port, "many").expect("a broker");
    for number in 0..200 {
        for thing in 0..20 {
            device
                .send(&format!("devices/org.t:t{thing}/telemetry"), format!("{{\"t\": {number}}}").as_bytes())
                .unwrap();
        }
    }
    device.settle().expect("the broker takes everything");
    for thing in 0..20 {
        becomes(&engine.ditto, &format!("org.t:t{thing}"), "t", &json!(199));
    }
    wait_for("every message to be somebody's", SOON, || {
        let [first, second] =
            bridges.each_ref().map(|bridge| bridge.metric(r#"mqtt_messages_total{result="written"}"#));
        (first > 0 && second > 0 && first + second == 4_000).then_some(())
    });
    // A command goes out once.
    let all = listening(folder.path(), mosquitto.port, "devices/+/commands", "org.t:t1");
    let asked = all.log().lines().count();
    let message = "/things/org.t:t7/inbox/messages/once?timeout=0";
    assert_eq!(engine.ditto.call(USER, "POST", message, Some(&json!(1))).0, 202);
    wait_for("the message", SOON, || all.log().contains("once").then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(all.log().matches(r#""subject":"once""#).count(), 1, "{asked} before:\n{}", all.log());
}

#[test]
fn f40_two_bridges_with_one_name_do_not_kick_each_other_for_ever() {
    let site = Site::start(&[]);
    let second = Bridge::starting(
        "second",
        site.path(),
        &format!("mqtt://127.0.0.1:{}", site.mosquitto.port),
        &site.ditto().url,
        &[],
    );
    std::thread::sleep(Duration::from_secs(8));
    let connected = |bridge: &Bridge| bridge.metric(r#"mqtt_connections_total{result="connected"}"#);
    let count = connected(&site.bridge) + connected(&second);
    assert!((2..=10).contains(&count), "{count} connections in 8 s");
    let taken = |bridge: &Bridge| bridge.metric(r#"mqtt_connections_total{result="taken_over"}"#);
    assert!(taken(&site.bridge) + taken(&second) >= 1);
    assert!(
        site.bridge.child.log().contains("another client has our client id"),
        "{}",
        site.bridge.child.log()
    );
}

#[test]
fn with_qos_0_everything_that_the_broker_passes_on_is_written() {
    let site = Site::start(&["--mqtt-qos", "0"]);
    create(site.ditto(), "org.t:a");
    let mut device = Device::connect(site.mosquitto.port, "a").expect("a broker");
    for number in 0..500 {
        device.throw(T, format!("{{\"t\": {number}}}").as_bytes()).unwrap();
    }
    device.flush().unwrap();
    becomes(site.ditto(), "org.t:a", "t", &json!(499));
    assert_eq!(site.bridge.metric(r#"mqtt_waiting{what="unacknowledged"}"#), 0);
}

#[test]
fn f41_a_device_whose_clock_is_an_hour_off_is_heard() {
    let site = Site::start(&[]);
    create(site.ditto(), "org.t:a");
    for (number, hour) in
        [(1, "2020-01-01T00:00:01Z"), (2, "2020-01-01T00:00:02Z"), (3, "2099-01-01T00:00:00Z")]
    {
        publish(site.mosquitto.port, T, &json!({"t": number, "timestamp": hour}).to_string(), &[]);
        becomes(site.ditto(), "org.t:a", "t", &json!(number));
    }
    publish(site.mosquitto.port, T, r#"{"t": 0, "timestamp": "2098-01-01T00:00:00Z"}"#, &[]);
    site.bridge.reaches(r#"mqtt_rejected_total{reason="outdated"}"#, 1);
    assert_eq!(value(site.ditto(), "org.t:a", "t"), json!(3));
    assert_eq!(value(site.ditto(), "org.t:a", "timestamp")["status"], json!(404));
}

#[test]
fn a_ditto_without_a_socket_is_reached_over_http() {
    let folder = folder(&[]);
    let engine = Engine::start(folder.path(), None);
    let mosquitto = Mosquitto::start(folder.path(), "");
    create(&engine.ditto, "org.t:a");
    let nowhere = format!("ws://127.0.0.1:{}/ws/2", crate::support::free_port());
    let bridge =
        Bridge::start(folder.path(), mosquitto.port, &engine.ditto.url, &["--ditto-ws-url", &nowhere]);
    publish(mosquitto.port, T, r#"{"t": 1}"#, &[]);
    becomes(&engine.ditto, "org.t:a", "t", &json!(1));
    assert!(bridge.child.log().contains("calls go over HTTP"), "{}", bridge.child.log());
    bridge.reaches(r#"mqtt_connected{what="ditto"}"#, 1);
    assert_eq!(bridge.metric(r#"mqtt_connected{what="ditto_live"}"#), 0);
}
