//! An event of Ditto's as the facade tells it, made once for all who hear it.
use std::sync::OnceLock;

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use serde_json::{Value, json};

use super::super::names::{self, Shape};
use super::super::scan;
use crate::twin::id::ThingId;
use crate::twin::json::Pointer;

/// What happened to a thing. Source: Ditto 3.8, Ditto Protocol, events.
#[derive(Debug)]
pub struct Event {
    pub thing_id: ThingId,
    /// `created`, `modified`, `merged` or `deleted`.
    pub action: &'static str,
    topic: String,
    /// In Ditto's names.
    path: String,
    value: Option<String>,
    revision: u64,
    timestamp: String,
    /// What a socket is told.
    pub frame: Utf8Bytes,
    /// What an event stream is told: `data: …` and an empty line.
    pub sse: Bytes,
    seen: OnceLock<Value>,
}

/// Reads an envelope; `None` when it is no event of a thing.
pub fn read(text: &str) -> Option<Event> {
    let members = scan::object(text).ok()?;
    let raw = |name: &str| members.iter().find(|(found, _)| found == name).map(|(_, value)| *value);
    let word = |name: &str| serde_json::from_str::<String>(raw(name)?).ok();
    let topic = word("topic")?;
    let (thing_id, action) = subject(&topic)?;
    let path = word("path")?;
    let revision: u64 = raw("revision").and_then(|text| text.parse().ok()).unwrap_or_default();
    let timestamp = word("timestamp").unwrap_or_default();
    let (shown, shape) = place(&path);
    let value = raw("value");
    let mut frame = format!(
        "{{\"type\":\"thing.{action}\",\"thing_id\":{},\"path\":{}",
        json!(thing_id.as_str()),
        json!(shown)
    );
    if let Some(value) = value {
        frame.push_str(",\"value\":");
        frame.push_str(&names::to_client(value, shape).ok()?);
    }
    frame.extend([
        ",\"revision\":",
        &revision.to_string(),
        ",\"timestamp\":",
        &json!(timestamp).to_string(),
        "}",
    ]);
    Some(Event {
        thing_id,
        action,
        topic,
        path,
        value: value.map(str::to_owned),
        revision,
        timestamp,
        sse: Bytes::from(format!("data: {frame}\n\n")),
        frame: frame.into(),
        seen: OnceLock::new(),
    })
}

/// `namespace/name/things/twin/events/action`
fn subject(topic: &str) -> Option<(ThingId, &'static str)> {
    let parts: Vec<&str> = topic.split('/').collect();
    let [namespace, name, "things", "twin", "events", action] = parts.as_slice() else { return None };
    let action = ["created", "modified", "merged", "deleted"].into_iter().find(|known| known == action)?;
    Some((ThingId::parse(&format!("{namespace}:{name}")).ok()?, action))
}

/// A path in the facade's names, and what its value is.
fn place(path: &str) -> (String, Shape) {
    let mut segments: Vec<&str> = path.split('/').skip(1).filter(|segment| !segment.is_empty()).collect();
    let shape = match segments.as_mut_slice() {
        [] => Shape::Thing,
        ["features"] => Shape::Features,
        ["features", _] => Shape::Feature,
        ["features", _, part, ..] => {
            if *part == "desiredProperties" {
                *part = "desired_properties";
            }
            Shape::Value
        }
        [root] if *root == "policyId" => {
            *root = "policy_id";
            Shape::Value
        }
        _ => Shape::Value,
    };
    (format!("/{}", segments.join("/")), shape)
}

impl Event {
    /// The policy that the thing has from now on, where the event says so.
    pub fn policy(&self) -> Option<String> {
        let value = self.value.as_deref()?;
        let text = match self.path.as_str() {
            "/policyId" => value,
            "/" => scan::object(value).ok()?.into_iter().find(|(name, _)| name == "policyId")?.1,
            _ => return None,
        };
        serde_json::from_str(text).ok()
    }

    /// What a filter looks at: the changed part where it stands in the thing, and the words of the envelope.
    pub fn seen(&self) -> &Value {
        self.seen.get_or_init(|| {
            let mut seen = json!({"thingId": self.thing_id.as_str()});
            let value = self.value.as_deref().and_then(|text| serde_json::from_str(text).ok());
            match (Pointer::parse(&self.path), value) {
                (_, None) => {}
                (path, Some(Value::Object(whole))) if path.is_root() => {
                    for (name, value) in whole {
                        seen[name] = value;
                    }
                }
                (path, Some(value)) => path.set(&mut seen, value),
            }
            let id = &self.thing_id;
            let words = [
                ("_namespace", json!(id.namespace())),
                ("_revision", json!(self.revision)),
                ("_modified", json!(self.timestamp)),
                ("topic:full", json!(self.topic)),
                ("topic:namespace", json!(id.namespace())),
                ("topic:entityName", json!(id.name())),
                ("topic:entityId", json!(id.as_str())),
                ("topic:group", json!("things")),
                ("topic:channel", json!("twin")),
                ("topic:criterion", json!("events")),
                ("topic:action", json!(self.action)),
                ("topic:action-subject", json!(self.action)),
                ("resource:path", json!(self.path)),
                ("resource:type", json!("thing")),
            ];
            for (name, value) in words {
                seen[name] = value;
            }
            for kind in ["entity", "thing"] {
                seen[format!("{kind}:id")] = json!(id.as_str());
                seen[format!("{kind}:namespace")] = json!(id.namespace());
                seen[format!("{kind}:name")] = json!(id.name());
            }
            seen
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(action: &str, path: &str, value: &str) -> String {
        let value = if value.is_empty() { String::new() } else { format!(r#","value":{value}"#) };
        format!(
            r#"{{"topic":"com.example/t-1/things/twin/events/{action}","headers":{{"x-ditto-pre-authenticated":"nginx:other"}},"path":"{path}"{value},"revision":7,"timestamp":"2026-01-01T00:00:00Z"}}"#
        )
    }

    #[test]
    fn events_are_told_in_the_names_of_the_facade() {
        let rows = [
            (
                "created",
                "/",
                r#"{"thingId":"com.example:t-1","policyId":"a:b","features":{"f":{"desiredProperties":{"x":1}}}}"#,
                json!({"path": "/", "value": {"thing_id": "com.example:t-1", "policy_id": "a:b", "features": {"f": {"desired_properties": {"x": 1}}}}}),
            ),
            (
                "modified",
                "/features/f/properties/value",
                "23.50",
                json!({"path": "/features/f/properties/value", "value": 23.5}),
            ),
            (
                "merged",
                "/features",
                r#"{"f":{"desiredProperties":{"policyId":null}}}"#,
                json!({"path": "/features", "value": {"f": {"desired_properties": {"policyId": null}}}}),
            ),
            (
                "modified",
                "/features/f/desiredProperties/x",
                "1",
                json!({"path": "/features/f/desired_properties/x", "value": 1}),
            ),
            ("modified", "/policyId", r#""a:b""#, json!({"path": "/policy_id", "value": "a:b"})),
            ("deleted", "/attributes/policyId", "", json!({"path": "/attributes/policyId"})),
        ];
        for (action, path, value, expected) in rows {
            let event = read(&envelope(action, path, value)).unwrap();
            let mut told: Value = serde_json::from_str(event.frame.as_str()).unwrap();
            let words = told.as_object_mut().unwrap();
            assert_eq!(words.remove("type"), Some(json!(format!("thing.{action}"))));
            assert_eq!(words.remove("thing_id"), Some(json!("com.example:t-1")));
            assert_eq!(
                (words.remove("revision"), words.remove("timestamp")),
                (Some(json!(7)), Some(json!("2026-01-01T00:00:00Z")))
            );
            assert_eq!(told, expected);
            assert!(!event.frame.contains("nginx:other"), "who caused it stays untold");
            assert_eq!(event.sse, format!("data: {}\n\n", event.frame).as_bytes());
        }
    }

    #[test]
    fn an_event_tells_which_policy_a_thing_has_from_now_on() {
        let rows = [
            ("created", "/", r#"{"thingId":"com.example:t-1","policyId":"a:b"}"#, Some("a:b")),
            ("merged", "/", r#"{"policyId":"a:b"}"#, Some("a:b")),
            ("modified", "/policyId", r#""a:b""#, Some("a:b")),
            ("merged", "/", r#"{"attributes":{"policyId":"a:b"}}"#, None),
            ("modified", "/attributes/policyId", r#""a:b""#, None),
            ("deleted", "/", "", None),
        ];
        for (action, path, value, policy) in rows {
            let event = read(&envelope(action, path, value)).unwrap();
            assert_eq!(event.policy().as_deref(), policy, "{action} {path} {value}");
        }
    }

    #[test]
    fn what_is_no_event_of_a_thing_is_not_told() {
        for text in [
            "",
            "START-SEND-EVENTS:ACK",
            "{}",
            r#"{"topic":"a/b/things/twin/errors","path":"/"}"#,
            r#"{"topic":"a/b/things/live/events/created","path":"/"}"#,
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
