//! `put-metadata`, `get-metadata`, `delete-metadata`: notes beside the values of a thing, under `_metadata`.
use serde_json::{Map, Value};

use super::super::command::Verb;
use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::place::{ThingPart, ThingPlace};
use crate::twin::json::{Pointer, leaves};

const METADATA: &str = "_metadata";

/// The notes at `places`, nested as they are stored, seen from `place`; `*` alone stands for all of them.
pub fn get(thing: &Value, place: &ThingPlace, places: &[Pointer]) -> Result<Value, Failure> {
    fitting(place.part, places, "get-metadata")?;
    let notes =
        thing.get(METADATA).and_then(|notes| place.pointer.get(notes)).filter(|notes| notes.is_object());
    let Some(notes) = notes else { return Ok(Value::Object(Map::new())) };
    if is_everything(places) {
        return Ok(notes.clone());
    }
    Ok(Selector::of(places.iter().flat_map(|place| expand_in(notes, place))).select(notes))
}

fn is_everything(keys: &[Pointer]) -> bool {
    matches!(keys, [only] if only.segments() == ["*"])
}

/// A `*` at the end is a name like any other. Source: Ditto 3.8, `AbstractThingCommandStrategy.java`.
fn has_wildcard(key: &Pointer) -> bool {
    key.segments().split_last().is_some_and(|(_, above)| above.iter().any(|segment| segment == "*"))
}

fn fitting(part: ThingPart, keys: &[Pointer], header: &'static str) -> Result<(), Failure> {
    match keys.iter().find(|key| has_wildcard(key) && !wildcard_fits(part, key.segments())) {
        Some(key) => Err(Failure::bad_header(header, format!("the wildcards of `{key}` do not fit here"))),
        None => Ok(()),
    }
}

/// Adds the notes to `thing`. `written` is what the command put at `place`: wildcards range over it.
pub fn put(
    thing: &mut Value,
    place: &ThingPlace,
    notes: &[(Pointer, Value)],
    written: &Value,
) -> Result<(), Failure> {
    for (key, note) in notes {
        fitting(place.part, std::slice::from_ref(key), "put-metadata")?;
        let targets = if has_wildcard(key) { expand(written, key) } else { vec![key.clone()] };
        for target in targets {
            Pointer::of([METADATA]).join(&place.pointer).join(&target).set(thing, note.clone());
        }
    }
    Ok(())
}

/// Removes the notes at `keys` and the objects that are empty then; `*` alone stands for all of them. Other wildcards
/// range over what is at the place now. Source: Ditto 3.8, `calculateMetadataForDeleteMetadataRequests`.
pub fn delete(
    thing: &mut Value,
    place: &ThingPlace,
    keys: &[Pointer],
    current: Option<&Value>,
) -> Result<(), Failure> {
    let at = Pointer::of([METADATA]).join(&place.pointer);
    let Some(mut notes) = at.get(thing).filter(|notes| notes.is_object()).cloned() else { return Ok(()) };
    if is_everything(keys) {
        at.set(thing, Value::Object(Map::new()));
        return Ok(());
    }
    fitting(place.part, keys, "delete-metadata")?;
    for key in keys {
        match current.filter(|_| has_wildcard(key)) {
            Some(current) => expand(current, key).iter().for_each(|key| drop(key.remove(&mut notes))),
            None => drop(key.remove(&mut notes)),
        }
    }
    at.set(thing, without_empty(notes));
    Ok(())
}

fn without_empty(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let kept = members.into_iter().map(|(name, value)| (name, without_empty(value)));
    let kept = kept.filter(|(_, value)| value.as_object().is_none_or(|members| !members.is_empty()));
    Value::Object(kept.collect())
}

/// What a write takes with it: a part that is deleted its notes, also by a `null` that is the patch or one of its
/// members; `{}` in place of a part leaves `{}` of its notes. Source: Ditto 3.8, `AbstractThingEventStrategy.java`.
pub fn follow(thing: &mut Value, place: &ThingPlace, verb: Verb, written: &Value) {
    let at = Pointer::of([METADATA]).join(&place.pointer);
    match (verb, written) {
        _ if thing.get(METADATA).is_none() => {}
        (Verb::Delete, _) | (Verb::Patch, Value::Null) => drop(at.remove(thing)),
        (Verb::Patch, Value::Object(members)) => {
            let removed = members.iter().filter(|(_, value)| value.is_null());
            removed.for_each(|(name, _)| drop(at.child(name).remove(thing)));
        }
        (Verb::Put, Value::Object(members)) if members.is_empty() && !place.is_root() => {
            at.set(thing, Value::Object(Map::new()));
        }
        _ => {}
    }
}

/// The wildcard forms Ditto knows for each part. Source: Ditto 3.8, `MetadataWildcardValidator.java`.
fn wildcard_fits(part: ThingPart, key: &[String]) -> bool {
    let is = |text: &String, word: &str| text == word;
    let bag = |text: &String| text == "properties" || text == "desiredProperties";
    match (part, key) {
        (ThingPart::Feature, [b, star, name]) => bag(b) && star == "*" && name != "*",
        (ThingPart::Feature | ThingPart::Features, [star, _]) if star == "*" => false,
        (_, [star, name]) => star == "*" && name != "*",
        (ThingPart::Thing, [first, star, name]) => is(first, "attributes") && star == "*" && name != "*",
        (ThingPart::Thing, [first, rest @ ..]) if is(first, "features") => feature_wildcard(rest),
        (ThingPart::Features, rest) => feature_wildcard(rest),
        _ => false,
    }
}

/// `<id or *>/(properties|desiredProperties)/<key or *>/<name>` or `<id or *>/definition/<name>`.
fn feature_wildcard(key: &[String]) -> bool {
    match key {
        [_, bag, _, name] => (bag == "properties" || bag == "desiredProperties") && name != "*",
        [_, definition, name] => definition == "definition" && name != "*",
        _ => false,
    }
}

/// The places a key with wildcards stands for. `*/name` is every leaf, any other `*` every member there.
fn expand(written: &Value, key: &Pointer) -> Vec<Pointer> {
    match key.segments() {
        [star, name] if star == "*" => {
            let places = leaves(written)
                .into_iter()
                .filter(|(at, _)| !at.segments().iter().any(|s| s.starts_with('_')));
            places.map(|(at, _)| at.child(name)).collect()
        }
        _ => walk(written, key.segments(), false),
    }
}

/// As [`expand`], over the notes themselves: every member must be there.
fn expand_in(notes: &Value, key: &Pointer) -> Vec<Pointer> {
    walk(notes, key.segments(), true)
}

fn walk(value: &Value, key: &[String], strict: bool) -> Vec<Pointer> {
    let Some((first, rest)) = key.split_first() else { return vec![Pointer::root()] };
    let below = |name: &String, value: &Value| {
        walk(value, rest, strict)
            .into_iter()
            .map(|p| Pointer::of([name.as_str()]).join(&p))
            .collect::<Vec<_>>()
    };
    match (value.as_object(), first.as_str()) {
        (Some(members), "*") => members.iter().flat_map(|(name, value)| below(name, value)).collect(),
        (Some(members), _) if members.contains_key(first) => below(first, &members[first]),
        (_, "*") => vec![],
        _ if strict || !rest.is_empty() && rest.iter().any(|s| s == "*") => vec![],
        _ => below(first, &Value::Null),
    }
}
