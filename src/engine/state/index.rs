//! The indexed properties, kept in step with every write.
//!
//! A property is indexed once somebody searches for it again. The least recently used make room for others, those that
//! no thing has before all; and one that no thing has takes nobody's room.
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Thing;
use super::column::{Column, Wanted};
use crate::rql::Property;

/// Every write brings each of them up to date.
const COLUMNS_MAX: usize = 32;
/// In all columns; each takes some 24 bytes.
const ENTRIES_MAX: usize = 3_000_000;

/// Built at one time, each by a thread that is busy for about a microsecond a thing; who asks for more looks at everything.
const BUILDING_MAX: usize = 2;

/// Properties that were asked for and are not indexed: the second time among so many, an index is made. Whoever asks for
/// ever others keeps no core busy with indexes that nobody uses. Each takes 8 bytes.
const ASKED_MAX: usize = 256;

#[derive(Debug, Default)]
pub struct Index {
    /// By slot: what lives now.
    things: Vec<Option<Arc<Thing>>>,
    free: Vec<u32>,
    /// Below this slot, things stand in the order of their ids: those that were read at the start, and what came in order.
    in_order: u32,
    last: Box<str>,
    columns: HashMap<Property, Column>,
    /// Slots written since a column began to be built.
    building: HashMap<Property, HashSet<u32>>,
    /// Hashes of the properties that were asked for once, the last one behind.
    asked: VecDeque<u64>,
    hasher: RandomState,
    asks: u64,
    /// Columns that were thrown away for others, since the start.
    dropped: u64,
}

pub enum Proposal {
    These(Proposed),
    TooMany,
    NotIndexed,
}

/// Places of things, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposed {
    pub slots: Vec<u32>,
    /// Whether that is the order of their ids.
    pub by_id: bool,
}

impl Index {
    /// A place for a thing that was not there before.
    pub fn take_slot(&mut self, id: &str) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.things.len()).unwrap_or(u32::MAX);
            self.things.push(None);
            if self.in_order == slot && *self.last < *id {
                self.in_order += 1;
                self.last = id.into();
            }
            slot
        })
    }

    pub fn free_slot(&mut self, slot: u32) {
        self.in_order = self.in_order.min(slot);
        self.free.push(slot);
    }

    /// Takes a thing out, puts one in, or replaces one; both have the same slot.
    pub fn update(&mut self, before: Option<&Arc<Thing>>, after: Option<&Arc<Thing>>) {
        let Some(slot) = before.or(after).map(|thing| thing.slot) else { return };
        if let Some(place) = self.things.get_mut(slot as usize) {
            *place = after.filter(|thing| thing.document.is_some()).cloned();
        }
        for written in self.building.values_mut() {
            written.insert(slot);
        }
        for column in self.columns.values_mut() {
            column.update(before.map(AsRef::as_ref), after.map(AsRef::as_ref));
        }
        self.columns.retain(|_, column| !column.is_worn());
    }

    /// The things that are there now at these places.
    pub fn things(&self, slots: &[u32]) -> Vec<Arc<Thing>> {
        slots.iter().filter_map(|slot| self.things.get(*slot as usize)?.clone()).collect()
    }

    /// At most `max` things, which are all that can have what is wanted.
    pub fn propose(&mut self, property: &Property, wanted: &Wanted<'_>, max: usize) -> Proposal {
        self.asks += 1;
        let Some(column) = self.columns.get_mut(property) else { return Proposal::NotIndexed };
        column.used = self.asks;
        match column.propose(wanted, max) {
            Some(slots) => {
                let by_id = slots.last().is_none_or(|last| *last < self.in_order);
                Proposal::These(Proposed { slots, by_id })
            }
            None => Proposal::TooMany,
        }
    }

    /// All things, to build a column from; `None` when there is one, too many are being built, or nobody has asked before.
    fn begin(&mut self, property: &Property) -> Option<Vec<Arc<Thing>>> {
        let known = self.building.contains_key(property) || self.columns.contains_key(property);
        if known || self.building.len() >= BUILDING_MAX || !self.asked_before(property) {
            return None;
        }
        self.building.insert(property.clone(), HashSet::new());
        Some(self.things.iter().flatten().cloned().collect())
    }

    /// Forgets it, so that the next time is a first one; or remembers it.
    fn asked_before(&mut self, property: &Property) -> bool {
        let hash = self.hasher.hash_one(property);
        if let Some(at) = self.asked.iter().position(|asked| *asked == hash) {
            self.asked.remove(at);
            return true;
        }
        if self.asked.len() >= ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(hash);
        false
    }

    /// Puts a column in place that was built from what [`Self::begin`] gave.
    fn finish(&mut self, property: Property, mut column: Column, from: &[Arc<Thing>]) {
        let written = self.building.remove(&property).unwrap_or_default();
        for before in from.iter().filter(|thing| written.contains(&thing.slot)) {
            column.update(Some(before), None);
        }
        for slot in written {
            if let Some(Some(now)) = self.things.get(slot as usize) {
                column.update(None, Some(now));
            }
        }
        self.asks += 1;
        column.used = self.asks;
        let len = column.len();
        if len > ENTRIES_MAX {
            return;
        }
        while self.columns.len() >= COLUMNS_MAX || self.entries() + len > ENTRIES_MAX {
            let oldest = self.columns.iter().min_by_key(|(_, column)| (column.len() > 0, column.used));
            let Some((oldest, taken)) = oldest.map(|(p, column)| (p.clone(), column.len())) else { break };
            if len == 0 && taken > 0 {
                return;
            }
            self.columns.remove(&oldest);
            self.dropped += 1;
            tracing::debug!(?oldest, dropped = self.dropped, "an index made room for another");
        }
        self.columns.insert(property, column);
    }

    fn entries(&self) -> usize {
        self.columns.values().map(Column::len).sum()
    }
}

/// A column on its way. Without [`Self::build`], or when that panics, its place is free again.
pub struct Begun {
    index: Arc<Mutex<Index>>,
    /// `None` once it is built.
    property: Option<Property>,
    things: Vec<Arc<Thing>>,
}

impl Begun {
    /// `None` when there is nothing to do, or not yet: the first time somebody asks for a property nothing is done.
    pub fn of(index: &Arc<Mutex<Index>>, property: &Property) -> Option<Self> {
        let things = index.lock().begin(property)?;
        Some(Self { index: Arc::clone(index), property: Some(property.clone()), things })
    }

    /// Takes about a microsecond a thing, without the lock, which every write takes.
    pub fn build(mut self) {
        let Some(property) = self.property.as_ref() else { return };
        let column = Column::build(property.clone(), self.things.iter().map(AsRef::as_ref));
        if let Some(property) = self.property.take() {
            self.index.lock().finish(property, column, &self.things);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(property) = &self.property {
            self.index.lock().building.remove(property);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Packed;
    use super::*;

    fn with_a_thing(attributes: usize) -> Arc<Mutex<Index>> {
        let attributes: serde_json::Map<String, serde_json::Value> =
            (0..attributes).map(|n| (format!("a{n}"), json!(n))).collect();
        let mut index = Index::default();
        let slot = index.take_slot("n:t");
        let document = Some(Packed::of(&json!({"thingId": "n:t", "attributes": attributes})));
        let thing = Arc::new(Thing { id: "n:t".into(), slot, revision: 1, document });
        index.update(None, Some(&thing));
        Arc::new(Mutex::new(index))
    }

    fn property(name: &str) -> Property {
        Property::parse(&format!("attributes/{name}"))
    }

    /// As searches do.
    fn ask(index: &Arc<Mutex<Index>>, name: &str) -> bool {
        let begun = Begun::of(index, &property(name));
        begun.map(Begun::build).is_some()
    }

    fn is_indexed(index: &Arc<Mutex<Index>>, name: &str) -> bool {
        !matches!(index.lock().propose(&property(name), &Wanted::Equal(vec![]), 1), Proposal::NotIndexed)
    }

    #[test]
    fn an_index_is_made_when_a_property_is_asked_for_again() {
        let index = with_a_thing(1);
        assert_eq!([ask(&index, "a0"), ask(&index, "a0")], [false, true]);
        assert!(is_indexed(&index, "a0"));
    }

    #[test]
    fn who_asks_for_ever_others_makes_no_index_and_takes_no_memory() {
        let index = with_a_thing(1);
        let built = (0..10_000).filter(|n| ask(&index, &format!("x{n}"))).count();
        assert_eq!((built, index.lock().asked.len()), (0, ASKED_MAX));
        assert!(!ask(&index, "x0"), "it was long ago");
    }

    #[test]
    fn what_no_thing_has_takes_the_place_of_no_index() {
        let index = with_a_thing(COLUMNS_MAX);
        for name in (0..COLUMNS_MAX - 1).map(|n| format!("a{n}")) {
            assert_eq!([ask(&index, &name), ask(&index, &name)], [false, true], "{name}");
        }
        for name in (0..100).map(|n| format!("x{n}")) {
            assert_eq!([ask(&index, &name), ask(&index, &name)], [false, true], "{name}");
        }
        assert!((0..COLUMNS_MAX - 1).all(|n| is_indexed(&index, &format!("a{n}"))), "an empty one is kept");
        let last = format!("a{}", COLUMNS_MAX - 1);
        assert_eq!([ask(&index, &last), ask(&index, &last)], [false, true]);
        assert!((0..COLUMNS_MAX).all(|n| is_indexed(&index, &format!("a{n}"))), "an empty one goes first");
        assert_eq!([ask(&index, "x0"), ask(&index, "x0")], [false, true]);
        assert!((0..COLUMNS_MAX).all(|n| is_indexed(&index, &format!("a{n}"))), "it takes a place");
    }

    #[test]
    fn a_build_that_panics_or_never_runs_frees_its_place() {
        let index = with_a_thing(1);
        for _ in 0..2 * BUILDING_MAX {
            assert!(Begun::of(&index, &property("a0")).is_none());
            let begun = Begun::of(&index, &property("a0")).expect("a place");
            let built = std::thread::spawn(move || {
                let _begun = begun;
                panic!("as a build could");
            });
            assert!(built.join().is_err());
        }
        assert_eq!([ask(&index, "a0"), ask(&index, "a0")], [false, true]);
    }
}
