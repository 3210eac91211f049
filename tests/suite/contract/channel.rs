//! The live channel beyond the transcripts: what devices say is not trusted, and who may answer.
use std::time::Duration;

use serde_json::{Value, json};

use super::engine::Engine;
use super::live::{QUIET, call, socket, start, user};
use super::streams::Socket;

fn envelope(criterion: &str, path: &str, value: &Value) -> Value {
    let topic = format!("channel/t/things/live/{criterion}");
    json!({"topic": topic, "path": path, "headers": {"correlation-id": "q"}, "value": value})
}

/// A device that hears of commands and gives the acknowledgement `my:ack`.
fn device(engine: &Engine) -> Socket {
    let mut device = socket(engine, "/ws/2?declared-acks=%5B%22my:ack%22%5D");
    start(&mut device, "START-SEND-LIVE-COMMANDS");
    device
}

/// What the device answers to the command it gets.
fn answer(device: &mut Socket, status: u64, value: &Value) -> Value {
    let asked = device.expect(1, None).remove(0);
    let mut said = asked.clone();
    said["headers"] = json!({"correlation-id": asked["headers"]["correlation-id"]});
    (said["status"], said["value"]) = (json!(status), value.clone());
    device.send(&said.to_string());
    asked
}

#[test]
fn an_event_of_a_strange_shape_is_refused_and_no_listener_falls_over_it() {
    let engine = Engine::in_memory();
    call(&engine, "ditto", "PUT", "/api/2/things/channel:t", &json!({}));
    let (mut listener, mut sender) = (socket(&engine, "/ws/2"), socket(&engine, "/ws/2"));
    start(&mut listener, "START-SEND-LIVE-EVENTS?filter=exists(attributes/a)");
    let rows = [
        ("modified", "/", json!("x")),
        ("created", "/", json!(5)),
        ("merged", "/", json!([1])),
        ("modified", "/", json!({"thingId": "channel:other"})),
        ("modified", "/attributes", json!("x")),
        ("modified", "/features/f", json!(1)),
        ("merged", "/features/f/properties", json!(true)),
    ];
    let event = |action: &str, path: &str, value: &Value| {
        let mut event = envelope(&format!("events/{action}"), path, value);
        event["revision"] = json!(1);
        event.to_string()
    };
    for (action, path, value) in &rows {
        sender.send(&event(action, path, value));
        let refused = sender.expect(1, None);
        let told = (&refused[0]["topic"], &refused[0]["status"]);
        assert_eq!(told, (&json!("channel/t/things/live/errors"), &json!(400)), "{action} {path} {value}");
    }
    sender.send(&event("modified", "/", &Value::Null));
    sender.send(&event("modified", "/attributes/a", &json!(1)));
    let heard = listener.expect(1, QUIET);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!((&heard[0]["path"], &heard[0]["value"]), (&json!("/attributes/a"), &json!(1)));
}

#[test]
fn the_answer_of_a_device_is_cut_to_what_the_asker_may_read_also_among_acknowledgements() {
    let engine = Engine::in_memory();
    let entry = |subject: &str, resources: Value| json!({"subjects": {subject: {"type": "t"}}, "resources": resources});
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let read = json!({"grant": ["READ"], "revoke": []});
    let body = json!({"_policy": {"entries": {
        "own": entry("nginx:ditto", json!({"thing:/": all, "policy:/": all, "message:/": all})),
        "bo": entry("nginx:bob", json!({"thing:/attributes/pub": read})),
    }}});
    call(&engine, "ditto", "PUT", "/api/2/things/channel:t", &body);
    let mut device = device(&engine);
    let said = json!({"pub": 1, "secret": 2});
    let acknowledged = |device: &mut Socket| {
        let asked = answer(device, 200, &said);
        let mut ack = envelope("acks/my:ack", "/", &json!("done"));
        ack["status"] = json!(200);
        ack["headers"]["correlation-id"] = asked["headers"]["correlation-id"].clone();
        device.send(&ack.to_string());
    };
    let target = "/api/2/things/channel:t/attributes?channel=live&timeout=10s";
    let with_acks = format!("{target}&requested-acks=my:ack");
    std::thread::scope(|threads| {
        let asked = threads.spawn(|| call(&engine, "bob", "GET", target, &Value::Null));
        answer(&mut device, 200, &said);
        let reply = asked.join().unwrap();
        assert_eq!((reply.status, reply.text.as_str()), (200, "{\"pub\":1}"));

        let asked = threads.spawn(|| call(&engine, "bob", "GET", &with_acks, &Value::Null));
        acknowledged(&mut device);
        let reply = asked.join().unwrap();
        let words: Value = serde_json::from_str(&reply.text).unwrap_or_default();
        assert_eq!(words["live-response"]["payload"], json!({"pub": 1}), "{}", reply.text);
    });
    let mut bob = Socket::open(&engine.base, "/ws/2", &user("bob")).unwrap();
    let mut question = envelope("commands/retrieve", "/attributes", &Value::Null);
    question["headers"] = json!({"correlation-id": "w", "requested-acks": ["my:ack"], "timeout": "10s"});
    bob.send(&question.to_string());
    acknowledged(&mut device);
    let words = bob.expect(1, None);
    assert_eq!(words[0]["value"]["live-response"]["payload"], json!({"pub": 1}), "{words:?}");
}

#[test]
fn a_status_of_a_device_is_one_that_http_has() {
    let engine = Engine::in_memory();
    call(&engine, "ditto", "PUT", "/api/2/things/channel:t", &json!({"attributes": {"a": 1}}));
    let mut device = device(&engine);
    let ask = |device: &mut Socket, status: u64, timeout: &str| {
        let target = format!("/api/2/things/channel:t/attributes/a?channel=live&timeout={timeout}");
        std::thread::scope(|threads| {
            let asked = threads.spawn(|| call(&engine, "ditto", "GET", &target, &Value::Null));
            answer(device, status, &json!(42));
            asked.join().unwrap()
        })
    };
    for status in [204, 304] {
        let reply = ask(&mut device, status, "10s");
        assert_eq!((u64::from(reply.status), reply.text.as_str()), (status, ""));
        assert_eq!(reply.header("content-type"), None, "{status}");
    }
    for status in [0, 101, 600, 999, 70_000] {
        assert_eq!(ask(&mut device, status, "500ms").status, 408, "{status} is no status");
        let refused = device.expect(1, None);
        let told = (&refused[0]["status"], &refused[0]["value"]["error"]);
        assert_eq!(told, (&json!(400), &json!("json.invalid")), "{status}");
    }

    let target =
        "/api/2/things/channel:t/attributes/a?channel=live&timeout=10s&requested-acks=my:ack,twin-persisted";
    let reply = std::thread::scope(|threads| {
        let asked = threads.spawn(|| call(&engine, "ditto", "GET", target, &Value::Null));
        let command = device.expect(1, None).remove(0);
        let mut ack = envelope("acks/my:ack", "/", &json!("done"));
        ack["status"] = json!(204);
        ack["headers"]["correlation-id"] = command["headers"]["correlation-id"].clone();
        device.send(&ack.to_string());
        asked.join().unwrap()
    });
    assert_eq!((reply.status, reply.text.as_str(), reply.header("content-type")), (204, "", None));
}

#[test]
fn a_read_over_a_socket_is_asked_of_a_device_when_it_says_so() {
    let engine = Engine::in_memory();
    call(&engine, "ditto", "PUT", "/api/2/things/channel:t", &json!({"attributes": {"a": 1}}));
    let (mut device, mut asker) = (device(&engine), socket(&engine, "/ws/2"));
    let read = |channel: &str, headers: Value| {
        let topic = format!("channel/t/things/{channel}/commands/retrieve");
        json!({"topic": topic, "path": "/attributes/a", "headers": headers}).to_string()
    };
    let met = "eq(attributes/a,1)";
    let answered = [
        ("twin", json!({"live-channel-condition": met, "timeout": "10s"}), json!(true)),
        ("twin", json!({"channel": "live", "timeout": "10s"}), Value::Null),
        ("live", json!({"live-channel-timeout-strategy": "use-twin", "timeout": "10s"}), json!(true)),
    ];
    for (channel, headers, matched) in answered {
        asker.send(&read(channel, headers.clone()));
        let asked = answer(&mut device, 200, &json!(42));
        assert_eq!(asked["topic"], "channel/t/things/live/commands/retrieve", "{channel} {headers}");
        let told = asker.expect(1, None).remove(0);
        assert_eq!((&told["topic"], &told["value"]), (&asked["topic"], &json!(42)), "{headers}: {told}");
        assert_eq!(told["headers"]["channel"], "live", "{told}");
        assert_eq!(told["headers"]["live-channel-condition-matched"], matched, "{told}");
    }
    let of_twin = [
        ("twin", json!({"live-channel-condition": "eq(attributes/a,2)"}), false, 0),
        (
            "twin",
            json!({"live-channel-condition": met, "live-channel-timeout-strategy": " USE-TWIN", "timeout": "300ms"}),
            true,
            1,
        ),
        ("live", json!({"live-channel-timeout-strategy": " USE-TWIN", "timeout": "300ms"}), true, 1),
    ];
    for (channel, headers, matched, heard) in of_twin {
        asker.send(&read(channel, headers.clone()));
        let told = asker.expect(1, None).remove(0);
        let expected = json!({"topic": "channel/t/things/twin/commands/retrieve", "value": 1, "channel": "twin",
            "matched": matched});
        let found = json!({"topic": told["topic"], "value": told["value"], "channel": told["headers"]["channel"],
            "matched": told["headers"]["live-channel-condition-matched"]});
        assert_eq!(found, expected, "{channel} {headers}");
        assert_eq!(device.expect(heard, QUIET).len(), heard);
    }
    asker.send(&read("twin", json!({"live-channel-condition": met, "timeout": "300ms"})));
    let late = asker.expect(1, None).remove(0);
    let told = (&late["topic"], &late["value"]["error"]);
    assert_eq!(told, (&json!("channel/t/things/live/errors"), &json!("command.timeout")), "{late}");
}

#[test]
fn words_of_headers_are_taken_in_any_spelling() {
    let engine = Engine::in_memory();
    call(&engine, "ditto", "PUT", "/api/2/things/channel:t", &json!({"attributes": {"a": 1}}));
    let target = "/api/2/things/channel:t/attributes/a?channel=LIVE&timeout=300ms\
                  &live-channel-timeout-strategy=%20USE-TWIN";
    let reply = call(&engine, "ditto", "GET", target, &Value::Null);
    assert_eq!((reply.status, reply.header("channel").as_deref()), (200, Some("twin")), "{}", reply.text);
    let all = json!({"policy:/": {"grant": ["READ", "WRITE"], "revoke": []}});
    let locked = json!({"entries": {"own": {"subjects": {"nginx:alice": {"type": "t"}}, "resources": all}}});
    let lockout = |word: &str| {
        let target = format!("/api/2/policies/channel:locked.{}?allow-policy-lockout={word}", word.len());
        call(&engine, "ditto", "PUT", &target, &locked).status
    };
    assert_eq!([lockout("false"), lockout("TRUE")], [403, 201]);
}

#[test]
fn nothing_is_read_of_the_time_between_a_deletion_and_the_next_creation() {
    let engine = Engine::in_memory();
    let pause = || std::thread::sleep(Duration::from_millis(20));
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let resources = json!({"policy:/": all, "thing:/": all});
    let policy =
        json!({"entries": {"own": {"subjects": {"nginx:ditto": {"type": "t"}}, "resources": resources}}});
    call(&engine, "ditto", "PUT", "/api/2/policies/channel:owner", &policy);
    let rows = [
        ("policies", "policies:policy.history.notfound", policy),
        ("things", "things:thing.history.notfound", json!({"policyId": "channel:owner"})),
    ];
    for (collection, error, body) in &rows {
        let target = format!("/api/2/{collection}/channel:{collection}");
        let write = |method: &str| {
            let reply = call(&engine, "ditto", method, &target, body);
            assert!(reply.status < 300, "{method} {target}: {}", reply.text);
            pause();
        };
        let now = |name: &str| {
            let clock = format!("/api/2/things/channel:clock.{name}?fields=_modified");
            call(&engine, "ditto", "PUT", &clock, &json!({}));
            let read: Value =
                serde_json::from_str(&call(&engine, "ditto", "GET", &clock, &Value::Null).text).unwrap();
            pause();
            read["_modified"].as_str().expect("every thing was modified once").to_owned()
        };
        write("PUT");
        let first = now(&format!("{collection}.1"));
        write("DELETE");
        let between = now(&format!("{collection}.2"));
        write("PUT");
        let at = |time: &str| {
            let target = format!("{target}?at-historical-timestamp={time}");
            call(&engine, "ditto", "GET", &target, &Value::Null)
        };
        assert_eq!(at(&first).status, 200, "{collection}");
        let reply = at(&between);
        assert_eq!((reply.status, reply.text.contains(*error)), (404, true), "{collection}: {}", reply.text);
    }
}
