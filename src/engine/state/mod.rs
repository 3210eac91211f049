//! Everything the engine knows, in memory: things packed to about the size of their JSON, policies as they are.
//!
//! A clone costs next to nothing and stays as it was, whatever is written afterwards; the index and the built
//! enforcers are shared by all clones.
mod column;
mod index;
mod ordered;
mod packed;
mod past;
mod text;

pub use column::Wanted;
pub use index::{Proposal, Proposed};
pub use packed::{Node, Packed};
pub use text::Shown;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::enforce::Enforcer;
use super::history::{History, Moment};
use super::time;
use crate::rql::Property;
use crate::twin::json::Object;
use index::{Begun, Index};
use ordered::{Ordered, Row};

/// Enforcers that are kept built; more, and all are built anew when they are needed.
const ENFORCERS_MAX: usize = 10_000;

/// A thing or policy as Ditto shows it with every field asked for: also `_namespace`, `_revision`,
/// `_created`, `_modified`, and `_metadata` once there is any.
pub type Document = Arc<Value>;

/// What is known under one id. Revisions go on after a delete, so a deleted entity keeps its number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    pub revision: u64,
    pub document: Option<Content>,
}

/// A document on its way into the state and to the disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Tree(Document),
    Packed(Packed),
}

impl Content {
    pub fn tree(&self) -> Document {
        match self {
            Self::Tree(document) => Arc::clone(document),
            Self::Packed(packed) => Arc::new(packed.root().unpack()),
        }
    }

    pub fn packed(self) -> Packed {
        match self {
            Self::Tree(document) => Packed::of(&document),
            Self::Packed(packed) => packed,
        }
    }

    /// As it is stored.
    pub fn text(&self) -> Vec<u8> {
        let text = match self {
            Self::Tree(document) => serde_json::to_vec(&**document),
            Self::Packed(packed) => packed.text(),
        };
        // a tree of JSON and packed JSON can always be written
        text.unwrap_or_default()
    }
}

impl From<Value> for Content {
    fn from(document: Value) -> Self {
        Self::Tree(Arc::new(document))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Thing,
    Policy,
}

/// One entity's next state: what is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub kind: Kind,
    pub id: String,
    pub entry: Entry,
}

/// A thing that is, or was.
#[derive(Debug)]
pub struct Thing {
    id: Box<str>,
    slot: u32,
    revision: u64,
    document: Option<Packed>,
}

impl Thing {
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Bytes of its document.
    pub fn size(&self) -> usize {
        self.document.as_ref().map_or(0, Packed::size)
    }

    pub fn policy_id(&self) -> Option<&str> {
        self.node()?.at(&["policyId"])?.text()
    }

    pub fn packed(&self) -> Option<&Packed> {
        self.document.as_ref()
    }

    /// `None` when it was deleted.
    pub fn node(&self) -> Option<Node<'_>> {
        self.document.as_ref().map(Packed::root)
    }
}

impl Row for Thing {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Debug)]
struct Policy {
    id: Box<str>,
    revision: u64,
    document: Option<Document>,
    /// Bytes of its document, counted once: the history asks again and again.
    size: usize,
}

impl Policy {
    fn new(id: &str, revision: u64, document: Option<Document>) -> Self {
        let size = document.as_deref().map_or(0, past::size);
        Self { id: id.into(), revision, document, size }
    }
}

impl Row for Policy {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Takes one change back.
#[derive(Debug)]
pub struct Undo(Before);

impl Undo {
    /// The policy of the thing it brings back.
    pub fn policy_id(&self) -> Option<&str> {
        match &self.0 {
            Before::Thing(_, before) => before.as_ref()?.policy_id(),
            Before::Policy(..) => None,
        }
    }
}

#[derive(Debug)]
enum Before {
    Thing(String, Option<Arc<Thing>>),
    Policy(String, Option<Arc<Policy>>),
}

#[derive(Clone, Default)]
pub struct State {
    things: Ordered<Thing>,
    policies: Ordered<Policy>,
    enforcers: Arc<Mutex<HashMap<String, Cached>>>,
    index: Arc<Mutex<Index>>,
    history: Arc<Mutex<History<Thing>>>,
    policy_history: Arc<Mutex<History<Policy>>>,
}

/// An enforcer and what it was built from.
struct Cached {
    /// The policy and those it imports; `None` was missing.
    sources: Vec<(String, Option<Arc<Policy>>)>,
    /// The earliest expiry of a subject, in milliseconds since 1970.
    until: i64,
    enforcer: Arc<Enforcer>,
}

impl State {
    /// The revision of what is, or was, under this id; 0 when nothing ever was.
    pub fn revision(&self, kind: Kind, id: &str) -> u64 {
        let revision = match kind {
            Kind::Thing => self.things.get(id).map(|thing| thing.revision),
            Kind::Policy => self.policies.get(id).map(|policy| policy.revision),
        };
        revision.unwrap_or_default()
    }

    /// The whole document. A thing's is unpacked for this call: [`Self::thing`] looks at parts of it for less.
    pub fn get(&self, kind: Kind, id: &str) -> Option<Document> {
        match kind {
            Kind::Thing => Some(Arc::new(self.thing(id)?.node()?.unpack())),
            Kind::Policy => self.policies.get(id)?.document.clone(),
        }
    }

    /// What is known; revision 0 is nothing.
    pub fn entry(&self, kind: Kind, id: &str) -> Entry {
        let document = match kind {
            Kind::Thing => self.thing(id).and_then(|thing| thing.document.clone()).map(Content::Packed),
            Kind::Policy => self.get(kind, id).map(Content::Tree),
        };
        Entry { revision: self.revision(kind, id), document }
    }

    pub fn thing(&self, id: &str) -> Option<&Arc<Thing>> {
        self.things.get(id).filter(|thing| thing.document.is_some())
    }

    /// The thing at an earlier moment, see [`History::at`].
    pub fn past(&self, id: &str, moment: Moment) -> Option<Arc<Thing>> {
        self.history.lock().at(id, moment)
    }

    /// The policy at an earlier moment and its revision then, see [`History::at`]; `None` also when it was deleted then.
    pub fn past_policy(&self, id: &str, moment: Moment) -> Option<(u64, Document)> {
        let past = self.policy_history.lock().at(id, moment)?;
        Some((past.revision, past.document.clone()?))
    }

    /// Revisions of the past let go for want of room, since the start.
    pub fn forgotten(&self) -> u64 {
        self.history.lock().dropped + self.policy_history.lock().dropped
    }

    /// Things from this id on, by id.
    pub fn things_from(&self, id: &str) -> impl Iterator<Item = &Arc<Thing>> {
        self.things.from(id).filter(|thing| thing.document.is_some())
    }

    /// How many things there are between two ids, some hundreds more or less, the deleted ones included.
    pub fn about(&self, from: &str, to: Option<&str>) -> usize {
        self.things.about(from, to)
    }

    /// Number of things and policies that exist.
    pub fn count(&self) -> (usize, usize) {
        let policies = self.policies.from("").filter(|policy| policy.document.is_some());
        (self.things_from("").count(), policies.count())
    }

    /// At most `max` things that include all whose `property` is as wanted.
    pub fn propose(&self, property: &Property, wanted: &Wanted<'_>, max: usize) -> Proposal {
        self.index.lock().propose(property, wanted, max)
    }

    /// The things that are now at proposed places.
    pub fn things_at(&self, slots: &[u32]) -> Vec<Arc<Thing>> {
        self.index.lock().things(slots)
    }

    /// Indexes the property for later questions when it was asked for before, unless somebody does so already. Takes
    /// about a microsecond a thing.
    pub fn index(&self, property: &Property) {
        if let Some(begun) = Begun::of(&self.index, property) {
            begun.build();
        }
    }

    /// As [`Self::index`], on a thread of its own.
    pub fn index_aside(&self, property: &Property) {
        let Some(begun) = Begun::of(&self.index, property) else { return };
        let thread = std::thread::Builder::new().name("engine-index".to_owned());
        if let Err(error) = thread.spawn(move || begun.build()) {
            tracing::warn!(%error, "searches go on without an index");
        }
    }

    /// As [`Self::put_at`], for who has no time at hand.
    #[cfg(test)]
    pub fn put(&mut self, change: Change) -> Undo {
        self.put_at(change, 0)
    }

    /// Puts a change in place and returns what takes it back. `now`, in milliseconds since 1970, is when something that is
    /// deleted was so.
    pub fn put_at(&mut self, change: Change, now: i64) -> Undo {
        let Change { kind, id, entry: Entry { revision, document } } = change;
        let deleted = document.is_none().then_some(now);
        match kind {
            Kind::Thing => {
                let before = self.put_packed(&id, revision, document.map(Content::packed));
                if let Some(before) = &before {
                    self.history.lock().keep(before, deleted);
                }
                Undo(Before::Thing(id, before))
            }
            Kind::Policy => {
                let document = document.map(|document| document.tree());
                let policy = Arc::new(Policy::new(&id, revision, document));
                self.enforcers.lock().remove(&id);
                let before = self.policies.insert(policy);
                if let Some(before) = &before {
                    self.policy_history.lock().keep(before, deleted);
                }
                Undo(Before::Policy(id, before))
            }
        }
    }

    /// Puts a thing in place and returns what was there.
    pub fn put_packed(&mut self, id: &str, revision: u64, document: Option<Packed>) -> Option<Arc<Thing>> {
        let slot = self.things.get(id).map(|thing| thing.slot);
        let slot = slot.unwrap_or_else(|| self.index.lock().take_slot(id));
        self.put_thing(&Arc::new(Thing { id: id.into(), slot, revision, document }))
    }

    pub fn undo(&mut self, undo: Undo) {
        match undo.0 {
            Before::Thing(_, Some(thing)) => {
                self.history.lock().take_back(&thing);
                self.put_thing(&thing);
            }
            Before::Thing(id, None) => {
                if let Some(thing) = self.things.remove(&id) {
                    let mut index = self.index.lock();
                    index.update(Some(&thing), None);
                    index.free_slot(thing.slot);
                }
            }
            Before::Policy(_, Some(policy)) => {
                self.policy_history.lock().take_back(&policy);
                self.policies.insert(policy);
            }
            Before::Policy(id, None) => drop(self.policies.remove(&id)),
        }
    }

    fn put_thing(&mut self, thing: &Arc<Thing>) -> Option<Arc<Thing>> {
        let before = self.things.insert(Arc::clone(thing));
        self.index.lock().update(before.as_ref(), Some(thing));
        before
    }

    /// What the policy grants, its imports included; `None` when it does not exist.
    pub fn enforcer(&self, policy_id: &str, now: i64) -> Option<Arc<Enforcer>> {
        let document = self.policies.get(policy_id)?.document.as_ref()?;
        if let Some(cached) = self.enforcers.lock().get(policy_id) {
            let same = |(id, source): &(String, Option<Arc<Policy>>)| match (source, self.live(id)) {
                (Some(then), Some(now)) => Arc::ptr_eq(then, &now),
                (then, now) => then.is_none() && now.is_none(),
            };
            if now < cached.until && cached.sources.iter().all(same) {
                return Some(Arc::clone(&cached.enforcer));
            }
        }
        let entries = self.effective(document);
        let enforcer = Arc::new(Enforcer::new(&entries, now));
        let sources = std::iter::once(policy_id).chain(imports(document));
        let sources = sources.map(|id| (id.to_owned(), self.live(id))).collect();
        let cached = Cached { sources, until: first_expiry(&entries, now), enforcer: Arc::clone(&enforcer) };
        let mut cache = self.enforcers.lock();
        if cache.len() >= ENFORCERS_MAX {
            cache.clear();
        }
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
            let imported = self.get(Kind::Policy, id);
            let imported = imported.as_ref().and_then(|policy| policy["entries"].as_object());
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

    fn live(&self, policy_id: &str) -> Option<Arc<Policy>> {
        self.policies.get(policy_id).filter(|policy| policy.document.is_some()).cloned()
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
