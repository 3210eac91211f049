//! Frames of the Ditto Protocol. Pure. Source: Ditto 3.8, `golden/ws-twin-commands`, `golden/messages-responder`.
use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::answer::read_answer;
use super::{Heard, LiveMessage, Order, Reply, What};
use crate::ports::{Refused, Said};
use crate::twin::id::ThingId;

/// What the caller learns of a thing.
pub const ABOUT: &str = "thingId,_revision,_metadata/twinops/telemetry,features/*/desiredProperties";
/// Everything but what devices write below the features, and what is merged into all of them at once: that would be
/// our own writes, of all bridges.
const FILTER: &str = "or(not(like(resource:path,\"/features*\")),\
and(eq(resource:path,\"/features\"),ne(topic:action,\"merged\")),\
and(like(resource:path,\"/features/*\"),not(like(resource:path,\"/features/*/*\"))),\
like(resource:path,\"*/desiredProperties*\"),eq(topic:action,\"deleted\"))";
/// How long Ditto waits for an answer to a message that does not say. Source: Ditto 3.8, `ditto.gateway.message`.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest it waits.
const PATIENCE_MAX: Duration = Duration::from_mins(1);
const OK: u16 = 200;

const EVENTS: &str = "START-SEND-EVENTS";
const MESSAGES: &str = "START-SEND-MESSAGES";

/// What a socket asks for when it opens, and how Ditto agrees. Source: `golden/ws-connect-control`.
pub fn subscriptions() -> [(String, String); 2] {
    let filter = utf8_percent_encode(FILTER, NON_ALPHANUMERIC);
    let agreed = |name: &str| format!("{name}:ACK");
    [(format!("{EVENTS}?filter={filter}"), agreed(EVENTS)), (MESSAGES.to_owned(), agreed(MESSAGES))]
}

/// Why Ditto does not agree to what a socket asked for, if the frame says so.
pub fn refusal(text: &str) -> Option<String> {
    let envelope: Envelope = serde_json::from_str(text).ok()?;
    let status = envelope.status.filter(|_| envelope.topic.ends_with("/errors"))?;
    let value = envelope.value.unwrap_or_default();
    Some(format!("{status} {}", value["message"].as_str().unwrap_or("no reason given")))
}

/// The frame of an order; answers carry `prefix` and the order's number.
pub fn order(order: &Order, prefix: &str) -> String {
    let thing = &order.thing;
    let topic =
        |action: &str| format!("{}/{}/things/twin/commands/{action}", thing.namespace(), thing.name());
    let correlation = format!("{prefix}{}", order.number);
    let frame = match &order.what {
        What::Merge(patch) => json!({
            "topic": topic("merge"),
            "headers": {"correlation-id": correlation, "content-type": "application/merge-patch+json"},
            "path": "/features",
            "value": patch,
        }),
        What::About => json!({
            "topic": topic("retrieve"), "headers": {"correlation-id": correlation}, "path": "/", "fields": ABOUT,
        }),
        What::Create(policy) => json!({
            "topic": topic("create"), "headers": {"correlation-id": correlation}, "path": "/",
            "value": {"thingId": thing.as_str(), "policyId": policy.as_str()},
        }),
        What::Reply(reply) => answer(reply),
    };
    frame.to_string()
}

fn answer(reply: &Reply) -> Value {
    let mut frame = json!({
        "topic": reply.topic,
        "headers": {"correlation-id": reply.correlation},
        "path": reply.path,
        "status": reply.status,
    });
    if let Some(kind) = &reply.content_type {
        frame["headers"]["content-type"] = json!(kind);
    }
    if let Some(value) = &reply.value {
        frame["value"] = value.clone();
    }
    frame
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(default)]
    headers: Headers,
    #[serde(borrow, default)]
    path: Cow<'a, str>,
    value: Option<Value>,
    status: Option<u16>,
}

#[derive(Default, Deserialize)]
struct Headers {
    #[serde(rename = "correlation-id")]
    correlation: Option<String>,
    #[serde(rename = "content-type")]
    content_type: Option<String>,
    #[serde(rename = "response-required")]
    response_required: Option<Value>,
    timeout: Option<Value>,
    #[serde(rename = "retry-after")]
    retry_after: Option<Value>,
}

/// What a frame tells; `None` when it is of no interest.
pub fn read(text: &str, prefix: &str, epoch: u64) -> Option<Heard> {
    let envelope: Envelope = serde_json::from_str(text).ok()?;
    let own = envelope.headers.correlation.as_deref().and_then(|id| id.strip_prefix(prefix));
    if let (Some(number), Some(status)) = (own.and_then(|number| number.parse().ok()), envelope.status) {
        let result = result(status, envelope.headers.retry_after.as_ref(), envelope.value);
        return Some(Heard::Answer { epoch, number, result });
    }
    let mut words = envelope.topic.split('/');
    let (namespace, name) = (words.next()?, words.next()?);
    let thing = ThingId::parse(&format!("{namespace}:{name}")).ok()?;
    match (words.next()?, words.next()?, words.next()?) {
        ("things", "twin", "events") => Some(Heard::Changed { thing }),
        ("things", "live", "messages") if envelope.status.is_none() => message(thing, &envelope),
        _ => None,
    }
}

fn message(thing: ThingId, envelope: &Envelope) -> Option<Heard> {
    let (_, subject) = envelope.topic.split_once("/things/live/messages/")?;
    if !envelope.path.contains("/inbox/messages/") {
        return None;
    }
    let headers = &envelope.headers;
    let required = headers
        .response_required
        .as_ref()
        .is_none_or(|required| required.as_bool().unwrap_or(required.as_str() != Some("false")));
    let patience = headers.timeout.as_ref().map_or(PATIENCE, |text| timeout(text).unwrap_or(PATIENCE));
    Some(Heard::Message(LiveMessage {
        thing,
        subject: subject.to_owned(),
        correlation: headers.correlation.clone()?,
        path: envelope.path.clone().into_owned(),
        topic: envelope.topic.clone().into_owned(),
        content_type: headers.content_type.clone(),
        value: envelope.value.clone(),
        patience: (required && !patience.is_zero()).then(|| patience.min(PATIENCE_MAX)),
    }))
}

/// Seconds with or without their unit, milliseconds with theirs. Source: Ditto 3.8, `DittoDuration.java`.
fn timeout(value: &Value) -> Option<Duration> {
    if let Some(seconds) = value.as_u64() {
        return Some(Duration::from_secs(seconds));
    }
    let text = value.as_str()?;
    let number = |digits: &str| digits.parse::<u64>().ok();
    if let Some(millis) = text.strip_suffix("ms") {
        return number(millis).map(Duration::from_millis);
    }
    if let Some(minutes) = text.strip_suffix('m') {
        return number(minutes).and_then(|minutes| minutes.checked_mul(60)).map(Duration::from_secs);
    }
    number(text.strip_suffix('s').unwrap_or(text)).map(Duration::from_secs)
}

/// With a 429 Ditto says how long to wait, in seconds, as it does over HTTP; with a 503 it does not. Source: Ditto 3.8,
/// `TooManyRequestsException.java`, `WebSocketRoute.java`.
fn result(status: u16, retry_after: Option<&Value>, value: Option<Value>) -> Result<Value, Refused> {
    if (OK..OK + 100).contains(&status) {
        return Ok(value.unwrap_or(Value::Null));
    }
    let told = retry_after.map(|told| told.as_str().map_or_else(|| told.to_string(), str::to_owned));
    let told = told.and_then(|text| HeaderValue::try_from(text).ok());
    let headers: HeaderMap = told.into_iter().map(|told| (RETRY_AFTER, told)).collect();
    let body = value.unwrap_or(Value::Null).to_string();
    match read_answer(status, &headers, body.as_bytes()) {
        Err(refused) => Err(refused),
        Ok(_) => Err(Refused::Unavailable(Said { status, ..Said::default() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::id::PolicyId;

    fn thing() -> ThingId {
        ThingId::parse("org.acme:pump:7").unwrap()
    }

    fn frame(what: What) -> Value {
        let order = Order { epoch: 1, number: 7, thing: thing(), what };
        serde_json::from_str(&super::order(&order, "twinops-b-")).unwrap()
    }

    #[test]
    fn orders_are_commands_of_the_protocol() {
        let merge = frame(What::Merge(json!({"t": {"properties": {"value": 1}}})));
        let expected = json!({
            "topic": "org.acme/pump:7/things/twin/commands/merge",
            "headers": {"correlation-id": "twinops-b-7", "content-type": "application/merge-patch+json"},
            "path": "/features", "value": {"t": {"properties": {"value": 1}}}
        });
        assert_eq!(merge, expected);
        assert_eq!(frame(What::About)["fields"], ABOUT);
        let create = frame(What::Create(PolicyId::parse("org.acme:p").unwrap()));
        assert_eq!(create["value"], json!({"thingId": "org.acme:pump:7", "policyId": "org.acme:p"}));
    }

    #[test]
    fn answers_are_known_by_their_number() {
        let answer = |status: u16, value: Value| {
            let frame = json!({
                "topic": "a/b/things/twin/errors", "path": "/", "value": value, "status": status,
                "headers": {"correlation-id": "twinops-b-7", "response-required": false}
            });
            match read(&frame.to_string(), "twinops-b-", 3) {
                Some(Heard::Answer { epoch: 3, number: 7, result }) => result,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(answer(204, Value::Null), Ok(Value::Null));
        assert_eq!(answer(200, json!({"a": 1})), Ok(json!({"a": 1})));
        let missing = answer(404, json!({"status": 404, "error": "things:thing.notfound", "message": "no"}));
        assert!(matches!(missing, Err(Refused::Missing(_))), "{missing:?}");
        let busy = answer(429, json!({"error": "too.many.requests"}));
        assert!(matches!(busy, Err(Refused::RateLimited { after_ms: None, .. })), "{busy:?}");
        assert!(matches!(answer(413, json!({"error": "things:thing.toolarge"})), Err(Refused::TooLarge(_))));
        assert!(matches!(
            answer(503, json!({"error": "things:thing.unavailable"})),
            Err(Refused::Unavailable(_))
        ));
        let foreign = json!({"topic": "a/b/things/twin/commands/merge", "headers": {"correlation-id": "x-7"}, "path": "/", "status": 204});
        assert_eq!(read(&foreign.to_string(), "twinops-b-", 3), None);
    }

    #[test]
    fn f38_a_ditto_that_has_too_much_to_do_says_how_long_to_wait() {
        for told in [json!("3"), json!(3)] {
            let frame = json!({
                "topic": "a/b/things/twin/errors", "path": "/", "status": 429, "value": {"error": "too.many.requests"},
                "headers": {"correlation-id": "p-7", "retry-after": told}
            });
            let Some(Heard::Answer { result: Err(Refused::RateLimited { after_ms, .. }), .. }) =
                read(&frame.to_string(), "p-", 1)
            else {
                panic!("{frame}")
            };
            assert_eq!(after_ms, Some(3_000));
        }
    }

    #[test]
    fn what_ditto_does_not_agree_to_is_told() {
        let error = json!({
            "topic": "unknown/unknown/things/twin/errors", "headers": {}, "path": "/", "status": 400,
            "value": {"status": 400, "error": "rql.expression.invalid", "message": "The RQL is invalid."}
        });
        assert_eq!(refusal(&error.to_string()).as_deref(), Some("400 The RQL is invalid."));
        for other in
            ["START-SEND-EVENTS:ACK", "{}", r#"{"topic":"a/b/things/twin/events/modified","path":"/"}"#]
        {
            assert_eq!(refusal(other), None, "{other}");
        }
    }

    #[test]
    fn changes_and_messages_name_their_thing() {
        let event = json!({"topic": "org.acme/pump:7/things/twin/events/modified", "headers": {}, "path": "/attributes/a", "value": 1});
        assert_eq!(read(&event.to_string(), "p-", 1), Some(Heard::Changed { thing: thing() }));
        let message = |headers: Value, path: &str| {
            let frame = json!({"topic": "org.acme/pump:7/things/live/messages/set/level", "headers": headers, "path": path, "value": {"a": 1}});
            match read(&frame.to_string(), "p-", 1) {
                Some(Heard::Message(message)) => Some(message),
                None => None,
                other => panic!("{other:?}"),
            }
        };
        let path = "/features/lamp/inbox/messages/set/level";
        let full = message(json!({"correlation-id": "c", "timeout": "20", "response-required": true, "content-type": "application/json"}), path).unwrap();
        assert_eq!(
            (full.thing, full.subject.as_str(), full.patience),
            (thing(), "set/level", Some(Duration::from_secs(20)))
        );
        assert_eq!((full.path.as_str(), full.value), (path, Some(json!({"a": 1}))));
        let rows = [
            (json!({"correlation-id": "c"}), Some(10_000)),
            (json!({"correlation-id": "c", "response-required": false}), None),
            (json!({"correlation-id": "c", "timeout": "0"}), None),
            (json!({"correlation-id": "c", "timeout": "250ms"}), Some(250)),
            (json!({"correlation-id": "c", "timeout": "5m"}), Some(60_000)),
            (json!({"correlation-id": "c", "timeout": "soon"}), Some(10_000)),
        ];
        for (headers, millis) in rows {
            let got = message(headers.clone(), path).unwrap().patience;
            assert_eq!(got, millis.map(Duration::from_millis), "{headers}");
        }
        assert_eq!(message(json!({"correlation-id": "c"}), "/outbox/messages/x"), None);
        assert_eq!(message(json!({}), path), None);
    }

    #[test]
    fn frames_of_no_interest_are_passed_over() {
        for text in [
            "START-SEND-EVENTS:ACK",
            "",
            "{}",
            "[]",
            "{\"topic\":5}",
            "{\"topic\":\"a/b/policies/x\",\"path\":\"/\"}",
        ] {
            assert_eq!(read(text, "p-", 1), None, "{text}");
        }
    }
}
