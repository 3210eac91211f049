//! Frames on their way through `/ws/ditto`: which may pass, and with which headers.
//!
//! An envelope carries headers as a request does, and the same rule holds: what is not on the list stays behind. So
//! nobody claims to be somebody else from inside a frame, and nobody reads from an event who caused it and how.
use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::super::ask::Query;
use super::super::page;
use super::super::problem::Problem;
use super::super::scan::{self, Malformed};
use super::super::words;

/// Headers of an envelope that a client may set.
const FROM_CLIENT: [&str; 9] = [
    "condition",
    "content-type",
    "correlation-id",
    "if-equal",
    "if-match",
    "if-none-match",
    "response-required",
    "timeout",
    "version",
];
/// Headers of an envelope that a client is told.
const TO_CLIENT: [&str; 10] = [
    "content-type",
    "correlation-id",
    "ditto-originator",
    "entity-revision",
    "etag",
    "location",
    "response-required",
    "status",
    "timeout",
    "version",
];
/// What can be subscribed to. Source: Ditto 3.8, `ProtocolMessageType.java`.
const KINDS: [&str; 5] = ["EVENTS", "MESSAGES", "LIVE-COMMANDS", "LIVE-EVENTS", "POLICY-ANNOUNCEMENTS"];
/// Ids that begin so are the reconciler's.
const RESERVED: &str = "\"twinops-";

/// A client's frame as Ditto may have it.
pub fn from_client(text: &str) -> Result<Cow<'_, str>, Problem> {
    let wrong = |detail: &str| Problem::invalid("facade:frame.invalid", detail.to_owned());
    if !text.trim_start().starts_with('{') {
        return control(text).map(Cow::Owned);
    }
    let members = scan::object(text).map_err(|_| wrong("the frame is no JSON"))?;
    let count = |name: &str| members.iter().filter(|(found, _)| found == name).count();
    let Some((_, topic)) = members.iter().find(|(name, _)| name == "topic") else {
        return subscription(text).map(Cow::Owned);
    };
    if count("topic") > 1 || count("headers") > 1 {
        return Err(wrong("`topic` or `headers` is there twice"));
    }
    let topic: String = serde_json::from_str(topic).unwrap_or_default();
    // `_/_/things/…` is a search or several things; connections and whatever else there is stay out of reach.
    if !matches!(topic.split('/').nth(2), Some("things" | "policies")) {
        return Err(wrong("the topic is of no thing and no policy"));
    }
    with_headers(&members, |name, value| {
        FROM_CLIENT.contains(&name) && !(name == "correlation-id" && value.starts_with(RESERVED))
    })
    .map(Cow::Owned)
    .map_err(|_| wrong("the headers are no JSON object"))
}

/// Ditto's frame as a client may have it; `None` when it is nothing to pass on.
pub fn to_client(text: &str) -> Option<String> {
    if !text.starts_with('{') {
        return Some(text.to_owned());
    }
    let members = scan::object(text).ok()?;
    with_headers(&members, |name, _| TO_CLIENT.contains(&name)).ok()
}

/// The object again, with those of its headers that `keep` says. Everything else keeps its bytes.
fn with_headers(
    members: &[(Cow<'_, str>, &str)],
    keep: impl Fn(&str, &str) -> bool,
) -> Result<String, Malformed> {
    let mut out = String::with_capacity(256);
    for (name, value) in members {
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&json!(name).to_string());
        out.push(':');
        if name != "headers" {
            out.push_str(value);
            continue;
        }
        let headers = scan::object(value)?;
        let kept = headers.iter().filter(|(name, value)| keep(&name.to_ascii_lowercase(), value));
        let kept: Vec<String> = kept.map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        out.extend(["{", &kept.join(","), "}"]);
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    Ok(out)
}

/// `START-SEND-EVENTS?filter=…` and the like.
fn control(text: &str) -> Result<String, Problem> {
    let wrong = || {
        Problem::invalid(
            "facade:frame.invalid",
            "send an envelope, START-SEND-EVENTS, or {\"type\":\"subscribe\"}",
        )
    };
    let (name, query) = text.trim().split_once('?').unwrap_or((text.trim(), ""));
    let kind =
        name.strip_prefix("START-SEND-").or_else(|| name.strip_prefix("STOP-SEND-")).ok_or_else(wrong)?;
    if !KINDS.contains(&kind) {
        return Err(wrong());
    }
    if query.is_empty() {
        return Ok(name.to_owned());
    }
    Query::read(query)?.only(&["filter", "namespaces", "extraFields", "correlation-id"])?;
    Ok(format!("{name}?{query}"))
}

/// `{"type":"subscribe","filter":"like(thingId,'*')"}` in Ditto's words.
fn subscription(text: &str) -> Result<String, Problem> {
    let wrong = |detail: String| Problem::invalid("facade:frame.invalid", detail);
    let asked: Value =
        serde_json::from_str(text).map_err(|error| wrong(format!("the frame is no JSON: {error}")))?;
    let known = ["type", "filter", "namespace"];
    let stranger =
        asked.as_object().and_then(|asked| asked.keys().find(|name| !known.contains(&name.as_str())));
    if let Some(name) = stranger {
        return Err(wrong(format!("`{name}` is not understood; take type, filter and namespace")));
    }
    match asked["type"].as_str() {
        Some("unsubscribe") => Ok("STOP-SEND-EVENTS".to_owned()),
        Some("subscribe") => {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let mut parameters = vec![];
            if let Some(filter) = asked["filter"].as_str().filter(|text| !text.trim().is_empty()) {
                parameters.push(format!("filter={}", encode(&words::event_filter(filter)?.to_string())));
            }
            if let Some(list) = asked["namespace"].as_str() {
                parameters.push(format!("namespaces={}", encode(page::namespace(list)?)));
            }
            let mark = if parameters.is_empty() { "" } else { "?" };
            Ok(format!("START-SEND-EVENTS{mark}{}", parameters.join("&")))
        }
        _ => Err(wrong("send an envelope with a topic, or type subscribe or unsubscribe".to_owned())),
    }
}

/// What a client is told whose frame went nowhere, in Ditto's own form.
pub fn refusal(problem: &Problem) -> String {
    let status = problem.status.as_u16();
    json!({
        "topic": "unknown/unknown/things/twin/errors",
        "headers": {"content-type": "application/json"},
        "path": "/",
        "status": status,
        "value": {"status": status, "error": problem.code, "message": problem.detail},
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s33_an_envelope_brings_no_identity_of_its_own() {
        let sent = r#"{"topic":"a/b/things/twin/commands/modify","headers":{"correlation-id":"c-1","authorization":"Bearer x",
            "X-Ditto-Pre-Authenticated":"nginx:admin","x-ditto-pre-authenticated":"nginx:admin","ditto-sudo":true,"ditto-originator":"x",
            "ditto-read-subjects":["x"],"requested-acks":["x"],"put-metadata":[],"allow-policy-lockout":true,"response-required":false},
            "path":"/attributes/a","value":{"headers":{"ditto-sudo":1},"n":12345678901234567890123}}"#;
        let passed: Value = serde_json::from_str(&from_client(sent).unwrap()).unwrap();
        assert_eq!(passed["headers"], json!({"correlation-id": "c-1", "response-required": false}));
        assert_eq!(passed["value"]["headers"], json!({"ditto-sudo": 1}), "values are nobody's business");
        assert!(from_client(sent).unwrap().contains("12345678901234567890123"));
    }

    #[test]
    fn s33_frames_that_are_none_of_a_things_go_nowhere() {
        let rows = [
            r#"{"topic":"_/c-1/connections/announcements/opened","headers":{},"path":"/"}"#,
            r#"{"topic":"a/b/things/twin/commands/modify","headers":{},"headers":{"ditto-sudo":true},"path":"/"}"#,
            r#"{"topic":"a/b/things/twin/commands/modify","head\u0065rs":{"ditto-sudo":true},"headers":{},"path":"/"}"#,
            r#"{"topic":"a/b/things/twin/commands/modify","headers":["ditto-sudo"],"path":"/"}"#,
            r#"{"topic":7,"path":"/"}"#,
            "JWT-TOKEN?jwtToken=x",
            "START-SEND-EVERYTHING",
            "START-SEND-EVENTS?x-ditto-pre-authenticated=nginx:admin",
            "hello",
            "{",
            r#"{"type":"subscribe","x-ditto-pre-authenticated":"a:b"}"#,
            r#"{"type":"subscribe","filter":"like(thingId"}"#,
            r#"{"type":"other"}"#,
        ];
        for text in rows {
            let problem = from_client(text).unwrap_err();
            let told: Value = serde_json::from_str(&refusal(&problem)).unwrap();
            assert_eq!(told["status"], 400, "{text}");
        }
    }

    #[test]
    fn simple_words_are_understood_too() {
        let rows = [
            (
                r#"{"type":"subscribe","filter":"like(thingId,'*')"}"#,
                "START-SEND-EVENTS?filter=like%28thingId%2C%22%2A%22%29",
            ),
            (
                r#"{"type":"subscribe","filter":"like(thing_id,\"*\")","namespace":"a.b"}"#,
                "START-SEND-EVENTS?filter=like%28thingId%2C%22%2A%22%29&namespaces=a%2Eb",
            ),
            (r#"{"type":"subscribe"}"#, "START-SEND-EVENTS"),
            (r#"{"type":"unsubscribe"}"#, "STOP-SEND-EVENTS"),
            ("START-SEND-MESSAGES", "START-SEND-MESSAGES"),
            (
                "START-SEND-EVENTS?filter=eq(a,1)&extraFields=attributes",
                "START-SEND-EVENTS?filter=eq(a,1)&extraFields=attributes",
            ),
            ("STOP-SEND-LIVE-EVENTS", "STOP-SEND-LIVE-EVENTS"),
        ];
        for (sent, passed) in rows {
            assert_eq!(from_client(sent).unwrap(), passed, "{sent}");
        }
    }

    #[test]
    fn s33_an_event_does_not_tell_with_which_credentials_it_was_caused() {
        let told = r#"{"topic":"a/b/things/twin/events/modified","headers":{"correlation-id":"c","host":"ditto:8080",
            "x-ditto-pre-authenticated":"nginx:ada","authorization":"Bearer x","ditto-originator":"nginx:ada"},"path":"/","value":1}"#;
        let passed: Value = serde_json::from_str(&to_client(told).unwrap()).unwrap();
        assert_eq!(passed["headers"], json!({"correlation-id": "c", "ditto-originator": "nginx:ada"}));
        assert_eq!(to_client("START-SEND-EVENTS:ACK").as_deref(), Some("START-SEND-EVENTS:ACK"));
    }

    proptest! {
        #[test]
        fn s33_whatever_the_headers_only_those_on_the_list_pass(
            headers in prop::collection::btree_map("[a-zA-Z-]{1,24}|ditto-[a-z]{1,8}|correlation-id", "\\PC{0,8}", 0..6),
        ) {
            let sent = json!({"topic": "a/b/things/twin/commands/modify", "headers": headers, "path": "/"}).to_string();
            let passed: Value = serde_json::from_str(&from_client(&sent).unwrap()).unwrap();
            for name in passed["headers"].as_object().unwrap().keys() {
                prop_assert!(FROM_CLIENT.contains(&name.to_ascii_lowercase().as_str()), "{}", name);
            }
        }

        #[test]
        fn frames_of_any_kind_do_no_harm(text in "[{}\\[\\]\":,a\\\\ ?&=]{0,40}|\\PC{0,40}") {
            let _ = from_client(&text);
            let _ = to_client(&text);
        }
    }
}
