//! `put-metadata`, `get-metadata`, `delete-metadata`: notes beside the values of a thing, under `_metadata`.
use serde_json::{Map, Value};

use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::place::{ThingPart, ThingPlace};
use crate::twin::json::{Pointer, leaves};

const METADATA: &str = "_metadata";

/// The notes at `places`, nested as they are stored, seen from `place`.
pub fn get(thing: &Value, place: &ThingPlace, places: &[Pointer]) -> Value {
    let notes = thing.get(METADATA).and_then(|notes| place.pointer.get(notes));
    let Some(notes) = notes else { return Value::Object(Map::new()) };
    Selector::of(places.iter().flat_map(|place| expand_in(notes, place))).select(notes)
}

/// Adds the notes to `thing`. `written` is what the command put at `place`: wildcards range over it.
pub fn put(
    thing: &mut Value,
    place: &ThingPlace,
    notes: &[(Pointer, Value)],
    written: &Value,
) -> Result<(), Failure> {
    for (key, note) in notes {
        let targets = if key.segments().iter().any(|s| s == "*") {
            if !wildcard_fits(place.part, key.segments()) {
                return Err(Failure::bad_header(
                    "put-metadata",
                    format!("the wildcards of `{key}` do not fit here"),
                ));
            }
            expand(written, key)
        } else {
            vec![key.clone()]
        };
        for target in targets {
            Pointer::of([METADATA]).join(&place.pointer).join(&target).set(thing, note.clone());
        }
    }
    Ok(())
}

pub fn delete(thing: &mut Value, place: &ThingPlace, keys: &[Pointer]) {
    for key in keys {
        Pointer::of([METADATA]).join(&place.pointer).join(key).remove(thing);
    }
}

/// A part that is deleted takes its notes with it.
pub fn forget(thing: &mut Value, place: &ThingPlace) {
    Pointer::of([METADATA]).join(&place.pointer).remove(thing);
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
