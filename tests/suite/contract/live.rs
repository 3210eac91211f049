//! Sockets and streams beyond the transcripts: who gets what, and what a client must not do.
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::engine::Engine;
use super::streams::{Events, Socket};
use super::wire::{self, Reply};

pub const QUIET: Option<Duration> = Some(Duration::from_millis(200));

pub fn user(name: &str) -> Vec<(String, String)> {
    vec![("x-ditto-pre-authenticated".to_owned(), format!("nginx:{name}"))]
}

pub fn socket(engine: &Engine, target: &str) -> Socket {
    Socket::open(&engine.base, target, &user("ditto")).unwrap_or_else(|status| panic!("{target}: {status}"))
}

pub fn call(engine: &Engine, name: &str, method: &str, target: &str, body: &Value) -> Reply {
    let json = ("content-type".to_owned(), "application/json".to_owned());
    let headers = [user(name), vec![json]].concat();
    wire::send(&engine.base, method, target, &headers, Some(body.to_string().as_bytes()))
}

pub fn start(socket: &mut Socket, frame: &str) {
    socket.send(frame);
    let name = frame.split('?').next().unwrap_or_default();
    assert_eq!(socket.expect(1, None), [json!(format!("{name}:ACK"))]);
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_str(&reply.text).unwrap_or_else(|error| panic!("{error}: {:.300}", reply.text))
}

/// The head of a client's frame with a mask of zeros, which changes nothing.
fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first, 0x80];
    if let Some(short) = u8::try_from(length).ok().filter(|length| *length < 126) {
        head[1] |= short;
    } else {
        head[1] |= 127;
        head.extend(length.to_be_bytes());
    }
    head.extend([0; 4]);
    head
}

#[test]
fn s31_a_frame_that_breaks_the_protocol_ends_the_session_with_its_code() {
    let engine = Engine::in_memory();
    let fragment = [head(0x01, 200_000), vec![b'x'; 200_000]].concat();
    let endless = [head(0x00, 200_000), vec![b'x'; 200_000]].concat();
    let rows = [
        ("unmasked", vec![0x81, 0x02, b'h', b'i'], 1002),
        ("an unknown opcode", head(0x83, 0), 1002),
        ("a control frame of 126 bytes", [head(0x89, 126), vec![0; 126]].concat(), 1002),
        ("a length of 1 GB", head(0x81, 1 << 30), 1009),
        ("fragments without end", [fragment, endless].concat(), 1009),
        ("no UTF-8", [head(0x81, 2), vec![0xff, 0xfe]].concat(), 1007),
    ];
    for (name, bytes, code) in rows {
        let mut socket = socket(&engine, "/ws/2");
        drop(socket.stream().write_all(&bytes));
        assert_eq!(socket.close_code(), Some(code), "{name}");
    }
    start(&mut socket(&engine, "/ws/2"), "START-SEND-EVENTS");
}

#[test]
fn s31_a_flood_of_pings_ends_the_session() {
    let engine = Engine::in_memory();
    let mut socket = socket(&engine, "/ws/2");
    let pings = head(0x89, 0).repeat(1_000);
    drop(socket.stream().write_all(&pings));
    assert_eq!(socket.close_code(), Some(1008));
}

#[test]
fn s32_a_filter_of_a_megabyte_ends_the_session_and_a_long_one_is_refused() {
    let engine = Engine::in_memory();
    let filter = |size: usize| format!("START-SEND-EVENTS?filter=eq(attributes/a,\"{}\")", "x".repeat(size));
    let mut socket = socket(&engine, "/ws/2");
    socket.send(&filter(100_000));
    let refused = socket.expect(1, None);
    assert_eq!(refused[0]["value"]["error"], "rql.expression.invalid", "{refused:?}");
    socket.send(&filter(1_000_000));
    assert_eq!(socket.close_code(), Some(1009));
}

#[test]
fn s32_ten_thousand_subscriptions_are_one_and_searches_are_counted() {
    let engine = Engine::in_memory();
    let mut socket = socket(&engine, "/ws/2");
    for _ in 0..100 {
        for n in 0..100 {
            socket.send(&format!("START-SEND-EVENTS?filter=ge(attributes/n,{n})"));
        }
        assert_eq!(socket.expect(100, None).len(), 100);
    }
    call(&engine, "ditto", "PUT", "/api/2/things/s32:t", &json!({"attributes": {"n": 99}}));
    let events = socket.expect(1, QUIET);
    assert_eq!(events.len(), 1, "the last filter counts: {events:?}");
    let subscribe =
        json!({"topic": "_/_/things/twin/search/subscribe", "path": "/", "value": {}}).to_string();
    for _ in 0..101 {
        socket.send(&subscribe);
    }
    let answers = socket.expect(101, None);
    assert_eq!(answers[100]["value"]["error"]["status"], 429, "{}", answers[100]);
    assert!(answers[..100].iter().all(|answer| answer["value"]["subscriptionId"].is_string()));
}

#[test]
fn s32_things_named_by_their_ids_are_at_most_16_mib_at_once() {
    let engine = Engine::in_memory();
    let mut socket = socket(&engine, "/ws/2");
    let thing = json!({"attributes": {"a": "x".repeat(90_000), "b": 1}});
    assert_eq!(call(&engine, "ditto", "PUT", "/api/2/things/s32:big", &thing).status, 201);
    let mut retrieve = |times: usize, fields: Option<&str>| {
        let ids = vec!["s32:big"; times];
        let topic = "_/_/things/twin/commands/retrieve";
        let mut frame = json!({"topic": topic, "path": "/", "value": {"thingIds": ids}});
        if let Some(fields) = fields {
            frame["fields"] = json!(fields);
        }
        socket.send(&frame.to_string());
        socket.expect(1, None).remove(0)
    };
    let get = |times: usize| {
        let target = format!("/api/2/things?ids={}", vec!["s32:big"; times].join(","));
        wire::send(&engine.base, "GET", &target, &user("ditto"), None)
    };
    let refused = |frame: &Value| (frame["status"].clone(), frame["value"]["error"].clone());
    let too_large = (json!(413), json!("things:thing.toolarge"));
    for (times, fields) in [(200, None), (20_000, None), (20_000, Some("attributes/a"))] {
        let answer = retrieve(times, fields);
        assert_eq!(refused(&answer), too_large, "{times} {fields:?}: {:.300}", answer.to_string());
    }
    assert_eq!(get(200).status, 413);
    assert_eq!(engine.running().stats.answers_too_large.load(Ordering::Relaxed), 4);
    // one that is named twice is answered twice, as in Ditto
    for answer in [retrieve(100, None)["value"].clone(), json_of(&get(100))] {
        let all = answer.as_array().map(|all| all.iter().filter(|one| one["thingId"] == "s32:big").count());
        assert_eq!(all, Some(100), "{:.300}", answer.to_string());
    }
    let small = retrieve(20_000, Some("attributes/b"));
    assert_eq!(small["value"].as_array().map(Vec::len), Some(20_000), "{:.300}", small.to_string());
    assert_eq!(small["value"][19_999], json!({"attributes": {"b": 1}}));
}

#[test]
fn f45_who_does_not_read_loses_events_and_delays_nobody() {
    const WRITES: usize = 400;
    let engine = Engine::in_memory();
    let (mut slow, mut quick) = (socket(&engine, "/ws/2"), socket(&engine, "/ws/2"));
    start(&mut slow, "START-SEND-EVENTS");
    start(&mut quick, "START-SEND-EVENTS");
    call(&engine, "ditto", "PUT", "/api/2/things/f45:t", &json!({}));
    assert_eq!(quick.expect(1, None).len(), 1);
    let value = json!("x".repeat(90_000));
    for revision in 2..WRITES + 2 {
        let reply = call(&engine, "ditto", "PUT", "/api/2/things/f45:t/attributes/a", &value);
        assert!(reply.status < 300, "{reply:?}");
        assert_eq!(quick.expect(1, None)[0]["revision"], revision);
    }
    assert!(engine.running().stats.overflowed.load(Ordering::Relaxed) > 0, "the slow one has no bound");
}

#[test]
fn a_session_hears_of_others_and_not_of_itself() {
    let engine = Engine::in_memory();
    let (mut one, mut other) = (socket(&engine, "/ws/2"), socket(&engine, "/ws/2"));
    start(&mut one, "START-SEND-MESSAGES");
    start(&mut other, "START-SEND-MESSAGES");
    call(&engine, "ditto", "PUT", "/api/2/things/live.two:t", &json!({}));
    let message = json!({"topic": "live.two/t/things/live/messages/ask", "path": "/inbox/messages/ask",
        "headers": {"correlation-id": "q", "content-type": "application/json"}, "value": {"question": 1}});
    one.send(&message.to_string());
    let asked = other.expect(1, None);
    assert_eq!((&asked[0]["value"], &asked[0]["topic"]), (&message["value"], &message["topic"]));
    let mut answer = message;
    (answer["value"], answer["status"]) = (json!(42), json!(200));
    other.send(&answer.to_string());
    let answers = one.expect(1, QUIET);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((&answers[0]["value"], &answers[0]["headers"]["correlation-id"]), (&json!(42), &json!("q")));
}

#[test]
fn a_message_needs_a_right_to_be_sent_and_one_to_be_received() {
    let engine = Engine::in_memory();
    let entry = |subject: &str, resources: Value| json!({"subjects": {subject: {"type": "t"}}, "resources": resources});
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let (read, write) = (json!({"grant": ["READ"], "revoke": []}), json!({"grant": ["WRITE"], "revoke": []}));
    let body = json!({"_policy": {"entries": {
        "own": entry("nginx:ditto", json!({"thing:/": all, "policy:/": all, "message:/": all})),
        "al": entry("nginx:alice", json!({"message:/inbox/messages/on": write})),
        "bo": entry("nginx:bob", json!({"message:/inbox": read})),
    }}});
    call(&engine, "ditto", "PUT", "/api/2/things/live.rights:t", &body);
    let open = |name: &str| Socket::open(&engine.base, "/ws/2", &user(name)).unwrap();
    let (mut alice, mut bob) = (open("alice"), open("bob"));
    start(&mut alice, "START-SEND-MESSAGES");
    start(&mut bob, "START-SEND-MESSAGES");
    let target = |path: &str| format!("/api/2/things/live.rights:t/{path}");
    let rows = [
        ("alice", "inbox/messages/off?timeout=1", 403, "messages:send.notallowed"),
        ("alice", "outbox/messages/on?timeout=1", 403, "messages:send.notallowed"),
        ("bob", "inbox/messages/on?timeout=1", 403, "messages:send.notallowed"),
        (
            "ditto",
            "inbox/messages/on?timeout=1&condition=eq(thingId,\"other\")",
            412,
            "things:condition.failed",
        ),
        ("ditto", "inbox/messages/on?timeout=1&condition=bad(", 400, "things:condition.invalid"),
        ("ditto", "outbox/messages/on?timeout=250ms", 408, "command.timeout"),
    ];
    for (name, path, status, error) in rows {
        let reply = call(&engine, name, "POST", &target(path), &json!(1));
        assert_eq!(reply.status, status, "{name} {path}: {}", reply.text);
        assert!(reply.text.contains(error), "{name} {path}: {}", reply.text);
    }
    assert_eq!(call(&engine, "alice", "POST", &target("inbox/messages/on?timeout=0"), &json!(1)).status, 202);
    assert_eq!(bob.expect(1, QUIET).len(), 1);
    assert_eq!(alice.expect(0, QUIET), [] as [Value; 0]);
}

#[test]
fn who_sets_no_timeout_waits_a_minute() {
    let engine = Engine::in_memory();
    call(&engine, "ditto", "PUT", "/api/2/things/live.patient:t", &json!({}));
    let mut device = socket(&engine, "/ws/2");
    start(&mut device, "START-SEND-MESSAGES");
    std::thread::scope(|threads| {
        let asked = threads.spawn(|| {
            call(&engine, "ditto", "POST", "/api/2/things/live.patient:t/inbox/messages/ask", &json!(1))
        });
        let mut message = device.expect(1, None).remove(0);
        assert_eq!(message["headers"]["timeout"], "60");
        message["status"] = json!(204);
        device.send(&message.to_string());
        assert_eq!(asked.join().unwrap().status, 204);
    });
}

#[test]
fn a_stream_of_one_place_shows_its_value_alone() {
    let engine = Engine::in_memory();
    call(&engine, "ditto", "PUT", "/api/2/things/live.sse:t", &json!({"attributes": {"a": 1, "b": 1}}));
    let headers = [user("ditto"), vec![("accept".to_owned(), "text/event-stream".to_owned())]].concat();
    let open = |path: &str| {
        Events::open(&engine.base, path, &headers).unwrap_or_else(|reply| panic!("{path}: {reply:?}"))
    };
    let mut of_thing = open("/api/2/things/live.sse:t?fields=attributes");
    let mut of_place = open("/api/2/things/live.sse:t/attributes/a");
    call(&engine, "ditto", "PUT", "/api/2/things/live.sse:t/attributes/b", &json!(2));
    call(&engine, "ditto", "PUT", "/api/2/things/live.sse:t/attributes/a", &json!(3));
    call(&engine, "ditto", "PUT", "/api/2/things/live.sse:other", &json!({"attributes": {"a": 4}}));
    let thing = [json!({"data": {"attributes": {"b": 2}}}), json!({"data": {"attributes": {"a": 3}}})];
    assert_eq!(of_thing.expect(2, QUIET), thing);
    assert_eq!(of_place.expect(1, QUIET), [json!({"data": 3})]);
}

#[test]
fn a_subscriber_whose_filter_drops_the_event_acknowledges_weakly() {
    let engine = Engine::in_memory();
    call(&engine, "ditto", "PUT", "/api/2/things/live.weak:t", &json!({}));
    let declared = "/ws/2?declared-acks=%5B%22weak:ack%22%5D";
    let mut subscriber = socket(&engine, declared);
    start(&mut subscriber, "START-SEND-EVENTS?filter=eq(attributes/other,1)");
    let target = "/api/2/things/live.weak:t/attributes/a?requested-acks=weak:ack,twin-persisted&timeout=20s";
    let reply = call(&engine, "ditto", "PUT", target, &json!(1));
    let acks: Value = serde_json::from_str(&reply.text).unwrap_or_default();
    assert_eq!((reply.status, &acks["weak:ack"]["headers"]["ditto-weak-ack"]), (200, &json!(true)), "{acks}");
    assert_eq!(
        Socket::open(&engine.base, declared, &user("ditto")).err(),
        Some(409),
        "a label has one giver"
    );
}

#[test]
fn an_engine_that_stops_lets_go_of_its_listeners() {
    let engine = Engine::in_memory();
    let mut socket = socket(&engine, "/ws/2");
    let headers = [user("ditto"), vec![("accept".to_owned(), "text/event-stream".to_owned())]].concat();
    let mut stream =
        Events::open(&engine.base, "/api/2/things", &headers).unwrap_or_else(|reply| panic!("{reply:?}"));
    start(&mut socket, "START-SEND-EVENTS");
    drop(engine);
    assert_eq!(socket.close_code(), Some(1001));
    assert_eq!(stream.expect(1, None), [json!({"closed": true})]);
}

#[test]
fn policies_are_commanded_as_things_are() {
    let engine = Engine::in_memory();
    let mut socket = socket(&engine, "/ws/2");
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let entry = json!({"subjects": {"nginx:ditto": {"type": "t"}}, "resources": {"policy:/": all}});
    let whole = json!({"policyId": "live.policy:p", "entries": {"own": entry}});
    let (subject, number) = (json!({"type": "new"}), json!(5));
    let rows = [
        ("create", "/", Some(&whole), "commands/create", 201),
        ("create", "/", Some(&whole), "errors", 409),
        ("modify", "/entries/own/subjects/nginx:alice", Some(&subject), "commands/modify", 201),
        ("retrieve", "/entries/own/subjects/nginx:alice", None, "commands/retrieve", 200),
        ("delete", "/entries/own/subjects/nginx:alice", None, "commands/delete", 204),
        ("delete", "/entries/own/subjects/nginx:alice", None, "errors", 404),
        ("delete", "/entries/own", None, "errors", 403),
        ("modify", "/", Some(&number), "errors", 400),
        ("delete", "/", None, "commands/delete", 204),
        ("retrieve", "/", None, "errors", 404),
    ];
    for (action, path, value, topic, status) in rows {
        let mut command = json!({"topic": format!("live.policy/p/policies/commands/{action}"), "path": path});
        if let Some(value) = value {
            command["value"] = value.clone();
        }
        socket.send(&command.to_string());
        let answers = socket.expect(1, None);
        let answer = &answers[0];
        assert_eq!(
            (&answer["topic"], &answer["status"]),
            (&json!(format!("live.policy/p/policies/{topic}")), &json!(status)),
            "{action} {path}: {answer}"
        );
    }
}
