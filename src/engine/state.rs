//! Everything the engine knows, in memory.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::enforce::Enforcer;
use super::history::History;
use super::time;
use crate::twin::json::Object;

/// A thing or policy as Ditto shows it with every field asked for: also `_namespace`, `_revision`,
/// `_created`, `_modified`, and `_metadata` once there is any.
pub type Document = Arc<Value>;

/// What is known under one id. Revisions go on after a delete, so a deleted entity keeps its number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    pub revision: u64,
    pub document: Option<Document>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Thing,
    Policy,
}

/// One entity's next state. What is stored, and what is undone when storing fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub kind: Kind,
    pub id: String,
    pub entry: Entry,
}

#[derive(Default)]
pub struct State {
    things: BTreeMap<String, Entry>,
    policies: BTreeMap<String, Entry>,
    pub history: History,
    enforcers: Mutex<HashMap<String, Cached>>,
}

/// An enforcer and what it was built from.
struct Cached {
    /// The policy and those it imports, each with its revision then; `None` was missing.
    sources: Vec<(String, Option<u64>)>,
    /// The earliest expiry of a subject, in milliseconds since 1970.
    until: i64,
    enforcer: Arc<Enforcer>,
}

impl State {
    fn entries(&self, kind: Kind) -> &BTreeMap<String, Entry> {
        match kind {
            Kind::Thing => &self.things,
            Kind::Policy => &self.policies,
        }
    }

    /// The revision of what is, or was, under this id; 0 when nothing ever was.
    pub fn revision(&self, kind: Kind, id: &str) -> u64 {
        self.entries(kind).get(id).map_or(0, |entry| entry.revision)
    }

    pub fn get(&self, kind: Kind, id: &str) -> Option<&Document> {
        self.entries(kind).get(id)?.document.as_ref()
    }

    /// All things, by id.
    pub fn things(&self) -> impl Iterator<Item = &Document> {
        self.things.values().filter_map(|entry| entry.document.as_ref())
    }

    /// Number of things and policies that exist.
    pub fn count(&self) -> (usize, usize) {
        let live =
            |entries: &BTreeMap<String, Entry>| entries.values().filter(|e| e.document.is_some()).count();
        (live(&self.things), live(&self.policies))
    }

    /// Puts a change in place and returns the one that takes it back.
    pub fn put(&mut self, change: Change) -> Change {
        let entries = match change.kind {
            Kind::Thing => &mut self.things,
            Kind::Policy => &mut self.policies,
        };
        let before = if change.entry == Entry::default() {
            entries.remove(&change.id)
        } else {
            entries.insert(change.id.clone(), change.entry)
        };
        if change.kind == Kind::Policy {
            self.enforcers.get_mut().remove(&change.id);
        }
        let before = before.unwrap_or_default();
        if change.kind == Kind::Thing {
            self.history.keep(&change.id, &before);
        }
        Change { entry: before, ..change }
    }

    /// What the policy grants, its imports included; `None` when it does not exist.
    pub fn enforcer(&self, policy_id: &str, now: i64) -> Option<Arc<Enforcer>> {
        let document = self.get(Kind::Policy, policy_id)?;
        let mut cache = self.enforcers.lock();
        if let Some(cached) = cache.get(policy_id) {
            let same = |(id, revision): &(String, Option<u64>)| self.live_revision(id) == *revision;
            if now < cached.until && cached.sources.iter().all(same) {
                return Some(Arc::clone(&cached.enforcer));
            }
        }
        let entries = self.effective(document);
        let enforcer = Arc::new(Enforcer::new(&entries, now));
        let sources = std::iter::once(policy_id).chain(imports(document));
        let sources = sources.map(|id| (id.to_owned(), self.live_revision(id))).collect();
        let cached = Cached { sources, until: first_expiry(&entries, now), enforcer: Arc::clone(&enforcer) };
        cache.insert(policy_id.to_owned(), cached);
        Some(enforcer)
    }

    /// The entries of a policy, stored or not yet, with those it imports, one level deep: `implicit` ones,
    /// `explicit` ones it names, `never` others. Source: Ditto 3.8, `PolicyImporter.java`.
    pub fn effective(&self, policy: &Value) -> Object {
        let mut effective = policy["entries"].as_object().cloned().unwrap_or_default();
        for (id, import) in policy["imports"].as_object().into_iter().flatten() {
            let named = |label: &str| {
                import["entries"].as_array().is_some_and(|labels| labels.iter().any(|l| l == label))
            };
            let imported = self.get(Kind::Policy, id).and_then(|policy| policy["entries"].as_object());
            for (label, entry) in imported.into_iter().flatten() {
                let taken = match entry["importable"].as_str() {
                    Some("never") => false,
                    Some("explicit") => named(label),
                    _ => true,
                };
                if taken {
                    effective.insert(format!("imported-{id}-{label}"), entry.clone());
                }
            }
        }
        effective
    }

    fn live_revision(&self, policy_id: &str) -> Option<u64> {
        let entry = self.policies.get(policy_id)?;
        entry.document.is_some().then_some(entry.revision)
    }
}

fn imports(policy: &Value) -> impl Iterator<Item = &str> {
    policy["imports"].as_object().into_iter().flat_map(|imports| imports.keys().map(String::as_str))
}

fn first_expiry(entries: &Object, now: i64) -> i64 {
    let subjects =
        entries.values().filter_map(|entry| entry["subjects"].as_object()).flat_map(Object::values);
    let expiries = subjects.filter_map(|subject| time::parse(subject["expiry"].as_str()?));
    expiries.filter(|expiry| *expiry > now).min().unwrap_or(i64::MAX)
}
