//! What devices are told, and what they answer.
use std::cmp::Reverse;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Core, Effect};
use crate::ditto::link::{LiveMessage, Order, Reply, What};
use crate::mqtt::wire::packet_bytes;
use crate::twin::id::ThingId;

/// Messages whose answer is waited for; more are passed on, and their answers are not known.
const ASKED_MAX: usize = 10_000;
/// The longest answer of a device, in bytes: as Ditto takes it.
const RESPONSE_MAX: usize = 256 * 1_024;
/// What a caller hears whose message is too long for the broker. Source: RFC 9110, 15.5.14.
const TOO_LARGE: u16 = 413;

/// A message that a device is to answer.
#[derive(Clone, Debug)]
pub struct Asked {
    topic: String,
    path: String,
    until: Instant,
}

impl Core {
    /// Tells a device its desired properties, when they changed or it wants to know them.
    pub(super) fn tell_desired(&mut self, index: usize, document: &Value) {
        let desired = Self::desired_of(document);
        let lane = &mut self.lanes[index];
        let before = lane.told.as_ref();
        // Nothing is desired and never was: nothing to tell.
        let changed = match before {
            None => desired.as_object().is_some_and(|features| !features.is_empty()),
            Some(before) => !crate::twin::json::same(before, &desired),
        };
        if !(changed || lane.is_wanted) {
            lane.told.get_or_insert(desired);
            return;
        }
        lane.is_wanted = false;
        let topic = self.options.topics.commands(&lane.thing);
        let revision = document["_revision"].as_u64();
        let command = json!({"type": "desired", "revision": revision, "value": desired});
        lane.told = Some(desired);
        if self.tell(topic, command.to_string().into_bytes()) {
            self.counts.desired += 1;
        }
    }

    /// What the broker takes from now on, in bytes.
    pub fn set_packet_max(&mut self, bytes: usize) {
        self.packet_max = bytes;
    }

    /// Sends a command, unless the broker would end the connection over it. Returns whether it is sent.
    fn tell(&mut self, topic: String, payload: Vec<u8>) -> bool {
        let bytes = packet_bytes(&topic, &payload);
        if bytes > self.packet_max {
            self.counts.too_large += 1;
            self.effects.push(Effect::TooLarge { topic, bytes: payload.len() });
            return false;
        }
        self.effects.push(Effect::Publish { topic, payload, is_command: true });
        true
    }

    /// Passes a message on to its device.
    pub(super) fn live_message(&mut self, message: LiveMessage, now: Instant) {
        let LiveMessage { thing, subject, correlation, path, topic, content_type, value, patience } = message;
        let topics = &self.options.topics;
        let mut command = json!({"type": "message", "subject": subject, "correlationId": correlation});
        if let Some(value) = &value {
            command["value"] = value.clone();
        }
        if let Some(kind) = content_type.filter(|kind| !kind.contains("json")) {
            command["contentType"] = json!(kind);
        }
        if let Some(feature) = path.strip_prefix("/features/").and_then(|rest| rest.split('/').next()) {
            command["feature"] = json!(feature);
        }
        if let Some(patience) = patience {
            command["timeoutMs"] = json!(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
        }
        let payload = command.to_string().into_bytes();
        let to = topics.commands(&thing);
        let bare = self.options.command_subtopics.then(|| topics.subject(&thing, &subject)).flatten();
        if !self.tell(to, payload) {
            if let (Some(_), Some(epoch)) = (patience, self.epoch) {
                self.number += 1;
                let value = Some(json!("the broker takes no message of this length"));
                let content_type = Some("application/json".to_owned());
                let reply = Reply { topic, path, correlation, status: TOO_LARGE, content_type, value };
                let order = Order { epoch, number: self.number, thing, what: What::Reply(reply) };
                self.effects.push(Effect::Order(order));
            }
            return;
        }
        if let Some(topic) = bare {
            let payload = match value {
                Some(Value::String(text)) => text.into_bytes(),
                Some(value) => value.to_string().into_bytes(),
                None => vec![],
            };
            self.tell(topic, payload);
        }
        self.counts.messages += 1;
        if let Some(patience) = patience.filter(|_| self.asked.len() < ASKED_MAX) {
            let (until, asked) = (now + patience, (thing, correlation));
            self.asked_until.push(Reverse((until, asked.clone())));
            self.asked.insert(asked, Asked { topic, path, until });
        }
    }

    /// A device has answered: the caller hears of it, if he still waits.
    pub(super) fn response(&mut self, thing: &ThingId, correlation: &str, payload: &[u8], now: Instant) {
        let asked = (thing.clone(), correlation.to_owned());
        let known = self.asked.get(&asked).is_some_and(|asked| asked.until > now);
        let (true, Some(epoch)) = (known && payload.len() <= RESPONSE_MAX, self.epoch) else {
            self.counts.responses_unknown += 1;
            return;
        };
        let Some(Asked { topic, path, .. }) = self.asked.remove(&asked) else { return };
        let (thing, correlation) = asked;
        let (status, content_type, value) = read_response(payload);
        self.counts.responses += 1;
        self.number += 1;
        let reply = Reply { topic, path, correlation, status, content_type, value };
        let order = Order { epoch, number: self.number, thing, what: What::Reply(reply) };
        self.effects.push(Effect::Order(order));
    }

    /// Answers that did not come in time.
    pub(super) fn expire_messages(&mut self, now: Instant) {
        while self.asked_until.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, asked))) = self.asked_until.pop() else { return };
            if self.asked.get(&asked).is_some_and(|asked| asked.until <= now) {
                self.asked.remove(&asked);
                self.counts.responses_missing += 1;
            }
        }
    }
}

/// Status, type of the value, and value.
type Response = (u16, Option<String>, Option<Value>);

/// `{"status": 200, "value": …}`, any other JSON as the value of a 200, and a text as one; nothing is a 204.
fn read_response(payload: &[u8]) -> Response {
    const JSON: &str = "application/json";
    const STATUS: std::ops::Range<u64> = 100..600;
    if payload.is_empty() {
        return (204, None, None);
    }
    match serde_json::from_slice::<Value>(payload) {
        Ok(Value::Object(mut members)) => {
            let status =
                members.get("status").and_then(Value::as_u64).filter(|status| STATUS.contains(status));
            match status.and_then(|status| u16::try_from(status).ok()) {
                Some(status) => {
                    let value = members.shift_remove("value");
                    (status, value.is_some().then(|| JSON.to_owned()), value)
                }
                None => (200, Some(JSON.to_owned()), Some(Value::Object(members))),
            }
        }
        Ok(value) => (200, Some(JSON.to_owned()), Some(value)),
        Err(_) => {
            let text = String::from_utf8_lossy(payload).into_owned();
            (200, Some("text/plain".to_owned()), Some(Value::String(text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_a_value_or_just_a_value() {
        let json = || Some("application/json".to_owned());
        let rows: [(&[u8], Response); 8] = [
            (b"{\"status\": 201, \"value\": {\"a\": 1}}", (201, json(), Some(json!({"a": 1})))),
            (b"{\"status\": 204}", (204, None, None)),
            (b"{\"status\": \"on\"}", (200, json(), Some(json!({"status": "on"})))),
            (b"{\"status\": 42}", (200, json(), Some(json!({"status": 42})))),
            (b"{\"a\": 1}", (200, json(), Some(json!({"a": 1})))),
            (b"5", (200, json(), Some(json!(5)))),
            (b"done", (200, Some("text/plain".to_owned()), Some(json!("done")))),
            (b"", (204, None, None)),
        ];
        for (payload, expected) in rows {
            assert_eq!(read_response(payload), expected, "{}", String::from_utf8_lossy(payload));
        }
    }
}
