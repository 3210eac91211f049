use std::time::Duration;

use serde_json::json;

use super::tests::{A, Bench, options, value};
use super::*;
use crate::ditto::link::{Heard, LiveMessage};

#[test]
fn devices_are_told_what_is_desired_when_it_changes_and_when_they_ask() {
    let mut bench = Bench::new(options());
    let desired = |interval: u64| json!({"t": {"desiredProperties": {"interval": interval}}, "u": {}});
    let told = |bench: &mut Bench| bench.published.drain(..).collect::<Vec<_>>();
    let command = |interval: u64| {
        let command = json!({"type": "desired", "revision": 5, "value": {"t": {"interval": interval}}});
        ("devices/a:a/commands".to_owned(), command)
    };
    let changed = || Heard::Changed { thing: ThingId::parse("a:a").unwrap() };
    bench.say(A, r#"{"t": 1}"#);
    bench.learn(json!(null), desired(30));
    assert_eq!(told(&mut bench), [command(30)], "a device that was not heard of before");
    bench.merged(value("t", 1));
    bench.hear(changed());
    bench.learn(json!(null), desired(30));
    assert_eq!(told(&mut bench), []);
    bench.hear(changed());
    bench.learn(json!(null), desired(60));
    assert_eq!(told(&mut bench), [command(60)]);
    bench.say("devices/a:a/commands/get", "");
    assert_eq!(bench.acked.len(), 2);
    bench.learn(json!(null), desired(60));
    assert_eq!(told(&mut bench), [command(60)]);
    // It is told that nothing is desired any more, and of things without any wish nothing.
    bench.hear(changed());
    bench.learn(json!(null), json!({}));
    assert_eq!(told(&mut bench)[0].1["value"], json!({}));
    bench.hear(Heard::Changed { thing: ThingId::parse("a:n").unwrap() });
    bench.learn(json!(null), json!({}));
    assert_eq!(told(&mut bench), []);
}

#[test]
fn s48_a_command_that_the_broker_would_not_take_is_counted_and_answered() {
    let mut bench = Bench::new(CoreOptions { command_subtopics: true, ..options() });
    bench.core.set_packet_max(1_000);
    let message = |subject: String, value: String| LiveMessage {
        thing: ThingId::parse("a:a").unwrap(),
        path: format!("/inbox/messages/{subject}"),
        topic: format!("a/a/things/live/messages/{subject}"),
        subject,
        correlation: "c".to_owned(),
        content_type: None,
        value: Some(json!(value)),
        patience: Some(Duration::from_secs(10)),
    };
    bench.hear(Heard::Message(message("s".to_owned(), "x".repeat(1_000))));
    let What::Reply(reply) = bench.orders.pop_front().unwrap().what else { panic!("no reply") };
    assert_eq!((reply.status, reply.correlation.as_str()), (413, "c"));
    assert_eq!((bench.published.len(), bench.core.counts.too_large), (0, 1));
    // A topic that no packet can hold: the command itself goes.
    bench.core.set_packet_max(1_000_000);
    bench.hear(Heard::Message(message("s".repeat(70_000), String::new())));
    assert_eq!((bench.published.len(), bench.core.counts.too_large), (1, 2));
}

#[test]
fn a_message_finds_its_device_and_the_answer_its_caller() {
    let mut bench = Bench::new(CoreOptions { command_subtopics: true, ..options() });
    let message = |correlation: &str| LiveMessage {
        thing: ThingId::parse("a:a").unwrap(),
        subject: "set/level".to_owned(),
        correlation: correlation.to_owned(),
        path: "/inbox/messages/set/level".to_owned(),
        topic: "a/a/things/live/messages/set/level".to_owned(),
        content_type: Some("application/json".to_owned()),
        value: Some(json!({"level": 5})),
        patience: Some(Duration::from_secs(10)),
    };
    bench.hear(Heard::Message(message("c/1")));
    let command = json!({"type": "message", "subject": "set/level", "correlationId": "c/1", "value": {"level": 5}, "timeoutMs": 10_000});
    let expected = [
        ("devices/a:a/commands".to_owned(), command),
        ("devices/a:a/commands/set%2Flevel".to_owned(), json!({"level": 5})),
    ];
    assert_eq!(bench.published, expected);
    // Another device cannot answer for it.
    bench.say("devices/a:b/responses/c%2F1", "{}");
    assert_eq!((bench.orders.len(), bench.core.counts.responses_unknown), (0, 1));
    bench.say("devices/a:a/responses/c%2F1", r#"{"status": 201, "value": "done"}"#);
    let What::Reply(reply) = bench.orders.pop_front().unwrap().what else { panic!("no reply") };
    assert_eq!((reply.status, reply.value, reply.correlation.as_str()), (201, Some(json!("done")), "c/1"));
    assert_eq!(reply.topic, "a/a/things/live/messages/set/level");
    bench.say("devices/a:a/responses/c%2F1", "{}");
    assert_eq!(bench.core.counts.responses_unknown, 2, "once");
    bench.hear(Heard::Message(message("c2")));
    bench.later(Duration::from_secs(10));
    bench.say("devices/a:a/responses/c2", "{}");
    let counts = &bench.core.counts;
    assert_eq!((counts.responses, counts.responses_unknown, counts.responses_missing), (1, 3, 1));
    assert_eq!(bench.acked.len(), 4);
}
