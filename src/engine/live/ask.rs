//! An envelope of a client as far as it is understood without asking the state, and the frames that answer it.
//! Which headers an error carries was observed on Ditto 3.8.12: it depends on how far the envelope was understood.
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::super::command::{Answer, Caller};
use super::super::failure::Failure;
use super::super::http::handle::now;
use super::super::http::request::Request;
use super::acks::{self, Ack, Requested};
use super::event::Cause;
use super::hub::Subscriber;
use super::protocol::{self, Channel, Criterion, Envelope, Topic};

pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// An envelope whose headers and topic are understood.
pub struct Ask {
    pub envelope: Envelope,
    pub topic: Topic,
    pub request: Request,
    pub requested: Requested,
    pub cause: Cause,
    pub caller: Caller,
}

pub fn unknown(failure: &Failure) -> Value {
    protocol::error(protocol::UNKNOWN, json!({}), failure)
}

pub fn read(subscriber: &Subscriber, frame: &str) -> Result<Ask, Value> {
    let envelope = Envelope::parse(frame).map_err(|failure| unknown(&failure))?;
    let request = as_request(&envelope).map_err(|failure| unknown(&failure))?;
    let requested = understood(&request).map_err(|failure| unknown(&failure))?;
    let cause = Cause { session: Some(subscriber.id), ..request.cause(requested.custom()) };
    let identified = |failure| {
        protocol::error(protocol::UNKNOWN, json!({"correlation-id": cause.correlation_id}), &failure)
    };
    let mut topic = Topic::parse(&envelope.topic).ok_or_else(|| {
        identified(Failure::new(
            400,
            "protocoladapter:unknown.topicpath",
            "the topic is none this engine knows",
        ))
    })?;
    // the header counts more than the topic (Ditto 3.8, `HeadersFromTopicPath.java`, `Signal.java`)
    let carried = matches!(topic.criterion, Criterion::Command(_) | Criterion::Event(_) | Criterion::Errors);
    if topic.channel == Channel::Twin && carried && request.is_live() {
        topic.channel = Channel::Live;
    }
    if envelope.path.contains("//") {
        return Err(identified(Failure::new(
            400,
            "json.pointer.invalid",
            "a path must not hold two slashes in a row",
        )));
    }
    let caller = Caller { subjects: subscriber.subjects.clone(), now: now() };
    Ok(Ask { envelope, topic, request, requested, cause, caller })
}

/// The headers that must make sense in every envelope.
fn understood(request: &Request) -> Result<Requested, Failure> {
    request.patience(Duration::MAX)?;
    request.response_required()?;
    Requested::read(request.header("requested-acks").as_deref())
}

/// The headers as those of a request by HTTP, so that both are read the same way.
fn as_request(envelope: &Envelope) -> Result<Request, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &envelope.headers {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => continue,
            other => other.to_string(),
        };
        let name = HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&text)) else {
            return Err(Failure::new(400, "header.invalid", "a header has characters no header has"));
        };
        headers.insert(name, value);
    }
    let correlation_id = envelope.header("correlation-id");
    let correlation_id = correlation_id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    let fields = envelope.fields.iter().map(|fields| ("fields".to_owned(), fields.clone()));
    Ok(Request { path: String::new(), parameters: fields.collect(), headers, correlation_id })
}

impl Ask {
    fn echoed(&self) -> Map<String, Value> {
        let mut headers = Map::from_iter([("correlation-id".to_owned(), json!(self.cause.correlation_id))]);
        if let Some(timeout) = &self.cause.timeout {
            headers.insert("timeout".to_owned(), json!(timeout));
        }
        if self.topic.channel == Channel::Live {
            headers.insert("channel".to_owned(), json!("live"));
        }
        headers
    }

    /// The acknowledgements asked for without Ditto's own, as Ditto passes them on; an empty list stays one.
    fn asked(&self) -> Option<Value> {
        let custom = self.requested.custom();
        let given = self.envelope.headers.contains_key("requested-acks");
        (given && (self.requested.is_empty() || !custom.is_empty())).then(|| json!(custom))
    }

    /// The error of an envelope that is no command.
    pub fn misread(&self, failure: &Failure) -> Value {
        let mut headers = self.echoed();
        headers.extend(self.asked().map(|acks| ("requested-acks".to_owned(), acks)));
        protocol::error(&self.topic.of("errors"), Value::Object(headers), failure)
    }

    /// The error of an envelope of which it is not known what it is about.
    pub fn unplaced(&self, failure: &Failure) -> Value {
        protocol::error(protocol::UNKNOWN, json!({"correlation-id": self.cause.correlation_id}), failure)
    }

    /// The error of a command that was tried.
    pub fn refused(&self, failure: &Failure) -> Value {
        let mut headers = self.echoed();
        headers.insert("ditto-originator".to_owned(), json!(self.originator()));
        if let Some(etag) = &failure.etag {
            headers.insert("etag".to_owned(), json!(etag));
        }
        if let Some(acks) = self.asked() {
            headers.insert("requested-acks".to_owned(), acks);
        }
        protocol::error(&self.topic.of("errors"), Value::Object(headers), failure)
    }

    pub fn originator(&self) -> &str {
        self.caller.subjects.first().map_or("", String::as_str)
    }

    pub fn path(&self) -> &str {
        if self.envelope.path.is_empty() { "/" } else { &self.envelope.path }
    }

    pub fn response(&self, action: &str, answer: &Answer) -> Value {
        let mut headers = self.echoed();
        let content_type = if action == "merge" { MERGE_PATCH } else { "application/json" };
        let values = [
            ("ditto-originator", Some(json!(self.originator()))),
            ("response-required", Some(json!(false))),
            ("content-type", Some(json!(content_type))),
            ("entity-revision", answer.revision.map(Value::from)),
            ("etag", answer.etag.clone().map(Value::from)),
            ("ditto-metadata", answer.metadata.clone()),
            ("channel", answer.live_condition_matched.map(|_| json!("twin"))),
            ("live-channel-condition-matched", answer.live_condition_matched.map(Value::from)),
            ("requested-acks", self.asked()),
        ];
        headers.extend(values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let topic = self.topic.of(&format!("commands/{action}"));
        let mut response = json!({"topic": topic, "headers": headers, "path": self.path()});
        if let Some(value) = &answer.body {
            response["value"] = value.clone();
        }
        response["status"] = json!(answer.status);
        response
    }

    pub fn acks(&self, acks: &[Ack]) -> Value {
        let mut headers = self.echoed();
        headers.insert("response-required".to_owned(), json!(false));
        headers.insert("content-type".to_owned(), json!("application/json"));
        let (status, value) = acks::together(acks);
        json!({"topic": self.topic.of("acks"), "headers": headers, "path": "/", "value": value, "status": status})
    }
}
