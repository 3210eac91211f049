//! What goes over the live channel without being carried out: commands for devices and events from them. And what it has
//! in common with messages. Source: Ditto 3.8, `LiveSignalEnforcement.java`, `SupervisorLiveChannelDispatching.java`.
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::command::Caller;
use super::super::core::Core;
use super::super::enforce::Enforcer;
use super::super::place::ThingPart;
use super::super::state::Document;
use super::event::{Action, Cause, sparse};
use super::filter::Filter;
use super::protocol;
use super::reply::Asks;
use crate::twin::id::ThingId;
use crate::twin::json::Pointer;

/// Something on the live channel that subscribers hear of.
pub trait Heard {
    fn thing_id(&self) -> &ThingId;
    fn cause(&self) -> &Cause;
    /// The thing as it is now, for extra fields.
    fn thing(&self) -> Option<&Value>;
    fn enforcer(&self) -> Option<&Enforcer>;
    /// Whether one with these subjects gets it.
    fn readable(&self, subjects: &[String]) -> bool;
    /// What a filter sees of the thing before extra fields.
    fn sparse(&self) -> Value {
        json!({"thingId": self.thing_id().as_str()})
    }
    fn topic(&self) -> String;
    /// Criterion and action (or subject) of the topic.
    fn names(&self) -> (&'static str, &str);
    fn path(&self) -> String;
    /// As a subscriber gets it that gives the acknowledgements `declared`.
    fn envelope(&self, extra: Option<Value>, declared: &[String]) -> Value;
}

/// The frame of a subscriber; `None` when its filter drops it. Extra fields of a thing the reader may not read are an
/// error in place of the signal, as in Ditto 3.8.
pub fn frame(
    core: &Core,
    heard: &impl Heard,
    filter: &Filter,
    reader: &Caller,
    declared: &[String],
) -> Option<Value> {
    let Ok(extra) = filter.extra_of_live(core, heard, reader) else {
        return Some(unreadable(heard, declared));
    };
    filter.passes_live(heard, extra.as_ref(), reader.now).then(|| heard.envelope(extra, declared))
}

/// With the headers of the signal it stands for.
fn unreadable(heard: &impl Heard, declared: &[String]) -> Value {
    let id = heard.thing_id();
    let topic = format!("{}/{}/things/live/errors", id.namespace(), id.name());
    let mut headers = heard.envelope(None, declared)["headers"].take();
    headers["response-required"] = json!(false);
    headers["content-type"] = json!("application/json");
    protocol::error(&topic, headers, &ThingPart::Thing.not_found())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Command,
    Event(Action),
}

pub struct LiveSignal {
    pub kind: Kind,
    pub thing_id: ThingId,
    /// `modify`, `retrieve` and so on; `created`, `modified` and so on.
    pub action: String,
    pub place: Pointer,
    pub value: Option<Value>,
    /// The fields a retrieve asks for.
    pub fields: Option<String>,
    /// As the sender of an event gave them.
    pub revision: Option<u64>,
    pub timestamp: Option<String>,
    pub cause: Cause,
    pub asks: Asks,
    /// Whether an answer is waited for; `None` for events, which have none.
    pub answered: Option<bool>,
    pub originator: String,
    pub thing: Option<Document>,
    pub enforcer: Arc<Enforcer>,
}

impl Heard for LiveSignal {
    fn thing_id(&self) -> &ThingId {
        &self.thing_id
    }

    fn cause(&self) -> &Cause {
        &self.cause
    }

    fn thing(&self) -> Option<&Value> {
        self.thing.as_deref()
    }

    fn enforcer(&self) -> Option<&Enforcer> {
        Some(&self.enforcer)
    }

    /// A command needs READ where it works, an event on all of its path.
    fn readable(&self, subjects: &[String]) -> bool {
        let path: Vec<&str> = self.place.segments().iter().map(String::as_str).collect();
        match self.kind {
            Kind::Command => self.enforcer.hears(subjects, "thing", &path),
            Kind::Event(_) => {
                let readers = self.enforcer.event_readers(&path);
                subjects.iter().any(|subject| readers.contains(subject))
            }
        }
    }

    fn sparse(&self) -> Value {
        let id = self.thing_id.as_str();
        match self.kind {
            Kind::Command => json!({"thingId": id}),
            Kind::Event(action) => {
                let mut seen = sparse(id, &self.place, action, self.value.clone());
                seen["_revision"] = json!(self.revision);
                seen
            }
        }
    }

    fn topic(&self) -> String {
        let id = &self.thing_id;
        let (criterion, action) = self.names();
        format!("{}/{}/things/live/{criterion}/{action}", id.namespace(), id.name())
    }

    fn names(&self) -> (&'static str, &str) {
        match self.kind {
            Kind::Command => ("commands", &self.action),
            Kind::Event(_) => ("events", &self.action),
        }
    }

    fn path(&self) -> String {
        self.place.to_string()
    }

    fn envelope(&self, extra: Option<Value>, declared: &[String]) -> Value {
        let mut headers = json!({
            "channel": "live",
            "correlation-id": self.cause.correlation_id,
            "ditto-originator": self.originator,
            "version": 2,
        });
        let values = [
            ("response-required", self.answered.map(Value::from)),
            ("timeout", self.cause.timeout.clone().map(Value::from)),
            ("requested-acks", self.answered.and_then(|_| self.asks.shown(declared))),
            ("content-type", self.content_type().map(Value::from)),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                headers[name] = value;
            }
        }
        let mut envelope = json!({"topic": self.topic(), "headers": headers, "path": self.path()});
        let values = [
            ("value", self.value.clone()),
            ("fields", self.fields.clone().map(Value::from)),
            ("extra", extra),
            ("revision", self.revision.map(Value::from)),
            ("timestamp", self.timestamp.clone().map(Value::from)),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                envelope[name] = value;
            }
        }
        envelope
    }
}

impl LiveSignal {
    fn content_type(&self) -> Option<&'static str> {
        match (self.kind, self.action.as_str()) {
            (Kind::Event(Action::Deleted), _) => None,
            (_, "merge" | "merged") => Some("application/merge-patch+json"),
            _ => Some("application/json"),
        }
    }
}
