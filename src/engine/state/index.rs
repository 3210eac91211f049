//! The indexed properties, kept in step with every write.
//!
//! A property is indexed once somebody searches for it. The least recently used make room for others.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Thing;
use super::column::{Column, Wanted};
use crate::rql::Property;

/// Every write brings each of them up to date.
const COLUMNS_MAX: usize = 32;
/// In all columns; each takes some 24 bytes.
const ENTRIES_MAX: usize = 3_000_000;

/// Built at one time, each by a thread that is busy for about a microsecond a thing; who asks for more looks at everything.
const BUILDING_MAX: usize = 2;

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

    /// All things, to build a column from; `None` when there is one, or too many are being built.
    pub fn begin(&mut self, property: &Property) -> Option<Vec<Arc<Thing>>> {
        let known = self.building.contains_key(property) || self.columns.contains_key(property);
        if known || self.building.len() >= BUILDING_MAX {
            return None;
        }
        self.building.insert(property.clone(), HashSet::new());
        Some(self.things.iter().flatten().cloned().collect())
    }

    /// Ends what [`Self::begin`] began, without a column.
    pub fn give_up(&mut self, property: &Property) {
        self.building.remove(property);
    }

    /// Puts a column in place that was built from what [`Self::begin`] gave.
    pub fn finish(&mut self, property: Property, mut column: Column, from: &[Arc<Thing>]) {
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
            let oldest = self.columns.iter().min_by_key(|(_, column)| column.used).map(|(p, _)| p.clone());
            let Some(oldest) = oldest else { break };
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
