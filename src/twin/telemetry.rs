//! What devices say: payloads, the rules a twin has for them, and what they come to before they are written.
//!
//! Values wait in a [`Sheet`], by the name the device gives them. Where a name leads to is decided when the sheet is
//! written, so that values can wait for the rules of their twin.
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::id::is_key;
use super::json::{Object, Pointer};

/// Objects and arrays inside one another in a payload. Ditto has no limit; what reads JSON stops at 128.
pub const DEPTH_MAX: usize = 32;
/// The most members of one payload that become features; a thing has at most as many.
pub const MEMBERS_MAX: usize = 1_000;
/// For so long a message keeps older ones away. A device whose clock or counter starts anew is believed again after it.
pub const ORDER_KEPT: Duration = Duration::from_mins(1);
/// Members that tell the order of messages, and become no features.
const TIMESTAMP: &str = "timestamp";
const SEQ: &str = "seq";
/// Memory of a value beside its text, in bytes: a node of a tree with its key.
const NODE_BYTES: usize = 64;

/// Why a message of a device is not written: a closed list, part of the metrics and of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reject {
    /// The topic names no thing.
    BadTopic,
    /// The payload is no JSON object.
    BadJson,
    /// A name that Ditto does not take, a null, or too deep.
    BadValue,
    /// Larger than payloads may be, or than Ditto lets the thing become.
    TooLarge,
    /// Ditto knows no such thing, or we may not read it.
    UnknownTwin,
    /// `spec.telemetry.enabled` is false.
    Disabled,
    /// A newer message came before.
    Outdated,
    /// Too many things, answers or requests at once.
    RateLimited,
    /// Ditto does not take it.
    Refused,
}

impl Reject {
    pub const ALL: [Self; 9] = [
        Self::BadTopic,
        Self::BadJson,
        Self::BadValue,
        Self::TooLarge,
        Self::UnknownTwin,
        Self::Disabled,
        Self::Outdated,
        Self::RateLimited,
        Self::Refused,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::BadTopic => "bad_topic",
            Self::BadJson => "bad_json",
            Self::BadValue => "bad_value",
            Self::TooLarge => "too_large",
            Self::UnknownTwin => "unknown_twin",
            Self::Disabled => "disabled",
            Self::Outdated => "outdated",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
        }
    }
}

/// `spec.telemetry`, as the mark carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub enabled: bool,
    /// Where single members go, below `/features`.
    mapping: BTreeMap<String, Pointer>,
    /// Writes per second.
    pub max_rate: Option<u32>,
    pub stale_after: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { enabled: true, mapping: BTreeMap::new(), max_rate: None, stale_after: None }
    }
}

impl Rules {
    /// What cannot be read counts as not said: whoever may write a thing may write its mark.
    pub fn read(mark: &Value) -> Self {
        let target = |value: &Value| {
            let pointer = Pointer::parse(value.as_str()?);
            let fits = matches!(pointer.segments(), [root, feature, part, rest @ ..]
                if root == "features" && part == "properties" && !rest.is_empty()
                && is_feature(feature) && rest.iter().all(|key| is_name(key)));
            fits.then(|| Pointer::of(pointer.segments()[1..].iter().cloned()))
        };
        let mapping = mark["mapping"].as_object().into_iter().flatten();
        Self {
            enabled: mark["enabled"].as_bool().unwrap_or(true),
            mapping: mapping.filter_map(|(name, to)| Some((name.clone(), target(to)?))).collect(),
            max_rate: mark["maxRate"].as_u64().and_then(|rate| u32::try_from(rate).ok()).filter(|r| *r > 0),
            stale_after: mark["staleAfter"].as_str().and_then(duration),
        }
    }

    /// Whether the name is taken away from the order of messages.
    fn maps(&self, name: &str) -> bool {
        self.mapping.contains_key(name)
    }

    /// Whether the same members tell the order of messages with these rules as with the others.
    pub fn orders_as(&self, others: &Self) -> bool {
        [TIMESTAMP, SEQ].iter().all(|name| self.maps(name) == others.maps(name))
    }
}

/// `90s`, `15m` or `1h`.
fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

fn is_feature(id: &str) -> bool {
    is_name(id) && !id.contains('*')
}

/// A key that Ditto takes and does not read as a pattern of keys.
fn is_name(key: &str) -> bool {
    is_key(key) && !key.starts_with("{{")
}

/// A message as its device wrote it: members by name, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload(Object);

impl Payload {
    /// One feature's payload may be any value but null; without a feature it is an object of them.
    pub fn read(bytes: &[u8], feature: Option<&str>) -> Result<Self, Reject> {
        let value: Value = serde_json::from_slice(bytes).map_err(|_| Reject::BadJson)?;
        let members = match (feature, value) {
            (None, Value::Object(members)) => members,
            (None, _) => return Err(Reject::BadJson),
            (Some(feature), value) => Map::from_iter([(feature.to_owned(), value)]),
        };
        if members.len() > MEMBERS_MAX {
            return Err(Reject::TooLarge);
        }
        let well = members.iter().all(|(name, value)| is_feature(name) && is_well(value, DEPTH_MAX - 1));
        if well { Ok(Self(members)) } else { Err(Reject::BadValue) }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where it stands among the messages of its device; takes the members that say so, unless a rule is about them.
    pub fn order(&mut self, rules: &Rules) -> Order {
        let order = self.told_order(rules);
        for name in [TIMESTAMP, SEQ].into_iter().filter(|name| !rules.maps(name)) {
            self.0.shift_remove(name);
        }
        order
    }

    /// The same, and leaves the members where they are: rules that are not known yet may be about them.
    pub fn told_order(&self, rules: &Rules) -> Order {
        let told = |name: &str| if rules.maps(name) { None } else { self.0.get(name) };
        let time = told(TIMESTAMP).and_then(|value| match value {
            Value::Number(number) => number.as_f64().map(|at| (Clock::Number, at)),
            Value::String(text) => {
                let at = text.parse::<jiff::Timestamp>().ok()?;
                #[expect(clippy::cast_precision_loss, reason = "exact up to the year 287396")]
                Some((Clock::Text, at.as_millisecond() as f64))
            }
            _ => None,
        });
        Order { time, seq: told(SEQ).and_then(Value::as_f64) }
    }
}

/// No null outside of arrays, no name that Ditto refuses, not too deep.
fn is_well(value: &Value, levels: usize) -> bool {
    match value {
        Value::Null => false,
        Value::Object(_) | Value::Array(_) if levels == 0 => false,
        Value::Object(members) => {
            members.iter().all(|(name, value)| is_name(name) && is_well(value, levels - 1))
        }
        Value::Array(items) => items.iter().all(|item| item.is_null() || is_item(item, levels - 1)),
        _ => true,
    }
}

/// What is in an array is a value as a whole: only its depth matters.
fn is_item(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(_) | Value::Array(_) if levels == 0 => false,
        Value::Object(members) => members.values().all(|value| is_item(value, levels - 1)),
        Value::Array(items) => items.iter().all(|value| is_item(value, levels - 1)),
        _ => true,
    }
}

/// How a device writes its time; one kind says nothing about the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Number,
    Text,
}

/// Where a message stands among those of its device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Order {
    time: Option<(Clock, f64)>,
    seq: Option<f64>,
}

/// Keeps older messages of a device from overwriting newer ones. It compares only what the device says with what it
/// said before, so that no two clocks need to agree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard {
    newest: Order,
    /// When it came, on our own clock.
    at: Duration,
}

impl Guard {
    /// Whether the message of `now` is to be written. `now` never goes back.
    pub fn admits(&mut self, order: Order, now: Duration) -> bool {
        if order == Order::default() {
            return true;
        }
        let fresh = now.saturating_sub(self.at) < ORDER_KEPT;
        let earlier = |new: f64, newest: Option<f64>| newest.is_some_and(|newest| new < newest);
        let older_time = order.time.is_some_and(|(clock, at)| {
            earlier(at, self.newest.time.filter(|(kind, _)| *kind == clock).map(|(_, at)| at))
        });
        let older_seq = order.seq.is_some_and(|seq| earlier(seq, self.newest.seq));
        if fresh && (older_time || older_seq) {
            return false;
        }
        self.newest = order;
        self.at = now;
        true
    }
}

/// What a device last said under one name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Slot {
    /// A value that is no object.
    bare: Option<Value>,
    /// Objects, merged.
    object: Option<Object>,
    object_is_newer: bool,
}

/// Values that wait to be written, the last one of every path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    slots: BTreeMap<String, Slot>,
    bytes: usize,
}

impl Sheet {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many names it holds.
    pub fn names(&self) -> usize {
        self.slots.len()
    }

    /// Newer values over those that wait.
    pub fn take(&mut self, payload: Payload) {
        for (name, value) in payload.0 {
            self.put(name, value);
        }
    }

    /// Newer values over these.
    pub fn absorb(&mut self, newer: Self) {
        for (name, slot) in newer.slots {
            let object = slot.object.map(Value::Object);
            let parts = if slot.object_is_newer { [slot.bare, object] } else { [object, slot.bare] };
            for value in parts.into_iter().flatten() {
                self.put(name.clone(), value);
            }
        }
    }

    fn put(&mut self, name: String, value: Value) {
        let length = name.len();
        let slot = self.slots.entry(name).or_insert_with(|| {
            self.bytes += NODE_BYTES + length;
            Slot::default()
        });
        if let Value::Object(members) = value {
            // A scalar is the property `value`, too: the newer of the two stays.
            if members.contains_key("value")
                && let Some(bare) = slot.bare.take()
            {
                self.bytes -= weight(&bare);
            }
            slot.object_is_newer = true;
            let mut grown = 0;
            let mut shrunk = 0;
            overlay(slot.object.get_or_insert_default(), members, &mut grown, &mut shrunk);
            self.bytes = (self.bytes + grown).saturating_sub(shrunk);
        } else {
            if let Some(object) = &mut slot.object
                && let Some(earlier) = object.shift_remove("value")
            {
                self.bytes = self.bytes.saturating_sub(weight(&earlier));
            }
            slot.object_is_newer = false;
            self.bytes += weight(&value);
            if let Some(earlier) = slot.bare.replace(value) {
                self.bytes = self.bytes.saturating_sub(weight(&earlier));
            }
        }
    }

    /// The merge patch for `/features`.
    pub fn patch(&self, rules: &Rules) -> Value {
        let mut root = Value::Object(Map::new());
        for (name, slot) in &self.slots {
            if [TIMESTAMP, SEQ].contains(&name.as_str()) && !rules.maps(name) {
                continue;
            }
            let object = slot.object.as_ref();
            if let Some(target) = rules.mapping.get(name) {
                let object = || object.cloned().map(Value::Object);
                let parts = if slot.object_is_newer {
                    [slot.bare.clone(), object()]
                } else {
                    [object(), slot.bare.clone()]
                };
                for value in parts.into_iter().flatten() {
                    lay(&mut root, target.segments(), value);
                }
            } else {
                let at = [name.clone(), "properties".to_owned()];
                if let Some(object) = object {
                    lay(&mut root, &at, Value::Object(object.clone()));
                }
                if let Some(bare) = &slot.bare {
                    lay(&mut root, &[&at[..], &["value".to_owned()]].concat(), bare.clone());
                }
            }
        }
        root
    }

    /// As the device would have said it, for dead letters.
    pub fn said(&self) -> Value {
        let said = self.slots.iter().map(|(name, slot)| {
            let value = match (&slot.bare, &slot.object) {
                (Some(bare), None) => bare.clone(),
                (None, object) => object.clone().map_or(Value::Null, Value::Object),
                (Some(bare), Some(object)) => {
                    let mut object = object.clone();
                    object.insert("value".to_owned(), bare.clone());
                    Value::Object(object)
                }
            };
            (name.clone(), value)
        });
        Value::Object(said.collect())
    }

    /// Sheets of at most about `bytes` each, as far as a name by itself is not larger.
    pub fn chunks(self, bytes: usize) -> Vec<Self> {
        let mut chunks: Vec<Self> = vec![];
        for part in self.apart() {
            match chunks.last_mut() {
                Some(chunk) if chunk.bytes + part.bytes <= bytes => {
                    chunk.bytes += part.bytes;
                    chunk.slots.extend(part.slots);
                }
                _ => chunks.push(part),
            }
        }
        chunks
    }

    /// One sheet for each name, to find the one that is refused.
    pub fn apart(self) -> Vec<Self> {
        let alone = self.slots.into_iter().map(|(name, slot)| {
            let bytes = NODE_BYTES
                + name.len()
                + slot.bare.as_ref().map_or(0, weight)
                + slot.object.iter().flatten().map(|(key, value)| key.len() + weight(value)).sum::<usize>();
            Self { slots: BTreeMap::from([(name, slot)]), bytes }
        });
        alone.collect()
    }
}

/// Newer members over older ones; counts the memory that comes and goes.
fn overlay(onto: &mut Object, newer: Object, grown: &mut usize, shrunk: &mut usize) {
    for (key, value) in newer {
        match (onto.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(members)) => overlay(below, members, grown, shrunk),
            (Some(place), value) => {
                *grown += weight(&value);
                *shrunk += weight(place);
                *place = value;
            }
            (None, value) => {
                *grown += key.len() + weight(&value);
                onto.insert(key, value);
            }
        }
    }
}

/// Puts `value` there; an object joins one that is there.
fn lay(root: &mut Value, at: &[String], value: Value) {
    let mut place = root;
    for segment in at {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else { return };
        place = members.entry(segment.clone()).or_insert(Value::Null);
    }
    match (place, value) {
        (Value::Object(below), Value::Object(members)) => overlay(below, members, &mut 0, &mut 0),
        (place, value) => *place = value,
    }
}

/// About how much memory a value takes.
fn weight(value: &Value) -> usize {
    NODE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Object(members) => members.iter().map(|(key, value)| key.len() + weight(value)).sum(),
            _ => 0,
        }
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
