//! A change of a thing as its readers hear of it. Source: Ditto 3.8, Ditto Protocol, "Events".
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::command::{Answer, Caller, Command, Target, Verb};
use super::super::enforce::Enforcer;
use super::super::state::{Change, Content, Document, Kind, State, Undo};
use super::super::time;
use super::hub::SessionId;
use crate::twin::id::ThingId;
use crate::twin::json::Pointer;

/// What about a command its events tell.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    pub correlation_id: String,
    /// Acknowledgements only subscribers can give.
    pub acks: Vec<String>,
    /// As the sender wrote it.
    pub timeout: Option<String>,
    /// The session that sent it; it does not hear of its own deeds.
    pub session: Option<SessionId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Created,
    Modified,
    Merged,
    Deleted,
}

impl Action {
    pub fn named(word: &str) -> Option<Self> {
        [Self::Created, Self::Modified, Self::Merged, Self::Deleted].into_iter().find(|a| a.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Merged => "merged",
            Self::Deleted => "deleted",
        }
    }
}

#[derive(Debug)]
pub struct Event {
    pub thing_id: ThingId,
    pub action: Action,
    pub path: Pointer,
    /// The merge patch; other values are read from `after`.
    patch: Option<Value>,
    /// The thing after the change; `None` once it is deleted.
    pub after: Option<Document>,
    pub revision: u64,
    /// Milliseconds since 1970.
    pub at: i64,
    pub cause: Cause,
    pub originator: String,
    /// Of the thing's policy, after the change.
    pub enforcer: Option<Arc<Enforcer>>,
}

/// A write carried out on the state, of which events are made.
pub struct Deed<'d> {
    pub command: &'d Command,
    pub caller: &'d Caller,
    pub cause: &'d Cause,
    pub answer: &'d Answer,
    pub changes: &'d [Change],
    pub undo: &'d [Undo],
    /// The merge patch that was applied.
    pub patch: Option<Value>,
}

impl Event {
    /// `state` is the one after the change. `None` for what has no events: policies.
    pub fn of(state: &State, deed: Deed<'_>) -> Option<Self> {
        let Target::Thing(thing_id, place) = &deed.command.target else { return None };
        let after = deed.changes.iter().find(|change| change.kind == Kind::Thing)?;
        let document = after.entry.document.as_ref().map(Content::tree);
        let policy_id = match &document {
            Some(thing) => thing["policyId"].as_str(),
            None => deed.undo.iter().find_map(Undo::policy_id),
        };
        let enforcer = policy_id.and_then(|id| state.enforcer(id, deed.caller.now));
        let action = match deed.command.verb {
            Verb::Delete => Action::Deleted,
            _ if deed.answer.created => Action::Created,
            Verb::Patch => Action::Merged,
            _ => Action::Modified,
        };
        Some(Self {
            thing_id: thing_id.clone(),
            action,
            path: place.pointer.clone(),
            patch: deed.patch.filter(|_| action == Action::Merged),
            after: document,
            revision: after.entry.revision,
            at: deed.caller.now,
            cause: deed.cause.clone(),
            originator: deed.caller.subjects.first().cloned().unwrap_or_default(),
            enforcer,
        })
    }

    /// The subjects that get it. Source: Ditto 3.8, `ThingEventEnricher`: READ on all of the event's path.
    pub fn readers(&self) -> BTreeSet<String> {
        let path: Vec<&str> = self.path.segments().iter().map(String::as_str).collect();
        self.enforcer.as_ref().map(|enforcer| enforcer.event_readers(&path)).unwrap_or_default()
    }

    /// The new value at the path, or the merge patch; `None` once deleted.
    pub fn value(&self) -> Option<Value> {
        if self.patch.is_some() || self.action == Action::Deleted {
            return self.patch.clone();
        }
        let mut value = self.path.get(self.after.as_deref()?)?.clone();
        if self.path.is_root()
            && let Value::Object(members) = &mut value
        {
            members.retain(|name, _| !name.starts_with('_'));
        }
        Some(value)
    }

    /// The thing as far as the event tells of it: its id and the changed part, without what was removed.
    pub fn sparse(&self) -> Value {
        sparse(self.thing_id.as_str(), &self.path, self.action, self.value())
    }

    pub fn topic(&self) -> String {
        let (namespace, name) = (self.thing_id.namespace(), self.thing_id.name());
        format!("{namespace}/{name}/things/twin/events/{}", self.action.word())
    }

    /// As a subscriber gets them that gives the acknowledgements `declared`.
    pub fn headers(&self, declared: &[String]) -> Value {
        let acks: Vec<&String> = self.cause.acks.iter().filter(|label| declared.contains(label)).collect();
        let mut headers = json!({
            "correlation-id": self.cause.correlation_id,
            "ditto-originator": self.originator,
            "response-required": false,
            "requested-acks": acks,
            "entity-revision": self.revision,
            "version": 2,
        });
        if let Some(timeout) = &self.cause.timeout {
            headers["timeout"] = json!(timeout);
        }
        let content_type = match self.action {
            Action::Deleted => return headers,
            Action::Merged => "application/merge-patch+json",
            _ => "application/json",
        };
        headers["content-type"] = json!(content_type);
        headers
    }

    pub fn envelope(&self, extra: Option<Value>, declared: &[String]) -> Value {
        let mut envelope =
            json!({"topic": self.topic(), "headers": self.headers(declared), "path": self.path.to_string()});
        if let Some(value) = self.value() {
            envelope["value"] = value;
        }
        if let Some(extra) = extra {
            envelope["extra"] = extra;
        }
        envelope["revision"] = json!(self.revision);
        envelope["timestamp"] = json!(time::print(self.at));
        envelope
    }
}

/// What an event of this value at this path tells of a thing: an object, whatever the value is.
pub fn sparse(thing_id: &str, path: &Pointer, action: Action, value: Option<Value>) -> Value {
    let mut thing = json!({"thingId": thing_id});
    let value = if action == Action::Merged { value.and_then(without_nulls) } else { value };
    match value {
        Some(Value::Object(members)) if path.is_root() => {
            for (name, value) in members {
                thing[name] = value;
            }
        }
        Some(value) if !path.is_root() => path.set(&mut thing, value),
        _ => {}
    }
    thing
}

/// `None` when nothing but removals is in it.
fn without_nulls(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(members) => {
            let kept = members.into_iter().filter_map(|(name, value)| Some((name, without_nulls(value)?)));
            Some(Value::Object(kept.collect::<Map<_, _>>()))
        }
        other => Some(other),
    }
}
