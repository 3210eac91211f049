//! Packets that are larger than the broker takes: it would end the connection over them.
use serde_json::json;

use super::{Site, USER, becomes, create};
use crate::support::mqtt::{Device, SOON, listening, publish, subscribe};
use crate::support::wait_for;

const T: &str = "devices/org.t:a/telemetry";
const CONNECTED: &str = r#"mqtt_connections_total{result="connected"}"#;

#[test]
fn s48_a_command_that_is_larger_than_the_broker_takes_stops_nothing() {
    // MQTT 5 is told the limit, with MQTT 3.1.1 a setting names it; without it only broken connections tell.
    for (version, packet_max, refused) in
        [("5", "1000000", "too_large"), ("3.1.1", "2000", "too_large"), ("3.1.1", "1000000", "given_up")]
    {
        let flags = ["--mqtt-version", version, "--mqtt-packet-max", packet_max];
        let site = Site::with("max_packet_size 2000\n", &flags);
        create(site.ditto(), "org.t:a");
        let all = listening(site.path(), site.mosquitto.port, "devices/org.t:a/commands", "org.t:a");
        let ask = |subject: &str, timeout: u32, body: &str| {
            let path = format!("/things/org.t:a/inbox/messages/{subject}?timeout={timeout}");
            site.ditto().call(USER, "POST", &path, Some(&json!(body))).0
        };
        let large = "x".repeat(5_000);
        if refused == "too_large" {
            assert_eq!(ask("large", 10, &large), 413, "{version}");
        } else {
            assert_eq!(ask("large", 0, &large), 202);
        }
        site.bridge.reaches(&format!("mqtt_commands_total{{kind=\"{refused}\"}}"), 1);
        assert_eq!(ask("small", 0, "y"), 202);
        wait_for("the next command", SOON, || all.log().contains("small").then_some(()));
        publish(site.mosquitto.port, T, r#"{"t": 1}"#, &[]);
        becomes(site.ditto(), "org.t:a", "t", &json!(1));
        assert_eq!(site.bridge.metric(CONNECTED) == 1, refused == "too_large", "{}", site.bridge.child.log());
    }
}

#[test]
fn s48_a_dead_letter_that_is_larger_than_the_broker_takes_is_cut_and_breaks_no_connection() {
    for (version, packet_max) in [("5", "1000000"), ("3.1.1", "2000")] {
        let flags = ["--dead-letter-topic", "twinops/dead-letters"];
        let limit = ["--mqtt-version", version, "--mqtt-packet-max", packet_max];
        let site = Site::with("max_packet_size 2000\n", &[flags.as_slice(), &limit].concat());
        create(site.ditto(), "org.t:a");
        let letters = subscribe(site.path(), "letters", site.mosquitto.port, "twinops/dead-letters", &[]);
        wait_for("the subscription", SOON, || {
            publish(site.mosquitto.port, T, "no json", &[]);
            letters.log().contains("no json").then_some(())
        });
        // In a letter each of them takes two bytes.
        publish(site.mosquitto.port, T, &"\"".repeat(1_900), &[]);
        wait_for("the beginning of what was refused", SOON, || {
            letters.log().lines().any(|line| line.contains(&r#"\""#.repeat(500))).then_some(())
        });
        publish(site.mosquitto.port, T, r#"{"t": 1}"#, &[]);
        becomes(site.ditto(), "org.t:a", "t", &json!(1));
        assert_eq!(site.bridge.metric(CONNECTED), 1, "{version}:\n{}", site.bridge.child.log());
    }
}

#[test]
fn s48_a_dead_letter_that_breaks_the_connection_does_so_once() {
    // Nobody tells the limit.
    let flags = ["--dead-letter-topic", "twinops/dead-letters", "--mqtt-version", "3.1.1"];
    let site = Site::with("max_packet_size 2000\n", &flags);
    create(site.ditto(), "org.t:a");
    publish(site.mosquitto.port, T, &"\"".repeat(1_900), &[]);
    site.bridge.reaches(CONNECTED, 2);
    publish(site.mosquitto.port, T, r#"{"t": 1}"#, &[]);
    becomes(site.ditto(), "org.t:a", "t", &json!(1));
    // A message that was not acknowledged would have come again before that one, and its letter gone out again.
    site.bridge.reaches(r#"mqtt_messages_total{result="written"}"#, 1);
    assert_eq!(site.bridge.metric(r#"mqtt_rejected_total{reason="bad_json"}"#), 1);
    assert_eq!(site.bridge.metric(CONNECTED), 2, "{}", site.bridge.child.log());
}

#[test]
fn s48_a_dead_letter_behind_a_message_that_waits_does_not_break_connections_for_ever() {
    let flags = ["--dead-letter-topic", "twinops/dead-letters", "--mqtt-version", "3.1.1"];
    let site = Site::with("max_packet_size 2000\n", &flags);
    create(site.ditto(), "org.t:a");
    // The first is not acknowledged before Ditto has it, and the second not before the first.
    let mut device = Device::connect(site.mosquitto.port, "a").unwrap();
    device.send(T, br#"{"t": 1}"#).unwrap();
    device.send(T, "\"".repeat(1_900).as_bytes()).unwrap();
    device.settle().unwrap();
    site.bridge.reaches(CONNECTED, 2);
    publish(site.mosquitto.port, T, r#"{"t": 2}"#, &[]);
    becomes(site.ditto(), "org.t:a", "t", &json!(2));
    // The first two, and one in which no letter goes out and all is acknowledged.
    assert!(site.bridge.metric(CONNECTED) <= 3, "{}", site.bridge.child.log());
    assert!(site.bridge.child.log().contains("--dead-letter-topic"), "{}", site.bridge.child.log());
}
