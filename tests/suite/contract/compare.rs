//! When an answer equals the recorded one: the rules of `tests/golden/README.md`.
use serde_json::{Map, Value};
use twinops::twin::json::same_number;

use super::wire::Reply;

/// The headers a transcript records.
const RECORDED: [&str; 10] = [
    "content-type",
    "etag",
    "location",
    "allow",
    "entity-revision",
    "www-authenticate",
    "link",
    "ditto-metadata",
    "live-channel-condition-matched",
    "channel",
];
/// Recorded headers that need not be there when the transcript lacks them.
const OPTIONAL: [&str; 2] = ["link", "channel"];

/// `None` when equal, else what differs.
pub fn reply(expected: &Value, unordered: bool, got: &Reply, base: &str) -> Option<String> {
    let status = expected.get("status")?.as_u64()?;
    if u64::from(got.status) != status {
        return Some(format!("status: expected {status}, got {} {}", got.status, short(&got.text)));
    }
    if expected.get("headers").is_some() {
        let differing = RECORDED.iter().find_map(|name| header(name, expected, got, base));
        if differing.is_some() {
            return differing;
        }
    }
    let body = parse(got);
    match expected.get("body") {
        None if body.is_null() || expected.get("bodyText").is_some() => None,
        None => Some(format!("expected no body, got {}", short(&got.text))),
        Some(Value::String(_))
            if status >= 400 && media_type(&text_of(expected, "content-type")) != "application/json" =>
        {
            None
        }
        Some(expected) => value(expected, &body, "", unordered),
    }
}

/// The headers of a WebSocket frame that are compared.
const OF_FRAMES: [&str; 11] = [
    "correlation-id",
    "content-type",
    "ditto-originator",
    "entity-revision",
    "etag",
    "response-required",
    "requested-acks",
    "ditto-weak-ack",
    "status",
    "timeout",
    "channel",
];

/// Frames of a WebSocket, or events of a stream, against the recorded ones.
pub fn sequence(expected: &[Value], got: &[Value], unordered: bool) -> Option<String> {
    let all = || format!("expected {} got {}", Value::from(expected), Value::from(got));
    if expected.len() != got.len() {
        return Some(format!("{} expected, {} came: {}", expected.len(), got.len(), all()));
    }
    if unordered {
        let mut rest: Vec<&Value> = got.iter().collect();
        for expected in expected {
            let Some(at) = rest.iter().position(|got| frame(expected, got).is_none()) else {
                return Some(all());
            };
            rest.remove(at);
        }
        return None;
    }
    expected.iter().zip(got).find_map(|(expected, got)| frame(expected, got))
}

fn frame(expected: &Value, got: &Value) -> Option<String> {
    let (Some(one), Some(other)) = (expected.as_object(), got.as_object()) else {
        return value(expected, got, "", false);
    };
    let part = |frame: &Map<String, Value>| {
        let mut rest = frame.clone();
        let headers = rest.shift_remove("headers").unwrap_or_default();
        (Value::Object(rest), headers)
    };
    let ((expected, recorded), (got, came)) = (part(one), part(other));
    value(&expected, &got, "", false).or_else(|| {
        OF_FRAMES.iter().find_map(|name| match (recorded.get(name), came.get(name)) {
            (None, None) => None,
            (Some(expected), Some(got)) => value(expected, got, &format!("/headers/{name}"), false),
            (expected, got) => Some(format!("/headers/{name}: expected {expected:?}, got {got:?}")),
        })
    })
}

fn text_of(expected: &Value, header: &str) -> String {
    expected["headers"][header].as_str().unwrap_or_default().to_owned()
}

pub fn parse(got: &Reply) -> Value {
    let json =
        got.header("content-type").is_some_and(|t| t.contains("json")) || got.text.starts_with(['{', '[']);
    match serde_json::from_str(&got.text) {
        _ if got.text.is_empty() => Value::Null,
        Ok(parsed) if json => parsed,
        _ => Value::String(got.text.clone()),
    }
}

fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn header(name: &str, recorded: &Value, got: &Reply, base: &str) -> Option<String> {
    let has_body = recorded.get("body").is_some() || recorded.get("bodyText").is_some();
    let expected = recorded["headers"].get(name).and_then(Value::as_str).map(str::to_owned);
    let (mut expected, mut got) = (expected, got.header(name));
    if expected.is_none() && (got.is_none() || OPTIONAL.contains(&name)) {
        return None;
    }
    if name == "content-type" {
        (expected, got) = (expected.as_deref().map(media_type), got.as_deref().map(media_type));
        if recorded["status"].as_u64() >= Some(400) && expected.as_deref() == Some("text/plain") || !has_body
        {
            return None;
        }
    }
    let differs = format!("header {name}: expected {expected:?}, got {got:?}");
    let (Some(expected), Some(got)) = (expected, got) else { return Some(differs) };
    let expected = expected.replace("<base>", base);
    let sorted = |list: &str| {
        let mut words: Vec<_> = list.split(',').map(|word| word.trim().to_owned()).collect();
        words.sort();
        words
    };
    let equal = match name {
        "allow" => sorted(&expected) == sorted(&got),
        "ditto-metadata" => match (serde_json::from_str(&expected), serde_json::from_str(&got)) {
            (Ok(expected), Ok(got)) => value(&expected, &got, "", false).is_none(),
            _ => expected == got,
        },
        _ => text(&expected, &got),
    };
    (!equal).then_some(differs)
}

fn is_error(value: &Value) -> bool {
    value.get("error").is_some() && value.get("status").is_some()
}

fn value(expected: &Value, got: &Value, path: &str, unordered: bool) -> Option<String> {
    let differs = || Some(format!("{path}/: expected {}, got {}", short_json(expected), short_json(got)));
    match (expected, got) {
        (Value::String(mask), _) if mask == "<any>" => None,
        (Value::String(mask), Value::Number(_)) if mask == "<number>" => None,
        (Value::String(expected), Value::String(got)) => {
            if text(expected, got) {
                None
            } else {
                differs()
            }
        }
        (Value::Number(expected), Value::Number(got)) => {
            if same_number(expected, got) {
                None
            } else {
                differs()
            }
        }
        _ if is_error(expected) => {
            let differing = ["status", "error"].iter().find(|name| expected[**name] != got[**name]);
            differing.and_then(|_| differs())
        }
        (Value::Object(expected), Value::Object(got)) => object(expected, got, path, unordered),
        (Value::Array(a), Value::Array(b)) if a.len() != b.len() => differs(),
        (Value::Array(expected), Value::Array(got)) if unordered => {
            let mut rest: Vec<&Value> = got.iter().collect();
            expected.iter().find_map(|item| {
                match rest.iter().position(|g| value(item, g, "", false).is_none()) {
                    Some(at) => {
                        rest.swap_remove(at);
                        None
                    }
                    None => Some(format!("{path}: no equal element for {}", short_json(item))),
                }
            })
        }
        (Value::Array(expected), Value::Array(got)) => {
            let mut pairs = expected.iter().zip(got).enumerate();
            pairs.find_map(|(i, (expected, got))| value(expected, got, &format!("{path}/{i}"), false))
        }
        (expected, got) => {
            if expected == got {
                None
            } else {
                differs()
            }
        }
    }
}

/// Of an aggregated acknowledgement only some headers count.
const ACK_HEADERS: [&str; 4] = ["content-type", "etag", "entity-revision", "ditto-weak-ack"];

fn object(
    expected: &Map<String, Value>,
    got: &Map<String, Value>,
    path: &str,
    unordered: bool,
) -> Option<String> {
    let ack = expected.contains_key("status")
        && expected.contains_key("headers")
        && expected.keys().all(|key| matches!(key.as_str(), "status" | "headers" | "payload"));
    let cut = |object: &Map<String, Value>| {
        let mut object = object.clone();
        if let Some(Value::Object(headers)) = object.get_mut("headers").filter(|_| ack) {
            headers.retain(|name, _| ACK_HEADERS.contains(&name.as_str()));
        }
        object
    };
    let (expected, got) = (cut(expected), cut(got));
    if let Some(key) = expected.keys().find(|key| !got.contains_key(*key)) {
        return Some(format!("{path}/{key}: missing"));
    }
    if let Some(key) = got.keys().find(|key| !expected.contains_key(*key)) {
        return Some(format!("{path}/{key}: unexpected {}", short_json(&got[key])));
    }
    expected.iter().find_map(|(key, item)| {
        let set = matches!(key.as_str(), "grant" | "revoke" | "subjects") && item.is_array();
        value(item, &got[key], &format!("{path}/{key}"), set || unordered && key == "items")
    })
}

/// Equality of texts where the expected one may hold masks such as `<uuid>`.
fn text(expected: &str, got: &str) -> bool {
    type Mask = (&'static str, fn(&str) -> bool);
    const MASKS: [Mask; 7] = [
        ("<uuid>", |t| t.len() == 36 && uuid::Uuid::parse_str(t).is_ok()),
        ("<timestamp>", |t| {
            t.len() >= 17
                && t.as_bytes()[4] == b'-'
                && t.contains('T')
                && t.ends_with(|c: char| c == 'Z' || c.is_ascii_digit())
        }),
        ("<hash>", |t| !t.is_empty() && !t.contains('"')),
        ("<correlation-id>", |t| !t.is_empty()),
        ("<any>", |_| true),
        ("<cursor>", |t| !t.is_empty()),
        ("<number>", |t| t.parse::<f64>().is_ok()),
    ];
    let first =
        MASKS.iter().filter_map(|(mask, fits)| Some((expected.find(mask)?, mask, fits))).min_by_key(|m| m.0);
    let Some((at, mask, fits)) = first else { return expected == got };
    let Some(rest) = got.strip_prefix(&expected[..at]) else { return false };
    let after = &expected[at + mask.len()..];
    let ends = rest.char_indices().map(|(end, _)| end).chain([rest.len()]);
    ends.into_iter().any(|end| fits(&rest[..end]) && text(after, &rest[end..]))
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

fn short_json(value: &Value) -> String {
    short(&value.to_string())
}

#[test]
fn masks_stand_for_what_they_say() {
    let id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    let rows = [
        ("\"hash:<hash>\"", "\"hash:1f\"", true),
        ("\"hash:<hash>\"", "\"rev:1\"", false),
        ("\"hash:<hash>\"", "\"hash:\"", false),
        ("org.eclipse.ditto:<uuid>", &format!("org.eclipse.ditto:{id}"), true),
        ("org.eclipse.ditto:<uuid>", "org.eclipse.ditto:1", false),
        ("<timestamp>", "2026-11-23T23:11:00.007Z", true),
        ("<timestamp>", "yesterday, around noon", false),
        ("a<cursor>)>", "axyz)>", true),
        ("plain", "plain", true),
    ];
    for (expected, got, equal) in rows {
        assert_eq!(text(expected, got), equal, "{expected} {got}");
    }
}

#[test]
fn a_wrong_answer_is_never_taken_for_right() {
    use serde_json::json;
    let rows = [
        (json!({"status": 200, "headers": {}, "body": {"a": 1}}), "{\"a\":2}"),
        (json!({"status": 200, "headers": {}, "body": {"a": 1}}), "{\"a\":1,\"b\":1}"),
        (json!({"status": 200, "headers": {}, "body": {"a": 1}}), "{}"),
        (json!({"status": 200, "headers": {}}), "{}"),
        (json!({"status": 200, "headers": {"etag": "\"rev:1\""}, "body": {}}), "{}"),
        (
            json!({"status": 404, "headers": {}, "body": {"status": 404, "error": "a"}}),
            "{\"status\":404,\"error\":\"a\"}",
        ),
    ];
    for (expected, got) in rows {
        let got = Reply { status: 200, headers: vec![], text: got.to_owned() };
        assert!(reply(&expected, false, &got, "http://x").is_some(), "{expected} {got:?}");
    }
}
