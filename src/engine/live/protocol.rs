//! The envelopes of the Ditto Protocol: topics, headers, paths. Pure.
//! Source: Ditto 3.8, `ImmutableTopicPath.java`, `JsonifiableAdaptable.java`.
use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::super::parse;
use super::event::Action;

/// What the `status` of an answer may be: it ends what it answers, so it is none of `1xx`.
const STATUS: RangeInclusive<u16> = 200..=599;

/// Where an error goes whose thing is not known.
pub const UNKNOWN: &str = "unknown/unknown/things/twin/errors";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Things,
    Policies,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Twin,
    Live,
    /// Policies have no channels.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// `create`, `retrieve`, `modify`, `merge`, `delete` or `migrate`
    Command(String),
    Event(Action),
    /// The subject.
    Message(String),
    Errors,
    /// The label.
    Ack(Option<String>),
    /// `subscribe`, `request` or `cancel`
    Search(String),
    /// Understood by Ditto, not by this engine.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub namespace: String,
    pub name: String,
    pub group: Group,
    pub channel: Channel,
    pub criterion: Criterion,
}

impl Topic {
    /// `<namespace>/<name>/things/(twin|live)/<criterion>/…` or `<namespace>/<name>/policies/<criterion>/…`
    pub fn parse(text: &str) -> Option<Self> {
        let segments: Vec<&str> = text.split('/').collect();
        let [namespace, name, group, rest @ ..] = segments.as_slice() else { return None };
        let (group, channel, rest) = match (*group, rest) {
            ("things", ["twin", rest @ ..]) => (Group::Things, Channel::Twin, rest),
            ("things", ["live", rest @ ..]) => (Group::Things, Channel::Live, rest),
            ("policies", rest) => (Group::Policies, Channel::None, rest),
            _ => return None,
        };
        let criterion = match rest {
            ["commands", action] if is_command(group, action) => Criterion::Command((*action).to_owned()),
            ["events", action] => Criterion::Event(Action::named(action)?),
            ["messages", subject @ ..] if channel == Channel::Live && !subject.is_empty() => {
                Criterion::Message(subject.join("/"))
            }
            ["errors"] => Criterion::Errors,
            ["acks"] => Criterion::Ack(None),
            ["acks", label] => Criterion::Ack(Some((*label).to_owned())),
            ["search", action] => Criterion::Search((*action).to_owned()),
            ["streaming" | "announcements", _, ..] => Criterion::Other,
            _ => return None,
        };
        let (namespace, name) = ((*namespace).to_owned(), (*name).to_owned());
        Some(Self { namespace, name, group, channel, criterion })
    }

    pub fn entity(&self) -> String {
        format!("{}:{}", self.namespace, self.name)
    }

    /// The topic of another criterion of the same entity.
    pub fn of(&self, criterion: &str) -> String {
        let channel = match (self.group, self.channel) {
            (Group::Policies, _) => "policies",
            (_, Channel::Live) => "things/live",
            _ => "things/twin",
        };
        format!("{}/{}/{channel}/{criterion}", self.namespace, self.name)
    }
}

fn is_command(group: Group, action: &str) -> bool {
    matches!(action, "create" | "retrieve" | "modify" | "delete")
        || group == Group::Things && matches!(action, "merge" | "migrate")
}

/// A frame that is a JSON object with what every envelope has.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub topic: String,
    pub headers: Map<String, Value>,
    pub path: String,
    pub value: Option<Value>,
    pub fields: Option<String>,
    pub status: Option<u16>,
    pub revision: Option<u64>,
    pub timestamp: Option<String>,
}

impl Envelope {
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let frame = parse::json(text.as_bytes())?;
        let Value::Object(mut members) = frame else {
            return Err(match frame {
                Value::Null => Failure::missing_field("topic"),
                _ => Failure::bad_json("an envelope is a JSON object"),
            });
        };
        let mut text = |name: &str| match members.shift_remove(name) {
            None | Some(Value::Null) => Err(Failure::missing_field(name)),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Failure::bad_json(format!("`{name}` must be a JSON string"))),
        };
        let (topic, path) = (text("topic")?, text("path")?);
        let fields = text("fields").ok();
        let headers = match members.shift_remove("headers") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(headers)) => headers,
            Some(_) => return Err(Failure::bad_json("`headers` must be a JSON object")),
        };
        let status = status(&members)?;
        let revision = members.get("revision").and_then(Value::as_u64);
        let timestamp = members.get("timestamp").and_then(Value::as_str).map(str::to_owned);
        let value = members.shift_remove("value");
        Ok(Self { topic, headers, path, value, fields, status, revision, timestamp })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(Value::as_str)
    }
}

/// What is no status is refused. Ditto takes such an answer for a question, and asks it of others.
fn status(members: &Map<String, Value>) -> Result<Option<u16>, Failure> {
    let Some(given) = members.get("status").filter(|given| !given.is_null()) else { return Ok(None) };
    let status = given.as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| STATUS.contains(status));
    status.map(Some).ok_or_else(|| Failure::bad_json("a `status` is a number from 200 to 599"))
}

/// An error envelope.
pub fn error(topic: &str, headers: Value, failure: &Failure) -> Value {
    let mut all = json!({"response-required": false, "content-type": "application/json"});
    if let (Value::Object(all), Value::Object(headers)) = (&mut all, headers) {
        all.extend(headers);
    }
    json!({"topic": topic, "headers": all, "path": "/", "value": failure.body(), "status": failure.status})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_name_an_entity_and_a_criterion() {
        let command = |action: &str| Some(Criterion::Command(action.to_owned()));
        let rows = [
            ("a.b/t/things/twin/commands/modify", command("modify")),
            ("_/_/things/twin/commands/retrieve", command("retrieve")),
            ("a/p/policies/commands/delete", command("delete")),
            ("a/p/policies/commands/merge", None),
            ("a/t/things/live/messages/set/level", Some(Criterion::Message("set/level".to_owned()))),
            ("a/t/things/twin/messages/x", None),
            ("a/t/things/live/messages", None),
            ("a/t/things/twin/acks/my:ack", Some(Criterion::Ack(Some("my:ack".to_owned())))),
            ("_/_/things/twin/search/request", Some(Criterion::Search("request".to_owned()))),
            ("a/t/things/twin/errors", Some(Criterion::Errors)),
            ("a/t/things/twin", None),
            ("a/t/things/neither/commands/modify", None),
            ("a/t/nothings/twin/commands/modify", None),
            ("nonsense", None),
            ("", None),
        ];
        for (text, criterion) in rows {
            assert_eq!(Topic::parse(text).map(|topic| topic.criterion), criterion, "{text}");
        }
    }

    #[test]
    fn only_what_ends_a_conversation_is_a_status() {
        let status = |text: &str| {
            let frame = format!("{{\"topic\":\"a\",\"path\":\"/\",\"status\":{text}}}");
            Envelope::parse(&frame).map(|envelope| envelope.status).map_err(|failure| failure.status)
        };
        let rows = [
            ("200", Ok(Some(200))),
            ("304", Ok(Some(304))),
            ("599", Ok(Some(599))),
            ("0", Err(400)),
            ("-1", Err(400)),
            ("100", Err(400)),
            ("199", Err(400)),
            ("600", Err(400)),
            ("65736", Err(400)),
            ("200.5", Err(400)),
            ("\"200\"", Err(400)),
            ("null", Ok(None)),
        ];
        for (text, expected) in rows {
            assert_eq!(status(text), expected, "{text}");
        }
    }

    #[test]
    fn an_envelope_has_a_topic_and_a_path() {
        let rows = [
            ("{\"topic\":\"a\",\"path\":\"/\"}", None),
            ("{\"topic\":\"a\",\"path\":\"/\",\"headers\":null}", None),
            ("{\"topic\":\"a\"}", Some("json.field.missing")),
            ("{\"topic\":null,\"path\":\"/\"}", Some("json.field.missing")),
            ("null", Some("json.field.missing")),
            ("{\"topic\":5,\"path\":\"/\"}", Some("json.invalid")),
            ("{\"topic\":\"a\",\"path\":\"/\",\"headers\":\"x\"}", Some("json.invalid")),
            ("[]", Some("json.invalid")),
            ("{\"topic\":", Some("json.invalid")),
            ("", Some("json.invalid")),
        ];
        for (text, expected) in rows {
            let got = Envelope::parse(text).err().map(|failure| failure.error.into_owned());
            assert_eq!(got.as_deref(), expected, "{text}");
        }
    }
}
