//! One indexed property: which things have about which value there.
//!
//! A value is cut down to a key of 8 bytes that keeps the order, and a hash of 4 that tells equal keys apart. So an
//! entry has one small size, and the index only *proposes*: it may name a thing too many, never one too few, and the
//! filter itself decides.
use std::collections::{BTreeSet, HashSet};

use super::Thing;
use crate::rql::search::scalars;
use crate::rql::{Number, Property, Scalar};

/// Values of one thing that are indexed, for instance of a long array. A thing with more is always proposed.
const VALUES_MAX: usize = 256;
/// Texts that came later and lack the prefix all had once, which the keys leave out; more than these and a quarter of
/// all, and the column is worn out.
const OUTSIDE_MIN: usize = 1024;

/// Order of keys: 3 bits for the kind of value, then what fits of it.
const KIND_SHIFT: u32 = 61;
const NULL: u64 = 0;
const BOOL: u64 = 1;
const NUMBER: u64 = 2;
/// Before all texts with the common prefix, among them, and behind them.
const BELOW: u64 = 3;
const WITHIN: u64 = 4;
const ABOVE: u64 = 5;

type Key = (u64, u32);
type Slot = u32;

/// What a filter looks for in a column.
#[derive(Clone, Debug)]
pub enum Wanted<'v> {
    Equal(Vec<Scalar<'v>>),
    /// Of the same type and not below.
    AtLeast(Scalar<'v>),
    AtMost(Scalar<'v>),
    Between(Scalar<'v>, Scalar<'v>),
    /// Texts that begin so.
    Prefix(&'v str),
}

#[derive(Debug)]
pub struct Column {
    property: Property,
    prefix: Box<[u8]>,
    entries: BTreeSet<(Key, Slot)>,
    outside: usize,
    always: HashSet<Slot>,
    /// Things with more than one value: two of them can satisfy both ends of a range that none lies in.
    several: HashSet<Slot>,
    /// When it was last asked, in asks.
    pub used: u64,
}

impl Column {
    pub fn build<'t>(property: Property, things: impl Iterator<Item = &'t Thing> + Clone) -> Self {
        let prefix = common_prefix(&property, things.clone());
        let (entries, always, several) = Default::default();
        let mut column = Self { property, prefix, entries, outside: 0, always, several, used: 0 };
        let mut entries = vec![];
        for thing in things {
            match column.keys(thing) {
                Some(keys) => {
                    if keys.len() > 1 {
                        column.several.insert(thing.slot);
                    }
                    entries.extend(keys.into_iter().map(|key| (key, thing.slot)));
                }
                None => drop(column.always.insert(thing.slot)),
            }
        }
        column.entries = entries.into_iter().collect();
        column
    }

    pub fn len(&self) -> usize {
        self.entries.len() + self.always.len()
    }

    /// Whether it should be built anew.
    pub fn is_worn(&self) -> bool {
        self.outside > OUTSIDE_MIN + self.entries.len() / 4
    }

    pub fn update(&mut self, before: Option<&Thing>, after: Option<&Thing>) {
        let keys = |thing: Option<&Thing>| match thing {
            Some(thing) => self.keys(thing),
            None => Some(vec![]),
        };
        let (old, new) = (keys(before), keys(after));
        if old == new {
            return;
        }
        if let Some(thing) = before {
            self.always.remove(&thing.slot);
            self.several.remove(&thing.slot);
            for key in old.into_iter().flatten() {
                if self.entries.remove(&(key, thing.slot)) && is_outside(key) {
                    self.outside -= 1;
                }
            }
        }
        if let Some(thing) = after {
            match &new {
                None => drop(self.always.insert(thing.slot)),
                Some(keys) if keys.len() > 1 => drop(self.several.insert(thing.slot)),
                Some(_) => {}
            }
            for key in new.into_iter().flatten() {
                if self.entries.insert((key, thing.slot)) && is_outside(key) {
                    self.outside += 1;
                }
            }
        }
    }

    /// The things that may have what is wanted, or `None` when they are more than `max`.
    pub fn propose(&self, wanted: &Wanted<'_>, max: usize) -> Option<Vec<Slot>> {
        let several = self.several.iter().filter(|_| matches!(wanted, Wanted::Between(..)));
        let mut found: Vec<Slot> = self.always.iter().chain(several).copied().collect();
        for (from, to) in self.ranges(wanted) {
            let range = self.entries.range((from, Slot::MIN)..=(to, Slot::MAX));
            found.extend(range.map(|(_, slot)| *slot).take(max + 1));
            if found.len() > max {
                return None;
            }
        }
        found.sort_unstable();
        found.dedup();
        Some(found)
    }

    fn ranges(&self, wanted: &Wanted<'_>) -> Vec<(Key, Key)> {
        match wanted {
            Wanted::Equal(values) => values.iter().map(|value| (self.key(value), self.key(value))).collect(),
            Wanted::AtLeast(value) => vec![self.at_least(value)],
            Wanted::AtMost(value) => vec![self.at_most(value)],
            Wanted::Between(low, high) => {
                let (low, high) = (self.at_least(low), self.at_most(high));
                let (from, to) = (low.0.max(high.0), low.1.min(high.1));
                if from <= to { vec![(from, to)] } else { vec![] }
            }
            Wanted::Prefix(prefix) => {
                let mut last = prefix.as_bytes().to_vec();
                // no text holds this byte, so it is behind all that begin so
                last.resize(last.len() + self.prefix.len() + 8, 0xff);
                vec![((self.text_key(prefix.as_bytes()), 0), (self.text_key(&last), u32::MAX))]
            }
        }
    }

    fn at_least(&self, value: &Scalar<'_>) -> (Key, Key) {
        let last = if matches!(value, Scalar::Text(_)) { ABOVE } else { self.key(value).0 >> KIND_SHIFT };
        ((self.key(value).0, 0), (((last + 1) << KIND_SHIFT) - 1, u32::MAX))
    }

    fn at_most(&self, value: &Scalar<'_>) -> (Key, Key) {
        let first = if matches!(value, Scalar::Text(_)) { BELOW } else { self.key(value).0 >> KIND_SHIFT };
        ((first << KIND_SHIFT, 0), (self.key(value).0, u32::MAX))
    }

    /// `None` when there are too many.
    fn keys(&self, thing: &Thing) -> Option<Vec<Key>> {
        let (mut keys, mut all) = (vec![], true);
        if let Some(document) = &thing.document {
            scalars(&self.property, document.root(), |scalar| {
                all &= keys.len() < VALUES_MAX;
                if all {
                    keys.push(self.key(&scalar));
                }
            });
        }
        all.then_some(keys)
    }

    fn key(&self, value: &Scalar<'_>) -> Key {
        match value {
            Scalar::Null => (NULL << KIND_SHIFT, 0),
            Scalar::Bool(value) => (BOOL << KIND_SHIFT | u64::from(*value), 0),
            Scalar::Number(number) => {
                let bits = float(*number).to_bits();
                let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
                (NUMBER << KIND_SHIFT | ordered >> 3, hash(&bits.to_le_bytes()))
            }
            Scalar::Text(text) => (self.text_key(text.as_bytes()), hash(text.as_bytes())),
        }
    }

    fn text_key(&self, text: &[u8]) -> u64 {
        let Some(rest) = text.strip_prefix(&*self.prefix) else {
            return if text < &*self.prefix { BELOW } else { ABOVE } << KIND_SHIFT;
        };
        let mut eight = [0; 8];
        let size = rest.len().min(8);
        eight[..size].copy_from_slice(&rest[..size]);
        WITHIN << KIND_SHIFT | u64::from_be_bytes(eight) >> 3
    }
}

fn is_outside((key, _): Key) -> bool {
    matches!(key >> KIND_SHIFT, BELOW | ABOVE)
}

/// Numbers that are equal stay equal, and of two that differ the lesser one does not become the greater.
fn float(number: Number) -> f64 {
    match number {
        #[expect(clippy::cast_precision_loss, reason = "rounding keeps the order")]
        Number::Int(value) => value as f64,
        // -0 is 0
        Number::Float(value) => value + 0.0,
    }
}

/// FNV-1a. Whoever makes values collide only makes his own search slow.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn common_prefix<'t>(property: &Property, things: impl Iterator<Item = &'t Thing>) -> Box<[u8]> {
    let mut common: Option<Vec<u8>> = None;
    for document in things.filter_map(|thing| thing.document.as_ref()) {
        scalars(property, document.root(), |scalar| {
            let Scalar::Text(text) = scalar else { return };
            match &mut common {
                None => common = Some(text.as_bytes().to_vec()),
                Some(common) => {
                    let same = common.iter().zip(text.as_bytes()).take_while(|(a, b)| a == b).count();
                    common.truncate(same);
                }
            }
        });
        if common.as_ref().is_some_and(Vec::is_empty) {
            break;
        }
    }
    common.unwrap_or_default().into_boxed_slice()
}
